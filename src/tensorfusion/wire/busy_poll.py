"""Looking for what comes next instead of sleeping, for a moment behind each arrival.

A process that sleeps is woken late: on a virtual machine its processor may have been given away, and comes back with
cold caches. Who answers one request after the other saves that by not going to sleep for as long as it takes the next
thing to come. What it costs is processor time that others could have had, up to that long behind each arrival, so it
is for machines that have processors to spare, and off unless wanted.

Source: the idea is that of the socket option SO_BUSY_POLL, socket(7); here the event loop does it.
"""

import asyncio
from time import monotonic


class BusyPoll:
    """Of one event loop."""

    __slots__ = ("_loop", "_polling", "_seconds", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._until = 0.0
        self._polling = False

    def stir(self) -> None:
        """Something has come or gone: do not sleep for so many seconds from now."""
        self._until = monotonic() + self._seconds
        if not self._polling:
            self._polling = True
            self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        """Come again in the next round of the loop, which then does not wait for events."""
        self._polling = monotonic() < self._until
        if self._polling:
            self._loop.call_soon(self._poll)
