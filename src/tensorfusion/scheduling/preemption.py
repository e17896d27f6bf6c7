"""Who has to go so that a pod that fits nowhere gets a place, and which place that is. No side effect.

The answer is always proven: in a statement that is rolled back the victims are released and the pod is decided as any
other. Preferred, in this order: the least important highest victim; the smallest sum of importances, in which every
victim counts (so in effect the fewest victims); the least lost work; the node that became known first. Whoever need not
go is put back, the most important first. Pods that end anyway go first and cost nothing, and so do places that are only
promised to less important pods. A disruption budget is never broken: a pod that its budget does not let go stays.

Nodes come from ``preemption_rows``, which is fast and optimistic; here each is tried out on its own few devices
(``preemption_place``), which asks the same as the filters of a decision without looking at the fleet.

Source: Kubernetes' DefaultPreemption (order of preference, reprieve); TensorFusion's preemption rules (eviction
protection, victims of other namespaces only where configured, quota counted without the victims).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.preemption_place import Place
from tensorfusion.scheduling.preemption_rows import VICTIM, Level, levels
from tensorfusion.scheduling.residents import NEVER, Ints, Leaving, Terms
from tensorfusion.scheduling.state import State

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
PODS_TOLD = 8
"""Pods that were tried out and are named afterwards."""
SYSTEM_PRIORITY = 2_000_000_000
"""From here on a pod is the system's own, and victims may be of any namespace."""
_COUNTS = 1 << 35
"""Added to the rank of each victim in sums: above every difference of ranks, so that fewer victims are better."""

Budgets = Callable[[PodFacts], Mapping[str, int]]
"""The disruption budgets that cover a pod, by name, and how many pods each of them lets go now."""


def no_budgets(_: PodFacts) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Plan:
    """A place for the pod once ``victims`` were evicted, ``ending`` have ended, ``displaced`` gave up their promise."""

    placement: Placement
    victims: tuple[Allocation, ...]
    ending: tuple[str, ...]
    displaced: tuple[str, ...]
    looked: "Looked"


@dataclass(frozen=True, slots=True)
class Hopeless:
    """Nobody's going would help. ``protected_until``: when the first protected pod may be asked, else ``NEVER``."""

    looked: "Looked"
    protected_until: int = NEVER


@dataclass(frozen=True, slots=True)
class Looked:
    """What a search looked at: how many pods may have to go at all, and the nodes and pods that were tried out."""

    considered: int = 0
    nodes: int = 0
    pods: tuple[PodFacts, ...] = ()
    """The first of those that were tried out."""
    budgets: tuple[str, ...] = ()
    """Disruption budgets that kept somebody."""


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
    terms = Terms(pod.rank, now, "" if anywhere else pod.namespace, spared)
    leaving = state.residents.leaving(terms)
    attempt = _Attempt(state, pod, leaving, now, budgets)
    plan = attempt.over_quota() if isinstance(failure, QuotaExceeded) else None
    return plan or attempt.on_one_node() or Hopeless(attempt.looked, leaving.protected_until)


class _Attempt:
    """One search."""

    def __init__(self, state: State, pod: PodFacts, leaving: Leaving, now: int, budgets: Budgets) -> None:
        self._state = state
        self._pod = pod
        self._leaving = leaving
        self._now = now
        self._budgets = budgets
        self.tried = 0
        self._tried_barred = 0
        self._seen: dict[str, PodFacts] = {}
        self._kept: dict[str, None] = {}

    @property
    def looked(self) -> Looked:
        """What was looked at so far."""
        considered = int(np.count_nonzero(self._leaving.victims))
        return Looked(considered, self.tried, tuple(self._seen.values()), tuple(self._kept))

    def on_one_node(self) -> Plan | None:
        """The cheapest plan whose victims make room on one node."""
        for level in levels(self._state, self._pod, self._leaving, now=self._now):
            plans: list[tuple[tuple[int, ...], _Going]] = []
            least = None
            nodes = zip(self._residents_of(level), level.bounds.tolist(), level.barred.tolist(), strict=False)
            for (node, going), bound, barred in nodes:
                if len(plans) >= ENOUGH or (least is not None and least <= bound) or self._tired(barred=barred):
                    break
                self.tried += 1
                self._tried_barred += barred
                found = self._try_out(node, going)
                if found is not None and not (barred and self._proven(found) is None):
                    plans.append(((*self._cost(found), node), found))
                    cost = VICTIM * found.victims + found.work
                    least = cost if least is None else min(least, cost)
            for _, found in sorted(plans, key=lambda entry: entry[0]):
                plan = self._proven(found)
                if plan is not None:
                    return plan
        return None

    def _tired(self, *, barred: bool) -> bool:
        """Whether no further node may be tried out; the barred ones take nothing from the others."""
        if barred:
            return self._tried_barred >= BARRED_TRIED
        return self.tried - self._tried_barred >= MOST_TRIED

    def over_quota(self) -> Plan | None:
        """A plan whose victims are of the pod's own namespace, wherever they run."""
        residents = self._state.residents
        own = residents.of_namespace(self._pod.namespace)
        units = self._units(np.flatnonzero(self._leaving.victims & own & (residents.worker > 0)))
        free = self._allocations(np.flatnonzero(self._leaving.free & own))
        mark = self._state.checkpoint()
        try:
            found = self._out_of_quota(sorted(units, key=_cheapest_first)[:QUOTA_VICTIMS], free)
        finally:
            self._state.rollback(mark)
        return None if found is None else self._proven(found)

    def _out_of_quota(self, units: "list[_Unit]", free: tuple[Allocation, ...]) -> "_Going | None":
        books = _Books(self._state, self._pod)
        books.go(free)
        gone: list[_Unit] = []
        placement, ask_at = self._decided(), 1
        for unit in self._allowed(units):
            if placement is not None:
                break
            books.go(unit.members)
            gone.append(unit)
            if len(gone) >= ask_at and books.quota_has_room():
                placement, ask_at = self._decided(), 2 * len(gone)
        books.placement = placement or self._decided()
        if books.placement is None:
            return None
        kept = _reprieved(books, gone)
        return _Going(tuple(kept), *_needed(books, free))

    # --- one node ---

    def _residents_of(self, level: Level) -> Iterator[tuple[int, "_Going"]]:
        """The best nodes of a level, each with who goes from it."""
        residents = self._state.residents
        nodes = level.nodes[:NODES_TRIED]
        chosen = np.zeros(self._state.fleet.nodes.size, np.bool_)
        chosen[nodes] = True
        rows = np.flatnonzero((level.goes | self._leaving.free) & chosen[residents.node])
        by_node: dict[int, list[int]] = {}
        for row, node in zip(rows.tolist(), residents.node[rows].tolist(), strict=True):
            by_node.setdefault(node, []).append(row)
        for node in nodes.tolist():
            here = np.array(by_node.get(node, []), np.int64)
            free = self._allocations(here[self._leaving.free[here]])
            ending = tuple(one for one in free if not one.nominated)
            promised = tuple(one for one in free if one.nominated)
            yield node, _Going(tuple(self._units(here[level.goes[here]])), ending, promised)

    def _try_out(self, node: int, going: "_Going") -> "_Going | None":
        """Who of those has to go so that the pod fits on the node; None where it does not fit even without all.

        Where it has room as things are, a rule between pods was in the way: only those that leave anyway may lift it.
        """
        record = self._state.fleet.nodes.rows[node]
        if record is None:
            return None
        place = Place(self._state, self._pod, record)
        free = (*going.ending, *going.displaced)
        if not free and place.fits():
            return None
        place.go(free)
        if place.fits():
            return _Going((), *_needed(place, free))
        units = self._allowed(going.units)
        for unit in units:
            place.go(unit.members)
        if not place.fits():
            return None
        kept = _reprieved(place, units)
        one = _one_instead(place, kept, units)
        return _Going(tuple(kept) if one is None else (one,), *_needed(place, free))

    # --- proof ---

    def _proven(self, going: "_Going") -> Plan | None:
        """The plan, if the pod is really placed once all of these are gone."""
        victims = tuple(one for unit in going.units for one in unit.members)
        mark = self._state.checkpoint()
        try:
            for one in (*going.ending, *going.displaced, *victims):
                self._state.release(one.pod.uid)
            placement = self._decided()
        finally:
            self._state.rollback(mark)
        if placement is None:
            return None
        return Plan(
            placement=placement,
            victims=victims,
            ending=tuple(one.pod.uid for one in going.ending),
            displaced=tuple(one.pod.uid for one in going.displaced),
            looked=self.looked,
        )

    def _decided(self) -> Placement | None:
        try:
            return decide(self._state, self._pod).placement
        except (NotFit, QuotaExceeded):
            return None

    # --- who ---

    def _allocations(self, rows: Ints) -> tuple[Allocation, ...]:
        """What the pods of these rows hold, in the order of their uids."""
        residents, allocations = self._state.residents, self._state.allocations
        return tuple(allocations[uid] for uid in sorted([residents.uids[row] for row in rows.tolist()]))

    def _units(self, rows: Ints) -> "list[_Unit]":
        """Pods, and gangs as a whole, each once."""
        residents = self._state.residents
        units: dict[tuple[int, ...], _Unit] = {}
        for row in rows.tolist():
            members = tuple(residents.members(row))
            if members not in units:
                live = np.array([one for one in members if not self._leaving.free[one]], np.int64)
                work = int((np.maximum(0, self._now - residents.born[live]) * residents.width[live]).sum())
                leaves = self._allocations(live)
                units[members] = _Unit(int(self._leaving.rank[row]), work, leaves[0].pod.uid, leaves)
        return list(units.values())

    def _allowed(self, units: "Iterable[_Unit]") -> "list[_Unit]":
        """Those that their disruption budgets let go together, the least important first."""
        taken: Counter[str] = Counter()
        allowed = []
        for unit in sorted(units, key=_cheapest_first):
            wanted: Counter[str] = Counter()
            room: dict[str, int] = {}
            several = False
            for one in unit.members:
                if len(self._seen) < PODS_TOLD:
                    self._seen.setdefault(one.pod.uid, one.pod)
                budgets = self._budgets(one.pod)
                several = several or len(budgets) > 1  # the server evicts no pod that two budgets cover
                room.update(budgets)
                wanted.update(budgets.keys())
            if not several and all(taken[name] + count <= room[name] for name, count in wanted.items()):
                taken.update(wanted)
                allowed.append(unit)
            else:
                self._kept.update(dict.fromkeys(wanted))
        return allowed

    @staticmethod
    def _cost(going: "_Going") -> tuple[int, int, int]:
        ranks = [one.pod.rank for unit in going.units for one in unit.members]
        highest = max(ranks, default=int(np.iinfo(np.int64).min))
        return highest, sum(rank + _COUNTS for rank in ranks), going.work


@dataclass(frozen=True, slots=True)
class _Unit:
    """What goes together: a pod, or a whole gang. ``work`` is what is lost, in seconds times devices.

    ``uid``, the lowest of its members', settles what is equal otherwise: rows depend on when they were written down.
    """

    rank: int
    work: int
    uid: str
    members: tuple[Allocation, ...]


@dataclass(frozen=True, slots=True)
class _Going:
    """Who goes: victims, those that end anyway, and promises that are given up."""

    units: tuple[_Unit, ...]
    ending: tuple[Allocation, ...]
    displaced: tuple[Allocation, ...]

    @property
    def victims(self) -> int:
        return sum(len(unit.members) for unit in self.units)

    @property
    def work(self) -> int:
        return sum(unit.work for unit in self.units)


def _cheapest_first(unit: _Unit) -> tuple[int, int, str]:
    return unit.rank, unit.work, unit.uid


class _Trial(Protocol):
    """Where it is tried out who has to go."""

    def go(self, allocations: Iterable[Allocation]) -> None: ...

    def back(self, allocations: Iterable[Allocation]) -> None: ...

    def fits(self) -> bool: ...


def _reprieved(trial: _Trial, units: list[_Unit]) -> list[_Unit]:
    """Put back whoever need not go, the most important and longest running first; answers who has to go."""
    gone = []
    for unit in sorted(units, key=lambda unit: (-unit.rank, -unit.work, unit.uid)):
        trial.back(unit.members)
        if not trial.fits():
            trial.go(unit.members)
            gone.append(unit)
    return gone


def _one_instead(trial: _Trial, kept: list[_Unit], units: list[_Unit]) -> _Unit | None:
    """A single pod, no more important, whose going is enough where the reprieve let several go. Leaves it gone."""
    if len(kept) < 2:
        return None
    highest = max(unit.rank for unit in kept)
    for unit in kept:
        trial.back(unit.members)
    for unit in sorted(units, key=_cheapest_first):
        if unit.rank <= highest and len(unit.members) == 1:
            trial.go(unit.members)
            if trial.fits():
                return unit
            trial.back(unit.members)
    for unit in kept:
        trial.go(unit.members)
    return None


def _needed(trial: _Trial, free: Iterable[Allocation]) -> tuple[tuple[Allocation, ...], tuple[Allocation, ...]]:
    """Of those that cost nothing all that end anyway, and the promises that have to be given up."""
    promised = [one for one in free if one.nominated]
    displaced = []
    for one in sorted(promised, key=lambda one: (-one.pod.rank, one.pod.uid)):
        trial.back((one,))
        if not trial.fits():
            trial.go((one,))
            displaced.append(one)
    return tuple(one for one in free if not one.nominated), tuple(displaced)


class _Books:
    """The ledger itself, within a statement, asked for one placement."""

    def __init__(self, state: State, pod: PodFacts) -> None:
        self._state = state
        self._pod = pod
        self.placement: Placement | None = None

    def go(self, allocations: Iterable[Allocation]) -> None:
        for one in allocations:
            self._state.release(one.pod.uid)

    def back(self, allocations: Iterable[Allocation]) -> None:
        for one in allocations:
            if one.nominated:
                self._state.nominate(one.pod, one.placement)
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
