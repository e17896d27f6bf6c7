"""The virtual clock wakes sleepers in order, and each acts before the next wakes."""

import asyncio

import pytest

from tensorfusion.testing.clock import VirtualClock


async def test_sleepers_wake_in_order_of_time_and_act_before_the_next() -> None:
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, *pauses: float) -> None:
        for pause in pauses:
            await clock.sleep(pause)
            seen.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 1, 1, 1))
        group.create_task(sleeper("b", 1.5, 1))
        await clock.advance(2.5)
        assert seen == [("a", 1), ("b", 1.5), ("a", 2), ("b", 2.5)]
        await clock.advance(10)
    assert clock.monotonic() == 12.5


async def test_run_jumps_from_sleeper_to_sleeper() -> None:
    clock = VirtualClock()

    async def work() -> str:
        for _ in range(100):
            await clock.sleep(10)
        return "done"

    assert await clock.run(work()) == "done"
    assert (clock.now() - VirtualClock().now()).total_seconds() == 1000


@pytest.mark.parametrize("limit", [5.0, 1e9])
async def test_work_that_does_not_end_is_an_error_not_a_hang(limit: float) -> None:
    clock = VirtualClock()

    async def sleepy() -> None:
        await clock.sleep(1e6)
        await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as caught:
        await clock.run(sleepy(), limit=limit)
    assert caught.group_contains(AssertionError)


async def test_cancelled_sleepers_are_forgotten() -> None:
    clock = VirtualClock()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await clock.sleep(5)
    assert clock.next_wake() is None


async def test_a_stall_passes_time_without_anybody_acting() -> None:
    clock = VirtualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(clock.sleep(5))
        await clock.settle()
        clock.stall(100)
        assert clock.monotonic() == 100
        assert not task.done()
        await clock.advance(0)
        assert task.done()
