"""Requests to one server over connections that are kept open.

The connection that was used last is used next: the others may then grow old, and close. Nothing is sent twice here;
whether to repeat a request only its sender knows, and the errors say whether it may have been carried out.

At most so many connections are open, and so many wait for one, first come first served: a server that hangs must not
take the memory and the descriptors of those that ask it.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from tensorfusion.wire.alarm import Alarm
from tensorfusion.wire.connection import Connection
from tensorfusion.wire.errors import Busy, NotReached
from tensorfusion.wire.exchange import PATIENCE, Body, Exchange, Patience
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.messages import CHUNKED, Answer, Origin, head_of, request_head

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 60.0
MOST_BODY: Final = 1 << 30
MOST_CONNECTIONS: Final = 4096
MOST_WAITING: Final = 1024


class Pool:
    """From one event loop. Close it at the end."""

    def __init__(
        self,
        origin: Origin,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        most_connections: int = MOST_CONNECTIONS,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.origin = origin
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._most_connections = most_connections
        self._most_waiting = most_waiting
        self._idle: deque[Connection] = deque()
        self._used: set[Connection] = set()
        self._connecting = 0
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._reaper: Alarm | None = None
        self._answered = ""
        self._is_address = _is_address(origin.host)
        self._lookup: asyncio.Task[list[str]] | None = None

    @property
    def connections(self) -> int:
        """Open ones, used or not, and those that are being made."""
        return len(self._idle) + len(self._used) + self._connecting

    @property
    def in_use(self) -> int:
        """Connections that requests have, or that are about to be handed to one."""
        return len(self._used)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._queue)

    async def close(self) -> None:
        """Close all connections, those in use too."""
        if self._reaper is not None:
            self._reaper.cancel()
        for connection in (*self._idle, *self._used):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # the transports let go of their sockets

    def exchange(
        self,
        method: bytes,
        target: bytes,
        fields: Fields,
        body: Body = None,
        *,
        length: int | None = None,
        patience: Patience = PATIENCE,
        ready: bytes = b"",
        sent: Callable[[Exchange], None] | None = None,
    ) -> Exchange:
        """A request that is passed on, and its answer as it comes: ``async with pool.exchange(...) as answer``.

        ``ready`` are further fields, as ``wire.fields.field_lines`` makes them. ``sent`` is called when the request is
        on its way: what is done there takes none of its time.

        A body that is no bytes is sent as it comes, in chunks where its ``length`` is not known. Entering raises
        NotReached, BrokenOff, TimedOut; see ``wire.errors``.

        Raises:
            ValueError: the request cannot be sent.
        """
        if isinstance(body, bytes):
            length = len(body)
        elif body is not None:
            length = CHUNKED if length is None else length
        elif length:
            raise ValueError(f"a request of {length} bytes without a body")
        else:
            length = None
        head = request_head(method, target, self.origin, fields, length=length, ready=ready)
        return Exchange(self, head, body, length=length, bodyless=method == b"HEAD", patience=patience, sent=sent)

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
        loop = asyncio.get_running_loop()
        started = loop.time()
        connection = await self.take(min(self._connect_seconds, seconds))
        try:
            connection.send(head + body if body else head)
            left = seconds - (loop.time() - started)
            connection.within(head=left, total=left, silence=left)
            return await connection.whole(most)
        finally:
            self.give_back(connection)

    def stream(
        self, method: str, target: str, *, fields: Mapping[str, str], seconds: float, silence: float
    ) -> Exchange:
        """Ask, wait so many seconds for the head of the answer, and read the body as it comes.

        Raises:
            NotReached, BrokenOff, TimeoutError, ValueError: as ``request``.
        """
        head = head_of(method, target, self.origin, fields, length=None)
        patience = Patience(min(self._connect_seconds, seconds), head=seconds, silence=silence)
        return Exchange(self, head, None, length=None, bodyless=False, patience=patience)

    # --- for exchanges ---

    async def take(self, seconds: float) -> Connection:
        """A connection for one request, within so many seconds; ``give_back`` it in any case.

        Raises:
            NotReached: none could be made, or (Busy) none was free in time.
        """
        connection = self.take_idle()
        if connection is None:
            connection = await self._new_or_next(seconds)
            self._used.add(connection)
        return connection

    def take_idle(self) -> Connection | None:
        """A connection that is open and young enough, if there is one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.usable:
                continue
            if connection.idle_since + self._idle_seconds <= asyncio.get_running_loop().time():
                connection.abort()
                continue
            self._used.add(connection)
            return connection
        return None

    def drop_idle(self) -> None:
        """Close the connections that wait for a request: the latest one was just found closed by the server, and the
        others have waited longer."""
        while self._idle:
            self._idle.pop().abort()

    def give_back(self, connection: Connection) -> None:
        """Done with it: it is kept if another request may be sent over it."""
        if not connection.usable:
            self._used.discard(connection)
            connection.abort()
            self._wake_next(None)
        elif not self._queue or not self._wake_next(connection):  # given on, it stays in use
            self._used.discard(connection)
            connection.rest()
            now = asyncio.get_running_loop().time()
            connection.idle_since = now
            self._idle.append(connection)
            if self._reaper is None:
                self._reaper = Alarm(asyncio.get_running_loop(), self._reap)
            self._reaper.by(now + self._idle_seconds)

    def _reap(self) -> float | None:
        idle = self._idle
        oldest = asyncio.get_running_loop().time() - self._idle_seconds
        while idle and (idle[0].idle_since <= oldest or not idle[0].usable):
            idle.popleft().abort()
        return idle[0].idle_since + self._idle_seconds if idle else None

    async def _new_or_next(self, seconds: float) -> Connection:
        """A new connection, or the next that is given back where no more may be opened."""
        by = asyncio.get_running_loop().time() + seconds
        first = True
        while self.connections >= self._most_connections:
            try:
                async with asyncio.timeout_at(by):
                    connection = await self._wait_in_line(first=first)
            except TimeoutError as error:
                raise Busy(str(self.origin), f"no connection was free within {seconds:g} s") from error
            if connection is not None:
                if connection.usable:
                    return connection
                self._used.discard(connection)
            first = False  # somebody was quicker, or it closed: back to where we stood
        return await self._connect(max(by - asyncio.get_running_loop().time(), 0.0))

    async def _wait_in_line(self, *, first: bool) -> Connection | None:
        """A connection that was given back, or None when one more may be opened."""
        if first and len(self._queue) >= self._most_waiting:
            raise Busy(str(self.origin), f"{len(self._used)} requests are under way and {len(self._queue)} wait")
        place: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        if first:
            self._queue.append(place)
        else:
            self._queue.appendleft(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.cancelled():
                with contextlib.suppress(ValueError):
                    self._queue.remove(place)
            elif (given := place.result()) is not None:  # given and cancelled in the same moment
                self.give_back(given)
            else:
                self._wake_next(None)
            raise

    def _wake_next(self, connection: Connection | None) -> bool:
        """Hand it (None: the right to open one) to who has waited longest; False when nobody waits."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(connection)
                return True
        return False

    async def _connect(self, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        origin = self.origin
        self._connecting += 1
        try:
            async with asyncio.timeout(seconds):
                if origin.path:
                    _, connection = await loop.create_unix_connection(lambda: Connection(loop), origin.path)
                else:
                    connection = await self._connect_to_any(loop, seconds)
        except TimeoutError as error:
            self._wake_next(None)
            raise NotReached(str(origin), f"no connection within {seconds:g} s") from error
        except OSError as error:  # TLS's errors are among them
            self._wake_next(None)
            raise NotReached(str(origin), str(error)) from error
        except BaseException:
            self._wake_next(None)
            raise
        finally:
            self._connecting -= 1
        return connection

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        """The addresses of the host. Once for all who ask meanwhile: the system looks up in few threads, which one name
        that hangs must not fill."""
        if self._lookup is None:
            self._lookup = loop.create_task(self._ask_system(loop))
            self._lookup.add_done_callback(self._looked_up)
        return list(await asyncio.shield(self._lookup))

    async def _ask_system(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        found = await loop.getaddrinfo(self.origin.host, self.origin.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _looked_up(self, lookup: asyncio.Task[list[str]]) -> None:
        self._lookup = None
        if not lookup.cancelled():
            lookup.exception()  # told to whoever still waits

    async def _connect_to_any(self, loop: asyncio.AbstractEventLoop, seconds: float) -> Connection:
        """To the first of the host's addresses that answers, the one that answered last before the others.

        Each has its part of the time: one that drops everything must not keep us from the others.
        """
        origin = self.origin
        name = (origin.server_name or origin.host) if origin.tls is not None else None
        addresses = [origin.host] if self._is_address else await self._look_up(loop)
        addresses.sort(key=lambda address: address != self._answered)
        failure: OSError = OSError(f"{origin.host} has no address")
        for address in addresses:
            try:
                async with asyncio.timeout(seconds / len(addresses)):
                    _, connection = await loop.create_connection(
                        lambda: Connection(loop), address, origin.port, ssl=origin.tls, server_hostname=name
                    )
            except OSError as error:  # a timeout is one, too
                failure = error
            else:
                self._answered = address
                return connection
        raise failure


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, UnicodeError):
            socket.inet_pton(family, host)
            return True
    return False
