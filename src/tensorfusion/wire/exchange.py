"""One request to an origin and its answer as it comes, from the taking of a connection to its giving back.

Whatever ends the block - the answer's end, an error, the cancelling of the task because who asked has left - the
connection goes back to the pool if it is between two requests, and is closed at once otherwise: the server learns of
it with the next packet.
"""

import asyncio
from collections.abc import AsyncIterable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import msgspec

from tensorfusion.wire.connection import Connection, Hear, Sink
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.messages import CHUNKED, Answer

if TYPE_CHECKING:
    from tensorfusion.wire.pool import Pool

Body: TypeAlias = bytes | AsyncIterable[bytes] | None
_NEVER = float("inf")


class Patience(msgspec.Struct, frozen=True, gc=False):
    """Seconds to wait, each from the sending of the request but ``silence``: for a connection (the queue for one
    included), for the head of the answer, between two arrivals of its body, for all of it."""

    connect: float = 10.0
    head: float = 30.0
    silence: float = 60.0
    total: float = _NEVER


PATIENCE: Final = Patience()


class Exchange:
    """Made by ``Pool.exchange``; entered, the head of the answer is there."""

    __slots__ = ("_body", "_connection", "_head", "_length", "_patience", "_pool", "_sender", "_sent", "bodyless")

    def __init__(
        self,
        pool: "Pool",
        head: bytes,
        body: Body,
        *,
        length: int | None,
        bodyless: bool,
        patience: Patience,
        sent: "Callable[[Exchange], None] | None" = None,
    ) -> None:
        self._pool = pool
        self._head = head
        self._body = body
        self._length = length
        self.bodyless = bodyless
        self._patience = patience
        self._sent = sent
        self._connection: Connection | None = None
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        patience = self._patience
        self._connection = connection = self._pool.take_idle() or await self._pool.take(patience.connect)
        try:
            body = self._body
            connection.send(self._head + body if isinstance(body, bytes) else self._head, bodyless=self.bodyless)
            connection.within(head=patience.head, total=patience.total, silence=patience.silence)
            if body is not None and not isinstance(body, bytes):
                self._sender = asyncio.ensure_future(self._send(connection, body))
            if self._sent is not None:
                self._sent(self)
            await connection.head()
        except BaseException:
            if self._leave():
                await self._end_sender()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leave():
            await self._end_sender()

    @property
    def status(self) -> int:
        return self.connection.status

    @property
    def fields(self) -> Fields:
        return self.connection.fields

    @property
    def length(self) -> int | None:
        """Bytes of the body as the head tells them; None where it does not."""
        return self.connection.length

    @property
    def done(self) -> bool:
        """All of the answer has arrived, though it may not have been read yet."""
        return self.connection.done

    def all_within(self, seconds: float) -> None:
        """From now on wait at most so long for the end of the answer."""
        self.connection.all_within(seconds)

    def silent_for(self, seconds: float) -> None:
        """From now on wait at most so long for the next bytes, as between two events of a stream."""
        self.connection.silent_for(seconds)

    async def read(self) -> bytes:
        """What has arrived since the last call, at least a byte; empty at the end.

        Raises:
            BrokenOff: the end came too soon.
            TimedOut: nothing came for too long.
        """
        return await self.connection.read()

    async def whole(self, most: int) -> Answer:
        """All that is left of it, where it has at most so many bytes. Raises as ``read``, and BrokenOff beyond."""
        return await self.connection.whole(most)

    def when_whole(self, most: int, hear: Hear) -> None:
        """Hand the whole answer to ``hear`` where its end arrives: see ``Connection``. For ``sent``."""
        self.connection.when_whole(most, hear)

    async def pour(self, sink: Sink) -> bool:
        """Hand what is left to ``sink`` where it arrives; False when that wanted no more. Raises as ``read``."""
        return await self.connection.pour(sink)

    def pause(self) -> None:
        """Let nothing more arrive until ``resume``."""
        self.connection.pause()

    def resume(self) -> None:
        self.connection.resume()

    @property
    def connection(self) -> Connection:
        """What the answer comes over. Raises RuntimeError: outside the block."""
        if self._connection is None:
            raise RuntimeError("an exchange is used outside its block")
        return self._connection

    def _leave(self) -> bool:
        """Give the connection back; whether a sender of the body is to be waited for."""
        connection, self._connection = self._connection, None
        if connection is None:
            return False
        if self._sender is not None and not self._sender.done():  # the answer came before all was sent
            self._sender.cancel()
            connection.abort()
        self._pool.give_back(connection)
        return self._sender is not None

    async def _end_sender(self) -> None:
        if self._sender is not None:
            await asyncio.wait((self._sender,))

    async def _send(self, connection: Connection, body: AsyncIterable[bytes]) -> None:
        """Send the pieces; what goes wrong with them breaks the connection, and is told by its error."""
        chunked, left = self._length == CHUNKED, self._length or 0
        try:
            async for piece in body:
                left -= len(piece)
                if left < 0 and not chunked:
                    break  # the rest would be read as the next request
                if piece:
                    await connection.send_more(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                await connection.send_more(b"0\r\n\r\n")
            elif left:
                how = "longer" if left < 0 else "shorter"
                connection.fail(ValueError(f"it is {how} than the {self._length} bytes that were told"))
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            connection.fail(error)
