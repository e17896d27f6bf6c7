"""What a tenant must not be able to do: touch the truth of placements, other namespaces, quotas or pools."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from cluster import Cluster, await_rights
from tensorfusion.errors import ApiError, Forbidden
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model.resources import (
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    PODS,
    ROLE_BINDINGS,
    SERVICE_ACCOUNTS,
)
from test_road import gpu_pod, running

Tenant = Callable[[Callable[[Client], Awaitable[Any]]], Any]


@pytest.fixture
def tenant(cluster: Cluster, namespace: str) -> Tenant:
    """A service account that may edit its own namespace, as an admin would hand it out."""

    async def prepare(client: Client) -> str:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tenant"}}
        await client.create(SERVICE_ACCOUNTS, account, namespace=namespace)
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "tenant"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": namespace}],
        }
        await client.create(ROLE_BINDINGS, binding, namespace=namespace)
        return await client.token_request(namespace, "tenant", seconds=3600)

    token = cluster.run(prepare)
    admin = load_kubeconfig(cluster.kubeconfig)
    connection = replace(admin, token=token, client_cert=None, client_key=None)
    await_rights(connection, (PODS, namespace))

    def run(work: Callable[[Client], Awaitable[Any]]) -> Any:
        import asyncio

        async def session() -> Any:
            async with Client(connection) as client:
                return await work(client)

        return asyncio.run(session())

    return run


def refused(tenant: Tenant, work: Callable[[Client], Awaitable[Any]]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        tenant(work)
    assert 400 <= caught.value.status_code < 500
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_tenant_may_run_and_delete_a_pod_of_its_own(cluster: Cluster, namespace: str, tenant: Tenant) -> None:
    body = gpu_pod("mine", tflops_request="10", vram_request="1Gi")
    tenant(lambda client: client.create(PODS, body, namespace=namespace))
    running(cluster, namespace, "mine")
    tenant(lambda client: client.delete(PODS, "mine", namespace=namespace))


@pytest.mark.parametrize("key", [keys.GPU_IDS, keys.CONTAINER_GPUS, keys.SCHEDULER_EPOCH])
def test_system_written_keys_cannot_be_set_on_create(namespace: str, tenant: Tenant, key: str) -> None:
    body = gpu_pod("forged", tflops_request="10", vram_request="1Gi")
    body["metadata"]["annotations"][key] = "gpu-stolen"
    error = refused(tenant, lambda client: client.create(PODS, body, namespace=namespace))
    assert key in str(error)


@pytest.mark.parametrize(
    "annotations",
    [
        {keys.GPU_IDS: "gpu-stolen"},
        {keys.GPU_IDS: None},
        {keys.GPU_COUNT: "8"},
        {keys.QOS: "critical"},
        {keys.ISOLATION: "shared"},
        {keys.RESIZE: '{"gpu-count": "8"}'},
    ],
)
def test_the_truth_of_a_bound_pod_cannot_be_changed(
    cluster: Cluster, namespace: str, tenant: Tenant, annotations: dict[str, str | None]
) -> None:
    body = gpu_pod("bound", tflops_request="10", vram_request="1Gi")
    tenant(lambda client: client.create(PODS, body, namespace=namespace))
    before = running(cluster, namespace, "bound")["metadata"]["annotations"]
    patch = {"metadata": {"annotations": annotations}}
    error = refused(tenant, lambda client: client.patch(PODS, "bound", patch, namespace=namespace))
    assert next(iter(annotations)) in str(error)
    assert running(cluster, namespace, "bound")["metadata"]["annotations"] == before


def test_a_tenant_may_still_annotate_its_pod_with_anything_else(
    cluster: Cluster, namespace: str, tenant: Tenant
) -> None:
    body = gpu_pod("noted", tflops_request="10", vram_request="1Gi")
    tenant(lambda client: client.create(PODS, body, namespace=namespace))
    running(cluster, namespace, "noted")
    patch = {"metadata": {"annotations": {"example.com/note": "mine"}}}
    tenant(lambda client: client.patch(PODS, "noted", patch, namespace=namespace))


def test_a_tenant_cannot_bind_a_pod_by_hand(namespace: str, tenant: Tenant) -> None:
    body = gpu_pod("self-bound", tflops_request="10000", vram_request="1Gi")
    made = tenant(lambda client: client.create(PODS, body, namespace=namespace))
    uid = made["metadata"]["uid"]
    annotations = {keys.GPU_IDS: "gpu-stolen"}
    refused(
        tenant,
        lambda client: client.bind(namespace, "self-bound", uid=uid, node="a100-0", annotations=annotations),
    )


def test_a_tenant_cannot_see_or_touch_other_namespaces_quotas_or_pools(namespace: str, tenant: Tenant) -> None:
    quota = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "GPUResourceQuota",
        "metadata": {"name": "mine"},
        "spec": {"total": {"requests": {"tflops": "100000"}}},
    }
    for work in (
        lambda client: client.list(PODS, dict, namespace="kube-system"),
        lambda client: client.create(PODS, gpu_pod("x", tflops_request="1", vram_request="1Gi"), namespace="default"),
        lambda client: client.create(GPU_RESOURCE_QUOTAS, quota, namespace=namespace),
        lambda client: client.patch(GPU_POOLS, "default", {"spec": {"schedulingConfigTemplate": "x"}}),
        lambda client: client.delete(GPU_POOLS, "default"),
    ):
        assert isinstance(refused(tenant, work), Forbidden)
