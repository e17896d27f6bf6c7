"""A server that sends exactly the bytes it is told to, for what goes wrong below HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tensorfusion.wire.messages import Origin

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Served:
    """What the server saw: heads and bodies of requests, and how many connections there were."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Event()
        """A connection was ended by the client."""


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request as it came. Raises IncompleteReadError when the client has gone."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + await reader.readexactly(length)


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, *answers: bytes | Act, close: bool = False) -> AsyncIterator[Served]:
    """Answer each request in turn, the last one for ever; bytes go out as they are, ``close`` ends the connection."""
    served = Served(Origin(path=str(tmp_path / "s")))
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            while True:
                served.requests.append(await read_request(reader))
                answer = left.pop(0) if len(left) > 1 else left[0]
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(reader, writer)
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            served.ended.set()
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, served.origin.path, backlog=1024)
    try:
        yield served
    finally:
        server.close()


def ok(body: bytes = b"", *, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (fields, len(body), body)
