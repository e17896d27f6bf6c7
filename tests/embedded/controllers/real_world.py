"""An API server with a kubelet that scripts its pods; the controllers are ours or kube-controller-manager's.

Skipped where ``make kube-assets`` has not been run: the control plane is found through KUBEBUILDER_ASSETS.
"""

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock, micro_timestamp, timestamp
from tensorfusion.embedded import pod_life
from tensorfusion.embedded.controllers.install import install_controllers
from tensorfusion.errors import ApiError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import LEASES, NAMESPACES, NODES, PODS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.manager import Manager

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
NEEDS_CONTROL_PLANE = [
    pytest.mark.skipif(not (ASSETS / "kubectl").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]
NODE_NAMES = ("n1", "n2")
_PATIENCE = 30.0
_LEASES = "kube-node-lease"


@dataclass(frozen=True)
class Plane:
    """An API server to be an administrator of."""

    kubeconfig: Path
    folder: Path


def await_file(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + _PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.05)


class Kubelet:
    """Binds pods, makes them ready, ends those that say ``run-for`` at once, and lets deleted ones go.

    A pod goes to the node that its affinity names, or to the first; one with the annotation ``stay: pending`` waits.
    """

    def __init__(self, client: Client, manager: Manager) -> None:
        self._client = client
        self._pods = manager.informer(PODS, Pod)
        self._addresses = 0
        controller = Controller("kubelet", self, clock=SystemClock(), workers=4)
        self._pods.subscribe(lambda change: controller.queue.add(change.key))
        manager.add_controller(controller)

    async def reconcile(self, key: Key) -> Result:
        pod = self._pods.cache.get(key)
        if pod is None:
            return DONE
        now = timestamp(SystemClock().now())
        annotations = pod.metadata.annotations
        if pod.metadata.deleting:
            await self._client.delete(PODS, key.name, namespace=key.namespace, uid=pod.metadata.uid, grace_seconds=0)
        elif not pod.spec.node_name:
            if annotations.get("stay") != "pending":
                await self._client.bind(
                    key.namespace, key.name, uid=pod.metadata.uid, node=_node_of(pod), annotations={}
                )
        elif not pod.status.phase or pod.status.phase == "Pending":
            self._addresses += 1
            ip = f"10.9.{self._addresses >> 8}.{self._addresses & 255}"
            await self._say(pod, pod_life.running(pod, now=now, pod_ip=ip, host_ip="10.8.0.1"))
        elif pod.status.phase == "Running" and pod_life.RUN_FOR in annotations:
            await self._say(pod, pod_life.ended(pod, now=now, exit_code=pod_life.exit_code_of(annotations)))
        return DONE

    async def _say(self, pod: Pod, status: dict[str, Any]) -> None:
        key = pod.key
        await self._client.patch(PODS, key.name, {"status": status}, namespace=key.namespace, subresource="status")


def _node_of(pod: Pod) -> str:
    affinity = pod.spec.affinity
    required = affinity.node_affinity.required if affinity is not None and affinity.node_affinity is not None else None
    fields = [field for term in (required.terms if required is not None else ()) for field in term.match_fields]
    return fields[0].values[0] if fields else NODE_NAMES[0]


class Kubectl:
    """kubectl in one namespace."""

    def __init__(self, plane: Plane, namespace: str) -> None:
        self._plane = plane
        self.namespace = namespace

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            ASSETS / "kubectl",
            "--kubeconfig",
            self._plane.kubeconfig,
            "--namespace",
            self.namespace,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(self._plane.folder)},
        )
        async with asyncio.timeout(90):
            out, error = await process.communicate(stdin.encode())
        assert process.returncode == 0, f"kubectl {' '.join(arguments)}: {error.decode()}{out.decode()}"
        return out.decode()

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self(*arguments, "-o", "json"))

    async def items(self, *arguments: str) -> list[Any]:
        found: list[Any] = (await self.json("get", *arguments))["items"]
        return found

    async def until(self, what: str, path: str, value: str) -> None:
        """Wait until a field of an object has a value."""
        await self("wait", f"--for=jsonpath={{{path}}}={value}", what, "--timeout=60s")

    async def events(self, name: str, *reasons: str) -> list[tuple[str, str, str]]:
        """Type, reason and message of the events about an object, once there are some with these reasons: they are
        written beside the status, before it or after it.
        """
        async with asyncio.timeout(60):
            while True:
                found = await self.items("events", f"--field-selector=involvedObject.name={name}")
                told = sorted({(event["type"], event["reason"], event["message"]) for event in found})
                if {reason for _, reason, _ in told} >= set(reasons):
                    return told


@contextlib.asynccontextmanager
async def running_kubectl(plane: Plane, *, ours: bool) -> AsyncIterator[Kubectl]:
    clock = SystemClock()
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    async with Client(load_kubeconfig(plane.kubeconfig)) as client:
        await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        manager = Manager(client, clock=clock)
        if ours:
            install_controllers(client, manager, clock=clock)
        Kubelet(client, manager)
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(_heartbeats(client, NODE_NAMES))
            group.create_task(manager.run())
            yield Kubectl(plane, namespace)
            manager.stop()
            beating.cancel()


async def _heartbeats(client: Client, names: Sequence[str]) -> None:
    """Nodes that are ready, and say so as long as the test runs."""
    clock = SystemClock()
    for name in names:
        now = timestamp(clock.now())
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name}}
        with contextlib.suppress(ApiError):
            await client.create(NODES, {"metadata": metadata})
        await client.patch(NODES, name, {"status": {"conditions": [ready]}}, subresource="status")
    while True:
        for name in names:
            spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(clock.now())}
            try:
                await client.patch(LEASES, name, {"spec": spec}, namespace=_LEASES)
            except ApiError:
                with contextlib.suppress(ApiError):
                    await client.create(LEASES, {"metadata": {"name": name}, "spec": spec}, namespace=_LEASES)
        await clock.sleep(5)
