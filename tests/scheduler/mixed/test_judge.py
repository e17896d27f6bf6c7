"""The judge of mixed worlds sees what it is there for: with a defect put in by hand, it speaks."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mixed_play import tell
from mixed_world import FREE, MixedWorld
from tensorfusion.scheduler import gangs
from tensorfusion.scheduler.gang_book import GangBook


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
    ("defect", "members", "required"), [(placed_singly, 1, 3), (placed_singly, 6, 6), (one_is_enough, 6, 6)]
)
def test_a_gang_that_starts_with_fewer_members_than_it_needs_is_seen(
    defect: Callable[[pytest.MonkeyPatch], None], members: int, required: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(start(MixedWorld(0), members=members, required=required))
    defect(monkeypatch)
    with pytest.raises(AssertionError, match=r"started with [1-5] of"):
        asyncio.run(start(MixedWorld(0), members=members, required=required))


def test_a_story_sees_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [("gang", 0, 0, 2), ("settle", 2, 0, 0)]
    tell(steps)
    placed_singly(monkeypatch)
    with pytest.raises(AssertionError, match="started with 1 of 2"):
        tell(steps)
