"""Where a Job stands: what its pods come to, whether it is over, and the status that says so. Pure.

A pod's end passes through three places, and is in the counters once: the pod itself, held by a finalizer; its uid in
``uncountedTerminatedPods``, written before the finalizer goes; the counter, when the finalizer is gone. Each write of
the status names the version it was decided on, so a pass on an old cache changes nothing. The success of an Indexed
Job's pod needs no such care: an index is in the set of completed ones or is not.

Source: batch/v1 Job as kube-controller-manager keeps it, with its conditions, reasons and messages.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tensorfusion.clock import timestamp
from tensorfusion.embedded.controllers.job_indexes import format_indexes, parse_indexes
from tensorfusion.embedded.controllers.job_objects import (
    COMPLETE,
    CRITERIA_MET,
    FAILED,
    FAILURE_TARGET,
    FAILURES,
    IGNORED_FAILURES,
    SUSPENDED,
    Job,
    JobCondition,
    JobStatus,
    completion_index,
    failures_before,
    tracked,
)
from tensorfusion.embedded.controllers.job_policy import FAIL_INDEX, FAIL_JOB, IGNORE, match_failure, success_reached
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw
from tensorfusion.policy.ranking import pod_ready_since

_FAILED_REPLACEMENT = "Failed"
_MOST_UNCOUNTED = 500
"""Pods that one pass takes into the status."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A Job's pods in numbers. Totals include ends that are not in the counters yet."""

    active: tuple[Pod, ...]
    ready: int
    terminating: int
    succeeded: int
    failed: int
    completed: frozenset[int]
    """Indexes that have succeeded, of an Indexed Job."""
    counted: tuple[int, int]
    """Successes and failures that move into the counters now."""
    uncounted: tuple[tuple[str, ...], tuple[str, ...]]
    """Uids of succeeded and failed pods that stand between pod and counter after this pass."""
    failed_indexes: frozenset[int]
    """Indexes that have failed for good, of a Job that limits failures per index."""
    to_replace: Mapping[int, Pod]
    """The last failed pod of an index that is tried again: held until its successor, which counts on, is there."""
    releasable: tuple[Pod, ...]
    """Pods whose finalizer may go once the status is written."""
    held: bool
    """Some pod still carries the finalizer."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a Job ends: an interim condition without its times."""

    type: str
    reason: str
    message: str

    @property
    def final(self) -> str:
        return COMPLETE if self.type == CRITERIA_MET else FAILED


def survey(job: Job, status: JobStatus, pods: Sequence[Pod], *, now: datetime) -> Survey:
    """What the pods come to, beside what the status says already."""
    held = {pod.metadata.uid: pod for pod in pods if tracked(pod)}
    active = tuple(pod for pod in pods if not pod.finished and not pod.metadata.deleting)
    old_succeeded = [uid for uid in status.uncounted.succeeded if uid in held]
    old_failed = [uid for uid in status.uncounted.failed if uid in held]
    counted = (len(status.uncounted.succeeded) - len(old_succeeded), len(status.uncounted.failed) - len(old_failed))
    known = {*status.uncounted.succeeded, *status.uncounted.failed}
    completed = _completed(job, status, pods)
    failed_indexes = _failed_indexes(job, status, pods, now)
    to_replace = _to_replace(job, active, [*held.values()], completed | failed_indexes, now)
    kept = {pod.metadata.uid for pod in to_replace.values()} if end_decided(status) is None else set()
    new_succeeded: list[str] = []
    new_failed: list[str] = []
    releasable: list[Pod] = []
    for uid, pod in held.items():
        failed = _has_failed(job, pod, now)
        if pod.status.phase != "Succeeded" and not failed and not job.metadata.deleting:
            continue
        if uid in kept and not job.metadata.deleting:
            continue
        if len(releasable) >= _MOST_UNCOUNTED:
            break
        releasable.append(pod)
        if uid in known:
            continue
        if pod.status.phase == "Succeeded":
            if not job.indexed:
                new_succeeded.append(uid)
        elif failed and _counts(job, pod):
            new_failed.append(uid)
    uncounted = ((*old_succeeded, *new_succeeded), (*old_failed, *new_failed))
    return Survey(
        active=active,
        ready=sum(pod_ready_since(pod) is not None for pod in active),
        terminating=sum(pod.metadata.deleting and not pod.finished for pod in pods),
        succeeded=len(completed) if job.indexed else status.succeeded + counted[0] + len(uncounted[0]),
        failed=status.failed + counted[1] + len(uncounted[1]) + sum(_counts(job, pod) for pod in to_replace.values()),
        completed=frozenset(completed),
        counted=counted,
        uncounted=uncounted,
        failed_indexes=frozenset(failed_indexes),
        to_replace=to_replace,
        releasable=tuple(releasable),
        held=bool(held),
    )


def _completed(job: Job, status: JobStatus, pods: Sequence[Pod]) -> set[int]:
    if not job.indexed:
        return set()
    most = job.spec.completions or 0
    done = parse_indexes(status.completed_indexes)
    fresh = (completion_index(pod) for pod in pods if pod.status.phase == "Succeeded" and tracked(pod))
    return {index for index in (*done, *fresh) if index is not None and index < most}


def _failed_indexes(job: Job, status: JobStatus, pods: Sequence[Pod], now: datetime) -> set[int]:
    """Indexes whose last try has failed, or whose failure the policy calls final."""
    if not job.indexed or job.spec.limit_per_index is None:
        return set()
    failed = parse_indexes(status.failed_indexes)
    for pod in pods:
        index = completion_index(pod)
        if index is None or not _has_failed(job, pod, now):
            continue
        match = match_failure(job.spec.failure_policy, pod)
        final = match is not None and match.action == FAIL_INDEX
        if final or (_counts(job, pod) and failures_before(pod) >= job.spec.limit_per_index):
            failed.add(index)
    return {index for index in failed if index < (job.spec.completions or 0)}


def _to_replace(
    job: Job, active: Sequence[Pod], held: Sequence[Pod], settled: Container[int], now: datetime
) -> dict[int, Pod]:
    """The last failed pod of each index that is neither settled nor worked for."""
    if not job.indexed or job.spec.limit_per_index is None:
        return {}
    busy = {completion_index(pod) for pod in active}
    found: dict[int, Pod] = {}
    for pod in held:
        index = completion_index(pod)
        if index is None or index in busy or index in settled or not _has_failed(job, pod, now):
            continue
        known = found.get(index)
        if known is None or _tries(known) < _tries(pod):
            found[index] = pod
    return found


def _tries(pod: Pod) -> int:
    return failures_before(pod) + failures_before(pod, IGNORED_FAILURES)


def new_failures(job: Job, replaced: Pod | None) -> dict[str, str]:
    """What a new pod says of the failures of its index before it; nothing unless the Job limits them per index."""
    if job.spec.limit_per_index is None:
        return {}
    failed, ignored = 0, 0
    if replaced is not None:
        counted = _counts(job, replaced)
        failed = failures_before(replaced) + counted
        ignored = failures_before(replaced, IGNORED_FAILURES) + (not counted)
    return {FAILURES: str(failed)} | ({IGNORED_FAILURES: str(ignored)} if ignored else {})


def _has_failed(job: Job, pod: Pod, now: datetime) -> bool:
    """A pod that is being deleted counts as failed, at once or, where the Job says so, when it has really stopped."""
    if pod.status.phase == "Failed":
        return True
    deletion = pod.metadata.deletion_timestamp
    if deletion is None or pod.status.phase == "Succeeded":
        return False
    if job.spec.replacement_policy != _FAILED_REPLACEMENT or not pod.spec.node_name:
        return True
    return datetime.fromisoformat(deletion) <= now


def _counts(job: Job, pod: Pod) -> bool:
    """Whether a failed pod counts against the backoff limit."""
    if job.indexed:
        index = completion_index(pod)
        if index is None or index >= (job.spec.completions or 0):
            return False
    match = match_failure(job.spec.failure_policy, pod)
    return match is None or match.action != IGNORE


def end_decided(status: JobStatus) -> JobCondition | None:
    """The interim condition that decides how the Job ends, if there is one."""
    return status.condition(CRITERIA_MET) or status.condition(FAILURE_TARGET)


def decide(job: Job, status: JobStatus, found: Survey, pods: Sequence[Pod], *, now: datetime) -> Ending | None:
    """Why the Job is to end now, other than by having all its completions; None while it goes on."""
    decided = end_decided(status)
    if decided is not None:
        return Ending(decided.type, decided.reason, decided.message)
    for pod in pods:
        match = match_failure(job.spec.failure_policy, pod) if pod.status.phase == "Failed" else None
        if match is not None and match.action == FAIL_JOB:
            return Ending(FAILURE_TARGET, "PodFailurePolicy", match.message)
    if found.failed > job.spec.backoff_limit or _restarted_too_often(job, pods):
        return Ending(FAILURE_TARGET, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = seconds_to_deadline(job, status, now=now)
    if left is not None and left <= 0:
        return Ending(FAILURE_TARGET, "DeadlineExceeded", "Job was active longer than specified deadline")
    failed = len(found.failed_indexes)
    if job.spec.most_failed_indexes is not None and failed > job.spec.most_failed_indexes:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Ending(FAILURE_TARGET, "MaxFailedIndexesExceeded", message)
    if failed and failed + len(found.completed) >= (job.spec.completions or 0):
        return Ending(FAILURE_TARGET, "FailedIndexes", "Job has failed indexes")
    reached = success_reached(job.spec.success_policy, found.completed) if job.indexed else None
    return None if reached is None else Ending(CRITERIA_MET, "SuccessPolicy", reached)


def _restarted_too_often(job: Job, pods: Sequence[Pod]) -> bool:
    """With restartPolicy OnFailure it is the containers' restarts that count."""
    if (job.spec.template.get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    running = [pod for pod in pods if pod.status.phase in ("Running", "Pending")]
    restarts = sum(status.restart_count for pod in running for status in pod.status.container_statuses)
    return restarts > 0 if job.spec.backoff_limit == 0 else restarts >= job.spec.backoff_limit


def seconds_to_deadline(job: Job, status: JobStatus, *, now: datetime) -> float | None:
    """What is left of activeDeadlineSeconds; None where there is none, or the Job does not run."""
    if job.spec.active_deadline_seconds is None or job.spec.suspend or status.start_time is None:
        return None
    return job.spec.active_deadline_seconds - (now - datetime.fromisoformat(status.start_time)).total_seconds()


def completed_now(job: Job, found: Survey, live: int) -> Ending | None:
    """The Job has what it was made for, and no pod is left."""
    enough = found.succeeded > 0 if job.spec.completions is None else found.succeeded >= job.spec.completions
    if live or not enough:
        return None
    return Ending(CRITERIA_MET, "CompletionsReached", "Reached expected number of succeeded pods")


def wanted_pods(job: Job, found: Survey) -> int:
    """How many pods should be active."""
    if job.spec.suspend:
        return 0
    if job.spec.completions is None:
        return len(found.active) if found.succeeded else job.spec.parallelism
    return max(0, min(job.spec.parallelism, job.spec.completions - found.succeeded))


def next_status(job: Job, found: Survey, ending: Ending | None, *, active: int, now: datetime) -> Raw:
    """The status that the Job should have; what is not ours is kept."""
    known, moment = job.known_status(), timestamp(now)
    status = {name: value for name, value in job.status.items() if name not in ("active", "succeeded", "failed")}
    counts = {
        "active": active,
        "succeeded": found.succeeded if job.indexed else known.succeeded + found.counted[0],
        "failed": known.failed + found.counted[1],
    }
    status |= {name: value for name, value in counts.items() if value}
    status |= {"ready": found.ready if active else 0, "terminating": found.terminating}
    lists = zip(("succeeded", "failed"), found.uncounted, strict=True)
    status["uncountedTerminatedPods"] = {name: list(uids) for name, uids in lists if uids}
    if found.completed:
        status["completedIndexes"] = format_indexes(found.completed)
    if job.indexed and job.spec.limit_per_index is not None:
        status["failedIndexes"] = format_indexes(found.failed_indexes)
    conditions = [dict(condition) for condition in job.status.get("conditions") or ()]
    _say_suspended(job, known, conditions, status, ending, moment)
    if ending is not None:
        _set(conditions, ending.type, "True", ending.reason, ending.message, moment)
        if not found.held and not found.terminating and not status["uncountedTerminatedPods"]:
            _set(conditions, ending.final, "True", ending.reason, ending.message, moment)
            if ending.final == COMPLETE:
                status["completionTime"] = moment
    if conditions:
        status["conditions"] = conditions
    return status


def _say_suspended(
    job: Job, known: JobStatus, conditions: list[Raw], status: Raw, ending: Ending | None, moment: str
) -> None:
    """The Suspended condition, and when the Job started: a Job that goes on starts anew."""
    if job.spec.suspend:
        if ending is None:
            _set(conditions, SUSPENDED, "True", "JobSuspended", "Job suspended", moment)
        return
    resumed = known.condition(SUSPENDED) is not None
    if resumed:
        _set(conditions, SUSPENDED, "False", "JobResumed", "Job resumed", moment)
    if resumed or known.start_time is None:
        status["startTime"] = moment


def _set(conditions: list[Raw], type_: str, status: str, reason: str, message: str, moment: str) -> None:
    """Add a condition, or change it where it says something else."""
    facts = {"type": type_, "status": status, "reason": reason, "message": message}
    place = next((at for at, found in enumerate(conditions) if found["type"] == type_), None)
    if place is None:
        conditions.append({**facts, "lastProbeTime": moment, "lastTransitionTime": moment})
    elif not facts.items() <= conditions[place].items():
        conditions[place] = {**facts, "lastProbeTime": moment, "lastTransitionTime": moment}
