"""The embedded API beside a real etcd and kube-apiserver: writes, lists, watches, memory and start-up.

Goal: at least the real one's rates, at most half its memory. Both run at once, and slices of the work alternate between
them, so that a busy machine slows both. Each side gets the same requests by the same client over TLS; the processor
time of an operation (``_cpu`` rows) is the server's own and hardly depends on what else runs.

Peer: a real etcd and kube-apiserver where KUBEBUILDER_ASSETS names them. etcd does not wait for the disk there, the
embedded server does. Neither side runs controllers of other processes.
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from _report import Row, report
from _servers import PEER, Serving, assets, cpu_seconds, embedded, real
from tensorfusion.cli.memory import pss_bytes
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.kube.credentials import tls_context
from tensorfusion.model import keys
from tensorfusion.model.resources import PODS
from tensorfusion.testing.traces import TracePod, pod_manifest

NAMESPACE = "default"
PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"
JSON = "application/json"
WRITERS = 32
PAGE = 500
LISTS = 3
STARTS = 3
READY = [{"type": kind, "status": "True"} for kind in ("Initialized", "PodScheduled", "ContainersReady", "Ready")]
WRITES = ("create", "bind", "status", "patch")
TAIL = 16 << 10
VERSION = re.compile(rb'"resourceVersion":"(\d+)"')
OURS, THEIRS = "embedded", "real"


@dataclass
class Side:
    """One server, and for each phase what its slices were: operations, seconds, processor seconds of the server."""

    serving: Serving
    client: Client
    session: aiohttp.ClientSession
    slices: dict[str, list[tuple[int, float, float]]] = field(default_factory=lambda: defaultdict(list))
    uids: dict[str, str] = field(default_factory=dict)
    ended_watches: int = 0

    async def slice(self, phase: str, operations: int, work: Awaitable[Any]) -> None:
        cpu, started = cpu_seconds(self.serving.pids), time.perf_counter()
        await work
        seconds = time.perf_counter() - started
        self.slices[phase].append((operations, seconds, cpu_seconds(self.serving.pids) - cpu))

    def rate(self, phase: str) -> float:
        """Operations a second of the median slice."""
        return statistics.median(operations / seconds for operations, seconds, _ in self.slices[phase])

    def cpu_us(self, phase: str) -> float:
        """Processor time of the server for one operation, in microseconds."""
        slices = self.slices[phase]
        return 1e6 * sum(cpu for _, _, cpu in slices) / sum(operations for operations, _, _ in slices)

    def mebibytes(self) -> float:
        return pss_bytes(self.serving.pids) / (1 << 20)


async def each(names: Iterable[str], work: Callable[[str], Awaitable[Any]]) -> None:
    """Do the work for every name, ``WRITERS`` at a time."""
    left = iter(names)

    async def worker() -> None:
        for name in left:
            await work(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(worker())


async def annotate(side: Side, name: str, value: str) -> None:
    change = {"metadata": {"annotations": {"benchmark": value}}}
    await side.client.patch(PODS, name, change, namespace=NAMESPACE)


async def writes(side: Side, names: Sequence[str]) -> None:
    """The three writes of each pod (creation, Binding, status), then a patch of its annotations."""

    async def create(name: str) -> None:
        pod = TracePod(name, cpu=1000, memory=4096, gpus=1, gpu_milli=320)
        made = await side.client.create(PODS, pod_manifest(pod, namespace=NAMESPACE), namespace=NAMESPACE)
        side.uids[name] = made["metadata"]["uid"]

    async def bind(name: str) -> None:
        given = {keys.GPU_IDS: "gpu-00001", keys.SCHEDULER_EPOCH: "1"}
        await side.client.bind(NAMESPACE, name, uid=side.uids[name], node="node-0", annotations=given)

    async def run(name: str) -> None:
        status = {"phase": "Running", "conditions": READY, "hostIP": "10.0.0.1", "podIP": "10.1.0.1"}
        await side.client.patch(PODS, name, {"status": status}, namespace=NAMESPACE, subresource="status")

    async def patch(name: str) -> None:
        await annotate(side, name, "patched")

    for phase, work in zip(WRITES, (create, bind, run, patch), strict=True):
        await side.slice(phase, len(names), each(names, work))


async def lists(side: Side, pods: int) -> None:
    """All pods, in one piece and in pages; nothing is decoded here."""

    async def pages() -> int:
        found, more = 0, ""
        while True:
            body = await side.client.get_raw(f"{PATH}?limit={PAGE}&continue={more}", accept=JSON)
            found += body.count(b'"containers":[')
            head = body[: body.index(b'"items"')]
            if b'"continue":"' not in head:
                return found
            more = head.partition(b'"continue":"')[2].partition(b'"')[0].decode()

    async def whole() -> int:
        body = await side.client.get_raw(PATH, accept=JSON)
        return body.count(b'"containers":[')

    for phase, work in (("list_whole", whole), ("list_pages", pages)):

        async def checked(work: Callable[[], Awaitable[int]] = work) -> None:
            found = await work()
            if found != pods:
                raise SystemExit(f"listed {found} pods of {pods}")

        await side.slice(phase, pods, checked())


@dataclass
class Follower:
    """A watch that counts its events. Where the server ends it, it goes on from the last one, as informers do."""

    side: Side
    version: str
    seen: int = 0
    answer: aiohttp.ClientResponse | None = None

    async def open(self) -> None:
        self.answer = await self.side.session.get(f"{PATH}?watch=1&resourceVersion={self.version}&timeoutSeconds=600")
        self.answer.raise_for_status()

    async def follow(self, wanted: int) -> None:
        tail = b""
        while True:
            assert self.answer is not None
            with contextlib.suppress(aiohttp.ClientError):
                async for chunk in self.answer.content.iter_any():
                    tail = (tail + chunk)[-TAIL:]
                    self.seen += chunk.count(b"\n")
                    if self.seen >= wanted:
                        self.answer.close()
                        return
            self.side.ended_watches += 1
            whole = tail[: tail.rfind(b"\n")]
            if b'"type":"ERROR"' in whole:
                raise SystemExit(f"a watch failed after {self.seen} events of {wanted}")
            self.version = (VERSION.findall(whole) or [self.version.encode()])[-1].decode()
            tail = b""
            await self.open()


async def fan_out(side: Side, names: Sequence[str], watchers: int) -> None:
    """Patch every pod once while so many watchers follow; from the first patch until all have seen all of them."""
    body = await side.client.get_raw(f"{PATH}?limit=1", accept=JSON)
    version = VERSION.findall(body[: body.index(b'"items"')])[0].decode()
    followers = [Follower(side, version) for _ in range(watchers)]
    for follower in followers:
        await follower.open()

    async def deliver() -> None:
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.follow(len(names)))
            group.create_task(each(names, lambda name: annotate(side, name, version)))

    await side.slice("fan_out", watchers * len(names), deliver())


async def measure(
    servings: dict[str, Serving], *, pods: int, slices: int, watchers: int, changes: int
) -> tuple[dict[str, Side], dict[str, tuple[float, float]]]:
    """Every phase on every server, in turns; also the memory of each, when started and when full."""
    async with AsyncExitStack() as stack:
        sides = {}
        for name, serving in servings.items():
            connection = load_kubeconfig(serving.kubeconfig)
            client = await stack.enter_async_context(Client(connection))
            session = aiohttp.ClientSession(
                connection.server,
                connector=aiohttp.TCPConnector(limit=0, ssl=tls_context(connection)),
                headers={"Authorization": f"Bearer {connection.token}", "Accept": JSON},
                timeout=aiohttp.ClientTimeout(total=None),
                read_bufsize=1 << 18,
            )
            sides[name] = Side(serving, client, await stack.enter_async_context(session))
        started = {name: side.mebibytes() for name, side in sides.items()}
        turns = list(sides.values())
        per_slice = pods // slices
        for number in range(slices):
            names = [f"pod-{number}-{place}" for place in range(per_slice)]
            for side in turns:
                await writes(side, names)
            turns.reverse()
        for _ in range(LISTS):
            for side in turns:
                await lists(side, per_slice * slices)
            turns.reverse()
        for number in range(slices):
            for side in turns:
                await fan_out(side, [f"pod-{number}-{place}" for place in range(min(changes, per_slice))], watchers)
            turns.reverse()
        return sides, {name: (started[name], side.mebibytes()) for name, side in sides.items()}


def start_times(root: Path, programs: Path | None) -> dict[str, float]:
    """Seconds from exec until a server answers that it is ready, with nothing in it; the median of a few."""
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(STARTS):
        with embedded(root / f"start-{number}") as serving:
            found[OURS].append(serving.ready_seconds)
        if programs is not None:
            with real(root / f"real-start-{number}", programs) as serving:
                found[THEIRS].append(serving.ready_seconds)
    return {name: statistics.median(times) for name, times in found.items()}


def rows_of(
    sides: dict[str, Side],
    starts: dict[str, float],
    memory: dict[str, tuple[float, float]],
    parameters: dict[str, object],
) -> list[Row]:
    ours, theirs = sides[OURS], sides.get(THEIRS)

    def row(name: str, unit: str, value: float, other: float | None) -> Row:
        return Row(name, value, unit, PEER, other, parameters)

    rows = []
    for phase in (*WRITES, "list_whole", "list_pages", "fan_out"):
        rows.append(row(phase, "1/s", ours.rate(phase), theirs.rate(phase) if theirs else None))
        rows.append(row(f"{phase}_cpu", "us", ours.cpu_us(phase), theirs.cpu_us(phase) if theirs else None))
    for place, name in enumerate(("pss_started", "pss_full")):
        rows.append(row(name, "MiB", memory[OURS][place], memory[THEIRS][place] if theirs else None))
    rows.append(row("ended_watches", "", ours.ended_watches, theirs.ended_watches if theirs else None))
    rows.append(row("start", "s", starts[OURS], starts.get(THEIRS)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--slices", type=int, default=5, help="how often the sides take turns")
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--changes", type=int, default=1_000, help="patches a slice that the watchers follow")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    programs = assets()
    with tempfile.TemporaryDirectory(prefix="tf-") as folder, ExitStack() as servers:
        root = Path(folder)
        starts = start_times(root, programs)
        servings = {OURS: servers.enter_context(embedded(root / "data"))}
        if programs is not None:
            servings[THEIRS] = servers.enter_context(real(root / "real", programs))
        work = measure(
            servings,
            pods=arguments.pods,
            slices=arguments.slices,
            watchers=arguments.watchers,
            changes=arguments.changes,
        )
        sides, memory = uvloop.run(work)
    parameters = {
        "pods": arguments.pods // arguments.slices * arguments.slices,
        "in_flight": WRITERS,
        "watchers": arguments.watchers,
    }
    report(rows_of(sides, starts, memory, parameters), arguments.json)


if __name__ == "__main__":
    main()
