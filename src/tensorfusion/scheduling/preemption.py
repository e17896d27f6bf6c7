"""Who has to go so that a pod that fits nowhere gets a place, and which place that is. No side effect.

The answer is always proven: in a statement that is rolled back the victims are released and the pod is decided as any
other. Preferred, in this order: the least important highest victim; the smallest sum of importances, in which every
victim counts (so in effect the fewest victims); the least lost work; the node that became known first. Whoever need not
go is put back, the most important first. Pods that end anyway go first and cost nothing, and so do places that are only
promised to less important pods; whole nodes that are kept for whole-node jobs are opened before anybody is evicted.
A disruption budget is never broken: a pod that its budget does not let go stays.

Nodes come from ``preemption_rows``, which is fast and optimistic; each is tried out on its own few devices
(``victims``, ``preemption_place``), which asks the same as the filters of a decision without looking at the fleet.

Source: Kubernetes' DefaultPreemption (order of preference, reprieve); TensorFusion's preemption rules (eviction
protection, victims of other namespaces only where configured, quota counted without the victims). Ours: who holds
what is lent may have to go for its owner (``owing``).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.owing import BAND, Owing, owed_to, shield_from, stays_within
from tensorfusion.scheduling.preemption_rows import VICTIM, levels
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.residents import NEVER, Debts, Leaving, Terms, gang_of
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import (
    Budgets,
    Candidates,
    Going,
    Looked,
    Unit,
    needed,
    no_budgets,
    reprieved,
)

NODES_TRIED = 64
"""Nodes of one level that are tried out at most."""
MOST_TRIED = 192
"""Nodes that one search tries out at most."""
BARRED_TRIED = 64
"""Nodes that one search tries out at most in addition though a rule between pods closes them as things are."""
ENOUGH = 6
"""Plans of one level after which no further node is tried out."""
QUOTA_VICTIMS = 256
"""Pods of a namespace over quota that are looked at, the cheapest first."""
SYSTEM_PRIORITY = 2_000_000_000
"""From here on a pod is the system's own, and victims may be of any namespace."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A place for the pod once ``victims`` were evicted, ``ending`` have ended, ``displaced`` gave up their promise."""

    placement: Placement
    victims: tuple[Allocation, ...]
    ending: tuple[str, ...]
    displaced: tuple[str, ...]
    looked: Looked
    instead: tuple[Allocation, ...] = ()
    """The pod takes a whole node that is kept for whole-node jobs: else these would have to go."""
    owed: frozenset[str] = frozenset()
    """Uids of victims that go only because their namespace holds what is the pod's namespace's own."""

    @property
    def free(self) -> bool:
        """Nobody has to leave: the pod fits as things are."""
        return not (self.victims or self.ending or self.displaced)


@dataclass(frozen=True, slots=True)
class Hopeless:
    """Nobody's going would help. ``protected_until``: when the first protected pod may be asked, else ``NEVER``.

    ``entitled``: those that hold what is its namespace's own were asked.
    """

    looked: Looked
    protected_until: int = NEVER
    entitled: bool = False


def search(
    state: State,
    pod: PodFacts,
    failure: NotFit | QuotaExceeded,
    *,
    now: int,
    cluster_wide: bool = False,
    spared: frozenset[str] = frozenset(),
    budgets: Budgets = no_budgets,
) -> Plan | Hopeless:
    """Find the cheapest victims for a pod that failed so. ``now`` is in Unix seconds; ``spared`` are left alone."""
    if not pod.preempts or (isinstance(failure, QuotaExceeded) and not failure.resolvable):
        return Hopeless(Looked())
    state.residents.sync()
    anywhere = cluster_wide or pod.priority >= SYSTEM_PRIORITY
    terms = Terms(pod.rank, now, "" if anywhere else pod.namespace, spared, gang_of(pod))
    hopeless = Hopeless(Looked())
    for leaving, owing in leavings(state, terms, (pod,)):
        attempt = _Attempt(state, pod, Candidates(state, leaving, now, budgets, owing=owing), now=now)
        with state.kept_as_now(pod.request.pool if pod.request is not None else ""):
            plan = attempt.over_quota() if isinstance(failure, QuotaExceeded) else None
            plan = plan or attempt.on_one_node()
        whole = isinstance(failure, NotFit) and NodeReason.KEPT_WHOLE in failure.reasons
        if plan is not None and plan.victims and whole:
            plan = attempt.through_the_hold(plan) or plan
        if plan is not None:
            return plan
        until = min(leaving.protected_until, hopeless.protected_until)
        hopeless = Hopeless(attempt.looked, until, entitled=leaving.owed is not None)
    return hopeless


def leavings(state: State, terms: Terms, pods: Sequence[PodFacts]) -> Iterator[tuple[Leaving, Owing | None]]:
    """Who may have to go for these pods of one namespace, in the order in which it is tried.

    Where others hold what is the namespace's own they are asked first, and then together with those that are less
    important; nearly always there is nobody but these.
    """
    owing = owed_to(state, pods, terms.spared)
    if owing is None:
        shield = None if terms.namespace else shield_from(state, pods, terms.spared)
        yield state.residents.leaving(terms), shield
        return
    lower = frozenset(name for name, debtor in owing.debtors.items() if debtor.lower_only)
    for alone in (True, False):
        debts = Debts(owing.places(), lower, BAND, alone)
        yield state.residents.leaving(terms, debts), owing.fork()


def quota_victims(
    state: State, pod: PodFacts, candidates: Candidates, leaving: Leaving
) -> tuple[list[Unit], tuple[Allocation, ...]]:
    """Who may have to go, and who leaves anyway, of those that count for the same quota as the pod."""
    residents = state.residents
    own = residents.of_namespace(pod.namespace)
    meant, same = own, own
    if leaving.owed is not None:
        meant = own | leaving.owed
        same = residents.of_namespaces(state.quotas.cohorts.together(pod.namespace))
    units = candidates.units(np.flatnonzero(leaving.victims & meant & (residents.worker > 0)))
    return units, candidates.allocations(np.flatnonzero(leaving.free & same))


class _Attempt:
    """One search."""

    def __init__(self, state: State, pod: PodFacts, candidates: Candidates, *, now: int) -> None:
        self._state = state
        self._pod = pod
        self._candidates = candidates
        self._now = now
        self.tried = 0
        self._tried_barred = 0

    @property
    def looked(self) -> Looked:
        """What was looked at so far."""
        return self._candidates.looked(self.tried)

    def on_one_node(self) -> Plan | None:
        """The cheapest plan whose victims make room on one node."""
        for level in levels(self._state, self._pod, self._candidates.leaving, now=self._now, most=NODES_TRIED):
            plans: list[tuple[tuple[int, ...], Going]] = []
            least = None
            going_of = self._candidates.on_nodes(level.nodes[:NODES_TRIED], level.goes)
            nodes = zip(going_of, level.bounds.tolist(), level.barred.tolist(), strict=False)
            for (node, going), bound, barred in nodes:
                if len(plans) >= ENOUGH or (least is not None and least <= bound) or self._tired(barred=barred):
                    break
                self.tried += 1
                self._tried_barred += barred
                found = self._candidates.try_out(self._pod, node, going)
                if found is not None and not (barred and self._proven(found) is None):
                    plans.append(((*found.cost, node), found))
                    cost = VICTIM * len(found.victims) + found.work
                    least = cost if least is None else min(least, cost)
            for _, found in sorted(plans, key=lambda entry: entry[0]):
                plan = self._proven(found)
                if plan is not None:
                    return plan
        return None

    def through_the_hold(self, plan: Plan) -> Plan | None:
        """The pod's place on a node that is kept for others, which nobody has to leave."""
        with self._state.without_holds():
            placement = self._decided()
        if placement is None:
            return None
        return replace(
            plan, placement=placement, victims=(), ending=(), displaced=(), owed=frozenset(), instead=plan.victims
        )

    def _tired(self, *, barred: bool) -> bool:
        """Whether no further node may be tried out; the barred ones take nothing from the others."""
        if barred:
            return self._tried_barred >= BARRED_TRIED
        return self.tried - self._tried_barred >= MOST_TRIED

    def over_quota(self) -> Plan | None:
        """A plan whose victims count for the same quota as the pod, wherever they run."""
        units, free = quota_victims(self._state, self._pod, self._candidates, self._candidates.leaving)
        mark = self._state.checkpoint()
        try:
            found = self._out_of_quota(self._candidates.in_turn(units, QUOTA_VICTIMS), free)
        finally:
            self._state.rollback(mark)
        return None if found is None else self._proven(found)

    def _out_of_quota(self, units: list[Unit], free: tuple[Allocation, ...]) -> Going | None:
        books = _Books(self._state, self._pod)
        books.go(free)
        gone: list[Unit] = []
        placement, ask_at = self._decided(), 1
        for unit in self._candidates.allowed(units):
            if placement is not None:
                break
            books.go(unit.members)
            gone.append(unit)
            if len(gone) >= ask_at and books.quota_has_room():
                placement, ask_at = self._decided(), 2 * len(gone)
        books.placement = placement or self._decided()
        if books.placement is None:
            return None
        kept = reprieved(books, gone)
        return Going(tuple(kept), *needed(books, free))

    # --- proof ---

    def _proven(self, going: Going) -> Plan | None:
        """The plan, if the pod is really placed once all of these are gone."""
        mark = self._state.checkpoint()
        try:
            self._state.without(going.everybody)
            placement = self._decided()
        finally:
            self._state.rollback(mark)
        owed = going.owed
        if placement is None or (owed and not stays_within(self._state, ((self._pod, placement),))):
            return None
        return Plan(
            placement=placement,
            victims=going.victims,
            ending=tuple(one.pod.uid for one in going.ending),
            displaced=tuple(one.pod.uid for one in going.displaced),
            looked=self.looked,
            owed=owed,
        )

    def _decided(self) -> Placement | None:
        try:
            return decide(self._state, self._pod).placement
        except (NotFit, QuotaExceeded):
            return None


class _Books:
    """The ledger itself, within a statement, asked for one placement."""

    def __init__(self, state: State, pod: PodFacts) -> None:
        self._state = state
        self._pod = pod
        self.placement: Placement | None = None

    def go(self, allocations: Iterable[Allocation]) -> None:
        self._state.without(allocations)

    def back(self, allocations: Iterable[Allocation]) -> None:
        for one in allocations:
            if one.nominated:
                self._state.nominate(one.pod, one.placement, one.awaits)
            else:
                self._state.confirm(one.pod, one.placement)

    def fits(self) -> bool:
        if self.placement is None:
            return False
        try:
            self._state.assume(self._pod, self.placement)
        except (NotHoldable, QuotaExceeded):
            return False
        self._state.release(self._pod.uid)
        return True

    def quota_has_room(self) -> bool:
        try:
            if self._pod.request is not None:
                self._state.quotas.check(self._pod.namespace, self._pod.request)
        except QuotaExceeded:
            return False
        return True
