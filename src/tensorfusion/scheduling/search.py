"""The filters in their order, as column operations and, for one row that changed, as plain comparisons.

One definition for two readers: the classes that decisions are taken from, and the slow ``simulate`` that names every
device. Device filters first, then the filters of nodes that still have enough devices. Column operations work on any
choice of rows (``at``). For a few rows they cost more than the rows do: ``live_code`` and ``node_code`` say the same of
one device and one node, next to the filters that they must agree with.
"""

from collections.abc import Iterator

import numpy as np

from tensorfusion.model.common import IsolationPolicy
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.codes import FITS, NOT_ASKED, Bools, Codes, Ints, Rows, lower
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.holds import MODE_BIT, PARTITIONED, SHARED, Device
from tensorfusion.scheduling.nodes import NodeColumns, NodeRecord
from tensorfusion.scheduling.pools import PoolColumns, rows_of
from tensorfusion.scheduling.quota import WHOLE, Room
from tensorfusion.scheduling.reasons import DEVICE_ORDER, NODE_ORDER, DeviceReason, NodeReason
from tensorfusion.scheduling.shapes import Shape

_BY_AMOUNT = (Isolation.SOFT, Isolation.HARD)
"""Only free amounts count for these, where they ask for compute and devices do not follow their first holder's mode."""
_WHOLE_DEVICE = MODE_BIT[Isolation.SHARED]
_OTHER_MODE, _IN_USE = DEVICE_ORDER[DeviceReason.OTHER_MODE], DEVICE_ORDER[DeviceReason.IN_USE]
_TEMPLATE, _PARTITION = DEVICE_ORDER[DeviceReason.TEMPLATE], DEVICE_ORDER[DeviceReason.PARTITION]
_COMPUTE, _VRAM = DEVICE_ORDER[DeviceReason.COMPUTE], DEVICE_ORDER[DeviceReason.VRAM]
_ABSENT, _CPU, _MEMORY = NODE_ORDER[NodeReason.ABSENT], NODE_ORDER[NodeReason.CPU], NODE_ORDER[NodeReason.MEMORY]
_PODS, _EXTENDED = NODE_ORDER[NodeReason.PODS], NODE_ORDER[NodeReason.EXTENDED]
_WORKERS, _SHARED, _NATIVE = (
    NODE_ORDER[NodeReason.WORKERS],
    NODE_ORDER[NodeReason.SHARED],
    NODE_ORDER[NodeReason.NATIVE],
)


def live_stages(
    pool: PoolColumns, request: GpuRequest, room: Room | None, at: Rows | None = None
) -> Iterator[tuple[DeviceReason, Bools]]:
    """The filters that depend on what is held, in order: reason, and who passes, in these rows or all.

    Shape (slots, rows); slots without a device may pass.
    """
    modes = rows_of(pool.modes, at)
    if pool.dynamic_devices:
        others = modes & ~np.uint8(MODE_BIT[request.isolation])
        if others.any():  # seldom: most pools are used in one mode
            yield DeviceReason.OTHER_MODE, ~rows_of(pool.dynamic, at) | (others == 0)
    if request.isolation is SHARED:
        yield DeviceReason.IN_USE, modes == 0
    elif request.isolation is PARTITIONED:
        yield from _partition_stages(pool, request, at)
        return
    elif not (request.compute or request.percent or request.vram):
        # A share of nothing takes nothing, yet it must not join a device that one pod has to itself.
        yield DeviceReason.IN_USE, (modes & np.uint8(MODE_BIT[Isolation.SHARED])) == 0
    by_percent = request.percent > 0 and not request.compute
    need = pool.cost(request.percent, at) if by_percent else request.compute
    yield DeviceReason.COMPUTE, rows_of(pool.compute_free, at) >= need
    yield DeviceReason.VRAM, rows_of(pool.vram_free, at) >= request.vram
    if room is not None:
        passes = np.ones(modes.shape, np.bool_)
        if room.compute is not None:
            passes &= pool.cost(request.percent, at) <= room.compute
        if room.compute_limit is not None:
            passes &= pool.cost(request.percent_limit, at) <= room.compute_limit
        yield DeviceReason.QUOTA, passes


def live_codes(pool: PoolColumns, request: GpuRequest, devices: list[Device], codes: list[int]) -> None:
    """What ``live_stages`` without room say of one row's devices: corrects the codes of those that fitted so far."""
    compute, vram = request.compute, request.vram
    slot = -1
    if not compute or pool.dynamic_devices or request.isolation not in _BY_AMOUNT:
        for device in devices:
            slot += 1
            if codes[slot] == FITS:
                codes[slot] = live_code(pool, request, device)
        return
    for device in devices:
        slot += 1
        if codes[slot] != FITS:
            continue
        if device.compute - device.compute_held < compute:
            codes[slot] = _COMPUTE
        elif device.vram - device.vram_held < vram:
            codes[slot] = _VRAM


def live_code(pool: PoolColumns, request: GpuRequest, device: Device) -> int:
    """The code that ``live_stages`` without room gives to one device of the pool."""
    modes, isolation = device.modes, request.isolation
    if modes:
        facts = device.facts
        if facts is not None and facts.isolation_policy == IsolationPolicy.DYNAMIC and modes & ~MODE_BIT[isolation]:
            return _OTHER_MODE
        if isolation is SHARED:
            return _IN_USE
        asks_nothing = not (request.compute or request.percent or request.vram)
        if asks_nothing and modes & _WHOLE_DEVICE and isolation is not PARTITIONED:
            return _IN_USE
    compute, vram = request.compute or device.compute * request.percent // WHOLE, request.vram
    if isolation is PARTITIONED:
        found = pool.cuts.table(request).cuts[device.layout] if device.layout >= 0 else None
        if found is None or not found.covered:
            return _TEMPLATE
        if found.partition is None:
            return _PARTITION
        compute, vram = found.partition.compute, found.partition.vram
    if device.compute - device.compute_held < compute:
        return _COMPUTE
    if device.vram - device.vram_held < vram:
        return _VRAM
    return FITS


def _partition_stages(pool: PoolColumns, request: GpuRequest, at: Rows | None) -> Iterator[tuple[DeviceReason, Bools]]:
    """The filters for a hardware partition, which takes its template's size."""
    table, layout = pool.cuts.table(request), rows_of(pool.layout, at)
    yield DeviceReason.TEMPLATE, table.covered[layout]
    yield DeviceReason.PARTITION, table.placed[layout]
    yield DeviceReason.COMPUTE, rows_of(pool.compute_free, at) >= table.compute[layout]
    yield DeviceReason.VRAM, rows_of(pool.vram_free, at) >= table.vram[layout]


def device_codes(pool: PoolColumns, request: GpuRequest, *, room: Room | None, at: Rows | None = None) -> Codes:
    """What the filters say of each slot in these rows or all; devices of a row with too few fitting ones count as that.

    Shape (slots, rows); a new array. Slots without a device have the code of no filter.
    """
    static = pool.static(request).codes
    codes = static.copy() if at is None else static.take(at, axis=1)
    for reason, passes in live_stages(pool, request, room, at):
        lower(codes, passes, DEVICE_ORDER[reason])
    if request.count > 1:
        enough = np.count_nonzero(codes == FITS, axis=0) >= request.count
        lower(codes, enough, DEVICE_ORDER[DeviceReason.COUNT])
    return codes


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


def pool_codes(
    pool: PoolColumns, nodes: NodeColumns, pod: PodFacts, *, shape: Shape, devices: Codes, at: Rows | None = None
) -> Codes:
    """What the node filters say of the pool's rows (these or all), whose ``devices`` have these codes."""
    here = pool.node_row if at is None else pool.node_row.take(at)
    codes = shape.codes.take(here)
    for reason, free, need in needs(nodes, pod):
        lower(codes, free.take(here) >= need, NODE_ORDER[reason])
    most = pool.facts.max_workers_per_node
    if most > 0:
        lower(codes, nodes.workers.take(here) < most, NODE_ORDER[NodeReason.WORKERS])
    if nodes.native:
        lower(codes, nodes.unknown_native.take(here) <= 0, NODE_ORDER[NodeReason.NATIVE])
    codes[~(devices == FITS).any(axis=0)] = NOT_ASKED
    return codes


def node_code(pod: PodFacts, record: NodeRecord | None, *, shape: Shape, most: int = 0) -> int:
    """The code that the node filters give to one node; ``most`` are the workers that a pool allows, 0 any number."""
    if record is None or record.facts is None:
        return _ABSENT
    code: int = shape.codes.item(record.row)
    if code != FITS:
        return code
    facts = record.facts
    if pod.cpu and facts.cpu - record.cpu < pod.cpu:
        return _CPU
    if pod.memory and facts.memory - record.memory < pod.memory:
        return _MEMORY
    if facts.pods - record.pods < 1:
        return _PODS
    if pod.extended:
        for name, amount in pod.extended.items():
            if amount and record.extended_free(name) < amount:
                return _EXTENDED
    if pod.request is None:
        return _SHARED if pod.native and record.workers else FITS
    if 0 < most <= record.workers:
        return _WORKERS
    return _NATIVE if record.native > record.foreign else FITS


def plain_codes(nodes: NodeColumns, pod: PodFacts, *, shape: Shape, at: Rows | None = None) -> Codes:
    """What the node filters say of these node rows, or all, for a pod without shares."""
    codes = shape.codes.copy() if at is None else shape.codes.take(at)
    for reason, free, need in needs(nodes, pod):
        lower(codes, (free if at is None else free.take(at)) >= need, NODE_ORDER[reason])
    if pod.native:  # the plugin chooses among all devices of the node: none may be shared
        workers = nodes.workers if at is None else nodes.workers.take(at)
        lower(codes, workers == 0, NODE_ORDER[NodeReason.SHARED])
    return codes
