"""One connection of a server: requests parsed where they arrive, handled one at a time, answered in order.

Apart from ``Server`` because it knows one client only. A request is handed on when its head is there. What comes
behind a request that is being handled waits unparsed, up to a bound; then the socket is not read. A handler is
cancelled when its client ends the connection before the answer has ended, in whatever it waits for: a client that
closes only its sending side is taken for gone, since the two look the same and nearly nobody does that.

Source: RFC 9112 9.3, 9.5, 9.6 (persistence, timeouts, closing); RFC 9110 10.1.1 (Expect).
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

from tensorfusion.wire.alarm import Alarm
from tensorfusion.wire.errors import ClientLeft, Refused
from tensorfusion.wire.parsing import RequestParser
from tensorfusion.wire.presence import Presence, Progress, untaken
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request

if TYPE_CHECKING:
    from tensorfusion.wire.relay import Source
    from tensorfusion.wire.server import Server

MOST_AHEAD: Final = 64 << 10
"""Bytes of further requests that wait while one is handled."""
_FAREWELL_SECONDS: Final = 2.0
"""How long what still comes is read and dropped behind a last answer, so that the client gets to read that."""
_NO_LINGER = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STRIDE: Final = 8 << 10
"""Bytes that are parsed at once, however many requests are in them."""
_LONG: Final = 32 << 10
_MANY: Final = 4096
"""Chunks in one arrival of more than ``_LONG`` bytes after which everybody else has a turn first: they cost time, not
bytes, and an event loop reads on from one client as long as there is something."""
_log = logging.getLogger(__name__)


class ServerConnection(asyncio.Protocol):
    """Made by the server."""

    def __init__(self, server: "Server") -> None:
        self.served = 0
        self.peer = ""
        """The client's IP address; empty over a Unix socket."""
        self.dismissed = False
        """The server ends, and waits no longer for the answer: its handler is cancelled, and may still say so."""
        self.kept: object = None
        """Of whoever handles its requests."""
        self.source: Source | None = None
        """Who pours into the answer, and is to stop while the client does not read."""
        self._server = server
        self._busy_poll = server.busy_poll
        self._limits = server.limits
        self._loop = server.loop
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(self, server.limits)
        self._task: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._request: Request | None = None
        self._ahead = bytearray()
        self._deaf = False  # nothing that still comes is looked at
        self._gone = False
        self._paused = False
        self._writable = True
        self._rooms: list[asyncio.Future[None]] = []
        self._paused_at = 0.0
        self._alarm = Alarm(self._loop, self._look)
        self._since = self._loop.time()
        self._body_since = 0.0
        self._progress = Progress()
        self._unread: Alarm | None = None
        self._presence: Presence | None = None

    @property
    def idle(self) -> bool:
        """Between two requests, and nothing of the next one has come."""
        return self._task is None and not self._parser.requests and not self._ahead and not self._parser.begun

    # --- for request and reply ---

    def write(self, data: bytes) -> None:
        """Raises ClientLeft."""
        if self._transport is None or self._gone:
            raise ClientLeft("the client has closed the connection")
        self._transport.write(data)
        if self._busy_poll is not None:
            self._busy_poll.stir()

    def write_lines(self, parts: Iterable[bytes]) -> None:
        """Raises ClientLeft."""
        if self._transport is None or self._gone:
            raise ClientLeft("the client has closed the connection")
        self._transport.writelines(parts)
        if self._busy_poll is not None:
            self._busy_poll.stir()

    async def room(self) -> None:
        """Wait until the client has read enough. Raises ClientLeft."""
        while not self._writable:
            place = self._loop.create_future()
            self._rooms.append(place)
            await place
        if self._gone:
            raise ClientLeft("the client has closed the connection")

    @property
    def writable(self) -> bool:
        return self._writable

    def closes_after(self, request: Request) -> bool:
        """Whether the answer to this request, whose head goes out now, is the last one."""
        return (
            not request.keep_alive
            or not request.complete
            or self._server.draining
            or self.served >= self._limits.most_requests
        )

    def want_body(self) -> None:
        """The handler waits for the body: let it come."""
        request = self._request
        if request is not None and request.expects and not request.complete:
            request.expects = False
            self._body_since = self._loop.time()
            if self._reply is not None and not self._reply.started and not request.received:
                self.write(_CONTINUE)
        self.body_taken()

    def body_taken(self) -> None:
        """There is room for more of the body."""
        receiving = self._parser.receiving
        if self._paused and receiving is not None and receiving.waiting <= receiving.high_water:
            self._body_since += self._loop.time() - self._paused_at
            self._resume()

    def cut(self) -> None:
        """Reset the connection."""
        self._deaf = self._gone = True
        if self._transport is None:
            return
        link = self._transport.get_extra_info("socket")
        if link is not None and link.family != socket.AF_UNIX:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    # --- for the server ---

    def idle_for(self, now: float) -> float:
        """Seconds without a request; 0 with one."""
        return now - self._since if self.idle else 0.0

    def close_if_idle(self) -> None:
        if self.idle and self._transport is not None:
            self._close_in_time()
            self._transport.close()

    def dismiss(self) -> None:
        """End what runs; its client is told, if that is still possible, and needs to be: what has all of its answer on
        the way ends by itself."""
        task, request, reply = self._task, self._request, self._reply
        if task is not None and request is not None and reply is not None and not self._gone:
            self.dismissed = True
            request.keep_alive = False
            if not reply.ended:
                task.cancel()

    def give_up(self) -> None:
        """End it now, whatever runs."""
        self.cut()
        self._leave()

    # --- for the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._transport.set_write_buffer_limits(self._limits.high_water)
        self._since = self._loop.time()
        if not self._server.admit(self):
            self._refuse(Refused(503, "too many connections"))
            return
        self._alarm.by(self._since + self._limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if self._deaf or parser.refusal is not None:
            return
        if parser.receiving is None and (self._task is not None or self._ahead or parser.requests):
            self._ahead += data  # also behind an answer that is not read, where nothing is handled and more may wait
            if len(self._ahead) > MOST_AHEAD:
                self._pause()
            return
        if self._busy_poll is not None:
            self._busy_poll.stir()
        self._feed(data)

    def eof_received(self) -> None:
        """The client is gone: it closed the connection, or its half of it. What was not sent yet still goes out."""
        self._leave()
        self._close_in_time()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._parser.close()
        self._deaf = True
        self._alarm.end()
        for alarm in (self._unread, self._presence):
            if alarm is not None:
                alarm.end()
        self._leave()
        self._request = self._reply = None
        self._ahead = bytearray()
        self._server.lost(self)

    def pause_writing(self) -> None:
        self._writable = False
        if self.source is not None:
            self.source.pause()
        if self._unread is None:
            self._unread = Alarm(self._loop, self._look_at_unread)
        self._unread.cancel()
        if self._transport is not None:
            now = self._loop.time()
            self._progress.begin(untaken(self._transport), now)
            self._unread.by(now + self._limits.unread_seconds)

    def resume_writing(self) -> None:
        self._writable = True
        if self._unread is not None:
            self._unread.cancel()
        if self.source is not None:
            self.source.resume()
        self._wake_writers()
        if self._task is None:
            self._advance()

    def _wake_writers(self) -> None:
        rooms, self._rooms = self._rooms, []
        for place in rooms:
            if not place.done():
                place.set_result(None)

    def _feed(self, data: bytes | bytearray) -> None:
        parser = self._parser
        begun, known = parser.begun, len(parser.requests)
        if not begun and parser.receiving is None:
            self._since = self._loop.time()
            self._alarm.by(self._since + self._limits.head_seconds)
        if len(data) <= _STRIDE:
            parser.feed(data)
        elif left := parser.feed_on(data, busy=self._task is not None):
            self._ahead += left
            if len(self._ahead) > MOST_AHEAD:
                self._pause()
        if parser.begun and (not begun or len(parser.requests) > known):
            self._since = self._loop.time()  # not of the head or the body in front of it, which may have come slowly
        receiving = parser.receiving
        if receiving is not None:
            if parser.refusal is not None:
                self._break(receiving, parser.refusal)
            else:
                receiving.wake()
                if receiving.waiting > receiving.high_water:
                    self._pause()
                elif len(data) > _LONG and parser.pieces > _MANY:
                    self._pause()
                    self._loop.call_soon(self._read_on)
        self._advance()

    def _read_on(self) -> None:
        """Read again, if there is room for what comes."""
        receiving = self._parser.receiving
        if len(self._ahead) <= MOST_AHEAD and (receiving is None or receiving.waiting <= receiving.high_water):
            self._resume()

    def _break(self, request: Request, refused: Refused) -> None:
        """A request whose body will never be whole: its handler ends; ``refused`` is the answer if none has begun."""
        self._parser.drop_body()
        if request is not self._request:
            self._parser.requests.remove(request)  # answered when it would have been its turn
            self._parser.refusal = refused
            return
        task, reply = self._task, self._reply
        if reply is not None and reply.started:
            self.give_up()
            return
        self._task = self._request = self._reply = None
        self._parser.requests.clear()
        self._refuse(refused)
        self._gone = True
        if task is not None:
            self._server.leaving(task)
            task.cancel(refused)  # it may want to know what its client was told

    # --- handling ---

    def _advance(self) -> None:
        """Begin the next request, if none is under way and the client reads its answers."""
        if self._task is not None or self._gone or self._transport is None or not self._writable:
            return
        if self._parser.requests:
            self._begin(self._parser.requests.popleft())
        elif self._deaf:
            pass
        elif self._parser.refusal is not None:
            self._refuse(self._parser.refusal)
        elif self._ahead:
            data, self._ahead = self._ahead, bytearray()
            self._feed(data)
            self._read_on()
        elif self._parser.receiving is None:
            self._rest()

    def _begin(self, request: Request) -> None:
        self.served += 1
        self._request = request
        self._reply = reply = Reply(self, request)
        if not request.complete:
            self._body_since = self._loop.time()
            self._alarm.by(self._body_by(request))
        # One task for each request, and no group: whoever answers must not wait for a group of thousands.
        self._task = self._loop.create_task(self._handle(request, reply))

    async def _handle(self, request: Request, reply: Reply) -> None:
        try:
            await self._server.handle(request, reply)
        except asyncio.CancelledError:
            if self.dismissed:
                self._answer(request, reply, Refused(503, "the server ends"))
            if reply.ended:
                self._finish(request, reply)
            elif not self._gone:
                self.cut()
            raise
        except ClientLeft:
            pass
        except Refused as refused:
            self._answer(request, reply, refused)
        except Exception as error:  # noqa: BLE001 - the edge of a request
            self._tell_failure(request, error)
            self._answer(request, reply, Refused(500, "internal error"))
        self._finish(request, reply)

    def _answer(self, request: Request, reply: Reply, refused: Refused) -> None:
        if reply.started or self._gone:
            return
        try:
            fields, body = self._server.spell(refused.status, str(refused))
            reply.send(refused.status, fields, body)
        except Exception as error:  # noqa: BLE001 - how errors are spelled is given, too
            self._tell_failure(request, error)
            reply.cut()

    def _tell_failure(self, request: Request, error: Exception) -> None:
        try:
            self._server.failed(request, error)
        except Exception:  # noqa: BLE001 - it is given
            _log.exception("what tells of failures has failed itself")

    def _finish(self, request: Request, reply: Reply) -> None:
        """The handler is done: on to the next request, or to the end of the connection."""
        self._task = None
        self._request = self._reply = None
        if self._gone or self._transport is None:
            return
        if not reply.started:
            self._tell_failure(request, RuntimeError("the handler returned without an answer"))
            self._answer(request, reply, Refused(500, "internal error"))
        if not reply.ended:
            self._tell_failure(request, RuntimeError("the handler returned in the middle of its answer"))
            reply.cut()
        elif not request.keep_alive:
            self._farewell()
        else:
            self._advance()

    def _rest(self) -> None:
        """Nothing is under way. Half a head may be there: its time runs since it came, though nobody has looked."""
        if self._parser.begun:
            self._alarm.by(self._since + self._limits.head_seconds)
        else:
            self._since = self._loop.time()
            self._alarm.by(self._since + self._limits.idle_seconds)

    def _refuse(self, refused: Refused) -> None:
        """Answer what is no request, and close."""
        self._deaf = True
        if self._transport is None:
            return
        nobody = Request(self, b"", b"", ())
        self._answer(nobody, Reply(self, nobody), refused)
        self._farewell()

    def _farewell(self) -> None:
        """Close behind the last answer. What the client still sends is read for a while: were it closed at once, the
        client's system would drop the answer before it was read. Source: RFC 9112 9.6."""
        transport = self._transport
        if transport is None:
            return
        self._close_in_time()
        if transport.can_write_eof():
            transport.write_eof()
            self._resume()
        else:  # TLS says itself that it closes
            transport.close()

    def _close_in_time(self) -> None:
        """It is about to close: what waits for the client goes out first, but not for ever."""
        self._deaf = True
        self._since = self._loop.time()
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._progress.begin(untaken(self._transport), self._since)
        self._alarm.by(self._since + _FAREWELL_SECONDS)

    def _leave(self) -> None:
        """The client is gone: so is the reason for its request, unless all of the answer is on its way."""
        self._gone = True
        task, self._task = self._task, None  # cancelled once: it may be cleaning up when the rest is lost
        self._wake_writers()
        if task is not None:
            self._server.leaving(task)
            if self._reply is not None and not self._reply.ended and not self.dismissed:
                task.cancel()

    # --- time ---

    def _body_by(self, request: Request) -> float:
        return self._body_since + self._limits.body_seconds + request.received / self._limits.body_rate

    def _look(self) -> float | None:
        now = self._loop.time()
        limits = self._limits
        receiving = self._parser.receiving
        if self._deaf:
            return self._look_at_closing(now)
        if receiving is not None and receiving is self._request:
            held_up = self._paused or receiving.expects  # by us
            by = now + 1.0 if held_up else self._body_by(receiving)
            if now >= by:
                self._break(receiving, Refused(408, "the body of the request did not come in time"))
        elif self._task is not None or self._parser.requests or self._ahead:
            return None  # whoever handles it has limits of its own; what waits behind an unread answer, its turn
        else:
            waiting = self._parser.begun or not self.served
            by = self._since + (limits.head_seconds if waiting else limits.idle_seconds)
            if now >= by and waiting:
                self._refuse(Refused(408, "the head of the request did not come in time"))
            elif now >= by:
                self.close_if_idle()
        return by if now < by else None

    def _look_at_closing(self, now: float) -> float | None:
        if self._transport is None:
            return None
        if self._transport.get_write_buffer_size():
            self._since = now
            if self._read_on_by(self._transport, now) is None:
                self._transport.abort()
                return None
        elif now >= self._since + _FAREWELL_SECONDS:
            self._transport.abort()
            return None
        return now + min(1.0, self._limits.unread_seconds)

    def _look_at_unread(self) -> float | None:
        if self._transport is None:
            return None
        by = self._read_on_by(self._transport, self._loop.time())
        if by is None:
            self.give_up()
        return by

    def _read_on_by(self, transport: asyncio.Transport, now: float) -> float | None:
        """When the client must have read more; None when it reads too little."""
        limits = self._limits
        left = untaken(transport)
        return self._progress.due(left, now, seconds=limits.unread_seconds, rate=limits.unread_rate)

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._paused_at = self._loop.time()
            self._transport.pause_reading()
            if self._presence is None:
                self._presence = Presence(self._loop, self._is_gone)
            self._presence.watch(self._transport)

    def _is_gone(self) -> None:
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            if self._presence is not None:
                self._presence.rest()
            self._transport.resume_reading()
