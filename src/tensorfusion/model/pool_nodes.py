"""The node side of a GPUPool: which nodes belong to it, how they are bought, updated and given back.

Apart from ``gpu_pool`` because it is the largest part of the pool and has readers of its own.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from tensorfusion.model.core import NodeSelector
from tensorfusion.model.meta import LabelSelector
from tensorfusion.model.request import Isolation
from tensorfusion.model.rules import Cel, Duration, Part, Percent, Rules


class ProvisioningMode(StrEnum):
    PROVISIONED = "Provisioned"
    AUTO_SELECT = "AutoSelect"
    KARPENTER = "Karpenter"


class RequirementOperator(StrEnum):
    IN = "In"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    NO_EXECUTE = "NoExecute"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"


class BudgetExceedStrategy(StrEnum):
    ALERT_ONLY = "AlertOnly"
    ALERT_AND_TERMINATE_VM = "AlertAndTerminateVM"


_REQUIREMENT_KEYS = (
    "node.kubernetes.io/instance-type",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "karpenter.sh/capacity-type",
    "tensor-fusion.ai/gpu-vendor",
    "tensor-fusion.ai/gpu-instance-family",
    "tensor-fusion.ai/gpu-instance-size",
)


class IsolationModeRule(Part, frozen=True):
    """Isolation mode of the nodes that a selector matches."""

    mode: Annotated[Isolation, Rules("Isolation mode of the matching nodes.")]
    selector: Annotated[LabelSelector, Rules("Labels of the nodes.")]


class NodeClassRef(Part, frozen=True):
    """Reference to the node class of a provider."""

    group: Annotated[str, Rules("API group of the class.")]
    kind: Annotated[str, Rules("Kind of the class.")]
    version: Annotated[str, Rules("API version of the class.")]
    name: Annotated[str, Rules("Name of the class.")]


class Requirement(Part, frozen=True):
    """One property that bought nodes must have."""

    key: Annotated[str, Rules("Property, a well-known node label.", enum=_REQUIREMENT_KEYS)]
    operator: Annotated[RequirementOperator, Rules("How the values are compared.")] = RequirementOperator.IN
    values: Annotated[tuple[str, ...], Rules("Values to compare with.")] = ()


class ProvisionerTaint(Part, frozen=True):
    """A taint that bought nodes get."""

    effect: Annotated[TaintEffect, Rules("What the taint does to pods that do not tolerate it.")] = (
        TaintEffect.NO_SCHEDULE
    )
    key: Annotated[str, Rules("Key of the taint.")] = ""
    value: Annotated[str, Rules("Value of the taint.")] = ""


class Budget(Part, frozen=True):
    """Ceilings of what bought nodes may cost, in dollars."""

    budget_per_day: Annotated[str, Rules("Dollars a day.")] = msgspec.field(default="100", name="budgetPerDay")
    budget_per_month: Annotated[str, Rules("Dollars a month.")] = msgspec.field(default="1000", name="budgetPerMonth")
    budget_per_quarter: Annotated[str, Rules("Dollars a quarter.")] = msgspec.field(
        default="3000", name="budgetPerQuarter"
    )
    budget_exceed_strategy: Annotated[BudgetExceedStrategy, Rules("What happens beyond a ceiling.")] = msgspec.field(
        default=BudgetExceedStrategy.ALERT_ONLY, name="budgetExceedStrategy"
    )


class NodeProvisioner(Part, frozen=True):
    """How nodes are bought when the pool runs short."""

    node_class: Annotated[str, Rules("Name of a GPUNodeClass.")] = msgspec.field(default="", name="nodeClass")
    karpenter_node_class_ref: Annotated[NodeClassRef | None, Rules("Node class of Karpenter.")] = msgspec.field(
        default=None, name="karpenterNodeClassRef"
    )
    gpu_requirements: Annotated[tuple[Requirement, ...], Rules("What GPU nodes must be.")] = msgspec.field(
        default=(), name="gpuRequirements"
    )
    cpu_requirements: Annotated[tuple[Requirement, ...], Rules("What CPU nodes must be.")] = msgspec.field(
        default=(), name="cpuRequirements"
    )
    gpu_taints: Annotated[tuple[ProvisionerTaint, ...], Rules("Taints of new GPU nodes.")] = msgspec.field(
        default=(), name="gpuTaints"
    )
    cpu_taints: Annotated[tuple[ProvisionerTaint, ...], Rules("Taints of new CPU nodes.")] = msgspec.field(
        default=(), name="cpuTaints"
    )
    gpu_node_labels: Annotated[dict[str, str], Rules("Labels of new GPU nodes.")] = msgspec.field(
        default_factory=dict, name="gpuNodeLabels"
    )
    cpu_node_labels: Annotated[dict[str, str], Rules("Labels of new CPU nodes.")] = msgspec.field(
        default_factory=dict, name="cpuNodeLabels"
    )
    gpu_node_annotations: Annotated[dict[str, str], Rules("Annotations of new GPU nodes.")] = msgspec.field(
        default_factory=dict, name="gpuNodeAnnotations"
    )
    budget: Annotated[Budget | None, Rules("What bought nodes may cost.")] = None


class Defrag(Part, frozen=True):
    """Scheduled emptying of nodes that are hardly used."""

    enabled: Annotated[bool, Rules("Empty hardly used nodes on schedule.", defaulted=True)] = False
    schedule: Annotated[str, Rules("Start times, cron with 5 fields.", pattern="^[^=]+$")] = "0 3 * * *"
    timezone: Annotated[str, Rules("IANA time zone of the schedule.", required=True, min_length=1)] = ""
    max_duration: Annotated[Duration, Rules("End of one run at the latest.")] = msgspec.field(
        default="2h", name="maxDuration"
    )
    utilization_threshold_percent: Annotated[Percent, Rules("Nodes used less than this are emptied.")] = msgspec.field(
        default=40, name="utilizationThresholdPercent"
    )
    evicted_pod_marker_ttl: Annotated[str, Rules("How long evicted pods stay marked; never for ever.")] = msgspec.field(
        default="never", name="evictedPodMarkerTTL"
    )
    source_node_marker_ttl: Annotated[str, Rules("How long emptied nodes stay marked.")] = msgspec.field(
        default="30m", name="sourceNodeMarkerTTL"
    )


class NodeCompaction(Part, frozen=True):
    """Giving empty nodes back."""

    period: Annotated[Duration, Rules("Time between two looks for empty nodes.")] = "5m"
    defrag: Annotated[Defrag | None, Rules("Scheduled emptying of nodes that are hardly used.")] = None


class MaintenanceWindow(Part, frozen=True):
    """When updates may start."""

    includes: Annotated[tuple[str, ...], Rules("Start times, cron expressions.")] = ()


class RollingUpdatePolicy(Part, frozen=True):
    """How new versions of the components reach the nodes."""

    auto_update: Annotated[bool | None, Rules("Default of the three switches below.")] = msgspec.field(
        default=None, name="autoUpdate"
    )
    auto_update_hypervisor: Annotated[bool | None, Rules("Update node agents; else autoUpdate, else false.")] = (
        msgspec.field(default=None, name="autoUpdateHypervisor")
    )
    auto_update_worker: Annotated[bool | None, Rules("Update workers; else autoUpdate, else false.")] = msgspec.field(
        default=None, name="autoUpdateWorker"
    )
    auto_update_client: Annotated[bool | None, Rules("Update clients; else autoUpdate, else false.")] = msgspec.field(
        default=None, name="autoUpdateClient"
    )
    batch_percentage: Annotated[Percent, Rules("Share of the nodes that is updated at a time.")] = msgspec.field(
        default=100, name="batchPercentage"
    )
    batch_interval: Annotated[Duration, Rules("Pause between two batches.")] = msgspec.field(
        default="1s", name="batchInterval"
    )
    max_duration: Annotated[Duration, Rules("An update stops after this long.")] = msgspec.field(
        default="10m", name="maxDuration"
    )
    maintenance_window: Annotated[MaintenanceWindow | None, Rules("When updates may start; unset means always.")] = (
        msgspec.field(default=None, name="maintenanceWindow")
    )

    def updates(self, component: bool | None) -> bool:
        """Whether a component with this switch of its own is updated: its own word, else ``autoUpdate``, else no."""
        return component if component is not None else bool(self.auto_update)


class NodeManagerConfig(Part, frozen=True):
    """Which nodes belong to the pool, and how they are managed."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.nodeSelector) || !has(self.nodeProvisioner)",
            "nodeSelector and nodeProvisioner exclude each other: select nodes, or have them bought",
        ),
    )

    provisioning_mode: Annotated[ProvisioningMode, Rules("Where nodes come from.")] = msgspec.field(
        default=ProvisioningMode.AUTO_SELECT, name="provisioningMode"
    )
    default_isolation_mode: Annotated[Isolation, Rules("Isolation mode where no rule matches.")] = msgspec.field(
        default=Isolation.SOFT, name="defaultIsolationMode"
    )
    isolation_mode_rules: Annotated[tuple[IsolationModeRule, ...], Rules("The first match wins.")] = msgspec.field(
        default=(), name="isolationModeRules"
    )
    default_vendor: Annotated[str, Rules("Vendor of the devices unless stated per node.")] = msgspec.field(
        default="NVIDIA", name="defaultVendor"
    )
    node_selector: Annotated[NodeSelector | None, Rules("Nodes of the pool; not with nodeProvisioner.")] = (
        msgspec.field(default=None, name="nodeSelector")
    )
    multi_vendor_node_selector: Annotated[
        dict[str, NodeSelector], Rules("Nodes of the pool by vendor; goes before nodeSelector.")
    ] = msgspec.field(default_factory=dict, name="multiVendorNodeSelector")
    node_provisioner: Annotated[NodeProvisioner | None, Rules("How nodes are bought; not with nodeSelector.")] = (
        msgspec.field(default=None, name="nodeProvisioner")
    )
    node_compaction: Annotated[NodeCompaction | None, Rules("Giving empty nodes back.")] = msgspec.field(
        default=None, name="nodeCompaction"
    )
    node_pool_rolling_update_policy: Annotated[
        RollingUpdatePolicy | None, Rules("How new versions reach the nodes.")
    ] = msgspec.field(default=None, name="nodePoolRollingUpdatePolicy")

    def isolation_of(self, labels: Mapping[str, str]) -> Isolation:
        """The isolation mode of a node with these labels: the first rule that matches, else the default."""
        return next(
            (rule.mode for rule in self.isolation_mode_rules if rule.selector.matches(labels)),
            self.default_isolation_mode,
        )
