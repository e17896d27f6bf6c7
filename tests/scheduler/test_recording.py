"""A scheduler records what it decides about: the right things, once, without names, within its bound, and to no harm."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scheduler_steps import gang

from tensorfusion.model.resources import GPU_COHORTS, NAMESPACES, NODES, PODS
from tensorfusion.scheduler.recording import notes
from tensorfusion.scheduler.recording.events import Ending
from tensorfusion.scheduler.recording.history import History, PodHistory
from tensorfusion.scheduler.recording.reader import read
from tensorfusion.scheduler.recording.recorder import RecordOptions, in_a_thread
from tensorfusion.scheduler.recording.segments import segments_of


async def here(work: Callable[[], None]) -> None:
    work()


def recorded(world: Any, folder: Path, **options: Any) -> None:
    world.record = RecordOptions(folder, beside=here, **options)
    world.api.seed(NAMESPACES, {"metadata": {"name": "kube-system"}})


def history(folder: Path) -> History:
    return read(folder).history


def pod_named(found: History, name: str) -> PodHistory:
    [one] = [pod for pod in found.pods if pod.name == name]
    return one


async def test_the_life_of_a_pod_is_recorded(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet(nodes=1, devices=2)
    await world.start()
    await world.settle(2.0)
    world.worker("one", tflops="30", count=2, priority=7)
    await world.settle(3.0)
    world.api.change(PODS, "one", {"status": {"phase": "Running"}}, namespace="default", subresource="status")
    await world.settle(10.0)
    world.finish("one")
    await world.settle(2.0)
    await world.stop()
    found = history(tmp_path)
    assert list(found.fleet.nodes) == ["n0"]
    assert sorted(found.fleet.devices) == ["g0-0", "g0-1"]
    assert found.fleet.pools["main"].mode
    pod = pod_named(found, "one")
    facts = pod.facts
    assert facts.request is not None
    assert (facts.namespace, facts.priority, facts.request.compute, facts.request.count) == ("default", 7, 30_000, 2)
    assert pod.placement is not None
    assert (pod.placement.node, sorted(pod.placement.devices)) == ("n0", ["g0-0", "g0-1"])
    assert pod.decided is not None and pod.bound is not None and pod.running is not None and pod.ended is not None
    assert pod.arrived <= pod.decided <= pod.bound <= pod.running <= pod.ended
    assert 9_000 <= pod.ended - pod.running <= 11_000
    assert pod.how is Ending.FINISHED
    assert not pod.held and not pod.pinned


async def test_what_happened_is_in_the_files_two_seconds_later_while_it_goes_on(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    world.worker("one")
    await world.settle(2.0)
    assert pod_named(history(tmp_path), "one").bound is not None
    world.api.change(PODS, "one", {"status": {"phase": "Running"}}, namespace="default", subresource="status")
    await world.settle(2.0)
    assert pod_named(history(tmp_path), "one").running is not None


async def test_how_pods_end_and_why_they_wait(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    for name in ("failed", "deleted", "evicted"):
        world.worker(name)
    world.worker("too-big", tflops="101")
    await world.settle(2.0)
    world.finish("failed", "Failed")
    world.delete("deleted")
    condition = {"type": "DisruptionTarget", "status": "True"}
    world.api.change(
        PODS, "evicted", {"status": {"conditions": [condition]}}, namespace="default", subresource="status"
    )
    world.delete("evicted")
    await world.settle(2.0)
    world.delete("too-big")
    await world.settle(2.0)
    await world.stop()
    found = history(tmp_path)
    assert {name: pod_named(found, name).how for name in ("failed", "deleted", "evicted", "too-big")} == {
        "failed": Ending.FAILED,
        "deleted": Ending.DELETED,
        "evicted": Ending.EVICTED,
        "too-big": Ending.DELETED,
    }
    waited = pod_named(found, "too-big")
    assert waited.bound is None
    assert waited.reason == "compute"


async def test_pods_that_others_placed_are_recorded_where_they_are(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    world.plain("daemon", nodeName="n0")
    world.plain("foreign", schedulerName="another")
    await world.settle(2.0)
    await world.stop()
    found = history(tmp_path)
    daemon = pod_named(found, "daemon")
    assert daemon.pinned and daemon.placement is not None and daemon.placement.node == "n0"
    assert [pod.name for pod in found.pods] == ["daemon"]


async def test_nothing_that_somebody_named_is_in_the_files_unless_asked(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path)
    world.pool()
    world.node("secret-node", team="secret-label", **{"kubernetes.io/metadata.name": "secret-meta"})
    world.gpu("secret-gpu", "secret-node")
    world.api.seed(NAMESPACES, {"metadata": {"name": "secret-space", "labels": {"owner": "secret-owner"}}})
    world.quota("secret-space", {"total": {"maxWorkers": 5, "maxGPUCount": 1}, "cohort": "secret-cohort"})
    for name, parent in (("secret-cohort", "secret-parent"), ("secret-parent", "")):
        world.api.seed(GPU_COHORTS, {"metadata": {"name": name}, "spec": {"parent": parent}})
    await world.start()
    await world.settle(2.0)
    term = {"labelSelector": {"matchLabels": {"app": "secret-app"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    world.worker(
        "secret-pod",
        namespace="secret-space",
        labels={"app": "secret-app", "run": "secret-run"},
        nodeSelector={"team": "secret-label"},
        affinity=affinity,
        tolerations=[{"key": "for", "operator": "Equal", "value": "secret-taint"}],
    )
    gang(world, 2, name="secret-member", group="default/secret-gang")
    await world.settle(3.0)
    await world.stop()
    found = history(tmp_path)
    assert len(found.pods) == 3
    [placed] = [pod for pod in found.pods if pod.bound is not None]
    assert placed.facts.node_selector == {"team": found.fleet.nodes[placed.placement.node].labels["team"]}  # type: ignore[union-attr]
    cohort = found.fleet.cohorts[found.fleet.quotas[placed.namespace].cohort]
    assert found.fleet.cohorts[cohort.parent].parent == ""
    import zlib

    for path in segments_of(tmp_path):
        data = path.read_bytes()
        at = data.index(b"\n") + 1
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            assert b"secret" not in zlib.decompress(data[at + 8 : at + 8 + size])
            at += 8 + size
        assert b"secret" not in data


async def test_the_same_things_are_called_the_same_after_a_restart(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    world.worker("one")
    world.worker("waits", tflops="99")
    await world.settle(2.0)
    await world.stop()
    await world.settle(5.0)
    await world.start()
    await world.settle(2.0)
    world.finish("one")
    await world.settle(2.0)
    await world.stop()
    found = history(tmp_path)
    assert len(found.pods) == 2
    one = next(pod for pod in found.pods if pod.how is Ending.FINISHED)
    waits = next(pod for pod in found.pods if pod is not one)
    assert one.bound is not None
    assert waits.bound is not None
    assert one.bound < waits.bound
    assert not found.changes


async def test_what_is_called_otherwise_is_not_mixed(world: Any, tmp_path: Path) -> None:
    world.api.seed(NAMESPACES, {"metadata": {"name": "kube-system"}})
    for number, names in enumerate((False, True)):
        world.record = RecordOptions(tmp_path, names=names, beside=here)
        await world.start()
        await world.settle(2.0)
        world.plain(f"p{number}")
        await world.settle(2.0)
        await world.stop()
        await world.settle(1.0)
    found = read(tmp_path)
    assert (found.left_out, found.history.settings.names) == (1, True)
    assert {pod.name for pod in found.history.pods} == {"p0", "p1"}


async def test_what_ended_while_nobody_recorded_is_over_and_the_gap_is_told(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet(nodes=2)
    await world.start()
    await world.settle(2.0)
    world.worker("one")
    await world.settle(2.0)
    await world.stop()
    world.delete("one")
    world.api.remove(NODES, "n1")
    await world.settle(60.0)
    await world.start()
    await world.settle(3.0)
    await world.stop()
    found = history(tmp_path)
    [gap] = found.gaps
    assert 55_000 <= gap.end - gap.start <= 65_000
    one = pod_named(found, "one")
    assert one.ended == gap.end
    assert one.how is None
    assert ("nodes", "n1", None) in [(change.kind, change.name, change.facts) for change in found.changes]


@pytest.mark.parametrize("away", [1.0, 5.0, 12.0])
async def test_what_ended_in_a_short_gap_is_over_too(world: Any, tmp_path: Path, away: float) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet(nodes=2)
    await world.start()
    await world.settle(2.0)
    for name in ("ends", "stays"):
        world.worker(name)
    world.worker("waits-and-goes", tflops="101")
    world.worker("waits", tflops="101")
    await world.settle(5.0)
    await world.stop()
    for name in ("ends", "waits-and-goes"):
        world.delete(name)
    await world.settle(away)
    await world.start()
    await world.settle(600.0)
    await world.stop()
    found = history(tmp_path)
    assert not found.gaps
    for name in ("ends", "waits-and-goes"):
        pod = pod_named(found, name)
        assert pod.ended is not None and pod.how is None
        assert 5_000 < pod.ended - found.start < 5_000 + 1000 * away + 5_000
    for name in ("stays", "waits"):
        assert pod_named(found, name).ended is None


async def test_a_replica_that_does_not_decide_records_nothing(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path)
    world.fleet()
    await world.start(type(world.office)(leading=False))
    world.worker("one")
    await world.settle(5.0)
    assert not tmp_path.exists() or not segments_of(tmp_path)
    world.office.leading = True
    await world.settle(5.0)
    world.office.leading = False
    await world.settle(5.0)
    found = history(tmp_path)
    assert len(found.pods) == 1
    await world.stop()


async def test_each_pod_is_recorded_once_where_several_schedulers_share_the_pools(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    for pool in ("east", "west"):
        world.pool(pool)
        world.node(f"n-{pool}")
        world.gpu(f"g-{pool}", f"n-{pool}", pool=pool)
    await world.start_shared("a")
    await world.start_shared("b")
    await world.settle(40.0)
    for number in range(10):
        pool = ("east", "west")[number % 2]
        world.worker(f"p{number}", annotations={"tensor-fusion.ai/gpupool": pool})
    await world.settle(5.0)
    for number in range(5):
        world.finish(f"p{number}")
    await world.settle(3.0)
    await world.stop()
    found = read(tmp_path)
    assert found.series == 2
    assert sorted(pod.name for pod in found.history.pods) == [f"p{number}" for number in range(10)]
    assert all(pod.bound is not None and not pod.pinned for pod in found.history.pods)
    assert sum(pod.how is Ending.FINISHED for pod in found.history.pods) == 5


@pytest.mark.parametrize("finish_after", [1.0, 60.0])
async def test_pods_of_a_scheduler_that_was_lost_end_too(world: Any, tmp_path: Path, finish_after: float) -> None:
    recorded(world, tmp_path, names=True)
    for pool in ("east", "west"):
        world.pool(pool)
        world.node(f"n-{pool}")
        world.gpu(f"g-{pool}", f"n-{pool}", pool=pool)
    await world.start_shared("a")
    await world.start_shared("b")
    await world.settle(40.0)
    names = [f"p{number}" for number in range(10)]
    for number, name in enumerate(names):
        world.worker(name, annotations={"tensor-fusion.ai/gpupool": ("east", "west")[number % 2]})
    for pool in ("east", "west"):
        world.worker(f"waits-{pool}", tflops="101", annotations={"tensor-fusion.ai/gpupool": pool})
    await world.settle(5.0)
    await world.end(0)
    await world.settle(finish_after)
    for name in names:
        world.finish(name)
    for pool in ("east", "west"):
        world.delete(f"waits-{pool}")
    await world.settle(90.0)
    await world.stop()
    found = history(tmp_path)
    assert sorted(pod.name for pod in found.pods) == sorted([*names, "waits-east", "waits-west"])
    assert [pod.name for pod in found.pods if pod.ended is None] == []
    assert not any(pod.pinned for pod in found.pods)
    last = min(pod.arrived for pod in found.pods) + 5_000 + int(1000 * finish_after)
    assert all(0 <= pod.ended - last < 61_000 for pod in found.pods if pod.ended is not None)


async def test_pods_of_pools_that_change_hands_are_not_ended(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    for pool in ("east", "west"):
        world.pool(pool)
        world.node(f"n-{pool}")
        world.gpu(f"g-{pool}", f"n-{pool}", pool=pool)
    await world.start_shared("a")
    await world.settle(40.0)
    names = [f"p{number}" for number in range(10)]
    for number, name in enumerate(names):
        world.worker(name, annotations={"tensor-fusion.ai/gpupool": ("east", "west")[number % 2]})
    for pool in ("east", "west"):
        world.worker(f"waits-{pool}", tflops="101", annotations={"tensor-fusion.ai/gpupool": pool})
    await world.settle(5.0)
    await world.start_shared("b")
    await world.settle(60.0)
    await world.end(0)
    await world.settle(60.0)
    await world.stop()
    found = history(tmp_path)
    assert sorted(pod.name for pod in found.pods) == sorted([*names, "waits-east", "waits-west"])
    assert [pod.name for pod in found.pods if pod.ended is not None or pod.pinned] == []


async def test_the_bound_is_kept_and_the_newest_stays(world: Any, tmp_path: Path) -> None:
    limit = 40_000
    recorded(world, tmp_path, limit=limit, names=True)
    world.fleet(nodes=2, devices=2)
    await world.start()
    await world.settle(2.0)
    most = 0
    for number in range(150):
        name = f"p{number}"
        world.worker(name, tflops=str(1 + number % 90), vram=f"{1 + number % 15}Gi")
        await world.settle(1.0)
        world.finish(name)
        await world.settle(1.0)
        most = max(most, sum(path.stat().st_size for path in segments_of(tmp_path)))
    assert most <= limit
    assert not world.service.history.failed
    await world.stop()
    found = read(tmp_path)
    assert found.segments > 2
    names = {pod.name for pod in found.history.pods}
    assert {"p149", "p140"} <= names


async def test_a_disk_that_is_full_ends_the_recording_and_nothing_else(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tensorfusion.scheduler.recording.segments import Journal

    recorded(world, tmp_path, names=True)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    world.worker("one")
    await world.settle(2.0)

    def full(self: Journal, data: bytes) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Journal, "_write", full)
    world.worker("two")
    await world.settle(3.0)
    world.worker("three")
    await world.settle(3.0)
    assert world.service.history.failed
    assert world.node_of("two") and world.node_of("three")
    assert not world.service.history._book_of_notes
    await world.stop()
    assert [pod.name for pod in history(tmp_path).pods] == ["one"]


async def test_a_disk_that_hangs_holds_up_nobody_and_costs_no_more_memory_than_it_may(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = asyncio.Event()

    async def hangs(work: Callable[[], None]) -> None:
        await answers.wait()
        work()

    monkeypatch.setattr(notes, "MOST_NOTES", 10)
    recorded(world, tmp_path)
    world.record = RecordOptions(tmp_path, beside=hangs)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    for number in range(9):
        world.worker(f"p{number}")
    await world.settle(10.0)
    assert all(world.node_of(f"p{number}") for number in range(9))
    assert len(world.service.history._book_of_notes) == 10
    answers.set()
    await world.settle(3.0)
    assert world.service.history.failed


@pytest.mark.parametrize("busy", [True, False])
async def test_a_disk_that_hangs_does_not_hold_up_the_end(
    world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, busy: bool
) -> None:
    stuck = False
    calls = 0

    async def hangs(work: Callable[[], None]) -> None:
        nonlocal calls
        if stuck:
            calls += 1
            await asyncio.Event().wait()
        work()

    recorded(world, tmp_path)
    world.record = RecordOptions(tmp_path, beside=hangs)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    stuck = True
    if busy:
        await world.settle(2.0)
    ending = asyncio.ensure_future(world.stop())
    await world.settle(20.0)
    assert ending.done()
    assert calls == 1
    assert caplog.text.count("the disk does not answer") == 1


async def test_what_may_block_is_done_in_a_thread_that_holds_up_no_end() -> None:
    seen: list[bool] = []
    await in_a_thread(lambda: seen.append(threading.current_thread().daemon))
    assert seen == [True]


async def test_a_disk_that_hangs_is_told(world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers = asyncio.Event()

    async def hangs(work: Callable[[], None]) -> None:
        await answers.wait()
        work()

    recorded(world, tmp_path)
    world.record = RecordOptions(tmp_path, beside=hangs)
    world.fleet()
    await world.start()
    await world.settle(300.0)
    assert caplog.text.count("the disk has not answered") == 1
    answers.set()
    await world.settle(2.0)
    await world.stop()
    assert len(segments_of(tmp_path)) == 1


async def test_amounts_beyond_all_machines_are_recorded_as_that(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    huge = {"resources": {"requests": {"cpu": "9000000000000000", "memory": "7Ei", "example.com/x": "9e18"}}}
    world.plain("huge", containers=[{"name": f"c{number}", **huge} for number in range(3)])
    world.worker("one")
    await world.settle(3.0)
    await world.stop()
    found = history(tmp_path)
    assert pod_named(found, "one").bound is not None
    facts = pod_named(found, "huge").facts
    assert (facts.cpu, facts.memory, facts.extended) == (1 << 62, 1 << 62, {"example.com/x": 1 << 62})


async def test_a_fleet_that_is_too_large_for_the_bound_ends_the_recording(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, limit=500)
    world.fleet()
    await world.start()
    world.worker("one")
    await world.settle(5.0)
    assert world.service.history.failed
    assert world.node_of("one") == "n0"


async def test_live_changes_are_recorded(world: Any, tmp_path: Path) -> None:
    recorded(world, tmp_path, names=True)
    world.fleet()
    await world.start()
    await world.settle(2.0)
    world.worker("one", tflops="10")
    await world.settle(2.0)
    notes = {"tensor-fusion.ai/tflops-request": "25"}
    world.api.change(PODS, "one", {"metadata": {"annotations": notes}}, namespace="default")
    await world.settle(3.0)
    await world.stop()
    [(at, shape)] = pod_named(history(tmp_path), "one").resizes
    assert shape.request is not None
    assert shape.request.compute == 25_000
    assert at > 0
