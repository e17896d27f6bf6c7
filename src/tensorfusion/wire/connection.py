"""One client connection: one request at a time, its answer whole, as it comes, or poured on to somewhere else.

Bytes are parsed where they arrive, in ``data_received``; the task that waits is woken once for each arrival, not for
each piece, and not at all while the answer is poured. A reader that does not keep up stops the socket, so that what
waits here is bounded.

A connection that is left in the middle of an answer (an error, a cancelled task, a limit) is of no more use: the next
bytes on it belong to nobody. It is then aborted, never reused.

Source: RFC 9112; the parser is llhttp.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tensorfusion.wire.alarm import Alarm
from tensorfusion.wire.errors import BrokenOff, Phase, TimedOut
from tensorfusion.wire.fields import KIND_OF, LENGTH, Fields, Kind
from tensorfusion.wire.messages import Answer
from tensorfusion.wire.pieces import Pieces, add_piece

Sink: TypeAlias = Callable[[bytes], bool]
"""Takes bytes of a body; False when it wants no more."""
Hear: TypeAlias = Callable[[Answer], None]
"""Takes a whole answer."""

MOST_HEAD: Final = 64 << 10
"""Bytes of an answer's fields."""
HIGH_WATER: Final = 1 << 20
"""Bytes waiting for a reader beyond which the socket is not read."""
_FIELD_SIZE = 16
"""Bytes that a field counts beyond its own, so that many small ones are not free."""
_NO_CONTENT = (204, 304)
_CLOSED = "the server closed it"


class Connection(asyncio.Protocol):
    """Made by the pool. ``usable`` says whether another request may be sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = 0.0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._broken: BrokenOff | None = None
        self._busy = False
        self._paused = False
        self._writable = True
        self._high_water = HIGH_WATER
        self._alarm = Alarm(loop, self._look)
        self._count = 0
        self.rest()

    def rest(self) -> None:
        """Be as before a request, and keep nothing of the one before."""
        self._asked = False
        self.status = 0
        self.length: int | None = None
        self._headless = False
        self._head_done = False
        self._done = False
        self._heard = False
        self.fields: Fields = ()
        self._head_size = 0  # of a head that has not ended yet, and of fields behind the body
        self._feeding = 0
        self._fields: list[tuple[bytes, bytes]] = []  # that came since they were looked at
        self._pieces: Pieces = []
        self._waiting = 0
        self._failure: Exception | None = None
        self._sink: Sink | None = None
        self._hear: Hear | None = None
        self._most = 0
        self._answer: Answer | None = None
        self._head_by = self._total_by = self._silence = float("inf")
        self._seconds = (0.0, 0.0)
        self._quiet_since = 0.0

    @property
    def usable(self) -> bool:
        """Open, between two requests, and kept open by the server."""
        return self._broken is None and not self._busy and self._transport is not None

    @property
    def done(self) -> bool:
        """The whole answer has arrived."""
        return self._done

    # --- for the task that asks ---

    def send(self, data: bytes, *, bodyless: bool = False) -> None:
        """Send a request; its answer is read by ``whole``, or by ``head`` and then ``read`` or ``pour``.

        The answer to a ``bodyless`` one (HEAD) is its head, whatever that says. Raises BrokenOff.
        """
        if self._transport is None or self._broken is not None or self._busy:
            raise self._broken or BrokenOff("the connection is not open")
        if self._asked:
            self.rest()
        self._asked = True
        if self._paused:
            self.resume()
        self._busy = True
        self._headless = bodyless
        self._count += 1
        self._transport.write(data)

    async def send_more(self, data: bytes) -> None:
        """Send a piece of the request's body, and wait until there is room for the next. Raises BrokenOff."""
        if self._transport is None or self._broken is not None:
            raise self._broken or BrokenOff(_CLOSED)
        self._transport.write(data)
        while not self._writable:
            self._room = self._loop.create_future()
            await self._room
            if self._broken is not None:
                raise self._broken

    def within(self, *, head: float, total: float, silence: float) -> None:
        """Break off with ``TimedOut`` when the head, or all of it, does not come in so many seconds from now, or
        nothing more of the body for ``silence`` seconds."""
        now = self._loop.time()
        self._seconds = (head, total)
        self._head_by, self._total_by = now + head, now + total
        self._silence = silence
        self._watch(self._head_by)

    def all_within(self, seconds: float) -> None:
        """From now on, no more than so many seconds until the end of the answer."""
        self._seconds = (self._seconds[0], seconds)
        self._total_by = self._loop.time() + seconds
        self._watch(self._total_by)

    def silent_for(self, seconds: float) -> None:
        """From now on, no more than so many seconds between two arrivals."""
        self._silence = seconds
        self._quiet_since = self._loop.time()
        self._watch(self._quiet_since + seconds)

    async def whole(self, most: int) -> Answer:
        """The whole answer.

        Raises:
            BrokenOff: it broke off, or its body has more than ``most`` bytes.
        """
        self._high_water = most
        self.resume()  # what came before anybody wanted it has stopped the socket
        while not self._done:
            if self._waiting > most:
                raise BrokenOff(f"the answer has more than {most} bytes")
            self._listen()
            await self._wait()
        if self._waiting > most:
            raise BrokenOff(f"the answer has more than {most} bytes")
        answer = self._hand_on()
        if self._failure is not None:
            raise self._failure
        return answer

    def when_whole(self, most: int, hear: Hear) -> None:
        """Hand the whole answer to ``hear`` where its end arrives, if it has at most so many bytes: what ``hear`` does
        need not wait for the task that waits in ``whole``, which raises what ``hear`` raised."""
        self._most = most
        self._hear = hear

    async def head(self) -> None:
        """Wait until ``status`` and ``fields`` are there. Raises BrokenOff."""
        self._high_water = HIGH_WATER
        while not self._head_done:
            await self._wait()

    async def read(self) -> bytes:
        """What has arrived of the body since the last call; empty at its end. Raises BrokenOff."""
        while not self._pieces:
            if self._done:
                return b""
            self.resume()
            self._listen()
            await self._wait()
        data = self._take()
        if self._paused:
            self.resume()
        return data

    async def pour(self, sink: Sink) -> bool:
        """Hand all that is left of the body to ``sink``, each arrival where it arrives. False when it wanted no more.

        Raises:
            BrokenOff: the end came too soon.
            Exception: whatever ``sink`` raised.
        """
        self._sink = sink
        try:
            self.resume()  # before the sink is called: that may stop it again
            if self._pieces:
                self._hand_over(sink)
            self._listen()
            while self._sink is not None and not self._done:
                await self._wait()
            if self._failure is not None:
                raise self._failure
            return self._sink is not None
        finally:
            self._sink = None  # who is no longer here gets nothing more

    def pause(self) -> None:
        """Read nothing more until ``resume``: whoever takes the body does not keep up."""
        if not self._paused and not self._done and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._listen()
            if self._transport is not None:
                self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, whatever was under way."""
        if self._broken is None:
            self._broken = self._told(BrokenOff("the connection was closed here"))
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: Exception) -> None:
        """Close because the request's body cannot be sent; whoever waits for the answer is told why."""
        if self._broken is None:
            self._broken = self._told(BrokenOff(f"the body of the request was not sent: {error}"))
            self._broken.__cause__ = error
        self.abort()

    def _take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        self._waiting = 0
        return b"".join(pieces)  # of one it is the same

    async def _wait(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- deadlines ---

    def _listen(self) -> None:
        """The silence begins now."""
        self._quiet_since = now = self._loop.time()
        self._watch(now + self._silence)

    def _watch(self, when: float) -> None:
        when = min(when, self._total_by)
        if when != float("inf"):
            self._alarm.by(when)

    def _look(self) -> float | None:
        if not self._busy or self._broken is not None:
            return None
        now = self._loop.time()
        if now >= self._total_by:
            self._break(TimedOut(Phase.TOTAL, self._seconds[1]))
        elif not self._head_done:
            if now < self._head_by:
                return min(self._head_by, self._total_by)
            self._break(TimedOut(Phase.HEAD, self._seconds[0]))
        else:
            # as long as nobody waits for it, or it may not send, the silence is not the server's
            since = now if self._paused or self._waiter is None else self._quiet_since
            by = min(since + self._silence, self._total_by)
            if now < by:
                return by if by != float("inf") else None
            self._break(TimedOut(Phase.SILENCE, self._silence))
        return None

    # --- for the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class

    def data_received(self, data: bytes) -> None:
        if not self._busy or self._parser is None:
            self._break(BrokenOff("bytes that nobody asked for"))
            return
        self._heard = True
        self._feeding = len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._break(BrokenOff("the answer changes the protocol, which was not asked for"))
        except HttpParserError as error:
            self._break(BrokenOff(f"not an HTTP answer: {error}"))
        if self._fields or not self._head_done:
            self._measure()
        if self._sink is not None:
            self._quiet_since = self._loop.time()
            if self._pieces:
                self._hand_over(self._sink)
            if self._busy and self._broken is None:
                return  # whoever waits for the end is not woken for pieces
        elif self._done and self._hear is not None and self._waiting <= self._most:
            self._hand_on()
        elif self._waiting > self._high_water:
            self.pause()
        self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake_writer()

    def eof_received(self) -> None:
        """The server ends; ``connection_lost`` follows."""
        if not self._busy:
            self._broken = self._broken or BrokenOff(_CLOSED)
        elif self._head_done and self._broken is None and self._until_close():
            self._done, self._busy = True, False
            self._broken = self._told(BrokenOff(_CLOSED))
            self._wake()
        if self._transport is not None:
            self._transport.abort()  # were it closed, what is still to be sent would keep it open

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._parser = None  # it refers back here: without it all of this is freed at once
        self._alarm.end()
        if self._broken is None:
            self._broken = self._told(BrokenOff(str(error) if error is not None and str(error) else _CLOSED))
            self._broken.__cause__ = error
        self._wake()
        self._wake_writer()

    def _hand_over(self, sink: Sink) -> None:
        try:
            if sink(self._take()):
                return
        except Exception as error:  # noqa: BLE001 - it is raised where the sink was given
            self._failure = error
        self._sink = None
        if not self._done:
            self.abort()

    def _hand_on(self) -> Answer:
        """The whole answer, which is there; whoever wanted to hear it has heard it."""
        answer = self._answer
        if answer is None:
            self._answer = answer = Answer(self.status, self.fields, self._take())
            hear, self._hear = self._hear, None
            if hear is not None:
                try:
                    hear(answer)
                except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
                    self._failure = error
        return answer

    def _break(self, why: BrokenOff) -> None:
        self._broken = self._broken or self._told(why)
        if self._transport is not None:
            self._transport.abort()

    def _told(self, why: BrokenOff) -> BrokenOff:
        why.heard, why.reused = self._heard, self._count > 1
        return why

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake_writer(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _until_close(self) -> bool:
        """Whether the body is what came until the connection ended, which it did now.

        Over TLS the server has to have said so: what ends without that was cut by whoever is in between. asyncio's own
        loop reports either. Source: RFC 9112 9.8.
        """
        kinds = {KIND_OF[name] for name, _ in self.fields}
        if kinds & {Kind.LENGTH, Kind.TRANSFER} or self.status in _NO_CONTENT or self._transport is None:
            return False
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLError:
            return False

    # --- for the parser ---

    def on_message_begin(self) -> None:
        if self._done:  # a second answer to one request
            self._break(BrokenOff("bytes behind the answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self._done or self._parser is None or self._broken is not None:
            return
        fields, self._fields = self._fields, []
        most = self._head_size + self._feeding + _FIELD_SIZE * len(fields)
        if most > MOST_HEAD and _size_of(fields) > MOST_HEAD:
            self._break(self._too_large())
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:  # on its way, as 103 says; the answer comes behind it
            if any(KIND_OF[name] >= Kind.LENGTH for name, _ in fields):
                self._break(BrokenOff(f"an interim answer ({self.status}) with a body"))
            return
        self.fields = fields
        for name, value in fields:
            kind = KIND_OF[name]
            if kind >= LENGTH:
                if kind is LENGTH:
                    self.length = int(value)
                elif value.lower() != b"chunked":
                    self._break(BrokenOff(f"the answer is coded for the way as {value!r}, which was not asked for"))
                    return
        self._head_done = True
        self._quiet_since = self._loop.time()
        if self._headless:  # the parser would wait for the body that the head tells of
            self._done, self._busy = True, False
            self._break(BrokenOff("a connection is not kept behind an answer without its body"))

    def _measure(self) -> None:
        """Hold what belongs to no body against its limit: a head that does not end, interim ones without end, fields
        behind a body in chunks."""
        self._head_size += _size_of(self._fields) if self._head_done else self._feeding
        if self._head_done:
            self._fields = []
        if self._head_size > MOST_HEAD:
            self._break(self._too_large())

    def _too_large(self) -> BrokenOff:
        return BrokenOff(f"the answer's fields have more than {MOST_HEAD} bytes")

    def on_body(self, body: bytes) -> None:
        if not self._done:
            if self._pieces:
                add_piece(self._pieces, body)
            else:
                self._pieces.append(body)
            self._waiting += len(body)

    def on_message_complete(self) -> None:
        if not self._head_done or self._done:  # the end of an interim one, or of one whose head was refused
            return
        self._done = True
        self._busy = False
        transport = self._transport
        if self._parser is None or not self._parser.should_keep_alive():
            self._break(BrokenOff("the server wants it closed"))
        elif transport is not None and transport.get_write_buffer_size():
            self._break(BrokenOff("the answer came before all of the request was sent"))


def _size_of(fields: Fields) -> int:
    """Bytes, as fields count."""
    return sum(len(name) + len(value) + _FIELD_SIZE for name, value in fields)
