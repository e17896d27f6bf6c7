"""How far a gang has come, as its workload's status says it."""

from typing import Any

import msgspec
import pytest

from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.workload import GangPhase, GangScheduling, GangStatus
from tensorfusion.policy.gang_status import gang_of_pod, gang_status, seconds_to_timeout

NOW, EARLIER = "2026-01-01T00:10:00Z", "2026-01-01T00:00:00Z"
TRAIN = Key("team", "train")
READY = {"type": "Ready", "status": "True", "lastTransitionTime": EARLIER}


def member(number: int, *, node: str = "", phase: str = "Pending", line: str = "", **stamps: str) -> Pod:
    notes = {
        keys.GANG_REQUIRED_MEMBERS: "3",
        keys.GANG_DESIRED_MEMBERS: "4",
        keys.GANG_GROUP_KEY: "team/train",
        **{f"{keys.DOMAIN}/gang-{key}": value for key, value in stamps.items()},
    }
    conditions = [READY] if phase == "Running" else []
    if line:
        conditions.append({"type": "PodScheduled", "status": "False", "message": line})
    meta = {"name": f"p{number}", "namespace": "team", "uid": f"u{number}", "annotations": notes}
    body = {
        "metadata": {**meta, "creationTimestamp": EARLIER},
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions},
    }
    return msgspec.convert(body, Pod)


def status(pods: list[Pod], found: GangStatus | None = None, **more: Any) -> GangStatus:
    gang = gang_of_pod(pods[-1] if pods else None)
    said = gang_status(found, gang, pods, **{"workload": TRAIN, "wanted": None, "now": NOW, **more})
    assert said is not None
    return said


LINE = "gang team/train: 2 of 3 fit; the 3rd: 0/2 nodes are available"
ONE = "gang team/train: 1 of 3 members are known: it starts when the others are created"


@pytest.mark.parametrize(
    ("pods", "phase", "reason", "message"),
    [
        ([member(0)], "Waiting", "GangWaitingForMembers", "1 of 3 members are known"),
        ([member(n, line=ONE) for n in range(3)], "Waiting", "GangWaiting", "3 of 3 members are known"),
        ([member(n, line=LINE) for n in range(3)], "Waiting", "GangUnschedulable", LINE),
        ([member(n, line=LINE, mode="Strict") for n in range(3)], "Failed", "GangMemberUnschedulable", LINE),
        (
            [member(n, line=LINE, timeout="10m") for n in range(3)],
            "TimedOut",
            "GangTimedOut",
            f"not started after 10m: {LINE}",
        ),
        (
            [member(n, node="n" if n else "") for n in range(3)],
            "Scheduling",
            "GangScheduling",
            "2 of 4 members have a place, 0 are ready",
        ),
        (
            [member(n, node="n", phase="Running") for n in range(3)],
            "Running",
            "GangReady",
            "3 of 4 members are ready",
        ),
        (
            [member(0, node="n", phase="Failed"), member(1, node="n", phase="Running"), member(2)],
            "Failed",
            "GangWorkerFailed",
            "1 of 4 members failed",
        ),
        (
            [member(0, node="n", phase="Succeeded"), *(member(n, node="n", phase="Running") for n in (1, 2))],
            "Running",
            "GangReady",
            "2 of 4 members are ready",
        ),
        (
            [member(n, node="n", phase="Failed") for n in range(3)],
            "Failed",
            "GangWorkerFailed",
            "3 of 4 members failed",
        ),
    ],
)
def test_the_phase_says_where_the_gang_stands(pods, phase: str, reason: str, message: str) -> None:
    said = status(pods)
    assert (said.phase, said.reason, said.message) == (GangPhase(phase), reason, message)
    assert said.group_key == "team/train"


def test_members_are_counted() -> None:
    said = status([member(0), member(1, node="n"), member(2, node="n", phase="Running")])
    assert (said.desired_members, said.waiting_members, said.scheduled_members, said.ready_members) == (4, 1, 2, 1)


def test_a_workload_without_a_gang_has_no_such_status() -> None:
    assert gang_status(None, None, [], workload=TRAIN, wanted=None, now=NOW) is None


def test_a_gang_without_pods_is_pending() -> None:
    said = status([], wanted=GangScheduling())
    assert (said.phase, said.reason) == (GangPhase.PENDING, "GangPending")


def test_the_time_of_the_last_change_stays_while_the_phase_does() -> None:
    first = status([member(0)])
    assert first.last_transition_time == NOW
    later = "2026-01-01T00:11:00Z"
    assert status([member(0), member(1)], first, now=later).last_transition_time == NOW
    moved = status([member(n, node="n", phase="Running") for n in range(3)], first, now=later)
    assert moved.last_transition_time == later


def test_a_group_that_spans_workloads_counts_its_own_pods_in_each() -> None:
    pods = [member(n, node="n", phase="Running", **{"group-key": "team/ring"}) for n in range(2)]
    assert status(pods).phase is GangPhase.RUNNING


def test_the_gang_is_looked_at_again_when_its_time_is_over() -> None:
    waiting = [member(n, timeout="11m") for n in range(2)]
    assert seconds_to_timeout(gang_of_pod(waiting[0]), waiting, now=NOW) == 60
    assert seconds_to_timeout(gang_of_pod(member(0)), [member(0)], now=NOW) is None
    started = [member(0, timeout="11m"), member(1, timeout="11m", node="n")]
    assert seconds_to_timeout(gang_of_pod(started[0]), started, now=NOW) is None
    assert gang_of_pod(member(0, **{"required-members": "many"})) is None
