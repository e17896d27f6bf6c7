"""Whether a Job is over, how many pods it should have, and the status that says so. Pure.

Source: batch/v1 Job as kube-controller-manager keeps it, with its conditions, reasons and messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tensorfusion.clock import timestamp
from tensorfusion.embedded.controllers.job_indexes import format_indexes
from tensorfusion.embedded.controllers.job_objects import (
    COMPLETE,
    CRITERIA_MET,
    FAILED,
    FAILURE_TARGET,
    SUSPENDED,
    Job,
    JobStatus,
)
from tensorfusion.embedded.controllers.job_policy import FAIL_JOB, match_failure, success_reached
from tensorfusion.embedded.controllers.job_survey import Survey, end_decided
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a Job ends: an interim condition without its times."""

    type: str
    reason: str
    message: str

    @property
    def final(self) -> str:
        return COMPLETE if self.type == CRITERIA_MET else FAILED


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
