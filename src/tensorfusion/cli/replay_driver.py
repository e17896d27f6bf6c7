"""Drive a trace through a cluster: create every arrival, follow every pod, until nothing changes any more.

Apart from the command because the figures (``benchmarks/replay.py``) and the tests run the same driver.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec

from tensorfusion.cli.folder import Folder, stop_process
from tensorfusion.cli.memory import pss_bytes
from tensorfusion.cli.session import bearer_token, http_get
from tensorfusion.errors import ApiError, Gone, InvalidRequest, ServerError, TensorFusionError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.meta import Condition
from tensorfusion.model.resources import GPU_NODES, GPUS, NAMESPACES, NODES, PODS
from tensorfusion.testing.traces import TraceNode, TracePod, fleet_document, pod_manifest

NAMESPACE = "replay"
_SETTLED = 4.0
"""Seconds without any change after which the pods that still wait are taken as pending for good."""
_FLEET_TIMEOUT = 600.0
_SAMPLE_EVERY = 1.0


class _Name(msgspec.Struct, frozen=True):
    name: str
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _Status(msgspec.Struct, frozen=True):
    phase: str = ""
    conditions: tuple[Condition, ...] = ()


class _PodState(msgspec.Struct, frozen=True):
    """The few fields of a pod that the driver follows."""

    metadata: _Name
    status: _Status = msgspec.field(default_factory=_Status)


class _Named(msgspec.Struct, frozen=True):
    metadata: _Name


class _GpuPhase(msgspec.Struct, frozen=True):
    phase: str = ""


class _GpuState(msgspec.Struct, frozen=True):
    metadata: _Name
    status: _GpuPhase = msgspec.field(default_factory=_GpuPhase)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one replay came to. ``rate`` counts Running pods a second, first create to last Running."""

    nodes: int
    gpus: int
    pods: int
    placed: int
    pending: dict[str, int]
    refused: dict[str, int]
    gpu_allocation_percent: float
    pods_per_second: float
    seconds: float
    fleet_seconds: float
    decision_p50_us: float
    decision_p99_us: float
    peak_pss_mib: float


@dataclass(slots=True)
class _Progress:
    created: int = 0
    running: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    first_create: float = 0.0
    last_running: float = 0.0
    last_change: float = 0.0

    def see(self, pod: _PodState) -> None:
        name = pod.metadata.name
        if pod.status.phase == "Running":
            if name not in self.running:
                self.running.add(name)
                self.waiting.pop(name, None)
                self.last_running = self.last_change = time.monotonic()
            return
        reason = (
            next((c.message for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False"), "")
            or pod.status.phase
        )
        if self.waiting.get(name) != reason:
            self.waiting[name] = reason
            self.last_change = time.monotonic()


async def replay(nodes: Sequence[TraceNode], pods: Sequence[TracePod], *, root: Path, concurrency: int = 32) -> Figures:
    """Start an embedded cluster in ``root`` with the trace's machines and run the arrivals through it.

    Raises:
        TensorFusionError: the cluster did not start, or the fleet did not become ready.
    """
    gpus = sum(node.gpus for node in nodes)
    folder = Folder(root)
    started = time.monotonic()
    async with _cluster(folder, nodes), Client(load_kubeconfig(folder.kubeconfig)) as client:
        await _await_fleet(client, nodes=len(nodes), gpus=gpus)
        fleet_seconds = time.monotonic() - started
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        progress, peak = await _drive(client, pods, folder=folder, concurrency=concurrency)
        p50, p99 = await asyncio.to_thread(_decision_times, folder)
    seconds = progress.last_running - progress.first_create
    allocated = sum(pod.gpus * pod.gpu_milli for pod in pods if pod.name in progress.running)
    return Figures(
        nodes=len(nodes),
        gpus=gpus,
        pods=len(pods),
        placed=len(progress.running),
        pending=dict(Counter(map(_short, progress.waiting.values())).most_common()),
        refused=dict(progress.refused),
        gpu_allocation_percent=round(allocated / (10 * gpus), 2) if gpus else 0.0,
        pods_per_second=round(len(progress.running) / seconds, 1) if seconds > 0 else 0.0,
        seconds=round(seconds, 2),
        fleet_seconds=round(fleet_seconds, 2),
        decision_p50_us=p50,
        decision_p99_us=p99,
        peak_pss_mib=round(peak / (1 << 20), 1),
    )


@asynccontextmanager
async def _cluster(folder: Folder, nodes: Sequence[TraceNode]) -> AsyncIterator[None]:
    fleet = folder.root / "trace-fleet.json"
    fleet.write_text(json.dumps(fleet_document(nodes)))
    command = [sys.executable, "-m", "tensorfusion", "up", "--detach", "--data", str(folder.root)]
    command += ["--fleet", str(fleet), "--port", "0", "--http-port", "0"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    try:
        if done.returncode != 0:
            raise TensorFusionError(f"the cluster did not start: {done.stderr.strip() or done.stdout.strip()}")
        yield
    finally:
        supervisor = folder.pid("up")
        if supervisor is not None:
            await asyncio.to_thread(stop_process, supervisor, timeout=30.0)


async def _await_fleet(client: Client, *, nodes: int, gpus: int) -> None:
    """Wait until every machine is registered and every device is Running."""
    deadline = time.monotonic() + _FLEET_TIMEOUT
    with click.progressbar(length=gpus + nodes, label="building the fleet", file=sys.stderr) as bar:
        shown = 0
        while True:
            found = len((await client.list(GPU_NODES, _Named)).items)
            running = sum(gpu.status.phase == "Running" for gpu in (await client.list(GPUS, _GpuState)).items)
            machines = len((await client.list(NODES, _Named)).items)
            bar.update(max(0, min(machines, nodes) + running - shown))
            shown = max(shown, min(machines, nodes) + running)
            if running >= gpus and machines >= nodes:
                return
            if time.monotonic() > deadline:
                raise TensorFusionError(
                    f"the fleet is not ready after {_FLEET_TIMEOUT:.0f} s: {machines} of {nodes} nodes, "
                    f"{found} GPUNodes, {running} of {gpus} devices Running"
                )
            await asyncio.sleep(1.0)


async def _drive(
    client: Client, pods: Sequence[TracePod], *, folder: Folder, concurrency: int
) -> tuple[_Progress, int]:
    progress = _Progress()
    peak = 0
    listing = await client.list(PODS, _PodState, namespace=NAMESPACE)
    with click.progressbar(length=len(pods), label="replaying the trace", file=sys.stderr) as bar:
        shown = 0
        async with asyncio.TaskGroup() as group:
            follower = group.create_task(_follow(client, listing.resource_version, progress))
            creator = group.create_task(_create_all(client, pods, progress=progress, concurrency=concurrency))
            while True:
                await asyncio.sleep(_SAMPLE_EVERY)
                peak = max(peak, await asyncio.to_thread(pss_bytes, folder.processes().values()))
                bar.update(len(progress.running) - shown)
                shown = len(progress.running)
                known = len(progress.running) + len(progress.waiting) + sum(progress.refused.values())
                settled = time.monotonic() - progress.last_change > _SETTLED
                if creator.done() and known >= len(pods) and (settled or not progress.waiting):
                    break
                if creator.done() and settled and time.monotonic() - progress.last_change > 10 * _SETTLED:
                    raise TensorFusionError(f"{len(pods) - known} pods were created and never seen again")
            follower.cancel()
    return progress, peak


async def _create_all(client: Client, pods: Sequence[TracePod], *, progress: _Progress, concurrency: int) -> None:
    """Create the arrivals in order, ``concurrency`` at a time."""
    waiting = iter(pods)
    progress.first_create = progress.last_change = time.monotonic()

    async def creator() -> None:
        for pod in waiting:
            try:
                await client.create(PODS, pod_manifest(pod, namespace=NAMESPACE), namespace=NAMESPACE, type_=_Named)
                progress.created += 1
            except ServerError:
                raise
            except (ApiError, InvalidRequest) as error:
                progress.refused[str(error)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(creator())


async def _follow(client: Client, version: str, progress: _Progress) -> None:
    """Watch the namespace's pods; a watch that ends or falls behind goes on from a new list."""
    while True:
        try:
            batches = client.watch_batches(PODS, _PodState, namespace=NAMESPACE, resource_version=version)
            async with aclosing(batches):
                async for batch in batches:
                    for event in batch:
                        version = event.resource_version or version
                        if event.object is not None and event.type in ("ADDED", "MODIFIED"):
                            progress.see(event.object)
        except (Gone, ServerError):
            listing = await client.list(PODS, _PodState, namespace=NAMESPACE)
            version = listing.resource_version
            for pod in listing.items:
                progress.see(pod)


def _decision_times(folder: Folder) -> tuple[float, float]:
    """Median and 99th percentile of the scheduler's decisions, in microseconds, from its own record."""
    address = json.loads(folder.ready_file.read_text())["http"]
    figures = http_get(f"{address}/api/decisions", token=bearer_token(folder.kubeconfig, None))
    return round(figures["p50Microseconds"], 1), round(figures["p99Microseconds"], 1)


def _short(reason: str) -> str:
    """A reason without its numbers and what was requested, so that equal causes count together."""
    why = reason.partition("available: ")[2].partition(". Requested")[0] or reason
    return ", ".join(dict.fromkeys(part.lstrip("0123456789 ") for part in why.split(", ")))
