"""Which nodes could take a pod if less important pods left them, best first: column operations over the whole fleet.

Optimistic on purpose: every pod that may go is taken to go, and only what columns show is asked, so that no node is
missed. ``preemption`` tries the few best of them out, exactly. Pods are let go level by level, least important first:
the first level at which a node is found bounds how important anybody has to be who goes, and later levels are never
looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.codes import FITS
from tensorfusion.scheduling.extra_rules import extra_rules
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.residents import Bools, Ints, Leaving, Residents
from tensorfusion.scheduling.shapes import ALLOWED
from tensorfusion.scheduling.state import State

MOST_LEVELS = 16
"""Ranks that are told apart; what is more important than the 16 lowest is let go in one step."""
SINGLES = 64
"""Devices that one victim is enough for; where there are more of them, the others are not told apart."""
VICTIM = 1 << 40
"""One victim outweighs any lost work, which is in seconds times devices."""
_IMPOSSIBLE = np.iinfo(np.int64).max // 512


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes that come into question once everybody up to ``rank`` goes. Node rows, best first, the barred last."""

    rank: int
    nodes: Ints
    bounds: Ints
    """What each of them, and every one after it, costs at least: victims times ``VICTIM`` plus lost work."""
    barred: Bools
    """Whether a rule between pods keeps the pod off it as things are, so that room alone may not be enough."""
    goes: Bools
    """Rows of pods that go at this level, those that leave anyway not among them."""


def levels(state: State, pod: PodFacts, leaving: Leaving, *, now: int) -> Iterator[Level]:
    """The levels at which some node comes into question, lowest first."""
    ranks = sorted(rank for rank in state.residents.ranks if rank < pod.rank)
    lowest = int(np.iinfo(np.int64).min)
    steps = [lowest, *ranks[: MOST_LEVELS - 1], *ranks[MOST_LEVELS - 1 :][-1:]]
    pool = state.fleet.pools.get(pod.request.pool) if pod.request is not None else None
    if pod.request is not None and (pool is None or not pool.count):
        return
    world = _World(state, pod, leaving, pool, now)
    vain = world.in_vain()
    before = lowest
    for step in steps:
        goes = leaving.victims & (leaving.rank <= step)
        news = leaving.free if step == lowest else goes & (leaving.rank > before)
        before = step
        if not news.any():
            continue
        world.let_go(news, free=step == lowest)
        fits = world.fitting()
        if vain is not None:
            fits &= ~vain | world.somebody if step == lowest else ~vain
        if fits.any():
            yield Level(step, *world.best_first(fits, goes), goes)


class _World:
    """What would be free, by device of the pool and by node, while pods are let go."""

    def __init__(self, state: State, pod: PodFacts, leaving: Leaving, pool: PoolColumns | None, now: int) -> None:
        self._nodes = state.fleet.nodes
        self._residents = state.residents
        self._pod = pod
        self._now = now
        self._allowed: Bools = self._nodes.shapes.of(pod, self._nodes.with_facts, self._nodes.size).codes == ALLOWED
        self._cpu = self._nodes.cpu_free.copy()
        self._memory = self._nodes.memory_free.copy()
        self._pods = self._nodes.pods_free.copy()
        self._workers = self._nodes.workers.copy()
        self.somebody = np.zeros(self._nodes.size, np.bool_)
        """Node rows that somebody left."""
        self._barred = np.zeros(self._nodes.size, np.bool_)
        extra = extra_rules(state, pod)
        if extra is not None:
            passes = np.ones(self._nodes.size, np.bool_)
            extra.narrow(passes, None, [])
            self._barred = ~passes
        self._free = leaving.free
        self._devices = _Devices(self._residents, pool, pod.request) if pool is not None and pod.request else None

    def in_vain(self) -> Bools | None:
        """Before anybody goes: the node rows that have room already, and a rule between pods keeps the pod off."""
        return self.fitting() & self._barred if self._barred.any() else None

    def let_go(self, pods: Bools, *, free: bool) -> None:
        """Count what these pods hold as free, too; ``free`` are those that leave anyway."""
        residents, size = self._residents, self._nodes.size
        rows = np.flatnonzero(pods)
        if not len(rows):
            return
        at = residents.node[rows]
        self.somebody[at] = True
        if self._pod.cpu:
            self._cpu += _sums(at, residents.cpu[rows], size)
        if self._pod.memory:
            self._memory += _sums(at, residents.memory[rows], size)
        self._pods += np.bincount(at, minlength=size)
        self._workers -= _sums(at, residents.worker[rows], size)
        if self._devices is not None:
            self._devices.let_go(pods, free=free)

    def fitting(self) -> Bools:
        """The node rows that come into question now."""
        pod = self._pod
        rows = self._allowed & (self._pods >= 1)
        if pod.cpu:
            rows &= self._cpu >= pod.cpu
        if pod.memory:
            rows &= self._memory >= pod.memory
        for name, amount in pod.extended.items():
            column = self._nodes.extended.get(name)
            rows &= self.somebody if column is None else self.somebody | (column >= amount)
        if self._devices is None:
            return rows & (self._workers == 0) if pod.native else rows
        most = self._devices.pool.facts.max_workers_per_node
        if most > 0:
            rows &= self._workers < most
        fitting = np.zeros_like(rows)
        at = self._devices.pool.node_row[self._devices.fitting()]
        fitting[at] = rows[at]
        return fitting

    def best_first(self, fits: Bools, goes: Bools) -> tuple[Ints, Ints, Bools]:
        """The node rows in the order of what they cost at least, then the fixed one; their bounds; which are barred."""
        if self._devices is None:
            costs = self._plain_costs(goes)
        else:
            costs = np.full(self._nodes.size, _IMPOSSIBLE)
            np.minimum.at(costs, self._devices.pool.node_row, self._devices.costs(goes, self._now))
        rows = np.flatnonzero(fits)
        rows = rows[np.lexsort((costs[rows], self._barred[rows]))]
        bounds: Ints = np.minimum.accumulate(costs[rows][::-1])[::-1]
        return rows, bounds, self._barred[rows]

    def _plain_costs(self, goes: Bools) -> Ints:
        """Nodes where one pod is enough cost the least lost work of those; others count as two victims."""
        residents, nodes, pod = self._residents, self._nodes, self._pod
        rows = np.flatnonzero(goes)
        at = residents.node[rows]
        enough = (residents.cpu[rows] >= pod.cpu - nodes.cpu_free[at]) & (
            residents.memory[rows] >= pod.memory - nodes.memory_free[at]
        )
        costs = np.full(nodes.size, 2 * VICTIM)
        rows, at = rows[enough], at[enough]
        np.minimum.at(costs, at, VICTIM + _work(residents, rows, self._now))
        return costs


class _Devices:
    """What would be free of each device of one pool. Flat: slot times rows plus row."""

    def __init__(self, residents: Residents, pool: PoolColumns, request: GpuRequest) -> None:
        self.pool = pool
        self._request = request
        self._residents = residents
        self._passed: Bools = (pool.static(request) == FITS).ravel() & pool.present.ravel()
        self._compute = pool.compute_free.ravel().copy()
        self._vram = pool.vram_free.ravel().copy()
        self._size = self._compute.size
        self._before: tuple[Ints, Ints] | None = None
        """Free compute and memory before anybody had to go."""
        self._left = np.zeros(self._size, np.int64)
        """Shares that went."""
        self._places = residents.places(pool)
        by_percent = request.percent > 0 and not request.compute
        self._need: Ints | int = pool.cost(request.percent).ravel() if by_percent else request.compute
        self._holders: Ints | None = None
        if request.isolation is Isolation.PARTITIONED:
            self._need = 0
        elif request.isolation is Isolation.SHARED:
            _, at = self._shares_of(residents.state != 0)
            self._holders = np.bincount(at, minlength=self._size)

    def _shares_of(self, pods: Bools) -> tuple[Ints, Ints]:
        """The shares of these pods in this pool, and the place of each."""
        used = slice(self._residents.share_count)
        shares = np.flatnonzero(pods[self._residents.share_pod[used]])
        at = self._places[self._residents.share_device[shares]]
        here = at >= 0
        return (shares, at) if here.all() else (shares[here], at[here])

    def let_go(self, pods: Bools, *, free: bool) -> None:
        residents = self._residents
        if self._before is None and not free:
            self._before = self._compute.copy(), self._vram.copy()
        shares, at = self._shares_of(pods)
        self._compute += _sums(at, residents.share_compute[shares], self._size)
        self._vram += _sums(at, residents.share_vram[shares], self._size)
        self._left += np.bincount(at, minlength=self._size)

    def fitting(self) -> Ints:
        """Rows of the pool with enough devices that come into question."""
        fit = self._fit().reshape(self.pool.shape)
        return np.flatnonzero(np.add.reduce(fit, axis=0, dtype=np.int64) >= self._request.count)

    def _fit(self) -> Bools:
        request = self._request
        if self._holders is not None:
            return self._passed & (self._left >= self._holders)
        if request.isolation is Isolation.PARTITIONED:
            table, layout = self.pool.cuts.table(request), self.pool.layout.ravel()
            return self._passed & table.covered[layout] & (table.placed[layout] | (self._left > 0))
        return self._passed & (self._compute >= self._need) & (self._vram >= request.vram)

    def costs(self, goes: Bools, now: int) -> Ints:
        """What each row of the pool costs at least: its ``count`` cheapest devices."""
        by_device = np.where(self._fit(), self._by_device(goes, now), _IMPOSSIBLE).reshape(self.pool.shape)
        count = self._request.count
        costs: Ints
        if count == 1:
            costs = np.minimum.reduce(by_device, axis=0)
        else:
            costs = np.add.reduce(np.partition(by_device, count - 1, axis=0)[:count], axis=0)
        return costs

    def _by_device(self, goes: Bools, now: int) -> Ints:
        """Nothing where it fits already, the least lost work where one pod is enough, else an estimated number."""
        residents, request = self._residents, self._request
        if self._before is None:
            return np.zeros(self._size, np.int64)
        shares, at = self._shares_of(goes)
        compute, vram = residents.share_compute[shares], residents.share_vram[shares]
        compute_short = np.maximum(0, self._need - self._before[0])
        vram_short = np.maximum(0, request.vram - self._before[1])
        if self._holders is not None:
            number = np.bincount(at, minlength=self._size)
            costs, enough = number * VICTIM, number[at] == 1
        elif request.isolation is Isolation.PARTITIONED:
            costs = np.where(self.pool.cuts.table(request).placed[self.pool.layout.ravel()], 0, 2 * VICTIM)
            enough = costs[at] > 0
        else:
            costs = np.where((compute_short > 0) | (vram_short > 0), 2 * VICTIM, 0)
            enough = (compute >= compute_short[at]) & (vram >= vram_short[at]) & (costs[at] > 0)
            if np.count_nonzero(enough) < SINGLES * request.count:
                compute_times = _times(compute_short, at, compute)
                costs = VICTIM * np.maximum(compute_times, _times(vram_short, at, vram))
        single = shares[enough]
        np.minimum.at(costs, at[enough], VICTIM + _work(residents, residents.share_pod[single], now))
        return costs


def _sums(at: Ints, amounts: Ints, size: int) -> Ints:
    """Amounts added up by place. Exact: each sum stays below 2^53."""
    return np.bincount(at, weights=amounts, minlength=size).astype(np.int64)


def _times(short: Ints, at: Ints, amounts: Ints) -> Ints:
    """How many pods have to go at least where so much is short: as if all were as large as the largest one there.

    Two where one could be enough: whether it is, has to be asked of both amounts together.
    """
    largest = np.zeros(len(short), np.int64)
    np.maximum.at(largest, at, amounts)
    times: Ints = np.where(short > 0, np.maximum(2, -(-short // np.maximum(largest, 1))), 0)
    return times


def _work(residents: Residents, rows: Ints, now: int) -> Ints:
    """Seconds of devices that are lost when these pods go."""
    work: Ints = np.clip(now - residents.born[rows], 0, 1 << 32) * residents.width[rows]
    return work
