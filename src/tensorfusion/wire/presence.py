"""Whether a client is still there, and still reads, where nothing that happens on the connection would tell.

While nothing is read from a client, nobody tells that it has gone: it is asked for, at first often, because most pauses
are short, then less so, because thousands may be paused for minutes. While it does not read, what it has not taken yet
is counted down to what the system holds for it: that is the only thing that moves when it reads slowly.

Source: poll(2) POLLRDHUP; tcp(7) SIOCOUTQ, which is TIOCOUTQ.
"""

import asyncio
import contextlib
import fcntl
import select
import struct
import termios
from collections.abc import Callable
from typing import Final

from tensorfusion.wire.alarm import Alarm

_SOONEST: Final = 0.05
_LATEST: Final = 1.0
_PART: Final = 4


def pause_before_look(paused: float) -> float:
    """Seconds until the next look at a client that has been paused for so many."""
    return min(max(paused / _PART, _SOONEST), _LATEST)


class Presence:
    """Calls ``gone`` once when the client of a paused transport has closed its end."""

    __slots__ = ("_alarm", "_loop", "_since", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, gone: Callable[[], None]) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._since = 0.0

        def look() -> float | None:
            link = None if self._transport is None else self._transport.get_extra_info("socket")
            if link is None:
                return None
            poll = select.poll()
            poll.register(link.fileno(), select.POLLRDHUP)
            if poll.poll(0):
                self._transport = None
                gone()
                return None
            now = self._loop.time()
            return now + pause_before_look(now - self._since)

        self._alarm = Alarm(loop, look)

    def watch(self, transport: asyncio.Transport) -> None:
        """It was paused now."""
        self._transport = transport
        self._since = self._loop.time()
        self._alarm.by(self._since + _SOONEST)

    def rest(self) -> None:
        """It is read again."""
        self._transport = None

    def end(self) -> None:
        self._transport = None
        self._alarm.end()


def untaken(transport: asyncio.Transport) -> int:
    """Bytes that were written and that the other end's system has not taken, as far as can be told."""
    size = transport.get_write_buffer_size()
    link = transport.get_extra_info("socket")
    if link is not None:
        with contextlib.suppress(OSError):
            size += struct.unpack("i", fcntl.ioctl(link.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
    return size


class Progress:
    """Whether somebody takes what waits for him, no slower than at a rate over some seconds."""

    __slots__ = ("_left", "_since")

    def __init__(self) -> None:
        self._left = 0
        self._since = 0.0

    def begin(self, left: int, now: float) -> None:
        self._left, self._since = left, now

    def due(self, left: int, now: float, *, seconds: float, rate: int) -> float | None:
        """When to ask next; None when it was too slow."""
        if now >= self._since + seconds:
            if self._left - left < rate * seconds:
                return None
            self.begin(left, now)
        return self._since + seconds
