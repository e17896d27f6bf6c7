"""The judge of mixed worlds sees what it is there for: with a defect put in by hand, it speaks."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mixed_play import tell
from mixed_world import FREE, MixedWorld
from tensorfusion.model import keys
from tensorfusion.model.resources import PODS
from tensorfusion.scheduler import gangs
from tensorfusion.scheduler.gang_book import GangBook
from tensorfusion.scheduler.gangs import GangIncomplete, Gangs
from tensorfusion.scheduler.pods import Pending
from tensorfusion.scheduler.preemption_asks import Asks
from tensorfusion.scheduler.room_search import RoomSearch
from tensorfusion.scheduler.search_line import SearchLine
from tensorfusion.scheduler.shards import Shards


def placed_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gang is taken for one that runs already."""
    monkeypatch.setattr(GangBook, "is_satisfied", lambda *_: True)


def one_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gang is placed as soon as one of its members fits."""
    place = gangs.place_gang

    def place_one(*arguments: Any, needed: int, **more: Any) -> Any:
        return place(*arguments, needed=1, **more)

    monkeypatch.setattr(gangs, "place_gang", place_one)


def gang(world: MixedWorld, *, members: int, required: int) -> None:
    stamps = {"gang-required-members": str(required), "gang-desired-members": "3", "gang-group-key": f"{FREE}/g"}
    for _ in range(members):
        world.worker(FREE, {**stamps, "tflops-request": "100", "vram-request": "16Gi"})


async def start(world: MixedWorld, *, members: int, required: int) -> None:
    try:
        await world.start()
        await world.settle(1)
        gang(world, members=members, required=required)
        await world.settle(1)
        world.check()
    finally:
        await world.stop()


@pytest.mark.parametrize(
    ("defect", "members", "required"), [(placed_singly, 1, 3), (placed_singly, 10, 10), (one_is_enough, 10, 10)]
)
def test_a_gang_that_starts_with_fewer_members_than_it_needs_is_seen(
    defect: Callable[[pytest.MonkeyPatch], None], members: int, required: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(start(MixedWorld(0), members=members, required=required))
    defect(monkeypatch)
    with pytest.raises(AssertionError, match=r"started with [1-9] of"):
        asyncio.run(start(MixedWorld(0), members=members, required=required))


@pytest.mark.parametrize("shared", [False, True])
def test_a_story_sees_it_too(monkeypatch: pytest.MonkeyPatch, *, shared: bool) -> None:
    steps = [("gang", 0, 0, 3), ("settle", 2, 0, 0)]
    tell(steps, shared=shared)
    placed_singly(monkeypatch)
    with pytest.raises(AssertionError, match="started with 1 of 2"):
        tell(steps, shared=shared)


def test_a_pod_that_no_owner_places_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shards, "serves", lambda *_: False)
    with pytest.raises(AssertionError, match="waits and is in nobody's queue"):
        tell([("share", 0, 0, 2)], shared=True)


def hangs_half_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of a gang that runs already have no turn."""
    take = Gangs.take

    def park(self: Gangs, pending: Pending) -> bool:
        group = self._gangs.of(pending.uid)
        if group is None or not self._gangs.is_satisfied(group):
            return take(self, pending)
        self._park(pending, GangIncomplete(group))
        return True

    monkeypatch.setattr(Gangs, "take", park)


def makes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is looked for who could go for a member of a gang that runs already."""
    refused = Asks.pod_refused

    def leave_members(self: Asks, pending: Pending, pod: Any) -> None:
        if pending.facts.gang is None:
            refused(self, pending, pod)

    monkeypatch.setattr(Asks, "pod_refused", leave_members)


@pytest.mark.parametrize(
    ("defect", "deleted", "seen"),
    [
        (hangs_half_bound, 24, "these fit since a minute and wait"),
        (hangs_half_bound, 0, "it could preempt"),
        (makes_no_room, 0, "it could preempt"),
    ],
    ids=["there is room", "room can be made", "no room is made"],
)
def test_a_gang_that_is_never_whole_is_seen(
    monkeypatch: pytest.MonkeyPatch, defect: Callable[[pytest.MonkeyPatch], None], deleted: int, seen: str
) -> None:
    """Three members start together, and three more have to follow."""
    wish = ("gang", 4, 3, 2)
    steps = [*deleted * [("delete", 0, 0, 0)], wish, ("settle", 3, 0, 0), ("end", 0, 0, 0), ("settle", 3, 0, 0), wish]
    tell(steps)
    defect(monkeypatch)
    with pytest.raises(AssertionError, match=seen):
        tell(steps)


def test_a_search_without_an_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod is shown a place again and again that it does not get, and nothing makes it pause."""
    steps = [("share", 19, 3, 2), ("settle", 1, 0, 0)]
    tell(steps)
    room = RoomSearch.for_pod
    monkeypatch.setattr(RoomSearch, "for_pod", lambda *asked: replace(room(*asked), victims=(), displaced=("nobody",)))
    monkeypatch.setattr(SearchLine, "lost", lambda *_: None)
    with pytest.raises(AssertionError, match="is nominated 6 times at"):
        tell(steps)


@pytest.mark.parametrize("devices", [("n5-1", "n5-2"), ("n5-0", "n5-1"), ("n5-0", "n5-2")])
@pytest.mark.parametrize("source", ["auto", "numa", "vendor"])
@pytest.mark.parametrize("most", ["0", "1", "2"])
def test_devices_that_are_farther_apart_than_a_pod_allows_are_seen(
    devices: tuple[str, str], source: str, most: str
) -> None:
    """One pair is linked and on two NUMA nodes, one is on one NUMA node, one is far apart."""
    world = MixedWorld(0)
    rule = {"require-gpu-topology": "true", "gpu-topology-source": source, "gpu-topology-max-tier": most}
    pod = world.worker(FREE, {**rule, "gpu-count": "2", "tflops-request": "1", "vram-request": "1Gi"})
    notes = {keys.GPU_IDS: ",".join(devices)}
    world.api.change(PODS, pod["metadata"]["name"], {"metadata": {"annotations": notes}}, namespace=FREE)
    world.api.change(PODS, pod["metadata"]["name"], {"spec": {"nodeName": "n5"}}, namespace=FREE)
    tier = {"n5-1n5-2": 2 if source == "numa" else 0, "n5-0n5-1": 1, "n5-0n5-2": 2}["".join(devices)]
    if tier <= int(most):
        world.check()
    else:
        with pytest.raises(AssertionError, match=f"are at tier {tier}, at most {most} was asked for"):
            world.check()
