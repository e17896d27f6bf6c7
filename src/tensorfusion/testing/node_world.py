"""A world of simulated nodes for tests: a fake API, a virtual clock, a manager, and what runs on it.

Apart from the tests because the node agent's and the kubelets' share it: both meet the same few objects.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import GPU_NODES, PODS, Resource
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import Call, FakeApi
from tensorfusion.testing.clock import VirtualClock

_WRITES = frozenset({"create", "patch", "replace", "delete"})
_ROUNDS = 20
_NAMESPACE = "default"


class Installable(Protocol):
    """What can be registered with a manager."""

    def install(self, manager: Manager) -> None: ...


class NodeWorld:
    """``start`` what is to be tested, act through ``api``, ``settle``, and look."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self._running: asyncio.Task[None] | None = None
        self._manager: Manager | None = None

    @property
    def client(self) -> Api:
        """The API as components see it."""
        return self.api

    async def start(self, *parts: Installable) -> None:
        """Run the parts in a manager of their own, as one process would."""
        manager = Manager(self.client, clock=self.clock)
        for part in parts:
            part.install(manager)
        self._manager = manager
        self._running = asyncio.create_task(manager.run())
        await self.settle()

    async def stop(self) -> None:
        """End the process: what it knew is gone, what it wrote stays."""
        if self._manager is not None and self._running is not None:
            self._manager.stop()
            await self._running
        self._manager = self._running = None

    async def settle(self) -> None:
        """Let everything happen that can happen without time passing."""
        for _ in range(_ROUNDS):
            await self.clock.settle()

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)
        await self.settle()

    async def change(self, resource: Resource, name: str, patch: Raw, *, status: bool = False) -> None:
        """Merge-patch an object as somebody else would, and let everybody react."""
        namespace = _NAMESPACE if resource.namespaced else ""
        self.api.change(resource, name, patch, namespace=namespace, subresource="status" if status else "")
        await self.settle()

    async def add_gpu_node(self, name: str, *, pool: str = "p", **spec: Any) -> None:  # Any: JSON
        """The GPUNode that the operator would make."""
        self.api.seed(GPU_NODES, {"metadata": {"name": name, "labels": {keys.MANAGED_BY: pool}}, "spec": spec})
        await self.settle()

    async def add_pod(
        self,
        name: str,
        node: str,
        *,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        phase: str = "Pending",
        finalizers: Sequence[str] = (),
    ) -> None:
        """A pod that is bound to a node."""
        metadata: Raw = {"name": name, "annotations": dict(annotations or {}), "labels": dict(labels or {})}
        if finalizers:
            metadata["finalizers"] = list(finalizers)
        spec = {"containers": [{"name": "main"}]} | ({"nodeName": node} if node else {})
        body = {"metadata": metadata, "spec": spec, "status": {"phase": phase}}
        self.api.seed(PODS, body, namespace=_NAMESPACE)
        await self.settle()

    async def delete_pod(self, name: str, *, grace: int | None = None) -> None:
        """Delete a pod as a user would."""
        await self.api.delete(PODS, name, namespace=_NAMESPACE, grace_seconds=grace)
        self.api.calls.pop()
        await self.settle()

    def find(self, resource: Resource, name: str, namespace: str = "") -> Raw | None:
        """An object as it is stored, None when it is not."""
        namespace = namespace or (_NAMESPACE if resource.namespaced else "")
        for found in self.api.objects(resource, namespace=namespace):
            if found["metadata"]["name"] == name:
                return found
        return None

    def phase(self, name: str) -> str:
        """The phase of a pod; empty when it does not exist."""
        found = self.find(PODS, name)
        return "" if found is None else str(found["status"].get("phase", ""))

    def writes(self, resource: Resource, name: str = "") -> list[Call]:
        """What the components wrote, or tried to, to a resource or one object of it."""
        return [
            call
            for call in self.api.calls
            if call.verb in _WRITES and call.resource == resource.id and name in ("", _name_of(call))
        ]


def _name_of(call: Call) -> str:
    return call.name or str(call.body["metadata"]["name"])
