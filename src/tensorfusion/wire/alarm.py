"""A timer for deadlines that move: hundreds of times a second for one stream, and nearly always before they are due.

A ring that comes late says that this process stood still - no processor on a busy machine, a paused virtual one - and
with it most probably what it waits for: as much time as it is late is given once, before anybody is found too slow.

Moving a deadline back costs nothing here: the timer stays where it is, looks when it rings, and is set anew for what is
then due. ``asyncio.timeout`` would make and cancel a timer for every piece, which costs as much as passing it on.
"""

import asyncio
from collections.abc import Callable

_LEAST = 0.001
"""Seconds until the next look: event loops count milliseconds and may ring early."""
_LATE = 0.05
"""Seconds behind its time from which a ring is late ..."""
_MOST_GIVEN = 2.0
"""... and the most that is given for it."""


def _never() -> None:
    return None


class Alarm:
    """``look`` is called not before a time given to ``by``; it says when to look again, or None for never."""

    __slots__ = ("_at", "_given", "_handle", "_look", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], float | None]) -> None:
        self._loop = loop
        self._look = look
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0
        self._given = False

    def by(self, when: float) -> None:
        """Look at that time of the loop, or before: an earlier look that is due already stays."""
        if self._handle is not None:
            if when >= self._at:
                return
            self._handle.cancel()
        self._at = max(when, self._loop.time())
        self._handle = self._loop.call_at(self._at, self._ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def end(self) -> None:
        """It is needed no more, and lets go of who looked: both are freed at once, without the collector."""
        self.cancel()
        self._look = _never

    def _ring(self) -> None:
        self._handle = None
        now = self._loop.time()
        late = now - self._at
        self._given = late > _LATE and not self._given
        if self._given:
            self.by(now + min(late, _MOST_GIVEN))
            return
        again = self._look()
        if again is not None:
            self.by(max(again, self._loop.time() + _LEAST))
