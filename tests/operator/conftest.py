"""A cluster in a dictionary with the operator at work on it, on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tensorfusion.errors import NotFound
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.operator.install import install
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import Call, FakeApi
from tensorfusion.testing.clock import VirtualClock

Json = dict[str, Any]


@dataclass
class Cluster:
    """Machines, devices and pods are the test's to make; pools, GPUNodes and statuses are the operator's."""

    api: FakeApi
    clock: VirtualClock
    leading: bool = True
    running: list[asyncio.Task[None]] = field(default_factory=list)
    managers: list[Manager] = field(default_factory=list)

    async def start(self) -> None:
        manager = Manager(self.api, clock=self.clock)
        install(manager, is_leader=lambda: self.leading)
        self.managers.append(manager)
        self.running.append(asyncio.ensure_future(manager.run()))
        await self.passes(1)

    async def stop(self) -> None:
        for manager, task in zip(self.managers, self.running, strict=True):
            manager.stop()
            await task
        self.managers.clear()
        self.running.clear()

    async def passes(self, seconds: float) -> None:
        """Let time pass, in small steps, so that everything due in it happens."""
        for _ in range(round(seconds / 0.25)):
            await self.clock.advance(0.25)

    def machine(self, name: str, *, gpus: int = 2, labels: Json | None = None, **status: Any) -> None:
        present = {"nvidia.com/gpu.present": "true"} if gpus else {}
        body = {
            "metadata": {"name": name, "labels": {**present, **(labels or {})}},
            "spec": {},
            "status": {
                "capacity": {"memory": "64Gi", "ephemeral-storage": "100Gi"},
                "conditions": [{"type": "Ready", "status": "True"}],
                **status,
            },
        }
        self.api.seed(r.NODES, body)
        self.api.change(r.NODES, name, {"status": body["status"]}, subresource="status")

    def publish(self, node: str, *, count: int = 2, tflops: str = "100", vram: str = "16Gi") -> None:
        """What the node agent does once the GPUNode exists."""
        gpu_node = self.api.object(r.GPU_NODES, node)
        pool = gpu_node["metadata"]["labels"][keys.MANAGED_BY]
        for index in range(count):
            name = f"gpu-{node}-{index}"
            capacity = {"tflops": tflops, "vram": vram}
            self.api.seed(
                r.GPUS,
                {
                    "metadata": {"name": name, "labels": {keys.MANAGED_BY: node, keys.GPU_POOL: pool}},
                    "status": {
                        "phase": "Running",
                        "gpuModel": "NVIDIA L4",
                        "uuid": name.upper(),
                        "index": index,
                        "capacity": capacity,
                        "available": capacity,
                        "nodeSelector": {keys.HOSTNAME_LABEL: node},
                        "usedBy": "tensor-fusion",
                        "message": "managed",
                    },
                },
            )

    async def ready_machine(self, name: str, *, gpus: int = 2, **parts: Any) -> None:
        self.machine(name, gpus=gpus, **parts)
        await self.passes(1)
        self.publish(name, count=gpus)
        await self.passes(3)

    def pod(
        self,
        name: str,
        *,
        namespace: str = "team",
        workload: str = "",
        owner: Json | None = None,
        labels: Json | None = None,
        **wishes: str,
    ) -> None:
        """An admitted pod, not yet placed."""
        annotations = {"tflops-request": "10", "vram-request": "1Gi", "gpupool": "default", "gpu-count": "1", **wishes}
        metadata: Json = {
            "name": name,
            "labels": {keys.COMPONENT: "worker", keys.WORKLOAD: workload or name, **(labels or {})},
            "annotations": {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in annotations.items()},
        }
        if owner is not None:
            metadata["ownerReferences"] = [{"controller": True, "apiVersion": "apps/v1", **owner}]
        body = {"metadata": metadata, "spec": {"schedulerName": keys.SCHEDULER_NAME}, "status": {"phase": "Pending"}}
        self.api.seed(r.PODS, body, namespace=namespace)

    def place(self, name: str, *devices: str, node: str = "m1", namespace: str = "team", ready: bool = True) -> None:
        """What scheduler and kubelet do."""
        change = {"metadata": {"annotations": {keys.GPU_IDS: ",".join(devices)}}, "spec": {"nodeName": node}}
        self.api.change(r.PODS, name, change, namespace=namespace)
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        self.phase(name, "Running", namespace=namespace, conditions=conditions)

    def phase(self, name: str, phase: str, *, namespace: str = "team", **status: Any) -> None:
        patch = {"status": {"phase": phase, **status}}
        self.api.change(r.PODS, name, patch, namespace=namespace, subresource="status")

    def pool(self, name: str, *, default: bool = False, **spec: Any) -> None:
        annotations = {keys.IS_DEFAULT_POOL: "true"} if default else {}
        self.api.seed(r.GPU_POOLS, {"metadata": {"name": name, "annotations": annotations}, "spec": spec})

    def find(self, resource: r.Resource, name: str, *, namespace: str = "") -> Json | None:
        try:
            return self.api.object(resource, name, namespace=namespace)
        except NotFound:
            return None

    def status(self, resource: r.Resource, name: str, *, namespace: str = "") -> Json:
        return self.api.object(resource, name, namespace=namespace).get("status", {})

    def pool_of(self, node: str) -> str | None:
        found = self.find(r.GPU_NODES, node)
        return found["metadata"]["labels"][keys.MANAGED_BY] if found is not None else None

    def names(self, resource: r.Resource) -> list[str]:
        return [found["metadata"]["name"] for found in self.api.objects(resource)]

    def writes(self) -> list[Call]:
        """What was written since the last time it was asked for."""
        verbs = ("create", "patch", "replace", "delete")
        found = [call for call in self.api.calls if call.verb in verbs]
        self.api.calls.clear()
        return found


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A running operator in an empty cluster."""
    clock = VirtualClock()
    made = Cluster(FakeApi(clock), clock)
    await made.start()
    yield made
    await made.stop()
