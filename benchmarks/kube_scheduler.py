"""Pods without shares bound a second on a real API server: ours beside the stock kube-scheduler. Goal: no less.

Same server, same account, same nodes, equal pods of the same scheduler's name. They take turns, who goes first changes:
a slice of pods is created while neither of them runs, then one is started and ended again when all of the slice are
bound. What counts is the time from the first to the last pod that a third party, a watch of this process, sees bound,
so nobody's start counts. The stock scheduler may send 2,000 requests a second: with its defaults of 50, and bursts of
100, that limit is what is measured. It writes an Event for every pod as it goes; ours writes events when it has time.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median as middle

import uvloop

from _binding import Observer, Seen, Turn, each, make_node, until
from _report import Row, report
from _servers import assets, cpu_seconds
from tensorfusion.cli.install import install_into
from tensorfusion.clock import SystemClock
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import PODS
from tensorfusion.runtime import collector
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter
from tensorfusion.scheduler.service import Options, SchedulerService
from tensorfusion.testing.control_plane import ControlPlane, control_plane, kube_scheduler

NAMESPACE = "default"
NAME = "default-scheduler"
FLAGS = ("--kube-api-qps=2000", "--kube-api-burst=2000")
OURS, STOCK = "scheduler", "kube-scheduler"
GOAL = 1.0


# --- the two that bind ---


async def schedule(kubeconfig: Path) -> None:
    """Our scheduler for all pods, until standard input ends."""
    clock = SystemClock()
    async with Client(load_kubeconfig(kubeconfig)) as client:
        manager = Manager(client, clock=clock)
        recorder, writer = EventRecorder(client, component=OURS, clock=clock), StatusWriter(client, clock=clock)
        options = Options(scheduler_names=(NAME,))
        service = SchedulerService(manager, Turn(leads=True), recorder=recorder, writer=writer, options=options)
        recorder.busy = lambda: service.saturated
        manager.add_task("scheduler", service.run)
        running = [asyncio.ensure_future(task) for task in (manager.run(), recorder.run(), writer.run())]
        await until(lambda: manager.synced.is_set() and service.synced)
        collector.settle()
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        for task in running:
            task.cancel()


@contextlib.asynccontextmanager
async def ours(plane: ControlPlane) -> AsyncIterator[int]:
    command = (sys.executable, __file__, "--child", "--kubeconfig", str(plane.kubeconfig))
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    try:
        yield process.pid
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it ends when nobody speaks to it any more
        await process.wait()


@contextlib.asynccontextmanager
async def stock(programs: Path, plane: ControlPlane) -> AsyncIterator[int]:
    running = kube_scheduler(programs, plane, flags=FLAGS)
    pid = await asyncio.to_thread(running.__enter__)
    try:
        yield pid
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


# --- measuring ---


@dataclass
class Competitor:
    """What the turns of one of the two came to."""

    role: str
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Microseconds of its processor time for a pod, one figure a turn."""
    server_cpu: list[float] = field(default_factory=list)


def pod(name: str) -> Raw:
    container = {"name": "main", "image": "image:1", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}
    return {"metadata": {"name": name}, "spec": {"schedulerName": NAME, "containers": [container]}}


async def measure(programs: Path, plane: ControlPlane, *, nodes: int, pods: int, slices: int) -> list[Competitor]:
    found = {role: Competitor(role) for role in (OURS, STOCK)}
    observer, turns = Observer(), [OURS, STOCK]
    async with Client(load_kubeconfig(plane.kubeconfig)) as client:
        await each(range(nodes), partial(make_node, client))
        following = asyncio.ensure_future(observer.follow(client, NAMESPACE))
        for number in range(slices):
            for role in turns:
                names = [f"{role}-{number}-{place}" for place in range(pods // slices)]
                observer.expect(names)
                await each(names, lambda name: client.create(PODS, pod(name), namespace=NAMESPACE, type_=Seen))
                started = ours(plane) if role == OURS else stock(programs, plane)
                await take_turn(found[role], observer, started, plane.pids)
            turns.reverse()
        following.cancel()
    return list(found.values())


async def take_turn(
    turn: Competitor, observer: Observer, started: contextlib.AbstractAsyncContextManager[int], servers: tuple[int, ...]
) -> None:
    async with started as pid, asyncio.timeout(300):
        await observer.begun.wait()  # what they need to start does not count
        seen, own, theirs = len(observer.times), cpu_seconds((pid,)), cpu_seconds(servers)
        await observer.done.wait()
        bound = len(observer.times) - seen
        turn.cpu.append(1e6 * (cpu_seconds((pid,)) - own) / bound)
        turn.server_cpu.append(1e6 * (cpu_seconds(servers) - theirs) / bound)
    turn.rates.append(observer.rate())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--pods", type=int, default=5_000, help="pods for each of the two")
    parser.add_argument("--slices", type=int, default=5, help="how often they take turns")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kubeconfig", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        uvloop.run(schedule(arguments.kubeconfig))
        return
    programs = assets()
    if programs is None:
        raise SystemExit("wanted KUBEBUILDER_ASSETS to name a folder with a control plane: run make kube-assets")
    with tempfile.TemporaryDirectory(prefix="tf-") as root, control_plane(programs, Path(root) / "plane") as plane:
        accounts = Path(root) / "accounts"
        accounts.mkdir()
        asyncio.run(install_into(plane.kubeconfig, accounts))
        work = measure(programs, plane, nodes=arguments.nodes, pods=arguments.pods, slices=arguments.slices)
        own, other = uvloop.run(work)
    rate, peer = middle(own.rates), middle(other.rates)
    pods = arguments.slices * (arguments.pods // arguments.slices)
    parameters: dict[str, object] = {"pods": pods, "nodes": arguments.nodes, "slices": arguments.slices}
    report(
        [
            Row("pods_bound", rate, "1/s", STOCK, peer, parameters),
            Row("scheduler_cpu", middle(own.cpu), "us", STOCK, middle(other.cpu), parameters),
            Row("server_cpu", middle(own.server_cpu), "us", STOCK, middle(other.server_cpu), parameters),
            Row("bound_ratio", rate / peer, "x", "goal", GOAL, parameters),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
