"""The answer to one request: whole in one go, or begun and then written as it comes.

What was begun and not ended never looks like an end: the connection is reset, so that a client sees a failure in every
framing, also in the one of HTTP/1.0 where the end of the connection is the end of the body.

Source: RFC 9112 6 (framing), 7.1 (chunks), 8 (incomplete messages), 9.6 (closing); RFC 9110 9.3.2 (HEAD), 15 (status).
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tensorfusion.wire.fields import Fields, dated_lines

if TYPE_CHECKING:
    from tensorfusion.wire.request import Request
    from tensorfusion.wire.server_connection import ServerConnection

_LARGE: Final = 16 << 10
"""Bytes from which a piece is not copied to be framed."""
_STARTS = {
    status.value: b"HTTP/1.1 %d %b" % (status.value, status.phrase.encode()) for status in HTTPStatus if status >= 200
}
_WITHOUT_BODY = (204, 304)


class Reply:
    """Given to the handler with the request. ``started``: the client has been told a status."""

    __slots__ = ("_chunked", "_connection", "_left", "_mute", "_request", "ended", "started", "status")

    def __init__(self, connection: "ServerConnection", request: "Request") -> None:
        self.status = 0
        self.started = False
        self.ended = False
        self._connection = connection
        self._request = request
        self._chunked = False
        self._mute = False
        self._left: int | None = None

    def send(self, status: int, fields: Fields = (), body: bytes = b"", *, ready: bytes = b"") -> None:
        """The whole answer. ``ready`` are further fields, as ``wire.fields.field_lines`` makes them.

        Raises:
            ValueError: a field that cannot be sent, or is the connection's own.
            ClientLeft: nobody is there any more.
        """
        head = self._head(status, fields, len(body), ready)
        if self._mute or not body:
            self._connection.write(head)
        elif len(body) < _LARGE:
            self._connection.write(head + body)
        else:
            self._connection.write_lines((head, body))
        self._left = 0
        self.end()

    def send_pieces(self, status: int, fields: Fields, pieces: Iterable[bytes]) -> None:
        """The whole answer as ``start``, ``push`` of each piece and ``end`` send it, but in one write.

        Raises as ``send``."""
        head = self._head(status, fields, None, b"")
        if self._mute:
            self._connection.write(head)
        elif self._chunked:
            framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece]
            self._connection.write(b"%b%b0\r\n\r\n" % (head, b"".join(framed)))
        else:
            self._connection.write(head + b"".join(pieces))
        self.ended = True

    def start(
        self,
        status: int,
        fields: Fields = (),
        *,
        length: int | None = None,
        ready: bytes = b"",
        first: bytes = b"",
        whole: bool = False,
    ) -> None:
        """Send the head, and with it a first piece; the rest of ``length`` bytes, or as many as come, follows, unless
        that is the ``whole`` of it. Raises as ``send``, and as ``end``."""
        head = self._head(status, fields, length, ready)
        if not self._chunked or not first or self._mute:
            self._connection.write(head)
            self.push(first)
            if whole:
                self.end()
            return
        start, end = b"%b%x\r\n" % (head, len(first)), b"\r\n0\r\n\r\n" if whole else b"\r\n"
        if len(first) < _LARGE:
            self._connection.write(b"%b%b%b" % (start, first, end))
        else:
            self._connection.write_lines((start, first, end))
        self.ended = whole

    def push(self, data: bytes) -> None:
        """Send a piece of the body. Who does not wait for ``room`` must stop by other means. Raises ClientLeft.

        Raises:
            ValueError: more than the length that the head told.
        """
        if not self.started or self.ended:
            raise RuntimeError(f"the answer {'has ended' if self.ended else 'has not begun'}")
        if not data:
            return
        if self._left is not None:
            if len(data) > self._left and not self._mute:
                raise ValueError(f"{len(data)} bytes for an answer that has {self._left} left")
            self._left -= len(data)
        if self._mute:
            return
        if not self._chunked:
            self._connection.write(data)
        elif len(data) < _LARGE:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._connection.write_lines((b"%x\r\n" % len(data), data, b"\r\n"))

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, and wait until there is room for the next. Raises as ``push``."""
        self.push(data)
        await self._connection.room()

    def end(self, last: bytes = b"") -> None:
        """That was all of it, with a last piece. Short of the length that was told, it is ``cut``."""
        if self.ended:
            return
        if last and self._chunked and not self._mute and len(last) < _LARGE:
            self._connection.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
            self.ended = True
            return
        self.push(last)
        if self._left and not self._mute:
            self.cut()
            raise ValueError(f"the answer ended {self._left} bytes short")
        if self._chunked and not self._mute:
            self._connection.write(b"0\r\n\r\n")
        self.ended = True

    def cut(self) -> None:
        """Give the answer up so that the client sees it: its connection is reset."""
        self.ended = True
        self._connection.cut()

    @property
    def connection(self) -> "ServerConnection":
        return self._connection

    def _head(self, status: int, fields: Fields, length: int | None, ready: bytes) -> bytes:
        if self.started:
            raise RuntimeError(f"a second answer ({status}) to one request")
        request = self._request
        bodyless = status in _WITHOUT_BODY
        closes = self._connection.closes_after(request)
        own = ready
        if length is not None:
            if not bodyless:
                own += b"Content-Length: %d\r\n" % length
        elif bodyless:
            pass
        elif request.old:
            closes = True
        else:
            own += b"Transfer-Encoding: chunked\r\n"
            self._chunked = True
        if closes:
            own += b"Connection: close\r\n"
            request.keep_alive = False
        elif request.old:
            own += b"Connection: keep-alive\r\n"
        start = _STARTS.get(status) or _start(status)
        head = dated_lines(start, fields, own + b"\r\n")
        self._mute = bodyless or request.method == b"HEAD"
        self._left = length
        self.status = status
        self.started = True
        return head


def _start(status: int) -> bytes:
    if not 200 <= status <= 999:
        raise ValueError(f"status {status} is not one of a final answer")
    return b"HTTP/1.1 %d " % status
