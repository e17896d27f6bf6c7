"""TensorFusionCluster: the pools of one cluster together, and the provider that more nodes come from.

Source: TensorFusionCluster of tensor-fusion.ai/v1. Ours: a pool's ``name`` is required and unique, because the pool
object is named after it.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.gpu_pool import GPUPoolSpec
from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.rules import Cel, Column, Count, Int64, Part, Quantity, Rules, SignedQuantity


class ClusterPhase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    UPDATING = "Updating"
    DESTROYING = "Destroying"
    UNKNOWN = "Unknown"


class VendorType(StrEnum):
    """Providers that the API names. Which of them this version can talk to is another question."""

    AWS = "aws"
    LAMBDA_LABS = "lambda-labs"
    GCP = "gcp"
    AZURE = "azure"
    ORACLE_OCI = "oracle-oci"
    IBM = "ibm"
    OPENSHIFT = "openshift"
    VULTR = "vultr"
    TOGETHER_AI = "together-ai"
    ALIBABA = "alibaba"
    NVIDIA = "nvidia"
    TENCENT = "tencent"
    RUNPOD = "runpod"
    KARPENTER = "karpenter"
    MOCK = "mock"


class AuthType(StrEnum):
    ACCESS_KEY = "accessKey"
    SERVICE_ACCOUNT_ROLE = "serviceAccountRole"


class VendorParams(Part, frozen=True):
    """How the provider is reached."""

    default_region: Annotated[str, Rules("Region where none is stated.")] = msgspec.field(
        default="", name="defaultRegion"
    )
    access_key_path: Annotated[str, Rules("File with the access key.")] = msgspec.field(
        default="", name="accessKeyPath"
    )
    secret_key_path: Annotated[str, Rules("File with the secret key.")] = msgspec.field(
        default="", name="secretKeyPath"
    )
    iam_role: Annotated[str, Rules("Role that the operator takes.")] = msgspec.field(default="", name="iamRole")
    config_file: Annotated[str, Rules("File with the provider's own configuration.")] = msgspec.field(
        default="", name="configFile"
    )
    extra_params: Annotated[dict[str, str], Rules("More parameters of the provider.")] = msgspec.field(
        default_factory=dict, name="extraParams"
    )


class ComputingVendor(Part, frozen=True):
    """The provider that more nodes come from."""

    name: Annotated[str, Rules("Name of the connection.")] = ""
    type: Annotated[VendorType | None, Rules("Which provider.")] = None
    auth_type: Annotated[AuthType | None, Rules("How the operator proves who it is.")] = msgspec.field(
        default=None, name="authType"
    )
    enable: Annotated[bool, Rules("Use the provider.")] = True
    params: Annotated[VendorParams | None, Rules("How the provider is reached.")] = None


class ClusterPool(Part, frozen=True):
    """One pool of the cluster."""

    name: Annotated[
        str,
        Rules(
            "Name of the pool; its object is <cluster>-<name>.",
            min_length=1,
            max_length=63,
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        ),
    ]
    spec_template: Annotated[GPUPoolSpec, Rules("Spec of the pool.")] = msgspec.field(name="specTemplate")
    is_default: Annotated[bool | None, Rules("For pods that name no pool.")] = msgspec.field(
        default=None, name="isDefault"
    )


class TensorFusionClusterSpec(Part, frozen=True):
    """The pools and the provider of the cluster."""

    gpu_pools: Annotated[tuple[ClusterPool, ...], Rules("Pools of the cluster.", map_key="name", max_items=64)] = (
        msgspec.field(default=(), name="gpuPools")
    )
    computing_vendor: Annotated[ComputingVendor | None, Rules("The provider that more nodes come from.")] = (
        msgspec.field(default=None, name="computingVendor")
    )


class TensorFusionClusterStatus(Part, frozen=True):
    """Sums over the pools of the cluster."""

    phase: Annotated[ClusterPhase, Rules("Running when every pool is.", required=True)] = ClusterPhase.PENDING
    conditions: Annotated[tuple[Condition, ...], Rules("Details of the phase.", map_key="type")] = ()
    total_pools: Annotated[Count, Rules("Pools of the cluster.", required=True)] = msgspec.field(
        default=0, name="totalPools"
    )
    total_nodes: Annotated[Count, Rules("Nodes of the cluster.", required=True)] = msgspec.field(
        default=0, name="totalNodes"
    )
    total_gpus: Annotated[Count, Rules("Devices of the cluster.", required=True)] = msgspec.field(
        default=0, name="totalGPUs"
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
    ready_gpu_pools: Annotated[tuple[str, ...], Rules("Pools that are Running.")] = msgspec.field(
        default=(), name="readyGPUPools"
    )
    not_ready_gpu_pools: Annotated[tuple[str, ...], Rules("Pools that are not.")] = msgspec.field(
        default=(), name="notReadyGPUPools"
    )
    retry_count: Annotated[Int64, Rules("Looks in a row that found a pool not ready.", required=True)] = msgspec.field(
        default=0, name="retryCount"
    )
    utilized_tflops_percent: Annotated[str, Rules("Compute in use, in percent.")] = msgspec.field(
        default="", name="utilizedTFlopsPercent"
    )
    utilized_vram_percent: Annotated[str, Rules("Memory in use, in percent.")] = msgspec.field(
        default="", name="utilizedVRAMPercent"
    )
    allocated_tflops_percent: Annotated[str, Rules("Compute held by shares, in percent.")] = msgspec.field(
        default="", name="allocatedTFlopsPercent"
    )
    allocated_vram_percent: Annotated[str, Rules("Memory held by shares, in percent.")] = msgspec.field(
        default="", name="allocatedVRAMPercent"
    )
    saved_costs_per_month: Annotated[str, Rules("Dollars saved a month.")] = msgspec.field(
        default="", name="savedCostsPerMonth"
    )
    potential_savings_per_month: Annotated[str, Rules("Dollars that could be saved a month.")] = msgspec.field(
        default="", name="potentialSavingsPerMonth"
    )
    cloud_vendor_config_hash: Annotated[str, Rules("Hash of the provider's configuration.")] = msgspec.field(
        default="", name="cloudVendorConfigHash"
    )


class TensorFusionCluster(Object, frozen=True):
    """The pools of one cluster together, and the provider that more nodes come from."""

    spec: Annotated[TensorFusionClusterSpec, Rules("The pools and the provider.")] = msgspec.field(
        default_factory=TensorFusionClusterSpec
    )
    status: Annotated[TensorFusionClusterStatus, Rules("Sums over the pools.")] = msgspec.field(
        default_factory=TensorFusionClusterStatus
    )


NAME_RULES = (
    Cel(
        "!has(self.spec) || !has(self.spec.gpuPools) || "
        "self.spec.gpuPools.all(p, size(self.metadata.name) + size(p.name) < 63)",
        "a pool is named <cluster>-<name>, which has to fit into a label: at most 63 characters together",
    ),
)

COLUMNS = (
    Column("Phase", ".status.phase"),
    Column("Total Pools", ".status.totalPools"),
    Column("Total Nodes", ".status.totalNodes"),
    Column("Total GPU", ".status.totalGPUs"),
    Column("Total Tflops", ".status.totalTFlops"),
    Column("Total VRAM", ".status.totalVRAM"),
    Column("Available Tflops", ".status.availableTFlops"),
    Column("Available VRAM", ".status.availableVRAM"),
)
