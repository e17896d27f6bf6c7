"""TensorFusionCluster: its pools are made, followed and deleted, and its status is their sum."""

from typing import Any

from tensorfusion.model import keys
from tensorfusion.model import resources as r

CLUSTER = r.TENSOR_FUSION_CLUSTERS
A = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
B = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]}


def entry(name: str, selector: Any = None, **parts: Any) -> dict[str, Any]:
    spec = {"nodeManagerConfig": {"nodeSelector": selector}} if selector is not None else {}
    return {"name": name, "specTemplate": {**spec, **parts.pop("spec", {})}, **parts}


async def make(cluster: Any, *pools: dict[str, Any], name: str = "eu", **spec: Any) -> None:
    cluster.api.seed(CLUSTER, {"metadata": {"name": name}, "spec": {"gpuPools": list(pools), **spec}})
    await cluster.passes(3)


def condition(cluster: Any, type_: str, name: str = "eu") -> tuple[str, str]:
    found = cluster.status(CLUSTER, name)["conditions"]
    return next((one["status"], one["reason"]) for one in found if one["type"] == type_)


def message(cluster: Any, type_: str, name: str = "eu") -> str:
    return next(str(one["message"]) for one in cluster.status(CLUSTER, name)["conditions"] if one["type"] == type_)


async def test_every_entry_becomes_a_pool_of_the_cluster(cluster) -> None:
    await make(cluster, entry("shared", A, isDefault=True), entry("other", B))
    pool = cluster.api.object(r.GPU_POOLS, "eu-shared")
    assert pool["metadata"]["labels"] == {keys.MANAGED_BY: "eu"}
    assert pool["metadata"]["annotations"][keys.IS_DEFAULT_POOL] == "true"
    assert pool["metadata"]["ownerReferences"][0]["kind"] == "TensorFusionCluster"
    assert pool["spec"]["nodeManagerConfig"]["nodeSelector"] == A
    assert pool["status"]["cluster"] == "eu"
    other = cluster.api.object(r.GPU_POOLS, "eu-other")
    assert other["metadata"]["annotations"][keys.IS_DEFAULT_POOL] == "false"


async def test_its_status_sums_the_pools(cluster) -> None:
    cluster.machine("m1", labels={"zone": "a"})
    cluster.machine("m2", labels={"zone": "b"})
    await make(cluster, entry("shared", A), entry("other", B))
    for node in ("m1", "m2"):
        cluster.publish(node)
    await cluster.passes(8)
    status = cluster.status(CLUSTER, "eu")
    assert status["phase"] == "Running"
    assert (status["totalPools"], status["totalNodes"], status["totalGPUs"]) == (2, 2, 4)
    assert (status["totalTFlops"], status["totalVRAM"], status["availableVRAM"]) == ("400", "64Gi", "64Gi")
    assert status["readyGPUPools"] == ["eu-other", "eu-shared"]
    assert status["allocatedTFlopsPercent"] == "0.00"
    assert condition(cluster, "Ready") == ("True", "CheckPassed")
    assert condition(cluster, "GPUPoolReady") == ("True", "CheckPassed")
    cluster.pod("w", gpupool="eu-shared", tflops_request="50", vram_request="8Gi")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(8)
    assert cluster.status(CLUSTER, "eu")["allocatedTFlopsPercent"] == "12.50"


async def test_nothing_is_called_checked_that_was_not(cluster) -> None:
    await make(cluster, entry("shared"))
    assert condition(cluster, "TimeSeriesDatabaseReady") == ("Unknown", "NotServedYet")


async def test_a_changed_entry_changes_its_pool_and_a_removed_one_deletes_it(cluster) -> None:
    await make(cluster, entry("shared", A), entry("other", B))
    changed = entry("shared", B, isDefault=True, spec={"schedulingConfigTemplate": "spread"})
    cluster.api.change(CLUSTER, "eu", {"spec": {"gpuPools": [changed]}})
    await cluster.passes(3)
    pool = cluster.api.object(r.GPU_POOLS, "eu-shared")
    assert pool["spec"]["schedulingConfigTemplate"] == "spread"
    assert pool["metadata"]["annotations"][keys.IS_DEFAULT_POOL] == "true"
    assert cluster.find(r.GPU_POOLS, "eu-other") is None
    assert cluster.status(CLUSTER, "eu")["totalPools"] == 1


async def test_a_pool_that_drifts_is_set_right(cluster) -> None:
    await make(cluster, entry("shared", A))
    cluster.api.change(r.GPU_POOLS, "eu-shared", {"spec": {"nodeManagerConfig": {"nodeSelector": B}}})
    await cluster.passes(3)
    assert cluster.api.object(r.GPU_POOLS, "eu-shared")["spec"]["nodeManagerConfig"]["nodeSelector"] == A


async def test_a_pool_of_somebody_else_is_left_alone_and_reported(cluster) -> None:
    cluster.pool("eu-shared", schedulingConfigTemplate="mine")
    await make(cluster, entry("shared", A))
    assert cluster.api.object(r.GPU_POOLS, "eu-shared")["spec"]["schedulingConfigTemplate"] == "mine"
    assert condition(cluster, "GPUPoolReady") == ("False", "NameTaken")
    assert cluster.status(CLUSTER, "eu")["notReadyGPUPools"] == ["eu-shared"]
    await cluster.managers[0].client.delete(r.GPU_POOLS, "eu-shared")
    await cluster.passes(12)
    assert condition(cluster, "GPUPoolReady") == ("True", "CheckPassed")


async def test_a_cluster_goes_after_its_pools_and_they_after_their_shares(cluster) -> None:
    cluster.machine("m1")
    await make(cluster, entry("shared"))
    cluster.publish("m1")
    cluster.pod("w", gpupool="eu-shared")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(4)
    await cluster.managers[0].client.delete(CLUSTER, "eu")
    await cluster.passes(4)
    assert cluster.status(CLUSTER, "eu")["phase"] == "Destroying"
    cluster.phase("w", "Succeeded")
    await cluster.passes(6)
    assert cluster.find(CLUSTER, "eu") is None
    assert cluster.names(r.GPU_POOLS) == ["default"]


async def test_a_provider_that_cannot_be_used_is_an_error_of_the_cluster(cluster) -> None:
    vendor = {"type": "aws", "authType": "serviceAccountRole", "params": {"iamRole": "arn"}}
    await make(cluster, entry("shared"), computingVendor=vendor)
    assert cluster.status(CLUSTER, "eu")["phase"] == "Unknown"
    assert condition(cluster, "CloudVendorConnectionReady") == ("False", "CloudVendorConnectionFailed")
    assert "unsupported cloud provider aws" in message(cluster, "Ready")
    assert cluster.names(r.GPU_POOLS) == ["eu-shared"], "the pools work without it"
    cluster.api.change(CLUSTER, "eu", {"spec": {"computingVendor": {"enable": False}}})
    await cluster.passes(4)
    assert condition(cluster, "Ready") == ("True", "CheckPassed")
    types = [one["type"] for one in cluster.status(CLUSTER, "eu")["conditions"]]
    assert "CloudVendorConnectionReady" not in types


async def test_a_provider_without_what_it_needs_is_named(cluster) -> None:
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"type": "aws", "authType": "serviceAccountRole"}, {}, "spec.computingVendor.params.iamRole: wanted a role"),
        ({"type": "aws", "authType": "accessKey"}, {}, "spec.computingVendor.params.accessKeyPath: wanted a file"),
        ({}, {}, "spec.computingVendor.type: wanted a provider, found none"),
        ({"type": "aws"}, {"provisioningMode": "Karpenter"}, "wanted karpenter, because pool p has provisioningMode"),
    ]
    for number, (vendor, manager, said) in enumerate(cases):
        pool = entry("p", spec={"nodeManagerConfig": manager} if manager else {})
        await make(cluster, pool, name=f"c{number}", computingVendor=vendor)
        assert said in message(cluster, "Ready", f"c{number}")


async def test_a_quiet_cluster_writes_nothing(cluster) -> None:
    cluster.machine("m1")
    await make(cluster, entry("shared"))
    cluster.publish("m1")
    await cluster.passes(10)
    cluster.writes()
    await cluster.passes(60)
    assert cluster.writes() == []


async def test_a_cluster_that_goes_before_it_is_held_leaves_no_pool_behind(cluster) -> None:
    """Its name may be used again: a pool of the cluster before would be somebody else's."""
    hold = cluster.api.hold("patch")
    cluster.api.seed(CLUSTER, {"metadata": {"name": "eu"}, "spec": {"gpuPools": [entry("shared")]}})
    await cluster.passes(1)
    cluster.api.remove(CLUSTER, "eu")
    hold.set()
    await cluster.passes(3)
    assert cluster.names(r.GPU_POOLS) == ["default"]
