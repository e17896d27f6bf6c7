"""TensorFusionWorkload and WorkloadProfile: what the pods of one workload ask for. Both have the same spec.

Source: TensorFusionWorkload and WorkloadProfile of tensor-fusion.ai/v1.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from tensorfusion.model.autoscaling import AutoScalingConfig, CronScalingRule
from tensorfusion.model.core import NodeAffinity
from tensorfusion.model.meta import Condition, Object, Raw
from tensorfusion.model.quantities import ResourceBounds
from tensorfusion.model.request import Isolation, QoS
from tensorfusion.model.rules import Cel, Column, Count, EmptyStatus, Int32, Part, Rules, Time, UInt32


class WorkloadPhase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class GangPhase(StrEnum):
    PENDING = "Pending"
    WAITING = "Waiting"
    SCHEDULING = "Scheduling"
    RUNNING = "Running"
    TIMED_OUT = "TimedOut"
    FAILED = "Failed"


class GangMode(StrEnum):
    STRICT = "Strict"


class GangTopology(StrEnum):
    """How close together the members of a gang are to be placed: an annotation of its pods."""

    PREFERRED = "preferred"
    REQUIRED = "required"
    NONE = "none"


class GangScheduling(Part, frozen=True):
    """Pods that start together or not."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.minMembers) || self.minMembers == 0 || self.minMembers >= 2",
            "minMembers must be 0 (all replicas) or at least 2",
        ),
    )

    min_members: Annotated[Int32 | None, Rules("Pods that must fit together; 0 for all.", minimum=0)] = msgspec.field(
        default=None, name="minMembers"
    )
    timeout: Annotated[str, Rules("How long members wait for each other; 0 for ever.")] = ""
    mode: Annotated[GangMode | None, Rules("Strict: one member that cannot run rejects the gang.")] = None


class WorkloadProfileSpec(Part, frozen=True):
    """What each pod of the workload asks for."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.gangScheduling) || !has(self.gangScheduling.minMembers) || !has(self.replicas)"
            " || self.gangScheduling.minMembers <= self.replicas",
            "gangScheduling.minMembers must not exceed replicas",
        ),
    )

    replicas: Annotated[Count | None, Rules("Number of workers; unset follows the clients.")] = None
    pool_name: Annotated[str, Rules("GPUPool of the workload.")] = msgspec.field(default="", name="poolName")
    resources: Annotated[ResourceBounds | None, Rules("What a worker takes of each of its devices.")] = None
    qos: Annotated[QoS | None, Rules("Quality of service.")] = None
    is_local_gpu: Annotated[bool | None, Rules("The pods run on the device's own node.")] = msgspec.field(
        default=None, name="isLocalGPU"
    )
    sidecar_worker: Annotated[bool | None, Rules("The worker runs in a container beside the user's.")] = msgspec.field(
        default=None, name="sidecarWorker"
    )
    isolation: Annotated[Isolation, Rules("How shares are kept apart on the device.")] = Isolation.SOFT
    partition_template_id: Annotated[str, Rules("Hardware partition, with isolation partitioned.")] = msgspec.field(
        default="", name="partitionTemplateId"
    )
    gpu_model: Annotated[str, Rules("Model of the devices; any where unset.")] = msgspec.field(
        default="", name="gpuModel"
    )
    gpu_count: Annotated[UInt32 | None, Rules("Devices of each worker.", minimum=1, maximum=128)] = msgspec.field(
        default=None, name="gpuCount"
    )
    gpu_indices: Annotated[tuple[Int32, ...], Rules("Indices of the devices on the node; sets gpuCount.")] = (
        msgspec.field(default=(), name="gpuIndices")
    )
    vendor: Annotated[str, Rules("Vendor of the devices; any where unset.")] = ""
    auto_scaling_config: Annotated[AutoScalingConfig | None, Rules("How resources follow the use.")] = msgspec.field(
        default=None, name="autoScalingConfig"
    )
    node_affinity: Annotated[NodeAffinity | None, Rules("Nodes of the workers; prefer the pod's own affinity.")] = (
        msgspec.field(default=None, name="nodeAffinity")
    )
    worker_pod_template: Annotated[Raw, Rules("Merged over the pool's worker template (remote devices).")] = (
        msgspec.field(default_factory=dict, name="workerPodTemplate")
    )
    gang_scheduling: Annotated[GangScheduling | None, Rules("Start pods together or not at all.")] = msgspec.field(
        default=None, name="gangScheduling"
    )


class GangStatus(Part, frozen=True):
    """How far the gang has come."""

    phase: Annotated[GangPhase | None, Rules("Phase of the gang.")] = None
    group_key: Annotated[str, Rules("namespace/workload.")] = msgspec.field(default="", name="groupKey")
    desired_members: Annotated[Count | None, Rules("Members wanted.")] = msgspec.field(
        default=None, name="desiredMembers"
    )
    waiting_members: Annotated[Count | None, Rules("Members that wait for others.")] = msgspec.field(
        default=None, name="waitingMembers"
    )
    scheduled_members: Annotated[Count | None, Rules("Members with a node.")] = msgspec.field(
        default=None, name="scheduledMembers"
    )
    ready_members: Annotated[Count | None, Rules("Members that run.")] = msgspec.field(
        default=None, name="readyMembers"
    )
    last_transition_time: Annotated[Time | None, Rules("When the phase last changed.")] = msgspec.field(
        default=None, name="lastTransitionTime"
    )
    reason: Annotated[str, Rules("Why, in one word.")] = ""
    message: Annotated[str, Rules("Why, in one line.")] = ""
    backoff_until: Annotated[str, Rules("Not tried again before (RFC 3339).")] = msgspec.field(
        default="", name="backoffUntil"
    )


class TensorFusionWorkloadStatus(Part, frozen=True):
    """What runs of the workload."""

    phase: Annotated[WorkloadPhase, Rules("Running when the wanted workers are ready.")] = WorkloadPhase.PENDING
    conditions: Annotated[tuple[Condition, ...], Rules("Ready and ResourceUpdate.", map_key="type")] = ()
    worker_count: Annotated[Count, Rules("Workers that exist.", required=True)] = msgspec.field(
        default=0, name="workerCount"
    )
    ready_workers: Annotated[Count, Rules("Workers that are ready.")] = msgspec.field(default=0, name="readyWorkers")
    pod_template_hash: Annotated[str, Rules("Hash of the worker template.")] = msgspec.field(
        default="", name="podTemplateHash"
    )
    recommendation: Annotated[ResourceBounds | None, Rules("Resources that the autoscaler recommends.")] = None
    applied_recommended_replicas: Annotated[Count | None, Rules("Workers with the recommended resources.")] = (
        msgspec.field(default=None, name="appliedRecommendedReplicas")
    )
    active_cron_scaling_rule: Annotated[CronScalingRule | None, Rules("Calendar rule in force.")] = msgspec.field(
        default=None, name="activeCronScalingRule"
    )
    gang: Annotated[GangStatus | None, Rules("How far the gang has come.")] = None


class TensorFusionWorkload(Object, frozen=True):
    """The workers of one workload and their resources."""

    spec: Annotated[WorkloadProfileSpec, Rules("What each pod asks for.")] = msgspec.field(
        default_factory=WorkloadProfileSpec
    )
    status: Annotated[TensorFusionWorkloadStatus, Rules("What runs of the workload.")] = msgspec.field(
        default_factory=TensorFusionWorkloadStatus
    )


class WorkloadProfile(Object, frozen=True):
    """Base values for the pods that name the profile; their own annotations win."""

    spec: Annotated[WorkloadProfileSpec, Rules("What each pod asks for.")] = msgspec.field(
        default_factory=WorkloadProfileSpec
    )
    status: Annotated[EmptyStatus, Rules("Empty.")] = msgspec.field(default_factory=EmptyStatus)


_SPEC_COLUMNS = (
    Column("Pool Name", ".spec.poolName"),
    Column("QoS", ".spec.qos"),
    Column("Is Local GPU", ".spec.isLocalGPU", "boolean"),
    Column("GPU Number", ".spec.gpuCount", "integer"),
    Column("Replicas", ".spec.replicas", "integer"),
)
PROFILE_COLUMNS = _SPEC_COLUMNS
WORKLOAD_COLUMNS = (
    Column("Phase", ".status.phase"),
    Column("Gang", ".status.gang.phase"),
    Column("Worker Count", ".status.workerCount", "integer"),
    Column("Ready Workers", ".status.readyWorkers", "integer"),
    Column("Pod Template Hash", ".status.podTemplateHash"),
    *_SPEC_COLUMNS,
)
