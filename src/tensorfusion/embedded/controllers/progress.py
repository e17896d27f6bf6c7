"""What a Deployment's status says of its rollout: counts and conditions. Pure.

``kubectl rollout status`` and ``kubectl wait --for=condition=Available`` read exactly these, so reasons and messages
are those of kube-controller-manager.

Source: apps/v1 DeploymentStatus; deployment controller's sync and progress rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tensorfusion.clock import timestamp
from tensorfusion.embedded.controllers.objects import (
    REPLICA_FAILURE,
    Deployment,
    DeploymentCondition,
    DeploymentStatus,
    ReplicaSet,
)
from tensorfusion.embedded.controllers.rollout import bounds

AVAILABLE = "Available"
PROGRESSING = "Progressing"
DONE_REASON = "NewReplicaSetAvailable"
PAUSED_REASON = "DeploymentPaused"
LATE_REASON = "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A condition without its times. ``fresh`` says that there was progress just now."""

    type: str
    status: str
    reason: str
    message: str
    fresh: bool = False


def status_of(
    deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet], *, now: datetime
) -> DeploymentStatus:
    """The status that a Deployment with these ReplicaSets should have."""
    available = sum(found.status.available_replicas for found in sets)
    counts = DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(found.status.replicas for found in sets),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(found.status.ready_replicas for found in sets),
        available_replicas=available,
        unavailable_replicas=max(0, sum(found.spec.replicas for found in sets) - available),
        collision_count=deployment.status.collision_count,
    )
    before = {condition.type: condition for condition in deployment.status.conditions}
    verdicts = [_availability(deployment, counts), _progress(deployment, new, counts, now=now)]
    verdicts += _failures(new, sets)
    return msgspec.structs.replace(
        counts, conditions=tuple(_dated(verdict, before.get(verdict.type), timestamp(now)) for verdict in verdicts)
    )


def seconds_to_deadline(deployment: Deployment, status: DeploymentStatus, *, now: datetime) -> float | None:
    """When to look whether the rollout is late; None when it is over, late already, or paused."""
    found = next((condition for condition in status.conditions if condition.type == PROGRESSING), None)
    if found is None or found.reason in (DONE_REASON, PAUSED_REASON, LATE_REASON) or found.last_update_time is None:
        return None
    return max(1.0, deployment.spec.progress_deadline_seconds - _age(found.last_update_time, now) + 1.0)


def _availability(deployment: Deployment, counts: DeploymentStatus) -> _Verdict:
    if counts.available_replicas >= bounds(deployment).least:
        message = "Deployment has minimum availability."
        return _Verdict(AVAILABLE, "True", "MinimumReplicasAvailable", message)
    message = "Deployment does not have minimum availability."
    return _Verdict(AVAILABLE, "False", "MinimumReplicasUnavailable", message)


def _progress(deployment: Deployment, new: ReplicaSet | None, counts: DeploymentStatus, *, now: datetime) -> _Verdict:
    before = next((found for found in deployment.status.conditions if found.type == PROGRESSING), None)
    if deployment.spec.paused:
        return _Verdict(PROGRESSING, "Unknown", PAUSED_REASON, "Deployment is paused")
    name = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    wanted = deployment.spec.replicas
    finished = counts.updated_replicas == counts.replicas
    if finished and counts.replicas == counts.available_replicas == wanted:
        return _Verdict(PROGRESSING, "True", DONE_REASON, f"{name} has successfully progressed.")
    if finished and before is not None and before.reason == DONE_REASON:
        # a rollout that is over stays over: pods that come and go later are a matter of availability
        return _Verdict(PROGRESSING, before.status, before.reason, before.message)
    if _moved(deployment.status, counts):
        return _Verdict(PROGRESSING, "True", "ReplicaSetUpdated", f"{name} is progressing.", fresh=True)
    if before is not None and before.reason not in (DONE_REASON, PAUSED_REASON):
        late = before.last_update_time is not None and (
            _age(before.last_update_time, now) > deployment.spec.progress_deadline_seconds
        )
        if late or before.reason == LATE_REASON:
            return _Verdict(PROGRESSING, "False", LATE_REASON, f"{name} has timed out progressing.")
    return _Verdict(PROGRESSING, "True", "ReplicaSetUpdated", f"{name} is progressing.")


def _failures(new: ReplicaSet | None, sets: Sequence[ReplicaSet]) -> list[_Verdict]:
    """Why pods cannot be created, as the newest ReplicaSet that knows it says."""
    for found in ([new] if new is not None else []) + list(reversed(sets)):
        for condition in found.status.conditions:
            if condition.type == REPLICA_FAILURE and condition.status == "True":
                return [_Verdict(REPLICA_FAILURE, "True", condition.reason, condition.message)]
    return []


def _dated(verdict: _Verdict, before: DeploymentCondition | None, now: str) -> DeploymentCondition:
    """The condition with its times: unchanged facts keep theirs."""
    transition = update = now
    if before is not None:
        if before.status == verdict.status:
            transition = before.last_transition_time or now
        unchanged = (before.status, before.reason, before.message) == (verdict.status, verdict.reason, verdict.message)
        if unchanged and not verdict.fresh:
            update = before.last_update_time or now
    return DeploymentCondition(
        type=verdict.type,
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        last_transition_time=transition,
        last_update_time=update,
    )


def _moved(known: DeploymentStatus, found: DeploymentStatus) -> bool:
    """More updated, ready or available pods, or fewer old ones, than the status says."""
    return (
        found.updated_replicas > known.updated_replicas
        or found.ready_replicas > known.ready_replicas
        or found.available_replicas > known.available_replicas
        or found.replicas - found.updated_replicas < known.replicas - known.updated_replicas
    )


def _age(text: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(text)).total_seconds()
