"""What a scheduler does while it has nothing to apply and nothing to decide: it has the next decisions' work done.

In short slices, so that what comes meanwhile waits for one at most, and for a bounded part of a core, so that others on
the machine keep theirs.
"""

import asyncio
import time
from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

SLICE = 0.002
"""Seconds of processor time after which no further step is begun before there was a rest."""
REST = 4
"""How many times as long as a slice took the rest after it is."""


class SpareTime:
    """Work in steps, for the time in which one waits.

    ``step`` does a little and answers whether there was any; it is asked again after the next wait for work. ``free``
    says whether there is time for it at all. ``timer`` counts seconds of processor time.
    """

    def __init__(
        self,
        step: Callable[[], bool],
        *,
        clock: Clock,
        free: Callable[[], bool],
        timer: Callable[[], float] = time.thread_time,
    ) -> None:
        self._step = step
        self._clock = clock
        self._free = free
        self._timer = timer
        self._rests_until = float("-inf")

    async def until(self, kick: asyncio.Event) -> None:
        """Return as soon as the event is set, and work until then."""
        while not kick.is_set() and self._free():
            rest = self._rests_until - self._clock.monotonic()
            if rest > 0:
                await self._kicked_within(rest, kick)
            elif not self._work():
                break
        await kick.wait()

    def _work(self) -> bool:
        """One slice; answers whether there may be more to do."""
        started = self._timer()
        if not self._step_safely():
            return False  # and nothing to rest from
        more, spent = True, self._timer() - started
        while more and spent < SLICE:
            more = self._step_safely()
            spent = self._timer() - started
        self._rests_until = self._clock.monotonic() + REST * spent
        return more

    def _step_safely(self) -> bool:
        """The edge of the loop: a fault here must not stop the decisions."""
        try:
            return self._step()
        except Exception:
            log.exception("work in spare time failed unexpectedly")
            return False

    async def _kicked_within(self, seconds: float, kick: asyncio.Event) -> None:
        """Return when the event is set, at the latest after so long."""
        waits = [asyncio.ensure_future(kick.wait()), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
