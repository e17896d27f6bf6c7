"""Looking for what comes next instead of sleeping, as long as it keeps coming at once.

A process that sleeps is woken late: on a virtual machine its processor may have been given away, and comes back with
cold caches. Who answers one request after the other saves that by not going to sleep for as long as the next thing
takes to come. It costs processor time, so it is done only where that is well spent: once nothing was waited for longer
than a bound for some milliseconds, the next wait is looked through, up to that bound. One longer wait ends it. Requests
to models that think for milliseconds are waited for asleep, and so are words that come at random, or all at once.

Source: the idea is that of the socket option SO_BUSY_POLL, socket(7), and of halt polling in KVM, which grows and
shrinks with what waits were like; here the event loop does it.
"""

import asyncio
from time import monotonic
from typing import Final

STREAK_SECONDS: Final = 0.003
"""Without a longer wait: words of a hundred streams that come at once are passed on in less, and of those that come at
random only a few have so many close behind each other."""


class BusyPoll:
    """Of one event loop; ``seconds`` bounds a short wait, and how long one is looked through."""

    __slots__ = ("_last", "_loop", "_polling", "_seconds", "_since", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._last = self._until = float("-inf")
        self._since = 0.0
        """When the present streak began."""
        self._polling = False

    def stir(self) -> None:
        """Something has come or gone."""
        now = monotonic()
        if now - self._last > self._seconds:
            self._since = now
        self._last = now
        if now - self._since >= STREAK_SECONDS:
            self._until = now + self._seconds
            if not self._polling:
                self._polling = True
                self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        """Come again in the next round of the loop, which then does not wait for events."""
        self._polling = monotonic() < self._until
        if self._polling:
            self._loop.call_soon(self._poll)
