"""Campaigns: whole devices get free in the pool's window, nobody is moved without a place, and the marks survive."""

from typing import Any

import pytest
from defrag_steps import OPENS, budget, is_source, machine, node, nothing_kept, owned, pool, scattered, window
from scheduler_steps import end, evicted

from tensorfusion.errors import NotFound, ServerError, TooManyRequests
from tensorfusion.model import keys
from tensorfusion.model.resources import EVENTS, GPU_NODES, GPU_POOLS, NODES, POD_DISRUPTION_BUDGETS, PODS
from tensorfusion.scheduler import defrag
from tensorfusion.scheduler.moved_places import KEPT_FOR


def told(world: Any, name: str) -> dict[str, str]:
    """Events about an object that is not a pod."""
    return {
        event["reason"]: event["message"]
        for event in world.api.objects(EVENTS)
        if event["involvedObject"]["name"] == name
    }


def whole(world: Any) -> int:
    return sum(not device.holders for device in world.service.state.devices())


async def test_a_campaign_empties_a_node_and_the_successor_gets_the_very_device(world) -> None:
    await scattered(world)
    assert whole(world) == 5
    await world.settle(OPENS - 5)
    assert evicted(world) == []
    await world.settle(15)
    assert evicted(world) == ["a"]
    assert is_source(world, "n0")
    moved = world.pod("a")["metadata"]
    assert moved["labels"][keys.DEFRAG_EVICTED] == "true"
    assert moved["annotations"][keys.DEFRAG_EVICTED_POOL] == "main"
    owned(world, "a2")
    await world.settle(1)
    assert (world.node_of("a2"), world.devices_of("a2")) == ("n1", ["g1-0"])
    world.delete("a")
    await world.settle(20)
    assert whole(world) == 6
    assert not is_source(world, "n0")
    nothing_kept(world)
    await world.settle(10)
    assert told(world, "main")["DefragFinished"].endswith("1 pods moved, 1 nodes emptied, 1 devices freed")
    assert "DefragStarted" in told(world, "main")
    assert "moved from n0 to n1" in world.events_of("a")["DefragPodEvicted"]
    assert world.api.object(GPU_POOLS, "main")["status"]["lastDefragTime"].startswith("2026-01-01T00:02:")


async def test_a_window_is_used_once_and_the_next_one_again(world) -> None:
    await scattered(world)
    await window(world)
    owned(world, "a2")
    world.delete("a")
    await world.settle(30)
    first = told(world, "main")["DefragFinished"]
    ended = world.api.object(GPU_POOLS, "main")["status"]["lastDefragTime"]
    await world.settle(20)
    assert world.api.object(GPU_POOLS, "main")["status"]["lastDefragTime"] == ended
    await world.settle(120)
    assert world.api.object(GPU_POOLS, "main")["status"]["lastDefragTime"] > ended
    assert evicted(world) == ["a"]
    assert first != told(world, "main")["DefragFinished"]


async def test_nobody_else_gets_the_place_before_the_successor(world) -> None:
    await scattered(world)
    world.template("compact", "CompactFirst")
    await window(world)
    assert evicted(world) == ["a"]
    for number in range(3):  # they would fill the halves that are left on n1
        owned(world, f"other{number}", "other")
    await world.settle(2)
    assert "g1-0" not in [world.devices_of(f"other{number}")[0] for number in range(3)]
    owned(world, "a2")
    await world.settle(2)
    assert world.devices_of("a2") == ["g1-0"]
    world.delete("a")
    await world.settle(20)
    nothing_kept(world)


async def test_a_more_important_pod_that_fits_nowhere_else_takes_the_place(world) -> None:
    pool(world)
    machine(world, 0, 3)
    machine(world, 1, 1)
    owned(world, "a", node="n0-0")
    owned(world, "b", node="n1-0")
    budget(world)
    await world.start()
    await window(world)
    assert evicted(world) == ["a"]
    world.worker("urgent", tflops="50", vram="8Gi", priority=5, nodeSelector={keys.HOSTNAME_LABEL: "n1"})
    world.worker("equal", tflops="50", vram="8Gi", nodeSelector={keys.HOSTNAME_LABEL: "n1"})
    await world.settle(2)
    assert (world.node_of("urgent"), world.node_of("equal")) == ("n1", "")
    nothing_kept(world)


async def test_a_place_for_which_nobody_comes_is_given_back(world) -> None:
    await scattered(world)
    await window(world)
    world.delete("a")
    await world.settle(KEPT_FOR - 15)
    assert len(world.service.defrag.places.by_uid) == 1
    await world.settle(30)
    nothing_kept(world)
    assert not is_source(world, "n0")


async def test_pods_are_placed_on_a_node_that_is_emptied_only_where_no_other_takes_them(world) -> None:
    world.template("spread", "LowLoadFirst")
    await scattered(world, template="spread")
    await window(world)
    assert is_source(world, "n0")
    world.worker("elsewhere", tflops="100", vram="16Gi")
    await world.settle(2)
    world.worker("large", tflops="100", vram="16Gi", count=3)
    await world.settle(2)
    assert (world.node_of("elsewhere"), world.node_of("large")) == ("n1", "n0")


async def test_the_campaign_waits_until_everybody_has_a_place(world) -> None:
    pool(world, maxDuration="100s")
    for number in range(4):
        machine(world, number)
    owned(world, "a", node="n0-0")
    owned(world, "b", node="n1-0")
    for index in range(4):
        owned(world, f"c{index}", node=f"n2-{index}")
    budget(world)
    await world.start()
    await window(world)
    assert evicted(world) == ["a"]
    await world.settle(20)
    assert evicted(world) == ["a"]  # it is still ending
    world.delete("a")
    await world.settle(20)
    assert evicted(world) == ["a"]  # its successor is not there yet
    owned(world, "a2", nodeSelector={"no": "such"})
    await world.settle(20)
    assert evicted(world) == ["a"]  # its successor has no place
    assert world.pod("a2")["metadata"]["labels"][keys.DEFRAG_EVICTED] == "true"
    world.delete("a2")
    owned(world, "a3")
    await world.settle(12)
    assert evicted(world) == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "event"),
    [
        ({"labels": {"app": "lonely"}}, "DefragSkipMissingPDB"),
        ({"annotations": {keys.EVICTION_PROTECTION: "10h"}}, "DefragBlockedByProtected"),
        ({"annotations": {keys.DO_NOT_DISRUPT: "true"}}, "DefragBlockedByDoNotDisrupt"),
        ({"vram": "16Gi", "nodeSelector": {keys.HOSTNAME_LABEL: "n0"}}, "DefragSkipUnschedulable"),
    ],
)
async def test_a_pod_that_must_stay_keeps_its_node_and_it_is_said_why(world, change, event) -> None:
    pool(world)
    for number in range(2):
        machine(world, number)
    owned(world, "a", node="n0-0", **change)
    for index in range(3):
        owned(world, f"c{index}", node=f"n1-{index}")
    budget(world)
    await world.start()
    await window(world)
    await world.settle(5)
    assert evicted(world) == []
    assert "default/a" in (told(world, "n0").get(event) or "") or event == "DefragBlockedByDoNotDisrupt"
    assert "DefragFinished" in told(world, "main")


async def test_bare_pods_young_ones_and_closed_nodes_stay(world) -> None:
    pool(world)
    for number in range(4):
        machine(world, number)
    world.worker(
        "bare", tflops="50", vram="8Gi", labels={"app": "web"}, nodeName="n0", annotations={keys.GPU_IDS: "g0-0"}
    )
    owned(world, "noted", node="n1-0")
    for index in range(4):
        owned(world, f"c{index}", node=f"n3-{index}")
    world.api.seed(GPU_NODES, {"metadata": {"name": "n1", "labels": {keys.DO_NOT_DISRUPT: "true"}}})
    budget(world)
    await world.start()
    await world.settle(OPENS - 30)
    owned(world, "young", node="n2-0")
    await world.settle(60)
    assert evicted(world) == []
    assert "DefragBlockedByBare" in told(world, "n0")
    assert "DefragBlockedByYoung" in told(world, "n2")


async def test_a_budget_that_lets_nobody_go_is_respected_before_anybody_is_evicted(world) -> None:
    await scattered(world)
    world.api.change(
        POD_DISRUPTION_BUDGETS, "web", {"status": {"disruptionsAllowed": 0}}, namespace="default", subresource="status"
    )
    await window(world)
    await world.settle(5)
    assert evicted(world) == []
    assert "DefragSkipPDBBlocked" in told(world, "n0")


# --- faults ---


async def test_a_refused_eviction_leaves_the_node_alone_until_the_campaign_ends(world) -> None:
    pool(world)
    for number in range(2):
        machine(world, number)
    owned(world, "a", node="n0-0", vram="2Gi", tflops="10")
    owned(world, "b", node="n0-0", vram="1Gi", tflops="5")
    owned(world, "c", node="n1-0")
    owned(world, "d", node="n1-1")
    budget(world)
    await world.start()
    world.api.fail("evict", error=TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget."))
    await window(world)
    assert evicted(world) == ["a"]
    assert not is_source(world, "n0")
    assert node(world, "n0")["labels"][keys.DEFRAG_SKIP] == "true"
    assert "default/a could not be evicted" in node(world, "n0")["annotations"][keys.DEFRAG_SKIP_REASON]
    nothing_kept(world)
    await world.settle(20)
    assert evicted(world) == ["a"]
    assert "DefragPodEvictFailed" in world.events_of("a")
    assert "DefragNodeEvictSkip" in told(world, "n0")
    assert keys.DEFRAG_SKIP not in node(world, "n0")["labels"]  # it ended: no other node can be emptied
    assert keys.DEFRAG_EVICTED not in world.pod("a")["metadata"]["labels"]
    await world.settle(120)
    assert evicted(world) == ["a", "a", "b"]


@pytest.mark.parametrize("fault", [{}, {"reply_lost": True}, {"error": NotFound("pods a not found")}])
async def test_an_eviction_that_breaks_off_is_tried_again_and_one_gone_is_gone(world, fault) -> None:
    await scattered(world)
    world.api.fail("evict", **{"error": ServerError("the connection broke", code=503), **fault})
    await window(world)
    await world.settle(3)
    assert is_source(world, "n0")
    owned(world, "a2")
    await world.settle(1)
    assert world.devices_of("a2") == ["g1-0"]
    assert keys.DEFRAG_SKIP not in node(world, "n0")["labels"]


async def test_a_server_that_cannot_evict_is_given_up(world) -> None:
    await scattered(world)
    world.api.fail("evict", error=ServerError("this pod has two budgets", code=500), times=-1)
    await window(world)
    await world.settle(5)
    assert evicted(world) == ["a"] * defrag.ATTEMPTS
    nothing_kept(world)
    assert not is_source(world, "n0")


async def test_a_pod_that_is_gone_meanwhile_counts_as_moved(world) -> None:
    await scattered(world)
    world.api.lag(PODS)
    world.delete("a")
    await window(world)
    await world.settle(2)
    assert evicted(world) == []  # the mark finds it gone
    world.api.catch_up()
    await world.settle(KEPT_FOR + 20)
    nothing_kept(world)
    assert not is_source(world, "n0")


async def test_a_target_that_is_cordoned_meanwhile_takes_nobody(world) -> None:
    await scattered(world)
    machine(world, 2)
    owned(world, "d", node="n2-0")
    owned(world, "e", node="n2-1")
    await world.settle(1)
    await window(world)
    assert evicted(world) == ["a"]
    target = next(iter(world.service.defrag.places.by_uid.values())).placement.node
    world.api.change(NODES, target, {"spec": {"unschedulable": True}})
    owned(world, "a2")
    world.delete("a")
    await world.settle(20)
    assert world.node_of("a2") not in ("", target, "n0")
    nothing_kept(world)


@pytest.mark.parametrize("how", ["gone", "cordoned"])
async def test_nobody_is_evicted_whose_place_is_gone_meanwhile(world, how: str) -> None:
    await scattered(world)
    await world.settle(OPENS - 5)
    held = world.api.hold("patch")
    await world.settle(15)
    assert len(world.service.defrag.places.by_uid) == 1
    if how == "gone":
        world.api.remove(NODES, "n1")
    else:
        world.api.change(NODES, "n1", {"spec": {"unschedulable": True}})
    await world.settle(1)
    held.set()
    await world.settle(1)
    assert evicted(world) == []
    assert "the place for default/a is gone" in node(world, "n0")["annotations"][keys.DEFRAG_SKIP_REASON]
    nothing_kept(world)


async def test_a_node_that_cannot_be_marked_is_not_emptied(world) -> None:
    await scattered(world)
    world.api.fail("patch", NODES, times=1)
    await window(world)
    assert evicted(world) == []
    nothing_kept(world)
    await world.settle(10)
    assert evicted(world) == ["a"]


# --- restarts ---


async def test_whoever_takes_over_goes_on_with_the_marks(world, office) -> None:
    await scattered(world)
    await window(world)
    assert evicted(world) == ["a"]
    await world.stop()
    await world.start(office(epoch=2))
    await world.settle(10)
    assert is_source(world, "n0")  # it still ends
    owned(world, "a2")
    world.delete("a")
    await world.settle(15)
    assert world.node_of("a2") == "n1"  # off the source, though no place was kept
    assert not is_source(world, "n0")
    nothing_kept(world)
    await world.settle(10)
    assert "DefragFinished" in told(world, "main")


async def test_a_step_that_was_cut_off_is_begun_anew_by_the_successor(world, office) -> None:
    pool(world, maxDuration="100s")
    for number in range(2):
        machine(world, number)
    owned(world, "a", node="n0-0", vram="2Gi", tflops="10")
    owned(world, "b", node="n0-0", vram="1Gi", tflops="5")
    owned(world, "c", node="n1-0")
    owned(world, "d", node="n1-1")
    budget(world)
    await world.start()
    held = world.api.hold("evict")
    await window(world)
    assert is_source(world, "n0")
    await world.stop()  # marked, and nobody was evicted
    held.set()
    await world.start(office(epoch=2))
    await world.settle(12)
    assert "DefragAbortNode" in told(world, "n0") or evicted(world)
    await world.settle(20)
    assert sorted(set(evicted(world))) == ["a", "b"]
    for name in ("a", "b"):
        owned(world, f"{name}2", vram="2Gi" if name == "a" else "1Gi", tflops="10" if name == "a" else "5")
        world.delete(name)
    await world.settle(30)
    assert not is_source(world, "n0")
    nothing_kept(world)


async def test_whoever_leads_no_more_evicts_nobody_and_keeps_nothing(world) -> None:
    await scattered(world)
    await world.settle(OPENS - 5)
    held = world.api.hold("patch")
    await world.settle(15)
    assert len(world.service.defrag.places.by_uid) == 1
    world.office.leading = False
    await world.settle(1)
    held.set()
    await world.settle(20)
    assert evicted(world) == []
    nothing_kept(world)


def mark(world: Any, node: str, *, since: str = "2026-01-01T00:00:00Z") -> None:
    labels, notes = {keys.DEFRAG_SOURCE: "true"}, {keys.DEFRAG_SOURCE_SINCE: since, keys.DEFRAG_SOURCE_POOL: "main"}
    world.api.change(NODES, node, {"metadata": {"labels": labels, "annotations": notes}})


async def test_a_source_is_one_until_it_is_empty_or_its_time_is_over(world) -> None:
    pool(world, enabled=False)
    machine(world, 0)
    machine(world, 1)
    owned(world, "a", node="n1-0")
    await world.start()
    mark(world, "n0")
    mark(world, "n1")
    await world.api.delete(PODS, "a", namespace="default")
    await world.settle(12)
    assert not is_source(world, "n0")  # nothing is on it
    await world.settle(29 * 60)
    assert is_source(world, "n1")  # its pod still ends
    await world.settle(90)
    assert not is_source(world, "n1")
    assert "the time for it is over" in told(world, "n1")["DefragAbortNode"]


async def test_a_moved_pod_without_a_place_holds_the_campaign_up_for_as_long_as_the_pool_says(world) -> None:
    await scattered(world, evictedPodMarkerTTL="10m")
    labels, notes = {keys.DEFRAG_EVICTED: "true"}, {}
    notes[keys.DEFRAG_EVICTED_SINCE], notes[keys.DEFRAG_EVICTED_POOL] = "2026-01-01T00:00:00Z", "main"
    owned(world, "lost", "other", nodeSelector={"no": "such"})
    world.api.change(PODS, "lost", {"metadata": {"labels": labels, "annotations": notes}}, namespace="default")
    await world.settle(9 * 60)
    assert evicted(world) == []
    await world.settle(3 * 60)
    assert keys.DEFRAG_EVICTED not in world.pod("lost")["metadata"]["labels"]
    assert evicted(world) == ["a"]


async def test_a_fault_in_one_pool_stops_nothing(world, monkeypatch) -> None:
    await scattered(world)
    monkeypatch.setattr(defrag, "plan", lambda *_args, **_more: 1 // 0)
    await window(world)
    world.worker("goes", tflops="10")
    await world.settle(1)
    assert world.node_of("goes")
    monkeypatch.undo()
    await world.settle(10)
    assert evicted(world) == ["a"]


# --- settings ---


async def test_settings_that_cannot_be_used_are_told_once_and_nothing_is_moved(world) -> None:
    await scattered(world, timezone="Mars/Olympus")
    await window(world)
    assert evicted(world) == []
    assert "unknown time zone Mars/Olympus" in told(world, "main")["DefragConfigInvalid"]
    (event,) = [one for one in world.api.objects(EVENTS) if one["reason"] == "DefragConfigInvalid"]
    assert event["count"] == 1


async def test_a_pool_that_is_switched_off_in_the_middle_ends_its_campaign(world) -> None:
    await scattered(world)
    await window(world)
    off = {"spec": {"nodeManagerConfig": {"nodeCompaction": {"defrag": {"enabled": False}}}}}
    world.api.change(GPU_POOLS, "main", off)
    await world.settle(12)
    assert "it was switched off" in told(world, "main")["DefragFinished"]
    owned(world, "a2")
    end(world)
    await world.settle(20)
    assert world.devices_of("a2") == ["g1-0"]
    assert not is_source(world, "n0")
    nothing_kept(world)


async def test_only_the_owner_of_a_pool_empties_its_nodes(world) -> None:
    pool(world)
    for number in range(2):
        machine(world, number)
    owned(world, "a", node="n0-0")
    owned(world, "b", node="n1-0")
    owned(world, "c", node="n1-1")
    budget(world)
    first = await world.start_shared("one")
    second = await world.start_shared("two")
    await world.settle(30)
    await window(world)
    assert evicted(world) == ["a"]
    owned(world, "a2")
    await world.settle(5)
    assert world.devices_of("a2") == ["g1-0"]
    assert not first.defrag.places.by_uid
    assert not second.defrag.places.by_uid
