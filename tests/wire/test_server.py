"""What a server makes of good requests: framing of answers, order, connections that are kept, and their ends."""

import asyncio
import ssl
from pathlib import Path
from typing import NoReturn

import pytest
from raw import HOST, Client, serving, until

from tensorfusion.testing.certificates import Authority
from tensorfusion.wire import server_connection
from tensorfusion.wire.errors import Refused
from tensorfusion.wire.limits import Limits
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server


async def test_requests_of_a_kept_connection_are_answered_one_after_another() -> None:
    async with serving() as seen, Client(seen.port) as client:
        for number in range(3):
            client.post(b"body", target=b"/%d?x=%%20" % number, fields=b"X-A: b\r\n")
            found = await client.response()
            assert (found.status, found.body) == (200, b"/%d?x=%%20 body" % number)
            assert found.fields["x-method"] == "POST"
            assert found.fields["date"].endswith(" GMT")
            assert "connection" not in found.fields


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with serving() as seen, Client(seen.port) as client:
        for number in range(50):
            client.post(b"x" * number, target=b"/%d" % number)
        for number in range(50):
            assert (await client.response()).body == b"/%d %b" % (number, b"x" * number)


async def test_a_pipelined_request_waits_for_the_one_before() -> None:
    under_way, gate, most = 0, asyncio.Event(), 0

    async def handle(request: Request, reply: Reply) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        reply.send(200, body=request.target)

    async with serving(handle) as seen, Client(seen.port) as client:
        client.get(b"/1")
        client.get(b"/2")
        await until(lambda: under_way)
        client.get(b"/3")
        gate.set()
        assert [(await client.response()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]
    assert most == 1


async def test_who_sends_more_and_more_requests_without_reading_is_stopped() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        await asyncio.Event().wait()

    async with serving(handle) as seen, Client(seen.port) as client:
        request = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
        sent = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    client.send(request * 1000)
                    await client.writer.drain()
                    sent += 1000
        (connection,) = seen.server._connections
        assert len(connection._ahead) + sum(len(one.target) for one in connection._parser.requests) < 1 << 20
        assert len(connection._parser.requests) < 20_000


async def test_chunked_bodies_come_whole_and_as_they_come() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/whole":
            reply.send(200, body=await request.whole(100))
        else:
            reply.start(200)
            async for piece in request.pieces():
                await reply.write(piece.upper())
            reply.end()

    head = b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(b"POST /whole" + head + b"3;ext=1\r\nabc\r\n1\r\nd\r\n0\r\nX-Trailer: y\r\n\r\n")
        assert (await client.response()).body == b"abcd"
        client.send(b"POST /" + head + b"3\r\nabc\r\n")
        found = await client.head()
        assert found.fields["transfer-encoding"] == "chunked"
        chunks = client.chunks()
        assert await anext(chunks) == b"ABC"
        client.send(b"2\r\nde\r\n0\r\n\r\n")
        assert [chunk async for chunk in chunks] == [b"DE"]


async def test_the_answer_to_head_is_its_head() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/begun":
            reply.start(200, length=7)
            await reply.write(b"present")
            reply.end()
        else:
            reply.send(200, body=b"present")

    async with serving(handle) as seen, Client(seen.port) as client:
        for target in (b"/", b"/begun"):
            client.send(b"HEAD %b HTTP/1.1\r\n%b\r\n" % (target, HOST))
            assert (await client.response(bodyless=True)).fields["content-length"] == "7"
        client.get()
        assert (await client.response()).body == b"present"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_is_not_framed(status: int) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.send(status, body=b"dropped")

    async with serving(handle) as seen, Client(seen.port) as client:
        for _ in range(2):
            client.get()
            found = await client.response()
            assert found.status == status
            assert not {"content-length", "transfer-encoding"} & found.fields.keys()


async def test_an_old_client_gets_a_body_that_ends_with_the_connection() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.start(200)
        await reply.write(b"ab")
        await reply.write(b"c")
        reply.end()

    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        found = await client.response()
        assert (found.body, found.fields["connection"]) == (b"abc", "close")
        assert "transfer-encoding" not in found.fields


async def test_an_old_client_may_keep_its_connection() -> None:
    async with serving() as seen, Client(seen.port) as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            found = await client.response()
            assert (found.body, found.fields["connection"]) == (b"/ ", "keep-alive")
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.response()).fields["connection"] == "close"
        assert await client.rest() == b""


async def test_the_client_that_wants_it_closed_gets_it_closed() -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.get(fields=b"Connection: close\r\n")
        client.get(b"/never")
        assert (await client.response()).fields["connection"] == "close"
        assert await client.rest() == b""
    assert len(seen.requests) == 1


async def test_a_connection_serves_so_many_requests_and_says_which_is_the_last() -> None:
    async with serving(limits=Limits(most_requests=2)) as seen, Client(seen.port) as client:
        for expected in (None, "close"):
            client.get()
            assert (await client.response()).fields.get("connection") == expected
        assert await client.rest() == b""


async def test_a_client_that_asks_first_is_told_to_send_its_body() -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.response()).status == 100
        client.send(b"ab")
        assert (await client.response()).body == b"/ ab"


async def test_a_client_that_asks_first_is_spared_a_body_that_nobody_wants() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.send(401)

    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        found = await client.response()
        assert (found.status, found.fields["connection"]) == (401, "close")
        assert await client.rest() == b""


async def test_an_answer_before_the_end_of_a_large_body_reaches_its_client() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        raise Refused(403, "not yours")

    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4000000\r\n\r\n")
        for _ in range(40):
            client.send(b"x" * 100_000)
        found = await client.response()
        assert (found.status, found.body, found.fields["connection"]) == (403, b"not yours\n", "close")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_bound_is_refused(chunked: bool) -> None:
    async with serving() as seen, Client(seen.port) as client:
        if chunked:
            client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            client.send(b"100001\r\n" + b"x" * 0x100001 + b"\r\n0\r\n\r\n")
        else:
            client.post(b"x" * 0x100001)
        assert (await client.response()).status == 413


async def test_a_wish_for_another_protocol_is_passed_over() -> None:
    """As the HTTP client of Java sends it with every first request."""
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    async with serving() as seen, Client(seen.port) as client:
        client.get(b"/1", fields=fields)
        client.post(b"ab", target=b"/2", fields=fields)
        client.post(b"c", target=b"/3", fields=b"Connection: upgrade, close\r\nUpgrade: h2c\r\n")
        assert [(await client.response()).body for _ in range(3)] == [b"/1 ", b"/2 ab", b"/3 c"]
        assert await client.rest() == b""


async def test_the_handler_sees_the_head_as_it_came() -> None:
    found = []

    async def handle(request: Request, reply: Reply) -> None:
        found.append((request.method, request.target, request.fields, request.peer, request.field(b"x-a")))
        reply.send(200)

    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(b"PATCH /a%2Fb?c=d%0A HTTP/1.1\r\nhOST: a\r\nX-A: 1\r\nx-a: 2  \r\nX-E:\r\n\r\n")
        await client.response()
    fields = [(b"hOST", b"a"), (b"X-A", b"1"), (b"x-a", b"2"), (b"X-E", b"")]
    assert found == [(b"PATCH", b"/a%2Fb?c=d%0A", fields, "127.0.0.1", b"1")]


@pytest.mark.parametrize(
    "field",
    [
        (b"X-A", b"b\r\nX-C: d"),
        (b"X-A", b"b\n"),
        (b"X-A", b"b\r"),
        (b"X-A", b"\0"),
        (b"X A", b"b"),
        (b"X-A:", b"b"),
        (b"X\r\nY", b"b"),
        (b"", b"b"),
        (b"Content-length", b"3"),
        (b"transfer-encoding", b"chunked"),
        (b"Connection", b"close"),
    ],
)
async def test_nothing_can_be_slipped_into_an_answer(field: tuple[bytes, bytes]) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        with pytest.raises(ValueError, match="cannot be sent"):
            reply.send(200, [(b"X-Good", b"1"), field])
        reply.send(201)

    async with serving(handle) as seen, Client(seen.port) as client:
        client.get()
        found = await client.response()
        assert (found.status, found.fields.keys()) == (201, {"date", "content-length"})


async def test_a_handler_that_fails_is_an_error_without_words_and_its_connection_goes_on() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/bad":
            raise RuntimeError("secret")
        if request.target == b"/silent":
            return
        reply.send(200)

    async with serving(handle) as seen, Client(seen.port) as client:
        for target, status in ((b"/bad", 500), (b"/silent", 500), (b"/", 200)):
            client.get(target)
            found = await client.response()
            assert found.status == status
            assert b"secret" not in found.body
    assert [str(error) for error in seen.failures] == ["secret", "the handler returned without an answer"]


@pytest.mark.parametrize("framing", ["chunked", "length", "old"])
@pytest.mark.parametrize("how", ["fails", "returns", "cuts"])
async def test_an_answer_that_is_not_ended_never_looks_whole(framing: str, how: str) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.start(200, length=10 if framing == "length" else None)
        await reply.write(b"abc")
        await asyncio.sleep(0)
        if how == "fails":
            raise RuntimeError("in the middle")
        if how == "cuts":
            reply.cut()

    async with serving(handle) as seen, Client(seen.port) as client:
        if framing == "old":
            client.send(b"GET / HTTP/1.0\r\n\r\n")
        else:
            client.get()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.response()
    assert len(seen.failures) == {"fails": 2, "returns": 1, "cuts": 0}[how]


async def test_an_answer_is_as_long_as_it_says() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.start(200, length=2)
        with pytest.raises(ValueError, match="3 bytes for an answer that has 2 left"):
            reply.push(b"abc")
        if request.target == b"/short":
            reply.push(b"a")
            with pytest.raises(ValueError, match="1 bytes short"):
                reply.end()
        else:
            reply.push(b"ab")
            reply.end()

    async with serving(handle) as seen, Client(seen.port) as client:
        client.get()
        assert (await client.response()).body == b"ab"
        client.get(b"/short")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.response()
    assert seen.failures == []


async def test_a_client_that_does_not_read_stops_the_writer_and_is_given_up() -> None:
    written, left = 0, asyncio.Event()

    async def handle(request: Request, reply: Reply) -> None:
        nonlocal written
        reply.start(200)
        try:
            while True:
                await reply.write(b"x" * 65536)
                written += 65536
        finally:
            left.set()

    async with serving(handle, limits=Limits(unread_seconds=0.1)) as seen, Client(seen.port) as client:
        client.get()
        async with asyncio.timeout(20):
            await left.wait()
        assert written < 64 << 20
        await until(lambda: seen.server.connections == 0)
    assert seen.failures == []


@pytest.mark.parametrize("how", ["closes", "half-closes"])
async def test_a_last_answer_reaches_a_client_that_is_slow_to_read_it(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(server_connection, "_FAREWELL_SECONDS", 0.1)

    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200, body=b"x" * (16 << 20))

    async with serving(handle) as seen:
        reader, writer = await asyncio.open_connection("127.0.0.1", seen.port, limit=1 << 16)
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + (b"Connection: close\r\n" if how == "closes" else b"") + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        if how == "half-closes":
            writer.write_eof()
        await asyncio.sleep(1.5)
        total = 0
        while piece := await reader.read(1 << 20):
            total += len(piece)
        assert total == 16 << 20
        writer.close()


async def test_a_client_that_closes_its_half_and_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_connection, "_FAREWELL_SECONDS", 0.05)

    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200, body=b"x" * (16 << 20))

    limits = Limits(high_water=64 << 20, unread_seconds=0.2)
    async with serving(handle, limits=limits) as seen:
        reader, writer = await asyncio.open_connection("127.0.0.1", seen.port, limit=1 << 10)
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        await until(lambda: seen.server.connections == 0)
        writer.transport.abort()


async def test_a_fault_in_the_spelling_of_errors_ends_the_connection() -> None:
    def spell(status: int, why: str) -> NoReturn:
        raise RuntimeError("misspelt")

    async with serving() as seen:
        seen.server.spell = spell
        for request in (b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9999999\r\n\r\n"):
            async with Client(seen.port) as client:
                client.send(request)
                assert await client.rest() == b""
    assert [str(error) for error in seen.failures] == ["misspelt", "misspelt"]


async def test_a_body_that_the_handler_does_not_take_stops_the_client() -> None:
    go_on = asyncio.Event()
    most = 0

    async def handle(request: Request, reply: Reply) -> None:
        nonlocal most
        await go_on.wait()
        most = request.waiting
        total = 0
        async for piece in request.pieces():
            total += len(piece)
        reply.send(200, body=b"%d" % total)

    async with serving(handle) as seen, Client(seen.port) as client:
        client.post(b"x" * (32 << 20))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.writer.drain()
        go_on.set()
        assert (await client.response()).body == b"%d" % (32 << 20)
    assert most < 1 << 20


async def test_more_connections_than_allowed_are_told_so() -> None:
    async with serving(limits=Limits(most_connections=1)) as seen, Client(seen.port) as first:
        first.get()
        await first.response()
        async with Client(seen.port) as second:
            found = await second.response()
            assert (found.status, found.fields["connection"]) == (503, "close")
        await until(lambda: seen.server.connections == 1)
        first.get()
        assert (await first.response()).status == 200


async def test_tls_is_spoken(tmp_path: Path) -> None:
    authority = Authority("wire")
    certificate, key = authority.issue(name="server", hosts=("127.0.0.1",))
    (tmp_path / "pair.pem").write_bytes(certificate + b"\n" + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pair.pem")

    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200, body=await request.whole(100))

    server = Server(handle)
    port = await server.listen(tls=context)
    trust = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
    for fields, body in ((b"", b"first"), (b"Connection: close\r\n", b"second")):
        writer.write(b"POST / HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (HOST, fields, len(body), body))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(body)) == body
    assert await reader.read() == b""
    writer.close()
    await server.drain(1)
    assert server.connections == 0


@pytest.mark.parametrize("size", [5, 20_000])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_the_first_piece_goes_with_the_head_and_the_last_one_with_the_end(version: bytes, size: int) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.start(200, first=b"a" * size)
        reply.push(b"b")
        reply.end(b"c" * size)
        reply.end(b"of no answer any more")

    async with serving(handle) as seen, Client(seen.port) as client:
        client.send(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        assert (await client.response()).body == b"a" * size + b"b" + b"c" * size


@pytest.mark.parametrize("size", [0, 5, 20_000])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_first_piece_that_is_the_whole_answer_ends_it(version: bytes, size: int) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.start(200, first=b"a" * size, whole=True)
        assert reply.ended

    async with serving(handle) as seen, Client(seen.port) as client:
        for _ in range(2 if version == b"1.1" else 1):
            client.send(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
            assert (await client.response()).body == b"a" * size


async def test_pieces_that_are_sent_together_are_framed_as_those_that_come_one_by_one() -> None:
    pieces = (b"a" * 20, b"", b"b" * 20_000, b"c")

    async def handle(request: Request, reply: Reply) -> None:
        fields = ((b"Date", b"today"),)
        if request.target == b"/together":
            reply.send_pieces(200, fields, pieces)
        else:
            reply.start(200, fields)
            for piece in pieces:
                reply.push(piece)
            reply.end()
        with pytest.raises(RuntimeError, match="has ended"):
            reply.push(b"d")

    async def told(start: bytes) -> bytes:
        async with serving(handle) as seen, Client(seen.port) as client:
            client.send(start + b"\r\nHost: a\r\n\r\n" + b"GET / HTTP/1.0\r\n\r\n")
            found = await client.rest()
        assert seen.failures == []
        return found

    for start in (b"GET /%b HTTP/1.1", b"GET /%b HTTP/1.0\r\nConnection: close", b"HEAD /%b HTTP/1.1"):
        together, one_by_one = await told(start % b"together"), await told(start % b"one")
        assert together == one_by_one
        assert (b"\r\nbbb" in together) == (start == b"GET /%b HTTP/1.1")
