"""The workload object of admitted pods, and its state."""

from typing import Any

import msgspec
import pytest

from tensorfusion.model import keys
from tensorfusion.model.request import GpuRequest, QoS
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.model.wire import to_wire
from tensorfusion.model.workload import TensorFusionWorkloadStatus
from tensorfusion.policy.workload import WorkerCounts, workload_spec, workload_status

REQUEST = GpuRequest(pool="p", count=2, compute=10_000, compute_limit=20_500, vram=1 << 30, qos=QoS.HIGH, model="L4")


def spec_of(request: GpuRequest = REQUEST, template: SchedulingConfigTemplate | None = None, **annotations: str) -> Any:
    written = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return workload_spec(request, labels={"app": "x"}, annotations=written, template=template)


def test_the_spec_says_what_the_pods_ask_for() -> None:
    assert to_wire(spec_of()) == {
        "poolName": "p",
        "resources": {
            "requests": {"tflops": "10", "vram": "1Gi"},
            "limits": {"tflops": "20500m", "vram": "0"},
        },
        "qos": "high",
        "isLocalGPU": True,
        "gpuModel": "L4",
        "gpuCount": 2,
    }


def test_a_percentage_stays_one() -> None:
    resources = spec_of(GpuRequest(pool="p", percent=25_000, percent_limit=50_000)).resources
    assert (resources.requests.compute, resources.limits.compute, resources.requests.tflops) == ("25", "50", "")


def template(*rules: dict[str, Any]) -> SchedulingConfigTemplate:
    return msgspec.convert(
        {"metadata": {"name": "t"}, "spec": {"placement": {}, "verticalScalingRules": list(rules)}},
        SchedulingConfigTemplate,
    )


def test_autoscale_annotations_and_the_first_matching_rule() -> None:
    assert spec_of().auto_scaling_config is None
    wish = spec_of(autoscale="true", autoscale_target="vram").auto_scaling_config
    assert (wish.auto_set_resources.enable, wish.auto_set_resources.target_resource) == (True, "vram")
    rules = template(
        {"selector": {"matchLabels": {"app": "y"}}, "autoScaling": {"autoSetResources": {"marginFraction": "0.9"}}},
        {"selector": {"matchLabels": {"app": "x"}}, "autoScaling": {"cronScalingRules": [{"name": "night"}]}},
        {"autoScaling": {"cronScalingRules": [{"name": "day"}]}},
    )
    merged = spec_of(template=rules, autoscale="true").auto_scaling_config
    assert merged.auto_set_resources.enable is True
    assert [rule.name for rule in merged.cron_scaling_rules] == ["night"]


@pytest.mark.parametrize(
    ("counts", "replicas", "phase", "reason"),
    [
        (WorkerCounts(3, 3, 1), None, "Failed", "WorkerFailed"),
        (WorkerCounts(0, 0, 0), None, "Pending", "ScaledToZero"),
        (WorkerCounts(2, 0, 0), 0, "Pending", "ScaledToZero"),
        (WorkerCounts(2, 1, 0), None, "Pending", "WaitingForWorkers"),
        (WorkerCounts(2, 2, 0), None, "Running", "WorkloadReady"),
        (WorkerCounts(2, 2, 0), 3, "Pending", "WaitingForWorkers"),
    ],
)
def test_the_readiness_rules_in_order(counts: WorkerCounts, replicas: int | None, phase: str, reason: str) -> None:
    status = workload_status(TensorFusionWorkloadStatus(), counts, replicas=replicas, template_hash="h", now="t")
    assert (status.phase, status.conditions[0].reason) == (phase, reason)
    assert (status.worker_count, status.ready_workers) == (counts.workers, counts.ready)


def test_the_same_state_gives_the_same_status_and_keeps_the_parts_of_others() -> None:
    found = msgspec.convert(
        {"workerCount": 1, "conditions": [{"type": "ResourceUpdate", "status": "True"}]}, TensorFusionWorkloadStatus
    )
    first = workload_status(found, WorkerCounts(2, 1), replicas=None, template_hash="h", now="t1")
    assert [condition.type for condition in first.conditions] == ["ResourceUpdate", "Ready"]
    assert workload_status(first, WorkerCounts(2, 1), replicas=None, template_hash="h", now="t2") == first
    later = workload_status(first, WorkerCounts(2, 2), replicas=None, template_hash="h", now="t3")
    assert later.conditions[1].last_transition_time == "t3"
