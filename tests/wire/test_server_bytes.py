"""Bytes that are no request, or could be read in two ways, and good requests however their bytes arrive."""

import asyncio
import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import HOST, Client, cut_up, serving, until

from example_counts import part_of
from tensorfusion.wire.fields import dated_lines
from tensorfusion.wire.limits import LIMITS, Limits
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server
from tensorfusion.wire.server_connection import ServerConnection

POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"

REFUSED = {
    "both lengths": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "both lengths, the other way": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "the same length twice": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "a signed length": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "a negative length": (POST + b"Content-Length: -3\r\n\r\n", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\n", 400),
    "a huge length": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "another coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "another coding below": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "another coding above": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "nearly chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in the old version": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a folded field": (POST + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", 400),
    "a folded field by a tab": (POST + b"X-A: b\r\n\tc\r\nContent-Length: 0\r\n\r\n", 400),
    "a line end without CR": (b"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n", 400),
    "a first line without CR": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "an end of head without CR": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "a CR in a value": (POST + b"X-A: b\rX-C: d\r\n\r\n", 400),
    "a NUL": (POST + b"X-A: \0\r\n\r\n", 400),
    "a control character": (POST + b"X-A: \x01\r\n\r\n", 400),
    "a space before the colon": (POST + b"Content-Length : 3\r\n\r\nabc", 400),
    "a space before the first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "no name": (POST + b": b\r\n\r\n", 400),
    "no colon": (POST + b"Content-Length\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a host that is none": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a chunk size without CR": (CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400),
    "a chunk that is too long": (CHUNKED + b"3\r\nabcX\r\n0\r\n\r\n", 400),
    "a chunk size that is none": (CHUNKED + b"G\r\n", 400),
    "a chunk size with a space": (CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", 400),
    "a negative chunk size": (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400),
    "a huge chunk size": (CHUNKED + b"fffffffffffffffff\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 505),
    "an older version": (b"GET / HTTP/0.9\r\n\r\n", 505),
    "the next version": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "version 2": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "a tunnel": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "no method": (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bytes beyond ASCII in the target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "something else to expect": (POST + b"Expect: more\r\nContent-Length: 1\r\n\r\na", 417),
    "the hello of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "nonsense": (b"\r\n\r\nhello\r\n\r\n", 400),
    "a long target": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a long value": (POST + b"X-A: " + b"b" * 40_000 + b"\r\n\r\n", 431),
    "many fields": (POST + b"X-A: b\r\n" * 129 + b"\r\n", 431),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("piecewise", [False, True])
async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_closed(
    data: bytes, status: int, piecewise: bool
) -> None:
    async with serving() as seen, Client(seen.port) as client:
        if piecewise:
            for piece in cut_up(data, range(1, min(len(data), 300))):
                client.send(piece)
                await asyncio.sleep(0)
        else:
            client.send(data + HIDDEN)
        found = await client.response()
        assert (found.status, found.fields["connection"]) == (status, "close")
        assert b"Traceback" not in found.body
        assert await client.rest() == b""
    assert seen.requests == []
    assert seen.failures == []


async def test_a_bad_request_behind_good_ones_is_answered_behind_them() -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.get(b"/1")
        client.get(b"/2")
        client.send(b"bad\r\n\r\n")
        assert [(await client.response()).status for _ in range(3)] == [200, 200, 400]
        assert await client.rest() == b""


async def test_a_bad_body_behind_a_good_request_is_answered_behind_it() -> None:
    gate = asyncio.Event()

    async def handle(request: Request, reply: Reply) -> None:
        await gate.wait()
        reply.send(200, body=await request.whole(10))

    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" + CHUNKED + b"G\r\n")
        await asyncio.sleep(0.01)
        gate.set()
        assert [(await client.response()).status for _ in range(2)] == [200, 400]
        assert await client.rest() == b""


async def test_a_body_that_breaks_off_ends_its_handler() -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.send(CHUNKED + b"3\r\nabc\r\n")
        await until(lambda: any(one._task for one in seen.server._connections))
        client.send(b"xyz\r\n")
        assert (await client.response()).status == 400
    assert seen.cancelled == 1


@pytest.mark.parametrize(
    "filler",
    [b"\r\n", b"X-A: b\r\n", b"a"],
    ids=["empty lines before", "fields", "a target that does not end"],
)
async def test_a_head_without_end_is_not_kept(filler: bytes) -> None:
    start = {b"\r\n": b"", b"a": b"GET /"}.get(filler, POST)
    async with serving() as seen, Client(seen.port) as client:
        client.send(start)
        with contextlib.suppress(ConnectionError):
            while not client.reader._buffer:
                client.send(filler * 100)
                await client.writer.drain()
                await asyncio.sleep(0)
        assert (await client.response()).status in (414, 431)


@pytest.mark.parametrize("filler", [b"X-T: b\r\n", b"X-T: b"], ids=["trailers", "a trailer that does not end"])
async def test_trailers_without_end_are_not_kept(filler: bytes) -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.send(CHUNKED + b"1\r\na\r\n0\r\n")
        with contextlib.suppress(ConnectionError):
            while not client.reader._buffer:
                client.send(filler * 100)
                await client.writer.drain()
                await asyncio.sleep(0)
        assert (await client.response()).status == 400


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 408),
        (b"GET / HTTP/1.1\r\n", 408),
        (b"GET / HTTP/1.1\r\n" + HOST + b"\r\nGET /", 408),
        (POST + b"Content-Length: 3\r\n\r\na", 408),
        (CHUNKED + b"3\r\na", 408),
    ],
    ids=["nothing", "half a head", "half a second head", "half a body", "half a chunk"],
)
async def test_what_does_not_come_in_time_is_given_up(sent: bytes, status: int) -> None:
    limits = Limits(head_seconds=0.05, body_seconds=0.05, idle_seconds=0.05)
    async with serving(limits=limits) as seen, Client(seen.port) as client:
        client.send(sent)
        if b"\r\n\r\n" in sent and sent.startswith(b"GET"):
            await client.response()
        assert (await client.response()).status == status
        assert await client.rest() == b""
        await until(lambda: seen.server.connections == 0)


async def test_a_body_that_trickles_is_given_up() -> None:
    """One byte at a time is never silent, and would hold its place for days."""
    limits = Limits(body_seconds=0.1, body_rate=100_000)
    async with serving(limits=limits) as seen, Client(seen.port) as client:
        client.send(POST + b"Content-Length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not client.reader._buffer:
                client.send(b"a")
                await asyncio.sleep(0.005)
        assert (await client.response()).status == 408
    assert seen.cancelled == 1


async def test_an_idle_connection_closes_without_a_word() -> None:
    async with serving(limits=Limits(idle_seconds=0.05)) as seen, Client(seen.port) as client:
        client.get()
        await client.response()
        assert await client.rest() == b""


GOOD = [
    (b"GET /a?b HTTP/1.1\r\n" + HOST + b"\r\n", (b"GET", b"/a?b", b"")),
    (b"\r\nGET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"y" * 300 + b"\r\n\r\n", (b"GET", b"/", b"")),
    (POST + b"Content-Length: 5\r\n\r\nab\r\nc", (b"POST", b"/", b"ab\r\nc")),
    (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: z\r\n\r\n", (b"POST", b"/", b"abcde")),
    (POST + b"Content-Length: 0\r\n\r\n", (b"POST", b"/", b"")),
    (
        b"PUT /u HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nz",
        (b"PUT", b"/u", b"z"),
    ),
]


class Sink(asyncio.Transport):
    """Takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def abort(self) -> None:
        self.closed = True

    close = abort

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True


async def _fed(
    pieces: list[bytes], *, limits: Limits = LIMITS, unread: int = 0
) -> tuple[list[tuple[bytes, bytes, bytes]], Sink]:
    """What a connection makes of these arrivals: the requests that were handled, and where it ended.

    ``unread``: a bit for each arrival, whether the client does not read answers then.
    """
    found = []

    async def handle(request: Request, reply: Reply) -> None:
        found.append((request.method, request.target, await request.whole(1000)))
        reply.send(200)

    def fail(_: Request, error: Exception) -> None:
        raise error

    connection = ServerConnection(Server(handle, limits=limits, failed=fail))
    sink = Sink()
    connection.connection_made(sink)
    for number, piece in enumerate(pieces):
        if connection.writable and unread >> number % 32 & 1:
            connection.pause_writing()
        elif not connection.writable and not unread >> number % 32 & 1:
            connection.resume_writing()
        connection.data_received(piece)
        if len(piece) % 3 == 0:
            await asyncio.sleep(0)
    if not connection.writable:
        connection.resume_writing()
    for _ in range(50):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return found, sink


@settings(max_examples=part_of(150))
@given(
    st.lists(st.sampled_from(GOOD), min_size=1, max_size=5),
    st.lists(st.integers(1, 1500), max_size=30),
    st.booleans(),
    st.just(0) | st.integers(0, (1 << 32) - 1),
)
def test_requests_are_the_same_however_their_bytes_arrive(
    requests: list[tuple[bytes, tuple[bytes, bytes, bytes]]], cuts: list[int], every_byte: bool, unread: int
) -> None:
    data = b"".join(raw for raw, _ in requests)
    pieces = cut_up(data, range(len(data)) if every_byte else cuts)
    found, sink = asyncio.run(_fed(pieces, unread=unread))
    assert found == [request for _, request in requests]
    assert sink.written.count(b"HTTP/1.1 200 OK\r\n") == len(requests)


@settings(max_examples=part_of(300))
@given(st.data())
def test_no_bytes_do_harm(data: st.DataObject) -> None:
    """Good and bad requests, bent: every answer is whole, and nothing goes on behind a refusal."""
    raw = bytearray(
        b"".join(data.draw(st.lists(st.sampled_from([raw for raw, *_ in GOOD + list(REFUSED.values())]), max_size=4)))
    )
    for _ in range(data.draw(st.integers(0, 4))):
        if raw:
            place = data.draw(st.integers(0, len(raw) - 1))
            raw[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    pieces = cut_up(bytes(raw), data.draw(st.lists(st.integers(1, 500), max_size=10)))
    _, sink = asyncio.run(_fed(pieces))
    answers = sink.written.split(b"HTTP/1.1 ")[1:]
    assert all(answer[:1] in (b"1", b"2", b"4", b"5") for answer in answers)
    refused = [number for number, answer in enumerate(answers) if b"Connection: close" in answer]
    assert refused in ([], [len(answers) - 1])


@pytest.mark.long
async def test_a_million_bent_bytes() -> None:
    """Random bytes over real sockets, many connections at once: the server answers the next good request all the same."""
    dice = random.Random(7)
    good = [raw for raw, *_ in GOOD + list(REFUSED.values())]
    async with serving(limits=Limits(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.2)) as seen:

        async def one() -> None:
            async with Client(seen.port) as client:
                raw = bytearray(b"".join(dice.choices(good, k=dice.randint(1, 4))))
                for _ in range(dice.randint(0, 6)):
                    raw[dice.randrange(len(raw))] = dice.randrange(256)
                with contextlib.suppress(ConnectionError):
                    client.send(bytes(raw))
                    await client.rest()

        for _ in range(200):
            await asyncio.gather(*(one() for _ in range(50)))
        async with Client(seen.port) as client:
            client.get()
            assert (await client.response()).status == 200
    assert seen.failures == []


@pytest.mark.parametrize("ready", [b"a: b\n", b"a: b\r", b"a: \0\r\n"])
def test_what_is_added_to_an_answer_is_looked_at_also_where_its_fields_came_by_before(ready: bytes) -> None:
    fields = [(b"Content-Type", b"text/plain; of=this-test")]
    for _ in range(2):
        assert b"of=this-test" in dated_lines(b"HTTP/1.1 200 OK", fields, b"a: b\r\n\r\n")
        with pytest.raises(ValueError, match="cannot be sent"):
            dated_lines(b"HTTP/1.1 200 OK", fields, ready + b"\r\n")
