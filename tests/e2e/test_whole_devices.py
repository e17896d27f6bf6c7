"""Whole and named devices: dedicated-gpu by what the live devices have, gpu-indices, and percent beside TFLOPS."""

import pytest

from cluster import Cluster
from tensorfusion.errors import ApiError
from tensorfusion.model import keys
from test_road import create, devices, gpu_pod, running, waiting


def test_a_dedicated_device_is_all_of_one_as_the_live_devices_are(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("mine", dedicated_gpu="true", gpu_model="L4"))
    pod = running(cluster, namespace, "mine")
    notes = pod["metadata"]["annotations"]
    assert (notes[keys.TFLOPS_REQUEST], notes[keys.TFLOPS_LIMIT]) == ("121", "121")
    assert (notes[keys.VRAM_REQUEST], notes[keys.VRAM_LIMIT]) == ("24Gi", "24Gi")
    (device,) = devices(cluster, pod)
    index = str(device["status"]["index"])
    wishes = {"tflops_request": "1", "vram_request": "1Gi", "gpu_model": "L4", "gpu_indices": index}
    create(cluster, namespace, gpu_pod("beside", **wishes))
    assert "not enough compute" in waiting(cluster, namespace, "beside")


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"gpu_model": "Z80"}, ["gpu-model", "'Z80'", "kubectl get gpus"]),
        ({}, ["dedicated-gpu", "gpu-model beside it"]),
    ],
)
def test_a_dedicated_device_of_no_known_capacity_is_refused(
    cluster: Cluster, namespace: str, wishes: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ApiError) as refused:
        create(cluster, namespace, gpu_pod("none", dedicated_gpu="true", **wishes))
    for word in words:
        assert word in str(refused.value)


def test_named_indices_are_exactly_the_devices_that_the_pod_gets(cluster: Cluster, namespace: str) -> None:
    wishes = {"gpu_indices": "3,1", "gpu_model": "H100", "compute_percent_request": "10", "vram_request": "1Gi"}
    create(cluster, namespace, gpu_pod("named", **wishes))
    pod = running(cluster, namespace, "named")
    assert sorted(device["status"]["index"] for device in devices(cluster, pod)) == [1, 3]
    assert pod["metadata"]["annotations"][keys.GPU_COUNT] == "2"


def test_shares_in_percent_and_in_tflops_fill_one_device_together(cluster: Cluster, namespace: str) -> None:
    both = {"gpu_model": "L4", "gpu_indices": "0", "vram_request": "1Gi"}
    create(cluster, namespace, gpu_pod("half", compute_percent_request="50", **both))
    create(cluster, namespace, gpu_pod("rest", tflops_request="60.5", **both))
    homes = {devices(cluster, running(cluster, namespace, name))[0]["metadata"]["name"] for name in ("half", "rest")}
    assert len(homes) == 1
    create(cluster, namespace, gpu_pod("late", compute_percent_request="1", **both))
    assert "not enough compute" in waiting(cluster, namespace, "late")
