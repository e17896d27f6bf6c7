"""A scheduler that has nothing to decide has the next decisions' work done, in slices, and drops it for what comes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tensorfusion.model.resources import GPU_POOLS
from tensorfusion.scheduler.spare_time import REST, SLICE, SpareTime
from tensorfusion.testing.clock import VirtualClock


class Work:
    """So many steps of a millisecond."""

    def __init__(self, clock: VirtualClock, steps: int) -> None:
        self.left = steps
        self.free = True
        self.taken = 0.0
        self.fault: Exception | None = None
        self.kick = asyncio.Event()
        self.spare = SpareTime(self.step, clock=clock, free=lambda: self.free, timer=lambda: self.taken)

    def step(self) -> bool:
        if self.fault is not None:
            raise self.fault
        if not self.left:
            return False
        self.left -= 1
        self.taken += 0.001
        return True


@asynccontextmanager
async def waiting(work: Work) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work.spare.until(work.kick))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_slices_are_short_and_rests_are_four_times_as_long() -> None:
    clock = VirtualClock()
    work = Work(clock, 1_000)
    async with waiting(work):
        await clock.settle()
        assert work.taken == pytest.approx(SLICE)
        await clock.advance(0.99 * REST * SLICE)
        assert work.taken == pytest.approx(SLICE)
        await clock.advance(1.0)
        assert work.taken == pytest.approx(1.0 / REST, rel=0.1)


async def test_what_comes_goes_first_at_once_and_earns_no_slice_of_its_own() -> None:
    clock = VirtualClock()
    work = Work(clock, 1_000)
    for _ in range(10):  # events that come at one moment
        async with waiting(work) as task:
            await clock.settle()
            work.kick.set()
            await clock.settle()
            assert task.done()
            work.kick.clear()
    assert work.taken == pytest.approx(SLICE)
    assert clock.monotonic() == 0.0


async def test_work_that_is_done_leaves_nobody_asleep_until_the_next_event() -> None:
    clock = VirtualClock()
    work = Work(clock, 3)
    async with waiting(work) as task:
        await clock.advance(1.0)
        assert not work.left
        assert not task.done()
        assert clock.next_wake() is None
        work.kick.set()
        await clock.settle()
        assert task.done()


async def test_no_time_is_no_time() -> None:
    clock = VirtualClock()
    work = Work(clock, 1_000)
    async with waiting(work):
        await clock.settle()
        work.free = False
        await clock.advance(1.0)
        assert work.taken == pytest.approx(SLICE)
        assert clock.next_wake() is None


async def test_a_fault_in_it_does_not_end_the_wait() -> None:
    clock = VirtualClock()
    work = Work(clock, 3)
    work.fault = RuntimeError("broken")
    async with waiting(work) as task:
        await clock.advance(1.0)
        assert not task.done()
        work.kick.set()
        await clock.settle()
        assert task.done()


# --- in a scheduler ---


async def ahead(world: Any, mode: str = "FragmentationAware") -> Callable[[], int]:
    """A scheduler whose pool has this mode; answers how many classes it caught up so far in spare time."""
    world.template("dense", mode)
    world.fleet(nodes=6, devices=2)
    world.api.change(GPU_POOLS, "main", {"spec": {"schedulingConfigTemplate": "dense"}})
    service = await world.start()
    classes, done = service.state.classes, [0]
    catch_up_one = classes.catch_up_one

    def counted() -> bool:
        found: bool = catch_up_one()
        done[0] += found
        return found

    classes.catch_up_one = counted
    return lambda: done[0]


async def come(world: Any, *names: str) -> None:
    for number, name in enumerate(names):
        world.worker(name, tflops=str(10 * (number + 1)))
        await world.settle(1)
        assert world.node_of(name)


async def test_a_scheduler_catches_up_while_nothing_comes(world) -> None:
    done = await ahead(world)
    await come(world, "a", "b", "c")
    assert done() >= 3
    assert not world.service.state.classes.catch_up_one()
    before = done()
    await world.settle(30)
    assert done() == before  # nothing has changed
    world.delete("a")
    await world.settle(1)
    assert done() >= before + 3
    world.check_books()


async def test_a_scheduler_without_pools_that_look_ahead_has_nothing_to_do(world) -> None:
    done = await ahead(world, "CompactFirst")
    await come(world, "a", "b")
    assert not done()


async def test_who_does_not_lead_any_more_leaves_it(world) -> None:
    done = await ahead(world)
    await come(world, "a", "b")
    world.office.leading = False
    await world.settle(1)
    before = done()
    world.delete("a")
    await world.settle(5)
    assert done() == before
    assert world.service.state.classes.catch_up_one()  # there would have been something


async def test_a_change_of_the_mode_ends_it(world) -> None:
    done = await ahead(world)
    await come(world, "a", "b")
    world.api.change(GPU_POOLS, "main", {"spec": {"schedulingConfigTemplate": ""}})
    await world.settle(2)
    before = done()
    await come(world, "c", "d")
    assert done() == before
    world.check_books()
