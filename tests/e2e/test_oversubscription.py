"""Virtual capacity of a pool: what the ratios make of it, and that requests alone decide where pods go."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import Cluster, eventually
from tensorfusion.model.resources import GPU_NODES, GPU_POOLS, PODS
from test_road import create, devices, get, gpu_pod, running, waiting

POOL = "default"


def set_ratios(cluster: Cluster, ratios: dict[str, int] | None) -> None:
    patch = {"spec": {"capacityConfig": {"oversubscription": ratios}}}
    cluster.run(lambda client: client.patch(GPU_POOLS, POOL, patch))


@contextmanager
def ratios(cluster: Cluster, **values: int) -> Iterator[None]:
    set_ratios(cluster, values)
    try:
        yield
    finally:
        set_ratios(cluster, None)


def node(cluster: Cluster, **wanted: str) -> dict[str, Any]:
    """The status of the L4 node, once it says this."""
    return eventually(
        lambda: get(cluster, "", "l4-0", GPU_NODES).get("status", {}),
        until=lambda status: all(status.get(key) == value for key, value in wanted.items()),
    )


def test_the_virtual_capacity_follows_the_ratios_and_pods_outlive_lower_ones(cluster: Cluster, namespace: str) -> None:
    with ratios(cluster, tflopsOversellRatio=300, vramExpandToHostMem=50, vramExpandToHostDisk=20):
        # 2 x 121 TFLOPS, 2 x 24Gi, memory 128Gi, disk 100Gi
        node(cluster, virtualTFlops="726", virtualVRAM="132Gi", totalTFlops="242", totalVRAM="48Gi")
        for name in ("one", "two"):
            wishes = {"tflops_request": "50", "tflops_limit": "360", "vram_request": "10Gi", "vram_limit": "60Gi"}
            create(cluster, namespace, gpu_pod(name, gpu_model="L4", **wishes))
            running(cluster, namespace, name)
        node(cluster, virtualAvailableTFlops="6", virtualAvailableVRAM="12Gi", availableTFlops="142")
        eventually(
            lambda: get(cluster, "", POOL, GPU_POOLS)["status"],
            until=lambda pool: pool["virtualTFlops"] != pool["totalTFlops"],
        )
        set_ratios(cluster, {"tflopsOversellRatio": 100, "vramExpandToHostMem": 0, "vramExpandToHostDisk": 0})
        node(cluster, virtualTFlops="242", virtualAvailableTFlops="-478", virtualAvailableVRAM="-72Gi")
        listed = cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items
        assert {pod["status"]["phase"] for pod in listed} == {"Running"}
        # limits beyond all there is hold nobody up: requests are judged, by the physical device
        create(cluster, namespace, gpu_pod("three", gpu_model="L4", tflops_request="60", tflops_limit="900"))
        running(cluster, namespace, "three")


def test_no_ratio_makes_room_for_a_request_beyond_the_device(cluster: Cluster, namespace: str) -> None:
    with ratios(cluster, tflopsOversellRatio=100_000, vramExpandToHostMem=100, vramExpandToHostDisk=100):
        create(cluster, namespace, gpu_pod("large", gpu_model="L4", tflops_request="122", vram_request="1Gi"))
        assert "not enough compute" in waiting(cluster, namespace, "large")
        wishes = {"tflops_request": "121", "vram_request": "24Gi", "vram_limit": "100Gi", "tflops_limit": "242"}
        create(cluster, namespace, gpu_pod("whole", gpu_model="L4", **wishes))
        (device,) = devices(cluster, running(cluster, namespace, "whole"))
        assert "L4" in device["status"]["gpuModel"]
        told = cluster.program("explain", "pod", "whole", "-n", namespace, "--address", cluster.http).stdout
        assert "limits tflops 242, vram 100Gi" in told
