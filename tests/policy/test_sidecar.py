"""Hard isolation: the worker beside the user's containers, and what each of them gets."""

from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.quota import hard_percent

TEMPLATE = {
    "template": {
        "spec": {
            "containers": [
                {
                    "name": "worker",
                    "resources": {"requests": {"cpu": "100m"}},
                    "env": [{"name": "MINE", "value": "1"}, {"name": "TF_GPU_MEMORY_LIMIT", "value": "1"}],
                }
            ]
        }
    }
}


def named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (entry for entry in entries if entry["name"] == name)
    return found


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_a_worker_runs_beside_the_pods_containers_over_shared_memory(world, pod) -> None:
    spec = world.admitted(pod(isolation="hard", tflops_limit="10", vram_limit="8Gi"))["spec"]
    assert [container["name"] for container in spec["containers"]] == ["main", "tensorfusion-worker"]
    assert [container["name"] for container in spec["initContainers"]] == ["inject-lib"]
    user, worker = spec["containers"]
    assert worker["image"] == "tensorfusion/tensor-fusion-worker:v2.15.0"
    assert "tf_shm" in worker["command"][-1]
    assert environment(user)["TENSOR_FUSION_OPERATOR_CONNECTION_INFO"] == "shmem+tf_shm+1024+1"
    for container in (user, worker):
        assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert named(spec["volumes"], "tf-transport-shm")["emptyDir"] == {"medium": "Memory"}
    assert named(spec["volumes"], "tf-libs")["emptyDir"] == {}
    assert "LD_PRELOAD" not in environment(user), "the limiter is in the worker"


def test_the_worker_is_capped_by_the_limits_or_else_the_requests(world, pod) -> None:
    capped = world.admitted(pod(isolation="hard", tflops_request="10", vram_request="1Gi", vram_limit="1500Mi"))
    worker = environment(named(capped["spec"]["containers"], "tensorfusion-worker"))
    assert (worker["TF_GPU_MEMORY_LIMIT"], worker["TF_CUDA_MEMORY_LIMIT"]) == ("1500", "1500")
    path = {"fieldRef": {"fieldPath": f"metadata.annotations['{keys.EFFECTIVE_HARD_SM_PERCENT}']"}}
    assert worker["TF_CUDA_SM_PERCENT_LIMIT"] == path, "of TFLOPS only the device tells the percent"
    percent = world.admitted(pod(isolation="hard", compute_percent_limit="12.5", vram_request="1Gi"))
    worker = environment(named(percent["spec"]["containers"], "tensorfusion-worker"))
    assert (worker["TF_CUDA_SM_PERCENT_LIMIT"], worker["TF_GPU_MEMORY_LIMIT"]) == ("13", "1024")


def test_annotations_say_that_there_is_a_sidecar(world, pod) -> None:
    notes = world.admitted(pod(isolation="hard", tflops_limit="10"))["metadata"]["annotations"]
    assert (notes[keys.SIDECAR_WORKER], notes[keys.ISOLATION]) == ("true", "hard")
    assert keys.EMBEDDED_WORKER not in notes


def test_a_second_look_changes_nothing(world, pod) -> None:
    first = world.admitted(pod(isolation="hard", tflops_limit="10", vram_limit="8Gi"))
    assert world.decide(first).ops == ()


def test_images_and_the_workers_template_come_from_provider_and_pool(world, pod) -> None:
    world.add_pool(
        "mine", componentConfig={"worker": {"image": "w:1", "podTemplate": TEMPLATE}, "client": {"image": "c:1"}}
    )
    made = world.admitted(pod(isolation="hard", tflops_limit="10", vram_limit="1Gi", gpupool="mine"))["spec"]
    worker = named(made["containers"], "tensorfusion-worker")
    assert (worker["image"], made["initContainers"][0]["image"]) == ("w:1", "c:1")
    assert worker["resources"] == {"requests": {"cpu": "100m"}}
    assert (environment(worker)["MINE"], environment(worker)["TF_GPU_MEMORY_LIMIT"]) == ("1", "1024")
    images = {"middleware": "m", "remoteClient": "c:2", "remoteWorker": "w:2"}
    world.add_provider("nvidia", vendor="NVIDIA", images=images)
    made = world.admitted(pod(isolation="hard", tflops_limit="10", gpupool="mine"))["spec"]
    assert named(made["containers"], "tensorfusion-worker")["image"] == "w:2"
    assert made["initContainers"][0]["image"] == "c:2"


def test_only_the_named_containers_use_the_device(world, pod) -> None:
    body = pod(isolation="hard", tflops_limit="10", inject_container="main")
    body["spec"]["containers"].append({"name": "other", "image": "x"})
    spec = world.admitted(body)["spec"]
    assert "env" not in named(spec["containers"], "other")


@pytest.mark.parametrize(
    ("amounts", "capacities", "percent"),
    [
        ({"compute": 10_000}, [100_000], 10),
        ({"compute": 10_000, "compute_limit": 33_300}, [100_000], 34),
        ({"compute": 10_000, "compute_limit": 500_000}, [100_000], 100),
        ({"compute": 1}, [100_000], 1),
        ({"compute": 10_000}, [100_000, 50_000], 20),
        ({"percent": 12_500}, [100_000], 13),
        ({"percent": 12_500, "percent_limit": 50_000}, [100_000], 50),
        ({"vram": 1}, [100_000], 100),
        ({"compute": 10_000}, [0], 100),
    ],
)
def test_the_percent_of_the_processors_is_rounded_up(
    amounts: dict[str, int], capacities: list[int], percent: int
) -> None:
    assert hard_percent(GpuRequest("p", **amounts), capacities) == percent
