"""A proxy made of the server, the pool and the relay: bytes unchanged, nobody faster than who reads, nobody longer than
who asked, and nothing that broke off presented as whole."""

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw import HOST, Client, Seen, cut_up, serving, until
from scripted import Served, ok
from scripted import serving as scripted

from tensorfusion.wire.connection import HIGH_WATER
from tensorfusion.wire.errors import BrokenOff, TimedOut, WireError
from tensorfusion.wire.exchange import PATIENCE, Patience
from tensorfusion.wire.fields import end_to_end
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool
from tensorfusion.wire.relay import Look, pour, relay
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = (
    b'\xef\xbb\xbf: a comment\r\n\r\ndata: {"a": "\xc3\xa9\xf0\x9f\x98\x80"}\n\ndata: two\ndata: lines\n\nevent: x\r'
    b"\ndata:\r\n\r\nunknown: field\nid\n\ndata: [DONE]\n\n"
)


@contextlib.asynccontextmanager
async def proxying(
    upstream: Served, *, patience: Patience = PATIENCE, look: Look | None = None, streamed: bool = False
) -> AsyncIterator[tuple[Seen, Pool, list[WireError]]]:
    """A proxy to ``upstream``; what went wrong behind it."""
    pool = Pool(upstream.origin)
    errors: list[WireError] = []

    async def handle(request: Request, reply: Reply) -> None:
        body = request.pieces() if streamed else await request.whole(1 << 26)
        fields = end_to_end(request.fields)
        length = request.length if streamed else None
        try:
            async with pool.exchange(
                request.method, request.target, fields, body, length=length, patience=patience
            ) as answer:
                await relay(answer, reply, look=look)
        except WireError as error:
            errors.append(error)
            if reply.started:
                reply.cut()
            else:
                reply.send(502)

    async with serving(handle) as seen:
        yield seen, pool, errors
    await pool.close()
    assert pool.connections == 0


async def test_a_request_goes_through_and_so_does_its_answer(tmp_path: Path) -> None:
    answer = (
        b"HTTP/1.1 429 Slow Down\r\nContent-Length: 4\r\nX-A: b\r\nx-a: c\r\nDate: Sat, 28 Nov 2026 19:38:29 GMT\r\n"
        b"Keep-Alive: timeout=5\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\r\nwait"
    )
    async with (
        scripted(tmp_path, answer) as upstream,
        proxying(upstream) as (seen, pool, _),
        Client(seen.port) as client,
    ):
        for _ in range(3):
            client.post(b"ab\x00c", target=b"/v1/x?y=%20", fields=b"TE: trailers\r\nX-B: c\r\nConnection: te\r\n")
            found = await client.response()
            assert (found.status, found.body) == (429, b"wait")
            assert found.fields == {"x-a": "c", "date": "Sat, 28 Nov 2026 19:38:29 GMT", "content-length": "4"}
        assert pool.connections == 1
    assert upstream.connections == 1
    assert upstream.requests[0] == (
        b"POST /v1/x?y=%20 HTTP/1.1\r\nHost: localhost\r\nX-B: c\r\nContent-Length: 4\r\n\r\nab\x00c"
    )


async def test_the_answer_to_head_goes_through(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"
    async with (
        scripted(tmp_path, head) as upstream,
        proxying(upstream) as (seen, _, errors),
        Client(seen.port) as client,
    ):
        for _ in range(2):
            client.send(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await client.response(bodyless=True)).fields["content-length"] == "400"
    assert errors == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(EVENTS) + 40), max_size=20), chunks=st.lists(st.integers(1, 200), max_size=8))
def test_a_stream_of_events_is_the_same_however_it_is_cut(tmp_path: Path, cuts: list[int], chunks: list[int]) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in cut_up(EVENTS, chunks)) + b"0\r\n\r\n"

    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in cut_up(SSE + body, cuts):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    async def run() -> None:
        async with scripted(tmp_path, act) as upstream, proxying(upstream) as (seen, _, errors):
            async with Client(seen.port) as client:
                client.post(b"{}")
                found = await client.response()
                assert (found.body, found.fields["content-type"]) == (EVENTS, "text/event-stream")
                client.post(b"{}")
                assert (await client.response()).body == EVENTS
            assert errors == []
        assert upstream.connections == 1

    asyncio.run(run())


async def test_each_event_goes_on_as_it_comes(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        for number in range(5):
            await go_on.wait()
            go_on.clear()
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await go_on.wait()
        writer.write(b"0\r\n\r\n")

    async with scripted(tmp_path, act) as upstream, proxying(upstream) as (seen, _, _), Client(seen.port) as client:
        client.post(b"{}")
        assert (await client.head()).status == 200
        chunks = client.chunks()
        for number in range(5):
            go_on.set()
            assert await anext(chunks) == b"data: %d\n\n" % number
        go_on.set()
        assert [chunk async for chunk in chunks] == []


async def test_an_event_of_a_megabyte_goes_through(tmp_path: Path) -> None:
    event = b"data: " + os.urandom(1 << 19).hex().encode() + b"\n\n"
    answer = SSE + b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event)
    async with scripted(tmp_path, answer) as upstream, proxying(upstream) as (seen, _, _), Client(seen.port) as client:
        client.post(b"{}")
        assert (await client.response()).body == event


async def test_what_looks_at_a_stream_may_change_it_hold_it_and_end_it(tmp_path: Path) -> None:
    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        for event in (b"one", b"hidden", b"two", b"stop", b"never"):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    def look(data: bytes) -> bytes | None:
        return {b"hidden": b"", b"stop": None}.get(data, data.upper())

    async with (
        scripted(tmp_path, act) as upstream,
        proxying(upstream, look=look) as (seen, pool, errors),
        Client(seen.port) as client,
    ):
        client.post(b"{}")
        assert (await client.response()).body == b"ONETWO"
        await until(lambda: pool.connections == 0)
    assert errors == []


async def test_what_fails_on_the_way_ends_both_sides(tmp_path: Path) -> None:
    def look(data: bytes) -> bytes | None:
        raise RuntimeError("on the way")

    answer = SSE + b"3\r\nabc\r\n"
    async with (
        scripted(tmp_path, answer) as upstream,
        proxying(upstream, look=look) as (seen, pool, _),
        Client(seen.port) as client,
    ):
        client.post(b"{}")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.response()
        await until(lambda: pool.connections == 0)
    assert str(seen.failures[0]) == "on the way"


TRUNCATED = {
    "before the head": b"HTTP/1.1 200 OK\r\nConte",
    "behind the head": SSE,
    "in a chunk": SSE + b"5\r\nab",
    "between chunks": SSE + b"2\r\nab\r\n",
    "before the last line": SSE + b"2\r\nab\r\n0\r\n",
    "short of its length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "in nonsense": SSE + b"xyz",
}


@pytest.mark.parametrize("answer", TRUNCATED.values(), ids=TRUNCATED)
async def test_an_answer_that_breaks_off_is_never_presented_as_whole(tmp_path: Path, answer: bytes) -> None:
    async with (
        scripted(tmp_path, answer, close=True) as upstream,
        proxying(upstream) as (seen, _, errors),
        Client(seen.port) as client,
    ):
        client.post(b"{}")
        try:
            assert (await client.response()).status == 502
        except (ConnectionError, asyncio.IncompleteReadError):
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    (error,) = errors
    assert isinstance(error, BrokenOff)
    assert (error.heard, error.reused) == (True, False)


async def test_a_connection_that_closed_unheard_says_so(tmp_path: Path) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with (
        scripted(tmp_path, ok(b"a"), close) as upstream,
        proxying(upstream) as (seen, _, errors),
        Client(seen.port) as client,
    ):
        for status in (200, 502):
            client.post(b"{}")
            assert (await client.response()).status == status
    (error,) = errors
    assert isinstance(error, BrokenOff)
    assert (error.heard, error.reused) == (False, True)


async def _wait_for_end(reader: asyncio.StreamReader) -> None:
    assert await reader.read() == b""
    raise asyncio.IncompleteReadError(b"", 1)


async def _no_head(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await _wait_for_end(reader)


async def _no_event(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE)
    await _wait_for_end(reader)


async def _one_event(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE + b"3\r\nabc\r\n")
    await _wait_for_end(reader)


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize(
    "act", [_no_head, _no_event, _one_event], ids=["before the head", "before an event", "behind one"]
)
async def test_the_server_is_left_when_the_client_leaves(tmp_path: Path, act: object, how: str) -> None:
    assert callable(act)
    async with scripted(tmp_path, act) as upstream, proxying(upstream) as (seen, pool, errors):
        async with Client(seen.port) as client:
            client.post(b"{}")
            await until(lambda: upstream.requests)
            if act is not _no_head:
                await client.head()
            if act is _one_event:
                assert await anext(client.chunks()) == b"abc"
            began = time.perf_counter()
            if how == "closes":
                client.writer.close()
            else:
                client.reset()
            async with asyncio.timeout(20):
                await upstream.ended.wait()
            assert time.perf_counter() - began < 5  # thousandths, on a machine that has time
        await until(lambda: pool.connections == 0 and seen.server.connections == 0)
    assert (seen.cancelled, errors, seen.failures) == (1, [], [])


async def test_a_client_that_leaves_while_its_body_is_held_up_is_noticed(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await ended.wait()
        writer.close()

    ended = asyncio.Event()
    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"), limit=1024)
    upstream = Served(Origin(path=str(tmp_path / "s")))
    async with proxying(upstream, streamed=True) as (seen, pool, _), Client(seen.port) as client:
        client.post(b"x" * (16 << 20))
        await until(lambda: any(one._paused for one in seen.server._connections))
        client.reset()
        await until(lambda: pool.connections == 0 and seen.server.connections == 0)
    ended.set()
    server.close()
    assert seen.cancelled == 1


async def test_a_client_that_reads_slowly_stops_the_server_and_fills_no_memory(tmp_path: Path) -> None:
    sent = 0

    async def pour_out(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(SSE)
        while sent < 64 << 20:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000
        writer.write(b"0\r\n\r\n")

    async with scripted(tmp_path, pour_out) as upstream, proxying(upstream) as (seen, _, errors):
        reader, writer = await asyncio.open_connection("127.0.0.1", seen.port, limit=1 << 16)
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 24 << 20  # what the buffers of the systems hold
        (connection,) = seen.server._connections
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() < 2 * HIGH_WATER
        total = 0
        while total < 64 << 20:
            total += len(await reader.read(1 << 20))
        writer.transport.abort()
    assert errors == []


async def test_a_body_goes_up_as_it_comes_and_no_faster_than_the_server_takes_it(tmp_path: Path) -> None:
    gate, taken = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        await gate.wait()
        if b"Transfer-Encoding: chunked" in head:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                taken += len((await reader.readexactly(size + 2))[:-2])
            await reader.readexactly(2)
        else:
            taken = len(await reader.readexactly(32 << 20))
        writer.write(ok(b"thanks"))
        await reader.read()
        writer.close()

    heads: list[bytes] = []
    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"), limit=1 << 16)
    upstream = Served(Origin(path=str(tmp_path / "s")))
    async with proxying(upstream, streamed=True) as (seen, _, errors), Client(seen.port) as client:
        client.post(b"x" * (32 << 20))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.writer.drain()
        gate.set()
        assert (await client.response()).body == b"thanks"
        assert taken == 32 << 20
    async with proxying(upstream, streamed=True) as (seen, _, errors), Client(seen.port) as client:
        taken = 0
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            client.send(b"3\r\nabc\r\n")
            await asyncio.sleep(0)
        client.send(b"0\r\n\r\n")
        assert (await client.response()).body == b"thanks"
        assert taken == 30
    server.close()
    assert errors == []
    assert [b"Content-Length: 33554432" in head for head in heads] == [True, False]


async def test_an_answer_before_the_end_of_the_body_goes_through(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        closed.set()

    closed = asyncio.Event()
    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"), limit=1 << 16)
    async with (
        proxying(Served(Origin(path=str(tmp_path / "s"))), streamed=True) as (seen, pool, _),
        Client(seen.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
        found = await client.response()
        assert (found.status, found.body) == (413, b"no")
        await until(lambda: pool.connections == 0)
        await closed.wait()
    server.close()


@pytest.mark.parametrize(
    ("act", "patience", "phase"),
    [
        (_no_head, Patience(head=0.05), "head"),
        (_no_head, Patience(total=0.05), "total"),
        (_no_event, Patience(silence=0.05), "silence"),
        (_one_event, Patience(silence=0.05), "silence"),
        (_one_event, Patience(total=0.1), "total"),
    ],
)
async def test_a_server_is_waited_for_so_long(tmp_path: Path, act: object, patience: Patience, phase: str) -> None:
    assert callable(act)
    async with (
        scripted(tmp_path, act) as upstream,
        proxying(upstream, patience=patience) as (seen, pool, errors),
        Client(seen.port) as client,
    ):
        client.post(b"{}")
        try:
            assert (await client.response()).status == 502
        except (ConnectionError, asyncio.IncompleteReadError):
            assert act is not _no_head
        async with asyncio.timeout(20):
            await upstream.ended.wait()
        assert pool.connections == 0
    (error,) = errors
    assert isinstance(error, TimedOut)
    assert error.phase == phase


async def test_patience_can_change_behind_the_first_event(tmp_path: Path) -> None:
    pool_errors = []

    async def handle(request: Request, reply: Reply) -> None:
        try:
            async with pool.exchange(b"GET", b"/", (), patience=Patience(silence=30)) as answer:
                reply.start(answer.status)
                await reply.write(await answer.read())
                answer.silent_for(0.05)
                await pour(answer, reply)
        except TimedOut as error:
            pool_errors.append(error)
            reply.push(b"gave up")
            reply.end()

    async with scripted(tmp_path, _one_event) as upstream, serving(handle) as seen, Client(seen.port) as client:
        pool = Pool(upstream.origin)
        client.get()
        assert (await client.response()).body == b"abcgave up"
        await pool.close()
    assert pool_errors[0].seconds == 0.05


async def test_a_paused_stream_is_not_taken_for_a_silent_one(tmp_path: Path) -> None:
    """The client does not read for longer than the server may be silent."""

    async def pour_out(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        for _ in range(400):
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with (
        scripted(tmp_path, pour_out) as upstream,
        proxying(upstream, patience=Patience(silence=0.2)) as (seen, _, errors),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", seen.port, limit=1 << 16)
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: any(not one.writable for one in seen.server._connections))
        await asyncio.sleep(0.5)
        total = 0
        while total < 400 << 16:
            total += len(await reader.read(1 << 20))
        writer.transport.abort()
    assert errors == []


async def test_many_streams_at_once_come_whole(tmp_path: Path) -> None:
    """512 streams of 64 events, each event on its own."""

    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        for number in range(64):
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(0.001)
        writer.write(b"0\r\n\r\n")

    whole = b"".join(b"data: %d\n\n" % number for number in range(64))
    async with scripted(tmp_path, act) as upstream, proxying(upstream) as (seen, pool, errors):

        async def one() -> bytes:
            async with Client(seen.port, patience=200) as client:
                client.post(b"{}")
                return (await client.response()).body

        async with asyncio.timeout(200):
            assert await asyncio.gather(*(one() for _ in range(512))) == [whole] * 512
        assert pool.connections <= 512
    assert errors == []


async def test_nothing_is_left_of_clients_that_come_and_go(tmp_path: Path) -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + b"3\r\nabc\r\n")
        await asyncio.sleep(0)
        if len(upstream.requests) % 3 == 0:
            writer.write(b"0\r\n\r\n")
        elif len(upstream.requests) % 3 == 1:
            raise ConnectionError
        else:
            await _wait_for_end(reader)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with scripted(tmp_path, act) as upstream, proxying(upstream) as (seen, pool, _):

        async def one(number: int) -> None:
            async with Client(seen.port) as client:
                client.post(b"{}")
                if number % 2:
                    await client.head()
                if number % 4 == 3:
                    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                        async with asyncio.timeout(0.02):
                            assert [chunk async for chunk in client.chunks()] == [b"abc"]

        async def round_of(count: int) -> tuple[int, int]:
            for start in range(0, count, 20):
                await asyncio.gather(*(one(number) for number in range(start, start + 20)))
            await until(lambda: seen.server.connections == 0 and not seen.server._leaving)
            await until(lambda: not pool._used)
            for connection in list(pool._idle):
                connection.abort()
            pool._idle.clear()
            await asyncio.sleep(0.05)
            return left()

        def left() -> tuple[int, int]:
            gc.collect()
            return descriptors(), len(asyncio.all_tasks())

        first = await round_of(100)
        await round_of(400)
        await until(lambda: left() <= first)  # the transports let go of their sockets in the loop's next turns
