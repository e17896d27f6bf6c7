"""GPUNode: one node of a pool, with the sums over its devices.

Source: GPUNode of tensor-fusion.ai/v1.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.common import PodOnDevice
from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.rules import Column, Count, Int64, Part, Quantity, Rules, SignedQuantity, Time


class ManageMode(StrEnum):
    MANUAL = "Manual"
    AUTO_SELECT = "AutoSelect"
    PROVISIONED = "Provisioned"


class NodePhase(StrEnum):
    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    MIGRATING = "Migrating"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"
    DESTROYING = "Destroying"


class GPUNodeSpec(Part, frozen=True):
    """How the node is managed."""

    manage_mode: Annotated[ManageMode, Rules("Provisioned for nodes that the pool bought itself.")] = msgspec.field(
        default=ManageMode.AUTO_SELECT, name="manageMode"
    )
    cost_per_hour: Annotated[str, Rules("Price of the node in dollars an hour.")] = msgspec.field(
        default="", name="costPerHour"
    )
    gpu_card_indices: Annotated[tuple[int, ...], Rules("Use only these devices; empty means all.")] = msgspec.field(
        default=(), name="gpuCardIndices"
    )
    cloud_vendor_param: Annotated[str, Rules("Opaque value of the cloud vendor.")] = msgspec.field(
        default="", name="cloudVendorParam"
    )


class NodeInfo(Part, frozen=True):
    """What VRAM can be expanded onto."""

    ram_size: Annotated[Quantity, Rules("Memory of the node.")] = msgspec.field(default="", name="ramSize")
    data_disk_size: Annotated[Quantity, Rules("Data disk of the node.")] = msgspec.field(
        default="", name="dataDiskSize"
    )


class HypervisorStatus(Part, frozen=True):
    """The node agent."""

    hypervisor_state: Annotated[str, Rules("State of the agent.")] = msgspec.field(default="", name="hypervisorState")
    hypervisor_version: Annotated[str, Rules("Version of the agent.")] = msgspec.field(
        default="", name="hypervisorVersion"
    )
    last_heartbeat_time: Annotated[Time | None, Rules("When the agent was last heard of.")] = msgspec.field(
        default=None, name="lastHeartbeatTime"
    )


class GPUNodeStatus(Part, frozen=True):
    """Sums over the devices of the node."""

    phase: Annotated[NodePhase, Rules("Running when the node agent is ready.", required=True)] = NodePhase.PENDING
    conditions: Annotated[tuple[Condition, ...], Rules("Details of the phase.", map_key="type")] = ()
    total_tflops: Annotated[Quantity, Rules("Compute of all present devices.", required=True)] = msgspec.field(
        default="0", name="totalTFlops"
    )
    total_vram: Annotated[Quantity, Rules("Memory of all present devices.", required=True)] = msgspec.field(
        default="0", name="totalVRAM"
    )
    virtual_tflops: Annotated[Quantity, Rules("Compute with oversubscription.")] = msgspec.field(
        default="", name="virtualTFlops"
    )
    virtual_vram: Annotated[Quantity, Rules("Memory with oversubscription.")] = msgspec.field(
        default="", name="virtualVRAM"
    )
    available_tflops: Annotated[Quantity, Rules("Compute that no share holds.")] = msgspec.field(
        default="", name="availableTFlops"
    )
    available_vram: Annotated[Quantity, Rules("Memory that no share holds.")] = msgspec.field(
        default="", name="availableVRAM"
    )
    virtual_available_tflops: Annotated[
        SignedQuantity, Rules("Virtual compute minus the limits of all shares; may be negative.")
    ] = msgspec.field(default="", name="virtualAvailableTFlops")
    virtual_available_vram: Annotated[
        SignedQuantity, Rules("Virtual memory minus the limits of all shares; may be negative.")
    ] = msgspec.field(default="", name="virtualAvailableVRAM")
    total_gpus: Annotated[Count, Rules("Devices of the node.", required=True)] = msgspec.field(
        default=0, name="totalGPUs"
    )
    managed_gpus: Annotated[Count, Rules("Devices that we hand out.", required=True)] = msgspec.field(
        default=0, name="managedGPUs"
    )
    managed_gpu_device_ids: Annotated[tuple[str, ...], Rules("Their UUIDs.")] = msgspec.field(
        default=(), name="managedGPUDeviceIDs"
    )
    node_info: Annotated[NodeInfo | None, Rules("What VRAM can be expanded onto.")] = msgspec.field(
        default=None, name="nodeInfo"
    )
    hypervisor_status: Annotated[HypervisorStatus | None, Rules("The node agent.")] = msgspec.field(
        default=None, name="hypervisorStatus"
    )
    loaded_models: Annotated[tuple[str, ...], Rules("Models kept warm on the node.")] = msgspec.field(
        default=(), name="loadedModels"
    )
    observed_generation: Annotated[Int64 | None, Rules("Generation of the spec that this status answers.")] = (
        msgspec.field(default=None, name="observedGeneration")
    )
    total_gpu_pods: Annotated[Count | None, Rules("Distinct pods with shares on the node.")] = msgspec.field(
        default=None, name="totalGPUPods"
    )
    allocated_pods: Annotated[dict[str, tuple[PodOnDevice, ...]], Rules("Pods by name of the GPU.")] = msgspec.field(
        default_factory=dict, name="allocatedPods"
    )


class GPUNode(Object, frozen=True):
    """One node that belongs to a GPUPool."""

    spec: Annotated[GPUNodeSpec, Rules("How the node is managed.")] = msgspec.field(default_factory=GPUNodeSpec)
    status: Annotated[GPUNodeStatus, Rules("Sums over the devices of the node.")] = msgspec.field(
        default_factory=GPUNodeStatus
    )


COLUMNS = (
    Column("Phase", ".status.phase"),
    Column("Total TFlops", ".status.totalTFlops"),
    Column("Total VRAM", ".status.totalVRAM"),
    Column("Virtual TFlops", ".status.virtualTFlops"),
    Column("Virtual VRAM", ".status.virtualVRAM"),
    Column("Available TFlops", ".status.availableTFlops"),
    Column("Available VRAM", ".status.availableVRAM"),
    Column("GPU Count", ".status.totalGPUs", "integer"),
)
