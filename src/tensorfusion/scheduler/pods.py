"""Where every pod is in its life with the scheduler: pending, assumed, bound, or none of our business.

The one writer of the queue and of the pods' part of ``scheduling.State``. Apart from the service because all truth about
pods comes in through one door, whoever brings it: the watch, a list after a change of leaders, or a single read after
a lost reply. These may overtake each other, so ``observe`` only ever moves a pod forward: a pod seen bound is never
taken for pending by an older view of it, and what a pod holds is given back exactly once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tensorfusion.clock import Clock
from tensorfusion.errors import InvalidRequest
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler import feeds
from tensorfusion.scheduler.feeds import Requests
from tensorfusion.scheduler.queue import Entry, PendingQueue
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.hints import Signal, SignalKind
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod waits, and what the hints need to know to tell whether an event can help it."""

    message: str
    cause: Exception


Pending = Entry[PodFacts, Failure]


@dataclass(slots=True)
class Assumption:
    """Devices held for a pod until the watch shows it bound. ``answered_at`` is when the Binding was answered."""

    facts: PodFacts
    placement: Placement
    answered_at: float | None = None


class PodBook:
    """All pods by uid. ``refused`` is told of pods whose annotations cannot be read."""

    def __init__(
        self,
        state: State,
        *,
        clock: Clock,
        scheduler_names: frozenset[str],
        priority_of: Callable[[Pod], int],
        refused: Callable[[Pod, str], None],
    ) -> None:
        self.queue: PendingQueue[PodFacts, Failure] = PendingQueue()
        self.signals: list[Signal] = []
        self.assumed: dict[str, Assumption] = {}
        self._bound: dict[str, Placement] = {}
        self._state = state
        self._clock = clock
        self._names = scheduler_names
        self._priority_of = priority_of
        self._refused = refused
        self._requests = Requests()

    def is_bound(self, uid: str) -> bool:
        return uid in self._bound

    @property
    def bound(self) -> int:
        return len(self._bound)

    def observe(self, pod: Pod) -> None:
        """Take in one view of a pod."""
        uid = pod.metadata.uid
        if pod.finished:
            self._leave(uid)
        elif pod.spec.node_name:
            if uid not in self._bound:
                self._settle(pod)
        elif uid not in self._bound:
            self._wait(pod)

    def vanished(self, pod: Pod) -> None:
        """The pod was deleted."""
        self._leave(pod.metadata.uid)

    def assume(self, entry: Pending, placement: Placement) -> None:
        """Hold a placement until the watch confirms it."""
        self._state.assume(entry.facts, placement)
        self.assumed[entry.uid] = Assumption(entry.facts, placement)

    def forget(self, uid: str) -> bool:
        """Give a hold back; the pod is tried again after its backoff. Answers whether there was one."""
        assumption = self._unassume(uid)
        if assumption is None:
            return False
        self.queue.retry(uid, now=self._clock.monotonic())
        return True

    def _settle(self, pod: Pod) -> None:
        """The pod is bound, by us or by somebody else: charge what its annotations say."""
        uid = pod.metadata.uid
        self.queue.remove(uid)
        assumption = self.assumed.pop(uid, None)
        try:
            placement = feeds.placement_of(pod)
            if assumption is not None and assumption.placement == placement:
                facts = assumption.facts
            else:
                facts = feeds.pod_facts(pod, self._requests.of(pod), self._priority_of(pod))
        except InvalidRequest as error:
            log.warning("the bound pod holds nothing: its wishes cannot be read", pod=pod.key, error=error)
            if assumption is not None:
                self._state.forget(uid)
                self._released(assumption.placement, pod.metadata.namespace)
            self._bound[uid] = Placement(pod.spec.node_name, ())
            return
        self._state.confirm(facts, placement)
        self._bound[uid] = placement
        if assumption is not None and assumption.placement != placement:
            self._released(assumption.placement, pod.metadata.namespace)

    def _wait(self, pod: Pod) -> None:
        """The pod is not bound: queue it if it is ours to place."""
        uid = pod.metadata.uid
        if pod.spec.scheduler_name not in self._names:
            return
        if uid in self.assumed:
            return  # its Binding is on its way; a change that matters comes again with the next event
        if pod.metadata.deleting or pod.spec.scheduling_gates:
            self.queue.remove(uid)
            return
        priority = self._priority_of(pod)
        try:
            facts = feeds.pod_facts(pod, self._requests.of(pod), priority)
        except InvalidRequest as error:
            self.queue.remove(uid)
            self._refused(pod, str(error))
            return
        self.queue.put(uid, facts, priority=priority, now=self._clock.monotonic())

    def _leave(self, uid: str) -> None:
        """The pod ended or is gone: what it held is free again."""
        self.queue.remove(uid)
        placement = self._bound.pop(uid, None)
        if placement is not None:
            ...

    def _unassume(self, uid: str) -> Assumption | None:
        assumption = self.assumed.pop(uid, None)
        if assumption is not None:
            self._state.forget(uid)
            self._released(assumption.placement, assumption.facts.namespace)
        return assumption
