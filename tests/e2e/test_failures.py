"""Devices and nodes that fail and come back."""

from typing import Any

from cluster import Cluster, eventually
from tensorfusion.hypervisor.vendors.simulated import LOST_DEVICES
from tensorfusion.model.resources import GPUS, NODES
from test_road import create, delete, devices, get, gpu_pod, running, waiting

L4 = {"tflops_request": "100", "vram_request": "20Gi", "gpu_model": "L4"}


def lose(cluster: Cluster, node: str, indices: str | None) -> None:
    patch = {"metadata": {"annotations": {LOST_DEVICES: indices}}}
    cluster.run(lambda client: client.patch(NODES, node, patch))


def l4s(cluster: Cluster) -> list[dict[str, Any]]:
    found = cluster.run(lambda client: client.list(GPUS, dict)).items
    return [gpu for gpu in found if gpu["status"]["nodeSelector"]["kubernetes.io/hostname"] == "l4-0"]


def test_an_idle_device_that_is_lost_goes_and_comes_back(cluster: Cluster, namespace: str) -> None:
    lose(cluster, "l4-0", "0,1")
    try:
        eventually(lambda: l4s(cluster) == [])
        create(cluster, namespace, gpu_pod("wants-one", **L4))
        waiting(cluster, namespace, "wants-one")
    finally:
        lose(cluster, "l4-0", None)
    running(cluster, namespace, "wants-one")
    eventually(lambda: [gpu["status"]["phase"] for gpu in l4s(cluster)], until=lambda seen: seen == ["Running"] * 2)


def test_a_busy_device_that_is_lost_is_kept_as_unknown_and_gets_no_new_work(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("holder", tflops_request="10", vram_request="1Gi", gpu_model="L4"))
    (device,) = devices(cluster, running(cluster, namespace, "holder"))
    name, index = device["metadata"]["name"], device["status"]["index"]
    lose(cluster, "l4-0", str(index))
    try:
        eventually(lambda: get(cluster, "", name, GPUS)["status"]["phase"], until=lambda phase: phase == "Unknown")
        create(cluster, namespace, gpu_pod("other", **L4))
        (second,) = devices(cluster, running(cluster, namespace, "other"))
        assert second["metadata"]["name"] != name
        create(cluster, namespace, gpu_pod("third", **L4))
        waiting(cluster, namespace, "third")
    finally:
        lose(cluster, "l4-0", None)
    eventually(lambda: get(cluster, "", name, GPUS)["status"]["phase"], until=lambda phase: phase == "Running")
    delete(cluster, namespace, "holder")
    running(cluster, namespace, "third")
