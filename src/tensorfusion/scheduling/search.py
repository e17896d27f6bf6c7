"""The filters as column operations, in their order, counting what each of them removes.

One definition for three readers: the hot path of ``cycle``, the diagnosis of a failure, and the slow ``simulate`` that
names every device. Device filters first, then the filters of nodes that still have enough devices.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.holds import MODE_BIT
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.reasons import NODE_REASONS, DeviceReason, NodeReason
from tensorfusion.scheduling.shapes import ALLOWED, Shape

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
DevicesRemoved: TypeAlias = list[tuple[DeviceReason, int]]
NodesRemoved: TypeAlias = list[tuple[NodeReason, int]]


def live_stages(pool: PoolColumns, request: GpuRequest, room: Room | None) -> Iterator[tuple[DeviceReason, Bools]]:
    """The filters that depend on what is held, in order. Each answer is overwritten by the next one.

    Shape (slots, rows); slots without a device may pass.
    """
    passes = pool.scratch.passes
    if pool.dynamic_devices:
        others = pool.modes & ~np.uint8(MODE_BIT[request.isolation])
        if others.any():  # seldom: most pools are used in one mode
            yield DeviceReason.OTHER_MODE, ~pool.dynamic | (others == 0)
    if request.isolation is Isolation.SHARED:
        yield DeviceReason.IN_USE, np.equal(pool.modes, 0, out=passes)
    elif request.isolation is Isolation.PARTITIONED:
        yield from _partition_stages(pool, request)
        return
    elif not (request.compute or request.percent or request.vram):
        # A share of nothing takes nothing, yet it must not join a device that one pod has to itself.
        yield DeviceReason.IN_USE, (pool.modes & np.uint8(MODE_BIT[Isolation.SHARED])) == 0
    by_percent = request.percent > 0 and not request.compute
    need = pool.cost(request.percent) if by_percent else request.compute
    yield DeviceReason.COMPUTE, np.greater_equal(pool.compute_free, need, out=passes)
    yield DeviceReason.VRAM, np.greater_equal(pool.vram_free, request.vram, out=passes)
    if room is not None:
        passes.fill(True)
        if room.compute is not None:
            passes &= pool.cost(request.percent) <= room.compute
        if room.compute_limit is not None:
            passes &= pool.cost(request.percent_limit) <= room.compute_limit
        yield DeviceReason.QUOTA, passes


def _partition_stages(pool: PoolColumns, request: GpuRequest) -> Iterator[tuple[DeviceReason, Bools]]:
    """The filters for a hardware partition, which takes its template's size."""
    table = pool.cuts.table(request)
    yield DeviceReason.TEMPLATE, table.covered[pool.layout]
    yield DeviceReason.PARTITION, table.placed[pool.layout]
    yield DeviceReason.COMPUTE, pool.compute_free >= table.compute[pool.layout]
    yield DeviceReason.VRAM, pool.vram_free >= table.vram[pool.layout]


def fitting_devices(
    pool: PoolColumns, request: GpuRequest, *, room: Room | None, removed: DevicesRemoved
) -> tuple[Bools, Bools]:
    """The devices that can hold one share, and the rows that have enough of them. Scratch arrays of the pool."""
    static = pool.static(request)
    removed.extend(static.removed)
    fit, left, before = pool.scratch.fit, static.left, static.passed
    for reason, passes in live_stages(pool, request, room):
        np.logical_and(before, passes, out=fit)
        before = fit
        now = int(np.count_nonzero(fit))
        if now != left:
            removed.append((reason, left - now))
            left = now
    rows = pool.scratch.rows
    if request.count == 1:
        np.logical_or.reduce(fit, axis=0, out=rows)
        return fit, rows
    fitting = pool.scratch.fitting
    np.add.reduce(fit.view(np.uint8), axis=0, dtype=fitting.dtype, out=fitting)
    np.greater_equal(fitting, request.count, out=rows)
    kept = int(np.add.reduce(fitting, where=rows, dtype=np.int64))
    if kept != left:
        removed.append((DeviceReason.COUNT, left - kept))
    return fit, rows


def needs(nodes: NodeColumns, pod: PodFacts) -> Iterator[tuple[NodeReason, Ints, int]]:
    """What the pod needs of its node: reason if there is less, the column of what is free, and the amount."""
    if pod.cpu:
        yield NodeReason.CPU, nodes.cpu_free, pod.cpu
    if pod.memory:
        yield NodeReason.MEMORY, nodes.memory_free, pod.memory
    yield NodeReason.PODS, nodes.pods_free, 1
    for name, amount in pod.extended.items():
        if amount:
            column = nodes.extended.get(name)
            yield NodeReason.EXTENDED, np.zeros(nodes.size, np.int64) if column is None else column, amount


def pool_rows(
    pool: PoolColumns, nodes: NodeColumns, pod: PodFacts, *, shape: Shape, rows: Bools, removed: NodesRemoved
) -> int:
    """Leave in ``rows`` (rows of the pool) the nodes that can take the pod; answers how many."""
    scratch, at = pool.scratch, pool.node_row
    passes, gathered = scratch.row_passes, scratch.gathered
    left = int(np.count_nonzero(rows))
    shape.allowed.take(at, out=passes, mode="clip")
    left = _keep_allowed(rows, passes, left, codes=shape.codes, at=at, removed=removed)
    for reason, free, need in needs(nodes, pod):
        if not left:
            return 0
        free.take(at, out=gathered, mode="clip")
        np.greater_equal(gathered, need, out=passes)
        left = _keep(rows, passes, left, reason=reason, removed=removed)
    most = pool.facts.max_workers_per_node
    if most > 0 and left:
        nodes.workers.take(at, out=gathered, mode="clip")
        np.less(gathered, most, out=passes)
        left = _keep(rows, passes, left, reason=NodeReason.WORKERS, removed=removed)
    if nodes.native and left:
        nodes.unknown_native.take(at, out=gathered, mode="clip")
        np.less_equal(gathered, 0, out=passes)
        left = _keep(rows, passes, left, reason=NodeReason.NATIVE, removed=removed)
    return left


def plain_rows(nodes: NodeColumns, pod: PodFacts, *, shape: Shape, removed: NodesRemoved) -> tuple[Bools, int]:
    """The node rows that can take a pod without shares, and how many they are."""
    rows = shape.allowed.copy()
    left = int(np.count_nonzero(rows))
    if left != nodes.registered:
        _count_codes(shape.codes[: len(nodes.rows)], removed, registered=True)
    for reason, free, need in needs(nodes, pod):
        if not left:
            break
        left = _keep(rows, free >= need, left, reason=reason, removed=removed)
    if pod.native and left:  # the plugin chooses among all devices of the node: none may be shared
        left = _keep(rows, nodes.workers == 0, left, reason=NodeReason.SHARED, removed=removed)
    return rows, left


def _keep(rows: Bools, passes: Bools, left: int, *, reason: NodeReason, removed: NodesRemoved) -> int:
    np.logical_and(rows, passes, out=rows)
    now = int(np.count_nonzero(rows))
    if now != left:
        removed.append((reason, left - now))
    return now


def _keep_allowed(
    rows: Bools, passes: Bools, left: int, *, codes: NDArray[np.uint8], at: NDArray[np.intp], removed: NodesRemoved
) -> int:
    np.greater(rows, passes, out=passes)  # in rows, but not allowed
    if not passes.any():
        return left
    _count_codes(codes[at[passes]], removed, registered=False)
    np.greater(rows, passes, out=rows)
    return int(np.count_nonzero(rows))


def _count_codes(codes: NDArray[np.uint8], removed: NodesRemoved, *, registered: bool) -> None:
    """Count the rules that keep the pod off these nodes; ``registered`` leaves out nodes that do not exist."""
    counts = np.bincount(codes, minlength=ALLOWED + 1).tolist()
    for place, reason in enumerate(NODE_REASONS):
        if counts[place] and not (registered and reason is NodeReason.ABSENT):
            removed.append((reason, counts[place]))
