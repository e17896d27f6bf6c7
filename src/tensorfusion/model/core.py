"""Narrow read-only projections of the built-in kinds that this project reads.

A projection names only the fields some decision uses; msgspec skips the rest while parsing. Adding a field here costs
memory for every pod of the cluster, so add it only with its reader. Never written back: all writes are patches. None
can be part of a reference cycle, so the collector need not look at them (``gc=False``): that halves the time of a large
list.
"""

from enum import StrEnum

import msgspec

from tensorfusion.model.meta import Condition, LabelSelector, Object, SelectorRequirement


class ContainerResources(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Quantities stay strings here; ``model.pod_resources`` adds them up in integers."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class ContainerPort(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    name: str = ""
    container_port: int = msgspec.field(default=0, name="containerPort")
    protocol: str = "TCP"
    host_port: int = msgspec.field(default=0, name="hostPort")
    host_ip: str = msgspec.field(default="", name="hostIP")


class Container(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    resources: ContainerResources = msgspec.field(default_factory=ContainerResources)
    restart_policy: str | None = msgspec.field(default=None, name="restartPolicy")


class Toleration(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class NodeSelectorTerm(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    match_expressions: tuple[SelectorRequirement, ...] = msgspec.field(default=(), name="matchExpressions")
    match_fields: tuple[SelectorRequirement, ...] = msgspec.field(default=(), name="matchFields")


class NodeSelector(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Terms are alternatives; the expressions inside one term must all hold. No term matches nothing."""

    terms: tuple[NodeSelectorTerm, ...] = msgspec.field(default=(), name="nodeSelectorTerms")


class PreferredTerm(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    weight: int = 1
    preference: NodeSelectorTerm = msgspec.field(default_factory=NodeSelectorTerm)


class NodeAffinity(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    required: NodeSelector | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")
    preferred: tuple[PreferredTerm, ...] = msgspec.field(
        default=(), name="preferredDuringSchedulingIgnoredDuringExecution"
    )


class PodAffinityTerm(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Which pods, and in how large a part of the cluster. Without a label selector it means no pod at all."""

    topology_key: str = msgspec.field(default="", name="topologyKey")
    label_selector: LabelSelector | None = msgspec.field(default=None, name="labelSelector")
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = msgspec.field(default=None, name="namespaceSelector")
    match_label_keys: tuple[str, ...] = msgspec.field(default=(), name="matchLabelKeys")
    mismatch_label_keys: tuple[str, ...] = msgspec.field(default=(), name="mismatchLabelKeys")


class WeightedPodAffinityTerm(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    weight: int = 1
    term: PodAffinityTerm = msgspec.field(default_factory=PodAffinityTerm, name="podAffinityTerm")


class PodAffinity(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    required: tuple[PodAffinityTerm, ...] = msgspec.field(
        default=(), name="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: tuple[WeightedPodAffinityTerm, ...] = msgspec.field(
        default=(), name="preferredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    node_affinity: NodeAffinity | None = msgspec.field(default=None, name="nodeAffinity")
    pod_affinity: PodAffinity | None = msgspec.field(default=None, name="podAffinity")
    pod_anti_affinity: PodAffinity | None = msgspec.field(default=None, name="podAntiAffinity")


class TopologySpreadConstraint(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    max_skew: int = msgspec.field(default=1, name="maxSkew")
    topology_key: str = msgspec.field(default="", name="topologyKey")
    when_unsatisfiable: str = msgspec.field(default="DoNotSchedule", name="whenUnsatisfiable")
    label_selector: LabelSelector | None = msgspec.field(default=None, name="labelSelector")
    match_label_keys: tuple[str, ...] = msgspec.field(default=(), name="matchLabelKeys")
    min_domains: int | None = msgspec.field(default=None, name="minDomains")
    node_affinity_policy: str = msgspec.field(default="Honor", name="nodeAffinityPolicy")
    node_taints_policy: str = msgspec.field(default="Ignore", name="nodeTaintsPolicy")


class SchedulingGate(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    name: str = ""


class PodResourceClaim(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    name: str = ""
    template: str = msgspec.field(default="", name="resourceClaimTemplateName")


class PreemptionPolicy(StrEnum):
    """Whether less important pods may be evicted for a pod."""

    LOWER_PRIORITY = "PreemptLowerPriority"
    NEVER = "Never"


class PodSpec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    node_name: str = msgspec.field(default="", name="nodeName")
    scheduler_name: str = msgspec.field(default="default-scheduler", name="schedulerName")
    priority: int = 0
    priority_class_name: str = msgspec.field(default="", name="priorityClassName")
    preemption_policy: PreemptionPolicy | None = msgspec.field(default=None, name="preemptionPolicy")
    node_selector: dict[str, str] = msgspec.field(default_factory=dict, name="nodeSelector")
    affinity: Affinity | None = None
    spread: tuple[TopologySpreadConstraint, ...] = msgspec.field(default=(), name="topologySpreadConstraints")
    tolerations: tuple[Toleration, ...] = ()
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = msgspec.field(default=(), name="initContainers")
    overhead: dict[str, str | int | float] = {}
    scheduling_gates: tuple[SchedulingGate, ...] = msgspec.field(default=(), name="schedulingGates")
    termination_grace_period_seconds: int | None = msgspec.field(default=None, name="terminationGracePeriodSeconds")
    restart_policy: str = msgspec.field(default="Always", name="restartPolicy")
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = msgspec.field(default=False, name="hostNetwork")
    active_deadline_seconds: int | None = msgspec.field(default=None, name="activeDeadlineSeconds")
    resource_claims: tuple[PodResourceClaim, ...] = msgspec.field(default=(), name="resourceClaims")


class Terminated(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    exit_code: int = msgspec.field(default=0, name="exitCode")
    finished_at: str | None = msgspec.field(default=None, name="finishedAt")


class ContainerState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    name: str = ""
    restart_count: int = msgspec.field(default=0, name="restartCount")
    state: ContainerState = msgspec.field(default_factory=ContainerState)


class ClaimStatus(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    name: str = ""
    claim: str | None = msgspec.field(default=None, name="resourceClaimName")


class PodStatus(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    phase: str = ""
    reason: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    container_statuses: tuple[ContainerStatus, ...] = msgspec.field(default=(), name="containerStatuses")
    claim_statuses: tuple[ClaimStatus, ...] = msgspec.field(default=(), name="resourceClaimStatuses")
    nominated_node_name: str = msgspec.field(default="", name="nominatedNodeName")
    start_time: str | None = msgspec.field(default=None, name="startTime")
    conditions: tuple[Condition, ...] = ()


class Pod(Object, frozen=True):
    """What the scheduler, the operator and the simulated kubelet read of a pod."""

    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def finished(self) -> bool:
        """The pod holds no resources any more: it ended, whichever way."""
        return self.status.phase in ("Succeeded", "Failed")


class Taint(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = msgspec.field(default=None, name="timeAdded")


class NodeSpec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeStatus(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    capacity: dict[str, str | int | float] = {}
    allocatable: dict[str, str | int | float] = {}
    conditions: tuple[Condition, ...] = ()


class Node(Object, frozen=True):
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)

    @property
    def ready(self) -> bool:
        """False when the Ready condition is False or Unknown; a node without conditions counts as ready."""
        return all(condition.status == "True" for condition in self.status.conditions if condition.type == "Ready")


class NamespaceStatus(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    phase: str = ""


class Namespace(Object, frozen=True):
    status: NamespaceStatus = msgspec.field(default_factory=NamespaceStatus)


class LeaseSpec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    holder_identity: str | None = msgspec.field(default=None, name="holderIdentity")
    lease_duration_seconds: int | None = msgspec.field(default=None, name="leaseDurationSeconds")
    acquire_time: str | None = msgspec.field(default=None, name="acquireTime")
    renew_time: str | None = msgspec.field(default=None, name="renewTime")
    lease_transitions: int | None = msgspec.field(default=None, name="leaseTransitions")


class Lease(Object, frozen=True):
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


class PriorityClass(Object, frozen=True):
    value: int = 0
    global_default: bool = msgspec.field(default=False, name="globalDefault")


class SizedSpec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    replicas: int | None = None
    parallelism: int | None = None
    completions: int | None = None


class SizedOwner(Object, frozen=True):
    """A controller of pods, as far as it says how many there are to be."""

    spec: SizedSpec = msgspec.field(default_factory=SizedSpec)
