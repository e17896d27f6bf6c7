"""Leadership: never two at once, over in time, and countable by its epoch."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import ServerError
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import LEASES
from tensorfusion.runtime.lease import LeaderElector
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock

NAMESPACE, NAME = "system", "leader"


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.said: list[str] = []

    def elector(self, identity: str, clock: VirtualClock | None = None, **options: float) -> LeaderElector:
        return LeaderElector(
            self.api, namespace=NAMESPACE, name=NAME, identity=identity, clock=clock or self.clock, **options
        )

    @contextlib.asynccontextmanager
    async def running(self, elector: LeaderElector) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as group:
            name = elector._identity
            task = group.create_task(
                elector.run(lambda: self.said.append(f"{name} starts"), lambda: self.said.append(f"{name} stops"))
            )
            await self.clock.settle()
            yield task
            task.cancel()

    @property
    def spec(self) -> Raw:
        found: dict[str, Any] = self.api.object(LEASES, NAME, namespace=NAMESPACE)["spec"]
        return found


@pytest.fixture
def world() -> World:
    return World()


async def test_the_first_one_leads_at_once_in_epoch_zero(world: World) -> None:
    one = world.elector("one")
    assert (one.is_leader(), one.epoch) == (False, -1)
    async with world.running(one):
        assert (one.is_leader(), one.epoch) == (True, 0)
        assert world.said == ["one starts"]
        assert world.spec == {
            "holderIdentity": "one",
            "leaseDurationSeconds": 15,
            "renewTime": "2026-01-01T00:00:00.000000Z",
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        }


async def test_a_holder_that_renews_keeps_the_lease_for_as_long_as_it_likes(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    async with world.running(one), world.running(two):
        for _ in range(200):
            await world.clock.advance(0.5)
            assert (one.is_leader(), two.is_leader()) == (True, False)
    assert world.spec["acquireTime"] == "2026-01-01T00:00:00.000000Z"


async def test_a_clean_stop_hands_over_without_waiting_for_the_expiry(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    async with world.running(two) as second:
        second.cancel()
    async with world.running(one):
        assert one.epoch == 1
    assert world.spec["holderIdentity"] == ""
    assert world.said == ["two starts", "two stops", "one starts", "one stops"]


async def test_a_silent_holder_is_replaced_after_the_whole_duration_in_the_next_epoch(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    async with world.running(one), world.running(two):
        blocked = world.api.hold("patch")
        await world.clock.advance(9.9)
        assert (one.is_leader(), two.is_leader()) == (True, False)
        await world.clock.advance(0.1)
        assert (one.is_leader(), two.is_leader()) == (False, False)
        assert world.said == ["one starts", "one stops"], "told in time, though the renewal still waits"
        await world.clock.advance(4.9)
        assert not two.is_leader()
        world.api._held.clear()
        await world.clock.advance(3)
        assert two.is_leader()
        assert two.epoch == 1
        blocked.set()
        await world.clock.advance(1)
        assert (one.is_leader(), two.is_leader()) == (False, True)


async def test_a_process_that_was_stopped_knows_at_its_first_look(world: World) -> None:
    one = world.elector("one")
    async with world.running(one):
        await world.clock.advance(20)
        assert one.is_leader()
        world.clock.stall(10.1)
        assert not one.is_leader()


async def test_silence_that_nobody_used_goes_on_in_the_same_epoch(world: World) -> None:
    one = world.elector("one")
    async with world.running(one):
        world.clock.stall(60)
        assert not one.is_leader()
        await world.clock.advance(3)
        assert (one.is_leader(), one.epoch) == (True, 0)


async def test_a_new_process_of_the_same_name_waits_and_counts_as_another_holder(world: World) -> None:
    first = world.elector("one")
    async with world.running(first) as task:
        world.api.fail("patch", times=-1)  # it cannot release either
        task.cancel()
    world.api.recover()
    again = world.elector("one")
    async with world.running(again):
        await world.clock.advance(14)
        assert not again.is_leader()
        await world.clock.advance(3)
        assert (again.is_leader(), again.epoch) == (True, 1)


async def test_a_takeover_whose_reply_was_lost_is_recognised_as_ones_own(world: World) -> None:
    one = world.elector("one")
    async with world.running(one):
        pass
    two = world.elector("two")
    world.api.fail("patch", LEASES, reply_lost=True)
    async with world.running(two):
        assert not two.is_leader()
        await world.clock.advance(2)
        assert (two.is_leader(), two.epoch) == (True, 1)


async def test_a_creation_whose_reply_was_lost_is_recognised_as_ones_own(world: World) -> None:
    one = world.elector("one")
    world.api.fail("create", LEASES, reply_lost=True)
    async with world.running(one):
        assert not one.is_leader()
        await world.clock.advance(2)
        assert (one.is_leader(), one.epoch) == (True, 0)


async def test_errors_shorter_than_the_term_do_not_end_it(world: World) -> None:
    one = world.elector("one")
    async with world.running(one):
        world.api.fail(times=2)
        await world.clock.advance(9)
        assert one.is_leader()
        await world.clock.advance(9)
        assert one.is_leader()
    assert world.said == ["one starts", "one stops"]


async def test_a_lease_that_somebody_else_took_ends_leadership_at_once(world: World) -> None:
    one = world.elector("one")
    async with world.running(one):
        taken = {"spec": {"holderIdentity": "admin", "leaseTransitions": 7}}
        world.api.change(LEASES, NAME, taken, namespace=NAMESPACE)
        await world.clock.advance(3)
        assert not one.is_leader()
        await world.clock.advance(20)
        assert (one.is_leader(), one.epoch) == (True, 8)


async def test_of_two_that_start_together_one_leads(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    async with world.running(one), world.running(two):
        await world.clock.advance(1)
        assert [one.is_leader(), two.is_leader()].count(True) == 1


actions = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.sampled_from([0.4, 1.0, 3.0, 7.0])),
        st.tuples(
            st.sampled_from(["fail", "lose", "stall 0", "stall 1", "stall 2"]), st.sampled_from([1.0, 4.0, 12.0])
        ),
    ),
    max_size=25,
)


@settings(max_examples=part_of(100), deadline=None)
@given(actions=actions)
def test_never_two_leaders_and_never_an_epoch_twice(actions: list[tuple[str, float]]) -> None:
    """Three processes with clocks of their own: any may stand still while the others go on."""

    async def scenario() -> None:
        world = World()
        clocks = [VirtualClock() for _ in range(3)]
        electors = [world.elector(f"p{i}", clock) for i, clock in enumerate(clocks)]
        leader_of: dict[int, str] = {}
        frozen = [0.0, 0.0, 0.0]

        def check() -> None:
            leading = [elector for i, elector in enumerate(electors) if not frozen[i] and elector.is_leader()]
            assert len(leading) <= 1
            for elector in leading:
                assert leader_of.setdefault(elector.epoch, elector._identity) == elector._identity

        async with contextlib.AsyncExitStack() as stack:
            for elector in electors:
                await stack.enter_async_context(world.running(elector))
            for action, amount in actions:
                match action.split():
                    case ["fail"]:
                        world.api.fail(error=ServerError("down"), times=int(amount))
                    case ["lose"]:
                        world.api.fail("patch", times=int(amount), reply_lost=True)
                    case ["stall", which]:
                        frozen[int(which)] += amount
                    case _:
                        await pass_time(clocks, frozen, amount, check)
            world.api.recover()

    async def pass_time(clocks: list[VirtualClock], frozen: list[float], seconds: float, check: Any) -> None:
        for _ in range(round(seconds / 0.2)):
            for i, clock in enumerate(clocks):
                if frozen[i] > 0:
                    frozen[i] = max(0.0, round(frozen[i] - 0.2, 6))
                    clock.stall(0.2)
                else:
                    await clock.advance(0.2)
                check()

    asyncio.run(scenario())
