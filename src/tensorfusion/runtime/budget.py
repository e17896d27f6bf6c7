"""How many low-priority writes a second a process may make: a token bucket on the clock."""

from tensorfusion.clock import Clock

_WHOLE = 1.0 - 1e-9
"""A token, short of what adding up fractions loses: or the wait for the rest would be too short to pass."""


class Budget:
    """``rate`` tokens a second, up to ``burst`` saved."""

    def __init__(self, clock: Clock, *, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = clock.monotonic()

    def take(self) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= _WHOLE:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate

    async def wait(self) -> None:
        """Wait for a token and take it."""
        while (seconds := self.take()) > 0.0:
            await self._clock.sleep(seconds)
