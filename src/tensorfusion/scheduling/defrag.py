"""Which nodes of a pool could be emptied, where their pods would go, and how many whole devices that frees. Pure.

The unit is a *step*: all pods with shares leave one node, and every one of them has a place elsewhere. Steps are tried
out in the ledger, in statements that are rolled back: what is found fits together, with everything that holds a place.
A node qualifies as ``defrag_candidates`` says; its pods may go to nodes of the pool that are at least as full as it is,
not empty, and not being emptied themselves, so that pods only ever move towards fullness.

The best step is the one that frees most whole devices for each pod that moves; of equal ones that with the least lost
work, then the node that became known first. How good a node can be at best is known before it is tried out (its devices
in use, if nobody's move breaks into a whole one), so nodes are tried best bound first, and most are never tried. What a
node was worth when it was tried out last is its bound for the steps after: places get scarcer with each step, and where
a target has become full enough for it meanwhile, it is only looked at later. A step that frees no device is taken last
of all: it makes a whole node of what was scattered. One that would break into more than it frees is not taken.

Source: TensorFusion's defragmentation (candidates, targets, all pods of a node together). Taking the best ratio first
instead of the emptiest node, and counting what the moves break into, is ours.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tensorfusion.scheduling.codes import Bools, Ints
from tensorfusion.scheduling.compact_place import CompactPlaces
from tensorfusion.scheduling.defrag_candidates import (
    Candidate,
    Kept,
    Terms,
    Why,
    candidate_of,
    kept_by_pods,
    largest_first,
)
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.state import State


@dataclass(frozen=True, slots=True)
class Move:
    """A pod that leaves its place for another. ``work`` is what it loses, in seconds times devices."""

    pod: PodFacts
    source: Placement
    target: Placement
    work: int


@dataclass(frozen=True, slots=True)
class Step:
    """One node emptied. ``frees`` is how many more devices of the pool are whole then; the node has ``devices``."""

    node: str
    moves: tuple[Move, ...]
    frees: int
    devices: int

    @property
    def work(self) -> int:
        """What is lost, in seconds times devices."""
        return sum(move.work for move in self.moves)

    @property
    def worth(self) -> Fraction:
        """Whole devices freed for each pod that moves."""
        return Fraction(self.frees, len(self.moves))


@dataclass(frozen=True, slots=True)
class DefragPlan:
    """Steps in the order in which they are taken, and why the other nodes that are hardly used stay as they are.

    ``whole_before`` and ``whole_after`` count the pool's devices that nobody has a share of.
    """

    steps: tuple[Step, ...]
    kept: Mapping[str, Kept]
    whole_before: int
    whole_after: int

    @property
    def moves(self) -> int:
        return sum(len(step.moves) for step in self.steps)


def plan(state: State, terms: Terms, *, most_steps: int | None = None, most_tried: int | None = None) -> DefragPlan:
    """Plan at most so many steps, trying out at most so many nodes; None is as many as there are.

    The same state and terms give the same plan. Nothing is changed.
    """
    pool = state.fleet.pools.get(terms.pool)
    if pool is None or not pool.count:
        return DefragPlan((), {}, 0, 0)
    mark = state.checkpoint()
    try:
        return _Planner(state, pool, terms).plan(most_steps, most_tried)
    finally:
        state.rollback(mark)


def asked_about(state: State, terms: Terms) -> list[PodFacts]:
    """The pods of which a plan may ask the terms: those on nodes that are used little enough to be emptied."""
    pool = state.fleet.pools.get(terms.pool)
    if pool is None or not pool.count:
        return []
    uids = {
        uid
        for row in _hardly_used(pool, terms)
        if pool.node_names[row] not in terms.closed
        for device in pool.devices[row]
        for uid in device.holders
    }
    return [state.allocations[uid].pod for uid in sorted(uids)]


def _used(pool: PoolColumns) -> Ints:
    """Devices in use by row."""
    found: Ints = np.count_nonzero(pool.present & (pool.modes != 0), axis=0)
    return found


def _hardly_used(pool: PoolColumns, terms: Terms) -> list[int]:
    """Rows of nodes that are in use, but not above the threshold."""
    used, total = _used(pool), np.count_nonzero(pool.present, axis=0)
    rows: list[int] = np.flatnonzero((used > 0) & (100 * used <= terms.threshold * total)).tolist()
    return rows


class _Planner:
    """One plan, within a statement."""

    def __init__(self, state: State, pool: PoolColumns, terms: Terms) -> None:
        self._state = state
        self._pool = pool
        self._terms = terms
        self._places = CompactPlaces(state, pool)
        self._kept: dict[str, Kept] = {}
        self._allowed: set[str] = set()
        """Nodes whose pods may all move."""
        rows = pool.shape[1]
        self._open: Bools = np.zeros(rows, np.bool_)
        """Rows that pods may be moved to, as far as nothing but the terms and the plan has a say."""
        for row, name in enumerate(pool.node_names):
            self._open[row] = bool(pool.devices[row]) and name not in terms.barred
        self._total: Ints = np.count_nonzero(pool.present, axis=0)

    def plan(self, most_steps: int | None, most_tried: int | None) -> DefragPlan:
        before = self._whole()
        candidates = self._candidates()
        steps: list[Step] = []
        promises = {one.node: one.bound for one in candidates}
        tries = len(candidates) * (len(candidates) + 1) if most_tried is None else most_tried
        while candidates and tries > 0 and (most_steps is None or len(steps) < most_steps):
            best: tuple[Step, Candidate] | None = None
            for candidate in sorted(candidates, key=lambda one: (-promises[one.node], one.work, one.row)):
                if tries <= 0 or (best is not None and promises[candidate.node] <= best[0].worth):
                    break
                step: Step | Kept | None = self._judged(candidate)
                if step is None:
                    tries -= 1
                    step = self._try_out(candidate)
                if isinstance(step, Kept):
                    self._kept[candidate.node] = step
                    candidates.remove(candidate)
                    continue
                promises[candidate.node] = step.worth
                if best is None or (-step.worth, step.work) < (-best[0].worth, best[0].work):
                    best = step, candidate
            if best is None:
                break
            self._take(*best)
            steps.append(best[0])
            taking = {move.target.node: move.pod for move in best[0].moves}
            for one in candidates:
                if one.node in taking:
                    self._kept[one.node] = self._judged(one) or Kept(Why.ARRIVING, taking[one.node])
            candidates = [one for one in candidates if one is not best[1] and one.node not in taking]
        return DefragPlan(tuple(steps), self._kept, before, self._whole())

    def _whole(self) -> int:
        """Devices of the pool that nobody holds a share of, promised ones not among them."""
        pool = self._pool
        return int(np.count_nonzero(pool.present & pool.running & pool.ours & (pool.modes == 0)))

    def _judged(self, candidate: Candidate) -> Kept | None:
        """Why the pods of a node keep it; they are asked about once, and not before it is its turn."""
        if candidate.node in self._allowed:
            return None
        why = kept_by_pods(candidate, self._pool, self._terms)
        if why is None:
            self._allowed.add(candidate.node)
        return why

    def _candidates(self) -> list[Candidate]:
        """Nodes that might be emptied, as far as they themselves have a say."""
        used, terms = _used(self._pool), self._terms
        found = []
        for row in _hardly_used(self._pool, terms):
            one = candidate_of(self._state, self._pool, row, terms, used=int(used[row]))
            if isinstance(one, Kept):
                self._kept[self._pool.node_names[row]] = one
            elif one is not None:
                found.append(one)
        return found

    def _targets(self, candidate: Candidate) -> Bools:
        """Rows that the pods of a node may go to: at least as full as it, not empty, not emptied themselves."""
        used, total, row = _used(self._pool), self._total, candidate.row
        allowed: Bools = self._open & (used > 0) & (used * total[row] >= used[row] * total)
        allowed[row] = False
        return allowed

    def _try_out(self, candidate: Candidate) -> Step | Kept:
        mark = self._state.checkpoint()
        try:
            return self._moved(candidate)
        finally:
            self._state.rollback(mark)

    def _moved(self, candidate: Candidate) -> Step | Kept:
        """The step, as far as the ledger goes taken."""
        state, allowed = self._state, self._targets(candidate)
        self._release(candidate.ending)
        before = self._whole()
        self._release(candidate.pods)
        moves = []
        for one in largest_first(candidate.pods):
            target = self._places.take(one.pod, allowed)
            if target is None:
                return Kept(Why.UNSCHEDULABLE, one.pod)
            moves.append(Move(one.pod, one.placement, target, candidate.work_of(one, self._terms.now)))
        frees = self._whole() - before
        if frees < 0:
            return Kept(Why.NO_GAIN)
        devices = int(self._total[candidate.row])
        return Step(state.fleet.nodes.records[candidate.node].name, tuple(moves), frees, devices)

    def _take(self, step: Step, candidate: Candidate) -> None:
        """Go on as if the step had been taken."""
        self._release(candidate.ending)
        self._release(candidate.pods)
        for move in step.moves:
            self._state.assume(move.pod, move.target)
        self._open[candidate.row] = False

    def _release(self, allocations: Iterable[Allocation]) -> None:
        for one in allocations:
            self._state.release(one.pod.uid)


def pods_by_node(step: Step) -> Counter[str]:
    """How many pods of a step go to each node."""
    return Counter(move.target.node for move in step.moves)
