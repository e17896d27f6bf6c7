"""What a simulated kubelet says about a pod: the status documents of its life, and the script that decides its end.

Pure: no I/O and no clock. A pod may script its life with annotations: ``simulated.tensor-fusion.ai/run-for`` (it ends
by itself after so long), ``.../exit-code`` (Failed unless 0) and ``.../stop-after`` (how long it takes to stop when
deleted; never longer than its grace period).
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.core import Container, Pod
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.meta import Condition, Raw

RUN_FOR = f"simulated.{keys.DOMAIN}/run-for"
EXIT_CODE = f"simulated.{keys.DOMAIN}/exit-code"
STOP_AFTER = f"simulated.{keys.DOMAIN}/stop-after"

_OURS = frozenset({"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"})
_NANOSECONDS = 1_000_000_000
_MOST_EXIT_CODE = 255


def seconds_of(annotations: Mapping[str, str], key: str) -> float | None:
    """A scripted time in seconds; None when it is not set. A bare number counts as seconds.

    Raises:
        InvalidRequest: the value is no duration; the message names the annotation.
    """
    text = annotations.get(key)
    if text is None:
        return None
    try:
        return parse_duration(f"{text}s" if text.isdecimal() else text) / _NANOSECONDS
    except InvalidRequest as error:
        raise InvalidRequest(f"annotation {key}: {error}") from error


def exit_code_of(annotations: Mapping[str, str]) -> int:
    """The scripted exit code, 0 when it is not set.

    Raises:
        InvalidRequest: the value is not a whole number from 0 to 255.
    """
    text = annotations.get(EXIT_CODE, "0")
    if (
        not (text.isascii() and text.isdecimal() and len(text) <= len(str(_MOST_EXIT_CODE)))
        or int(text) > _MOST_EXIT_CODE
    ):
        raise InvalidRequest(f"annotation {EXIT_CODE}: wanted a whole number from 0 to 255, found {text[:64]!r}")
    return int(text)


def seconds_to_stop(pod: Pod, *, waited: float, now: datetime) -> float:
    """How long a deleted pod still takes to stop, as scripted; never beyond its grace period.

    Raises:
        InvalidRequest: the script is no duration.
    """
    left = (seconds_of(pod.metadata.annotations, STOP_AFTER) or 0.0) - waited
    deadline = pod.metadata.deletion_timestamp  # the API writes there when the grace period ends
    return left if deadline is None else min(left, (moment(deadline) - now).total_seconds())


def running_since(pod: Pod) -> datetime | None:
    """When the pod became ready, as its status says."""
    ready = next((condition for condition in pod.status.conditions if condition.type == "Ready"), None)
    return None if ready is None or ready.last_transition_time is None else moment(ready.last_transition_time)


def moment(text: str) -> datetime:
    """An RFC 3339 time of the API as an aware datetime."""
    return datetime.fromisoformat(text).astimezone(UTC)


def running(pod: Pod, *, now: str, pod_ip: str, host_ip: str) -> Raw:
    """The status of a pod whose containers all run."""
    status: Raw = {
        "phase": "Running",
        "startTime": now,
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "conditions": _conditions(pod, now),
        "containerStatuses": [_started(container, now) for container in pod.spec.containers],
    }
    if pod.spec.init_containers:
        status["initContainerStatuses"] = [
            _started(container, now) if container.restart_policy == "Always" else _completed(container, now)
            for container in pod.spec.init_containers
        ]
    return status


def refused(reason: str, *, now: str) -> Raw:
    """The status of a pod that its node does not take."""
    return {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": f"Pod was rejected: {reason}",
        "startTime": now,
    }


def ended(pod: Pod, *, now: str, exit_code: int) -> Raw:
    """The status of a pod whose containers have ended."""
    failed = exit_code != 0
    ending = {"exitCode": exit_code, "reason": "Error" if failed else "Completed", "finishedAt": now}
    began = running_since(pod)
    if began is not None:
        ending["startedAt"] = began.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "phase": "Failed" if failed else "Succeeded",
        "conditions": _conditions(pod, now, ended="PodFailed" if failed else "PodCompleted"),
        "containerStatuses": [
            {**_named(container), "ready": False, "started": False, "state": {"terminated": ending}}
            for container in pod.spec.containers
        ],
    }


def _named(container: Container) -> Raw:
    return {"name": container.name, "image": "", "imageID": "", "restartCount": 0}


def _started(container: Container, now: str) -> Raw:
    return {**_named(container), "ready": True, "started": True, "state": {"running": {"startedAt": now}}}


def _completed(container: Container, now: str) -> Raw:
    ending = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
    return {**_named(container), "ready": True, "started": False, "state": {"terminated": ending}}


def _conditions(pod: Pod, now: str, *, ended: str = "") -> list[Raw]:
    """The kubelet's conditions, and everybody else's as they are: a merge patch replaces the whole list."""
    scheduled, kept = now, []
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "True":
            scheduled = condition.last_transition_time or now
        elif condition.type not in _OURS:
            kept.append(_written(condition))
    ready: Raw = {"status": "False" if ended else "True", "lastTransitionTime": now}
    why: Raw = {"reason": ended} if ended else {}
    return [
        {"type": "PodReadyToStartContainers", **ready},
        {"type": "Initialized", "status": "True", "lastTransitionTime": now},
        {"type": "Ready", **ready, **why},
        {"type": "ContainersReady", **ready, **why},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled},
        *kept,
    ]


def _written(condition: Condition) -> Raw:
    wire = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
    }
    return {name: value for name, value in wire.items() if value}
