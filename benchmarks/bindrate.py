"""Bindings a second of our scheduler on a real etcd and kube-apiserver. Goal: at least 90 % of what a raw binder does.

Peer, in the same run: a raw binder, which decides nothing. It has the same client, the same account, the same watches
with their caches and nobody who listens to them, the same settings of Python's collector, as many Bindings in flight,
and writes annotations of the same size. Both run all the time, as a process each, and take turns: a slice of pods is
created for one of them, then it is told to go. What counts is the time from the first to the last pod of the slice that
a third party, a watch of this process, sees bound. The scheduler's events are written in its own turns; in the other's
they come as slowly as under load.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from _binding import GPUS_A_NODE, Observer, Seen, Turn, build_fleet, each, until
from _report import Row, report
from _servers import Serving, assets, cpu_seconds, real
from tensorfusion.cli.install import install_into
from tensorfusion.clock import SystemClock
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod, PriorityClass
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Raw
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.resources import (
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    GPUS,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    PROVIDER_CONFIGS,
    SCHEDULING_CONFIG_TEMPLATES,
)
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.runtime import collector
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter
from tensorfusion.scheduler.binder import IN_FLIGHT
from tensorfusion.scheduler.grants import binding_annotations
from tensorfusion.scheduler.service import SchedulerService

NAMESPACE = "default"
POOL = "main"
OURS, RAW = "scheduler", "raw-binder"
NAMES = {OURS: keys.SCHEDULER_NAME, RAW: "raw-binder"}
GOAL = 90.0


# --- the two processes that bind ---


async def compete(role: str, kubeconfig: Path) -> None:
    """Follow the cluster as the scheduler does; bind between ``go`` and ``stop`` on standard input."""
    clock = SystemClock()
    turn = Turn(leads=role == OURS)
    async with Client(load_kubeconfig(kubeconfig)) as client:
        manager = Manager(client, clock=clock)
        tasks = [manager.run()]
        service: SchedulerService | None = None
        if role == OURS:
            recorder, writer = EventRecorder(client, component=role, clock=clock), StatusWriter(client, clock=clock)
            service = SchedulerService(manager, turn, recorder=recorder, writer=writer)
            recorder.busy = partial(gives_way, service, turn)
            manager.add_task("scheduler", service.run)
            tasks += [recorder.run(), writer.run()]
        follower = Follower(client, manager, service)
        running = [asyncio.ensure_future(task) for task in tasks]
        await manager.synced.wait()
        if service is not None:
            await until(lambda: service.deciding and service.synced)
        turn.leads = False
        collector.settle()
        await obey(follower, turn)
        for task in running:
            task.cancel()


def gives_way(service: SchedulerService, turn: Turn) -> bool:
    return service.saturated or not turn.leads


class Follower:
    """One of the two: its client and its caches. The scheduler follows these kinds, and so does its peer."""

    def __init__(self, client: Client, manager: Manager, service: SchedulerService | None) -> None:
        self.client = client
        self.service = service
        self.pods = manager.informer(PODS, Pod).cache
        self.gpus = manager.informer(GPUS, GPU).cache
        manager.informer(NODES, Node)
        manager.informer(GPU_POOLS, GPUPool)
        manager.informer(SCHEDULING_CONFIG_TEMPLATES, SchedulingConfigTemplate)
        manager.informer(PROVIDER_CONFIGS, ProviderConfig)
        manager.informer(GPU_RESOURCE_QUOTAS, GPUResourceQuota)
        manager.informer(PRIORITY_CLASSES, PriorityClass)

    def knows(self, count: int) -> bool:
        return len(self.pods) >= count and (self.service is None or self.service.synced)


async def obey(follower: Follower, turn: Turn) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps("ready"), flush=True)
    cpu = 0.0
    while words := (await reader.readline()).decode().split():
        match words:
            case ["hold", count]:
                await until(partial(follower.knows, int(count)))
            case ["go"]:
                cpu, turn.leads = time.process_time(), True
                if follower.service is None:
                    await bind_all(follower)
            case ["stop"]:
                turn.leads = False
                cpu = time.process_time() - cpu
        print(json.dumps(cpu), flush=True)


async def bind_all(follower: Follower) -> None:
    """Bind every pod that waits for the raw binder: nodes and devices in turn, no decision."""
    wanted = [pod for pod in follower.pods.all() if pod.spec.scheduler_name == NAMES[RAW] and not pod.spec.node_name]
    devices = [(gpu.metadata.name, gpu.status.node_selector[keys.HOSTNAME_LABEL]) for gpu in follower.gpus.all()]
    arrivals = iter(enumerate(wanted))

    async def binder() -> None:
        for number, pod in arrivals:
            device, node = devices[number * GPUS_A_NODE % len(devices)]
            meta = pod.metadata
            given = binding_annotations(meta.annotations, ["main"], (device,), epoch=1)
            await follower.client.bind(meta.namespace, meta.name, uid=meta.uid, node=node, annotations=given)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(binder())


# --- the pods they bind ---


def pod(name: str, scheduler: str, number: int) -> Raw:
    """As the webhook leaves it."""
    annotations = {
        keys.GPU_POOL: POOL,
        keys.TFLOPS_REQUEST: str(10 * (1 + number % 9)),
        keys.TFLOPS_LIMIT: "200",
        keys.VRAM_REQUEST: f"{1 + number % 8}Gi",
        keys.VRAM_LIMIT: "16Gi",
        keys.GPU_COUNT: "1",
        keys.QOS: "medium",
        keys.ISOLATION: "soft",
        keys.INJECT_CONTAINER: "main",
    }
    labels = {keys.COMPONENT: "worker", keys.ENABLED: "true", keys.GPU_POOL: POOL}
    container = {"name": "main", "image": "image:1", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"schedulerName": scheduler, "containers": [container]},
    }


# --- measuring ---


@dataclass
class Competitor:
    """One of the two processes, and what its turns came to."""

    role: str
    process: asyncio.subprocess.Process
    rates: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0

    async def ask(self, line: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.answer()

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the {self.role} ended: {await self.process.wait()}")
        return json.loads(line)


@asynccontextmanager
async def competitor(role: str, kubeconfig: Path) -> Any:
    command = (sys.executable, __file__, "--child", role, "--kubeconfig", str(kubeconfig))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    found = Competitor(role, process)
    try:
        await found.answer()
        yield found
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it ends when nobody speaks to it any more
        await process.wait()


async def measure(serving: Serving, folder: Path, *, nodes: int, pods: int, slices: int) -> list[Competitor]:
    await install_into(serving.kubeconfig, folder)
    account = folder / f"{keys.CONTROLLER_ACCOUNT}.kubeconfig"
    observer = Observer()
    async with Client(load_kubeconfig(serving.kubeconfig)) as client:
        await build_fleet(client, [POOL], nodes)
        async with competitor(OURS, account) as ours, competitor(RAW, account) as raw:
            following = asyncio.ensure_future(observer.follow(client, NAMESPACE))
            turns, made = [ours, raw], 0
            for number in range(slices):
                for turn in turns:
                    names = [f"{turn.role}-{number}-{place}" for place in range(pods // slices)]
                    made += len(names)
                    await create_pods(client, turn.role, names)
                    await turn.ask(f"hold {made}")
                    await take_turn(turn, observer, names, serving.pids)
                turns.reverse()
            following.cancel()
    return [ours, raw]


async def create_pods(client: Client, role: str, names: list[str]) -> None:
    async def create(item: tuple[int, str]) -> None:
        number, name = item
        await client.create(PODS, pod(name, NAMES[role], number), namespace=NAMESPACE, type_=Seen)

    await each(enumerate(names), create)


async def take_turn(turn: Competitor, observer: Observer, names: list[str], servers: tuple[int, ...]) -> None:
    observer.expect(names)
    cpu = cpu_seconds(servers)
    await turn.ask("go")
    async with asyncio.timeout(300):
        await observer.done.wait()
    turn.server_cpu_seconds += cpu_seconds(servers) - cpu
    turn.cpu_seconds += await turn.ask("stop")
    turn.rates.append(observer.rate())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--pods", type=int, default=5_000, help="pods for each of the two")
    parser.add_argument("--slices", type=int, default=5, help="how often they take turns")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--kubeconfig", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        uvloop.run(compete(arguments.child, arguments.kubeconfig))
        return
    programs = assets()
    if programs is None:
        raise SystemExit(
            "wanted KUBEBUILDER_ASSETS to name a folder with etcd and kube-apiserver: run make kube-assets"
        )
    with tempfile.TemporaryDirectory(prefix="tf-") as root, real(Path(root) / "real", programs) as serving:
        accounts = Path(root) / "accounts"
        accounts.mkdir()
        work = measure(
            serving,
            accounts,
            nodes=arguments.nodes,
            pods=arguments.pods,
            slices=arguments.slices,
        )
        ours, raw = uvloop.run(work)
    rate, peer = statistics.median(ours.rates), statistics.median(raw.rates)
    pods = len(ours.rates) * (arguments.pods // arguments.slices)
    parameters: dict[str, object] = {
        "pods": pods,
        "gpus": arguments.nodes * GPUS_A_NODE,
        "in_flight": IN_FLIGHT,
    }
    cpu = [1e6 * found.cpu_seconds / pods for found in (ours, raw)]
    server_cpu = [1e6 * found.server_cpu_seconds / pods for found in (ours, raw)]
    report(
        [
            Row("bind_rate", rate, "1/s", "raw binder", peer, parameters),
            Row("bind_cpu", cpu[0], "us", "raw binder", cpu[1], parameters),
            Row("server_cpu", server_cpu[0], "us", "raw binder", server_cpu[1], parameters),
            Row("bind_share", 100 * rate / peer, "%", "goal", GOAL, parameters),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
