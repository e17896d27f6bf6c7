"""The server's side of SPDY/3.1, as far as Kubernetes uses it: streams that the client opens, data both ways.

Clients speak it over a bare connection or inside a WebSocket; ``Link`` hides which. There is no flow control: the
clients' library has none.

Source: the SPDY protocol, draft 3.1 (frames, header compression and its dictionary).
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

_VERSION = 3
_SYN_REPLY, _PING = 2, 6
_FIN = 0x01
_MOST_STREAMS = 4096
_MOST_HEADERS = 64 << 10
_WAITING = 64
_WORDS = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
]
_WORDS += ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _TEXT.encode()


class Link(Protocol):
    """A way for bytes: ``read`` returns nothing at the end; ``write`` waits while the other side is slow."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


class Stream:
    """One stream that the client opened."""

    def __init__(self, connection: "Spdy", number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.number = number
        self._connection = connection
        self.arrived: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING)
        self._ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the client sends on it, until it ends its side."""
        while (chunk := await self.arrived.get()) is not None:
            yield chunk

    async def send(self, data: bytes) -> None:
        if not self._ended:
            await self._connection.send_data(self.number, data)

    async def end(self) -> None:
        """Our side sends no more."""
        if not self._ended:
            self._ended = True
            await self._connection.send_data(self.number, b"", last=True)


class Spdy:
    """One connection. ``run`` reads until it ends; ``opened`` is called for each new stream."""

    def __init__(self, link: Link, opened: Callable[[Stream], Awaitable[None]]) -> None:
        self._link = link
        self._opened = opened
        self._streams: dict[int, Stream] = {}
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._rest = b""
        self._last = 0

    async def run(self) -> None:
        """Serve the client's frames; returns at the end of the connection, or when it breaks the rules."""
        try:
            while (frame := await self._frame()) is not None:
                await self._serve(*frame)
        except (_Broken, zlib.error, struct.error, ConnectionError, UnicodeDecodeError):
            return
        finally:
            for stream in self._streams.values():
                _end(stream)

    async def send_data(self, number: int, data: bytes, *, last: bool = False) -> None:
        try:
            await self._link.write(
                struct.pack(">IBBH", number, _FIN if last else 0, len(data) >> 16, len(data) & 0xFFFF) + data
            )
        except ConnectionError:
            return

    async def _serve(self, head: int, flags: int, body: bytes) -> None:
        if not head & 0x80000000:
            stream = self._streams.get(head & 0x7FFFFFFF)
            if stream is None:
                return  # of a stream that is gone
            if body:
                await stream.arrived.put(body)
            if flags & _FIN:
                await stream.arrived.put(None)
            return
        if head >> 16 & 0x7FFF != _VERSION:
            raise _Broken
        match head & 0xFFFF:
            case 1:  # a new stream
                await self._open(flags, body)
            case 3:  # a stream given up
                (number,) = struct.unpack_from(">I", body)
                gone = self._streams.pop(number & 0x7FFFFFFF, None)
                if gone is not None:
                    _end(gone)
            case 6:  # a ping, answered with itself
                await self._control(_PING, body)
            case 7:
                raise _Broken

    async def _open(self, flags: int, body: bytes) -> None:
        (number,) = struct.unpack_from(">I", body)
        number &= 0x7FFFFFFF
        headers = self._headers(body[10:])
        if number <= self._last or len(self._streams) >= _MOST_STREAMS:
            raise _Broken
        self._last = number
        stream = self._streams[number] = Stream(self, number, headers)
        if flags & _FIN:
            stream.arrived.put_nowait(None)
        await self._control(_SYN_REPLY, struct.pack(">I", number) + self._no_headers())
        await self._opened(stream)

    def forget(self, stream: Stream) -> None:
        """Nobody uses the stream any more."""
        self._streams.pop(stream.number, None)

    def _headers(self, block: bytes) -> dict[str, str]:
        text = self._inflate.decompress(block, _MOST_HEADERS)
        if self._inflate.unconsumed_tail:
            raise _Broken
        (count,) = struct.unpack_from(">I", text)
        at, found = 4, {}
        for _ in range(count):
            pair = []
            for _ in range(2):
                (length,) = struct.unpack_from(">I", text, at)
                pair.append(text[at + 4 : at + 4 + length].decode())
                at += 4 + length
            found[pair[0].lower()] = pair[1]
        return found

    def _no_headers(self) -> bytes:
        return self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    async def _control(self, kind: int, body: bytes) -> None:
        head = struct.pack(">HHBBH", 0x8000 | _VERSION, kind, 0, len(body) >> 16, len(body) & 0xFFFF)
        await self._link.write(head + body)

    async def _frame(self) -> tuple[int, int, bytes] | None:
        """First word, flags and body of the next frame; None at the end."""
        if not await self._have(8):
            return None
        head, flags, high, low = struct.unpack_from(">IBBH", self._rest)
        length = high << 16 | low
        if not await self._have(8 + length):
            return None
        body = self._rest[8 : 8 + length]
        self._rest = self._rest[8 + length :]
        return head, flags, body

    async def _have(self, count: int) -> bool:
        parts = [self._rest]
        size = len(self._rest)
        while size < count:
            chunk = await self._link.read()
            if not chunk:
                return False
            parts.append(chunk)
            size += len(chunk)
        self._rest = b"".join(parts)
        return True


class _Broken(Exception):  # the connection ends, nobody sees this
    """The client broke the rules, or is leaving."""


def _end(stream: Stream) -> None:
    """What the stream still holds counts; then it ends."""
    while True:
        try:
            stream.arrived.put_nowait(None)
            return
        except asyncio.QueueFull:
            stream.arrived.get_nowait()
