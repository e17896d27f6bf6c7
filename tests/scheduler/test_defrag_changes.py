"""What changes while a node is emptied: quotas, targets, shards, answers that are lost, pools that go."""

from typing import Any

import pytest
from defrag_steps import budget, is_source, machine, node, nothing_kept, owned, pool, scattered, window
from scheduler_steps import evicted

from tensorfusion.errors import ServerError
from tensorfusion.model import keys
from tensorfusion.model.resources import GPU_POOLS, GPUS, NODES, PODS
from tensorfusion.scheduler import defrag
from tensorfusion.scheduler.moved_places import KEPT_FOR

FULL = {"total": {"requests": {"tflops": "150"}}}
"""A quota of exactly what ``scattered`` uses."""


def kept(world: Any) -> list[tuple[str, ...]]:
    """The devices of the places that are kept."""
    return [one.placement.devices for one in world.service.defrag.places.by_uid.values()]


# --- quotas ---


async def test_a_pod_that_waits_for_the_quota_does_not_get_the_share_of_one_that_is_moved(world) -> None:
    world.quota("default", FULL)
    await scattered(world)
    world.worker("waits", tflops="50", vram="8Gi")
    await window(world)
    assert evicted(world) == ["a"]
    world.delete("a")
    await world.settle(5)
    owned(world, "a2")
    await world.settle(5)
    assert (world.node_of("waits"), world.devices_of("a2")) == ("", ["g1-0"])
    await world.settle(20)
    nothing_kept(world)


async def test_the_share_is_the_next_ones_when_no_successor_came(world) -> None:
    world.quota("default", FULL)
    await scattered(world)
    world.worker("waits", tflops="50", vram="8Gi")
    await window(world)
    world.delete("a")
    await world.settle(KEPT_FOR - 5)
    assert world.node_of("waits") == ""
    await world.settle(20)
    nothing_kept(world)
    world.worker("next", tflops="50", vram="8Gi")
    await world.settle(2)
    assert [bool(world.node_of(name)) for name in ("waits", "next")].count(True) == 1


async def test_what_is_given_back_wakes_those_who_wait_at_once_without_any_other_change(world) -> None:
    world.quota("default", FULL)
    await scattered(world)
    world.worker("waits", tflops="50", vram="8Gi")
    await window(world)
    world.delete("a")
    await world.settle(5)
    assert world.node_of("waits") == ""
    places = world.service.defrag.places
    places.give_back(list(places.by_uid), "the test says so")
    await world.settle(0.5)
    assert world.node_of("waits") != ""


async def test_a_successor_that_goes_elsewhere_counts_once_in_the_quota(world) -> None:
    world.quota("default", FULL)
    await scattered(world)
    await window(world)
    world.delete("a")
    await world.settle(1)
    world.api.change(NODES, "n1", {"spec": {"unschedulable": True}})
    await world.settle(1)
    owned(world, "a2")
    await world.settle(2)
    assert world.node_of("a2") == "n0"
    nothing_kept(world)


async def test_while_the_pod_still_ends_its_place_counts_in_no_quota(world) -> None:
    world.quota("default", {"total": {"requests": {"tflops": "200"}}})
    await scattered(world)
    await window(world)
    assert kept(world)
    world.worker("within", tflops="50", vram="8Gi")
    await world.settle(2)
    assert world.node_of("within")


# --- targets ---


async def test_a_stranger_goes_to_a_node_that_is_emptied_before_it_takes_a_kept_place(world) -> None:
    pool(world, utilizationThresholdPercent=50)
    machine(world, 0, 2)
    machine(world, 1, 2)
    owned(world, "a", node="n0-0")
    owned(world, "b", node="n1-0")
    owned(world, "c", node="n1-1", tflops="100", vram="16Gi")
    budget(world)
    await world.start()
    await window(world)
    assert (evicted(world), kept(world)) == (["a"], [("g1-0",)])
    world.worker("urgent", tflops="50", vram="8Gi", priority=9)
    await world.settle(2)
    assert (world.node_of("urgent"), kept(world)) == ("n0", [("g1-0",)])


def _cordon(world: Any) -> None:
    world.api.change(NODES, "n1", {"spec": {"unschedulable": True}})


def _taint(world: Any) -> None:
    world.api.change(NODES, "n1", {"spec": {"taints": [{"key": "broken", "effect": "NoSchedule"}]}})


def _break(world: Any) -> None:
    for index in range(4):
        world.api.change(GPUS, f"g1-{index}", {"status": {"phase": "Unknown"}}, subresource="status")


def _protect(world: Any) -> None:
    for name in ("a0", "a1"):
        notes = {"annotations": {keys.DO_NOT_DISRUPT: "true"}}
        world.api.change(PODS, name, {"metadata": notes}, namespace="default")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_cordon, "the place for default/a1 is gone"),
        (_taint, "the place for default/a1 is gone"),
        (_break, "the place for default/a1 is gone"),
        (_protect, "has to stay: do not disrupt"),
    ],
)
async def test_nobody_is_evicted_any_more_once_the_plan_does_not_hold(world, change, why) -> None:
    pool(world, utilizationThresholdPercent=50)
    machine(world, 0)
    machine(world, 1)
    for index in range(2):
        owned(world, f"a{index}", node=f"n0-{index}")
    for index in range(3):
        owned(world, f"b{index}", node=f"n1-{index}")
    budget(world)
    await world.start()
    held = world.api.hold("evict")
    await window(world)
    change(world)
    await world.settle(1)
    held.set()
    await world.settle(5)
    assert len(evicted(world)) == 1
    assert not is_source(world, "n0")
    assert why in node(world, "n0")["annotations"][keys.DEFRAG_SKIP_REASON]


# --- shards ---


async def test_places_in_pools_that_are_still_decided_here_outlive_a_change_of_shards(world) -> None:
    pool(world)
    machine(world, 0)
    machine(world, 1)
    owned(world, "a", node="n0-0")
    owned(world, "b", node="n1-0")
    owned(world, "c", node="n1-1")
    budget(world)
    await world.start_shared("one")
    await world.settle(20)
    await window(world)
    assert kept(world) == [("g1-0",)]
    world.pool("another")
    await world.settle(5)
    assert world.service.shards.may("another")
    assert kept(world) == [("g1-0",)]
    owned(world, "a2")
    world.delete("a")
    await world.settle(20)
    assert world.devices_of("a2") == ["g1-0"]
    nothing_kept(world)


# --- answers that are lost ---


LOST = ServerError("the answer is lost", code=504)


async def test_a_pod_that_was_evicted_though_nobody_said_so_keeps_its_place(world) -> None:
    await scattered(world)
    world.api.fail("evict", error=LOST, reply_lost=True, times=-1)
    await window(world)
    await world.settle(5)
    assert len(evicted(world)) == defrag.ATTEMPTS
    assert (kept(world), is_source(world, "n0")) == ([("g1-0",)], True)
    owned(world, "a2")
    world.delete("a")
    await world.settle(20)
    assert world.devices_of("a2") == ["g1-0"]
    nothing_kept(world)


async def test_where_nobody_can_say_whether_a_pod_was_evicted_its_place_is_kept(world) -> None:
    await scattered(world)
    world.api.fail("evict", error=LOST, reply_lost=True, times=-1)
    world.api.fail("get", PODS, error=LOST, times=1)
    await window(world)
    await world.settle(5)
    assert kept(world) == [("g1-0",)]
    owned(world, "a2")
    world.delete("a")
    await world.settle(20)
    assert world.devices_of("a2") == ["g1-0"]
    nothing_kept(world)


# --- pools that go ---


async def test_what_was_marked_for_a_pool_that_is_gone_is_tidied_up(world) -> None:
    await scattered(world)
    await window(world)
    assert (is_source(world, "n0"), kept(world)) == (True, [("g1-0",)])
    await world.api.delete(GPU_POOLS, "main")
    await world.settle(12)
    assert not is_source(world, "n0")
    assert keys.DEFRAG_EVICTED not in world.pod("a")["metadata"]["labels"]
    nothing_kept(world)


async def test_a_mark_for_a_pool_that_is_gone_bars_the_node_for_nobody(world) -> None:
    await scattered(world)
    notes = {keys.DEFRAG_SOURCE_SINCE: "2026-01-01T00:00:00Z", keys.DEFRAG_SOURCE_POOL: "gone"}
    world.api.change(NODES, "n1", {"metadata": {"labels": {keys.DEFRAG_SOURCE: "true"}, "annotations": notes}})
    await window(world)
    assert evicted(world) == ["a"]
    assert not is_source(world, "n1")
