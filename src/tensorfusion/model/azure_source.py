"""AzureGPUSource: GPU capacity in Azure - models of a foundry, a managed cluster, or machines bought when it is short.

Source: AzureGPUSource of the platform's contract. Ours: type ``vm`` with ``vm``, ``scaling`` and ``cost``, the rules
that tie a type to its fields, and the machines in the status.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from tensorfusion.model.azure_vm import AzureVM, InstanceStatus, Scaling, SourceCost
from tensorfusion.model.common import SecretReference
from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.rules import Cel, Column, Count, Duration, Int32, Money, Part, Quantity, Rules, Time, Url


class SourceType(StrEnum):
    AKS = "aks"
    FOUNDRY = "foundry"
    VM = "vm"


class AzureAuthMethod(StrEnum):
    SERVICE_PRINCIPAL = "servicePrincipal"
    MANAGED_IDENTITY = "managedIdentity"
    ACCESS_KEY = "accessKey"


class SourcePhase(StrEnum):
    PENDING = "Pending"
    READY = "Ready"
    ERROR = "Error"
    SYNCING = "Syncing"
    DISABLED = "Disabled"


class AzureModel(Part, frozen=True):
    """One model that the source offers."""

    model_name: Annotated[str, Rules("Name of the model.")] = msgspec.field(name="modelName")
    sku: Annotated[str, Rules("Azure's word for the capacity behind it.")]
    tflops: Annotated[Quantity, Rules("Compute in TFLOPS.")]
    vram: Annotated[Quantity, Rules("Device memory.")]
    max_throughput: Annotated[Count | None, Rules("Requests a minute at most.")] = msgspec.field(
        default=None, name="maxThroughput"
    )
    available: Annotated[bool, Rules("The model may be used.")] = True
    cost_per_hour: Annotated[Money, Rules("Dollars an hour.")] = msgspec.field(default="", name="costPerHour")


class ServicePrincipal(Part, frozen=True):
    """An identity of its own."""

    tenant_id: Annotated[str, Rules("Tenant of the identity.")] = msgspec.field(name="tenantID")
    client_id: Annotated[str, Rules("Id of the identity.")] = msgspec.field(name="clientID")
    client_secret: Annotated[SecretReference, Rules("Its secret.")] = msgspec.field(name="clientSecret")


class AzureAuth(Part, frozen=True):
    """How the source proves who it is."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.method != 'servicePrincipal' || has(self.servicePrincipal)",
            "method servicePrincipal needs servicePrincipal",
        ),
        Cel("self.method != 'accessKey' || has(self.accessKeySecret)", "method accessKey needs accessKeySecret"),
    )

    method: Annotated[AzureAuthMethod, Rules("Kind of the proof.")] = AzureAuthMethod.MANAGED_IDENTITY
    service_principal: Annotated[ServicePrincipal | None, Rules("An identity of its own.")] = msgspec.field(
        default=None, name="servicePrincipal"
    )
    managed_identity_client_id: Annotated[str, Rules("Which managed identity, where there are several.")] = (
        msgspec.field(default="", name="managedIdentityClientID")
    )
    access_key_secret: Annotated[SecretReference | None, Rules("Access key.")] = msgspec.field(
        default=None, name="accessKeySecret"
    )


class AzureGPUSourceSpec(Part, frozen=True):
    """Where the capacity is and how it is used."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.sourceType != 'foundry' || has(self.foundryEndpoint)", "sourceType foundry needs foundryEndpoint"),
        Cel("self.sourceType != 'aks' || has(self.aksClusterName)", "sourceType aks needs aksClusterName"),
        Cel(
            "self.sourceType != 'vm' || (has(self.vm) && has(self.scaling))",
            "sourceType vm needs vm and scaling",
        ),
    )

    source_type: Annotated[SourceType, Rules("What the source is.")] = msgspec.field(name="sourceType")
    subscription_id: Annotated[str, Rules("Subscription that pays.", min_length=1)] = msgspec.field(
        name="subscriptionID"
    )
    region: Annotated[str, Rules("Azure region, such as eastus.", min_length=1)]
    foundry_endpoint: Annotated[Url, Rules("URL of the foundry.")] = msgspec.field(default="", name="foundryEndpoint")
    aks_cluster_name: Annotated[str, Rules("Name of the managed cluster.")] = msgspec.field(
        default="", name="aksClusterName"
    )
    available_models: Annotated[tuple[AzureModel, ...], Rules("Models that the source offers.")] = msgspec.field(
        default=(), name="availableModels"
    )
    priority: Annotated[Int32, Rules("Higher is preferred.", minimum=0, maximum=100)] = 50
    cost_per_hour: Annotated[Money, Rules("Dollars an hour.")] = msgspec.field(default="", name="costPerHour")
    auth: Annotated[AzureAuth | None, Rules("How the source proves who it is; unset uses its managed identity.")] = None
    enabled: Annotated[bool, Rules("The source may be used.")] = True
    sync_interval: Annotated[Duration, Rules("Time between two looks at Azure.")] = msgspec.field(
        default="30s", name="syncInterval"
    )
    vm: Annotated[AzureVM | None, Rules("How machines are made, with sourceType vm.")] = None
    scaling: Annotated[Scaling | None, Rules("When machines are bought, with sourceType vm.")] = None
    cost: Annotated[SourceCost | None, Rules("What machines may cost.")] = None


class AzureModelStatus(Part, frozen=True):
    """How one model does."""

    model_name: Annotated[str, Rules("Name of the model.")] = msgspec.field(name="modelName")
    available: Annotated[bool | None, Rules("The model answers.")] = None
    current_utilization: Annotated[str, Rules("Part in use.")] = msgspec.field(default="", name="currentUtilization")
    estimated_latency: Annotated[str, Rules("Time of an answer.")] = msgspec.field(default="", name="estimatedLatency")
    last_checked: Annotated[Time | None, Rules("When it was looked at.")] = msgspec.field(
        default=None, name="lastChecked"
    )


class AzureGPUSourceStatus(Part, frozen=True):
    """What the source has."""

    phase: Annotated[SourcePhase, Rules("Ready once the source can be used.")] = SourcePhase.PENDING
    conditions: Annotated[tuple[Condition, ...], Rules("Details of the phase.", map_key="type")] = ()
    total_available_tflops: Annotated[Quantity, Rules("Compute that can be used.")] = msgspec.field(
        default="", name="totalAvailableTFlops"
    )
    total_available_vram: Annotated[Quantity, Rules("Device memory that can be used.")] = msgspec.field(
        default="", name="totalAvailableVRAM"
    )
    available_model_count: Annotated[Count | None, Rules("Models that can be used.")] = msgspec.field(
        default=None, name="availableModelCount"
    )
    last_sync_time: Annotated[Time | None, Rules("When Azure was last looked at.")] = msgspec.field(
        default=None, name="lastSyncTime"
    )
    connected: Annotated[bool | None, Rules("Azure answers.")] = None
    error_message: Annotated[str, Rules("Why not.")] = msgspec.field(default="", name="errorMessage")
    model_status: Annotated[tuple[AzureModelStatus, ...], Rules("How each model does.", map_key="modelName")] = (
        msgspec.field(default=(), name="modelStatus")
    )
    instances: Annotated[tuple[InstanceStatus, ...], Rules("Machines of the source.", map_key="name")] = ()
    desired: Annotated[Count | None, Rules("Machines that are wanted.")] = None
    ready: Annotated[Count | None, Rules("Machines that are nodes.")] = None
    cost_this_month: Annotated[str, Rules("Dollars this month (UTC).")] = msgspec.field(
        default="", name="costThisMonth"
    )
    blocked_until: Annotated[dict[str, Time], Rules("Reasons not to buy, and until when.")] = msgspec.field(
        default_factory=dict, name="blockedUntil"
    )


class AzureGPUSource(Object, frozen=True):
    """GPU capacity in Azure: models of a foundry, a managed cluster, or machines bought when it is short."""

    spec: Annotated[AzureGPUSourceSpec | None, Rules("Where the capacity is.", required=True)] = None
    status: Annotated[AzureGPUSourceStatus, Rules("What the source has.")] = msgspec.field(
        default_factory=AzureGPUSourceStatus
    )


COLUMNS = (
    Column("Type", ".spec.sourceType"),
    Column("Region", ".spec.region"),
    Column("Phase", ".status.phase"),
    Column("Available Models", ".status.availableModelCount", "integer"),
    Column("Total TFlops", ".status.totalAvailableTFlops"),
    Column("Connected", ".status.connected", "boolean"),
)
