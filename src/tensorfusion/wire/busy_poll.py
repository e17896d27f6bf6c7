"""Looking for what comes next instead of sleeping, as long as it keeps coming at once.

A process that sleeps is woken late: on a virtual machine its processor may have been given away, and comes back with
cold caches. Who answers one request after the other saves that by not going to sleep for as long as the next thing
takes to come. It costs processor time, so it is done only where that is well spent: behind several waits in a row that
were short, each of them within the bound that a wait is then looked through. One long wait ends it. Requests to models
that think for milliseconds, and their words, are waited for asleep.

Source: the idea is that of the socket option SO_BUSY_POLL, socket(7), and of halt polling in KVM, which grows and
shrinks with what waits were like; here the event loop does it.
"""

import asyncio
from time import monotonic
from typing import Final

RUN: Final = 8
"""Short waits in a row: arrivals at random, however many a second, rarely have so many."""


class BusyPoll:
    """Of one event loop; ``seconds`` bounds a short wait, and how long one is looked through."""

    __slots__ = ("_last", "_loop", "_polling", "_run", "_seconds", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._last = self._until = float("-inf")
        self._run = 0
        self._polling = False

    def stir(self) -> None:
        """Something has come or gone."""
        now = monotonic()
        self._run = self._run + 1 if now - self._last <= self._seconds else 0
        self._last = now
        if self._run >= RUN:
            self._until = now + self._seconds
            if not self._polling:
                self._polling = True
                self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        """Come again in the next round of the loop, which then does not wait for events."""
        self._polling = monotonic() < self._until
        if self._polling:
            self._loop.call_soon(self._poll)
