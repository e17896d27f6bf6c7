"""What a quota's status says: used, left in percent, and when that is alarming."""

from typing import Any

import msgspec
import pytest

from tensorfusion.model.quota import AvailablePercent, GPUResourceQuota
from tensorfusion.policy.quota_status import alert_reached, available_percent, effective_quota, quota_status
from tensorfusion.scheduling.quota import Usage

GIB = 1 << 30


def quota(name: str = "q", status: Any = None, **spec: Any) -> GPUResourceQuota:
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": "team"}, "spec": spec, "status": status or {}}, GPUResourceQuota
    )


@pytest.mark.parametrize(
    ("total", "used", "left"),
    [
        (None, 10, "100"),
        (0, 10, "100"),
        (100, 0, "100.00"),
        (100, 5, "95.00"),
        (3, 2, "33.33"),
        (3, 1, "66.67"),
        (100, 100, "0.00"),
        (100, 150, "0.00"),
    ],
)
def test_what_is_left_in_percent(total: int | None, used: int, left: str) -> None:
    assert available_percent(total, used) == left


@pytest.mark.parametrize(
    ("left", "threshold", "reached"),
    [("4", 95, True), ("5", 95, False), ("10", 95, False), ("8", 90, True), ("", 95, True)],
)
def test_threshold_cases_of_the_reference(left: str, threshold: int, reached: bool) -> None:
    available = AvailablePercent(
        requests_tflops="100", requests_vram="100", limits_tflops=left, limits_vram="100", workers="100"
    )
    assert alert_reached(available, threshold) is reached


def test_the_status_of_a_quota_in_use() -> None:
    found = quota(total={"requests": {"tflops": "100", "vram": "10Gi"}, "maxWorkers": 10})
    usage = Usage(compute=40_500, vram=4 * GIB, compute_limit=90_000, vram_limit=9 * GIB, workers=3, devices=4)
    status = quota_status(found, usage, now="2026-01-01T00:00:00Z")
    assert (status.used.requests.tflops, status.used.requests.vram) == ("40500m", "4Gi")
    assert (status.used.limits.tflops, status.used.workers, status.used.gpu_count) == ("90", 3, 4)
    assert msgspec.to_builtins(status.available_percent) == {
        "requests.tflops": "59.50",
        "requests.vram": "60.00",
        "limits.tflops": "100",
        "limits.vram": "100",
        "workers": "70.00",
    }
    (condition,) = status.conditions
    assert (condition.type, condition.status, condition.reason) == ("Ready", "True", "CapacitySufficient")


def test_the_alarm_and_the_time_of_its_change() -> None:
    found = quota(total={"maxWorkers": 10})
    calm = quota_status(found, Usage(workers=1), now="t1")
    found = msgspec.structs.replace(found, status=calm)
    alarmed = quota_status(found, Usage(workers=10), now="t2")
    (condition,) = alarmed.conditions
    assert (condition.status, condition.reason, condition.last_transition_time) == (
        "False",
        "AlertThresholdReached",
        "t2",
    )
    found = msgspec.structs.replace(found, status=alarmed)
    assert quota_status(found, Usage(workers=10), now="t3") is alarmed
    worse = quota_status(found, Usage(workers=11), now="t4")
    assert (worse.last_update_time, worse.conditions[0].last_transition_time) == ("t4", "t2")


def test_of_several_quotas_the_first_by_name_counts() -> None:
    assert effective_quota([quota("b"), quota("a"), quota("c")]).metadata.name == "a"
    assert effective_quota([]) is None
