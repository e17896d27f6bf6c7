"""When the tokens of one answer come, and how far it got: on the server's clock."""

import asyncio

from tensorfusion.clock import Clock
from tensorfusion.testing.llm.settings import Settings


class Pace:
    """Made when the request arrives; ``begin`` when it runs. Times are in seconds of the clock."""

    __slots__ = ("_clock", "_tpot", "_ttft", "arrived", "begun", "first_at", "slow", "tokens")

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self._clock = clock
        self._ttft = settings.ttft
        self._tpot = settings.tpot
        self.slow = bool(self._ttft or self._tpot)
        self.arrived = self.begun = clock.monotonic()
        self.tokens = 0
        """Said so far."""
        self.first_at: float | None = None

    def begin(self) -> None:
        self.begun = self._clock.monotonic()

    def now(self) -> float:
        return self._clock.monotonic()

    async def token(self, step: int) -> None:
        """Wait for the time of a token, counted from 0."""
        due = self.begun + self._ttft + step * self._tpot
        now = self._clock.monotonic()
        if due > now:
            await self._clock.sleep(due - now)
        if self.first_at is None:
            self.first_at = self._clock.monotonic()

    async def all(self, steps: int, tokens: int) -> None:
        """Wait until so many steps with so many tokens are over; who is stopped before has said a part of them."""
        try:
            if steps:
                await self.token(0)
                await self.token(steps - 1)
        except asyncio.CancelledError:
            self.tokens = min(tokens, self._steps_by_now() * tokens // max(steps, 1))
            raise
        self.tokens = tokens

    def _steps_by_now(self) -> int:
        since = self._clock.monotonic() - self.begun - self._ttft
        if since < 0:
            return 0
        return 1 + int(since / self._tpot) if self._tpot else 1
