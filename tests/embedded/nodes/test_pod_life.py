"""The status documents of a simulated pod's life, and its script."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded import pod_life
from tensorfusion.errors import InvalidRequest
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw

NOW = "2026-01-01T00:00:00Z"
EARLIER = "2025-12-31T23:00:00Z"


def pod(*conditions: Raw, **spec: object) -> Pod:
    return msgspec.convert(
        {"spec": {"containers": [{"name": "main"}, {"name": "side"}]} | spec, "status": {"conditions": conditions}}, Pod
    )


def by_type(status: Raw) -> dict[str, Raw]:
    return {condition["type"]: condition for condition in status["conditions"]}


def test_one_document_makes_a_pod_running_and_ready() -> None:
    status = pod_life.running(pod(), now=NOW, pod_ip="10.128.0.1", host_ip="10.0.0.1")
    assert (status["phase"], status["podIP"], status["hostIP"], status["startTime"]) == (
        "Running",
        "10.128.0.1",
        "10.0.0.1",
        NOW,
    )
    assert {name: found["status"] for name, found in by_type(status).items()} == dict.fromkeys(
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"], "True"
    )
    assert [(entry["name"], entry["ready"], entry["state"]) for entry in status["containerStatuses"]] == [
        ("main", True, {"running": {"startedAt": NOW}}),
        ("side", True, {"running": {"startedAt": NOW}}),
    ]


def test_conditions_of_others_are_kept_and_the_scheduled_time_too() -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": EARLIER}
    foreign = {"type": "example.com/gate", "status": "False", "reason": "Waits"}
    stale = {"type": "Ready", "status": "False"}
    status = pod_life.running(pod(scheduled, foreign, stale), now=NOW, pod_ip="", host_ip="")
    conditions = by_type(status)
    assert conditions["PodScheduled"]["lastTransitionTime"] == EARLIER
    assert conditions["example.com/gate"] == foreign
    assert conditions["Ready"]["status"] == "True"
    assert len(status["conditions"]) == 6


def test_init_containers_have_ended_or_stay() -> None:
    inits = [{"name": "copy"}, {"name": "proxy", "restartPolicy": "Always"}]
    status = pod_life.running(pod(initContainers=inits), now=NOW, pod_ip="", host_ip="")
    copy, proxy = status["initContainerStatuses"]
    assert copy["state"]["terminated"]["reason"] == "Completed"
    assert proxy["state"] == {"running": {"startedAt": NOW}}


@pytest.mark.parametrize(("code", "phase", "reason"), [(0, "Succeeded", "PodCompleted"), (3, "Failed", "PodFailed")])
def test_an_end_has_its_exit_code(code: int, phase: str, reason: str) -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": EARLIER}
    status = pod_life.ended(pod(ready), now=NOW, exit_code=code)
    assert status["phase"] == phase
    assert by_type(status)["Ready"] == {"type": "Ready", "status": "False", "lastTransitionTime": NOW, "reason": reason}
    terminated = status["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["startedAt"], terminated["finishedAt"]) == (code, EARLIER, NOW)


def test_a_refusal_is_a_failed_pod_with_the_reason() -> None:
    status = pod_life.refused("device gpu-0 is full", now=NOW)
    assert (status["phase"], status["reason"]) == ("Failed", "UnexpectedAdmissionError")
    assert status["message"] == "Pod was rejected: device gpu-0 is full"


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("2", 2.0), ("1m30s", 90.0), ("250ms", 0.25), ("0", 0.0)])
def test_scripted_times_are_durations_or_seconds(text: str, seconds: float) -> None:
    assert pod_life.seconds_of({pod_life.RUN_FOR: text}, pod_life.RUN_FOR) == seconds
    assert pod_life.seconds_of({}, pod_life.RUN_FOR) is None


@pytest.mark.parametrize(
    ("takes", "waited", "left"), [("5s", 0.0, 5.0), ("5s", 4.5, 0.5), ("5s", 6.0, -1.0), ("1h", 10.0, 30.0)]
)
def test_a_deleted_pod_stops_as_scripted_but_not_after_its_grace(takes: str, waited: float, left: float) -> None:
    metadata = {"annotations": {pod_life.STOP_AFTER: takes}, "deletionTimestamp": "2026-01-01T00:00:30Z"}
    deleted = msgspec.convert({"metadata": metadata}, Pod)
    assert pod_life.seconds_to_stop(deleted, waited=waited, now=pod_life.moment(NOW)) == left


@given(st.text(max_size=10))
def test_a_script_is_understood_or_refused(text: str) -> None:
    for read in (
        lambda: pod_life.seconds_of({pod_life.RUN_FOR: text}, pod_life.RUN_FOR),
        lambda: pod_life.exit_code_of({pod_life.EXIT_CODE: text}),
    ):
        try:
            read()
        except InvalidRequest as error:
            assert str(error).startswith("annotation simulated.tensor-fusion.ai/")


@pytest.mark.parametrize("text", ["256", "-1", "x", "", "1.0", "٣"])
def test_an_exit_code_is_a_byte(text: str) -> None:
    with pytest.raises(InvalidRequest, match="0 to 255"):
        pod_life.exit_code_of({pod_life.EXIT_CODE: text})
