"""The workload controllers on a real kube-apiserver, in the place of kube-controller-manager, judged by kubectl.

Skipped where ``make kube-assets`` has not been run: the control plane is found through KUBEBUILDER_ASSETS.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock, timestamp
from tensorfusion.embedded.controllers.deployment import DeploymentController
from tensorfusion.embedded.controllers.replicaset import ReplicaSetController
from tensorfusion.errors import ApiError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import NODES, PODS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.control_plane import ControlPlane, control_plane

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kubectl").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: v1}]}
"""


class Kubelet:
    """Binds every pod to one node, makes it ready, and lets it go."""

    def __init__(self, client: Client, manager: Manager) -> None:
        self._client = client
        self._pods = manager.informer(PODS, Pod)
        controller = Controller("kubelet", self, clock=SystemClock(), workers=4)
        self._pods.subscribe(lambda change: controller.queue.add(change.key))
        manager.add_controller(controller)

    async def reconcile(self, key: Key) -> Result:
        pod = self._pods.cache.get(key)
        if pod is None:
            return DONE
        if pod.metadata.deleting:
            await self._client.delete(PODS, key.name, namespace=key.namespace, uid=pod.metadata.uid, grace_seconds=0)
        elif not pod.spec.node_name:
            await self._client.bind(key.namespace, key.name, uid=pod.metadata.uid, node="n1", annotations={})
        elif pod.status.phase != "Running":
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(SystemClock().now())}
            patch = {"status": {"phase": "Running", "conditions": [ready]}}
            await self._client.patch(PODS, key.name, patch, namespace=key.namespace, subresource="status")
        return DONE


class Kubectl:
    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            ASSETS / "kubectl",
            "--kubeconfig",
            self._plane.kubeconfig,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(self._plane.folder)},
        )
        async with asyncio.timeout(40):
            out, error = await process.communicate(stdin.encode())
        assert process.returncode == 0, f"kubectl {' '.join(arguments)}: {error.decode()}{out.decode()}"
        return out.decode()

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self(*arguments, "-o", "json"))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(ASSETS, tmp_path_factory.mktemp("plane")) as found:
        yield found


@pytest.fixture
async def kubectl(plane: ControlPlane) -> AsyncIterator[Kubectl]:
    """kubectl, while the controllers and the kubelet run."""
    clock = SystemClock()
    async with Client(load_kubeconfig(plane.kubeconfig)) as client:
        with contextlib.suppress(ApiError):
            await client.create(NODES, {"metadata": {"name": "n1"}})
        manager = Manager(client, clock=clock)
        ReplicaSetController(client, clock=clock).install(manager)
        DeploymentController(client, clock=clock).install(manager)
        Kubelet(client, manager)
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run())
            yield Kubectl(plane)
            manager.stop()


async def test_kubectl_sees_a_deployment_live(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    assert (await kubectl("get", "deployment", "web", "--no-headers")).split()[:4] == ["web", "3/3", "3", "3"]

    await kubectl("set", "image", "deployment/web", "c=v2")
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert await images(kubectl) == {"v2"}
    history = await kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "2"]

    await kubectl("rollout", "undo", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert await images(kubectl) == {"v1"}

    await kubectl("rollout", "pause", "deployment/web")
    await kubectl("set", "image", "deployment/web", "c=v3")
    await kubectl("scale", "deployment/web", "--replicas=5")
    await kubectl("wait", "--for=jsonpath={.status.replicas}=5", "deployment/web", "--timeout=20s")
    assert await images(kubectl) == {"v1"}
    await kubectl("rollout", "resume", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert await images(kubectl) == {"v3"}

    await kubectl("rollout", "restart", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    described = await kubectl("describe", "deployment", "web")
    assert "5 desired | 5 updated | 5 total | 5 available | 0 unavailable" in described
    assert "NewReplicaSetAvailable" in described
    assert "ScalingReplicaSet" in described

    await kubectl("scale", "deployment/web", "--replicas=0")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=20s")
    await kubectl("delete", "deployment", "web")


async def images(kubectl: Kubectl) -> set[str]:
    """What the pods run that are not being deleted."""
    found = await kubectl.json("get", "pods", "-l", "app=web")
    return {
        pod["spec"]["containers"][0]["image"] for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")
    }


async def test_a_plain_replica_set_replaces_a_deleted_pod(kubectl: Kubectl) -> None:
    manifest = MANIFEST.replace("kind: Deployment", "kind: ReplicaSet").replace("web", "plain")
    await kubectl("apply", "-f", "-", stdin=manifest)
    await kubectl("wait", "--for=jsonpath={.status.availableReplicas}=3", "rs/plain", "--timeout=20s")
    pods = (await kubectl("get", "pods", "-l", "app=plain", "-o", "name")).split()
    await kubectl("delete", pods[0], "--wait=true")
    await kubectl("wait", "--for=jsonpath={.status.availableReplicas}=3", "rs/plain", "--timeout=20s")
    left = (await kubectl("get", "pods", "-l", "app=plain", "-o", "name")).split()
    assert pods[0] not in left
    assert len(left) == 3
    await kubectl("delete", "rs", "plain")
