"""Clients that hold on to what they were given, callbacks that fail, and what many connections cost."""

import asyncio
import contextlib
import gc
import weakref

import pytest
from raw import HOST, Client, serving, until

from tensorfusion.wire.fields import KIND_OF
from tensorfusion.wire.limits import Limits
from tensorfusion.wire.presence import pause_before_look
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server
from tensorfusion.wire.server_connection import ServerConnection

GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"


async def test_half_a_head_behind_a_long_request_is_given_up_too() -> None:
    """Its time is up while the request before it runs, when nobody looks."""

    async def handle(request: Request, reply: Reply) -> None:
        (connection,) = seen.server._connections
        await until(lambda: connection._alarm._handle is None)
        reply.send(200)

    limits = Limits(head_seconds=0.05, idle_seconds=3600)
    async with serving(handle, limits=limits) as seen, Client(seen.port) as client:
        client.send(GET + b"GET /half HTT")
        assert (await client.response()).status == 200
        assert (await client.response()).status == 408
        assert await client.rest() == b""


@pytest.mark.parametrize("head", [GET, b"\r\n" * 40], ids=["a head", "empty lines"])
async def test_a_head_that_trickles_is_given_up(head: bytes) -> None:
    async with serving(limits=Limits(head_seconds=0.1, idle_seconds=3600)) as seen, Client(seen.port) as client:
        client.get()
        await client.response()
        for number in range(len(head) - 4):
            client.send(head[number : number + 1])
            await asyncio.sleep(0.01)
        assert (await client.response()).status == 408


async def test_any_number_of_wishes_for_another_protocol_is_passed_over() -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.send(UPGRADE * 2000)
        for _ in range(2000):
            assert (await client.response()).status == 200
    assert seen.failures == []


async def test_a_wish_for_another_protocol_makes_an_old_request_no_newer() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        assert request.old
        reply.start(200)
        reply.push(b"a")
        reply.end()

    wish = b"Connection: upgrade\r\nUpgrade: x\r\n"
    async with serving(handle) as seen:
        async with Client(seen.port) as client:
            client.send(b"POST / HTTP/1.0\r\n" + wish + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            assert (await client.response()).status == 400
        async with Client(seen.port) as client:
            client.send(b"GET / HTTP/2.0\r\n" + HOST + wish + b"\r\n")
            assert (await client.response()).status == 505
        async with Client(seen.port) as client:
            client.send(b"GET / HTTP/1.0\r\n" + wish + b"\r\n")
            found = await client.response()
            assert (found.body, found.fields.get("transfer-encoding")) == (b"a", None)
    assert seen.failures == []


async def test_small_chunks_take_no_more_memory_than_their_bytes() -> None:
    gate, found = asyncio.Event(), []

    async def handle(request: Request, reply: Reply) -> None:
        found.append(request)
        reply.send(200, body=b"%d" % len(await request.whole(1 << 20)))

    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(CHUNKED + b"2\r\nab\r\n" * 10_000)
        await until(lambda: found and found[0].received == 20_000)
        assert len(found[0]._pieces) < 100
        client.send(b"0\r\n\r\n")
        assert (await client.response()).body == b"20000"
    gate.set()


async def test_requests_that_wait_for_their_turn_wait_as_bytes() -> None:
    """A request of 26 bytes is half a thousand when it is parsed."""

    async def handle(request: Request, reply: Reply) -> None:
        await gate.wait()
        reply.send(200)

    gate = asyncio.Event()
    small = b"GET / HTTP/1.1\r\nHost:\r\n\r\n"
    async with serving(handle) as seen, Client(seen.port) as client:
        for first in (small, POST + b"Content-Length: 9000\r\n\r\n" + b"x" * 9000, CHUNKED + b"1\r\na\r\n0\r\n\r\n"):
            gate.clear()
            client.send(first + small * 2000)
            await until(lambda: any(one._task for one in seen.server._connections))
            (connection,) = seen.server._connections
            await until(lambda c=connection: len(c._ahead) > 1000)  # type: ignore[misc]
            assert len(connection._parser.requests) < 1000
            gate.set()
            for _ in range(2001):
                assert (await client.response()).status == 200


async def test_what_comes_while_an_answer_is_not_read_stays_behind_what_came_before() -> None:
    """Whose body it is would otherwise be a request of its own."""

    async def handle(request: Request, reply: Reply) -> None:
        handled.append((request.target, await request.whole(1000)))
        if request.target == b"/long":
            await until(lambda: reply.connection._ahead)
            reply.send(200, body=b"x" * (16 << 20))
        else:
            reply.send(200)

    handled: list[tuple[bytes, bytes]] = []
    hidden = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"
    async with serving(handle) as seen, Client(seen.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.get(b"/long")
        await until(lambda: handled)
        client.send(POST + b"Content-Length: %d\r\n\r\n" % len(hidden))
        (connection,) = seen.server._connections
        await until(lambda: connection._task is None and not connection.writable)
        client.send(hidden)
        await until(lambda: hidden in connection._ahead or connection._parser.requests)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(2):
            assert (await client.response()).status == 200
    assert handled == [(b"/long", b""), (b"/", hidden)]


async def test_requests_wait_as_bytes_while_an_answer_is_not_read() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200, body=b"x" * (16 << 20) if request.target == b"/long" else request.target)

    async with serving(handle) as seen, Client(seen.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.get(b"/long")
        await until(lambda: any(not one.writable and one._task is None for one in seen.server._connections))
        (connection,) = seen.server._connections
        for number in range(20):
            client.get(b"/%d" % number)
            await until(lambda n=number: connection._ahead.count(b"GET") + len(connection._parser.requests) > n)  # type: ignore[misc]
        assert len(connection._parser.requests) == 1
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await client.response()
        assert [(await client.response()).body for _ in range(20)] == [b"/%d" % number for number in range(20)]


@pytest.mark.parametrize(
    ("behind", "rest", "statuses"),
    [(GET[:9], GET[9:], [200, 200]), (GET + GET[:9], b"", [200, 200, 408])],
    ids=["it came in time", "another is in front of it"],
)
async def test_half_a_head_is_not_given_up_in_place_of_what_waits_while_an_answer_is_not_read(
    behind: bytes, rest: bytes, statuses: list[int]
) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/long":
            client.send(rest)
            await until(lambda: bytes(reply.connection._ahead) == rest)
        reply.send(200, body=b"x" * (16 << 20) if request.target == b"/long" else b"")

    async with serving(handle, limits=Limits(head_seconds=0.05)) as seen, Client(seen.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET.replace(b"/", b"/long", 1) + behind)
        await until(lambda: any(not one.writable and one._task is None for one in seen.server._connections))
        (connection,) = seen.server._connections
        await until(lambda: connection._alarm._handle is None or connection._deaf)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert [(await client.response()).status for _ in statuses] == statuses


async def test_the_time_of_a_head_is_its_own_though_the_one_before_came_in_pieces_too() -> None:
    begun: list[float] = []
    rung: list[float] = []

    async def handle(request: Request, reply: Reply) -> None:
        connection = reply.connection
        begun.append(connection._since)
        if len(begun) == 1:
            client.send(GET[9:] + b"GET /half HTT")
            await until(lambda: connection._alarm._handle is None and connection._ahead)
            rung.append(asyncio.get_running_loop().time())
        else:
            assert connection._parser.begun
        reply.send(200)

    async with serving(handle, limits=Limits(head_seconds=0.05)) as seen, Client(seen.port) as client:
        client.send(GET + GET[:9])
        assert [(await client.response()).status for _ in range(3)] == [200, 200, 408]
    assert begun[1] >= rung[0] > begun[0]
    assert seen.failures == []


async def test_the_time_of_a_head_behind_a_slow_body_is_its_own() -> None:
    begun = []

    async def handle(request: Request, reply: Reply) -> None:
        connection = reply.connection
        begun.append(connection._since)
        await until(lambda: connection._loop.time() >= begun[0] + 0.05)
        client.send(b"cde" + GET[:9])
        assert await request.whole(5) == b"abcde"
        assert connection._parser.begun
        begun.append(connection._since)
        reply.send(200)

    async with serving(handle, limits=Limits(head_seconds=0.05)) as seen, Client(seen.port) as client:
        client.send(POST + b"Content-Length: 5\r\n\r\nab")
        assert [(await client.response()).status for _ in range(2)] == [200, 408]
    assert begun[1] >= begun[0] + 0.05
    assert seen.failures == []


async def test_a_request_behind_a_large_one_is_measured_by_itself() -> None:
    async with serving() as seen, Client(seen.port) as client:
        for _ in range(2):
            client.send(POST + b"Content-Length: 400000\r\n\r\n" + b"x" * 399_000)
            await until(lambda: any(one._task for one in seen.server._connections))
            await until(lambda: next(iter(seen.server._connections))._parser.receiving.received == 399_000)
            client.send(b"x" * 1000 + CHUNKED + b"3\r\nabc\r\n")
            assert len((await client.response()).body) == 400_002
            client.send(b"0\r\n\r\n")
            assert (await client.response()).body == b"/ abc"


async def test_a_fault_in_the_telling_of_faults_ends_no_connection() -> None:
    def failed(request: Request, error: Exception) -> None:
        raise RuntimeError("not even that")

    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/bad":
            raise ValueError
        if request.target != b"/silent":
            reply.send(200)

    async with serving(handle) as seen, Client(seen.port) as client:
        seen.server.failed = failed
        for target, status in ((b"/bad", 500), (b"/silent", 500), (b"/", 200)):
            client.get(target)
            assert (await client.response()).status == status


async def test_a_large_answer_may_take_longer_than_a_client_may_stand_still() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200, body=b"x" * (24 << 20))

    async with serving(handle, limits=Limits(unread_seconds=0.3)) as seen:
        reader, writer = await asyncio.open_connection("127.0.0.1", seen.port, limit=1 << 16)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        began, total = asyncio.get_running_loop().time(), 0
        while total < 24 << 20:
            piece = await reader.read(1 << 18)
            assert piece
            total += len(piece)
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began > 0.6
        writer.transport.abort()


async def test_a_client_that_reads_next_to_nothing_is_given_up() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200, body=b"x" * (24 << 20))

    limits = Limits(unread_seconds=0.2, unread_rate=100 << 20)
    async with serving(handle, limits=limits) as seen:
        reader, writer = await asyncio.open_connection("127.0.0.1", seen.port, limit=1 << 10)
        writer.write(GET)
        while seen.server.connections:
            with contextlib.suppress(ConnectionError):
                if not await reader.read(1000):
                    break
            await asyncio.sleep(0.01)
        await until(lambda: seen.server.connections == 0)
        writer.transport.abort()


async def test_a_client_that_asks_first_is_not_late_before_it_is_told() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.2)
        reply.send(200, body=await request.whole(10))

    async with serving(handle, limits=Limits(body_seconds=0.05)) as seen, Client(seen.port) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.response()).status == 100
        client.send(b"ab")
        assert (await client.response()).body == b"ab"


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"GET http://a/x?y HTTP/1.1", b"/x?y"),
        (b"GET HTTP://A HTTP/1.1", b"/"),
        (b"GET http://a?y HTTP/1.1", b"/?y"),
        (b"OPTIONS * HTTP/1.1", b"*"),
        (b"GET http://b/x HTTP/1.1", None),
        (b"GET http://a@b/x HTTP/1.1", None),
        (b"GET http://u@a/x HTTP/1.1", None),
        (b"GET ftp://a/x HTTP/1.1", None),
        (b"GET * HTTP/1.1", None),
        (b"GET /x#y HTTP/1.1", None),
    ],
)
async def test_a_target_says_where_on_this_server(line: bytes, target: bytes | None) -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.send(line + b"\r\n" + HOST + b"\r\n")
        assert (await client.response()).status == (400 if target is None else 200)
    assert [found for _, found, _ in seen.requests] == ([] if target is None else [target])


async def test_an_interim_status_is_no_answer() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        for status in (100, 103, 199):
            with pytest.raises(ValueError, match="final"):
                reply.send(status)
        reply.send(200)

    async with serving(handle) as seen, Client(seen.port) as client:
        client.get()
        assert (await client.response()).status == 200
    assert seen.failures == []


async def test_all_who_wait_for_room_go_on() -> None:
    """A writer of events and one of heartbeats beside it."""
    waiting = 0

    async def write(reply: Reply) -> None:
        nonlocal waiting
        waiting += 1
        await reply.write(b"x" * (8 << 20))

    async def handle(request: Request, reply: Reply) -> None:
        reply.start(200)
        await asyncio.gather(write(reply), write(reply), write(reply))
        reply.end()

    async with serving(handle) as seen, Client(seen.port) as client:
        client.get()
        await until(lambda: waiting == 3)
        assert len((await client.response()).body) == 24 << 20


def test_a_client_whose_body_waits_is_looked_for_less_and_less_often() -> None:
    assert pause_before_look(0) == 0.05
    assert pause_before_look(1) == 0.25
    assert pause_before_look(100) == 1.0


async def test_who_has_been_idle_for_long_makes_room_for_who_comes() -> None:
    async with serving(limits=Limits(most_connections=20)) as seen, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(seen.port)) for _ in range(20)]
        for client in clients:
            client.get()
            await client.response()
        for connection in seen.server._connections:
            connection._since -= 5
        async with Client(seen.port) as late:
            late.get()
            assert (await late.response()).status == 200
        assert seen.server.connections >= 15


async def test_a_connection_that_ended_needs_no_collector() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/wait":
            await asyncio.Event().wait()
        reply.send(200, body=await request.whole(100))

    async with serving(handle) as seen:
        found: list[weakref.ref[object]] = []
        gc.collect()
        gc.disable()
        try:
            for target in (b"/", b"/wait"):
                async with Client(seen.port) as client:
                    client.post(b"ab", target=target)
                    await until(lambda: seen.server._connections)
                    found += [weakref.ref(one) for one in seen.server._connections]
                    if target == b"/":
                        await client.response()
                    else:
                        await until(lambda: any(one._task for one in seen.server._connections))
                await until(lambda: not seen.server._connections and not seen.server._leaving)
            for _ in range(5):
                await asyncio.sleep(0)
            assert [ref() for ref in found] == [None, None]
        finally:
            gc.enable()


async def test_names_that_never_come_again_do_not_keep_others_out() -> None:
    for number in range(10_000):
        KIND_OF[b"x-%d" % number]
    KIND_OF[b"X-After"]
    assert b"X-After" in KIND_OF
    assert len(KIND_OF) < 5_000


class _Link(asyncio.Transport):
    """Knows whether it is read."""

    reading = True

    def write(self, data: object) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


async def test_who_sends_next_to_nothing_in_very_many_chunks_lets_others_have_their_turn() -> None:
    """An event loop reads on from one client as long as there is something, and a chunk of one byte costs what any does."""

    async def handle(request: Request, reply: Reply) -> None:
        await request.whole(1 << 20)

    connection, link = ServerConnection(Server(handle)), _Link()
    connection.connection_made(link)
    connection.data_received(CHUNKED)
    await asyncio.sleep(0)
    for piece, reading in ((b"1\r\na\r\n" * 40_000, False), (b"2000\r\n" + b"a" * 0x2000 + b"\r\n", True)):
        connection.data_received(piece)
        assert link.reading == reading
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert link.reading
    connection.connection_lost(None)
