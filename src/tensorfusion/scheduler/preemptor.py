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

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded, TensorFusionError
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.disruption import DisruptionBudget
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.workload import GangTopology
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.binder import Leadership
from tensorfusion.scheduler.evictions import Evictions, Fate
from tensorfusion.scheduler.gangs import waits_for_gang
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.reports import Reports
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.preemption import Hopeless, Plan, search
from tensorfusion.scheduling.reasons import DeviceReason
from tensorfusion.scheduling.residents import NEVER
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Looked
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

SEARCHES_A_SECOND = 200.0
"""Searches a second in a small fleet, and as many at once; in a large one a search counts for several."""
COST_OF = 8_000
"""Devices and pods of a fleet that make a search count for one more: what all searches take is a tenth of the time."""
LONGEST_NOMINATION = 360.0
"""Seconds after which a nominated pod is decided anew: its victims are not evicted, or do not end when they should."""
WATCHDOG_EVERY = 180.0
"""Seconds between two looks for such pods."""
SPARED_FOR = 60.0
"""Seconds for which a pod is left alone that its budget kept."""
STUCK_FOR = 600.0
"""Seconds for which the end of a pod is not counted on that did not end in time."""
FIRST_REST, LONGEST_REST = 10.0, 300.0
"""Seconds for which a pod is not searched for again that nothing could help: doubled each time."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the pods that nothing could help."""
REVIEW_EVERY = 0.2
"""Seconds between two looks at all nominations while none of the pods that they wait for ends."""
STORIES = 20_000
BUDGETS_BY_NAMESPACE = "namespace"


@dataclass(slots=True, eq=False)
class Nomination:
    """A pod that waits for others to leave its place."""

    facts: PodFacts
    key: Key
    placement: Placement
    since: float
    epoch: int
    victims: dict[str, Pod]
    """Those that are still to be evicted, by uid."""
    awaited: frozenset[str]
    """Uids of all that have to leave, those that end anyway among them."""
    told: bool = False
    """Its status names the node."""
    names: tuple[str, ...] = field(default=())
    failures: Counter[str] = field(default_factory=Counter)
    """How often the server failed to evict a victim, by uid."""


@dataclass(slots=True)
class Rest:
    """A pod that nothing could help, and what it is searched for again at. ``until`` is of the monotonic clock."""

    facts: PodFacts
    until: float
    doublings: int = 0
    wanted: bool = False
    """It was refused again meanwhile."""
    protected_until: int = NEVER
    """Unix seconds: the end of the protection from eviction that was in its way."""
    spaces: frozenset[str] = frozenset()
    """Namespaces of the disruption budgets that were in its way."""


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
        self._evictions = Evictions(api, clock=clock, nominations=self)
        self.nominations: dict[str, Nomination] = {}
        self._asking: list[tuple[int, int, int, str]] = []
        """Pods to be searched for: by rank, then one of each namespace in turn."""
        self._asked: set[str] = set()
        self._turns: dict[str, int] = {}
        """The turn that each namespace had last."""
        self._turn = 0
        self._rests: dict[str, Rest] = {}
        """Pods that nothing could help, by uid."""
        self._looked_at = float("-inf")
        self._eased = state.eased
        self._reviewed_at = float("-inf")
        self._departed = state.departed
        self._members = False
        """Some nominated pod is a member of a gang, which may end at any time."""
        self._spared: dict[str, float] = {}
        self._tokens = SEARCHES_A_SECOND
        self._counted_at = clock.monotonic()
        self._stories: OrderedDict[str, Raw] = OrderedDict()

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
            if not self._waits(own):
                self._drop(own, "the place that was made is not enough any more")
            raise
        state.keep(mark)
        del self.nominations[uid]
        self._hints += given_back
        self._tell(uid, node=decision.placement.node, outcome="placed")
        return decision

    def _decide_over_others(self, facts: PodFacts) -> Decision:
        """What is kept for less important pods is free for this one; they lose it where it is needed."""
        state = self._state
        try:
            return decide(state, facts)
        except (NotFit, QuotaExceeded) as failure:
            lower = self._in_the_way(facts, failure)
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
            if self._holds(facts, decision.placement):
                break
            self._drop(one, "a more important pod takes the place")
            self._book.queue.activate(one.facts.uid)
        return decision

    def _in_the_way(self, facts: PodFacts, failure: Failure) -> list[Nomination]:
        """The nominations of less important pods whose end may let this one fit."""
        rank, nominated = facts.rank, self._state.nominated
        lower = [one for one in self.nominations.values() if one.facts.rank < rank and one.facts.uid in nominated]
        if isinstance(failure, QuotaExceeded) and not any(one.facts.namespace == facts.namespace for one in lower):
            return []
        fleet = self._state.fleet
        if not lower or fleet.neighbours.active or facts.rules is not None:
            return lower  # a neighbour counts for more than its own node
        over_quota = isinstance(failure, QuotaExceeded) or DeviceReason.QUOTA in failure.reasons
        if facts.request is not None:
            pool = fleet.pools.get(facts.request.pool)
            on = (
                {}
                if pool is None
                else {one.placement.node: pool.row_of(one.placement.node) is not None for one in lower}
            )
        else:
            selector = facts.node_selector.items()
            records = {one.placement.node: fleet.nodes.records.get(one.placement.node) for one in lower}
            on = {
                name: record is not None and record.facts is not None and selector <= record.facts.labels.items()
                for name, record in records.items()
            }
        return [
            one
            for one in lower
            if on.get(one.placement.node) or (over_quota and one.facts.namespace == facts.namespace)
        ]

    def _holds(self, facts: PodFacts, placement: Placement) -> bool:
        mark = self._state.checkpoint()
        try:
            self._state.assume(facts, placement)
        except TensorFusionError:
            return False
        finally:
            self._state.rollback(mark)
        return True

    # --- asking ---

    def consider(self, pending: Pending, pod: Pod) -> None:
        """The pod was held back: look for room as soon as the bound on searches allows."""
        facts = pending.facts
        if pending.uid in self.nominations or (facts.gang is not None and not self._goes_singly(facts)):
            return  # a gang needs room for all of its members at once
        if not pod.status.nominated_node_name and not self._may_help(facts):
            return
        rest = self._rests.get(pending.uid)
        if rest is not None and rest.facts == facts and self._clock.monotonic() < rest.until:
            rest.wanted = True
            return
        self._ask(pending)
        self._kick()

    def _ask(self, entry: Pending) -> None:
        """Put a pod in line, once."""
        if entry.uid in self._asked:
            return
        self._asked.add(entry.uid)
        space = entry.facts.namespace
        turn = self._turns[space] = max(self._turn, self._turns.get(space, 0)) + 1
        heapq.heappush(self._asking, (-entry.facts.rank, turn, entry.arrival, entry.uid))

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
        if self._rests:
            self._look()
        while self._asking and self._has_token():
            _, self._turn, _, uid = heapq.heappop(self._asking)
            self._asked.discard(uid)
            entry = self._book.queue.get(uid)
            if entry is None or entry.place is not Place.WAITING or uid in self.nominations:
                continue
            if waits_for_gang(entry.failure) or (entry.facts.gang is not None and not self._goes_singly(entry.facts)):
                continue  # it would not get the place; it is refused again when it is its turn
            pod = self._pods.get(Key(entry.facts.namespace, entry.facts.name))
            if pod is not None and pod.metadata.uid == uid and not pod.metadata.deleting:
                self._search_safely(entry, pod)
        if not self._asking and self._turns:
            self._turns.clear()
            self._turn = 0

    def _look(self) -> None:
        """End the rests of pods for which something changed or time went by."""
        now = self._clock.monotonic()
        eased, self._eased = self._state.eased != self._eased, self._state.eased
        if now - self._looked_at < LOOK_EVERY and not eased:
            return
        self._looked_at = now
        wall = self._clock.now().timestamp()
        for uid, rest in list(self._rests.items()):
            if uid not in self._book.queue:
                del self._rests[uid]
            elif rest.protected_until <= wall or (eased and rest.protected_until != NEVER):
                self._ask_again(uid)
            elif rest.wanted and rest.until <= now:
                rest.wanted = False
                entry = self._book.queue.get(uid)
                if entry is not None and entry.place is Place.WAITING:
                    self._ask(entry)

    def budget_changed(self, namespace: str) -> None:
        """A disruption budget may let pods go that it kept before."""
        for uid in [uid for uid, rest in self._rests.items() if namespace in rest.spaces]:
            self._ask_again(uid)
            self._kick()

    def _ask_again(self, uid: str) -> None:
        """Something changed for the pod: it rests no more."""
        self._rests.pop(uid, None)
        entry = self._book.queue.get(uid)
        if entry is not None and entry.place is Place.WAITING:
            self._ask(entry)

    def _has_token(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(SEARCHES_A_SECOND, self._tokens + (now - self._counted_at) * SEARCHES_A_SECOND)
        self._counted_at = now
        return self._tokens > 0

    def _search_safely(self, entry: Pending, pod: Pod) -> None:
        try:
            self._search(entry, pod)
        except Exception:  # the edge of the loop: one pod's fault must not stop the others
            log.exception("search for victims failed unexpectedly", pod=pod.key)
            if entry.uid in self._state.nominated and entry.uid not in self.nominations:
                self._hints += self._state.release(entry.uid)
            self._rest(entry.facts)

    def _search(self, entry: Pending, pod: Pod) -> None:
        state, facts = self._state, entry.facts
        self._tokens -= 1 + (state.fleet.present + len(state.allocations)) // COST_OF
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
            budgets=self._budgets_of,
        )
        if isinstance(found, Plan):
            self._nominate(entry, pod, found)
            return
        meters.PREEMPTIONS.add(("hopeless",))
        self._tell(entry.uid, looked=found.looked, space=facts.namespace, outcome=_why_hopeless(found))
        spaces = frozenset(name.partition("/")[0] for name in found.looked.budgets)
        self._rest(facts, protected_until=found.protected_until, spaces=spaces)
        if pod.status.nominated_node_name:
            self._evictions.forget(entry.uid, pod.key)

    def _rest(self, facts: PodFacts, *, protected_until: int = NEVER, spaces: frozenset[str] = frozenset()) -> None:
        """Do not search for this pod for a while, longer each time."""
        before = self._rests.get(facts.uid)
        doublings = before.doublings + 1 if before is not None and before.facts == facts else 0
        until = self._clock.monotonic() + min(LONGEST_REST, FIRST_REST * (1 << min(doublings, 8)))
        self._rests[facts.uid] = Rest(facts, until, doublings, protected_until=protected_until, spaces=spaces)

    def _spared_now(self) -> frozenset[str]:
        now = self._clock.monotonic()
        if self._spared:
            self._spared = {uid: until for uid, until in self._spared.items() if until > now}
        return frozenset(self._spared)

    def _budgets_of(self, facts: PodFacts) -> Mapping[str, int]:
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
        names = tuple(_name(one.pod, facts.namespace) for one in plan.victims)
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
        self._rests.pop(facts.uid, None)
        self._state.awaited.update(nomination.awaited, (facts.uid,))
        self._members = self._members or facts.gang is not None
        meters.PREEMPTIONS.add(("nominated",))
        node = plan.placement.node
        waits = (
            f"once {', '.join(names[:5]) or 'pods that are ending'}{' and others' if len(names) > 5 else ''} left it"
        )
        self._reports.nominated(pod, node, waits)
        self._tell(facts.uid, looked=plan.looked, space=facts.namespace, node=node, victims=names, outcome="nominated")
        log.info("nominated", pod=pod.key, node=node, victims=len(names), ending=len(plan.ending))
        self._evictions.start(facts.uid)

    def _waits(self, nomination: Nomination) -> bool:
        """Whether anybody is still there that has to leave."""
        allocations = self._state.allocations
        return any(uid in allocations for uid in nomination.awaited)

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
            elif not self._is_there(one.placement):
                self._drop(one, "the node or a device of it is gone")
                self._book.queue.activate(uid)
            elif not self._waits(one):
                if entry.place in (Place.WAITING, Place.BACKOFF):
                    self._book.queue.activate(uid)
            elif watch and now - one.since > LONGEST_NOMINATION and (stuck := self._overdue(one)):
                self._spared.update(dict.fromkeys(stuck, now + STUCK_FOR))
                self._drop(one, "the pods that have to leave do not end")
                self._book.queue.activate(uid)
        awaited = self._state.awaited
        awaited.clear()
        self._members = any(one.facts.gang is not None for one in self.nominations.values())
        awaited.update(self.nominations, *(one.awaited for one in self.nominations.values()))

    def _overdue(self, nomination: Nomination) -> list[str]:
        """Those that should have left long ago. The end that was announced to a pod includes the time it may take."""
        latest = self._clock.now().timestamp() - LONGEST_NOMINATION
        overdue = []
        for uid in nomination.awaited:
            allocation = self._state.allocations.get(uid)
            if allocation is None:
                continue
            pod = self._pods.get(Key(allocation.pod.namespace, allocation.pod.name))
            if pod is None or pod.metadata.uid != uid:
                continue  # gone; the event is on its way
            announced = pod.metadata.deletion_timestamp
            if announced is None or datetime.fromisoformat(announced).timestamp() <= latest:
                overdue.append(uid)
        return overdue

    def _is_there(self, placement: Placement) -> bool:
        node = self._state.fleet.nodes.records.get(placement.node)
        devices = self._state.fleet.devices
        return (
            node is not None
            and node.facts is not None
            and node.facts.ready
            and all(name in devices and devices[name].facts is not None for name in placement.devices)
        )

    def _drop(self, nomination: Nomination, why: str) -> None:
        """End a nomination: the hold is given back, and the name of the node taken out of the pod's status."""
        uid = nomination.facts.uid
        if self.nominations.pop(uid, None) is None:
            return
        if uid in self._state.nominated:
            self._hints += self._state.release(uid)
        log.info("nomination ends", pod=nomination.key, node=nomination.placement.node, why=why)
        self._tell(uid, outcome=f"no place is kept any more: {why}")
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
        self._asking.clear()
        self._asked.clear()
        self._turns.clear()
        self._turn = 0
        self._rests.clear()
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
                self._ask_again(nomination.facts.uid)
        self._kick()

    # --- telling ---

    def story(self, uid: str) -> Raw | None:
        """What came of looking for room for a pod, in words; None where nobody looked."""
        return self._stories.get(uid)

    def _tell(
        self,
        uid: str,
        *,
        outcome: str,
        looked: Looked | None = None,
        space: str = "",
        node: str = "",
        victims: Iterable[str] = (),
    ) -> None:
        story = self._stories.pop(uid, {})
        if looked is not None:
            story = {
                "considered": looked.considered,
                "nodesTried": looked.nodes,
                "triedOut": [_name(one, space) for one in looked.pods],
                "keptByBudgets": _budget_names(looked.budgets, space),
                "node": node,
                "victims": list(victims),
            }
        story["outcome"] = outcome
        self._stories[uid] = story
        if len(self._stories) > STORIES:
            self._stories.popitem(last=False)


def _name(pod: PodFacts, space: str) -> str:
    """A pod's name for readers of a namespace: those of others stay unnamed."""
    return f"{pod.namespace}/{pod.name}" if pod.namespace == space else "a pod of another namespace"


def _budget_names(budgets: Iterable[str], space: str) -> list[str]:
    """Disruption budgets for readers of a namespace: those of others are counted."""
    every = list(budgets)
    own = [name for name in every if name.startswith(f"{space}/")]
    others = len(every) - len(own)
    return [*own, f"{others} of other namespaces"] if others else own


def _why_hopeless(found: Hopeless) -> str:
    if not found.looked.considered:
        if found.protected_until != NEVER:
            return "less important pods are protected from eviction for some time"
        return "no pod that may be evicted for it is less important"
    if found.looked.budgets:
        return "disruption budgets keep the pods whose going would make room"
    return "evicting every less important pod would not make room"
