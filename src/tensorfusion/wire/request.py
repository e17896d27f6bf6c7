"""A request as the server hands it on: the head as it came, the body whole or as it comes.

Source: RFC 9110 6 (message parts), 10.1.1 (Expect).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from tensorfusion.wire.errors import Refused
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.pieces import Pieces, add_piece

if TYPE_CHECKING:
    from tensorfusion.wire.server_connection import ServerConnection

HIGH_WATER: Final = 64 << 10
"""Bytes of a body that wait here before the socket is not read."""


class Request:
    """``method`` and ``target`` are the bytes of the request line; ``fields`` are as they came, repeated ones apart,
    without ``Content-Length``: that is ``length``."""

    __slots__ = (
        "_connection",
        "_pieces",
        "_waiter",
        "complete",
        "expects",
        "fields",
        "high_water",
        "keep_alive",
        "length",
        "method",
        "old",
        "received",
        "target",
        "waiting",
    )

    def __init__(self, connection: "ServerConnection", method: bytes, target: bytes, fields: Fields) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.length: int | None = 0
        """Bytes of the body as the head told it; None when it comes in chunks."""
        self.received = 0
        """Bytes of the body so far."""
        self.complete = False
        self.old = False
        """HTTP/1.0."""
        self.keep_alive = True
        self.expects = False
        """The client waits to be told that its body is wanted."""
        self.waiting = 0
        self.high_water = HIGH_WATER
        self._connection = connection
        self._pieces: Pieces = []
        self._waiter: asyncio.Future[None] | None = None

    @property
    def peer(self) -> str:
        """Who connected: an IP address, or an empty string over a Unix socket."""
        return self._connection.peer

    @property
    def kept(self) -> object:
        """What who handles requests keeps with the client's connection, from one request to the next."""
        return self._connection.kept

    @kept.setter
    def kept(self, found: object) -> None:
        self._connection.kept = found

    def field(self, name: bytes) -> bytes | None:
        """The first value of a field; ``name`` in lower case."""
        for found, value in self.fields:
            if len(found) == len(name) and found.lower() == name:
                return value
        return None

    async def whole(self, most: int) -> bytes:
        """The body, if it has at most so many bytes.

        Raises:
            Refused: 413, it has more.
        """
        if (self.length or 0) > most:
            raise _too_large(most)
        if not self.complete:
            self.high_water = most
            self._connection.want_body()
            while not self.complete and self.received <= most:
                await self._more()
        if self.received > most:
            raise _too_large(most)
        return self._take()

    async def read(self) -> bytes:
        """What has arrived of the body since the last call, at least a byte; empty at its end."""
        while not self._pieces:
            if self.complete:
                return b""
            self._connection.want_body()
            await self._more()
        data = self._take()
        self._connection.body_taken()
        return data

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; what is not taken stops the client."""
        while data := await self.read():
            yield data

    def _take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        self.waiting = 0
        return b"".join(pieces)  # of one it is the same

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- for the connection ---

    def add(self, data: bytes) -> None:
        """More of the body."""
        if self._pieces:
            add_piece(self._pieces, data)
        else:
            self._pieces.append(data)
        self.received += len(data)
        self.waiting += len(data)

    def wake(self) -> None:
        """Something has arrived, or all of it."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body has more than {most} bytes")
