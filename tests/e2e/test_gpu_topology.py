"""Devices near each other on a whole cluster: what nodes report, what pods ask, what they get and are told."""

from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.errors import ApiError
from tensorfusion.model import keys
from tensorfusion.model.resources import EVENTS, GPUS, PODS


def pod(name: str, **wishes: str) -> dict[str, Any]:
    notes = {keys.TFLOPS_REQUEST: "10", keys.VRAM_REQUEST: "1Gi", keys.GPU_MODEL: "A100", keys.GPU_COUNT: "2"}
    own = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {keys.ENABLED: "true"}, "annotations": {**notes, **own}},
        "spec": {"containers": [{"name": "main", "image": "busybox"}]},
    }


def test_a_pod_gets_devices_that_are_linked_and_hears_how_near_they_are(cluster: Cluster, namespace: str) -> None:
    wanted = pod("linked", require_gpu_topology="true", gpu_topology_max_tier="0")
    cluster.run(lambda client: client.create(PODS, wanted, namespace=namespace))
    notes = eventually(
        lambda: cluster.run(lambda client: client.get(PODS, dict, "linked", namespace=namespace))["metadata"],
        until=lambda meta: keys.GPU_IDS in meta["annotations"],
    )["annotations"]
    first, second = notes[keys.GPU_IDS].split(",")
    status = cluster.run(lambda client: client.get(GPUS, dict, first))["status"]
    near = {peer["peerGPUUUID"].lower(): peer["tier"] for peer in status["topology"]["peers"]}
    assert near[second] == 0
    assert status["nvLink"]["peerCount"] == len(near)
    events = eventually(
        lambda: {
            event["reason"]: event["message"]
            for event in cluster.run(lambda client: client.list(EVENTS, dict, namespace=namespace)).items
        },
        until=lambda found: "GPUInterconnectTopologySelected" in found,
    )
    assert "tier 0 (same interconnect)" in events["GPUInterconnectTopologySelected"]


def test_a_wish_that_cannot_be_understood_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiError, match=r"gpu-topology-max-tier: wanted one of 0 .same interconnect.*found 'near'"):
        cluster.run(lambda client: client.create(PODS, pod("odd", gpu_topology_max_tier="near"), namespace=namespace))
