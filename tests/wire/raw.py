"""Both ends of a server under test: a handler behind it, and a client that sends exactly the bytes it is told to."""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tensorfusion.wire.limits import LIMITS, Limits
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Handler, Server

PATIENCE = 20
HOST = b"Host: a\r\n"


@dataclass
class Response:
    """What a client makes of an answer."""

    status: int
    fields: dict[str, str]
    body: bytes


class Client:
    """One connection. ``async with Client(port) as client``. ``patience`` is for each answer, in seconds."""

    def __init__(self, port: int, *, patience: float = PATIENCE) -> None:
        self._port = port
        self._patience = patience

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Go without a farewell, and without what was not sent yet."""
        link = self.writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def get(self, target: bytes = b"/", *, fields: bytes = b"") -> None:
        self.send(b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, HOST, fields))

    def post(self, body: bytes, *, target: bytes = b"/", fields: bytes = b"") -> None:
        self.send(b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (target, HOST, fields, len(body), body))

    async def head(self) -> Response:
        """Status and fields of the next answer."""
        async with asyncio.timeout(self._patience):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
        return Response(int(lines[0].split(" ")[1]), fields, b"")

    async def response(self, *, bodyless: bool = False) -> Response:
        """The next answer, in whatever framing. Raises IncompleteReadError when it is cut."""
        found = await self.head()
        async with asyncio.timeout(self._patience):
            if bodyless or found.status in (100, 204, 304):
                return found
            if "content-length" in found.fields:
                found.body = await self.reader.readexactly(int(found.fields["content-length"]))
            elif found.fields.get("transfer-encoding") == "chunked":
                found.body = b"".join([chunk async for chunk in self.chunks()])
            else:
                found.body = await self.reader.read()
        return found

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a body, as they were framed."""
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            chunk = await self.reader.readexactly(size + 2)
            assert chunk.endswith(b"\r\n")
            if not size:
                return
            yield chunk[:-2]

    async def rest(self) -> bytes:
        """All that still comes until the connection ends, however it ends."""
        found = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(1 << 16):
                    found += piece
        return found


@dataclass
class Seen:
    """What came through to the handler, and how the server fared."""

    port: int
    server: Server
    requests: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    cancelled: int = 0
    failures: list[Exception] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serving(handler: Handler | None = None, *, limits: Limits = LIMITS) -> AsyncIterator[Seen]:
    """A server on loopback. Without a handler it tells back what it got. Nothing of it is left at the end."""

    async def echo(request: Request, reply: Reply) -> None:
        body = await request.whole(1 << 20)
        seen.requests.append((request.method, request.target, body))
        reply.send(200, [(b"X-Method", request.method)], request.target + b" " + body)

    async def handle(request: Request, reply: Reply) -> None:
        try:
            await (handler or echo)(request, reply)
        except asyncio.CancelledError:
            seen.cancelled += 1
            raise

    server = Server(handle, limits=limits, failed=lambda _, error: seen.failures.append(error))
    seen = Seen(await server.listen(), server)
    try:
        yield seen
    finally:
        await server.drain(0)
        assert server.connections == 0


def cut_up(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces."""
    edges = sorted({0, *(cut for cut in cuts if 0 < cut < len(data)), len(data)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


async def until(true: object, *, seconds: float = PATIENCE) -> None:
    """Let the loop run until ``true()`` holds."""
    assert callable(true)
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.001)
