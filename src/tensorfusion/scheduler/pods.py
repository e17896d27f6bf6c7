"""Where every pod is in its life with the scheduler: pending, assumed, bound, or none of our business.

The one writer of the queue and of the pods' part of ``scheduling.State``. Apart from the service because all truth
about pods comes in through one door, whoever brings it: the watch, the list after a change of leaders, or a single
read after a lost reply. These may overtake each other, so ``observe`` only ever moves a pod forward: a pod seen bound
is never taken for pending by an older view of it, and what a pod holds is given back exactly once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tensorfusion.clock import Clock
from tensorfusion.errors import InvalidRequest, NotFit, QuotaExceeded
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.gang import Gang
from tensorfusion.model.meta import Key
from tensorfusion.model.pod_resources import pod_totals
from tensorfusion.model.providers import NO_PROVIDERS, Providers
from tensorfusion.model.request import GpuRequest, larger
from tensorfusion.scheduler import feeds
from tensorfusion.scheduler.binder import Binding
from tensorfusion.scheduler.feeds import Gangs, asked_by
from tensorfusion.scheduler.gang_book import GangBook
from tensorfusion.scheduler.queue import Entry, PendingQueue
from tensorfusion.scheduler.territory import pool_of
from tensorfusion.scheduler.turns import Turns
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

Failure = NotFit | QuotaExceeded
Pending = Entry[PodFacts, Failure]


@dataclass(slots=True)
class Assumption:
    """A placement that is held until the watch shows the pod bound. ``answered_at``: when its Binding succeeded."""

    binding: Binding
    answered_at: float | None = None


class PodBook:
    """All pods by uid. ``refused`` is told of pods whose wishes cannot be read; ``unreadable`` keeps them."""

    def __init__(
        self,
        state: State,
        hints: list[Hint],
        *,
        clock: Clock,
        scheduler_names: frozenset[str],
        priority_of: Callable[[Pod], int],
        refused: Callable[[Pod, str], None],
        providers: Callable[[], Providers] = lambda: NO_PROVIDERS,
        serves: Callable[[Pod], bool] | None = None,
    ) -> None:
        self.turns = Turns(state.quotas.cohorts)
        self.queue: PendingQueue[PodFacts, Failure] = PendingQueue(self.turns)
        self.assumed: dict[str, Assumption] = {}
        self.unreadable: dict[str, str] = {}
        """Pods of ours that wait for somebody to change them, and why."""
        self.wishes: dict[str, Key] = {}
        """Bound pods whose owners want other amounts, by uid, in the order in which they asked."""
        self.resizing: dict[str, GpuRequest] = {}
        """What a pod is to have by an answer on its way: until its fate is known the larger amounts are held."""
        self._state = state
        self._held = state.allocations
        self._hints = hints
        self._clock = clock
        self._names = scheduler_names
        self._priority_of = priority_of
        self._refused = refused
        self._providers = providers
        self._serves = serves
        """Whether a pod that waits is looked at here, and not by another scheduler; None where there is no other."""
        self._gangs = Gangs()
        self.gangs = GangBook(self.assumed)
        self._learned: set[str] = set()
        """Uids of pods that are here and that their pool has learned from."""

    def serve(self, scheduler_names: frozenset[str]) -> None:
        """Take the pods of these schedulers for ours from now on; ``observe`` those that wait."""
        self._names = scheduler_names

    def is_bound(self, uid: str) -> bool:
        """The API server has told us where the pod is, and it is not over yet."""
        allocation = self._held.get(uid)
        return allocation is not None and allocation.confirmed

    def observe(self, pod: Pod, old: Pod | None = None) -> None:
        """Take in one view of a pod; ``old`` is the view before, where the watch knows it."""
        uid = pod.metadata.uid
        if pod.finished:
            self.left(uid)
        elif pod.spec.node_name:
            if not self.is_bound(uid) or (old is not None and _counts_anew(old, pod)):
                self._settle(pod, old)
            if pod.metadata.deleting:
                self._hints += self._state.leaving(uid)
            if keys.RESIZE in pod.metadata.annotations:
                self.wishes.setdefault(uid, pod.key)
        elif not self.is_bound(uid):
            self._wait(pod)
        if keys.GANG_REQUIRED_MEMBERS in pod.metadata.annotations:
            entry = self.queue.get(uid)
            if entry is not None:
                self.gangs.observe(pod, entry.facts.gang, entry.facts)
            else:
                elsewhere = (
                    pool_of(pod)
                    if self._serves is not None
                    and pod.spec.scheduler_name in self._names
                    and not pod.spec.scheduling_gates
                    and not self._serves(pod)
                    else None
                )
                gang = self._gang_of(pod, lenient=elsewhere is not None)
                self.gangs.observe(pod, gang, None, elsewhere=elsewhere)

    def learn(self, facts: PodFacts) -> None:
        """The pool that a pod asks for learns from it, once; where it cannot yet, call again."""
        if facts.request is not None and facts.uid not in self._learned:
            changes = self._state.arrive(facts, created=feeds.seconds(facts.created))
            if changes is not None:
                self._learned.add(facts.uid)
                self._hints += changes

    def relearn(self, pool: str, since: int) -> None:
        """Have a pool learn from the pods that are here and were created after that, in Unix seconds."""
        waiting = [entry.facts for entry in self.queue.entries()]
        known = {facts.uid: facts for facts in (*waiting, *(one.pod for one in self._held.values()))}
        here = [facts for facts in known.values() if facts.request is not None and facts.request.pool == pool]
        for facts in sorted(here, key=lambda facts: (facts.created, facts.uid)):
            created = feeds.seconds(facts.created)
            changes = self._state.arrive(facts, created=created) if created > since else ()
            if changes is None:
                self._learned.discard(facts.uid)  # what was learned of it is gone, and it cannot run yet
            else:
                self._learned.add(facts.uid)
                self._hints += changes

    def wish(self, pod: Pod) -> GpuRequest | None:
        """What a pod asks of its devices; None where it asks for none, or cannot be read."""
        try:
            return asked_by(pod)
        except InvalidRequest:
            return None

    def recount(self, pod: Pod) -> None:
        """Other resources count as devices of device plugins than before: take over how many of them the pod has."""
        uid = pod.metadata.uid
        held, entry = self._held.get(uid), self.queue.get(uid)
        known = held.pod if held is not None else entry.facts if entry is not None else None
        if known is None or known.request is not None:
            return
        try:
            native = feeds.native_devices(pod_totals(pod.spec).extended, self._providers())
        except InvalidRequest:
            return  # told when the pod came
        if native == known.native:
            return
        if held is not None and held.confirmed:
            self._hints += self._state.confirm(replace(known, native=native), held.placement)
        else:
            self.observe(pod)

    def left(self, uid: str) -> None:
        """The pod ended or is gone: what it held is free again, once."""
        self.queue.remove(uid)
        self.assumed.pop(uid, None)
        self.unreadable.pop(uid, None)
        self.wishes.pop(uid, None)
        self.resizing.pop(uid, None)
        self.gangs.left(uid)
        self._learned.discard(uid)
        self._hints += self._state.release(uid)

    def adopt(self, uid: str, binding: Binding) -> None:
        """A placement that is held already waits for the watch from here on."""
        self.assumed[uid] = Assumption(binding)
        held = self._held.get(uid)
        if held is not None:
            self._hints += self._state.placed(held.pod)

    def assume(self, pending: Pending, placement: Placement, binding: Binding) -> None:
        """Hold a placement until the watch confirms it.

        Raises:
            NotHoldable, QuotaExceeded: the state has no room for it.
        """
        self._hints += self._state.assume(pending.facts, placement)
        self.assumed[pending.uid] = Assumption(binding)

    def forget(self, uid: str) -> None:
        """The Binding did not happen: give the hold back, and try the pod again after its backoff."""
        if self.assumed.pop(uid, None) is not None:
            self._hints += self._state.forget(uid)
            self.queue.retry(uid, now=self._clock.monotonic())

    def settle_change(self, uid: str, pod: Pod | None) -> None:
        """It is known what became of an answer: from here on the pod holds what ``pod``, just read, says."""
        self.resizing.pop(uid, None)
        if pod is None or not self.is_bound(uid) or pod.finished:
            return  # gone or over: the watch says so, and frees everything
        self._settle(pod)
        if keys.RESIZE in pod.metadata.annotations:
            self.wishes.setdefault(uid, pod.key)

    def facts(self, pod: Pod) -> PodFacts:
        """What a decision needs to know of a pod.

        Raises:
            InvalidRequest: an annotation or a resource request cannot be understood.
        """
        request, priority = asked_by(pod), self._priority_of(pod)
        profile, gang = self._state.profiles.of(pod.spec.scheduler_name), self._gang_of(pod)
        return feeds.pod_facts(pod, request, priority, providers=self._providers(), profile=profile, gang=gang)

    def _gang_of(self, pod: Pod, *, lenient: bool = False) -> Gang | None:
        """The pod's gang. A stamp that cannot be read makes no difference any more to a pod that has a place.

        Raises:
            InvalidRequest: the pod has none, and nobody is ``lenient`` about it.
        """
        if keys.GANG_REQUIRED_MEMBERS not in pod.metadata.annotations:
            return None
        try:
            return self._gangs.of(pod.metadata)
        except InvalidRequest:
            if lenient or pod.spec.node_name:
                return None
            raise

    def _settle(self, pod: Pod, old: Pod | None = None) -> None:
        """The pod is bound, by us or by somebody else: charge what its annotations say."""
        uid = pod.metadata.uid
        facts, placement = self._as_decided(pod, old) or self._as_written(pod)
        self.queue.remove(uid)
        self.assumed.pop(uid, None)
        wanted = self.resizing.get(uid)
        if wanted is not None and facts.request is not None:
            facts = replace(facts, request=larger(facts.request, wanted))
        self._hints += self._state.confirm(facts, placement)
        self.learn(facts)

    def _as_decided(self, pod: Pod, old: Pod | None) -> tuple[PodFacts, Placement] | None:
        """What we hold for the pod, where our Binding is all that happened to it since: then nothing is read anew."""
        uid = pod.metadata.uid
        assumption, held, pending = self.assumed.get(uid), self._held.get(uid), self.queue.get(uid)
        if old is None or assumption is None or held is None or pending is None or pending.facts is not held.pod:
            return None
        if uid in self.unreadable or old.metadata.deleting or old.spec.scheduling_gates:
            return None  # the facts are those of a view before ``old``
        binding = assumption.binding
        if not feeds.is_bound_version(pod, old, node=binding.node, annotations=binding.annotations):
            return None
        return held.pod, held.placement

    def _as_written(self, pod: Pod) -> tuple[PodFacts, Placement]:
        """What the pod's annotations say; nothing but its place where they cannot be read."""
        try:
            return self.facts(pod), feeds.placement_of(pod)
        except InvalidRequest as error:
            log.warning("bound pod counts for nothing: its wishes cannot be read", pod=pod.key, error=error)
        meta = pod.metadata
        return PodFacts(meta.uid, meta.namespace, meta.name), Placement(pod.spec.node_name)

    def _wait(self, pod: Pod) -> None:
        """The pod is not bound: queue it if it is ours to place."""
        uid = pod.metadata.uid
        if pod.spec.scheduler_name not in self._names:
            if uid in self.queue and uid not in self.assumed:  # the names have changed
                self.queue.remove(uid)
            return
        self.unreadable.pop(uid, None)
        elsewhere = self._serves is not None and not self._serves(pod)
        if elsewhere or pod.metadata.deleting or pod.spec.scheduling_gates:
            if uid not in self.assumed:  # else its Binding is on its way, and the answer decides
                self.queue.remove(uid)
            return
        try:
            facts = self.facts(pod)
        except InvalidRequest as error:
            if uid not in self.assumed:
                self.queue.remove(uid)
            self.unreadable[uid] = str(error)
            self._refused(pod, str(error))
            return
        self.learn(facts)
        entry = self.queue.get(uid)
        relabelled = (  # labels are no part of equal facts: they matter to rules between pods alone
            entry is not None and self._state.fleet.neighbours.active and entry.facts.labels != facts.labels
        )
        self.queue.put(uid, facts, priority=facts.rank, now=self._clock.monotonic(), changed=relabelled)


def _counts_anew(old: Pod, new: Pod) -> bool:
    """Whether a bound pod may hold something else, or be another neighbour, than before."""
    one, other = old.metadata, new.metadata
    return one.annotations != other.annotations or one.labels != other.labels
