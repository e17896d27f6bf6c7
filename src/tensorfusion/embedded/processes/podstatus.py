"""What a process pod's status says, from what its containers say. Pure.

Source: PodStatus of core/v1 as a kubelet writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tensorfusion.embedded.processes.waiting import CREATING, INITIALIZING
from tensorfusion.model.meta import Raw


class Seen(Protocol):
    """What is read of a container."""

    spec: Raw
    name: str
    state: Raw
    last_state: Raw
    ready: bool
    started: bool

    @property
    def restarts(self) -> int: ...

    @property
    def container_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a pod besides its containers. ``ended`` is Succeeded or Failed once it is."""

    address: str
    host: str
    started_at: str
    prepared: bool
    initialized: bool
    ended: str = ""
    reason: str = ""
    message: str = ""


def pod_status(pod: Raw, before: Raw, inits: Sequence[Seen], containers: Sequence[Seen], facts: Facts, now: str) -> Raw:
    """The status document. ``before`` is the one in the API: transition times and foreign conditions are kept."""
    status: Raw = {
        "phase": _phase(containers, facts),
        "startTime": facts.started_at,
        "podIP": facts.address,
        "podIPs": [{"ip": facts.address}],
        "hostIP": facts.host,
        "hostIPs": [{"ip": facts.host}],
        "reason": facts.reason or None,
        "message": facts.message or None,
        "conditions": _conditions(pod, before, inits, containers, facts, now),
        "containerStatuses": [_container(entry, waits_for_init=not facts.initialized) for entry in containers],
    }
    if inits:
        status["initContainerStatuses"] = [_container(entry, init=True) for entry in inits]
    return status


def _phase(containers: Sequence[Seen], facts: Facts) -> str:
    if facts.ended:
        return facts.ended
    begun = any(
        "running" in entry.state or "terminated" in entry.state or "terminated" in entry.last_state
        for entry in containers
    )
    return "Running" if facts.initialized and begun else "Pending"


def _container(entry: Seen, *, init: bool = False, waits_for_init: bool = False) -> Raw:
    state = entry.state
    if waits_for_init and (state.get("waiting") or {}).get("reason") == CREATING:
        state = {"waiting": {"reason": INITIALIZING}}
    done = init and (state.get("terminated") or {}).get("exitCode") == 0
    return {
        "name": entry.name,
        "image": entry.spec.get("image", ""),
        "imageID": "",
        "containerID": entry.container_id,
        "restartCount": entry.restarts,
        "ready": entry.ready or done,
        "started": entry.started,
        "state": state,
        "lastState": entry.last_state,
    }


def _conditions(
    pod: Raw, before: Raw, inits: Sequence[Seen], containers: Sequence[Seen], facts: Facts, now: str
) -> list[Raw]:
    held = {condition["type"]: condition for condition in before.get("conditions") or ()}
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    missing = [gate for gate in gates if held.get(gate, {}).get("status") != "True"]
    unready = [entry.name for entry in containers if not entry.ready]
    ready, containers_ready = _ok(), _ok()
    if facts.ended:
        ready = containers_ready = _no("PodCompleted" if facts.ended == "Succeeded" else "PodFailed")
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        ready = containers_ready = _no("ContainersNotReady", text)
    elif missing:
        ready = _no("ReadinessGatesNotReady", f'the status of pod readiness gate "{missing[0]}" is not "True"')
    initialized = _ok()
    if not facts.initialized and not facts.ended:
        waiting = [entry.name for entry in inits if (entry.state.get("terminated") or {}).get("exitCode") != 0]
        initialized = _no("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting)}]")
    wanted = {
        "PodReadyToStartContainers": _ok() if facts.prepared and not facts.ended else {"status": "False"},
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": containers_ready,
        "PodScheduled": _ok(),
    }
    found = [{"type": kind, **_since(said, held.get(kind), now)} for kind, said in wanted.items()]
    return found + [condition for kind, condition in held.items() if kind not in wanted]


def _ok() -> Raw:
    return {"status": "True"}


def _no(reason: str, message: str = "") -> Raw:
    return {"status": "False", "reason": reason, **({"message": message} if message else {})}


def _since(said: Raw, before: Raw | None, now: str) -> Raw:
    same = before is not None and before.get("status") == said["status"]
    time = before.get("lastTransitionTime") if before is not None and same else None
    return {**said, "lastTransitionTime": time or now}
