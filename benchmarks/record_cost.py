"""What recording costs the scheduler: processor time and bytes a pod, over a pod's whole life.

Two schedulers follow one embedded API and place pods of their own names, one of them recording; they take turns. A pod
is created, placed, runs and finishes. ``scheduler_cpu`` is the processor time of a scheduler's process, loop and
threads, from the first create of a slice until what came of it is written; peer, in the same run: the one that does not
record. ``own_cpu`` is the recording's part alone, which is less than what differs between two such runs by chance: its
calls for many pods in a row, with a write for each 250 of them. Goal: below 2 % of the peer's time.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import uvloop

from _binding import GPUS_A_NODE, Observer, Turn, build_fleet, each, until
from _report import Row, report
from _servers import embedded
from bindrate import NAMESPACE, POOL, pod
from tensorfusion.cli.install import install_into
from tensorfusion.clock import SystemClock
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model.core import Namespace, Pod, PodSpec, PodStatus
from tensorfusion.model.meta import Key, Meta
from tensorfusion.model.providers import NO_PROVIDERS
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.resources import PODS
from tensorfusion.runtime import collector
from tensorfusion.runtime.cache import Cache
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.recording.reader import read
from tensorfusion.scheduler.recording.recorder import WRITE_EVERY, Recorder, RecordOptions
from tensorfusion.scheduler.recording.segments import segments_of
from tensorfusion.scheduler.recording.surroundings import Surroundings
from tensorfusion.scheduler.service import Options, SchedulerService
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.testing.clock import VirtualClock

GOAL = 2.0
RECORDING, PLAIN = "recording", "plain"


async def child(role: str, kubeconfig: Path, folder: Path) -> None:
    """One of the schedulers; answers each line on standard input with its seconds so far."""
    clock = SystemClock()
    record = RecordOptions(folder) if role == RECORDING else None
    async with Client(load_kubeconfig(kubeconfig)) as client:
        manager = Manager(client, clock=clock)
        recorder, writer = EventRecorder(client, component=role, clock=clock), StatusWriter(client, clock=clock)
        service = SchedulerService(
            manager,
            Turn(leads=True),
            recorder=recorder,
            writer=writer,
            options=Options(scheduler_names=(role,), record=record),
        )
        recorder.busy = lambda: service.saturated
        manager.add_task("scheduler", service.run)
        running = [asyncio.ensure_future(task) for task in (manager.run(), recorder.run(), writer.run())]
        await manager.synced.wait()
        await until(lambda: service.deciding and service.synced)
        collector.settle()
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print(json.dumps(0.0), flush=True)
        while await reader.readline():
            await asyncio.sleep(2 * WRITE_EVERY)  # what was noted is written
            print(json.dumps(time.process_time()), flush=True)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@dataclass
class Side:
    """One of the two processes, and its seconds in each of its turns."""

    role: str
    process: asyncio.subprocess.Process
    seconds: list[float] = field(default_factory=list)

    async def ask(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        return float(json.loads(await self.process.stdout.readline()))


@asynccontextmanager
async def side(role: str, kubeconfig: Path, folder: Path) -> Any:
    command = (sys.executable, __file__, "--child", role, "--kubeconfig", str(kubeconfig), "--folder", str(folder))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        yield Side(role, process)
    finally:
        process.stdin.close()
        await process.wait()


async def measure(kubeconfig: Path, root: Path, *, nodes: int, pods: int, slices: int) -> list[Side]:
    await install_into(kubeconfig, root)
    account = root / f"{keys.CONTROLLER_ACCOUNT}.kubeconfig"
    observer = Observer()
    async with Client(load_kubeconfig(kubeconfig)) as client:
        await build_fleet(client, [POOL], nodes)
        async with (
            side(RECORDING, account, root / "history") as recording,
            side(PLAIN, account, root / "history") as plain,
        ):
            following = asyncio.ensure_future(observer.follow(client, NAMESPACE))
            turns = [recording, plain]
            for number in range(slices):
                for turn in turns:
                    names = [f"{turn.role}-{number}-{place}" for place in range(pods // slices)]
                    before = await turn.ask()
                    await live(client, observer, turn.role, names)
                    turn.seconds.append(await turn.ask() - before)
                turns.reverse()
            following.cancel()
    return [recording, plain]


async def live(client: Client, observer: Observer, role: str, names: list[str]) -> None:
    """The pods come, get their places, run and finish."""
    observer.expect(names)
    numbered = list(enumerate(names))

    async def create(item: tuple[int, str]) -> None:
        await client.create(PODS, pod(item[1], role, item[0]), namespace=NAMESPACE)

    await each(numbered, create)
    async with asyncio.timeout(300):
        await observer.done.wait()
    for phase in ("Running", "Succeeded"):
        await each(names, partial(set_phase, client, phase))


async def set_phase(client: Client, phase: str, name: str) -> None:
    await client.patch(PODS, name, {"status": {"phase": phase}}, namespace=NAMESPACE, subresource="status")


class Always:
    """A scheduler that decides all the time."""

    deciding = synced = True


async def own_cpu(folder: Path, pods: int = 5_000, batch: int = 250) -> float:
    """Microseconds that recording takes a pod, on the loop and on the thread."""
    clock, spent = VirtualClock(), 0.0
    recorder = Recorder(RecordOptions(folder, beside=here), clock=clock)
    state = recorder.state
    refused, nobody = (lambda _, __: None), frozenset[str]()
    book = PodBook(state, [], clock=clock, scheduler_names=nobody, priority_of=lambda _: 0, refused=refused)
    namespaces: Cache[Namespace] = Cache()
    namespaces.put(Key("", "kube-system"), Namespace(metadata=Meta(name="kube-system", uid="cluster")))
    around = Surroundings(Always(), namespaces, lambda: NO_PROVIDERS, None)
    recorder.attach(around, book, domains=(), patience=300.0, cluster_wide=lambda: False)
    running = asyncio.ensure_future(recorder.run())
    await clock.advance(WRITE_EVERY)
    for first in range(0, pods, batch):
        lives = [life(number) for number in range(first, first + batch)]
        for facts, _ in lives:
            book.queue.put(facts.uid, facts, priority=0, now=0.0)
        entries = [entry for facts, _ in lives if (entry := book.queue.get(facts.uid)) is not None]
        started = time.process_time()
        for _, views in lives:
            recorder.follow(None, views[0])
        for entry in entries:
            recorder.decided(entry, None)
        spent += time.process_time() - started
        for facts, _ in lives:
            book.queue.remove(facts.uid)
            state.confirm(facts, Placement("node-0", ("gpu-0",)))
        started = time.process_time()
        for _, views in lives:
            for old, new in pairwise(views):
                recorder.follow(old, new)
        await clock.advance(WRITE_EVERY)
        spent += time.process_time() - started
        for facts, _ in lives:
            state.release(facts.uid)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return 1e6 * spent / pods


async def here(work: Callable[[], None]) -> None:
    work()


REQUESTS = [GpuRequest(POOL, compute=10_000 * (1 + number % 9), vram=1 + number % 8) for number in range(72)]


def life(number: int) -> tuple[PodFacts, list[Pod]]:
    """A pod as the scheduler sees it over time: created, told why it waits, bound, told so, running, finished."""
    uid, name = f"{number:08x}-0000-4000-8000-000000000000", f"pod-{number}"
    meta = Meta(name=name, namespace=NAMESPACE, uid=uid, creation_timestamp="2026-01-01T00:00:00Z")
    waits = Pod(metadata=meta)
    bound = Pod(metadata=meta, spec=PodSpec(node_name="node-0"))
    ends = [Pod(metadata=meta, spec=bound.spec, status=PodStatus(phase=phase)) for phase in ("Running", "Succeeded")]
    facts = PodFacts(uid, NAMESPACE, name, request=REQUESTS[number % len(REQUESTS)], cpu=100, memory=1 << 28)
    return facts, [waits, waits, bound, bound, *ends]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--pods", type=int, default=4_000, help="pods for each of the two")
    parser.add_argument("--slices", type=int, default=8, help="how often they take turns")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=(RECORDING, PLAIN), help=argparse.SUPPRESS)
    parser.add_argument("--kubeconfig", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        uvloop.run(child(arguments.child, arguments.kubeconfig, arguments.folder))
        return
    with tempfile.TemporaryDirectory(prefix="tf-") as folder, embedded(Path(folder) / "data") as serving:
        root = Path(folder) / "accounts"
        root.mkdir()
        work = measure(serving.kubeconfig, root, nodes=arguments.nodes, pods=arguments.pods, slices=arguments.slices)
        recording, plain = uvloop.run(work)
        found = read(root / "history").history
        size = sum(path.stat().st_size for path in segments_of(root / "history"))
    each_slice = arguments.pods // arguments.slices
    peer, other = (1e6 * statistics.median(found.seconds) / each_slice for found in (plain, recording))
    with tempfile.TemporaryDirectory(prefix="tf-") as folder:
        own = statistics.median(asyncio.run(own_cpu(Path(folder) / str(number))) for number in range(5))
    parameters: dict[str, object] = {
        "pods": each_slice * arguments.slices,
        "gpus": arguments.nodes * GPUS_A_NODE,
        "slices": arguments.slices,
    }
    report(
        [
            Row("own_cpu", own, "us", "scheduler that does not record", peer, parameters),
            Row("own_share", 100 * own / peer, "%", "goal", GOAL, parameters),
            Row("scheduler_cpu", other, "us", "scheduler that does not record", peer, parameters),
            Row("size", size / len(found.pods), "bytes", "", None, {**parameters, "recorded": len(found.pods)}),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
