"""A scheduler against a fake API: objects in, Bindings out, and a checker that shares no code with the product."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.errors import Conflict
from tensorfusion.model import keys
from tensorfusion.model.resources import (
    EVENTS,
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    GPUS,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SCHEDULING_CONFIG_TEMPLATES,
)
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter
from tensorfusion.scheduler.recording.recorder import RecordOptions
from tensorfusion.scheduler.service import Options, SchedulerService
from tensorfusion.scheduler.shards import Shards
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.with_name("scheduling"))]  # helpers of these folders

PREFIX = f"{keys.DOMAIN}/"
GIB = 1 << 30


@dataclass
class Office:
    """Leadership that a test gives and takes."""

    leading: bool = True
    epoch: int = 1
    asked: Callable[[], None] | None = field(default=None)
    """Called at every question whether this replica leads."""

    def is_leader(self) -> bool:
        if self.asked is not None:
            self.asked()
        return self.leading


class World:
    """One API and the schedulers that run against it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self._running: list[tuple[Manager, list[asyncio.Task[None]]]] = []
        self.service: SchedulerService
        self.office = Office()
        self.cluster_wide = False
        self.record: RecordOptions | None = None

    async def start(self, office: Office | None = None, *names: str) -> SchedulerService:
        """Start one more scheduler; the newest one is ``service``."""
        self.office = office or Office()
        manager = Manager(self.api, clock=self.clock)
        recorder = EventRecorder(self.api, component="test", clock=self.clock, rate=1000, burst=1000)
        writer = StatusWriter(self.api, clock=self.clock, rate=1000, burst=1000)
        self.service = SchedulerService(
            manager,
            self.office,
            recorder=recorder,
            writer=writer,
            options=Options(
                scheduler_names=names or (keys.SCHEDULER_NAME, keys.DEFAULT_SCHEDULER_NAME),
                preempt_cluster_wide=lambda: self.cluster_wide,
                record=self.record,
            ),
        )
        manager.add_task("scheduler", self.service.run)
        tasks = [asyncio.create_task(work) for work in (manager.run(), recorder.run(), writer.run())]
        self._running.append((manager, tasks))
        await self.clock.advance(0.5)
        return self.service

    async def start_shared(self, identity: str, *, api: Any = None) -> SchedulerService:
        """Start one more of several schedulers that share the pools; the newest one is ``service``."""
        manager = Manager(api or self.api, clock=self.clock)
        recorder = EventRecorder(self.api, component="test", clock=self.clock, rate=1000, burst=1000)
        writer = StatusWriter(self.api, clock=self.clock, rate=1000, burst=1000)
        shards = Shards(manager, identity=identity)
        names = (keys.SCHEDULER_NAME, keys.DEFAULT_SCHEDULER_NAME)
        self.service = SchedulerService(
            manager,
            shards.regime,
            recorder=recorder,
            writer=writer,
            options=Options(scheduler_names=names, shards=shards, record=self.record),
        )
        manager.add_task("scheduler", self.service.run)
        manager.add_task("shards", shards.run)
        tasks = [asyncio.create_task(work) for work in (manager.run(), recorder.run(), writer.run())]
        self._running.append((manager, tasks))
        await self.clock.advance(0.5)
        return self.service

    async def end(self, number: int) -> None:
        """One of the schedulers ends."""
        _, tasks = self._running.pop(number)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Every scheduler ends; what it wrote stays."""
        for manager, tasks in self._running:
            manager.stop()
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    async def settle(self, seconds: float = 0.5) -> None:
        await self.clock.advance(seconds)

    # --- objects ---

    def pool(self, name: str = "main", template: str = "") -> None:
        self.api.seed(GPU_POOLS, {"metadata": {"name": name}, "spec": {"schedulingConfigTemplate": template}})

    def template(self, name: str, mode: str) -> None:
        self.api.seed(SCHEDULING_CONFIG_TEMPLATES, {"metadata": {"name": name}, "spec": {"placement": {"mode": mode}}})

    def node(self, name: str, *, cpu: str = "64", memory: str = "256Gi", **labels: str) -> None:
        allocatable = {"cpu": cpu, "memory": memory, "pods": "110"}
        ready = [{"type": "Ready", "status": "True"}]
        metadata = {"name": name, "labels": {keys.HOSTNAME_LABEL: name, **labels}}
        self.api.seed(NODES, {"metadata": metadata, "status": {"allocatable": allocatable, "conditions": ready}})

    def gpu(
        self,
        name: str,
        node: str,
        *,
        index: int = 0,
        tflops: str = "100",
        vram: str = "16Gi",
        pool: str = "main",
        phase: str = "Running",
        numa: int = -1,
        peers: dict[str, int] | None = None,
    ) -> None:
        """``peers``: tiers of other devices by their names."""
        topology = [{"peerGPUUUID": peer, "tier": tier} for peer, tier in (peers or {}).items()]
        status = {
            "phase": phase,
            "vendor": "NVIDIA",
            "gpuModel": "A100",
            "uuid": name,
            "index": index,
            "numaNode": numa,
            **({"topology": {"peers": topology}} if topology else {}),
            "capacity": {"tflops": tflops, "vram": vram},
            "available": {"tflops": tflops, "vram": vram},
            "nodeSelector": {keys.HOSTNAME_LABEL: node},
            "message": "managed",
        }
        self.api.seed(GPUS, {"metadata": {"name": name, "labels": {keys.GPU_POOL: pool}}, "status": status})

    def fleet(self, nodes: int = 1, devices: int = 1, **device: str) -> None:
        """A pool ``main`` of nodes ``n0..`` with devices ``g0-0..``."""
        self.pool()
        for number in range(nodes):
            self.node(f"n{number}")
            for index in range(devices):
                self.gpu(f"g{number}-{index}", f"n{number}", index=index, **device)

    def quota(self, namespace: str, spec: dict[str, Any], name: str = "quota") -> None:
        self.api.seed(GPU_RESOURCE_QUOTAS, {"metadata": {"name": name}, "spec": spec}, namespace=namespace)

    def priority_class(self, name: str, value: int) -> None:
        self.api.seed(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value})

    def worker(
        self,
        name: str,
        *,
        tflops: str = "10",
        vram: str = "1Gi",
        count: int = 1,
        namespace: str = "default",
        priority: int = 0,
        annotations: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """A pod as admission leaves it: label component=worker and complete annotations."""
        wishes = {
            f"{PREFIX}gpupool": "main",
            f"{PREFIX}tflops-request": tflops,
            f"{PREFIX}vram-request": vram,
            f"{PREFIX}gpu-count": str(count),
            **(annotations or {}),
        }
        body = {
            "metadata": {
                "name": name,
                "labels": {keys.COMPONENT: "worker", **(labels or {})},
                "annotations": wishes,
            },
            "spec": {
                "schedulerName": keys.SCHEDULER_NAME,
                "priority": priority,
                "containers": [{"name": "main"}],
                **spec,
            },
        }
        return self.api.seed(PODS, body, namespace=namespace)

    def plain(self, name: str, *, cpu: str = "1", **spec: Any) -> dict[str, Any]:
        """A pod without shares, for the default scheduler."""
        container = {"name": "main", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
        body = {
            "metadata": {"name": name},
            "spec": {"schedulerName": "default-scheduler", "containers": [container], **spec},
        }
        return self.api.seed(PODS, body, namespace="default")

    def finish(self, name: str, phase: str = "Succeeded", namespace: str = "default") -> None:
        self.api.change(PODS, name, {"status": {"phase": phase}}, namespace=namespace, subresource="status")

    def delete(self, name: str, namespace: str = "default") -> None:
        self.api.remove(PODS, name, namespace=namespace)

    # --- what is there ---

    def pod(self, name: str, namespace: str = "default") -> dict[str, Any]:
        return self.api.object(PODS, name, namespace=namespace)

    def node_of(self, name: str, namespace: str = "default") -> str:
        return self.pod(name, namespace).get("spec", {}).get("nodeName", "")

    def devices_of(self, name: str, namespace: str = "default") -> list[str]:
        ids = self.pod(name, namespace)["metadata"].get("annotations", {}).get(keys.GPU_IDS, "")
        return ids.split(",") if ids else []

    def reason_of(self, name: str, namespace: str = "default") -> str:
        """What the pod's PodScheduled condition says while it is not scheduled."""
        conditions = self.pod(name, namespace).get("status", {}).get("conditions", [])
        return next((c["message"] for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), "")

    def events_of(self, name: str) -> dict[str, str]:
        """Event reasons of a pod and their messages."""
        return {
            event["reason"]: event["message"]
            for event in self.api.objects(EVENTS)
            if event["involvedObject"]["name"] == name
        }

    def bindings(self) -> list[tuple[str, str, str]]:
        """Every Binding sent: pod, node, devices."""
        return [
            (call.name, call.body["node"], call.body["annotations"].get(keys.GPU_IDS, ""))
            for call in self.api.calls
            if call.verb == "bind"
        ]

    def check(self) -> None:
        """No device and no node holds more than it has; the scheduler's books say what the pods say."""
        used = used_by_devices(self.api)
        for gpu in self.api.objects(GPUS):
            capacity = gpu["status"]["capacity"]
            tflops, vram = used.get(gpu["metadata"]["name"], (Decimal(0), 0))
            assert tflops <= Decimal(capacity["tflops"]), f"{gpu['metadata']['name']}: {tflops} TFLOPS"
            assert vram <= to_bytes(capacity["vram"]), f"{gpu['metadata']['name']}: {vram} bytes"

    def check_books(self) -> None:
        """Once everything has come to rest the ledger is the sum of the live pods, nothing more."""
        used = used_by_devices(self.api)
        for device in self.service.state.devices():
            tflops, vram = used.get(device.name, (Decimal(0), 0))
            assert device.compute_held == int(tflops * 1000), device.name
            assert device.vram_held == vram, device.name
        live = {p["metadata"]["uid"] for p in self.api.objects(PODS) if is_live(p)}
        assert set(self.service.state.allocations) == live


def is_live(pod: dict[str, Any]) -> bool:
    bound = bool(pod.get("spec", {}).get("nodeName"))
    return bound and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def used_by_devices(api: FakeApi) -> dict[str, tuple[Decimal, int]]:
    """TFLOPS and bytes that live pods hold of each device, read from their annotations alone."""
    used: dict[str, tuple[Decimal, int]] = {}
    for pod in api.objects(PODS):
        annotations = pod["metadata"].get("annotations", {})
        if not is_live(pod) or f"{PREFIX}gpu-ids" not in annotations:
            continue
        for device in annotations[f"{PREFIX}gpu-ids"].split(","):
            tflops, vram = used.get(device, (Decimal(0), 0))
            used[device] = (
                tflops + Decimal(annotations[f"{PREFIX}tflops-request"]),
                vram + to_bytes(annotations[f"{PREFIX}vram-request"]),
            )
    return used


def to_bytes(text: str) -> int:
    """Whole gibibytes are all that these tests use."""
    return int(text.removesuffix("Gi")) * GIB


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world; what runs in it ends with the test."""
    made = World()
    yield made
    await made.stop()


@pytest.fixture
def make_world() -> Callable[[], World]:
    """For tests that need several worlds."""
    return World


@pytest.fixture
def office() -> Callable[..., Office]:
    """Leadership in a test's hands."""
    return Office


@pytest.fixture
def fence() -> Conflict:
    """What admission answers to a Binding of an older epoch."""
    return Conflict(
        'admission webhook "bindings.tensor-fusion.ai" denied the request: binding of pod default/a to node n0: '
        "wanted epoch 2 or later, found 1: the sender is no longer the leader; decide again"
    )
