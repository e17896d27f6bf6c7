"""The status writer: few writes, the newest value, within budgets, and nothing forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tensorfusion.errors import Conflict, Invalid, ServerError
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import GPU_POOLS, GPUS, PODS
from tensorfusion.runtime.writer import StatusWriter
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.writer = StatusWriter(self.api, clock=self.clock)

    def devices(self, count: int) -> None:
        for number in range(count):
            self.api.seed(GPUS, {"metadata": {"name": f"gpu-{number}"}})

    def submit(self, number: int, value: int, *, urgent: bool = False) -> None:
        self.writer.submit(GPUS, Key("", f"gpu-{number}"), {"status": {"index": value}}, urgent=urgent)

    def index(self, number: int) -> int | None:
        found: int | None = self.api.object(GPUS, f"gpu-{number}")["status"].get("index")
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.writer.run())
            await self.clock.settle()
            yield
            task.cancel()


@pytest.fixture
def world() -> World:
    return World()


async def test_the_newest_of_many_values_is_written_once_a_second(world: World) -> None:
    world.devices(1)
    async with world.running():
        for value in range(100):
            world.submit(0, value)
            await world.clock.advance(0.1)
        await world.clock.advance(2)
    assert world.index(0) == 99
    assert 9 <= world.api.count("patch") <= 11


async def test_all_objects_together_stay_within_the_budget(world: World) -> None:
    world.devices(400)
    for number in range(400):
        world.submit(number, 1)
    async with world.running():
        await world.clock.advance(2)
        assert world.api.count("patch") <= 40 + 2 * 40 + 1
        await world.clock.advance(8)
    assert world.api.count("patch") == 400


async def test_urgent_patches_go_first(world: World) -> None:
    world.devices(3)
    world.submit(0, 1)
    world.submit(1, 1)
    world.submit(2, 1, urgent=True)
    world.submit(1, 2, urgent=True)
    async with world.running():
        await world.clock.advance(2)
    assert [call.name for call in world.api.calls] == ["gpu-2", "gpu-1", "gpu-0"]
    assert world.index(1) == 2


async def test_a_patch_function_is_called_when_its_turn_comes(world: World) -> None:
    world.devices(1)
    value = 1

    def compose() -> Raw | None:
        return {"status": {"index": value}}

    world.writer.submit(GPUS, Key("", "gpu-0"), compose)
    value = 2
    async with world.running():
        await world.clock.advance(1)
    assert world.index(0) == 2


async def test_a_patch_function_may_find_nothing_to_write(world: World) -> None:
    world.writer.submit(PODS, Key("n", "a"), lambda: None)
    async with world.running():
        await world.clock.advance(1)
    assert (world.api.calls, len(world.writer)) == ([], 0)


async def test_a_conflict_is_composed_again(world: World) -> None:
    world.devices(1)
    world.api.fail("patch", error=Conflict("changed"))
    calls = []

    def compose() -> Raw | None:
        calls.append(1)
        return {"status": {"index": len(calls)}}

    world.writer.submit(GPUS, Key("", "gpu-0"), compose)
    async with world.running():
        await world.clock.advance(5)
    assert world.index(0) == 2


async def test_a_failed_write_is_repeated_unless_a_newer_value_waits(world: World) -> None:
    world.devices(2)
    world.api.fail("patch", error=ServerError("down"), times=2)
    blocked = world.api.hold("patch")
    async with world.running():
        world.submit(0, 1)
        world.submit(1, 1)
        await world.clock.settle()
        world.submit(0, 2)
        blocked.set()
        await world.clock.advance(5)
    assert (world.index(0), world.index(1)) == (2, 1)
    assert [call.body["status"]["index"] for call in world.api.calls if call.name == "gpu-0"] == [1, 2]


async def test_a_write_that_keeps_failing_is_given_up(world: World) -> None:
    world.devices(1)
    world.api.fail("patch", error=ServerError("down"), times=-1)
    async with world.running():
        world.submit(0, 1)
        await world.clock.advance(60)
    assert (world.api.count("patch"), len(world.writer)) == (5, 0)


@pytest.mark.parametrize("error", [Invalid("wrong"), None])
async def test_a_refused_write_or_a_vanished_object_is_not_repeated(world: World, error: Invalid | None) -> None:
    if error is not None:
        world.devices(1)
        world.api.fail("patch", error=error, times=-1)
    async with world.running():
        world.submit(0, 1)
        await world.clock.advance(60)
    assert world.api.count("patch") == 1


async def test_flush_writes_what_waits_regardless_of_budgets(world: World) -> None:
    world.devices(100)
    for number in range(100):
        world.submit(number, 7)
    await world.writer.flush()
    assert [world.index(number) for number in (0, 99)] == [7, 7]
    assert len(world.writer) == 0


async def test_the_main_resource_may_be_written_too(world: World) -> None:
    world.api.seed(GPU_POOLS, {"metadata": {"name": "p"}})
    world.writer.submit(GPU_POOLS, Key("", "p"), {"metadata": {"labels": {"a": "b"}}}, subresource="")
    async with world.running():
        await world.clock.advance(1)
    assert world.api.object(GPU_POOLS, "p")["metadata"]["labels"] == {"a": "b"}
