"""Clusters, connections, ProviderConfigs and the kinds that are not served yet, on the embedded and a real server."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.cli.apply import apply_one
from tensorfusion.errors import Invalid
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.crd import KINDS
from tensorfusion.policy.not_served import NOT_SERVED

SPECS: dict[str, dict[str, Any]] = {
    "GPUNodeClaim": {"tflopsOffered": "312", "vramOffered": "80Gi", "gpuDeviceOffered": 1},
    "GPUNodeClass": {"osImageType": "Public"},
    "WorkloadIntelligence": {"confidenceThreshold": "0.8"},
    "AzureGPUSource": {
        "sourceType": "foundry",
        "foundryEndpoint": "https://f.example",
        "subscriptionID": "s",
        "region": "eastus",
    },
}


def body(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "tensor-fusion.ai/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("kind", sorted(NOT_SERVED))
def test_a_kind_that_is_not_served_says_so(cluster: Cluster, namespace: str, kind: str) -> None:
    resource = KINDS[kind].resource
    where = namespace if resource.namespaced else ""
    name = f"x-{uuid.uuid4().hex[:8]}"
    cluster.run(lambda client: client.create(resource, body(kind, name, SPECS[kind]), namespace=where))

    def conditions() -> list[dict[str, Any]]:
        found = cluster.run(lambda client: client.get(resource, dict, name, namespace=where))
        return list(found.get("status", {}).get("conditions", []))

    (said,) = eventually(conditions)
    assert (said["type"], said["status"], said["reason"]) == (NOT_SERVED[kind].condition, "False", "NotServedYet")
    cluster.run(lambda client: client.delete(resource, name, namespace=where))


def test_a_cluster_makes_its_pools_and_goes_with_them(cluster: Cluster) -> None:
    name = f"c-{uuid.uuid4().hex[:6]}"
    nobody = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "no-such", "operator": "Exists"}]}]}
    pool = {"name": "empty", "specTemplate": {"nodeManagerConfig": {"nodeSelector": nobody}}}
    cluster.run(
        lambda client: client.create(r.TENSOR_FUSION_CLUSTERS, body("TensorFusionCluster", name, {"gpuPools": [pool]}))
    )

    def phase() -> str:
        found = cluster.run(lambda client: client.get(r.TENSOR_FUSION_CLUSTERS, dict, name))
        return str(found.get("status", {}).get("phase"))

    eventually(phase, until=lambda found: found == "Running")
    made = cluster.run(lambda client: client.get(r.GPU_POOLS, dict, f"{name}-empty"))
    assert made["metadata"]["labels"][keys.MANAGED_BY] == name
    cluster.run(lambda client: client.delete(r.TENSOR_FUSION_CLUSTERS, name))

    def left() -> list[str]:
        kinds = (r.TENSOR_FUSION_CLUSTERS, r.GPU_POOLS)
        items = [one for kind in kinds for one in cluster.run(lambda client, kind=kind: client.list(kind, dict)).items]
        return [one["metadata"]["name"] for one in items if one["metadata"]["name"].startswith(name)]

    eventually(left, until=lambda found: not found)


def test_a_pools_name_has_to_fit_together_with_its_clusters(cluster: Cluster) -> None:
    pools = [{"name": "p" * 33, "specTemplate": {}}]
    with pytest.raises(Invalid, match="at most 63 characters together"):
        cluster.run(
            lambda client: client.create(
                r.TENSOR_FUSION_CLUSTERS, body("TensorFusionCluster", "c" * 30, {"gpuPools": pools})
            )
        )


def test_a_connection_says_why_it_waits(cluster: Cluster, namespace: str) -> None:
    spec = {"workloadName": "nobody", "clientPod": "me"}
    cluster.run(
        lambda client: client.create(
            r.TENSOR_FUSION_CONNECTIONS, body("TensorFusionConnection", "c", spec), namespace=namespace
        )
    )

    def status() -> dict[str, Any]:
        found = cluster.run(lambda client: client.get(r.TENSOR_FUSION_CONNECTIONS, dict, "c", namespace=namespace))
        return dict(found.get("status", {}))

    found = eventually(status)
    assert (found["phase"], found["conditions"][0]["reason"]) == ("Pending", "WorkloadNotFound")


def test_the_vendors_provider_configs_are_installed(cluster: Cluster) -> None:
    configs = cluster.run(lambda client: client.list(r.PROVIDER_CONFIGS, dict)).items
    vendors = {one["metadata"]["name"]: one["spec"]["vendor"] for one in configs}
    assert vendors == {
        "nvidia-provider": "NVIDIA",
        "ascend-provider": "Ascend",
        "ppu-provider": "PPU",
        "moorethreads-provider": "MooreThreads",
    }


UNKNOWN = {
    "our own kind": ("GPUPool", "spec: {capacityConfg: {}}", "spec.capacityConfg: wanted capacityConfig"),
    "a built-in kind": ("Deployment", "spec: {replica: 2}", "did you mean spec.replicas?"),
    "a list of a built-in kind": (
        "Deployment",
        "spec: {template: {spec: {containers: [{nam: a}]}}}",
        "did you mean spec.template.spec.containers[0].name?",
    ),
}


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_apply_names_the_nearest_field(cluster: Cluster, namespace: str, name: str, tmp_path: Path) -> None:
    kind, spec, said = UNKNOWN[name]
    version = "apps/v1" if kind == "Deployment" else "tensor-fusion.ai/v1"
    file = tmp_path / "wrong.yaml"
    file.write_text(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: wrong}}\n{spec}\n")
    done = cluster.program("apply", "-f", str(file), "-n", namespace, check=False)
    assert done.returncode == 1
    assert said in done.stderr


class Overtaken(Client):
    """A user whose every reading of an object is followed by a controller's write of its status."""

    async def get(self, resource: r.Resource, type_: Any, name: str, *, namespace: str = "") -> Any:
        found = await super().get(resource, type_, name, namespace=namespace)
        said = {"type": "Overtaken", "status": "True", "reason": "Test", "message": uuid.uuid4().hex}
        when = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"status": {"conditions": [{**said, **when}]}}
        await super().patch(resource, name, status, namespace=namespace, subresource="status")
        return found


def test_apply_tells_its_own_changes_from_those_of_controllers(cluster: Cluster) -> None:
    document = body("AzureGPUSource", f"o-{uuid.uuid4().hex[:6]}", SPECS["AzureGPUSource"])
    name = f"azuregpusources.tensor-fusion.ai/{document['metadata']['name']}"
    elsewhere = body("AzureGPUSource", document["metadata"]["name"], {"region": "westus"})
    labelled = {**document, "metadata": {**document["metadata"], "labels": {"team": "a"}}}

    async def apply_each() -> list[str]:
        async with Overtaken(load_kubeconfig(cluster.kubeconfig)) as client:
            documents = (document, document, elsewhere, elsewhere, labelled, labelled)
            return [str(await apply_one(client, one, namespace="")) for one in documents]

    words = ["created", "unchanged", "configured", "unchanged", "configured", "unchanged"]
    assert asyncio.run(apply_each()) == [f"{name} {word}" for word in words]
    cluster.run(lambda client: client.delete(r.AZURE_GPU_SOURCES, document["metadata"]["name"]))


def test_apply_says_what_it_rewrote_and_ignores_the_namespace_of_a_cluster_scoped_kind(
    cluster: Cluster, tmp_path: Path
) -> None:
    name = f"s-{uuid.uuid4().hex[:6]}"
    file = tmp_path / "source.yaml"
    file.write_text(
        f"apiVersion: tensor-fusion.ai/v1\nkind: AzureGPUSource\nmetadata: {{name: {name}, namespace: elsewhere}}\n"
        "spec: {subscriptionId: s, location: eastus, vmSize: big, resourceGroup: g, targetGPUPool: p, maxInstances: 2}\n"
    )
    done = cluster.program("apply", "-f", str(file))
    assert f"{file}: AzureGPUSource {name}: spec.location: eastus -> spec.region: eastus" in done.stderr
    assert "metadata.namespace: elsewhere is ignored: AzureGPUSource is cluster-scoped" in done.stderr
    found = cluster.run(lambda client: client.get(r.AZURE_GPU_SOURCES, dict, name))
    assert (found["spec"]["sourceType"], found["spec"]["vm"]["vmSizes"]) == ("vm", ["big"])
    assert cluster.program("apply", "-f", str(file)).stdout == f"azuregpusources.tensor-fusion.ai/{name} unchanged\n"
    cluster.run(lambda client: client.delete(r.AZURE_GPU_SOURCES, name))


def test_connections_are_spread_over_a_workloads_workers(cluster: Cluster, namespace: str) -> None:
    amounts = {"tflops": "1", "vram": "1Gi"}
    spec = {"replicas": 2, "resources": {"requests": amounts, "limits": amounts}}
    cluster.run(
        lambda client: client.create(
            r.TENSOR_FUSION_WORKLOADS, body("TensorFusionWorkload", "llm", spec), namespace=namespace
        )
    )
    for name in ("a", "b"):
        wanted = {"workloadName": "llm", "clientPod": name}
        cluster.run(
            lambda client, name=name, wanted=wanted: client.create(
                r.TENSOR_FUSION_CONNECTIONS, body("TensorFusionConnection", name, wanted), namespace=namespace
            )
        )

    def found() -> list[dict[str, Any]]:
        listed = cluster.run(lambda client: client.list(r.TENSOR_FUSION_CONNECTIONS, dict, namespace=namespace))
        return [one.get("status", {}) for one in listed.items]

    ready = eventually(found, until=lambda seen: all(one.get("phase") == "Running" for one in seen))
    assert all(one["connectionURL"].startswith("native+") for one in ready)
    pods = cluster.run(lambda client: client.list(r.PODS, dict, namespace=namespace)).items
    assert {one["workerName"] for one in ready} <= {pod["metadata"]["name"] for pod in pods}
