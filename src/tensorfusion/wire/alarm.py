"""A timer for deadlines that move: hundreds of times a second for one stream, and nearly always before they are due.

Moving a deadline back costs nothing here: the timer stays where it is, looks when it rings, and is set anew for what is
then due. ``asyncio.timeout`` would make and cancel a timer for every piece, which costs as much as passing it on.
"""

import asyncio
from collections.abc import Callable

_LEAST = 0.001
"""Seconds until the next look: event loops count milliseconds and may ring early."""


def _never() -> None:
    return None


class Alarm:
    """``look`` is called not before a time given to ``by``; it says when to look again, or None for never."""

    __slots__ = ("_at", "_handle", "_look", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], float | None]) -> None:
        self._loop = loop
        self._look = look
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def by(self, when: float) -> None:
        """Look at that time of the loop, or before: an earlier look that is due already stays."""
        if self._handle is not None:
            if when >= self._at:
                return
            self._handle.cancel()
        self._at = when
        self._handle = self._loop.call_at(when, self._ring)

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
        again = self._look()
        if again is not None:
            self.by(max(again, self._loop.time() + _LEAST))
