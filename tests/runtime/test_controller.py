"""What a controller makes of success, of errors worth retrying, of others, and of surprises."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tensorfusion.errors import Conflict, Forbidden, InvalidRequest, ServerError
from tensorfusion.model.meta import Key
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.testing.clock import VirtualClock

KEY = Key("n", "a")


class Scripted:
    """Reconciles by a list of outcomes: a result, or an error to raise. The last one repeats."""

    def __init__(self, clock: VirtualClock, *outcomes: Result | Exception) -> None:
        self._clock = clock
        self._outcomes = list(outcomes)
        self.passes: list[float] = []

    async def reconcile(self, key: Key) -> Result:
        self.passes.append(round(self._clock.monotonic(), 3))
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(controller.run())
        yield
        task.cancel()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_a_key_is_reconciled_once_for_each_event(clock: VirtualClock) -> None:
    scripted = Scripted(clock, DONE)
    controller = Controller("c", scripted, clock=clock)
    async with running(controller):
        controller.queue.add(KEY)
        await clock.advance(100)
        controller.queue.add(KEY)
        await clock.advance(100)
    assert scripted.passes == [0, 100]


async def test_a_result_may_ask_for_another_pass(clock: VirtualClock) -> None:
    scripted = Scripted(clock, Result(requeue_after=30), DONE)
    controller = Controller("c", scripted, clock=clock)
    async with running(controller):
        controller.queue.add(KEY)
        await clock.advance(100)
    assert scripted.passes == [0, 30]


async def test_a_retryable_error_backs_off_until_it_succeeds(clock: VirtualClock) -> None:
    scripted = Scripted(clock, ServerError("x"), Conflict("y"), ServerError("x"), DONE)
    controller = Controller("c", scripted, clock=clock)
    async with running(controller):
        controller.queue.add(KEY)
        await clock.advance(10)
    assert scripted.passes == [0, 0.005, 0.015, 0.035]


async def test_a_terminal_error_waits_for_the_next_event(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    scripted = Scripted(clock, InvalidRequest("no such pool"), DONE)
    controller = Controller("c", scripted, clock=clock)
    async with running(controller):
        controller.queue.add(KEY)
        await clock.advance(1000)
        assert scripted.passes == [0]
        controller.queue.add(KEY)
        await clock.advance(1)
    assert scripted.passes == [0, 1000]
    assert [record.message.count("no such pool") for record in caplog.records] == [1]


async def test_what_the_api_refused_is_tried_again_where_that_is_wanted(clock: VirtualClock) -> None:
    scripted = Scripted(clock, Forbidden("not yours"), Forbidden("not yours"), DONE)
    controller = Controller("c", scripted, clock=clock, refused_after=15)
    async with running(controller):
        controller.queue.add(KEY)
        await clock.advance(100)
    assert scripted.passes == [0, 15, 30]


async def test_an_unexpected_exception_is_logged_with_its_key_and_retried(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    scripted = Scripted(clock, ZeroDivisionError("oops"), DONE)
    controller = Controller("c", scripted, clock=clock)
    with caplog.at_level(logging.ERROR):
        async with running(controller):
            controller.queue.add(KEY)
            await clock.advance(1)
    assert scripted.passes == [0, 0.005]
    assert "key=n/a" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_no_key_is_worked_on_by_two_workers_at_once(clock: VirtualClock) -> None:
    active: set[Key] = set()
    passes: list[Key] = []

    class Slow:
        async def reconcile(self, key: Key) -> Result:
            assert key not in active
            active.add(key)
            await clock.sleep(1)
            active.discard(key)
            passes.append(key)
            return DONE

    controller = Controller("c", Slow(), clock=clock, workers=4)
    other = Key("n", "b")
    async with running(controller):
        for _ in range(10):
            controller.queue.add(KEY)
            controller.queue.add(other)
            await clock.advance(0.3)
        await clock.advance(10)
    assert passes.count(KEY) == passes.count(other) == 4


async def test_cancelling_a_controller_ends_its_work(clock: VirtualClock) -> None:
    waits: Callable[[], object] = clock.next_wake

    class Forever:
        async def reconcile(self, key: Key) -> Result:
            await clock.sleep(1e9)
            return DONE

    controller = Controller("c", Forever(), clock=clock)
    async with running(controller):
        controller.queue.add(KEY)
        await clock.settle()
        assert waits() is not None
    assert waits() is None
