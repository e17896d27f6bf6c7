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
from tensorfusion.scheduling.foresight import looks_ahead
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


def levels(state: State, pod: PodFacts, leaving: Leaving, *, now: int, most: int) -> Iterator[Level]:
    """The levels at which some node comes into question, lowest first; of each the best ``most`` nodes at least."""
    if leaving.shift is None:
        ranks = sorted(rank for rank in state.residents.ranks if rank < pod.rank)
    else:
        ranks = np.unique(leaving.rank[leaving.victims]).tolist()
    lowest = int(np.iinfo(np.int64).min)
    steps = [lowest, *ranks[: MOST_LEVELS - 1], *ranks[MOST_LEVELS - 1 :][-1:]]
    pool = state.fleet.pools.get(pod.request.pool) if pod.request is not None else None
    if pod.request is not None and (pool is None or not pool.count):
        return
    world = _World(state, pod, leaving, pool, now)
    vain = world.in_vain()
    before = lowest
    for step in steps:
        if step == lowest:
            goes, news = np.zeros_like(leaving.victims), leaving.free
        else:
            goes = leaving.victims & (leaving.rank <= step)
            news = goes if before == lowest else goes & (leaving.rank > before)
        before = step
        rows = np.flatnonzero(news)
        if not len(rows):
            continue
        world.let_go(rows, free=step == lowest)
        fits = world.fitting()
        if vain is not None:
            fits &= ~vain | world.somebody if step == lowest else ~vain
        if fits.any():
            yield Level(step, *world.best_first(fits, goes, most), goes)


class _World:
    """What would be free, by device of the pool and by node, while pods are let go.

    Of an amount that no node is short of, nothing is added up: it only grows.
    """

    def __init__(self, state: State, pod: PodFacts, leaving: Leaving, pool: PoolColumns | None, now: int) -> None:
        self._nodes = state.fleet.nodes
        self._residents = state.residents
        self._pod = pod
        self._now = now
        self._allowed: Bools = self._nodes.shapes.of(pod, self._nodes.with_facts, self._nodes.size).codes == ALLOWED
        self._cpu, self._memory, self._pods = self._nodes.cpu_free, self._nodes.memory_free, self._nodes.pods_free
        self._scarce_cpu = pod.cpu > 0 and bool((self._allowed & (self._cpu < pod.cpu)).any())
        self._scarce_memory = pod.memory > 0 and bool((self._allowed & (self._memory < pod.memory)).any())
        self._scarce_pods = bool((self._allowed & (self._pods < 1)).any())
        self._most = max(0, pool.facts.max_workers_per_node) if pool is not None else min(1, pod.native)
        """Workers that a node must have less of; 0 where any number will do."""
        self._workers = self._nodes.workers
        self._scarce_workers = self._most > 0 and bool((self._allowed & (self._workers >= self._most)).any())
        if pool is not None and looks_ahead(pool):
            kept = state.classes.shares(pool, self._nodes, pod).kept()
            if kept is not None:  # whoever goes from there would go in vain
                self._allowed[pool.node_row[kept]] = False
        self.somebody = np.zeros(self._nodes.size, np.bool_)
        """Node rows that somebody left."""
        self._barred = np.zeros(self._nodes.size, np.bool_)
        extra = extra_rules(state, pod)
        if extra is not None:
            passes = np.ones(self._nodes.size, np.bool_)
            extra.narrow(passes, None, [])
            self._barred = ~passes
        self._matters_who = bool(pod.extended) or bool(self._barred.any())
        self._devices = _Devices(self._residents, pool, pod.request) if pool is not None and pod.request else None

    def in_vain(self) -> Bools | None:
        """Before anybody goes: the node rows that have room already, and a rule between pods keeps the pod off."""
        return self.fitting() & self._barred if self._barred.any() else None

    def let_go(self, pods: Ints, *, free: bool) -> None:
        """Count what the pods of these rows hold as free, too; ``free`` are those that leave anyway."""
        if self._matters_who or self._scarce_cpu or self._scarce_memory or self._scarce_pods or self._scarce_workers:
            self._let_go_of_nodes(pods)
        if self._devices is not None:
            self._devices.let_go(pods, free=free)

    def _let_go_of_nodes(self, rows: Ints) -> None:
        residents, size = self._residents, self._nodes.size
        at = residents.node[rows]
        self.somebody[at] = True
        if self._scarce_cpu:
            self._cpu = _more(self._cpu, at, residents.cpu[rows])
        if self._scarce_memory:
            self._memory = _more(self._memory, at, residents.memory[rows])
        if self._scarce_pods:
            self._pods = self._pods + np.bincount(at, minlength=size)
        if self._scarce_workers:
            self._workers = _more(self._workers, at, -residents.worker[rows])

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
        if self._most:
            rows &= self._workers < self._most
        if self._devices is None:
            return rows
        fitting = np.zeros_like(rows)
        at = self._devices.pool.node_row[self._devices.fitting()]
        fitting[at] = rows[at]
        return fitting

    def best_first(self, fits: Bools, goes: Bools, most: int) -> tuple[Ints, Ints, Bools]:
        """The node rows in the order of what they cost at least, then the fixed one; their bounds; which are barred.

        At least the first ``most`` of them.
        """
        if self._devices is None:
            costs = self._plain_costs(goes)
        else:
            costs = np.full(self._nodes.size, _IMPOSSIBLE)
            np.minimum.at(costs, self._devices.pool.node_row, self._devices.costs(self._now))
        rows = np.flatnonzero(fits)
        barred = self._barred[rows]
        if most < len(rows) and not barred.any():  # the others need not be sorted, and bound nothing
            least = costs[rows]
            rows = rows[least <= np.partition(least, most - 1)[most - 1]]
            barred = self._barred[rows]
        rows = rows[np.lexsort((costs[rows], barred))]
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
        self._passed: Bools = (pool.static(request).codes == FITS).ravel() & pool.present.ravel()
        self._compute: Ints = pool.compute_free.ravel()
        self._vram: Ints = pool.vram_free.ravel()
        self._size = self._compute.size
        self._before: tuple[Ints, Ints] | None = None
        """Free compute and memory before anybody had to go."""
        self._gone: list[tuple[Ints, Ints]] = []
        """Shares of those that have to go, and the places of these."""
        self._left = np.zeros(self._size, np.int64)
        """Shares that went, where it is they that count."""
        self._places = residents.places(pool)
        self._fits = self._passed
        """The devices that come into question now."""
        by_percent = request.percent > 0 and not request.compute
        self._need: Ints | int = pool.cost(request.percent).ravel() if by_percent else request.compute
        self._holders: Ints | None = None
        if request.isolation is Isolation.PARTITIONED:
            self._need = 0
        elif request.isolation is Isolation.SHARED:
            _, at = self._shares_of(np.flatnonzero(residents.state))
            self._holders = np.bincount(at, minlength=self._size)
        self._by_amount = self._holders is None and request.isolation is not Isolation.PARTITIONED
        self._scarce_compute = bool((self._passed & (self._compute < self._need)).any())
        self._scarce_vram = bool((self._passed & (self._vram < request.vram)).any())

    def _shares_of(self, pods: Ints) -> tuple[Ints, Ints]:
        """The shares of the pods of these rows in this pool, and the place of each."""
        shares = self._residents.shares_of(pods)
        at = self._places[self._residents.share_device[shares]]
        here = at >= 0
        return (shares, at) if here.all() else (shares[here], at[here])

    def let_go(self, pods: Ints, *, free: bool) -> None:
        residents = self._residents
        shares, at = self._shares_of(pods)
        if not free:
            self._gone.append((shares, at))
            if self._before is None:
                self._before = self._compute, self._vram
        if not self._by_amount:
            self._left += np.bincount(at, minlength=self._size)
            return
        if self._scarce_compute:
            self._compute = _more(self._compute, at, residents.share_compute[shares])
        if self._scarce_vram:
            self._vram = _more(self._vram, at, residents.share_vram[shares])

    def fitting(self) -> Ints:
        """Rows of the pool with enough devices that come into question."""
        self._fits = self._fit()
        fit = self._fits.reshape(self.pool.shape)
        if self._request.count == 1:
            return np.flatnonzero(np.logical_or.reduce(fit, axis=0))
        return np.flatnonzero(np.add.reduce(fit, axis=0, dtype=np.uint16) >= self._request.count)

    def _fit(self) -> Bools:
        request = self._request
        if self._holders is not None:
            return self._passed & (self._left >= self._holders)
        if request.isolation is Isolation.PARTITIONED:
            table, layout = self.pool.cuts.table(request), self.pool.layout.ravel()
            return self._passed & table.covered[layout] & (table.placed[layout] | (self._left > 0))
        return self._passed & (self._compute >= self._need) & (self._vram >= request.vram)

    def costs(self, now: int) -> Ints:
        """What each row of the pool costs at least, as of ``fitting``: its ``count`` cheapest devices."""
        by_device = np.where(self._fits, self._by_device(now), _IMPOSSIBLE).reshape(self.pool.shape)
        count = self._request.count
        costs: Ints
        if count == 1:
            costs = np.minimum.reduce(by_device, axis=0)
        else:
            costs = np.add.reduce(np.partition(by_device, count - 1, axis=0)[:count], axis=0)
        return costs

    def _by_device(self, now: int) -> Ints:
        """Nothing where it fits already, the least lost work where one pod is enough, else an estimated number."""
        residents, request = self._residents, self._request
        if self._before is None:
            return np.zeros(self._size, np.int64)
        shares = np.concatenate([shares for shares, _ in self._gone])
        at = np.concatenate([at for _, at in self._gone])
        if self._holders is not None:
            number = np.bincount(at, minlength=self._size)
            costs, enough = number * VICTIM, number[at] == 1
        elif request.isolation is Isolation.PARTITIONED:
            costs = np.where(self.pool.cuts.table(request).placed[self.pool.layout.ravel()], 0, 2 * VICTIM)
            enough = costs[at] > 0
        else:
            costs, enough = self._by_shortage(shares, at)
        single = shares[enough]
        np.minimum.at(costs, at[enough], VICTIM + _work(residents, residents.share_pod[single], now))
        return costs

    def _by_shortage(self, shares: Ints, at: Ints) -> tuple[Ints, Bools]:
        """Two victims or an estimate for each device that is short of an amount; of which shares one is enough."""
        residents, request = self._residents, self._request
        before = self._before or (self._compute, self._vram)
        short = [
            (np.maximum(0, need - free), amounts[shares])
            for scarce, need, free, amounts in (
                (self._scarce_compute, self._need, before[0], residents.share_compute),
                (self._scarce_vram, request.vram, before[1], residents.share_vram),
            )
            if scarce
        ]
        costs = np.zeros(self._size, np.int64)
        enough = np.ones(len(at), np.bool_)
        for missing, amounts in short:
            costs[missing > 0] = 2 * VICTIM
            enough &= amounts >= missing[at]
        enough &= costs[at] > 0
        if np.count_nonzero(enough) < SINGLES * request.count:
            costs[:] = 0
            for missing, amounts in short:
                np.maximum(costs, VICTIM * _times(missing, at, amounts), out=costs)
        return costs, enough


def _more(column: Ints, at: Ints, amounts: Ints) -> Ints:
    """The column with these amounts added at these places, which may be the same more than once."""
    more = column.copy()
    np.add.at(more, at, amounts)
    return more


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
