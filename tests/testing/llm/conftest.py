"""A clock on which waiting takes no time."""

import asyncio
from datetime import datetime, timedelta

import pytest

from tensorfusion.testing.clock import VirtualClock


class FastClock:
    """Who sleeps wakes up at once, and it is later. ``slept`` are the seconds of each; ``gate`` holds sleepers back."""

    def __init__(self) -> None:
        self._start = VirtualClock().now()
        self.slept: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        await self.gate.wait()
        self.slept.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def clock() -> FastClock:
    return FastClock()
