"""A Lease that several hold together: nobody else acts meanwhile, and whoever takes it over starts another epoch."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tensorfusion.errors import ServerError
from tensorfusion.model.resources import LEASES
from tensorfusion.runtime.lease import LeaderElector
from tensorfusion.runtime.shared_lease import SharedLease
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock

NAMESPACE, NAME = "system", "leader"


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)

    def shared(self) -> SharedLease:
        return SharedLease(self.api, namespace=NAMESPACE, name=NAME, group="all", clock=self.clock)

    def single(self) -> LeaderElector:
        return LeaderElector(self.api, namespace=NAMESPACE, name=NAME, identity="single", clock=self.clock)

    @contextlib.asynccontextmanager
    async def running(self, *leases: SharedLease | LeaderElector) -> AsyncIterator[list[asyncio.Task[None]]]:
        tasks = [asyncio.ensure_future(lease.run()) for lease in leases]
        await self.clock.settle()
        yield tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def writes(self) -> int:
        return sum(call.verb in ("create", "patch") and call.resource == LEASES.id for call in self.api.calls)


@pytest.fixture
def world() -> World:
    return World()


async def test_all_of_them_hold_it_in_one_epoch_and_write_no_more_than_one_would(world: World) -> None:
    three = [world.shared() for _ in range(3)]
    async with world.running(*three):
        for _ in range(40):
            await world.clock.advance(1)
            if world.clock.monotonic() > 4:
                assert all((one.is_leader(), one.epoch) == (True, 0) for one in three)
        assert world.writes() <= 2 * 40 / 3 + 3


async def test_a_single_holder_waits_while_one_of_them_renews_and_counts_another_epoch_then(world: World) -> None:
    one, two, single = world.shared(), world.shared(), world.single()
    async with world.running(one, two, single) as tasks:
        tasks[0].cancel()
        await world.clock.advance(60)
        assert two.is_leader() and not single.is_leader()
        tasks[1].cancel()
        await world.clock.advance(20)
        assert (single.is_leader(), single.epoch) == (True, 1)
        assert not one.is_leader() and not two.is_leader()


async def test_they_wait_for_a_single_holder_and_fence_it_off(world: World) -> None:
    single, one = world.single(), world.shared()
    async with world.running(single) as tasks, world.running(one):
        await world.clock.advance(60)
        assert single.is_leader() and not one.is_leader()
        world.api.fail("", LEASES, times=1)  # its last word is lost
        tasks[0].cancel()
        for _ in range(80):
            await world.clock.advance(0.5)
            assert not (single.is_leader() and one.is_leader())
        assert (one.is_leader(), one.epoch) == (True, 1)


async def test_silence_ends_it_before_anybody_else_can_start(world: World) -> None:
    one, single = world.shared(), world.single()
    async with world.running(one, single):
        await world.clock.advance(10)
        world.api.fail("patch", LEASES, error=ServerError("gone"), times=-1)
        for _ in range(30):
            await world.clock.advance(0.5)
            assert not (single.is_leader() and one.is_leader())
        assert not one.is_leader()
        world.api.recover()
        await world.clock.advance(30)
        assert one.is_leader() != single.is_leader()


async def test_what_was_held_in_another_epoch_does_not_count_for_this_one(world: World) -> None:
    one = world.shared()
    async with world.running(one):
        await world.clock.advance(4)
        world.api.change(LEASES, NAME, {"spec": {"leaseTransitions": 7}}, namespace=NAMESPACE)
        await world.clock.advance(4)
        assert (one.is_leader(), one.epoch) == (True, 7)
