"""GPU: one physical device, as its node's hypervisor reports it. The object has a status only.

Source: GPU of tensor-fusion.ai/v1.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.common import IsolationPolicy, PodOnDevice, UsedBy
from tensorfusion.model.meta import Object
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.request import Isolation
from tensorfusion.model.rules import Column, Count, Int32, Int64, Part, Rules, Time, UInt32


class GpuPhase(StrEnum):
    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    UNKNOWN = "Unknown"
    DESTROYING = "Destroying"
    MIGRATING = "Migrating"


class RunningApp(Part, frozen=True):
    """One workload with shares of a device."""

    name: Annotated[str, Rules("Name of the workload.")] = ""
    namespace: Annotated[str, Rules("Namespace of the workload.")] = ""
    count: Annotated[Count, Rules("Number of its pods on the device.", required=True)] = 0
    pods: Annotated[tuple[PodOnDevice, ...], Rules("Its pods on the device.")] = ()


class NvLinkPeer(Part, frozen=True):
    """Direct links to one other device."""

    peer_uuid: Annotated[str, Rules("UUID of the other device.")] = msgspec.field(name="peerUUID")
    link_count: Annotated[Int32 | None, Rules("Number of links.")] = msgspec.field(default=None, name="linkCount")
    link_version: Annotated[Int32 | None, Rules("Version of the links.")] = msgspec.field(
        default=None, name="linkVersion"
    )
    bandwidth_mbps: Annotated[Int64 | None, Rules("Bandwidth of all links together, MB a second.")] = msgspec.field(
        default=None, name="bandwidthMBps"
    )


class NvLink(Part, frozen=True):
    """Direct links of a device."""

    peer_count: Annotated[Int32 | None, Rules("Number of devices linked directly.")] = msgspec.field(
        default=None, name="peerCount"
    )
    total_link_count: Annotated[Int32 | None, Rules("Number of links to all of them.")] = msgspec.field(
        default=None, name="totalLinkCount"
    )
    total_bandwidth_mbps: Annotated[Int64 | None, Rules("Bandwidth of all links, MB a second.")] = msgspec.field(
        default=None, name="totalBandwidthMBps"
    )
    peers: Annotated[tuple[NvLinkPeer, ...], Rules("The linked devices.")] = ()


class TopologyPeer(Part, frozen=True):
    """How near one other device is."""

    peer_gpu_uuid: Annotated[str, Rules("UUID of the other device.")] = msgspec.field(name="peerGPUUUID")
    tier: Annotated[
        Int32, Rules("0 same interconnect, 1 same NUMA node, 2 across NUMA nodes, 3 unknown.", minimum=0, maximum=3)
    ]
    link_type: Annotated[str, Rules("Kind of the link.")] = msgspec.field(default="", name="linkType")
    bandwidth: Annotated[Int64 | None, Rules("Bandwidth in bytes a second.")] = None


class Topology(Part, frozen=True):
    """Distances to the other devices of the node."""

    peers: Annotated[tuple[TopologyPeer, ...], Rules("The other devices.")] = ()


class AllocatedPartition(Part, frozen=True):
    """One hardware partition in use."""

    template_id: Annotated[str, Rules("Id of the partition template.")] = msgspec.field(name="templateId")
    pod_uid: Annotated[str, Rules("UID of the pod that holds it.")] = msgspec.field(name="podUid")
    pod_name: Annotated[str, Rules("Name of the pod.")] = msgspec.field(name="podName")
    namespace: Annotated[str, Rules("Namespace of the pod.")]
    allocated_at: Annotated[Time, Rules("When it was given out.")] = msgspec.field(name="allocatedAt")
    allocated_slot_start: Annotated[UInt32 | None, Rules("First placement slot.")] = msgspec.field(
        default=None, name="allocatedSlotStart"
    )
    allocated_slot_end: Annotated[UInt32 | None, Rules("Slot after the last one.")] = msgspec.field(
        default=None, name="allocatedSlotEnd"
    )
    isolation_group_id: Annotated[UInt32 | None, Rules("Group of partitions that share slots.")] = msgspec.field(
        default=None, name="isolationGroupId"
    )


class GPUStatus(Part, frozen=True):
    """What is known of the device."""

    phase: Annotated[GpuPhase, Rules("Only Running devices take new work.", required=True)] = GpuPhase.PENDING
    vendor: Annotated[str, Rules("Vendor of the device, such as NVIDIA.", required=True)] = "NVIDIA"
    model: Annotated[str, Rules("Not filled; see gpuModel.")] = ""
    gpu_model: Annotated[str, Rules("Model as the device reports it.", required=True)] = msgspec.field(
        default="", name="gpuModel"
    )
    uuid: Annotated[str, Rules("UUID of the device.", required=True)] = ""
    capacity: Annotated[ComputeResource | None, Rules("The whole device.", required=True)] = None
    available: Annotated[ComputeResource | None, Rules("What no share holds yet.", required=True)] = None
    isolation_mode: Annotated[Isolation, Rules("How the node keeps shares apart (Static policy).")] = msgspec.field(
        default=Isolation.SOFT, name="isolationMode"
    )
    isolation_policy: Annotated[
        IsolationPolicy | None, Rules("Whether the mode is fixed or taken from the first share.")
    ] = msgspec.field(default=None, name="isolationPolicy")
    active_isolation_mode: Annotated[
        Isolation | None,
        Rules("Mode in force on a Dynamic device; unset while it is idle.", enum=("shared", "soft", "hard")),
    ] = msgspec.field(default=None, name="activeIsolationMode")
    dynamic_isolation_conflict: Annotated[
        bool, Rules("Two modes were found on one Dynamic device: it takes no new work until this is cleared.")
    ] = msgspec.field(default=False, name="dynamicIsolationConflict")
    index: Annotated[Int32, Rules("Index of the device on its node.")] = 0
    numa_node: Annotated[Int32, Rules("NUMA node of the device; -1 for none.", defaulted=False)] = msgspec.field(
        default=-1, name="numaNode"
    )
    node_selector: Annotated[
        dict[str, str], Rules("Where the device is: kubernetes.io/hostname and the node's name.", required=True)
    ] = msgspec.field(default_factory=dict, name="nodeSelector")
    used_by: Annotated[
        str,
        Rules("Which system hands the device out; only tensor-fusion or unset takes our work.", enum=tuple(UsedBy)),
    ] = msgspec.field(default="", name="usedBy")
    message: Annotated[str, Rules("One line on the state; managed when healthy.", required=True)] = ""
    running_apps: Annotated[tuple[RunningApp, ...], Rules("Workloads with shares of the device.")] = msgspec.field(
        default=(), name="runningApps"
    )
    nv_link: Annotated[NvLink | None, Rules("Direct links to other devices.")] = msgspec.field(
        default=None, name="nvLink"
    )
    topology: Annotated[Topology | None, Rules("Distances to the other devices of the node.")] = None
    allocated_partitions: Annotated[
        dict[str, AllocatedPartition], Rules("Hardware partitions in use, by UID of their pod.")
    ] = msgspec.field(default_factory=dict, name="allocatedPartitions")

    @property
    def schedulable(self) -> bool:
        """The device takes new work of ours."""
        return self.phase is GpuPhase.RUNNING and self.used_by in ("", UsedBy.TENSOR_FUSION)


class GPU(Object, frozen=True):
    """One physical accelerator, reported by the hypervisor of its node."""

    status: Annotated[GPUStatus, Rules("What is known of the device.")] = msgspec.field(default_factory=GPUStatus)


COLUMNS = (
    Column("GPU Model", ".status.gpuModel"),
    Column("Phase", ".status.phase"),
    Column("Total TFlops", ".status.capacity.tflops"),
    Column("Total VRAM", ".status.capacity.vram"),
    Column("Available TFlops", ".status.available.tflops"),
    Column("Available VRAM", ".status.available.vram"),
    Column("Device UUID", ".status.uuid"),
    Column("Used By", ".status.usedBy"),
    Column("Node", ".status.nodeSelector"),
)
