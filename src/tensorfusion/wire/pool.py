"""Requests to one server over connections that are kept open.

The connection that was used last is used next: the others may then grow old, and close. Nothing is sent twice here;
whether to repeat a request only its sender knows, and the errors say whether it may have been carried out.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from tensorfusion.wire.connection import Connection
from tensorfusion.wire.errors import NotReached
from tensorfusion.wire.messages import Answer, Fields, Origin, head_of

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 60.0
MOST_BODY: Final = 1 << 30


class Stream:
    """An answer that is read as it comes."""

    def __init__(self, connection: Connection, silence: float) -> None:
        self._connection = connection
        self._silence = silence

    @property
    def status(self) -> int:
        return self._connection.status

    @property
    def fields(self) -> Fields:
        return self._connection.fields

    async def read(self) -> bytes:
        """What has arrived since the last call, at least a byte; empty at the end.

        Raises:
            BrokenOff: the end came too soon.
            TimeoutError: nothing came for too long.
        """
        async with asyncio.timeout(self._silence):
            return await self._connection.read()


class Pool:
    """From one event loop. Close it at the end."""

    def __init__(
        self, origin: Origin, *, connect_seconds: float = CONNECT_SECONDS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self.origin = origin
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._answered = ""

    async def close(self) -> None:
        """Close all connections, those in use too."""
        for connection in (*self._idle, *self._used):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # the transports let go of their sockets

    async def request(
        self,
        method: str,
        target: str,
        *,
        fields: Mapping[str, str],
        body: bytes | None = None,
        seconds: float,
        most: int = MOST_BODY,
    ) -> Answer:
        """Ask and read the whole answer, within so many seconds and with at most so many bytes of body.

        Raises:
            NotReached, BrokenOff: see ``wire.errors``.
            TimeoutError: no whole answer in time; the request may have been carried out.
            ValueError: a field cannot be sent.
        """
        head = head_of(method, target, self.origin, fields, length=None if body is None else len(body))
        async with asyncio.timeout(seconds):
            connection = self._take() or await self._connect()
            self._used.add(connection)
            try:
                connection.send(head + body if body else head)
                return await connection.whole(most)
            finally:
                self._give_back(connection)

    @asynccontextmanager
    async def stream(
        self, method: str, target: str, *, fields: Mapping[str, str], seconds: float, silence: float
    ) -> AsyncIterator[Stream]:
        """Ask, wait so many seconds for the head of the answer, and read the body as it comes.

        Raises:
            NotReached, BrokenOff, TimeoutError, ValueError: as ``request``.
        """
        head = head_of(method, target, self.origin, fields, length=None)
        async with asyncio.timeout(seconds):
            connection = self._take() or await self._connect()
            self._used.add(connection)
            try:
                connection.send(head)
                await connection.head()
            except BaseException:
                self._give_back(connection)
                raise
        try:
            yield Stream(connection, silence)
        finally:
            self._give_back(connection)

    def _take(self) -> Connection | None:
        """A connection that is open and young enough; the old ones close."""
        oldest = asyncio.get_running_loop().time() - self._idle_seconds
        idle = self._idle
        while idle and idle[0].idle_since < oldest:
            idle.pop(0).abort()
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    def _give_back(self, connection: Connection) -> None:
        self._used.discard(connection)
        if connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        origin = self.origin
        name = (origin.server_name or origin.host) if origin.tls is not None else None
        try:
            async with asyncio.timeout(self._connect_seconds):
                if origin.path:
                    _, connection = await loop.create_unix_connection(lambda: Connection(loop), origin.path)
                    return connection
                return await self._connect_to_any(loop, name)
        except TimeoutError as error:
            raise NotReached(str(origin), f"no connection within {self._connect_seconds:g} s") from error
        except OSError as error:  # TLS's errors are among them
            raise NotReached(str(origin), str(error)) from error

    async def _connect_to_any(self, loop: asyncio.AbstractEventLoop, name: str | None) -> Connection:
        """To the first of the host's addresses that answers, the one that answered last before the others.

        Each has its part of the time: one that drops everything must not keep us from the others.
        """
        origin = self.origin
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        addresses.sort(key=lambda address: address != self._answered)
        failure: OSError = OSError(f"{origin.host} has no address")
        for address in addresses:
            try:
                async with asyncio.timeout(self._connect_seconds / len(addresses)):
                    _, connection = await loop.create_connection(
                        lambda: Connection(loop), address, origin.port, ssl=origin.tls, server_hostname=name
                    )
            except OSError as error:  # a timeout is one, too
                failure = error
            else:
                self._answered = address
                return connection
        raise failure
