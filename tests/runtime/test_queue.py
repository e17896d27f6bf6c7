"""The work queue: each key once, in order, at its time, and never twice at once."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from example_counts import part_of
from tensorfusion.runtime.queue import WorkQueue
from tensorfusion.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def queue(clock: VirtualClock) -> WorkQueue[str]:
    return WorkQueue(clock)


async def ready(queue: WorkQueue[str]) -> list[str]:
    """Everything that is due now, in the order in which it leaves."""
    found = []
    while True:
        try:
            async with asyncio.timeout(0):
                found.append(await queue.get())
        except TimeoutError:
            return found


async def test_keys_of_one_priority_leave_in_the_order_they_came(queue: WorkQueue[str]) -> None:
    for key in "abca":
        queue.add(key)
    assert len(queue) == 3
    assert await ready(queue) == ["a", "b", "c"]


async def test_the_highest_priority_leaves_first_and_is_kept(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("b", priority=5)
    queue.add("c", priority=1)
    queue.add("a", priority=9)
    queue.add("a", priority=0)
    assert await ready(queue) == ["a", "b", "c"]


async def test_a_delayed_key_leaves_when_it_is_due(queue: WorkQueue[str], clock: VirtualClock) -> None:
    async with asyncio.TaskGroup() as group:
        queue.add("late", after=10)
        queue.add("soon", after=1)
        first = group.create_task(queue.get())
        second = group.create_task(queue.get())
        await clock.advance(0.9)
        assert not first.done()
        await clock.advance(0.1)
        assert first.result() == "soon"
        assert not second.done()
        await clock.advance(9)
        assert second.result() == "late"


async def test_the_earliest_time_wins(queue: WorkQueue[str], clock: VirtualClock) -> None:
    queue.add("a", after=10)
    queue.add("a", after=20)
    queue.add("b", after=10)
    queue.add("b")
    assert await ready(queue) == ["b"]
    await clock.advance(10)
    assert await ready(queue) == ["a"]
    queue.done("a")
    await clock.advance(30)
    assert await ready(queue) == []


async def test_a_key_that_comes_while_it_is_worked_on_waits_for_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a", priority=3)
    queue.add("b", priority=1)
    assert await ready(queue) == ["b"]
    queue.done("a")
    assert await ready(queue) == ["a"]


async def test_failures_back_off_up_to_a_bound_and_success_resets(queue: WorkQueue[str], clock: VirtualClock) -> None:
    delays = []
    for _ in range(18):
        queue.add("a")
        await clock.advance(100)
        assert await queue.get() == "a"
        delays.append(queue.retry("a"))
        queue.done("a")
    assert delays[:3] == [0.005, 0.01, 0.02]
    assert delays[-1] == 60.0
    queue.forget("a")
    assert queue.retry("a") == 0.005


async def test_an_event_during_the_work_goes_before_the_backoff(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.retry("a")
    queue.done("a")
    assert await ready(queue) == ["a"]


async def test_a_retry_keeps_the_priority(queue: WorkQueue[str], clock: VirtualClock) -> None:
    queue.add("a", priority=7)
    await queue.get()
    queue.retry("a")
    queue.done("a")
    await clock.advance(1)
    queue.add("b", priority=3)
    assert await ready(queue) == ["a", "b"]


async def test_one_added_key_wakes_one_waiting_worker(queue: WorkQueue[str], clock: VirtualClock) -> None:
    woken: list[str] = []

    async def work() -> None:
        woken.append(await queue.get())

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(work())
        await clock.settle()
        queue.add("a")
        await clock.settle()
        assert woken == ["a"]
        queue.add("b")
        queue.add("c")


async def test_a_cancelled_worker_hands_its_key_on(queue: WorkQueue[str], clock: VirtualClock) -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(queue.get())
        second = group.create_task(queue.get())
        await clock.settle()
        queue.add("a")
        first.cancel()
        await clock.settle()
        assert second.result() == "a"


async def test_a_worker_that_is_cancelled_while_it_waits_leaves_nothing_behind(
    queue: WorkQueue[str], clock: VirtualClock
) -> None:
    queue.add("a", after=100)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await queue.get()
    await clock.settle()
    assert len(asyncio.all_tasks()) == 1


async def test_a_sooner_key_shortens_the_wait(queue: WorkQueue[str], clock: VirtualClock) -> None:
    async with asyncio.TaskGroup() as group:
        queue.add("late", after=100)
        waiting = group.create_task(queue.get())
        await clock.advance(1)
        queue.add("soon", after=5)
        await clock.advance(5)
        assert waiting.result() == "soon"


async def test_keys_that_are_put_off_again_and_again_do_not_pile_up(queue: WorkQueue[str]) -> None:
    for round_ in range(5000):
        queue.add("a", after=1000 - round_ / 10)
    assert len(queue._later) < 200


class QueueMachine(RuleBasedStateMachine):
    """Against a model: which keys wait (with priority and time), which are worked on."""

    keys = st.sampled_from("abcd")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.queue: WorkQueue[str] = WorkQueue(self.clock, base_delay=1.0, max_delay=8.0)
        self.waiting: dict[str, tuple[int, float]] = {}
        self.working: dict[str, int] = {}
        self.failures: dict[str, int] = {}

    def teardown(self) -> None:
        self.loop.close()

    def note(self, key: str, priority: int, due: float) -> None:
        known = self.waiting.get(key)
        self.waiting[key] = (priority, due) if known is None else (max(priority, known[0]), min(due, known[1]))

    @rule(key=keys, priority=st.integers(0, 2), after=st.sampled_from([0.0, 0.0, 1.0, 5.0]))
    def add(self, key: str, priority: int, after: float) -> None:
        self.queue.add(key, priority=priority, after=after)
        self.note(key, priority, self.clock.monotonic() + after)

    @rule(seconds=st.sampled_from([0.5, 1.0, 7.0]))
    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    @rule()
    def take(self) -> None:
        now = self.clock.monotonic()
        due = {key: wish for key, wish in self.waiting.items() if key not in self.working and wish[1] <= now}
        taken = self.loop.run_until_complete(self.try_get())
        if not due:
            assert taken is None
            return
        assert taken in due, "a key that is due leaves, and no other"
        assert due[taken][0] == max(priority for priority, _ in due.values())
        self.working[taken] = self.waiting.pop(taken)[0]

    async def try_get(self) -> str | None:
        try:
            async with asyncio.timeout(0):
                return await self.queue.get()
        except TimeoutError:
            return None

    @precondition(lambda self: self.working)
    @rule(data=st.data(), outcome=st.sampled_from(["ok", "retry", "plain"]))
    def finish(self, data: st.DataObject, outcome: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        if outcome == "retry":
            delay = self.queue.retry(key)
            assert delay == min(8.0, 2.0 ** self.failures.get(key, 0))
            self.failures[key] = self.failures.get(key, 0) + 1
            self.note(key, self.working[key], self.clock.monotonic() + delay)
        elif outcome == "ok":
            self.queue.forget(key)
            self.failures.pop(key, None)
        self.queue.done(key)
        del self.working[key]

    @invariant()
    def no_key_is_lost(self) -> None:
        assert len(self.queue) == len(self.waiting)


QueueMachine.TestCase.settings = settings(max_examples=part_of(100), stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase
