"""``kill -9`` while everything that can be asked of the scheduler is asked at once: nothing is oversold or left behind.

Gangs, pods that preempt, hardware partitions, quotas, live changes and plain shares come and go on a small fleet while
the control process, the API process or both are killed again and again. Afterwards an auditor that knows the objects
alone looks at what is left. ``TENSORFUSION_KILLS`` says how often each of them is killed (67 times by
``make test-kill-mixed``).
"""

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, embedded_cluster, eventually
from tensorfusion.errors import ApiError, NotFound
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model.resources import (
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    GPUS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    PROVIDER_CONFIGS,
    Resource,
)
from tensorfusion.testing.placement_audit import (
    Cards,
    gflops,
    is_live,
    usage_by_namespace,
    whole,
    wrong_with_devices,
    wrong_with_nodes,
)
from test_gangs import job
from test_kill import KILLS, Journal, note, wait_until_back
from test_road import gpu_pod

FREE, BOUNDED = "mixed", "bounded"
WRITERS = 4
MOST_OBJECTS = 90
CEILING = {"tflops": "900", "vram": "200Gi"}
PATIENCE = 40.0
"""Seconds without any new placement after which it is killed all the same."""
FORMS = ("mig-1g.10gb", "mig-2g.20gb", "mig-3g.40gb")


async def disturb(client: Client, journal: Journal, writer: int, stop: asyncio.Event) -> None:
    """Create, change and delete, whatever the answers are."""
    dice = random.Random(writer)
    mine: list[tuple[Resource, str, str]] = []
    number = 0
    while not stop.is_set():
        number += 1
        namespace = dice.choice((FREE, BOUNDED))
        try:
            if len(mine) > MOST_OBJECTS // WRITERS or (mine and dice.random() < 0.3):
                resource, place, name = mine.pop(dice.randrange(len(mine)))
                await client.delete(resource, name, namespace=place, propagation="Background")
            elif mine and dice.random() < 0.2:
                resource, place, name = dice.choice(mine)
                if resource is PODS:
                    wish = {keys.TFLOPS_REQUEST: str(dice.choice((5, 60))), keys.VRAM_REQUEST: "2Gi"}
                    await client.patch(PODS, name, {"metadata": {"annotations": wish}}, namespace=place)
            else:
                resource, body = wanted(dice, f"w{writer}-{number}")
                mine.append((resource, namespace, body["metadata"]["name"]))
                await client.create(resource, body, namespace=namespace)
            journal.acknowledged += 1
        except ApiError:
            await asyncio.sleep(0.02)
        await asyncio.sleep(dice.uniform(0.0, 0.1))


def wanted(dice: random.Random, name: str) -> tuple[Resource, dict[str, Any]]:
    """Something that somebody may ask for."""
    kind = dice.randrange(8)
    if kind == 0:
        return JOBS, job(name, dice.randrange(2, 5), vram="30Gi", mode=dice.choice(("strict", "elastic")))
    if kind in (1, 2):
        return PODS, gpu_pod(name, isolation="partitioned", gpu_model="A100", partition_id=dice.choice(FORMS))
    if kind == 3:
        return PODS, gpu_pod(name, qos="critical", tflops_request="300", vram_request="70Gi")
    if kind == 4:
        return PODS, gpu_pod(name, qos="high", gpu_count="2", tflops_request="150", vram_request="40Gi")
    if kind == 5:
        return PODS, gpu_pod(name, isolation="shared", vram_request="1Gi", tflops_request="1")
    return PODS, gpu_pod(name, qos=dice.choice(("low", "medium")), tflops_request="60", vram_request="20Gi")


async def follow(client: Client, journal: Journal, stop: asyncio.Event) -> None:
    """Every place of every pod, as a watch shows it."""
    while not stop.is_set():
        try:
            listing = await client.list(PODS, dict)
            for pod in listing.items:
                note_ours(journal, pod)
            async for event in client.watch(PODS, dict, resource_version=listing.resource_version):
                if event.object is not None:
                    note_ours(journal, event.object)
                if stop.is_set():
                    return
        except ApiError:
            await asyncio.sleep(0.05)


def note_ours(journal: Journal, pod: dict[str, Any]) -> None:
    if pod["metadata"]["namespace"] in (FREE, BOUNDED):
        note(journal, pod)


async def kill_at_work(cluster: Cluster, journal: Journal, victims: list[str]) -> None:
    """Kill soon after each time that pods were bound, and now and then while the victim starts."""
    names = ["api", "control"] if victims == ["all"] else victims
    for round_number in range(KILLS):
        before, deadline = bound(journal), time.monotonic() + PATIENCE
        while bound(journal) == before and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await asyncio.sleep(random.uniform(0.0, 0.3))
        for name in names:
            pid = cluster.folder.pid(name)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        if random.random() < 0.9:
            await asyncio.to_thread(wait_until_back, cluster, names, round_number)


def bound(journal: Journal) -> int:
    """Pods that were seen on a node."""
    return sum(bool(places) for places in journal.nodes.values())


@pytest.fixture(scope="module")
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.config.getoption("--real"):
        pytest.skip("kills the embedded cluster's processes")
    big = {"cpu": 999, "memory": "9Ti", "pods": 999, "gpus": {"model": "A100_SXM_80G", "count": 4}}
    fleet = {"nodes": [{"name": "whole-{i}", "count": 2, **big}, {"name": "cut", "labels": {"cut": "mig"}, **big}]}
    root: Path = tmp_path_factory.mktemp("mixed")
    with embedded_cluster(root, fleet=fleet) as running:
        running.run(prepare)
        eventually(lambda: modes(running), until=lambda found: found.count("partitioned") == 4)
        yield running


async def prepare(client: Client) -> None:
    for name in (FREE, BOUNDED):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await client.create(NAMESPACES, body)
    quota = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "GPUResourceQuota",
        "metadata": {"name": "bound"},
        "spec": {"total": {"requests": CEILING}},
    }
    await client.create(GPU_RESOURCE_QUOTAS, quota, namespace=BOUNDED)
    rules = [{"mode": "partitioned", "selector": {"matchLabels": {"cut": "mig"}}}]
    config = {"spec": {"nodeManagerConfig": {"isolationModeRules": rules}}}
    (pool,) = (await client.list(GPU_POOLS, dict)).items
    await client.patch(GPU_POOLS, pool["metadata"]["name"], config)


def is_up(cluster: Cluster) -> bool:
    """It was killed again while it started, perhaps."""
    try:
        return bool(objects(cluster, NODES))
    except (ApiError, OSError):
        return False


def modes(cluster: Cluster) -> list[str]:
    return [gpu["status"].get("isolationMode", "") for gpu in objects(cluster, GPUS)]


def objects(cluster: Cluster, resource: Resource) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.run(lambda client: client.list(resource, dict)).items
    return found


def pods_of(cluster: Cluster) -> list[dict[str, Any]]:
    return [pod for pod in objects(cluster, PODS) if pod["metadata"]["namespace"] in (FREE, BOUNDED)]


def audit(cluster: Cluster) -> list[str]:
    """What is wrong with where pods are."""
    cards = Cards()
    cards.see(objects(cluster, GPUS))
    pods = objects(cluster, PODS)
    wrong = wrong_with_devices(pods, cards, objects(cluster, PROVIDER_CONFIGS))
    wrong += wrong_with_nodes(pods, objects(cluster, NODES))
    used = usage_by_namespace(pods, cards).get(BOUNDED)
    if used is not None and (used.compute > gflops(CEILING["tflops"]) or used.vram > whole(CEILING["vram"])):
        wrong.append(f"{BOUNDED}: {used} is above {CEILING}")
    return wrong


def left_behind(cluster: Cluster) -> list[str]:
    """Holds that nobody uses, wishes without an answer, gangs of which a part has no place."""
    found = []
    gangs: dict[str, list[bool]] = defaultdict(list)
    for pod in pods_of(cluster):
        name, notes = pod["metadata"]["name"], pod["metadata"]["annotations"]
        if pod["metadata"].get("deletionTimestamp"):
            found.append(f"{name} is still ending")
        if is_live(pod) and keys.RESIZE in notes:
            found.append(f"{name} has a wish without an answer")
        if not pod["spec"].get("nodeName") and pod["status"].get("nominatedNodeName"):
            found.append(f"{name} is nominated")
        if is_live(pod) and pod["status"].get("phase") != "Running":
            found.append(f"{name} is bound and does not run")
        owner = pod["metadata"].get("ownerReferences", [{}])[0].get("name")
        if owner and pod["status"].get("phase") not in ("Succeeded", "Failed"):
            gangs[owner].append(bool(pod["spec"].get("nodeName")))
    found += [f"gang {name}: {sum(one)} of {len(one)} have a place" for name, one in gangs.items() if len(set(one)) > 1]
    return found


def delete_all_but_gangs(cluster: Cluster) -> None:
    async def delete(client: Client) -> None:
        for pod in [one for one in pods_of_all if not one["metadata"].get("ownerReferences")]:
            try:
                await client.delete(PODS, pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])
            except NotFound:
                continue

    pods_of_all = pods_of(cluster)
    cluster.run(delete)


@pytest.mark.long
@pytest.mark.parametrize("victims", [["control"], ["api"], ["all"]], ids=lambda names: names[0])
def test_nothing_is_oversold_or_left_behind_by_kill_9(mixed: Cluster, victims: list[str]) -> None:
    journal = Journal()

    async def storm() -> None:
        stop = asyncio.Event()
        async with Client(load_kubeconfig(mixed.kubeconfig)) as client, asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(disturb(client, journal, random.randrange(10**9), stop))
            follower = group.create_task(follow(client, journal, stop))
            await kill_at_work(mixed, journal, victims)
            stop.set()
            await asyncio.sleep(0.5)
            follower.cancel()

    asyncio.run(storm())
    print(f"{KILLS} kills of {victims[0]}: {journal.acknowledged} acknowledged writes, {bound(journal)} pods bound")
    assert bound(journal), "nothing was under way"
    eventually(lambda: is_up(mixed), patience=60)
    assert audit(mixed) == []
    delete_all_but_gangs(mixed)
    eventually(lambda: left_behind(mixed), until=lambda left: left == [], patience=400)
    assert audit(mixed) == []
    assert [places for places in journal.nodes.values() if len(places) > 1] == []
