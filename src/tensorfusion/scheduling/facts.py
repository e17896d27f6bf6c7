"""What decisions are made of: devices, nodes, pools, quotas and pods as plain facts in integers.

Apart from the columns because these are the seam: the service turns objects of the API into facts, and nothing behind
this line knows a quantity string, an annotation or a watch event.

Units: ``compute`` GFLOPS, ``vram`` and ``memory`` bytes, ``cpu`` milli-CPU, percent milli-percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.common import IsolationPolicy, PlacementMode, UsedBy
from tensorfusion.model.core import Affinity, Taint, Toleration
from tensorfusion.model.gang import Gang
from tensorfusion.model.gpu import GpuPhase
from tensorfusion.model.gpu_topology import PLAIN_RULE, TopologyRule
from tensorfusion.model.partitions import Partition, Profile
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.scheduling.pod_rules import PodRules

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class Off(StrEnum):
    """Rules that a profile of the scheduler's configuration switches off for its pods."""

    CORDON = "cordons"
    TAINTS = "taints"
    OWN_NODES = "node selector and required node affinity"
    PORTS = "host ports"
    SPREAD = "required topology spread"
    NEIGHBOURS = "required pod affinity and anti-affinity"
    SOFT_TAINTS = "preferred taints"
    PREFERRED_NODES = "preferred node affinity"


NOTHING_OFF: Final[frozenset[Off]] = frozenset()
NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_LEVELS: Final[Mapping[QoS, int]] = MappingProxyType({level: place for place, level in enumerate(QoS)})
_PLAIN_LEVEL: Final = _LEVELS[QoS.MEDIUM]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One device. ``capabilities`` are the isolation modes it can enforce; None where it does not say.

    ``profile`` is what its model can be cut into; None where it cannot. ``numa`` is -1 where it does not say. ``peers``
    are the devices that it reports a distance to: name, tier and bytes a second.
    """

    name: str
    node: str
    pool: str
    vendor: str = ""
    model: str = ""
    index: int = -1
    compute: int = 0
    vram: int = 0
    phase: str = GpuPhase.RUNNING
    used_by: str = ""
    isolation_mode: str = ""
    isolation_policy: str = IsolationPolicy.STATIC
    capabilities: frozenset[Isolation] | None = None
    numa: int = -1
    peers: tuple[tuple[str, int, int], ...] = ()
    profile: Profile | None = None

    @property
    def ours(self) -> bool:
        """Handed out by us, not by its maker's own device plugin."""
        return self.used_by in ("", UsedBy.TENSOR_FUSION)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node and what its pods may take in sum. ``extended`` holds the other named resources."""

    name: str
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    ready: bool = True
    cpu: int = 0
    memory: int = 0
    pods: int = 110
    extended: Mapping[str, int] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod. ``created`` is its RFC 3339 time; ``request`` is None for a pod that takes no share of a device."""

    uid: str
    namespace: str
    name: str
    priority: int = 0
    created: str = ""
    request: GpuRequest | None = None
    cpu: int = 0
    memory: int = 0
    extended: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    node_selector: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] = ()
    within: tuple[tuple[str, str], ...] = ()
    """Labels of the nodes that its gang is kept on: apart from its own node selector, by which rules count nodes."""
    native: int = 0
    """Whole devices that it asks of their maker's own device plugin; they are among ``extended`` too."""
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS, compare=False)
    """Not compared: what other labels mean is the business of those who look at them."""
    rules: PodRules | None = None
    """What it asks of its neighbours; None for nearly every pod."""
    gang: Gang | None = None
    scheduler: str = ""
    """Its scheduler name: whose profile scores it."""
    off: frozenset[Off] = NOTHING_OFF
    preempts: bool = True
    """Whether less important pods may have to go for it."""
    protected_until: int = 0
    """Unix seconds before which it does not have to go for another pod."""
    topology: TopologyRule | None = None
    """How near its devices have to be to each other; None for the plain rule, as nearly every pod has it."""

    @property
    def topology_rule(self) -> TopologyRule:
        """How near its devices have to be to each other."""
        return PLAIN_RULE if self.topology is None else self.topology

    @property
    def rank(self) -> int:
        """How important it is: priority first, then quality of service; without a share that is medium."""
        level = _PLAIN_LEVEL if self.request is None else _LEVELS[self.request.qos]
        return len(_LEVELS) * self.priority + level


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """How a pool places. Weights are shares of 1; ``max_workers_per_node`` 0 is unlimited."""

    name: str
    mode: str = PlacementMode.NODE_COMPACT_GPU_LOW_LOAD
    vram_weight: float = 0.7
    tflops_weight: float = 0.3
    max_workers_per_node: int = 256


@dataclass(frozen=True, slots=True)
class QuotaFacts:
    """Ceilings of one namespace. None is unlimited; zero allows none in ``total_*`` and is unlimited in ``single_*``.

    ``single_*`` bound one device's share (and one pod's device count), ``total_*`` the sums over the namespace.
    """

    namespace: str
    total_compute: int | None = None
    total_vram: int | None = None
    total_compute_limit: int | None = None
    total_vram_limit: int | None = None
    total_workers: int | None = None
    total_devices: int | None = None
    single_compute: int | None = None
    single_vram: int | None = None
    single_compute_limit: int | None = None
    single_vram_limit: int | None = None
    single_devices: int | None = None
    cohort: str = ""
    """The cohort that it shares ``total_compute``, ``total_vram`` and ``total_devices`` with, where set; else none."""
    fair_weight: int = 1
    borrow_compute: int | None = None
    """``borrow_*`` is the most that it may hold above its own; None is unlimited."""
    borrow_vram: int | None = None
    borrow_devices: int | None = None
    lend_compute: int | None = None
    """``lend_*`` is the most of its own that others may use; None is all of it."""
    lend_vram: int | None = None
    lend_devices: int | None = None


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """How namespaces share what they may hold. ``borrow_*`` and ``lend_*`` are towards ``parent``, as for a quota."""

    name: str
    parent: str = ""
    fair_weight: int = 1
    reclaim: ReclaimPolicy = ReclaimPolicy.NEVER
    borrow_compute: int | None = None
    borrow_vram: int | None = None
    borrow_devices: int | None = None
    lend_compute: int | None = None
    lend_vram: int | None = None
    lend_devices: int | None = None


class Placement(msgspec.Struct, frozen=True, eq=False):  # a tenth of what a frozen dataclass costs to make
    """A node and, in the order of the pod's ``gpu-ids``, devices of it; no devices for a plain pod.

    ``partitions`` are in the same order; empty unless the pod is partitioned. ``capacities`` are the devices' GFLOPS as
    the pod's Binding says; empty where it does not, and not compared.
    """

    node: str
    devices: tuple[str, ...] = ()
    partitions: tuple[Partition, ...] = ()
    capacities: tuple[int, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Placement):
            return NotImplemented
        return (self.node, self.devices, self.partitions) == (other.node, other.devices, other.partitions)

    def __hash__(self) -> int:
        return hash((self.node, self.devices, self.partitions))
