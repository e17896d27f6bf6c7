"""Hours of the same: memory, files and disk stay where they are once everything bounded is full.

Pods and config maps come and go at a steady pace through the whole product, with lists and watches beside them. The
measuring begins when everything that has a bound is full: the events that are kept, the window of the past, and what
is remembered of so many pods.
``TENSORFUSION_SOAK_SECONDS`` sets how long; an hour by default.
"""

import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster import Cluster, embedded_cluster
from tensorfusion.embedded.expiry import MOST as MOST_EVENTS
from tensorfusion.errors import ApiError, Gone, NotFound
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import CONFIG_MAPS, EVENTS, NAMESPACES, PODS
from tensorfusion.scheduler.records import RECORDS
from test_road import gpu_pod

SECONDS = int(os.environ.get("TENSORFUSION_SOAK_SECONDS", "3600"))
NAMESPACE = "soak"
PODS_ALIVE = 150
MAPS = 100
MAP_SIZE = 2000
WRITERS = 4
PAUSE = 0.04
"""Seconds between a writer's steps: some 60 writes a second in all, of which the product makes many more."""
SAMPLES_EVERY = 2.0
WARMED_UP = 60.0
"""Seconds of the same before the measuring, behind the full window: caches, pools and arenas reach their size."""
PODS_BEFORE = RECORDS * 5 // 4
"""Pods that came and went before the measuring: more than anything remembers one by one."""
PROCESSES = ("api", "control")

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + 1800)]


@dataclass
class Sample:
    """One look: seconds since the start, and MiB, descriptors and MB on disk."""

    at: float
    pss: dict[str, float]
    descriptors: dict[str, int]
    disk: float


@dataclass
class Work:
    """What was done so far."""

    name: str
    pause: float = PAUSE
    pods: int = 0
    writes: int = 0
    watches: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    if request.config.getoption("--real"):
        pytest.skip("watches the embedded cluster's processes")
    fleet = {"nodes": [{"name": "big-{i}", "count": 4, "cpu": 999, "memory": "9Ti", "pods": 9999,
                        "gpus": {"model": "A100_SXM_80G", "count": 8}}]}  # fmt: skip
    with embedded_cluster(tmp_path, fleet=fleet) as running:
        yield running


async def write_maps(client: Client, work: Work, writer: int) -> None:
    """Config maps of the same names, written over and over and now and then deleted."""
    dice = random.Random(writer)
    while not work.stop.is_set():
        name = f"map-{writer}-{dice.randrange(MAPS)}"
        data = {"a": str(dice.random()) * (MAP_SIZE // 20)}
        try:
            if dice.random() < 0.05:
                await client.delete(CONFIG_MAPS, name, namespace=NAMESPACE)
            else:
                await client.patch(CONFIG_MAPS, name, {"data": data}, namespace=NAMESPACE)
        except NotFound:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
            await client.create(CONFIG_MAPS, body, namespace=NAMESPACE)
        work.writes += 1
        await asyncio.sleep(work.pause)


async def run_pods(client: Client, work: Work) -> None:
    """Pods with shares, each placed, running and deleted in turn; never many at a time, never one name twice."""
    alive: list[str] = []
    while not work.stop.is_set():
        work.pods += 1
        name = f"{work.name}-{work.pods}"
        await client.create(PODS, gpu_pod(name, tflops_request="5", vram_request="256Mi"), namespace=NAMESPACE)
        alive.append(name)
        if len(alive) > PODS_ALIVE:
            await client.delete(PODS, alive.pop(0), namespace=NAMESPACE)
        work.writes += 2
        await asyncio.sleep(work.pause)


async def look_on(client: Client, work: Work) -> None:
    """Lists, and watches that come and go."""
    while not work.stop.is_set():
        listing = await client.list(PODS, dict, namespace=NAMESPACE)
        work.watches += 1
        try:
            async with asyncio.timeout(3):
                async for _ in client.watch(PODS, dict, namespace=NAMESPACE, resource_version=listing.resource_version):
                    pass
        except (TimeoutError, Gone):
            pass


def sample(cluster: Cluster, started: float) -> Sample:
    pss, descriptors = {}, {}
    for name in PROCESSES:
        pid = cluster.folder.pid(name)
        assert pid is not None, f"{name} is gone"
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss[name] = next(int(line.split()[1]) / 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        descriptors[name] = len([*Path(f"/proc/{pid}/fd").iterdir()])
    disk = sum(path.stat().st_size for path in cluster.folder.root.glob("store.db*"))
    return Sample(time.monotonic() - started, pss, descriptors, disk / 1e6)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Per hour, by least squares over (seconds, value)."""
    return statistics.linear_regression([at for at, _ in points], [value for _, value in points]).slope * 3600


async def fill(client: Client, work: Work) -> None:
    """Everything bounded is full: as many events as are kept, and then the past, which a watch from here falls out of.

    The past is filled by the same work as is measured, without its pauses, and with more pods at a time, until also
    what is kept of single pods is full.
    """
    about = {"kind": "Pod", "namespace": NAMESPACE, "name": "some"}
    numbers = iter(range(MOST_EVENTS))

    async def tell() -> None:
        for number in numbers:
            metadata = {"name": f"some-{number}"}
            body = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": metadata,
                "involvedObject": about,
                "message": "x" * 80,
            }
            await client.create(EVENTS, {**body, "reason": "Scheduled", "type": "Normal"}, namespace=NAMESPACE)

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(tell())
    first = (await client.list(CONFIG_MAPS, dict, namespace=NAMESPACE)).resource_version
    async with asyncio.TaskGroup() as group:
        keep_busy(group, client, work)
        for _ in range(3):
            group.create_task(run_pods(client, work))
        while work.pods < PODS_BEFORE or not await is_gone(client, first):
            await asyncio.sleep(1)
        work.stop.set()


async def is_gone(client: Client, version: str) -> bool:
    """Whether the window no longer reaches back to a version."""
    try:
        async with asyncio.timeout(0.5):
            async for _ in client.watch(CONFIG_MAPS, dict, namespace=NAMESPACE, resource_version=version):
                return False
    except TimeoutError:
        return False
    except Gone:
        return True
    return False


def keep_busy(group: asyncio.TaskGroup, client: Client, work: Work) -> None:
    for writer in range(WRITERS):
        group.create_task(write_maps(client, work, writer))
    group.create_task(run_pods(client, work))
    group.create_task(look_on(client, work))


async def soak(cluster: Cluster, work: Work) -> list[Sample]:
    async with Client(load_kubeconfig(cluster.kubeconfig)) as client:
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        began = time.monotonic()
        await fill(client, Work("warm", pause=0.0))
        print(f"\nfull behind {time.monotonic() - began:.0f} s")
        samples = []
        async with asyncio.TaskGroup() as group:
            keep_busy(group, client, work)
            await asyncio.sleep(WARMED_UP)
            started = time.monotonic()
            while time.monotonic() - started < SECONDS:
                samples.append(sample(cluster, started))
                await asyncio.sleep(SAMPLES_EVERY)
            work.stop.set()
        return samples


def test_memory_files_and_disk_are_flat(own: Cluster) -> None:
    work = Work("soak")
    pids = {name: own.folder.pid(name) for name in PROCESSES}
    try:
        samples = asyncio.run(soak(own, work))
    except* ApiError as errors:
        raise AssertionError(f"a request failed: {errors.exceptions}") from errors
    assert {name: own.folder.pid(name) for name in PROCESSES} == pids, "a process was restarted"
    quarter = max(len(samples) // 4, 1)
    print(f"\n{work.pods} pods, {work.writes} writes, {work.watches} watches in {samples[-1].at:.0f} s")
    grown = {}
    for name in PROCESSES:
        pss = [(one.at, one.pss[name]) for one in samples]
        before, after = (statistics.median(value for _, value in part) for part in (pss[:quarter], pss[-quarter:]))
        print(f"{name}: PSS {before:.1f} MiB, then {after:.1f} MiB; slope {slope(pss):+.1f} MiB an hour")
        grown[name] = after - before - max(0.05 * before, 8.0)
        opened = [one.descriptors[name] for one in samples]
        assert max(opened[-quarter:]) <= max(opened[:quarter]) + 10, f"{name} keeps files open"
    print(f"disk: {samples[0].disk:.1f} MB, then {samples[-1].disk:.1f} MB")
    print(json.dumps([(round(one.at), {n: round(v, 1) for n, v in one.pss.items()}) for one in samples[::quarter]]))
    assert {name: by for name, by in grown.items() if by > 0} == {}, "MiB beyond 5 % or 8 MiB"
    assert samples[-1].disk <= 2 * samples[0].disk + 10
