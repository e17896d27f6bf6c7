"""How far a workload's gang has come, from its pods.

Everything is derived from what the API says: the stamps of admission, who has a node, who is ready, and the line that
the scheduler wrote into the PodScheduled condition of those that wait. So it needs no word between scheduler and
operator, and is the same after a restart of either. ``backoffUntil`` stays unset: that is the scheduler's own affair.

Source: TensorFusionWorkload ``status.gang`` of tensor-fusion.ai/v1; reasons GangReady, GangWorkerFailed, GangPending.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.core import Pod
from tensorfusion.model.durations import format_duration
from tensorfusion.model.gang import INCOMPLETE, Gang, gang_of
from tensorfusion.model.meta import Key
from tensorfusion.model.workload import GangPhase, GangScheduling, GangStatus, TensorFusionWorkloadStatus
from tensorfusion.policy.ranking import pod_ready_since

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Members:
    """The pods of a gang, counted. ``line`` is what the scheduler said last of one that waits."""

    waiting: int = 0
    scheduled: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    oldest: str = ""
    line: str = ""

    @property
    def known(self) -> int:
        return self.waiting + self.scheduled

    @property
    def placed(self) -> int:
        """Members that have or had a node."""
        return self.scheduled + self.succeeded


def gang_of_pod(pod: Pod | None) -> Gang | None:
    """The gang of a pod; None for one in no gang, or with stamps that cannot be read."""
    try:
        return gang_of(pod.metadata) if pod is not None else None
    except InvalidRequest:
        return None


def gang_status(
    found: GangStatus | None,
    gang: Gang | None,
    pods: Sequence[Pod],
    *,
    workload: Key,
    wanted: GangScheduling | None,
    now: str,
) -> GangStatus | None:
    """The status that the gang of a workload should have; None for a workload without one.

    ``gang`` is that of its newest pod; ``wanted`` what its spec says, which counts while it has no pods; ``now`` is an
    RFC 3339 time.
    """
    if gang is None:
        if wanted is None or any(not pod.finished for pod in pods):
            return None
        phase, reason, message = GangPhase.PENDING, "GangPending", "no member exists yet"
        return _with(found, GangStatus(phase=phase, group_key=str(workload), reason=reason, message=message), now)
    members = _counted(pods)
    phase, reason, message = _phase(gang, members, own=gang.key == str(workload), now=now)
    status = GangStatus(
        phase=phase,
        group_key=gang.key,
        desired_members=gang.desired,
        waiting_members=members.waiting,
        scheduled_members=members.scheduled,
        ready_members=members.ready,
        reason=reason,
        message=message,
    )
    return _with(found, status, now)


def with_gang(status: TensorFusionWorkloadStatus, gang: GangStatus | None) -> TensorFusionWorkloadStatus:
    """The workload's status with that of its gang, which also says why workers are waited for."""
    conditions = status.conditions
    if gang is not None and gang.phase is not GangPhase.RUNNING:
        conditions = tuple(
            msgspec.structs.replace(one, reason=gang.reason, message=gang.message)
            if one.type == "Ready" and one.reason == "WaitingForWorkers"
            else one
            for one in conditions
        )
    return msgspec.structs.replace(status, gang=gang, conditions=conditions)


def seconds_to_timeout(gang: Gang | None, pods: Sequence[Pod], *, now: str) -> float | None:
    """When to look at the gang again, because its time will be over."""
    if gang is None or not gang.timeout:
        return None
    members = _counted(pods)
    left = gang.timeout - _age(members.oldest, now)
    return left if not members.placed and members.waiting and left > 0 else None


def _with(found: GangStatus | None, status: GangStatus, now: str) -> GangStatus:
    same = found is not None and found.phase is status.phase
    since = found.last_transition_time if same and found is not None else now
    return msgspec.structs.replace(status, last_transition_time=since or now)


def _phase(gang: Gang, members: _Members, *, own: bool, now: str) -> tuple[GangPhase, str, str]:
    # a group of another scheduler's labels may span several workloads: of each its own pods count
    required = gang.required if own else min(gang.required, members.known + members.succeeded)
    if members.placed:
        if members.ready + members.succeeded >= required:
            return GangPhase.RUNNING, "GangReady", f"{members.ready} of {gang.desired} members are ready"
        if members.failed:
            return GangPhase.FAILED, "GangWorkerFailed", f"{members.failed} of {gang.desired} members failed"
        words = f"{members.scheduled} of {gang.desired} members have a place, {members.ready} are ready"
        return GangPhase.SCHEDULING, "GangScheduling", words
    if not members.known:
        if members.failed:
            return GangPhase.FAILED, "GangWorkerFailed", f"{members.failed} of {gang.desired} members failed"
        return GangPhase.PENDING, "GangPending", "no member exists yet"
    short = members.known < required
    words = f"{members.known} of {required} {INCOMPLETE}" if short else members.line
    if gang.timeout and _age(members.oldest, now) >= gang.timeout:
        after = format_duration(int(gang.timeout * _SECOND))
        return GangPhase.TIMED_OUT, "GangTimedOut", f"not started after {after}: {words}".rstrip(": ")
    if short:
        return GangPhase.WAITING, "GangWaitingForMembers", words
    if not words:
        return GangPhase.WAITING, "GangWaiting", f"{members.known} of {required} {INCOMPLETE}"
    if gang.strict:
        return GangPhase.FAILED, "GangMemberUnschedulable", words
    return GangPhase.WAITING, "GangUnschedulable", words


def _counted(pods: Sequence[Pod]) -> _Members:
    waiting = scheduled = ready = succeeded = failed = 0
    oldest = line = ""
    for pod in pods:
        phase = pod.status.phase
        if pod.metadata.deleting:
            continue
        if phase == "Failed":
            failed += 1
        elif phase == "Succeeded":
            succeeded += 1
        elif pod.spec.node_name:
            scheduled += 1
            ready += phase == "Running" and pod_ready_since(pod) is not None
        else:
            waiting += 1
            created = pod.metadata.creation_timestamp or ""
            oldest = min(oldest, created) if oldest else created
            line = line or _line(pod)
    return _Members(waiting, scheduled, ready, succeeded, failed, oldest, line)


def _line(pod: Pod) -> str:
    """What the scheduler says of the pod's gang; empty while it only waits for others."""
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and INCOMPLETE not in condition.message:
            return condition.message
    return ""


def _age(created: str, now: str) -> float:
    try:
        return (datetime.fromisoformat(now) - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
