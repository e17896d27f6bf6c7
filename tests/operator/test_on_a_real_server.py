"""The operator's objects and statuses on a real kube-apiserver: every write is accepted by the generated schemas.

Skipped where ``make kube-assets`` has not been run: the control plane is found through KUBEBUILDER_ASSETS.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.errors import ApiError, NotFound
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.crd import all_crds
from tensorfusion.operator.install import install
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.control_plane import control_plane

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kube-apiserver").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]
PRESENT = {"nvidia.com/gpu.present": "true"}


async def eventually(look: Callable[[], Any], until: Callable[[Any], bool]) -> Any:
    """What ``look`` gives once it is as wanted."""
    found = None
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    found = await look()
                    if until(found):
                        return found
                except (NotFound, KeyError):
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"still not as wanted: {found}") from None


def gpu_object(pool: str) -> dict[str, Any]:
    labels = {keys.MANAGED_BY: "m1", keys.GPU_POOL: pool}
    return {"apiVersion": r.GPUS.api_version, "kind": "GPU", "metadata": {"name": "gpu-1", "labels": labels}}


GPU_STATUS = {
    "phase": "Running",
    "vendor": "NVIDIA",
    "gpuModel": "NVIDIA L4",
    "uuid": "GPU-1",
    "capacity": {"tflops": "121", "vram": "24Gi"},
    "available": {"tflops": "121", "vram": "24Gi"},
    "nodeSelector": {keys.HOSTNAME_LABEL: "m1"},
    "message": "managed",
}


def pod_object() -> dict[str, Any]:
    amounts = {keys.TFLOPS_REQUEST: "20.5", keys.VRAM_REQUEST: "1Gi", keys.GPU_POOL: "default", keys.QOS: "high"}
    return {
        "metadata": {
            "name": "w",
            "labels": {keys.COMPONENT: "worker", keys.WORKLOAD: "w", keys.POD_TEMPLATE_HASH: "abc"},
            "annotations": amounts,
        },
        "spec": {"schedulerName": keys.SCHEDULER_NAME, "containers": [{"name": "main", "image": "app"}]},
    }


async def test_every_object_and_status_of_the_operator_is_accepted(tmp_path: Path) -> None:
    with control_plane(ASSETS, tmp_path) as plane:
        async with Client(load_kubeconfig(plane.kubeconfig)) as client:
            for crd in all_crds():
                await client.create(r.CUSTOM_RESOURCE_DEFINITIONS, crd)
            for resource in (r.GPU_POOLS, r.GPU_RESOURCE_QUOTAS, r.TENSOR_FUSION_WORKLOADS):
                await eventually(lambda found=resource: served(client, found), until=bool)
            manager = Manager(client, clock=SystemClock())
            install(manager, is_leader=lambda: True)
            running = asyncio.ensure_future(manager.run())
            try:
                await live(client)
            finally:
                manager.stop()
                await running


async def served(client: Client, resource: r.Resource) -> bool:
    try:
        await client.list(resource, dict)
    except ApiError:
        return False
    return True


async def live(client: Client) -> None:
    """A node, a device, a pod with a share, a quota: every status, and the way back."""
    quota = {"total": {"requests": {"tflops": "100"}, "maxWorkers": 4}}
    body = {"apiVersion": r.GPU_RESOURCE_QUOTAS.api_version, "kind": "GPUResourceQuota", "metadata": {"name": "q"}}
    await client.create(r.GPU_RESOURCE_QUOTAS, {**body, "spec": quota}, namespace="default")
    await client.create(r.NODES, {"metadata": {"name": "m1", "labels": PRESENT}})
    status = {"capacity": {"memory": "64Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}
    await client.patch(r.NODES, "m1", {"status": status}, subresource="status")
    await eventually(lambda: client.get(r.GPU_NODES, dict, "m1"), until=bool)
    await client.create(r.GPUS, gpu_object("default"))
    await client.patch(r.GPUS, "gpu-1", {"status": GPU_STATUS}, subresource="status")
    await eventually(
        lambda: client.get(r.GPU_POOLS, dict, "default"),
        until=lambda found: found["status"]["phase"] == "Running" and found["status"]["totalTFlops"] == "121",
    )
    made = await client.create(r.PODS, pod_object(), namespace="default")
    grant = {keys.GPU_IDS: "gpu-1"}
    await client.bind("default", "w", uid=made["metadata"]["uid"], node="m1", annotations=grant)
    gpu = await eventually(
        lambda: client.get(r.GPUS, dict, "gpu-1"),
        until=lambda found: found["status"]["available"]["tflops"] == "100500m",
    )
    assert gpu["status"]["runningApps"][0]["pods"][0]["requests"] == {"tflops": "20500m", "vram": "1Gi"}
    await eventually(
        lambda: client.get(r.GPU_NODES, dict, "m1"),
        until=lambda found: found["status"]["allocatedPods"]["gpu-1"][0]["name"] == "w",
    )
    await eventually(
        lambda: client.get(r.GPU_RESOURCE_QUOTAS, dict, "q", namespace="default"),
        until=lambda found: found["status"]["availablePercent"]["requests.tflops"] == "79.50",
    )
    await eventually(
        lambda: client.get(r.TENSOR_FUSION_WORKLOADS, dict, "w", namespace="default"),
        until=lambda found: found["status"]["workerCount"] == 1 and found["status"]["conditions"],
    )
    await client.delete(r.PODS, "w", namespace="default", grace_seconds=0)
    gpu = await eventually(
        lambda: client.get(r.GPUS, dict, "gpu-1"), until=lambda found: found["status"]["available"]["tflops"] == "121"
    )
    assert not gpu["status"].get("runningApps")
    mine = {"apiVersion": r.GPU_POOLS.api_version, "kind": "GPUPool", "metadata": {"name": "mine"}, "spec": {}}
    await client.create(r.GPU_POOLS, mine)
    await eventually(
        lambda: client.get(r.GPUS, dict, "gpu-1"),
        until=lambda found: found["metadata"]["labels"][keys.GPU_POOL] == "mine",
    )
    await eventually(lambda: client.list(r.GPU_POOLS, dict), until=lambda found: len(found.items) == 1)
