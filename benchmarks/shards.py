"""Pods bound a second by one scheduler and by two that share the pools, on the embedded API with several pools.

Each configuration runs on a server of its own: one scheduler for everything, one that has every shard, two that share
them. All pods are there before the schedulers are told to go; what counts is the time from the first to the last pod
that a watch of this process sees bound. On a small machine the API server is what everybody waits for, so two other
figures stand beside the rate: processor time of the schedulers for a pod, and how many pods a second the busiest of
them could bind if it had a core for itself and the server were no limit. There is no admission, whose fence would cost
all of them the same.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from _binding import Observer, Seen, Turn, build_fleet, each, until
from _report import Row, report
from _servers import Serving, cpu_seconds, embedded
from tensorfusion.cli.install import install_into
from tensorfusion.clock import SystemClock
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import PODS
from tensorfusion.policy.shards import COMMON
from tensorfusion.runtime import collector
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter
from tensorfusion.scheduler.service import Options, SchedulerService
from tensorfusion.scheduler.shards import Shards

NAMESPACE = "default"
LEASE_SECONDS = 6.0


# --- a scheduler ---


async def schedule(identity: str, kubeconfig: Path, *, shared: bool) -> None:
    """Follow the cluster; decide between ``go`` and ``stop`` on standard input."""
    clock, turn = SystemClock(), Turn()
    async with Client(load_kubeconfig(kubeconfig)) as client:
        manager = Manager(client, clock=clock)
        recorder, writer = EventRecorder(client, component=identity, clock=clock), StatusWriter(client, clock=clock)
        shards = Shards(manager, identity=identity, seconds=LEASE_SECONDS) if shared else None
        turn.leads = True
        service = SchedulerService(manager, turn, recorder=recorder, writer=writer, options=Options(shards=shards))
        recorder.busy = lambda: service.saturated
        manager.add_task("scheduler", service.run)
        if shards is not None:
            manager.add_task("shards", shards.run)
        running = [asyncio.ensure_future(task) for task in (manager.run(), recorder.run(), writer.run())]
        await manager.synced.wait()
        await until(lambda: service.deciding and service.synced)
        collector.settle()
        await obey(service, turn)
        manager.stop()
        for task in running[1:]:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def obey(service: SchedulerService, turn: Turn) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps("ready"), flush=True)
    answer: Any = None
    cpu = 0.0
    while words := (await reader.readline()).decode().split():
        match words:
            case ["mine"]:
                answer = [COMMON] if service.shards is None else service.shards.mine
            case ["rest"]:
                turn.leads = False
            case ["hold", count]:
                await until(partial(knows, service, int(count)))
            case ["go"]:
                cpu, turn.leads = time.process_time(), True
            case ["stop"]:
                answer = time.process_time() - cpu
        print(json.dumps(answer), flush=True)


def knows(service: SchedulerService, count: int) -> bool:
    return len(service.pods) >= count and service.synced


# --- the pods ---


def pod(number: int, pool: str) -> Raw:
    """As the webhook leaves it."""
    annotations = {
        keys.GPU_POOL: pool,
        keys.TFLOPS_REQUEST: str(10 * (1 + number % 9)),
        keys.VRAM_REQUEST: f"{1 + number % 8}Gi",
        keys.GPU_COUNT: "1",
        keys.INJECT_CONTAINER: "main",
    }
    labels = {keys.COMPONENT: "worker", keys.ENABLED: "true", keys.GPU_POOL: pool}
    container = {"name": "main", "image": "image:1", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}
    return {
        "metadata": {"name": f"pod-{number}", "labels": labels, "annotations": annotations},
        "spec": {"schedulerName": keys.SCHEDULER_NAME, "containers": [container]},
    }


# --- measuring ---


@dataclass
class Replica:
    """A scheduler's process."""

    process: asyncio.subprocess.Process

    async def ask(self, line: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.answer()

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a scheduler ended: {await self.process.wait()}")
        return json.loads(line)


@asynccontextmanager
async def replica(identity: str, kubeconfig: Path, *, shared: bool) -> Any:
    command = [sys.executable, __file__, "--child", identity, "--kubeconfig", str(kubeconfig)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, *(["--shared"] if shared else []), stdin=pipe, stdout=pipe)
    found = Replica(process)
    try:
        await found.answer()
        yield found
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it ends when nobody speaks to it any more
        await process.wait()


@dataclass(frozen=True)
class Outcome:
    """One configuration's figures. Seconds are of processor time; one entry a scheduler."""

    rate: float
    schedulers: list[float]
    server: float
    shards: list[int]


async def measure(serving: Serving, folder: Path, *, replicas: int, shared: bool, scale: argparse.Namespace) -> Outcome:
    await install_into(serving.kubeconfig, folder)
    account = folder / f"{keys.CONTROLLER_ACCOUNT}.kubeconfig"
    pools = [f"pool-{number}" for number in range(scale.pools)]
    observer = Observer()
    async with Client(load_kubeconfig(serving.kubeconfig)) as client, AsyncExitStack() as stack:
        await build_fleet(client, pools, scale.nodes)
        names = [f"scheduler-{number}" for number in range(replicas)]
        starting = [stack.enter_async_context(replica(name, account, shared=shared)) for name in names]
        all_of_them: list[Replica] = await asyncio.gather(*starting)
        shards = [1]
        while shared:
            shards = [len(await one.ask("mine")) for one in all_of_them]
            if sum(shards) == len(pools) + 1 and max(shards) - min(shards) <= 1:
                break
            await asyncio.sleep(0.5)
        for one in all_of_them:
            await one.ask("rest")

        async def create(number: int) -> None:
            await client.create(PODS, pod(number, pools[number % len(pools)]), namespace=NAMESPACE, type_=Seen)

        await each(range(scale.pods), create)
        for one in all_of_them:
            await one.ask(f"hold {scale.pods}")
        observer.expect(f"pod-{number}" for number in range(scale.pods))
        following = asyncio.ensure_future(observer.follow(client, NAMESPACE))
        server = cpu_seconds(serving.pids)
        await asyncio.gather(*(one.ask("go") for one in all_of_them))
        async with asyncio.timeout(600):
            await observer.done.wait()
        seconds = [await one.ask("stop") for one in all_of_them]
        following.cancel()
        return Outcome(observer.rate(), seconds, cpu_seconds(serving.pids) - server, shards)


def run(replicas: int, *, shared: bool, scale: argparse.Namespace) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="tf-") as root, embedded(Path(root) / "data") as serving:
        accounts = Path(root) / "accounts"
        accounts.mkdir()
        return uvloop.run(measure(serving, accounts, replicas=replicas, shared=shared, scale=scale))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--pods", type=int, default=4_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--shared", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kubeconfig", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        uvloop.run(schedule(arguments.child, arguments.kubeconfig, shared=arguments.shared))
        return
    plain = run(1, shared=False, scale=arguments)
    rows: list[Row] = []
    for name, outcome in (
        ("one for everything", plain),
        ("one with every shard", run(1, shared=True, scale=arguments)),
        ("two that share", run(2, shared=True, scale=arguments)),
    ):
        fleet = {"pools": arguments.pools, "nodes": arguments.nodes, "pods": arguments.pods}
        parameters: dict[str, object] = {**fleet, "shards": "+".join(map(str, outcome.shards))}
        peer = "one for everything"
        total, busiest = sum(outcome.schedulers), max(outcome.schedulers)
        base = sum(plain.schedulers)
        each_pod = 1e6 / arguments.pods
        rows += [
            Row(f"{name}: bound", outcome.rate, "pods/s", peer, plain.rate, parameters),
            Row(f"{name}: schedulers' cpu", total * each_pod, "us/pod", peer, base * each_pod, parameters),
            Row(
                f"{name}: of the busiest",
                arguments.pods / busiest,
                "pods/cpu-s",
                peer,
                arguments.pods / base,
                parameters,
            ),
            Row(
                f"{name}: server's cpu", outcome.server * each_pod, "us/pod", peer, plain.server * each_pod, parameters
            ),
        ]
    report(rows, arguments.json)


if __name__ == "__main__":
    main()
