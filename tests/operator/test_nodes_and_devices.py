"""GPUNodes and GPUs: made from machines, and equal to what pods hold of them."""

import random
from collections import defaultdict

import pytest

from tensorfusion.errors import ServerError
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.partitions import Partition, partitions_text


async def test_a_gpunode_carries_its_pool_and_vendor(cluster) -> None:
    cluster.machine("m1")
    await cluster.passes(1)
    made = cluster.api.object(r.GPU_NODES, "m1")["metadata"]
    assert made["labels"] == {
        keys.MANAGED_BY: "default",
        f"{keys.POOL_LABEL_PREFIX}default": "true",
        keys.HARDWARE_VENDOR: "NVIDIA",
    }
    (owner,) = made["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("GPUPool", "default", True)
    assert owner["uid"] == cluster.api.object(r.GPU_POOLS, "default")["metadata"]["uid"]


async def test_a_moved_node_loses_the_labels_of_its_former_pool(cluster) -> None:
    cluster.machine("m1")
    await cluster.passes(1)
    cluster.pool("mine")
    await cluster.passes(2)
    labels = cluster.api.object(r.GPU_NODES, "m1")["metadata"]["labels"]
    assert f"{keys.POOL_LABEL_PREFIX}default" not in labels
    assert labels[f"{keys.POOL_LABEL_PREFIX}mine"] == "true"


async def test_a_gone_machine_takes_its_gpunode_along(cluster) -> None:
    cluster.machine("m1")
    await cluster.passes(1)
    cluster.api.remove(r.NODES, "m1")
    await cluster.passes(1)
    assert cluster.names(r.GPU_NODES) == []


async def test_a_node_runs_once_its_devices_are_published(cluster) -> None:
    cluster.machine("m1")
    await cluster.passes(2)
    assert cluster.status(r.GPU_NODES, "m1").get("phase", "Pending") == "Pending"
    cluster.publish("m1")
    await cluster.passes(2)
    status = cluster.status(r.GPU_NODES, "m1")
    assert (status["phase"], status["totalGPUs"], status["managedGPUs"]) == ("Running", 2, 2)
    assert status["managedGPUDeviceIDs"] == ["GPU-M1-0", "GPU-M1-1"]
    assert status["nodeInfo"] == {"ramSize": "64Gi", "dataDiskSize": "100Gi"}


async def test_shares_show_on_the_device_and_the_node_and_are_released_exactly(cluster) -> None:
    await cluster.ready_machine("m1")
    before = cluster.status(r.GPUS, "gpu-m1-0")
    cluster.pod("w", workload="web", tflops_request="30", tflops_limit="60", vram_request="4Gi", qos="high")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(2)
    status = cluster.status(r.GPUS, "gpu-m1-0")
    assert status["available"] == {"tflops": "70", "vram": "12Gi"}
    (app,) = status["runningApps"]
    assert (app["name"], app["namespace"], app["count"]) == ("web", "team", 1)
    (held,) = app["pods"]
    assert held["requests"] == {"tflops": "30", "vram": "4Gi"}
    assert held["limits"] == {"tflops": "60", "vram": "0"}
    assert (held["name"], held["qos"]) == ("w", "high")
    node = cluster.status(r.GPU_NODES, "m1")
    assert (node["availableTFlops"], node["virtualAvailableTFlops"], node["totalGPUPods"]) == ("170", "140", 1)
    assert list(node["allocatedPods"]) == ["gpu-m1-0"]
    cluster.phase("w", "Failed")
    await cluster.passes(2)
    assert cluster.status(r.GPUS, "gpu-m1-0") == before
    assert "allocatedPods" not in cluster.status(r.GPU_NODES, "m1")


async def test_limits_beyond_the_node_make_its_virtual_available_negative(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("w", tflops_request="1", tflops_limit="900.5")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(2)
    assert cluster.status(r.GPU_NODES, "m1")["virtualAvailableTFlops"] == "-700500m"


async def test_a_shared_pod_takes_the_whole_device(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("w", isolation="shared", tflops_request="0", vram_request="0")
    cluster.place("w", "gpu-m1-1")
    await cluster.passes(2)
    assert cluster.status(r.GPUS, "gpu-m1-1")["available"] == {"tflops": "0", "vram": "0"}


async def test_a_missing_device_counts_no_more_and_comes_back(cluster) -> None:
    await cluster.ready_machine("m1")
    missing = {"metadata": {"annotations": {keys.GPU_MISSING_SINCE: "2026-01-01T00:00:00Z"}}}
    cluster.api.change(r.GPUS, "gpu-m1-0", missing)
    await cluster.passes(2)
    status = cluster.status(r.GPU_NODES, "m1")
    assert (status["totalGPUs"], status["totalTFlops"]) == (1, "100")
    cluster.api.change(r.GPUS, "gpu-m1-0", {"metadata": {"annotations": None}})
    await cluster.passes(2)
    assert cluster.status(r.GPU_NODES, "m1")["totalTFlops"] == "200"


async def test_a_device_that_grows_recounts_its_percentages(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("w", tflops_request="0", compute_percent_request="50", vram_request="0")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(2)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "50"
    cluster.api.change(r.GPUS, "gpu-m1-0", {"status": {"capacity": {"tflops": "300"}}}, subresource="status")
    await cluster.passes(2)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "150"


async def test_a_pod_whose_annotations_are_nonsense_stops_nobody(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("bad", tflops_request="lots")
    cluster.place("bad", "gpu-m1-0")
    cluster.pod("good")
    cluster.place("good", "gpu-m1-0")
    await cluster.passes(2)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "90"


async def test_a_burst_of_pods_is_few_writes(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.writes()
    for number in range(40):
        cluster.pod(f"w{number}", workload="web", tflops_request="1", vram_request="1Mi")
        cluster.place(f"w{number}", "gpu-m1-0")
        await cluster.clock.advance(0.05)
    await cluster.passes(4)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "60"
    written = defaultdict(int)
    for call in cluster.writes():
        written[call.resource, call.name, call.subresource] += 1
    assert written["gpus.tensor-fusion.ai", "gpu-m1-0", "status"] <= 5
    assert written["gpunodes.tensor-fusion.ai", "m1", "status"] <= 5
    assert written["gpupools.tensor-fusion.ai", "default", "status"] <= 5
    assert not any(name == "gpu-m1-1" for _, name, _ in written)


async def test_a_quiet_cluster_is_not_written_to(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(10)
    cluster.writes()
    await cluster.passes(60)
    assert cluster.writes() == []


async def test_a_lost_write_is_made_again(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.api.fail("patch", r.GPUS, error=ServerError("the server is down"), times=7)
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(30)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "90"


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_churn_the_statuses_are_what_a_fresh_operator_would_write(cluster, seed: int) -> None:
    chance = random.Random(seed)
    for name in ("m1", "m2"):
        await cluster.ready_machine(name)
    live: list[str] = []
    for step in range(60):
        if live and chance.random() < 0.45:
            name = live.pop(chance.randrange(len(live)))
            if chance.random() < 0.5:
                cluster.phase(name, chance.choice(["Succeeded", "Failed"]))
            else:
                cluster.api.remove(r.PODS, name, namespace="team")
        else:
            name, node = f"w{step}", chance.choice(["m1", "m2"])
            devices = chance.sample([f"gpu-{node}-0", f"gpu-{node}-1"], chance.choice([1, 2]))
            percent = {"tflops_request": "0", "compute_percent_request": "3.3"} if chance.random() < 0.3 else {}
            cluster.pod(
                name, gpu_count=str(len(devices)), **{"tflops_request": "1.5", "vram_request": "300Mi", **percent}
            )
            cluster.place(name, *devices, node=node)
            live.append(name)
        if chance.random() < 0.3:
            await cluster.clock.advance(chance.random())
    await cluster.passes(10)
    kinds = (r.GPUS, r.GPU_NODES, r.GPU_POOLS)
    found = {kind.id: [body["status"] for body in cluster.api.objects(kind)] for kind in kinds}
    await cluster.stop()
    cluster.writes()
    await cluster.start()
    await cluster.passes(10)
    assert [call for call in cluster.writes() if call.resource in found] == []
    assert {kind.id: [body["status"] for body in cluster.api.objects(kind)] for kind in kinds} == found
    held = defaultdict(int)
    for pod in cluster.api.objects(r.PODS):
        if pod["status"]["phase"] == "Running":
            for device in pod["metadata"]["annotations"][keys.GPU_IDS].split(","):
                held[device] += 300 << 20
    for gpu in cluster.api.objects(r.GPUS):
        from tensorfusion.units import to_bytes

        assert to_bytes(gpu["status"]["available"]["vram"]) == (16 << 30) - held[gpu["metadata"]["name"]]


async def test_a_dynamic_device_shows_the_mode_in_force_and_a_conflict(cluster) -> None:
    await cluster.ready_machine("m1")
    policy = {"status": {"isolationPolicy": "Dynamic"}}
    cluster.api.change(r.GPUS, "gpu-m1-0", policy, subresource="status")
    for name, mode in (("a", "hard"), ("b", "hard"), ("c", "soft")):
        cluster.pod(name, isolation=mode, tflops_request="1", vram_request="1Gi")
    cluster.place("a", "gpu-m1-0")
    cluster.place("b", "gpu-m1-0")
    await cluster.passes(2)
    status = cluster.status(r.GPUS, "gpu-m1-0")
    assert (status.get("activeIsolationMode"), status.get("dynamicIsolationConflict", False)) == ("hard", False)
    cluster.place("c", "gpu-m1-0")
    await cluster.passes(2)
    status = cluster.status(r.GPUS, "gpu-m1-0")
    assert (status.get("activeIsolationMode"), status["dynamicIsolationConflict"]) == (None, True)
    for name in "abc":
        cluster.phase(name, "Succeeded")
    await cluster.passes(2)
    status = cluster.status(r.GPUS, "gpu-m1-0")
    assert (status.get("activeIsolationMode"), status.get("dynamicIsolationConflict", False)) == (None, False)


async def test_a_device_shows_its_partitions_and_counts_their_size(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("w", isolation="partitioned", partition_id="half", tflops_request="0", vram_request="0")
    cluster.place("w", "gpu-m1-0")
    cut = Partition("half", 40_000, 8 << 30, start=4, length=4)
    notes = {"metadata": {"annotations": {keys.PARTITIONS: partitions_text(["gpu-m1-0"], [cut])}}}
    cluster.api.change(r.PODS, "w", notes, namespace="team")
    await cluster.passes(2)
    status = cluster.status(r.GPUS, "gpu-m1-0")
    ((uid, shown),) = status["allocatedPartitions"].items()
    assert (shown["podUid"], shown["podName"], shown["templateId"]) == (uid, "w", "half")
    assert (shown["allocatedSlotStart"], shown["allocatedSlotEnd"]) == (4, 8)
    assert status["available"] == {"tflops": "60", "vram": "8Gi"}
    cluster.phase("w", "Succeeded")
    await cluster.passes(2)
    assert not cluster.status(r.GPUS, "gpu-m1-0").get("allocatedPartitions")
