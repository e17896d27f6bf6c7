"""What the figures of Bindings share: who leads, a fleet to bind to, and a watch that sees when pods were bound."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tensorfusion.kube.client import Client
from tensorfusion.model import keys
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import GPU_POOLS, GPUS, NODES, PODS, Resource

WRITERS = 32
GPUS_A_NODE = 8


@dataclass
class Turn:
    """The leadership, as this benchmark hands it out."""

    epoch: int = 1
    leads: bool = False

    def is_leader(self) -> bool:
        return self.leads


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.02)


async def each(items: Iterable[Any], work: Callable[[Any], Awaitable[object]]) -> None:
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(worker())


async def make_node(client: Client, number: int) -> str:
    """A ready machine with room for a thousand pods; its name."""
    name = f"node-{number}"
    amounts = {"cpu": "256", "memory": "2Ti", "pods": "1000"}
    status: Raw = {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
    await client.create(NODES, {"metadata": {"name": name, "labels": {keys.HOSTNAME_LABEL: name}}})
    await client.patch(NODES, name, {"status": status}, subresource="status")
    await client.patch(NODES, name, {"spec": {"taints": None}})
    return name


class _Name(msgspec.Struct, frozen=True):
    name: str


class _Spec(msgspec.Struct, frozen=True):
    node_name: str = msgspec.field(default="", name="nodeName")


class Seen(msgspec.Struct, frozen=True):
    metadata: _Name
    spec: _Spec


@dataclass
class Observer:
    """When the pods that are waited for were seen bound."""

    waiting: set[str] = field(default_factory=set)
    times: list[float] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, names: Iterable[str]) -> None:
        self.waiting, self.times = set(names), []
        self.begun.clear()
        self.done.clear()

    async def follow(self, client: Client, namespace: str) -> None:
        version = (await client.list(PODS, Seen, namespace=namespace)).resource_version
        while True:
            batches = client.watch_batches(PODS, Seen, namespace=namespace, resource_version=version)
            async for batch in batches:
                now = time.perf_counter()
                for event in batch:
                    version = event.resource_version or version
                    found = event.object
                    if found is not None and found.spec.node_name and found.metadata.name in self.waiting:
                        self.waiting.discard(found.metadata.name)
                        self.times.append(now)
                if self.times:
                    self.begun.set()
                    if not self.waiting:
                        self.done.set()

    def rate(self) -> float:
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


def typed(resource: Resource, body: Raw) -> Raw:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}


async def build_fleet(client: Client, pools: list[str], nodes: int) -> None:
    for pool in pools:
        await client.create(GPU_POOLS, typed(GPU_POOLS, {"metadata": {"name": pool}, "spec": {}}))

    async def make(number: int) -> None:
        name = await make_node(client, number)
        for index in range(GPUS_A_NODE):
            await make_device(client, pools[number % len(pools)], name, index)

    await each(range(nodes), make)


async def make_device(client: Client, pool: str, node: str, index: int) -> None:
    name = f"{node}-gpu-{index}"
    capacity = {"tflops": "1000", "vram": "80Gi"}
    status = {
        "phase": "Running",
        "vendor": "NVIDIA",
        "gpuModel": "NVIDIA A100-SXM4-80GB",
        "uuid": name,
        "capacity": capacity,
        "available": capacity,
        "index": index,
        "nodeSelector": {keys.HOSTNAME_LABEL: node},
        "message": "managed",
    }
    labels = {keys.GPU_POOL: pool, keys.MANAGED_BY: node}
    await client.create(GPUS, typed(GPUS, {"metadata": {"name": name, "labels": labels}, "spec": {}}))
    await client.patch(GPUS, name, {"status": status}, subresource="status")
