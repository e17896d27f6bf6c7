"""``kill -9`` of each process and of all, under load: no acknowledged write is lost, no pod is bound twice.

The journal of acknowledged writes is kept by this process, outside the cluster. The default run kills twice,
``make test-kill`` a hundred times (``TENSORFUSION_KILLS``) and the long one a thousand. Every object carries its own
checksum over a body of up to 8 kB, so that a torn one, or one put together from two writes, is found.
"""

import asyncio
import os
import random
import signal
import socket
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checker import oversold
from cluster import Cluster, embedded_cluster, eventually
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, Gone, NotFound, ServerError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import CONFIG_MAPS, GPUS, JOBS, NAMESPACES, PODS
from test_road import gpu_pod

NAMESPACE = "kills"
WRITERS = 8
MOST_PODS = 400
KILLS = int(os.environ.get("TENSORFUSION_KILLS", "2"))
"""How often each victim is killed in a default run."""
WRITES_PER_SECOND = 200
"""How many writes a second have to be under way at the moments of the kills, where there are enough of them to tell."""
ENOUGH_KILLS = 50
LONGEST_WAIT = 5.0
"""Seconds that a kill waits for them."""


class Journal:
    """What the server acknowledged, and every node a pod was ever seen on."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[str, int]] = {}
        self.unknown: dict[str, set[str]] = defaultdict(set)
        """Values behind the last acknowledged one whose answer was lost: any of them may be there."""
        self.nodes: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.acknowledged = 0
        self.waits = 0.0
        """Seconds waited before kills, with everything up, and the writes acknowledged meanwhile."""
        self.acknowledged_in_waits = 0


async def write(client: Client, journal: Journal, writer: int, stop: asyncio.Event) -> None:
    """Write config maps and pods and note what was acknowledged; a lost answer makes a value unknown."""
    dice = random.Random(writer)
    number = 0
    while not stop.is_set():
        number += 1
        name, value = f"map-{writer}-{dice.randrange(200)}", f"{writer}-{number}"
        content = checked(value, dice)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": content}
        try:
            if name in journal.values:
                answer = await client.patch(CONFIG_MAPS, name, {"data": content}, namespace=NAMESPACE)
            else:
                answer = await client.create(CONFIG_MAPS, body, namespace=NAMESPACE)
            journal.values[name] = (value, int(answer["metadata"]["resourceVersion"]))
            journal.unknown.pop(name, None)
            journal.acknowledged += 1
            if number % 25 == 0 and len(journal.nodes) < MOST_PODS:
                pod = gpu_pod(f"pod-{writer}-{number}", tflops_request="5", vram_request="256Mi")
                made = await client.create(PODS, pod, namespace=NAMESPACE)
                journal.nodes[made["metadata"]["uid"]] = set()
                journal.acknowledged += 1
        except (ServerError, Conflict, AlreadyExists, NotFound):
            journal.unknown[name].add(value)
            await asyncio.sleep(0.02)


def checked(value: str, dice: random.Random) -> dict[str, str]:
    """Data that tells whether it is whole."""
    body = value * dice.randrange(1, 8000 // len(value))
    return {"value": value, "body": body, "checksum": checksum_of(value, body)}


def checksum_of(value: str, body: str) -> str:
    return f"{zlib.crc32(f'{value}/{body}'.encode()):08x}"


async def follow(client: Client, journal: Journal, stop: asyncio.Event) -> None:
    """Every placement of every pod, as a watch shows it."""
    while not stop.is_set():
        try:
            listing = await client.list(PODS, dict, namespace=NAMESPACE)
            for pod in listing.items:
                note(journal, pod)
            async for event in client.watch(PODS, dict, namespace=NAMESPACE, resource_version=listing.resource_version):
                if event.type in ("ADDED", "MODIFIED"):
                    note(journal, event.object)
                if stop.is_set():
                    return
        except (ApiError, Gone):
            await asyncio.sleep(0.05)


def note(journal: Journal, pod: dict[str, Any]) -> None:
    node = pod["spec"].get("nodeName")
    if node:
        devices = pod["metadata"]["annotations"].get("tensor-fusion.ai/gpu-ids", "")
        journal.nodes[pod["metadata"]["uid"]].add((node, devices))


async def kill_repeatedly(cluster: Cluster, journal: Journal, victims: list[str], times: int) -> None:
    dice = random.Random(7)
    is_up = True
    for round_number in range(times):
        before, since = journal.acknowledged, time.monotonic()
        await asyncio.sleep(dice.uniform(0.0, 0.25))
        if is_up:
            journal.waits += await under_way(journal, before, since)
            journal.acknowledged_in_waits += journal.acknowledged - before
        names = ["api", "control"] if victims == ["all"] else victims
        for name in names:
            pid = cluster.folder.pid(name)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        is_up = dice.random() < 0.9  # some are killed again while they start
        if is_up:
            await asyncio.to_thread(wait_until_back, cluster, names, round_number)


async def under_way(journal: Journal, before: int, since: float) -> float:
    """Wait until as many writes a second were acknowledged since then as have to be, and answer how many seconds it is
    since: a server that is just back is slow to answer the first ones, and slower where the machine has more to do.
    """
    while True:
        took = time.monotonic() - since
        if journal.acknowledged - before >= WRITES_PER_SECOND * took or took >= LONGEST_WAIT:
            return took
        await asyncio.sleep(0.005)


def answers(cluster: Cluster) -> bool:
    """The API takes requests."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(cluster.folder.api_socket))
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


def wait_until_back(cluster: Cluster, names: list[str], round_number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        alive = all(cluster.folder.pid(name) is not None for name in names)
        if alive and answers(cluster) and (names == ["api"] or (cluster.folder.run / "control.json").exists()):
            return
        time.sleep(0.02)
    raise AssertionError(f"{names} did not come back after kill {round_number}")


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.config.getoption("--real"):
        pytest.skip("kills the embedded cluster's processes")
    fleet = {"nodes": [{"name": "big-{i}", "count": 4, "cpu": 999, "memory": "9Ti", "pods": 9999,
                        "gpus": {"model": "A100_SXM_80G", "count": 8}}]}  # fmt: skip
    root: Path = tmp_path_factory.mktemp("kill")
    with embedded_cluster(root, fleet=fleet) as running:
        running.run(
            lambda client: client.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
            )
        )
        yield running


def check(cluster: Cluster, journal: Journal) -> None:
    async def collect(client: Client) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        maps = (await client.list(CONFIG_MAPS, dict, namespace=NAMESPACE)).items
        pods = (await client.list(PODS, dict, namespace=NAMESPACE)).items
        gpus = (await client.list(GPUS, dict)).items
        return {entry["metadata"]["name"]: entry for entry in maps}, pods, gpus

    maps, pods, gpus = cluster.run(collect)
    assert [name for name, entry in maps.items() if name.startswith("map-") and not is_whole(entry["data"])] == []
    told = {name: journal.values.get(name, ("", 0)) for name in {*journal.values, *journal.unknown}}
    lost = [
        (name, value, version, maps.get(name))
        for name, (value, version) in told.items()
        if not is_as_told(maps.get(name), value, version, journal.unknown.get(name, set()))
    ]
    assert lost == []
    for pod in pods:
        note(journal, pod)
    known = {pod["metadata"]["uid"] for pod in pods}
    assert set(journal.nodes) <= known, "acknowledged pods are gone"
    assert [places for places in journal.nodes.values() if len(places) > 1] == []
    assert oversold(gpus, pods) == []


def is_whole(data: dict[str, str]) -> bool:
    return data["checksum"] == checksum_of(data["value"], data["body"])


def is_as_told(found: dict[str, Any] | None, value: str, version: int, unknown: set[str]) -> bool:
    """The last acknowledged write, or one behind it whose answer was lost; nothing older and nothing else."""
    if found is None:
        return version == 0
    if found["data"]["value"] == value:
        return int(found["metadata"]["resourceVersion"]) == version
    return found["data"]["value"] in unknown and int(found["metadata"]["resourceVersion"]) > version


@pytest.mark.parametrize("victims", [["api"], ["control"], ["all"]], ids=lambda names: names[0])
@pytest.mark.parametrize("times", [KILLS, pytest.param(334, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_nothing_acknowledged_is_lost_by_kill_9(own: Cluster, victims: list[str], times: int) -> None:
    journal = Journal()

    async def storm() -> float:
        stop = asyncio.Event()
        started = time.monotonic()
        async with Client(load_kubeconfig(own.kubeconfig)) as client, asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(write(client, journal, random.randrange(10**6) * 10 + writer, stop))
            follower = group.create_task(follow(client, journal, stop))
            await kill_repeatedly(own, journal, victims, times)
            stop.set()
            await asyncio.sleep(0.5)
            follower.cancel()
        return time.monotonic() - started

    seconds = asyncio.run(storm())
    rate = journal.acknowledged_in_waits / journal.waits
    print(
        f"{times} kills of {victims[0]}: {journal.acknowledged} acknowledged writes in {seconds:.0f} s, "
        f"{rate:.0f}/s before a kill"
    )
    assert journal.acknowledged > 2 * times, "too few writes were under way to prove anything"
    if times >= ENOUGH_KILLS:
        assert rate >= WRITES_PER_SECOND

    def all_placed() -> bool:
        pods = own.run(lambda client: client.list(PODS, dict, namespace=NAMESPACE)).items
        return all(pod["status"].get("phase") == "Running" for pod in pods)

    eventually(all_placed, patience=60)
    check(own, journal)


def test_a_job_counts_each_pod_once_though_its_controller_is_killed(own: Cluster) -> None:
    template = {
        "metadata": {"annotations": {"simulated.tensor-fusion.ai/run-for": "0s"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c"}]},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "counted"},
        "spec": {"completions": 30, "parallelism": 6, "template": template},
    }
    own.run(lambda client: client.create(JOBS, job, namespace="default"))

    def status() -> dict[str, Any]:
        found: dict[str, Any] = own.run(lambda client: client.get(JOBS, dict, "counted", namespace="default"))["status"]
        return found

    eventually(status, until=lambda now: now.get("succeeded", 0) > 0, patience=60)
    pid = own.folder.pid("control")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    ended = eventually(status, until=lambda now: bool(now.get("completionTime")), patience=90)
    assert (ended["succeeded"], ended.get("failed", 0)) == (30, 0)
    pods = own.run(lambda client: client.list(PODS, dict, namespace="default", labels="job-name=counted")).items
    assert [pod["status"]["phase"] for pod in pods] == ["Succeeded"] * 30
    assert not any(pod["metadata"].get("finalizers") for pod in pods)
