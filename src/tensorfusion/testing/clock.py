"""A clock that moves only when a test says so; sleepers wake in order, and each acts before the next one wakes.

Between two wake-ups the event loop runs until nothing but the test itself can run ("settled"), so the order of what
happens is the same every time. Real I/O is not waited for: use this clock with fakes, not with sockets.
"""

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import TypeVar

T = TypeVar("T")

_START = datetime(2026, 1, 1, tzinfo=UTC)
_TURNS = 100
"""Turns of the event loop that count as settled on a loop that does not say what is ready."""
_MOST_TURNS = 100_000


class VirtualClock:
    """Satisfies ``Clock``. ``advance`` moves time and runs what becomes due."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking sleepers at their times, in order."""
        until = self._elapsed + seconds
        await self.settle()
        while (due := self.next_wake()) is not None and due <= until:
            await self._wake_next()
        self._elapsed = until
        await self.settle()

    async def run(self, work: Coroutine[object, object, T], *, limit: float = 3600.0) -> T:
        """Run ``work`` to its end, jumping from one sleeper to the next whenever everything waits.

        Raises:
            AssertionError: not done after ``limit`` seconds of this clock, or everything waits and nobody sleeps.
        """
        until = self._elapsed + limit
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            await self.settle()
            while not task.done():
                due = self.next_wake()
                if due is None or due > until:
                    why = "nobody sleeps" if due is None else f"not within {limit} s"
                    raise AssertionError(f"the work is not done, and {why}")
                await self._wake_next()
        return task.result()

    async def turns(self, count: int) -> None:
        """So many turns of the event loop: who can run takes as many steps, and time stands still."""
        for _ in range(count):
            await asyncio.sleep(0)

    def stall(self, seconds: float) -> None:
        """Time passes without anybody acting, as for a process that was stopped. Sleepers wake at the next advance."""
        self._elapsed += seconds

    def next_wake(self) -> float | None:
        """When the next sleeper wakes, in this clock's seconds; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def settle(self) -> None:
        """Let everything run that can run without time passing.

        Raises:
            AssertionError: it never comes to rest.
        """
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        if ready is None:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            return
        for _ in range(_MOST_TURNS):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError(f"still busy after {_MOST_TURNS} turns of the event loop: something spins")

    async def _wake_next(self) -> None:
        due, _, woken = heapq.heappop(self._sleepers)
        self._elapsed = max(self._elapsed, due)
        if not woken.done():
            woken.set_result(None)
        await self.settle()
