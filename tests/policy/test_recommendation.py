"""A workload's recommendation wins for its new pods, where its owner asked for that."""

import pytest

from tensorfusion.model import keys
from tensorfusion.model.annotations import request_of
from tensorfusion.model.request import QoS

GIB = 1 << 30
ADVICE = {"recommendation": {"requests": {"tflops": "30", "vram": "3Gi"}, "limits": {"tflops": "40", "vram": "2Gi"}}}


def config(target: str = "all", *, enable: bool = True) -> dict:
    return {"autoScalingConfig": {"autoSetResources": {"enable": enable, "targetResource": target}}}


@pytest.mark.parametrize(
    ("target", "amounts"),
    [
        ("all", (30_000, 40_000, 3 * GIB, 3 * GIB)),  # a limit below the request is raised to it
        ("compute", (30_000, 40_000, GIB, GIB)),
        ("vram", (10_000, 10_000, 3 * GIB, 3 * GIB)),
    ],
)
def test_the_recommendation_wins_by_its_target(world, pod, target: str, amounts: tuple[int, ...]) -> None:
    world.add_workload("trainer", status=ADVICE, **config(target))
    stored = world.admitted(pod(tflops_limit="10", vram_limit="1Gi"))
    request = request_of(stored["metadata"]["annotations"], stored["metadata"]["labels"])
    assert (request.compute, request.compute_limit, request.vram, request.vram_limit) == amounts
    assert world.decide(stored).ops == ()


@pytest.mark.parametrize(
    ("status", "spec"),
    [
        ({}, config()),
        (ADVICE, {}),
        (ADVICE, config(enable=False)),
        ({"recommendation": {"requests": {"tflops": "much"}, "limits": {}}}, config()),
        ({"recommendation": {"requests": {"tflops": "0", "vram": "0"}, "limits": {}}}, config()),
    ],
)
def test_without_one_that_counts_the_pods_own_wishes_hold(world, pod, status: dict, spec: dict) -> None:
    before = world.admitted(pod(tflops_limit="10", vram_limit="1Gi"))
    world.add_workload("trainer", status=status, **spec)
    assert world.admitted(pod(tflops_limit="10", vram_limit="1Gi")) == before


def test_percent_is_recommended_too_and_replaces_tflops(world, pod) -> None:
    advice = {"recommendation": {"requests": {"compute": "25"}, "limits": {"compute": "50"}}}
    world.add_workload("trainer", status=advice, **config())
    stored = world.admitted(pod(compute_percent_limit="90", vram_limit="1Gi"))
    request = request_of(stored["metadata"]["annotations"], stored["metadata"]["labels"])
    assert (request.compute, request.percent, request.percent_limit) == (0, 25_000, 50_000)


def test_the_named_workload_counts_and_a_whole_device_stays_one(world, pod) -> None:
    world.add_workload("group", status=ADVICE, **config())
    stored = world.admitted(pod(tflops_limit="10", labels={keys.WORKLOAD: "group"}))
    assert stored["metadata"]["annotations"][keys.TFLOPS_REQUEST] == "30"
    made = pod(dedicated_gpu="true", gpu_model="A100_SXM_80G", labels={keys.WORKLOAD: "group"})
    assert world.admitted(made)["metadata"]["annotations"][keys.TFLOPS_REQUEST] == "312"
    assert world.admitted(pod(tflops_limit="10", qos="low"))["metadata"]["annotations"][keys.QOS] == QoS.LOW
