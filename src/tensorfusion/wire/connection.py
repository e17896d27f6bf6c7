"""One client connection: one request at a time, its answer whole or as it comes.

Bytes are parsed where they arrive, in ``data_received``; the task that waits is woken once for each arrival, not for
each piece. A reader that does not keep up stops the socket, so that what waits here is bounded.

A connection that is left in the middle of an answer (an error, a cancelled task, a limit) is of no more use: the next
bytes on it belong to nobody. It is then aborted, never reused.

Source: RFC 9112; the parser is llhttp.
"""

import asyncio
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tensorfusion.wire.errors import BrokenOff
from tensorfusion.wire.messages import Answer, Fields

MOST_HEAD: Final = 64 << 10
"""Bytes of an answer's fields."""
HIGH_WATER: Final = 1 << 20
"""Bytes waiting for a reader beyond which the socket is not read."""
_NO_CONTENT = (204, 304)
_CLOSED = "the server closed it"


class Connection(asyncio.Protocol):
    """Made by the pool. ``usable`` says whether another request may be sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = 0.0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._broken: BrokenOff | None = None
        self._busy = False
        self._paused = False
        self._high_water = HIGH_WATER
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self._head_done = False
        self._done = False
        self._head_size = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._waiting = 0

    @property
    def usable(self) -> bool:
        """Open, between two requests, and kept open by the server."""
        return self._broken is None and not self._busy and self._transport is not None

    @property
    def fields(self) -> Fields:
        return self._fields

    # --- for the task that asks ---

    def send(self, data: bytes) -> None:
        """Send a request; its answer is read by ``whole``, or by ``head`` and then ``read``."""
        if self._transport is None or not self.usable:
            raise self._broken or BrokenOff("the connection is not open")
        self._reset()
        self._busy = True
        self._transport.write(data)

    async def whole(self, most: int) -> Answer:
        """The whole answer.

        Raises:
            BrokenOff: it broke off, or its body has more than ``most`` bytes.
        """
        self._high_water = most
        while not self._done:
            if self._waiting > most:
                raise BrokenOff(f"the answer has more than {most} bytes")
            await self._wait()
        if self._waiting > most:
            raise BrokenOff(f"the answer has more than {most} bytes")
        pieces = self._pieces
        return Answer(self.status, self._fields, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    async def head(self) -> None:
        """Wait until ``status`` and ``fields`` are there. Raises BrokenOff."""
        self._high_water = HIGH_WATER
        while not self._head_done:
            await self._wait()

    async def read(self) -> bytes:
        """What has arrived of the body since the last call; empty at its end. Raises BrokenOff."""
        while not self._pieces:
            if self._done:
                return b""
            await self._wait()
        pieces, self._pieces = self._pieces, []
        self._waiting = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self) -> None:
        """Close at once, whatever was under way."""
        if self._broken is None:
            self._broken = BrokenOff("the connection was closed here")
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- for the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class

    def data_received(self, data: bytes) -> None:
        if not self._busy or self._parser is None:
            self._break("bytes that nobody asked for")
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._break("the answer changes the protocol, which was not asked for")
        except HttpParserError as error:
            self._break(f"not an HTTP answer: {error}")
        if not self._head_done and self._head_size > MOST_HEAD:
            self._break(f"the answer's fields have more than {MOST_HEAD} bytes")
        if self._waiting > self._high_water and not self._paused and not self._done and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The server ends; ``connection_lost`` follows."""
        if not self._busy:
            self._broken = self._broken or BrokenOff(_CLOSED)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._parser = None  # it refers back here: without it all of this is freed at once
        if self._busy and self._head_done and error is None and self._until_close():
            self._done, self._busy = True, False
        if self._broken is None:
            self._broken = BrokenOff(str(error) if error is not None and str(error) else _CLOSED)
            self._broken.__cause__ = error
        self._wake()

    def _break(self, why: str) -> None:
        self._broken = self._broken or BrokenOff(why)
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _until_close(self) -> bool:
        """Whether the body is what comes until the connection ends."""
        names = {name.lower() for name, _ in self._fields}
        return b"content-length" not in names and b"transfer-encoding" not in names and self.status not in _NO_CONTENT

    # --- for the parser ---

    def on_message_begin(self) -> None:
        if self._done:  # a second answer to one request
            self._break("bytes behind the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size <= MOST_HEAD and not self._done:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self._done or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:  # on its way, as 103 says; the answer comes behind it
            self._fields = []
        else:
            self._head_done = True

    def on_body(self, body: bytes) -> None:
        if not self._done:
            self._pieces.append(body)
            self._waiting += len(body)

    def on_message_complete(self) -> None:
        if self.status < 200 or self._done:
            return
        self._done = True
        self._busy = False
        if self._parser is None or not self._parser.should_keep_alive():
            self._break("the server wants it closed")
