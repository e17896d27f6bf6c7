"""GPUPool: a named set of nodes with one policy.

Source: GPUPool of tensor-fusion.ai/v1; ``nodeManagerConfig`` is optional here because the user's manifests omit it.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.meta import Condition, Object, Raw
from tensorfusion.model.pool_nodes import NodeManagerConfig
from tensorfusion.model.request import QoS
from tensorfusion.model.rules import Column, Count, Int32, Part, Percent, Quantity, Rules, SignedQuantity, Time


class PoolPhase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    UPDATING = "Updating"
    DESTROYING = "Destroying"
    UNKNOWN = "Unknown"


class ProvisioningPhase(StrEnum):
    NONE = "None"
    INITIALIZING = "Initializing"
    PROVISIONING = "Provisioning"
    COMPLETED = "Completed"


class CapacityResources(Part, frozen=True):
    """An amount of a whole pool."""

    tflops: Annotated[Quantity, Rules("Compute in TFLOPS.")] = ""
    vram: Annotated[Quantity, Rules("Device memory.")] = ""
    cpu: Annotated[Quantity, Rules("CPU cores.")] = ""
    memory: Annotated[Quantity, Rules("Host memory.")] = ""


class Oversubscription(Part, frozen=True):
    """Virtual capacity beyond the physical one, in percent."""

    vram_expand_to_host_mem: Annotated[Percent, Rules("Percent of host memory added to the virtual VRAM.")] = (
        msgspec.field(default=50, name="vramExpandToHostMem")
    )
    vram_expand_to_host_disk: Annotated[Percent, Rules("Percent of the data disk added to the virtual VRAM.")] = (
        msgspec.field(default=70, name="vramExpandToHostDisk")
    )
    tflops_oversell_ratio: Annotated[
        Int32, Rules("Virtual compute in percent of the physical compute.", minimum=100, maximum=100_000)
    ] = msgspec.field(default=500, name="tflopsOversellRatio")


class CapacityConfig(Part, frozen=True):
    """How large the pool may be, and how far it is oversubscribed."""

    min_resources: Annotated[CapacityResources | None, Rules("Never below; 0 lets an empty pool run.")] = msgspec.field(
        default=None, name="minResources"
    )
    max_resources: Annotated[CapacityResources | None, Rules("Never above.")] = msgspec.field(
        default=None, name="maxResources"
    )
    warm_resources: Annotated[CapacityResources | None, Rules("Kept free for the next workload.")] = msgspec.field(
        default=None, name="warmResources"
    )
    oversubscription: Annotated[Oversubscription | None, Rules("Virtual capacity; unset means none.")] = None


class QosDefinition(Part, frozen=True):
    """Meaning of one quality of service."""

    name: Annotated[QoS | None, Rules("Which quality of service.")] = None
    description: Annotated[str, Rules("For people.")] = ""
    priority: Annotated[Int32 | None, Rules("Higher goes first.", minimum=1, maximum=100)] = None


class UnitPrices(Part, frozen=True):
    """Prices of what is guaranteed."""

    per_fp16_tflops_per_hour: Annotated[str, Rules("Dollars for one TFLOPS and hour.")] = msgspec.field(
        default="$0.0069228", name="perFP16TFlopsPerHour"
    )
    per_gb_of_vram_per_hour: Annotated[str, Rules("Dollars for one GB of VRAM and hour.")] = msgspec.field(
        default="$0.01548", name="perGBOfVRAMPerHour"
    )


class QosPricing(Part, frozen=True):
    """Prices of one quality of service."""

    qos: Annotated[QoS | None, Rules("Which quality of service.")] = None
    requests: Annotated[UnitPrices | None, Rules("Prices of what is guaranteed.")] = None
    limits_over_requests: Annotated[str, Rules("Price of the part above the guarantee, as a factor.")] = msgspec.field(
        default="1", name="limitsOverRequests"
    )


class QosConfig(Part, frozen=True):
    """Quality of service in this pool."""

    definitions: Annotated[tuple[QosDefinition, ...], Rules("Meaning of each quality of service.")] = ()
    default_qos: Annotated[QoS | None, Rules("For pods that name none.")] = msgspec.field(
        default=None, name="defaultQoS"
    )
    pricing: Annotated[tuple[QosPricing, ...], Rules("Prices of each quality of service.")] = ()
    eviction_protection_price_ratio: Annotated[str, Rules("Price factor while a pod is protected.")] = msgspec.field(
        default="1.2", name="evictionProtectionPriceRatio"
    )


class WorkerConfig(Part, frozen=True):
    """Worker pods of remote devices."""

    image: Annotated[str, Rules("Image of the worker.")] = ""
    pod_template: Annotated[Raw, Rules("Pod template of the worker.")] = msgspec.field(
        default_factory=dict, name="podTemplate"
    )


class HypervisorConfig(Part, frozen=True):
    """Node agent pods."""

    image: Annotated[str, Rules("Image of the node agent.")] = ""
    vector_image: Annotated[str, Rules("Image of the metrics shipper.")] = msgspec.field(default="", name="vectorImage")
    port_number: Annotated[Int32, Rules("Port of the node agent.", minimum=0, maximum=65535)] = msgspec.field(
        default=8000, name="portNumber"
    )
    pod_template: Annotated[Raw, Rules("Pod template of the node agent.")] = msgspec.field(
        default_factory=dict, name="podTemplate"
    )
    enable_vector: Annotated[bool | None, Rules("Run the metrics shipper beside the agent.")] = msgspec.field(
        default=None, name="enableVector"
    )


class NodeDiscoveryConfig(Part, frozen=True):
    """Former discovery job; the node agent does its work now."""

    image: Annotated[str, Rules("Image of the job.")] = ""
    pod_template: Annotated[Raw, Rules("Pod template of the job.")] = msgspec.field(
        default_factory=dict, name="podTemplate"
    )


class ClientConfig(Part, frozen=True):
    """What is injected into the pods of users."""

    image: Annotated[str, Rules("Image of the client library.")] = ""
    remote_mode_image: Annotated[str, Rules("Image for remote devices.")] = msgspec.field(
        default="", name="remoteModeImage"
    )
    embedded_mode_image: Annotated[str, Rules("Image for local devices.")] = msgspec.field(
        default="", name="embeddedModeImage"
    )
    operator_endpoint: Annotated[str, Rules("URL under which pods reach the operator.")] = msgspec.field(
        default="", name="operatorEndpoint"
    )
    patch_to_pod: Annotated[Raw, Rules("Strategic merge patch of the pod.")] = msgspec.field(
        default_factory=dict, name="patchToPod"
    )
    patch_to_container: Annotated[Raw, Rules("Strategic merge patch of each injected container.")] = msgspec.field(
        default_factory=dict, name="patchToContainer"
    )
    patch_embedded_worker_to_pod: Annotated[Raw, Rules("Patch of pods with a worker of their own.")] = msgspec.field(
        default_factory=dict, name="patchEmbeddedWorkerToPod"
    )
    patch_to_embedded_worker_container: Annotated[Raw, Rules("Patch of that worker's container.")] = msgspec.field(
        default_factory=dict, name="patchToEmbeddedWorkerContainer"
    )


class ComponentConfig(Part, frozen=True):
    """Images and templates of the components."""

    worker: Annotated[WorkerConfig | None, Rules("Worker pods of remote devices.")] = None
    hypervisor: Annotated[HypervisorConfig | None, Rules("Node agent pods.")] = None
    node_discovery: Annotated[NodeDiscoveryConfig | None, Rules("Former discovery job.")] = msgspec.field(
        default=None, name="nodeDiscovery"
    )
    client: Annotated[ClientConfig | None, Rules("What is injected into the pods of users.")] = None


class DraConfig(Part, frozen=True):
    """Whether pods get their devices through Dynamic Resource Allocation."""

    enable: Annotated[bool | None, Rules("Use Dynamic Resource Allocation unless a pod says otherwise.")] = None
    resource_claim_template_name: Annotated[
        str, Rules("ResourceClaimTemplate for the pods; tensor-fusion-gpu-template where unset.")
    ] = msgspec.field(default="", name="resourceClaimTemplateName")


class GPUPoolSpec(Part, frozen=True):
    """Nodes, capacity and policy of the pool."""

    default_using_local_gpu: Annotated[bool | None, Rules("Pods run on the device's own node; true where unset.")] = (
        msgspec.field(default=None, name="defaultUsingLocalGPU")
    )
    capacity_config: Annotated[CapacityConfig | None, Rules("How large the pool may be.")] = msgspec.field(
        default=None, name="capacityConfig"
    )
    node_manager_config: Annotated[NodeManagerConfig, Rules("Which nodes belong to the pool.")] = msgspec.field(
        default_factory=NodeManagerConfig, name="nodeManagerConfig"
    )
    qos_config: Annotated[QosConfig | None, Rules("Quality of service in this pool.")] = msgspec.field(
        default=None, name="qosConfig"
    )
    component_config: Annotated[ComponentConfig | None, Rules("Images and templates of the components.")] = (
        msgspec.field(default=None, name="componentConfig")
    )
    scheduling_config_template: Annotated[str, Rules("Name of the SchedulingConfigTemplate.")] = msgspec.field(
        default="", name="schedulingConfigTemplate"
    )
    dra_config: Annotated[DraConfig | None, Rules("Dynamic Resource Allocation; goes before the template's.")] = (
        msgspec.field(default=None, name="draConfig")
    )


class ComponentStatus(Part, frozen=True):
    """Which versions of the components run, and how far an update has come."""

    worker: Annotated[str, Rules("Hash of the worker template.")] = ""
    hypervisor: Annotated[str, Rules("Hash of the node agent template.")] = ""
    client: Annotated[str, Rules("Hash of the client configuration.")] = ""
    worker_config_synced: Annotated[bool | None, Rules("All workers are up to date.")] = msgspec.field(
        default=None, name="workerConfigSynced"
    )
    hypervisor_config_synced: Annotated[bool | None, Rules("All node agents are up to date.")] = msgspec.field(
        default=None, name="hypervisorConfigSynced"
    )
    client_config_synced: Annotated[bool | None, Rules("All clients are up to date.")] = msgspec.field(
        default=None, name="clientConfigSynced"
    )
    worker_update_progress: Annotated[Percent | None, Rules("Percent of the workers that are up to date.")] = (
        msgspec.field(default=None, name="workerUpdateProgress")
    )
    hypervisor_update_progress: Annotated[Percent | None, Rules("Percent of the agents that are up to date.")] = (
        msgspec.field(default=None, name="hypervisorUpdateProgress")
    )
    client_update_progress: Annotated[Percent | None, Rules("Percent of the clients that are up to date.")] = (
        msgspec.field(default=None, name="clientUpdateProgress")
    )


class GPUPoolStatus(Part, frozen=True):
    """Sums over the nodes of the pool."""

    cluster: Annotated[str, Rules("TensorFusionCluster that made the pool.")] = ""
    phase: Annotated[PoolPhase, Rules("Running when every node of the pool is.", required=True)] = PoolPhase.PENDING
    conditions: Annotated[tuple[Condition, ...], Rules("Details of the phase.", map_key="type")] = ()
    total_nodes: Annotated[Count, Rules("Nodes of the pool.")] = msgspec.field(default=0, name="totalNodes")
    total_gpus: Annotated[Count, Rules("Devices of the pool.")] = msgspec.field(default=0, name="totalGPUs")
    ready_nodes: Annotated[Count, Rules("Nodes that are Running.", required=True)] = msgspec.field(
        default=0, name="readyNodes"
    )
    not_ready_nodes: Annotated[Count, Rules("Nodes that are not.", required=True)] = msgspec.field(
        default=0, name="notReadyNodes"
    )
    total_tflops: Annotated[Quantity, Rules("Compute of all devices.", required=True)] = msgspec.field(
        default="0", name="totalTFlops"
    )
    total_vram: Annotated[Quantity, Rules("Memory of all devices.", required=True)] = msgspec.field(
        default="0", name="totalVRAM"
    )
    virtual_tflops: Annotated[Quantity, Rules("Compute with oversubscription.", required=True)] = msgspec.field(
        default="0", name="virtualTFlops"
    )
    virtual_vram: Annotated[Quantity, Rules("Memory with oversubscription.", required=True)] = msgspec.field(
        default="0", name="virtualVRAM"
    )
    available_tflops: Annotated[Quantity, Rules("Compute that no share holds.", required=True)] = msgspec.field(
        default="0", name="availableTFlops"
    )
    available_vram: Annotated[Quantity, Rules("Memory that no share holds.", required=True)] = msgspec.field(
        default="0", name="availableVRAM"
    )
    virtual_available_tflops: Annotated[
        SignedQuantity, Rules("Virtual compute minus the limits of all shares; may be negative.")
    ] = msgspec.field(default="", name="virtualAvailableTFlops")
    virtual_available_vram: Annotated[
        SignedQuantity, Rules("Virtual memory minus the limits of all shares; may be negative.")
    ] = msgspec.field(default="", name="virtualAvailableVRAM")
    running_apps_cnt: Annotated[Count, Rules("Pods with shares in the pool.")] = msgspec.field(
        default=0, name="runningAppsCnt"
    )
    component_status: Annotated[ComponentStatus, Rules("Progress of component updates.", required=True)] = (
        msgspec.field(default_factory=ComponentStatus, name="componentStatus")
    )
    saved_costs_per_month: Annotated[str, Rules("Dollars saved a month.")] = msgspec.field(
        default="", name="savedCostsPerMonth"
    )
    potential_savings_per_month: Annotated[str, Rules("Dollars that could be saved a month.")] = msgspec.field(
        default="", name="potentialSavingsPerMonth"
    )
    budget_exceeded: Annotated[str, Rules("Which budget is used up, if any.")] = msgspec.field(
        default="", name="budgetExceeded"
    )
    provisioning_phase: Annotated[ProvisioningPhase, Rules("How far buying nodes has come.")] = msgspec.field(
        default=ProvisioningPhase.NONE, name="provisioningPhase"
    )
    last_compaction_time: Annotated[Time | None, Rules("When empty nodes were last given back.")] = msgspec.field(
        default=None, name="lastCompactionTime"
    )
    last_defrag_time: Annotated[Time | None, Rules("When nodes were last emptied.")] = msgspec.field(
        default=None, name="lastDefragTime"
    )


class GPUPool(Object, frozen=True):
    """A named set of nodes whose devices are shared under one policy."""

    spec: Annotated[GPUPoolSpec, Rules("Nodes, capacity and policy of the pool.")] = msgspec.field(
        default_factory=GPUPoolSpec
    )
    status: Annotated[GPUPoolStatus, Rules("Sums over the nodes of the pool.")] = msgspec.field(
        default_factory=GPUPoolStatus
    )


COLUMNS = (
    Column("Phase", ".status.phase"),
    Column("TFlops Oversubscription", ".spec.capacityConfig.oversubscription.tflopsOversellRatio"),
    Column("Mode", ".spec.nodeManagerConfig.provisioningMode"),
    Column("Default Scheduling Strategy", ".spec.schedulingConfigTemplate"),
    Column("Total Nodes", ".status.totalNodes"),
    Column("Total GPU", ".status.totalGPUs"),
    Column("Total Tflops", ".status.totalTFlops"),
    Column("Total VRAM", ".status.totalVRAM"),
    Column("Available Tflops", ".status.availableTFlops"),
    Column("Available VRAM", ".status.availableVRAM"),
)
