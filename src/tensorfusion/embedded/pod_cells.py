"""The row of a pod in a table: what ``kubectl get pods`` says of its state.

Source: kubernetes pkg/printers/internalversion/printers.go (printPod).
"""

from datetime import datetime
from typing import NamedTuple

from tensorfusion.embedded.ages import age, human_duration, parse_time
from tensorfusion.model.meta import Raw

NONE = "<none>"
_FINISHED = ("Succeeded", "Failed")


class PodState(NamedTuple):
    """The parts of a row that are worked out from container statuses."""

    status: str
    ready: int
    restarts: int
    last_restart: datetime | None


def pod_cells(pod: Raw, now: datetime) -> list[object]:
    """Name, ready, status, restarts, age, IP, node, nominated node, readiness gates."""
    spec, status, metadata = pod.get("spec") or {}, pod.get("status") or {}, pod["metadata"]
    state = pod_state(pod)
    sidecars = [
        container for container in spec.get("initContainers") or () if container.get("restartPolicy") == "Always"
    ]
    restarts = str(state.restarts)
    if state.restarts and state.last_restart is not None:
        restarts = f"{restarts} ({human_duration(int((now - state.last_restart).total_seconds()))} ago)"
    ips = status.get("podIPs") or ()
    return [
        metadata.get("name", ""),
        f"{state.ready}/{len(spec.get('containers') or ()) + len(sidecars)}",
        state.status,
        restarts,
        age(metadata.get("creationTimestamp"), now),
        (ips[0].get("ip") if ips else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(spec, status),
    ]


def pod_conditions(pod: Raw) -> list[Raw]:
    """What a row says of a finished pod beside its cells."""
    phase = (pod.get("status") or {}).get("phase")
    if phase not in _FINISHED:
        return []
    message = "The pod has completed successfully." if phase == "Succeeded" else "The pod failed."
    return [{"type": "Completed", "status": "True", "reason": phase, "message": message}]


def pod_state(pod: Raw) -> PodState:
    """The status text, ready containers and restarts of a pod."""
    status = pod.get("status") or {}
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    reason = status.get("reason") or status.get("phase") or ""
    if conditions.get("PodScheduled", {}).get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    initializing, init_reason, state = _init_state(pod, status)
    if initializing and not _holds(conditions, "Initialized"):
        state = state._replace(status=init_reason)
    else:
        state = _running_state(status, reason, state, ready_condition=_holds(conditions, "Ready"))
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return state._replace(status="Unknown")
        if status.get("phase") not in _FINISHED:
            return state._replace(status="Terminating")
    return state


def _holds(conditions: Raw, type_: str) -> bool:
    return bool(conditions.get(type_, {}).get("status") == "True")


def _init_state(pod: Raw, status: Raw) -> tuple[bool, str, PodState]:
    """Whether init containers still run (or failed), what to say of it, and the counts of the sidecars among them."""
    spec = pod.get("spec") or {}
    policies = {container.get("name"): container.get("restartPolicy") for container in spec.get("initContainers") or ()}
    ready = sidecar_restarts = restarts = 0
    last: datetime | None = None
    statuses = status.get("initContainerStatuses") or ()
    for index, container in enumerate(statuses):
        state = container.get("state") or {}
        sidecar = policies.get(container.get("name")) == "Always"
        restarts += container.get("restartCount", 0)
        finished = parse_time(((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
        last = max((moment for moment in (last, finished) if moment is not None), default=None)
        if sidecar:
            sidecar_restarts += container.get("restartCount", 0)
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            text = f"Init:{terminated.get('reason') or _ended(terminated)}"
        elif waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            text = f"Init:{waiting['reason']}"
        else:
            text = f"Init:{index}/{len(spec.get('initContainers') or ())}"
        return True, text, PodState("", ready, restarts, last)
    return False, "", PodState("", ready, sidecar_restarts, last if sidecar_restarts else None)


def _running_state(status: Raw, reason: str, state: PodState, *, ready_condition: bool) -> PodState:
    ready, restarts, last = state.ready, state.restarts, state.last_restart
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        now = container.get("state") or {}
        restarts += container.get("restartCount", 0)
        finished = parse_time(((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
        last = max((moment for moment in (last, finished) if moment is not None), default=None)
        waiting, terminated = now.get("waiting"), now.get("terminated")
        if waiting and waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = terminated.get("reason") or _ended(terminated)
        elif container.get("ready") and now.get("running") is not None:
            running = True
            ready += 1
    if reason == "Completed" and running:
        reason = "Running" if ready_condition else "NotReady"
    return PodState(reason, ready, restarts, last)


def _ended(terminated: Raw) -> str:
    signal = terminated.get("signal", 0)
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _readiness_gates(spec: Raw, status: Raw) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return NONE
    conditions = {condition.get("type"): condition.get("status") for condition in status.get("conditions") or ()}
    fulfilled = sum(conditions.get(gate.get("conditionType")) == "True" for gate in gates)
    return f"{fulfilled}/{len(gates)}"
