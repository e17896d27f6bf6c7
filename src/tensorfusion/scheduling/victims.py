"""Who may have to go, what may go only together, and who of those on one node really has to.

Apart from the searches (``preemption``, ``gang_preemption``) because one pod and a whole gang ask the same of a node:
which pods and gangs would leave it, which of them their disruption budgets let go, and who can be put back. What a
search has chosen already is charged to the budgets, so that several steps together never break one.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.owing import Owing
from tensorfusion.scheduling.preemption_place import Place
from tensorfusion.scheduling.residents import NO_GANG, Bools, Ints, Leaving
from tensorfusion.scheduling.state import State

ORDERS_TRIED = 32
"""Orders at most in which the pods of one node are asked for what they hold of others."""
PODS_TOLD = 8
"""Pods that were tried out and are named afterwards."""
_COUNTS = 1 << 35
"""Added to the rank of each victim in sums: above every difference of ranks, so that fewer victims are better."""

Budgets = Callable[[PodFacts], Mapping[str, int]]
"""The disruption budgets that cover a pod, by name, and how many pods each of them lets go now."""


def no_budgets(_: PodFacts) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Looked:
    """What a search looked at: how many pods may have to go at all, and the nodes and pods that were tried out."""

    considered: int = 0
    nodes: int = 0
    pods: tuple[PodFacts, ...] = ()
    """The first of those that were tried out."""
    budgets: tuple[str, ...] = ()
    """Disruption budgets that kept somebody."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes together: a pod, or a whole gang. ``work`` is what is lost, in seconds times devices.

    ``uid``, the lowest of its members', settles what is equal otherwise: rows depend on when they were written down.
    """

    rank: int
    work: int
    uid: str
    members: tuple[Allocation, ...]
    owed: bool = False
    """It goes only because its namespace holds what is another's own."""
    shift: int = 0
    """What ``rank`` has more than its members' own."""


@dataclass(frozen=True, slots=True)
class Going:
    """Who goes: victims, those that end anyway, and promises that are given up."""

    units: tuple[Unit, ...] = ()
    ending: tuple[Allocation, ...] = ()
    displaced: tuple[Allocation, ...] = ()

    @property
    def victims(self) -> tuple[Allocation, ...]:
        return tuple(one for unit in self.units for one in unit.members)

    @property
    def owed(self) -> frozenset[str]:
        """Uids of those that go only because their namespace owes them."""
        return frozenset(one.pod.uid for unit in self.units if unit.owed for one in unit.members)

    @property
    def everybody(self) -> tuple[Allocation, ...]:
        return (*self.ending, *self.displaced, *self.victims)

    @property
    def work(self) -> int:
        return sum(unit.work for unit in self.units)

    @property
    def cost(self) -> tuple[int, int, int]:
        """The smaller one is preferred: the highest rank that goes, how many and how important, the lost work."""
        ranks = [one.pod.rank + unit.shift for unit in self.units for one in unit.members]
        highest = max(ranks, default=int(np.iinfo(np.int64).min))
        return highest, sum(rank + _COUNTS for rank in ranks), self.work


def cheapest_first(unit: Unit) -> tuple[int, int, str]:
    return unit.rank, unit.work, unit.uid


class Candidates:
    """Who may have to go in one search."""

    def __init__(
        self, state: State, leaving: Leaving, now: int, budgets: Budgets, *, owing: Owing | None = None
    ) -> None:
        self.leaving = leaving
        self._owing = owing
        """What is still owed: those who are to go by what was chosen so far count as gone."""
        self._state = state
        self._now = now
        self._budgets = budgets
        self._charged: Counter[str] = Counter()
        self._covers: dict[str, Mapping[str, int]] = {}
        """The budgets that cover each pod that was asked about, by uid."""
        self._seen: dict[str, PodFacts] = {}
        self._kept: dict[str, None] = {}

    def looked(self, nodes: int) -> Looked:
        """What was looked at so far."""
        considered = int(np.count_nonzero(self.leaving.victims))
        return Looked(considered, nodes, tuple(self._seen.values()), tuple(self._kept))

    def allocations(self, rows: Ints) -> tuple[Allocation, ...]:
        """What the pods of these rows hold, in the order of their uids."""
        residents, allocations = self._state.residents, self._state.allocations
        return tuple(allocations[uid] for uid in sorted([residents.uids[row] for row in rows.tolist()]))

    def units(self, rows: Ints) -> list[Unit]:
        """Pods, and gangs as a whole, each once."""
        residents, allocations = self._state.residents, self._state.allocations
        units: list[Unit] = []
        gangs: set[int] = set()
        columns = residents.gang[rows], self.leaving.rank[rows], self._works(rows)
        owed, shift = self.leaving.owed, self.leaving.shift
        for row, gang, rank, work in zip(rows.tolist(), *(column.tolist() for column in columns), strict=True):
            if gang == NO_GANG:
                uid = residents.uids[row]
                units.append(Unit(rank, work, uid, (allocations[uid],)))
            elif gang not in gangs:
                gangs.add(gang)
                live = np.array([one for one in residents.members(row) if not self.leaving.free[one]], np.int64)
                leaves = self.allocations(live)
                units.append(Unit(rank, int(self._works(live).sum()), leaves[0].pod.uid, leaves))
            else:
                continue
            if owed is not None and shift is not None:
                units[-1] = replace(units[-1], owed=bool(owed[row]), shift=int(shift[row]))
        return units

    def _works(self, rows: Ints) -> Ints:
        """Seconds of devices that these pods have worked for."""
        works: Ints = np.maximum(0, self._now - self._state.residents.born[rows]) * self._state.residents.width[rows]
        return works

    def on_nodes(self, nodes: Ints, goes: Bools) -> Iterator[tuple[int, Going]]:
        """These nodes, each with all who may go from it: the units of ``goes``, the cheapest first, and those that
        leave anyway."""
        residents, free = self._state.residents, self.leaving.free
        uids, allocations = residents.uids, self._state.allocations
        for node in nodes.tolist():  # within a statement some have gone already
            here = np.array([row for row in residents.on_node(node) if uids[row] in allocations], np.int64)
            leave = self.allocations(here[free[here]])
            ending = tuple(one for one in leave if not one.nominated)
            promised = tuple(one for one in leave if one.nominated)
            units = sorted(self.units(here[goes[here]]), key=cheapest_first)
            yield node, Going(tuple(units), ending, promised)

    def try_out(self, pod: PodFacts, node: int, going: Going, *, roomy: bool = False) -> Going | None:
        """Who of those has to go so that the pod fits on the node; None where it does not fit even without all.

        Where it has room as things are, a rule between pods was in the way: only those that leave anyway may lift it.
        ``roomy``: others have made room meanwhile, so that nobody need go.
        """
        record = self._state.fleet.nodes.rows[node]
        if record is None:
            return None
        place = Place(self._state, pod, record)
        free = (*going.ending, *going.displaced)
        if not free and place.fits():
            return Going() if roomy else None
        place.go(free)
        if place.fits():
            return Going((), *needed(place, free))
        units = self.allowed(going.units)
        for unit in units:
            place.go(unit.members)
        if not place.fits():
            others = self._in_another_order(place, units, going.units)
            if others is None:
                return None
            units = others
        units = [unit for unit in units if place.concerns(unit.members)]
        kept = reprieved(place, units)
        one = one_instead(place, kept, units)
        return Going(tuple(kept) if one is None else (one,), *needed(place, free))

    def allowed(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of these, the cheapest first, that their disruption budgets let go together."""
        taken = self._charged.copy()
        owing = self._owing.fork() if self._owing is not None else None
        allowed = []
        for unit in units:
            if owing is not None and _bound(owing, unit) and not owing.may_go(unit.members):
                continue
            if len(self._seen) < PODS_TOLD:
                self._see(unit)
            if self._let_go(unit, taken):
                if owing is not None:
                    owing.release(unit.members)
                allowed.append(unit)
        return allowed

    def _in_another_order(self, place: Place, gone: Sequence[Unit], units: Sequence[Unit]) -> list[Unit] | None:
        """What is owed was spent on pods whose going is of no use: the pods of one device first, and each pod first.

        Of these units, of which those in ``gone`` are gone. None where the pod fits in none of the orders.
        """
        if self._owing is None or len(gone) == len(units):
            return None
        orders: dict[int, list[Unit]] = {}
        for unit in units:
            for device in {device.number for one in unit.members for device in one.devices}:
                orders.setdefault(device, []).append(unit)
        by_device = list(orders.values())
        firsts = [first + [one for other in by_device if other is not first for one in other] for first in by_device]
        for first in [*firsts, *([unit] for unit in units)][:ORDERS_TRIED]:
            for unit in gone:
                place.back(unit.members)
            gone = self.allowed(list({unit.uid: unit for unit in (*first, *units)}.values()))
            for unit in gone:
                place.go(unit.members)
            if place.fits():
                return sorted(gone, key=cheapest_first)
        return None

    def _let_go(self, unit: Unit, taken: Counter[str]) -> bool:
        """Whether its budgets let the unit go beside what was ``taken``; taken from there, too, if so."""
        covers = [budgets for one in unit.members if (budgets := self._budgets_of(one.pod))]
        if not covers:
            return True
        wanted = Counter(name for budgets in covers for name in budgets)
        room = {name: left for budgets in covers for name, left in budgets.items()}
        several = any(len(budgets) > 1 for budgets in covers)  # the server evicts no pod that two budgets cover
        if several or any(taken[name] + count > room[name] for name, count in wanted.items()):
            self._kept.update(dict.fromkeys(wanted))
            return False
        taken.update(wanted)
        return True

    def _see(self, unit: Unit) -> None:
        """Remember the first pods that were tried out."""
        for one in unit.members[: PODS_TOLD - len(self._seen)]:
            self._seen.setdefault(one.pod.uid, one.pod)

    def in_turn(self, units: Iterable[Unit], most: int) -> list[Unit]:
        """The first of those that their namespaces owe in the order in which they give back, then of the others.

        Shares fall with each that goes; whoever is not owed any more by then, or is kept by its budget, is left out.
        Ranked by that order.
        """
        if self._owing is None or self._owing.shields:
            return sorted(units, key=cheapest_first)[:most]
        queues: dict[str, list[Unit]] = {}
        others: list[Unit] = []
        for unit in sorted(units, key=cheapest_first):
            (queues.setdefault(unit.members[0].pod.namespace, []) if unit.owed else others).append(unit)
        owing = self._owing.fork()
        found: list[Unit] = []
        taken = self._charged.copy()
        turns = [(owing.turn(name), name, iter(queue)) for name, queue in queues.items()]
        heapq.heapify(turns)
        while turns and len(found) < most:
            turn, name, queue = turns[0]
            now = owing.turn(name)
            if now != turn:
                heapq.heapreplace(turns, (now, name, queue))
                continue
            next_one = next((one for one in queue if owing.may_go(one.members) and self._let_go(one, taken)), None)
            if next_one is None:
                heapq.heappop(turns)
            else:
                owing.release(next_one.members)
                found.append(next_one)
        return [replace(unit, rank=number) for number, unit in enumerate((*found, *others)[:most])]

    def _budgets_of(self, pod: PodFacts) -> Mapping[str, int]:
        found = self._covers.get(pod.uid)
        if found is None:
            found = self._covers[pod.uid] = self._budgets(pod)
        return found

    def charge(self, victims: Iterable[Allocation], sign: int = 1) -> bool:
        """These are to go (or, with -1, stay after all): their budgets let so many fewer go from here on.

        So does what their namespaces owe. Answers whether there is any such bound.
        """
        if self._owing is not None:
            self._owing.release(victims, sign)
        names = [name for one in victims for name in self._budgets_of(one.pod)]
        for name in names:
            self._charged[name] += sign
        return bool(names) or self._owing is not None


def _bound(owing: Owing, unit: Unit) -> bool:
    return owing.bounds(unit.members[0].pod.namespace, owed=unit.owed)


class Trial(Protocol):
    """Where it is tried out who has to go."""

    def go(self, allocations: Iterable[Allocation]) -> None: ...

    def back(self, allocations: Iterable[Allocation]) -> None: ...

    def fits(self) -> bool: ...


def reprieved(trial: Trial, units: list[Unit]) -> list[Unit]:
    """Put back whoever need not go, the most important and longest running first; answers who has to go."""
    gone = []
    for unit in sorted(units, key=lambda unit: (-unit.rank, -unit.work, unit.uid)):
        trial.back(unit.members)
        if not trial.fits():
            trial.go(unit.members)
            gone.append(unit)
    return gone


def one_instead(trial: Trial, kept: list[Unit], units: list[Unit]) -> Unit | None:
    """A single pod, no more important, whose going is enough where the reprieve let several go. Leaves it gone."""
    if len(kept) < 2:
        return None
    highest = max(unit.rank for unit in kept)
    for unit in kept:
        trial.back(unit.members)
    for unit in sorted(units, key=cheapest_first):
        if unit.rank <= highest and len(unit.members) == 1:
            trial.go(unit.members)
            if trial.fits():
                return unit
            trial.back(unit.members)
    for unit in kept:
        trial.go(unit.members)
    return None


def needed(trial: Trial, free: Iterable[Allocation]) -> tuple[tuple[Allocation, ...], tuple[Allocation, ...]]:
    """Of those that cost nothing all that end anyway, and the promises that have to be given up."""
    promised = [one for one in free if one.nominated]
    displaced = []
    for one in sorted(promised, key=lambda one: (-one.pod.rank, one.pod.uid)):
        trial.back((one,))
        if not trial.fits():
            trial.go((one,))
            displaced.append(one)
    return tuple(one for one in free if not one.nominated), tuple(displaced)
