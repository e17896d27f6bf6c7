"""Pools: the automatic one, who gets which node, and how a pool goes."""

import pytest

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.policy.membership import AUTO_CREATED

ZONE_A = {
    "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
}


async def test_without_a_pool_one_over_all_gpu_nodes_is_made(cluster) -> None:
    made = cluster.api.object(r.GPU_POOLS, "default")
    assert made["metadata"]["annotations"] == {AUTO_CREATED: "true", keys.IS_DEFAULT_POOL: "true"}
    cluster.machine("m1")
    cluster.machine("cpu", gpus=0)
    await cluster.passes(1)
    assert (cluster.pool_of("m1"), cluster.pool_of("cpu")) == ("default", None)


async def test_no_automatic_pool_is_made_beside_a_pool_of_the_users(cluster) -> None:
    await cluster.stop()
    cluster.api.change(r.GPU_POOLS, "default", {"metadata": {"finalizers": None}})
    cluster.api.remove(r.GPU_POOLS, "default")
    cluster.pool("mine")
    await cluster.start()
    assert cluster.names(r.GPU_POOLS) == ["mine"]


async def test_a_pool_of_the_users_takes_the_nodes_and_the_automatic_one_goes_and_comes_back(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pool("mine")
    await cluster.passes(3)
    assert cluster.pool_of("m1") == "mine"
    assert cluster.names(r.GPU_POOLS) == ["mine"]
    devices = [gpu["metadata"]["labels"][keys.GPU_POOL] for gpu in cluster.api.objects(r.GPUS)]
    assert devices == ["mine", "mine"]
    await cluster.managers[0].client.delete(r.GPU_POOLS, "mine")
    await cluster.passes(4)
    assert cluster.names(r.GPU_POOLS) == ["default"]
    assert cluster.pool_of("m1") == "default"


async def test_nodes_and_devices_outlive_the_pools_that_come_and_go(cluster) -> None:
    await cluster.ready_machine("m1")
    before = cluster.api.object(r.GPU_NODES, "m1")["metadata"]["uid"]
    cluster.writes()
    for name in ("one", "two"):
        cluster.pool(name)
        await cluster.passes(2)
        await cluster.managers[0].client.delete(r.GPU_POOLS, name)
        await cluster.clock.advance(0.1)
        assert cluster.pool_of("m1") == "default", "the automatic pool is back at once"
    assert cluster.names(r.GPU_POOLS) == ["default"]
    assert cluster.api.object(r.GPU_NODES, "m1")["metadata"]["uid"] == before
    deleted = {(call.resource, call.name) for call in cluster.writes() if call.verb == "delete"}
    assert not any(resource in ("gpunodes.tensor-fusion.ai", "gpus.tensor-fusion.ai") for resource, _ in deleted)


async def test_the_automatic_pool_keeps_the_nodes_that_nobody_selects(cluster) -> None:
    cluster.machine("m1", labels={"zone": "a"})
    cluster.machine("m2", labels={"zone": "b"})
    cluster.pool("mine", nodeManagerConfig=ZONE_A)
    await cluster.passes(3)
    assert (cluster.pool_of("m1"), cluster.pool_of("m2")) == ("mine", "default")


async def test_a_node_stays_while_it_holds_live_shares_and_moves_after_the_last(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(1)
    cluster.pool("mine")
    await cluster.passes(5)
    assert cluster.pool_of("m1") == "default"
    assert cluster.api.object(r.GPUS, "gpu-m1-1")["metadata"]["labels"][keys.GPU_POOL] == "default"
    cluster.phase("w", "Succeeded")
    await cluster.passes(3)
    assert cluster.pool_of("m1") == "mine"
    assert cluster.names(r.GPU_POOLS) == ["mine"]


async def test_deleting_a_pool_waits_for_its_live_shares(cluster) -> None:
    cluster.pool("mine")
    await cluster.ready_machine("m1")
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(1)
    await cluster.managers[0].client.delete(r.GPU_POOLS, "mine")
    await cluster.passes(5)
    assert cluster.status(r.GPU_POOLS, "mine")["phase"] == "Destroying"
    assert cluster.pool_of("m1") == "mine"
    cluster.api.remove(r.PODS, "w", namespace="team")
    await cluster.passes(5)
    assert cluster.names(r.GPU_POOLS) == ["default"]
    assert cluster.pool_of("m1") == "default"


async def test_a_changed_selector_moves_nodes(cluster) -> None:
    cluster.pool("mine", nodeManagerConfig=ZONE_A)
    cluster.machine("m1", labels={"zone": "b"})
    await cluster.passes(2)
    assert cluster.pool_of("m1") == "default"
    cluster.api.change(r.NODES, "m1", {"metadata": {"labels": {"zone": "a"}}})
    await cluster.passes(1)
    assert cluster.pool_of("m1") == "mine"
    cluster.api.change(r.NODES, "m1", {"metadata": {"labels": {"zone": "c"}}})
    await cluster.passes(1)
    assert cluster.find(r.GPU_NODES, "m1") is None


async def test_a_cordoned_node_neither_joins_nor_leaves(cluster) -> None:
    cluster.machine("m1")
    await cluster.passes(1)
    for name in ("m1", "m2"):
        if name == "m2":
            cluster.machine("m2")
        cluster.api.change(r.NODES, name, {"spec": {"unschedulable": True}})
    cluster.pool("mine")
    await cluster.passes(2)
    assert cluster.pool_of("m1") == "default"
    cluster.api.change(r.NODES, "m1", {"spec": {"unschedulable": False}})
    await cluster.passes(2)
    assert cluster.pool_of("m1") == "mine"


@pytest.mark.parametrize(
    ("minimum", "phase"), [(None, "Running"), ({"tflops": "0", "vram": "0"}, "Running"), ({"tflops": "1"}, "Updating")]
)
async def test_an_empty_pool_runs_unless_it_wants_a_minimum(cluster, minimum, phase: str) -> None:
    cluster.pool("mine", capacityConfig={"minResources": minimum})
    await cluster.passes(3)
    assert cluster.status(r.GPU_POOLS, "mine")["phase"] == phase
    assert keys.FINALIZER in cluster.api.object(r.GPU_POOLS, "mine")["metadata"]["finalizers"]


async def test_a_pools_status_is_the_sum_of_its_nodes(cluster) -> None:
    oversubscription = {"vramExpandToHostMem": 50, "vramExpandToHostDisk": 70, "tflopsOversellRatio": 500}
    cluster.pool("mine", capacityConfig={"oversubscription": oversubscription})
    await cluster.ready_machine("m1")
    await cluster.ready_machine("m2")
    cluster.pod("w", gpu_count="2", tflops_request="30", tflops_limit="60", vram_request="4Gi", vram_limit="8Gi")
    cluster.place("w", "gpu-m1-0", "gpu-m1-1")
    await cluster.passes(4)
    expected = {
        "phase": "Running",
        "totalNodes": 2,
        "readyNodes": 2,
        "notReadyNodes": 0,
        "totalGPUs": 4,
        "totalTFlops": "400",
        "totalVRAM": "64Gi",
        "availableTFlops": "340",
        "availableVRAM": "56Gi",
        "virtualTFlops": "2000",
        "virtualVRAM": "268Gi",
        "virtualAvailableTFlops": "1880",
        "virtualAvailableVRAM": "252Gi",
        "runningAppsCnt": 1,
    }
    status = cluster.status(r.GPU_POOLS, "mine")
    assert {key: status.get(key) for key in expected} == {**expected, "notReadyNodes": status.get("notReadyNodes")}
    assert not status.get("notReadyNodes")


async def test_other_ratios_change_the_virtual_capacity(cluster) -> None:
    cluster.pool("mine")
    await cluster.ready_machine("m1")
    assert cluster.status(r.GPU_NODES, "m1")["virtualTFlops"] == "200"
    change = {"spec": {"capacityConfig": {"oversubscription": {"tflopsOversellRatio": 300}}}}
    cluster.api.change(r.GPU_POOLS, "mine", change)
    await cluster.passes(3)
    assert cluster.status(r.GPU_NODES, "m1")["virtualTFlops"] == "600"
    assert cluster.status(r.GPU_POOLS, "mine")["virtualTFlops"] == "600"


async def test_lower_ratios_take_nothing_from_shares_whose_limits_no_longer_fit(cluster) -> None:
    cluster.pool("mine", capacityConfig={"oversubscription": {"tflopsOversellRatio": 500}})
    await cluster.ready_machine("m1")
    cluster.pod("w", tflops_request="30", tflops_limit="400", vram_request="4Gi", vram_limit="80Gi")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(3)
    assert cluster.status(r.GPU_NODES, "m1")["virtualAvailableTFlops"] == "600"
    lower = {"tflopsOversellRatio": 100, "vramExpandToHostMem": 0, "vramExpandToHostDisk": 0}
    cluster.api.change(r.GPU_POOLS, "mine", {"spec": {"capacityConfig": {"oversubscription": lower}}})
    await cluster.passes(3)
    status = cluster.status(r.GPU_POOLS, "mine")
    assert (status["virtualTFlops"], status["virtualAvailableTFlops"]) == ("200", "-200")
    assert (status["virtualVRAM"], status["virtualAvailableVRAM"]) == ("32Gi", "-48Gi")
    assert (status["availableTFlops"], status["availableVRAM"], status["runningAppsCnt"]) == ("170", "28Gi", 1)


async def test_vram_expands_onto_the_disk_that_the_node_has_now(cluster) -> None:
    cluster.pool("mine", capacityConfig={"oversubscription": {"vramExpandToHostMem": 0, "vramExpandToHostDisk": 100}})
    await cluster.ready_machine("m1")
    assert cluster.status(r.GPU_NODES, "m1")["virtualVRAM"] == "132Gi"
    larger = {"status": {"capacity": {"ephemeral-storage": "200Gi"}}}
    cluster.api.change(r.NODES, "m1", larger, subresource="status")
    await cluster.passes(3)
    status = cluster.status(r.GPU_NODES, "m1")
    assert (status["virtualVRAM"], status["nodeInfo"]["dataDiskSize"]) == ("232Gi", "200Gi")


async def test_an_unready_node_makes_its_pool_updating(cluster) -> None:
    await cluster.ready_machine("m1")
    assert cluster.status(r.GPU_POOLS, "default")["phase"] == "Running"
    conditions = [{"type": "Ready", "status": "Unknown"}]
    cluster.api.change(r.NODES, "m1", {"status": {"conditions": conditions}}, subresource="status")
    await cluster.passes(3)
    assert cluster.status(r.GPU_NODES, "m1")["phase"] == "Pending"
    assert cluster.status(r.GPU_POOLS, "default")["phase"] == "Updating"
