"""The rows of a class that changed, looked at again by a kernel in C: what ``rated`` says in Python, a tenth as dear.

A decision of a kind that is known looks at a handful of rows, and each of them at a handful of numbers: too few for
numpy, and in Python the dearest part of a placement. An installation has the kernel if a C compiler was there when it
was made; the others do the same in Python. Decision 0026 says more.

Kinds of pods that are seldom - those that ask for partitions, for devices near each other, for extended resources - are
not the kernel's.
"""

from typing import Final, TypeAlias

from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.codes import Ints
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.holds import MODE_BIT, PARTITIONED, SHARED
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns, Static
from tensorfusion.scheduling.quota import WHOLE
from tensorfusion.scheduling.reasons import (
    DEVICE_ORDER,
    DEVICE_REASONS,
    NODE_ORDER,
    NODE_REASONS,
    DeviceReason,
    NodeReason,
)
from tensorfusion.scheduling.shapes import PREFERENCE, Shape
from tensorfusion.scheduling.tally import Tally

try:
    from tensorfusion.scheduling import _rows
except ImportError:  # no compiler was there: see the module
    _rows = None  # type: ignore[assignment]

COMPILED = _rows is not None
"""Whether this installation has the kernel."""
_MOST: Final = 1 << 62
"""Amounts from here on are left to Python, whose integers have no end."""
_REASONS: Final = (
    DEVICE_ORDER[DeviceReason.IN_USE],
    DEVICE_ORDER[DeviceReason.COMPUTE],
    DEVICE_ORDER[DeviceReason.VRAM],
    DEVICE_ORDER[DeviceReason.COUNT],
    NODE_ORDER[NodeReason.CPU],
    NODE_ORDER[NodeReason.MEMORY],
    NODE_ORDER[NodeReason.PODS],
    NODE_ORDER[NodeReason.WORKERS],
    NODE_ORDER[NodeReason.NATIVE],
)

Answer: TypeAlias = tuple[
    int,
    list[int],
    int,
    tuple[int, ...],
    tuple[tuple[str, int], ...],
    int,
    tuple[tuple[DeviceReason, int], ...],
    tuple[tuple[NodeReason, int], ...],
]
"""The best row, the slots on it, its points, the slots' scores, other nodes and their points, how many rows can take
the pod, what removed devices and what removed nodes."""
DeviceTally: TypeAlias = Tally[DeviceReason]
NodeTally: TypeAlias = Tally[NodeReason]


def is_for_kernel(pod: PodFacts, request: GpuRequest) -> bool:
    """Whether the kernel knows all that such a pod asks for."""
    if not COMPILED or request.isolation is PARTITIONED or pod.extended or request.count < 1:
        return False
    percent = 0 if request.compute else request.percent
    amounts = (request.count, request.compute, request.vram, pod.cpu, pod.memory)
    return 0 <= percent <= WHOLE and all(-_MOST < amount < _MOST for amount in amounts)


class Kernel:
    """What the kernel holds for one class, and of which columns."""

    __slots__ = ("preference", "rows", "static")

    def __init__(
        self,
        pool: PoolColumns,
        nodes: NodeColumns,
        pod: PodFacts,
        *,
        shape: Shape,
        static: Static,
        devices: DeviceTally,
        tally: NodeTally,
        keys: Ints,
    ) -> None:
        request = pod.request
        if request is None:
            raise ValueError(f"pod {pod.namespace}/{pod.name} asks for no share")
        self.static, self.preference = static, shape.preference
        columns = (
            *(static.codes, pool.compute, pool.compute_free, pool.vram_free, pool.modes, pool.score, devices.codes),
            *(pool.node_row, pool.node_score, tally.codes, keys),
            *(shape.codes, nodes.cpu_free, nodes.memory_free, nodes.pods_free, nodes.workers, nodes.unknown_native),
            *(shape.preference, devices.counts, tally.counts),
        )
        asked = (
            *(request.count, request.compute, 0 if request.compute else request.percent, request.vram),
            _blocked(request),
            *(pod.cpu, pod.memory, pool.facts.max_workers_per_node, PREFERENCE),
        )
        first = DEVICE_ORDER[DeviceReason.POOL] + 1  # the code before it means a slot without a device here
        of_devices = DEVICE_REASONS[first:]
        self.rows = _rows.Rows(columns, asked, _REASONS, of_devices, first, NODE_REASONS, pool.node_names)


def _blocked(request: GpuRequest) -> int:
    """The isolation modes that a device must not be used in: whole devices are taken alone, and wholly taken ones not
    joined, by not even a share of nothing."""
    if request.isolation is SHARED:
        return sum(MODE_BIT.values())
    return 0 if request.compute or request.percent or request.vram else MODE_BIT[SHARED]
