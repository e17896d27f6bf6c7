"""What the Job controller reads of Jobs and their pods, and the names that Kubernetes gives to things of a Job.

A Job's status is read into a struct and written as the difference between two JSON objects: its counters must never go
backwards, so nothing that this project does not know of may be lost on the way.

Source: batch/v1 Job.
"""

from datetime import datetime

import msgspec

from tensorfusion.model.core import Pod
from tensorfusion.model.meta import LabelSelector, Object, Raw

TRACKING = "batch.kubernetes.io/job-tracking"
"""Finalizer of a Job's pods: held until the pod's end is in the Job's status."""
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation and label of a pod of an Indexed Job."""

FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
"""Annotations of a pod whose Job limits failures per index: how often its index has failed before."""

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
CRITERIA_MET, FAILURE_TARGET = "SuccessCriteriaMet", "FailureTarget"
"""Interim conditions: the Job's end is decided, but pods still have to stop."""
INDEXED = "Indexed"
JOB_CONTROLLER = "kubernetes.io/job-controller"
"""spec.managedBy of Jobs that this controller keeps; unset means the same."""


class ExitCodes(msgspec.Struct, frozen=True):
    operator: str = "In"
    values: tuple[int, ...] = ()
    container_name: str | None = msgspec.field(default=None, name="containerName")


class PodConditionPattern(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = "True"


class FailureRule(msgspec.Struct, frozen=True):
    action: str = "Count"
    on_exit_codes: ExitCodes | None = msgspec.field(default=None, name="onExitCodes")
    on_pod_conditions: tuple[PodConditionPattern, ...] = msgspec.field(default=(), name="onPodConditions")


class FailurePolicy(msgspec.Struct, frozen=True):
    rules: tuple[FailureRule, ...] = ()


class SuccessRule(msgspec.Struct, frozen=True):
    succeeded_indexes: str | None = msgspec.field(default=None, name="succeededIndexes")
    succeeded_count: int | None = msgspec.field(default=None, name="succeededCount")


class SuccessPolicy(msgspec.Struct, frozen=True):
    rules: tuple[SuccessRule, ...] = ()


class JobSpec(msgspec.Struct, frozen=True):
    parallelism: int = 1
    completions: int | None = None
    backoff_limit: int = msgspec.field(default=6, name="backoffLimit")
    limit_per_index: int | None = msgspec.field(default=None, name="backoffLimitPerIndex")
    most_failed_indexes: int | None = msgspec.field(default=None, name="maxFailedIndexes")
    active_deadline_seconds: int | None = msgspec.field(default=None, name="activeDeadlineSeconds")
    ttl_seconds: int | None = msgspec.field(default=None, name="ttlSecondsAfterFinished")
    suspend: bool = False
    completion_mode: str = msgspec.field(default="NonIndexed", name="completionMode")
    selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    template: Raw = msgspec.field(default_factory=dict)
    failure_policy: FailurePolicy | None = msgspec.field(default=None, name="podFailurePolicy")
    success_policy: SuccessPolicy | None = msgspec.field(default=None, name="successPolicy")
    replacement_policy: str = msgspec.field(default="TerminatingOrFailed", name="podReplacementPolicy")
    managed_by: str = msgspec.field(default=JOB_CONTROLLER, name="managedBy")


class Uncounted(msgspec.Struct, frozen=True):
    """Pods that ended and are not in the counters yet, by uid."""

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobCondition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = msgspec.field(default=None, name="lastTransitionTime")


class JobStatus(msgspec.Struct, frozen=True):
    start_time: str | None = msgspec.field(default=None, name="startTime")
    completion_time: str | None = msgspec.field(default=None, name="completionTime")
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    completed_indexes: str = msgspec.field(default="", name="completedIndexes")
    failed_indexes: str = msgspec.field(default="", name="failedIndexes")
    uncounted: Uncounted = msgspec.field(default_factory=Uncounted, name="uncountedTerminatedPods")
    conditions: tuple[JobCondition, ...] = ()

    def condition(self, type_: str) -> JobCondition | None:
        """The condition of a type that holds."""
        return next((found for found in self.conditions if found.type == type_ and found.status == "True"), None)


class Job(Object, frozen=True):
    spec: JobSpec = msgspec.field(default_factory=JobSpec)
    status: Raw = msgspec.field(default_factory=dict)

    @property
    def indexed(self) -> bool:
        return self.spec.completion_mode == INDEXED

    def known_status(self) -> JobStatus:
        """The status as far as it is understood here."""
        return msgspec.convert(self.status, JobStatus)


def end_of(status: JobStatus) -> JobCondition | None:
    """The condition that says that the Job is over, if it is."""
    return status.condition(COMPLETE) or status.condition(FAILED)


def completion_index(pod: Pod) -> int | None:
    """Which index of an Indexed Job a pod works for; None where it does not say."""
    text = pod.metadata.annotations.get(COMPLETION_INDEX, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def failures_before(pod: Pod, annotation: str = FAILURES) -> int:
    """How often the pod's index had failed before it."""
    text = pod.metadata.annotations.get(annotation, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0


def tracked(pod: Pod) -> bool:
    """The pod is held until its end is counted."""
    return TRACKING in pod.metadata.finalizers


def ended_at(pod: Pod) -> datetime | None:
    """When the pod's last container ended or, as far as is known, the pod itself."""
    times = [
        status.state.terminated.finished_at
        for status in pod.status.container_statuses
        if status.state.terminated is not None and status.state.terminated.finished_at
    ]
    if not times:
        times = [c.last_transition_time for c in pod.status.conditions if c.type == "Ready" and c.last_transition_time]
    text = max(times, default=None) or pod.metadata.deletion_timestamp or pod.metadata.creation_timestamp
    return datetime.fromisoformat(text) if text else None
