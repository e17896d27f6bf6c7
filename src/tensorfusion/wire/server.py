"""A server: listens, counts its connections, hands requests to one coroutine function, and ends without harm.

Draining, in order: nothing new is accepted; every answer from then on says that its connection closes; connections
without a request stay for a moment, because a client may just be sending one; then they close; what still runs at the
deadline is cancelled, and may say so to its client in a moment; what is left then is reset.

Source: RFC 9112 9.3-9.6.
"""

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import Final, TypeAlias

from tensorfusion.wire.busy_poll import BusyPoll
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.limits import LIMITS, Limits
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server_connection import ServerConnection

Handler: TypeAlias = Callable[[Request, Reply], Awaitable[None]]
Spell: TypeAlias = Callable[[int, str], tuple[Fields, bytes]]
"""Fields and body of an answer with this error status and this reason."""

BACKLOG: Final = 1024
HANDSHAKE_SECONDS: Final = 10.0
IDLE_GRACE: Final = 1.0
"""Seconds of a drain in which idle connections may still bring a request."""
_GOODBYE_SECONDS = 1.0
"""For which what was cancelled at the deadline may tell its client."""
_LAST_SECONDS = 5.0
"""How long handlers that were cancelled may take to end."""
_SPARE_SECONDS = 0.5
"""For which a connection must have been idle to make room, and between two times that room is made."""
_PART_CLOSED = 16
_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")
_log = logging.getLogger(__name__)


def plainly(status: int, why: str) -> tuple[Fields, bytes]:
    """An error as a line of text."""
    return (_TEXT,), why.encode() + b"\n"


def log_failure(request: Request, error: Exception) -> None:
    """A handler's fault goes to the log; its client is told nothing of it."""
    _log.error("%s failed", request.method.decode("latin-1"), exc_info=error)


class Server:
    """From one event loop. ``handle`` gets every request with its reply, and is cancelled when the client leaves."""

    def __init__(
        self,
        handle: Handler,
        *,
        limits: Limits = LIMITS,
        spell: Spell = plainly,
        failed: Callable[[Request, Exception], None] = log_failure,
        busy_poll_seconds: float = 0.0,
    ) -> None:
        """``busy_poll_seconds``: how long to look for what comes next instead of sleeping (``wire.busy_poll``)."""
        self.handle = handle
        self.limits = limits
        self.spell = spell
        self.failed = failed
        self.loop = asyncio.get_running_loop()
        self.busy_poll = BusyPoll(self.loop, busy_poll_seconds) if busy_poll_seconds > 0 else None
        self.draining = False
        self._servers: list[asyncio.Server] = []
        self._connections: set[ServerConnection] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._room_made = float("-inf")
        self._changed: asyncio.Future[None] | None = None

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def listen(self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> int:
        """Accept connections; the port, which the system chooses for 0."""
        server = await self.loop.create_server(
            lambda: ServerConnection(self),
            host,
            port,
            ssl=tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls is not None else None,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_on(self, listener: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections of a socket that listens already, of whatever family."""
        create = self.loop.create_unix_server if listener.family == socket.AF_UNIX else self.loop.create_server
        server = await create(
            lambda: ServerConnection(self),
            sock=listener,
            ssl=tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls is not None else None,
        )
        self._servers.append(server)

    async def drain(self, seconds: float, *, idle_grace: float = IDLE_GRACE) -> bool:
        """Take nothing new, let what runs finish, and end it after so many seconds. Whether nothing had to be ended.

        After 0 seconds it ends without a word."""
        self.draining = True
        await self._stop_accepting()
        by = self.loop.time() + seconds
        await self._until_empty(min(by, self.loop.time() + idle_grace))
        for connection in tuple(self._connections):
            connection.close_if_idle()
        clean = await self._until_empty(by)
        if not clean and seconds:
            for connection in tuple(self._connections):
                connection.dismiss()
            await self._until_empty(self.loop.time() + _GOODBYE_SECONDS)
        for connection in tuple(self._connections):
            connection.give_up()
        for task in tuple(self._leaving):
            task.cancel()
        await asyncio.sleep(0)  # the transports let go of their sockets
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LAST_SECONDS)
        return clean

    async def _stop_accepting(self) -> None:
        listeners = [listener.fileno() for server in self._servers for listener in server.sockets]
        poll = select.poll()
        for listener in listeners:
            poll.register(listener, select.POLLIN)
        for _ in range(BACKLOG):  # who waits at the listener already is let in: uvloop takes one a turn
            await _two_turns()
            if not poll.poll(0):
                break
        for listener in listeners:
            self.loop.remove_reader(listener)
        await _two_turns()  # asyncio's servers drop who was let in and has no connection yet
        for server in self._servers:
            server.close()

    async def _until_empty(self, by: float) -> bool:
        while self._connections or self._leaving:
            self._changed = self.loop.create_future()
            try:
                async with asyncio.timeout_at(by):
                    await self._changed
            except TimeoutError:
                return False
        return True

    # --- for connections ---

    def admit(self, connection: ServerConnection) -> bool:
        """Count a new one; False when there are too many, and it must go."""
        self._connections.add(connection)
        most = self.limits.most_connections
        if len(self._connections) > most:
            self._make_room()
        return len(self._connections) <= most

    def _make_room(self) -> None:
        """Close those that have been idle the longest: who holds connections open must not keep out who has a request.

        Some at once, and not for everyone who comes: to look at all of them takes time.
        """
        now = self.loop.time()
        if now < self._room_made + _SPARE_SECONDS:
            return
        self._room_made = now
        idle = [(seconds, one) for one in self._connections if (seconds := one.idle_for(now)) >= _SPARE_SECONDS]
        idle.sort(key=itemgetter(0), reverse=True)
        for _, one in idle[: len(self._connections) // _PART_CLOSED + 1]:
            one.close_if_idle()
            self._connections.discard(one)

    def lost(self, connection: ServerConnection) -> None:
        """It has ended."""
        self._connections.discard(connection)
        self._tell()

    def leaving(self, task: asyncio.Task[None]) -> None:
        """A handler without a connection: a drain waits for it, too."""
        if not task.done():
            self._leaving.add(task)
            task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


async def _two_turns() -> None:
    """Of the loop: in the first it hears of what it does in the second."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
