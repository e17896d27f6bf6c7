"""Make room for pods that fit nowhere: evict less important ones, keep what they leave, and give it to the right pod.

Apart from the service because a preemption outlives a decision. Its life: a pod that was held back *asks*; a search
(``scheduling.preemption``) proves who has to go; the pod is *nominated*: charged in the ledger beside its victims, so
that nobody but a more important pod gets what they leave; its node is written into its status and the victims are
evicted; when they are gone it is decided like any other, and bound wherever it fits. One preemption a pod at a time.

A nomination ends in one of these ways, each of which gives the hold back: the pod is bound, changed, gated or gone; its
node or a device of it is gone; a budget keeps a victim (then another plan is looked for, without that victim); a more
important pod takes the place; its victims do not end in time (the watchdog); or this replica stops leading. A successor
knows of nominations by ``status.nominatedNodeName`` alone: it looks for a plan anew, in which pods that are ending cost
nothing, and takes the name away where it finds none.

Source: Kubernetes' DefaultPreemption and its nominated pods; TensorFusion's watchdog for nominated pods.
"""

from collections.abc import Callable, Mapping

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.disruption import DisruptionBudget
from tensorfusion.model.meta import Key
from tensorfusion.model.workload import GangTopology
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.binder import Leadership
from tensorfusion.scheduler.evictions import Evictions, Fate
from tensorfusion.scheduler.gangs import waits_for_gang
from tensorfusion.scheduler.nominations import LONGEST_NOMINATION, Nomination, Nominations
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.preemption_stories import Stories, name_for, why_hopeless
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.reports import Reports
from tensorfusion.scheduler.search_line import SearchLine
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.preemption import Plan, search
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

WATCHDOG_EVERY = 180.0
"""Seconds between two looks for such pods."""
SPARED_FOR = 60.0
"""Seconds for which a pod is left alone that its budget kept."""
STUCK_FOR = 600.0
"""Seconds for which the end of a pod is not counted on that did not end in time."""
REVIEW_EVERY = 0.2
"""Seconds between two looks at all nominations while none of the pods that they wait for ends."""
BUDGETS_BY_NAMESPACE = "namespace"


class Preemptor:
    """Nominations by the uid of the pod. All but ``run`` is called by the owner of the state, and does not wait."""

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        book: PodBook,
        state: State,
        hints: list[Hint],
        *,
        clock: Clock,
        pods: Cache[Pod],
        budgets: Cache[DisruptionBudget],
        reports: Reports,
        kick: Callable[[], None],
        cluster_wide: Callable[[], bool] = lambda: False,
        watchdog_every: float = WATCHDOG_EVERY,
    ) -> None:
        self._leadership = leadership
        self._book = book
        self._state = state
        self._hints = hints
        self._clock = clock
        self._pods = pods
        self._budgets = budgets
        self._reports = reports
        self._kick = kick
        self.cluster_wide = cluster_wide
        self._watchdog_every = watchdog_every
        self._watched_at = float("-inf")
        self.places = Nominations(state, clock=clock, pods=pods)
        self.nominations = self.places.by_uid
        self._evictions = Evictions(api, clock=clock, nominations=self)
        self.line = SearchLine(book, state, clock=clock)
        self.stories = Stories()
        self._reviewed_at = float("-inf")
        self._departed = state.departed
        self._members = False
        """Some nominated pod is a member of a gang, which may end at any time."""
        self._spared: dict[str, float] = {}

    async def run(self) -> None:
        """Write and evict until cancelled."""
        await self._evictions.run()

    # --- decisions ---

    def decide(self, facts: PodFacts, member: Callable[[PodFacts], Decision] | None = None) -> Decision:
        """A decision that gives a nominated pod its own place, and a more important pod those of others.

        ``member`` decides about one more member of a gang that runs already, which takes no other's place.

        Raises:
            QuotaExceeded, Unschedulable: as a plain decision.
        """
        if not self.nominations:
            return decide(self._state, facts) if member is None else member(facts)
        own = self.nominations.get(facts.uid)
        if own is not None and facts == own.facts and facts.uid in self._state.nominated:
            return self._decide_nominee(own)
        if own is not None:
            self._drop(own, "the pod was changed")
        return self._decide_over_others(facts) if member is None else member(facts)

    def _decide_nominee(self, own: Nomination) -> Decision:
        """Without its own hold. Where that fails the hold stays, unless nobody is left to wait for."""
        state, uid = self._state, own.facts.uid
        mark = state.checkpoint()
        given_back = state.release(uid)
        try:
            decision = self._decide_over_others(own.facts)
        except BaseException:
            state.rollback(mark)
            if not self.places.waits(own):
                self._drop(own, "the place that was made is not enough any more")
            raise
        state.keep(mark)
        del self.nominations[uid]
        self._hints += given_back
        self.stories.went_on(uid, "placed")
        return decision

    def _decide_over_others(self, facts: PodFacts) -> Decision:
        """What is kept for less important pods is free for this one; they lose it where it is needed."""
        state = self._state
        try:
            return decide(state, facts)
        except (NotFit, QuotaExceeded) as failure:
            lower = self.places.in_the_way(facts, failure)
            if not lower:
                raise
        mark = state.checkpoint()
        try:
            for one in lower:
                state.release(one.facts.uid)
            decision = decide(state, facts)
        finally:
            state.rollback(mark)
        node = decision.placement.node
        for one in sorted(lower, key=lambda one: (one.placement.node != node, one.facts.rank, -one.since)):
            if self.places.can_hold(facts, decision.placement):
                break
            self._drop(one, "a more important pod takes the place")
            self._book.queue.activate(one.facts.uid)
        return decision

    # --- asking ---

    def consider(self, pending: Pending, pod: Pod) -> None:
        """The pod was held back: look for room as soon as the bound on searches allows."""
        facts = pending.facts
        if pending.uid in self.nominations or (facts.gang is not None and not self._goes_singly(facts)):
            return  # a gang needs room for all of its members at once
        if not pod.status.nominated_node_name and not self._may_help(facts):
            return
        if self.line.wants(pending):
            self._kick()

    def _goes_singly(self, facts: PodFacts) -> bool:
        """Whether the member's gang runs already, and any place is as good for it as for a single pod."""
        group = self._book.gangs.of(facts.uid)
        if facts.gang is None or group is None or not self._book.gangs.is_satisfied(group):
            return False
        return facts.gang.topology is not GangTopology.REQUIRED

    def _may_help(self, facts: PodFacts) -> bool:
        return facts.preempts and self._state.residents.any_below(facts.rank)

    def step(self) -> None:
        """Look after nominations, and search for those that ask, the most important first."""
        if self.nominations:
            now = self._clock.monotonic()
            if self._state.departed != self._departed or self._members or now - self._reviewed_at >= REVIEW_EVERY:
                self._departed, self._reviewed_at = self._state.departed, now
                self._review()
        self.line.look()
        while (uid := self.line.next()) is not None:
            entry = self._book.queue.get(uid)
            if entry is None or entry.place is not Place.WAITING or uid in self.nominations:
                continue
            if waits_for_gang(entry.failure) or (entry.facts.gang is not None and not self._goes_singly(entry.facts)):
                continue  # it would not get the place; it is refused again when it is its turn
            pod = self._pods.get(Key(entry.facts.namespace, entry.facts.name))
            if pod is not None and pod.metadata.uid == uid and not pod.metadata.deleting:
                self._search_safely(entry, pod)

    def budget_changed(self, namespace: str) -> None:
        """A disruption budget may let pods go that it kept before."""
        if self.line.budget_changed(namespace):
            self._kick()

    def _search_safely(self, entry: Pending, pod: Pod) -> None:
        try:
            self._search(entry, pod)
        except Exception:  # the edge of the loop: one pod's fault must not stop the others
            log.exception("search for victims failed unexpectedly", pod=pod.key)
            if entry.uid in self._state.nominated and entry.uid not in self.nominations:
                self._hints += self._state.release(entry.uid)
            self.line.rest(entry.facts)

    def _search(self, entry: Pending, pod: Pod) -> None:
        state, facts = self._state, entry.facts
        self.line.spend()
        try:
            decide(state, facts)
        except (NotFit, QuotaExceeded) as refused:
            failure: Failure = refused
        else:  # what changed since was not for others
            self._book.queue.activate(entry.uid)
            return
        found = search(
            state,
            facts,
            failure,
            now=int(self._clock.now().timestamp()),
            cluster_wide=self.cluster_wide(),
            spared=self._spared_now(),
            budgets=self.budgets_of,
        )
        if isinstance(found, Plan):
            self._nominate(entry, pod, found)
            return
        meters.PREEMPTIONS.add(("hopeless",))
        self.stories.searched(entry.uid, found.looked, space=facts.namespace, outcome=why_hopeless(found))
        spaces = frozenset(name.partition("/")[0] for name in found.looked.budgets)
        self.line.rest(facts, protected_until=found.protected_until, spaces=spaces)
        if pod.status.nominated_node_name:
            self._evictions.forget(entry.uid, pod.key)

    def _spared_now(self) -> frozenset[str]:
        now = self._clock.monotonic()
        if self._spared:
            self._spared = {uid: until for uid, until in self._spared.items() if until > now}
        return frozenset(self._spared)

    def budgets_of(self, facts: PodFacts) -> Mapping[str, int]:
        """The disruption budgets that cover a pod, by name, and how many pods each of them lets go now."""
        return {
            f"{budget.metadata.namespace}/{budget.metadata.name}": budget.status.disruptions_allowed
            for budget in self._budgets.by_index(BUDGETS_BY_NAMESPACE, facts.namespace)
            if budget.spec.selector is not None and budget.spec.selector.matches(facts.labels)
        }

    # --- nominations ---

    def _nominate(self, entry: Pending, pod: Pod, plan: Plan) -> None:
        facts = entry.facts
        for uid in plan.displaced:
            other = self.nominations.get(uid)
            if other is not None:
                self._drop(other, "a more important pod takes the place")
                self._book.queue.activate(uid)
        self._state.nominate(facts, plan.placement)
        victims = {one.pod.uid: self._pods.get(Key(one.pod.namespace, one.pod.name)) for one in plan.victims}
        names = tuple(name_for(one.pod, facts.namespace) for one in plan.victims)
        nomination = Nomination(
            facts=facts,
            key=pod.key,
            placement=plan.placement,
            since=self._clock.monotonic(),
            epoch=self._leadership.epoch,
            victims={uid: one for uid, one in victims.items() if one is not None and one.metadata.uid == uid},
            awaited=frozenset(victims) | frozenset(plan.ending),
            names=names,
        )
        self.nominations[facts.uid] = nomination
        self.line.found(facts.uid)
        self._state.awaited.update(nomination.awaited, (facts.uid,))
        self._members = self._members or facts.gang is not None
        meters.PREEMPTIONS.add(("nominated",))
        node = plan.placement.node
        waits = (
            f"once {', '.join(names[:5]) or 'pods that are ending'}{' and others' if len(names) > 5 else ''} left it"
        )
        self._reports.nominated(pod, node, waits)
        self.stories.searched(
            facts.uid, plan.looked, space=facts.namespace, node=node, victims=names, outcome="nominated"
        )
        log.info("nominated", pod=pod.key, node=node, victims=len(names), ending=len(plan.ending))
        self._evictions.start(facts.uid)

    def _review(self) -> None:
        """Give up what came to nothing; decide those whose place is free."""
        now = self._clock.monotonic()
        watch = now - self._watched_at >= self._watchdog_every
        if watch:
            self._watched_at = now
        for uid, one in list(self.nominations.items()):
            entry = self._book.queue.get(uid)
            if uid not in self._state.nominated or entry is None:
                self._drop(one, "the pod waits no more")
            elif one.facts.gang is not None and not self._goes_singly(one.facts):
                self._drop(one, "its gang has to start anew")
                self._book.queue.activate(uid)
            elif not self.places.is_there(one.placement):
                self._drop(one, "the node or a device of it is gone")
                self._book.queue.activate(uid)
            elif not self.places.waits(one):
                if entry.place in (Place.WAITING, Place.BACKOFF):
                    self._book.queue.activate(uid)
            elif watch and now - one.since > LONGEST_NOMINATION and (stuck := self.places.overdue(one)):
                self._spared.update(dict.fromkeys(stuck, now + STUCK_FOR))
                self._drop(one, "the pods that have to leave do not end")
                self._book.queue.activate(uid)
        self._members = any(one.facts.gang is not None for one in self.nominations.values())
        self.places.await_end()

    def _drop(self, nomination: Nomination, why: str) -> None:
        """End a nomination: the hold is given back, and the name of the node taken out of the pod's status."""
        uid = nomination.facts.uid
        if self.nominations.pop(uid, None) is None:
            return
        if uid in self._state.nominated:
            self._hints += self._state.release(uid)
        log.info("nomination ends", pod=nomination.key, node=nomination.placement.node, why=why)
        self.stories.went_on(uid, f"no place is kept any more: {why}")
        pod = self._pods.get(nomination.key)
        if pod is not None and pod.metadata.uid == uid and not pod.spec.node_name:
            self._evictions.forget(uid, nomination.key)
        self._kick()

    def surrender(self) -> None:
        """This replica decides no more: holds are given back; the names stay for the successor to read."""
        for uid in list(self.nominations):
            del self.nominations[uid]
            if uid in self._state.nominated:
                self._hints += self._state.release(uid)
            self._book.queue.activate(uid)
        self._state.awaited.clear()
        self.line.clear()
        self._evictions.clear()

    # --- what evictions ask and tell ---

    def leads(self, nomination: Nomination) -> bool:
        """Whether this nomination is still to be carried out, by this replica."""
        uid = nomination.facts.uid
        current = self.nominations.get(uid) is nomination and uid in self._state.nominated and uid in self._book.queue
        return current and self._leadership.is_leader() and self._leadership.epoch == nomination.epoch

    def evicted(self, nomination: Nomination, victim: Pod, fate: Fate, why: str) -> None:
        """What became of one eviction."""
        uid = victim.metadata.uid
        nomination.victims.pop(uid, None)
        meters.EVICTIONS.add((fate.value,))
        if fate is Fate.EVICTED:
            self._reports.preempted(victim, nomination.facts.uid, nomination.placement.node)
        elif fate is Fate.KEPT:
            log.info("victim stays", pod=victim.key, preemptor=nomination.key, why=why)
            self._spared[uid] = self._clock.monotonic() + SPARED_FOR
            if self.nominations.get(nomination.facts.uid) is nomination:
                self._drop(nomination, "a pod that has to leave may not be evicted")
                self.line.ask_again(nomination.facts.uid)
        self._kick()
