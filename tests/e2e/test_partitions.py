"""Hardware partitions on simulated A100: cut, shown, full, and given back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from checker import oversold
from cluster import Cluster, eventually
from tensorfusion.errors import ApiError
from tensorfusion.model import keys
from tensorfusion.model.resources import EVENTS, GPU_POOLS, GPUS, NODES, PODS
from test_road import PREFIX, create, delete, devices, get, gpu_pod, running, waiting

NODE, CARDS = "a100-0", 8


def modes(cluster: Cluster) -> set[str]:
    gpus = cluster.run(lambda client: client.list(GPUS, dict)).items
    on = [gpu["status"] for gpu in gpus if gpu["status"]["nodeSelector"]["kubernetes.io/hostname"] == NODE]
    assert len(on) == CARDS
    return {f"{status['isolationMode']}/{status['isolationPolicy']}" for status in on}


@contextmanager
def partitioned_node(cluster: Cluster) -> Iterator[None]:
    """The pool's rule makes the labelled node one of partitions, and the label goes in the end."""

    def set_rule(rules: Any, label: str | None) -> None:
        config = {"spec": {"nodeManagerConfig": {"isolationModeRules": rules}}}
        cluster.run(lambda client: client.patch(GPU_POOLS, "default", config))
        cluster.run(lambda client: client.patch(NODES, NODE, {"metadata": {"labels": {"cut": label}}}))

    set_rule([{"mode": "partitioned", "selector": {"matchLabels": {"cut": "mig"}}}], "mig")
    try:
        eventually(lambda: modes(cluster), until=lambda found: found == {"partitioned/Static"})
        yield
    finally:
        set_rule(None, None)
        eventually(lambda: modes(cluster), until=lambda found: found == {"soft/Dynamic"})


def part(name: str, **wishes: str) -> dict[str, Any]:
    return gpu_pod(name, isolation="partitioned", gpu_model="A100", **wishes)


def test_partitions_from_the_first_cut_to_a_full_node_and_back(cluster: Cluster, namespace: str) -> None:
    with partitioned_node(cluster):
        create(cluster, namespace, part("small", vram_request="9Gi"))
        pod = running(cluster, namespace, "small")
        notes = pod["metadata"]["annotations"]
        assert notes[keys.PARTITION_ID] == "nv-80g-1g-10gb"
        (device,) = devices(cluster, pod)
        name = device["metadata"]["name"]
        assert notes[keys.PARTITION_UUIDS].startswith("MIG-")
        assert notes[keys.PARTITION_UUIDS].endswith(f":{name}")
        uid = pod["metadata"]["uid"]
        shown = eventually(
            lambda: get(cluster, "", name, GPUS)["status"], until=lambda s: uid in (s.get("allocatedPartitions") or {})
        )
        cut = shown["allocatedPartitions"][uid]
        assert (cut["templateId"], cut["podName"], cut["namespace"]) == ("nv-80g-1g-10gb", "small", namespace)
        assert (cut.get("allocatedSlotStart", 0), cut["allocatedSlotEnd"]) == (0, 1)
        assert shown["available"]["vram"] == "70Gi"
        told = cluster.program("explain", "pod", "small", "-n", namespace, "--address", cluster.http).stdout
        assert "nv-80g-1g-10gb, 44.571 TFLOPS, 10Gi, slots 0 to 0" in told, told
        with pytest.raises(ApiError, match="hardware partition"):
            change = {"metadata": {"annotations": {f"{PREFIX}vram-request": "8Gi"}}}
            cluster.run(lambda client: client.patch(PODS, "small", change, namespace=namespace))

        halves = [f"half-{number}" for number in range(2 * CARDS - 1)]  # one card has room for one more only
        for half in halves:
            create(cluster, namespace, part(half, partition_id="mig-3g.40gb"))
        for half in halves:
            running(cluster, namespace, half)
        create(cluster, namespace, part("late", partition_id="3g.40gb"))
        assert "without a free place for the partition" in waiting(cluster, namespace, "late")
        create(cluster, namespace, part("giant", vram_request="100Gi"))
        assert "without a partition template that covers the request" in waiting(cluster, namespace, "giant")

        def reasons() -> set[str]:
            found = cluster.run(lambda client: client.list(EVENTS, dict, namespace=namespace)).items
            return {event["reason"] for event in found if event["involvedObject"]["name"] in ("late", "giant")}

        eventually(reasons, until=lambda found: "PartitionTemplateMatchFailed" in found)
        gpus = cluster.run(lambda client: client.list(GPUS, dict)).items
        pods = cluster.run(lambda client: client.list(PODS, dict)).items
        assert oversold(gpus, pods) == []
        delete(cluster, namespace, halves[0])
        running(cluster, namespace, "late")
        for pod_name in [*halves[1:], "small", "late", "giant"]:
            delete(cluster, namespace, pod_name)

        def cuts() -> int:
            found = cluster.run(lambda client: client.list(GPUS, dict)).items
            return sum(len(gpu["status"].get("allocatedPartitions") or {}) for gpu in found)

        eventually(cuts, until=lambda count: count == 0)


def test_where_no_device_is_cut_a_partitioned_pod_waits_and_says_so(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, part("nowhere", partition_id="1g.10gb"))
    assert "not offering the isolation mode" in waiting(cluster, namespace, "nowhere")
