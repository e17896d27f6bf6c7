"""What a Job's pods come to, beside what its status says already. Pure.

A pod's end passes through three places, and is in the counters once: the pod itself, held by a finalizer; its uid in
``uncountedTerminatedPods``, written before the finalizer goes; the counter, when the finalizer is gone. Each write of
the status names the version it was decided on, so a pass on an old cache changes nothing. The success of an Indexed
Job's pod needs no such care: an index is in the set of completed ones or is not.

Source: batch/v1 Job as kube-controller-manager keeps it.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tensorfusion.embedded.controllers.job_indexes import parse_indexes
from tensorfusion.embedded.controllers.job_objects import (
    CRITERIA_MET,
    FAILURE_TARGET,
    FAILURES,
    IGNORED_FAILURES,
    Job,
    JobCondition,
    JobStatus,
    completion_index,
    failures_before,
    tracked,
)
from tensorfusion.embedded.controllers.job_policy import FAIL_INDEX, IGNORE, match_failure
from tensorfusion.model.core import Pod
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


def end_decided(status: JobStatus) -> JobCondition | None:
    """The interim condition that decides how the Job ends, if there is one."""
    return status.condition(CRITERIA_MET) or status.condition(FAILURE_TARGET)


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
