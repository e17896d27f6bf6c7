"""A client's connection joined to a node's endpoint: after an upgrade the API process only passes bytes on.

The node speaks the streaming protocols; what they carry is none of the API's business.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_PASSED = (b"upgrade", b"connection", b"x-stream-protocol-version")
_WEBSOCKET = b"sec-websocket-"


class Connection(Protocol):
    """A connection that its HTTP protocol gives up: the bytes are the taker's from now on."""

    def take(self) -> asyncio.Transport: ...


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A request that was granted: where to go on, and what to say there."""

    socket: Path
    head: bytes
    node: str

    async def run(self, connection: Connection, *, joined: Callable[[], Awaitable[None]]) -> None:
        """Join the two until either side ends; ``joined`` is called once they are.

        Raises:
            OSError: the node does not answer; the connection is still its owner's.
        """
        loop = asyncio.get_running_loop()
        inner, outer = _Side(), _Side()
        inner.peer, outer.peer = outer, inner
        transport, _ = await loop.create_unix_connection(lambda: inner, str(self.socket))
        client = connection.take()
        outer.connection_made(client)
        client.set_protocol(outer)
        try:
            await joined()
            transport.write(self.head)
            await outer.ended.wait()
            await inner.ended.wait()
        finally:
            transport.abort()
            client.close()


def request_head(method: str, target: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of the node's request: of the client's headers only those that the upgrade needs."""
    lines = [f"{method} {target} HTTP/1.1".encode("ascii"), b"Host: node"]
    lines += [name + b": " + value for name, value in headers if name in _PASSED or name.startswith(_WEBSOCKET)]
    return b"\r\n".join((*lines, b"", b""))


def is_upgrade(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request wants another protocol than HTTP."""
    return any(name == b"upgrade" and value for name, value in headers)


class _Side(asyncio.Protocol):
    """One end; what it receives goes to its peer, no faster than that takes it."""

    peer: "_Side"
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport

    def data_received(self, data: bytes) -> None:
        if not self.peer.ended.is_set():
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self.peer.transport.close()
