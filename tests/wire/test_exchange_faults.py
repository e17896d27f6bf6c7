"""What one exchange does to the next, and servers that stall, talk ahead, or answer before they were asked everything."""

import asyncio
import contextlib
import gc
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from raw import until
from scripted import ok, read_request, serving

from tensorfusion.testing.certificates import Authority
from tensorfusion.wire.connection import HIGH_WATER, Connection
from tensorfusion.wire.errors import BrokenOff, Phase, TimedOut
from tensorfusion.wire.exchange import PATIENCE, Exchange, Patience
from tensorfusion.wire.fields import end_to_end
from tensorfusion.wire.messages import Answer, Origin, origin_of, request_head
from tensorfusion.wire.pool import Pool

PATIENT = 20
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(pool: Pool, *, patience: Patience = PATIENCE) -> Exchange:
    return pool.exchange(b"GET", b"/", (), patience=patience)


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer, and leave it at that."""
    writer.write(BEGUN + b"abc")
    await reader.read()
    raise asyncio.IncompleteReadError(b"", 1)


async def test_a_server_that_stalls_in_the_middle_of_a_whole_answer_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path, stall) as served, asyncio.timeout(PATIENT):
        pool = Pool(served.origin)
        with pytest.raises(TimedOut) as caught:
            async with get(pool, patience=Patience(silence=0.05)) as answer:
                await answer.whole(100)
        assert caught.value.phase == Phase.SILENCE
        await pool.close()


@pytest.mark.parametrize("how", ["whole", "pour", "read"])
async def test_an_answer_that_had_to_wait_for_its_reader_goes_on(tmp_path: Path, how: str) -> None:
    """What came before anybody took it has stopped the socket."""
    body = b"x" * (4 * HIGH_WATER)
    async with serving(tmp_path, ok(body)) as served, asyncio.timeout(PATIENT):
        pool = Pool(served.origin)
        async with get(pool) as answer:
            while not answer.connection._paused:
                await asyncio.sleep(0)
            found = bytearray()
            if how == "whole":
                found += (await answer.whole(len(body))).body
            elif how == "pour":
                assert await answer.pour(lambda data: bool(found.extend(data)) or True)
            else:
                while data := await answer.read():
                    found += data
        assert found == body
        await pool.close()


async def test_what_failed_on_the_way_of_one_answer_is_not_told_to_the_next(tmp_path: Path) -> None:
    def fail(data: bytes) -> bool:
        raise RuntimeError("mine")

    async with serving(tmp_path, ok(b"a")) as served:
        pool = Pool(served.origin)
        with pytest.raises(RuntimeError, match="mine"):
            async with get(pool) as answer:
                await answer.pour(fail)
        async with get(pool) as answer:
            assert await answer.pour(lambda _: True)
        await pool.close()
    assert served.connections == 1


async def test_who_stopped_pouring_gets_nothing_more(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + b"1\r\na\r\n")
        await go_on.wait()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")

    found: list[bytes] = []

    def sink(data: bytes) -> bool:
        found.append(data)
        return True

    async with serving(tmp_path, slowly) as served, asyncio.timeout(PATIENT):
        pool = Pool(served.origin)
        async with get(pool) as answer:
            pouring = asyncio.ensure_future(answer.pour(sink))
            await until(lambda: found)
            pouring.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pouring
            go_on.set()
            assert await answer.read() == b"b"
        assert found == [b"a"]
        await pool.close()


def heard_by(found: list[bytes], *, most: int = 100) -> Callable[[Exchange], None]:
    """For ``sent``: whoever keeps what it hears."""
    return lambda exchange: exchange.when_whole(most, lambda answer: found.append(answer.body))


async def test_a_whole_answer_is_heard_where_it_ends_and_once(tmp_path: Path) -> None:
    """Also in pieces, also where its end is the connection's, and not again with the next one on the connection."""

    async def in_drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in ok(b"drops"):
            writer.write(bytes((byte,)))
            await writer.drain()

    async def until_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nclosed")
        writer.close()

    found: list[bytes] = []
    async with serving(tmp_path, ok(b"one"), in_drops, ok(b"not heard"), ok(b""), until_close) as served:
        pool = Pool(served.origin)
        for listens in (True, True, False, True, True):
            sent = heard_by(found) if listens else None
            async with pool.exchange(b"GET", b"/", (), sent=sent) as answer:
                connection = answer.connection
                await answer.whole(100)
            assert not connection.usable or connection._answer is None  # an idle one keeps nothing
        await pool.close()
    assert found == [b"one", b"drops", b"", b"closed"]


async def test_an_answer_is_heard_before_whoever_waits_is_woken(tmp_path: Path) -> None:
    order: list[str] = []
    async with serving(tmp_path, ok(b"a")) as served:
        pool = Pool(served.origin)
        sent = lambda exchange: exchange.when_whole(9, lambda answer: order.append("heard"))  # noqa: E731
        async with pool.exchange(b"GET", b"/", (), sent=sent) as answer:
            order.append("woken")
            await answer.whole(9)
        await pool.close()
    assert order == ["heard", "woken"]


async def test_what_whoever_hears_an_answer_raises_is_told_to_who_waits_for_it(tmp_path: Path) -> None:
    def fail(answer: Answer) -> None:
        raise RuntimeError("mine")

    async with serving(tmp_path, ok(b"a")) as served:
        pool = Pool(served.origin)
        with pytest.raises(RuntimeError, match="mine"):
            async with pool.exchange(b"GET", b"/", (), sent=lambda one: one.when_whole(9, fail)) as answer:
                await answer.whole(9)
        async with get(pool) as answer:
            assert (await answer.whole(9)).body == b"a"
        await pool.close()
    assert served.connections == 1


async def test_an_answer_that_is_too_large_is_heard_by_nobody(tmp_path: Path) -> None:
    found: list[bytes] = []
    async with serving(tmp_path, ok(b"x" * 101)) as served:
        pool = Pool(served.origin)
        with pytest.raises(BrokenOff, match="more than 100 bytes"):
            async with pool.exchange(b"GET", b"/", (), sent=heard_by(found)) as answer:
                await answer.whole(100)
        await pool.close()
    assert found == []


async def test_who_left_hears_nothing_more(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(ok(b"late"))

    found: list[bytes] = []
    async with serving(tmp_path, late, ok(b"next")) as served:
        pool = Pool(served.origin)
        with pytest.raises(TimedOut):
            patience = Patience(head=0.01)
            async with pool.exchange(b"GET", b"/", (), sent=heard_by(found), patience=patience) as answer:
                await answer.whole(100)
        go_on.set()
        async with get(pool) as answer:
            assert (await answer.whole(9)).body == b"next"
        await pool.close()
    assert found == []


async def test_a_connection_whose_request_was_not_all_sent_is_not_used_again(tmp_path: Path) -> None:
    """The rest of the body would go before the next request, to a server that may never read it."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            if connections == 1:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
                await end.wait()
            else:
                await read_request(reader)
                writer.write(ok(b"next"))
        writer.close()

    end, connections = asyncio.Event(), 0
    server = await asyncio.start_unix_server(refuse, str(tmp_path / "s"), limit=1024)
    pool = Pool(Origin(path=str(tmp_path / "s")))
    async with pool.exchange(b"POST", b"/", (), b"x" * (8 << 20)) as answer:
        assert answer.status == 413
    async with get(pool, patience=Patience(head=2)) as answer:
        assert (await answer.whole(10)).body == b"next"
    end.set()
    await pool.close()
    server.close()


async def test_an_answer_that_ends_with_the_connection_ends_though_the_request_was_not_all_sent(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\n\r\nno")
        writer.write_eof()
        await end.wait()
        writer.close()

    end = asyncio.Event()
    server = await asyncio.start_unix_server(refuse, str(tmp_path / "s"), limit=1024)
    pool = Pool(Origin(path=str(tmp_path / "s")))
    async with pool.exchange(b"POST", b"/", (), b"x" * (8 << 20), patience=Patience(silence=2)) as answer:
        assert (await answer.whole(10)).body == b"no"
    assert pool.connections == 0
    end.set()
    server.close()


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_an_interim_answer_has_no_body(tmp_path: Path, field: bytes) -> None:
    """Otherwise it would become the beginning of the answer behind it."""
    interim = b"HTTP/1.1 104 Upload\r\n" + field + b"\r\n\r\n"
    body = b"hello" if b"Length" in field else b"5\r\nhello\r\n0\r\n\r\n"
    async with serving(tmp_path, interim + body + ok(b"mine")) as served:
        pool = Pool(served.origin)
        with pytest.raises(BrokenOff):
            async with get(pool) as answer:
                assert (await answer.whole(100)).body == b"mine"
        await pool.close()


async def test_many_small_pieces_of_an_answer_take_no_more_memory_than_its_bytes() -> None:
    connection = Connection(asyncio.get_running_loop())
    connection.connection_made(asyncio.Transport())
    connection._busy = True
    connection.data_received(STREAM)
    waiting = asyncio.ensure_future(connection.whole(1 << 20))
    await asyncio.sleep(0)
    for _ in range(200):
        connection.data_received(b"2\r\nab\r\n" * 100)
    assert len(connection._pieces) < 100
    connection._transport = None
    connection.data_received(b"0\r\n\r\n")
    assert (await waiting).body == b"ab" * 20_000


@pytest.mark.parametrize("clean", [True, False])
async def test_over_tls_a_body_that_ends_with_the_connection_is_whole_only_if_it_was_closed(
    tmp_path: Path, *, clean: bool
) -> None:
    """Whoever is in between can end a connection, but not say farewell in the server's name."""
    authority = Authority("wire")
    certificate, key = authority.issue(name="server", hosts=("127.0.0.1",))
    (tmp_path / "pair.pem").write_bytes(certificate + b"\n" + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pair.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        if clean:
            writer.close()
        else:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    trust = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    pool = Pool(origin_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", tls=trust))
    if clean:
        async with get(pool) as answer:
            assert (await answer.whole(10)).body == b"abc"
    else:
        with pytest.raises(BrokenOff):
            async with get(pool) as answer:
                await answer.whole(10)
    await pool.close()
    server.close()


async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ok(b"a"))
    writer.close()


async def test_an_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system looks up in few threads: names that hang would hold up addresses, too."""

    async def never(*_: object, **__: object) -> None:
        raise AssertionError

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    pool = Pool(Origin(host="127.0.0.1", port=server.sockets[0].getsockname()[1]))
    async with get(pool) as answer:
        assert (await answer.whole(10)).body == b"a"
    await pool.close()
    server.close()


async def test_a_name_is_looked_up_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = 0, asyncio.Event()

    async def found(*_: object, **__: object) -> list[tuple[object, ...]]:
        nonlocal asked
        asked += 1
        await go_on.wait()
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    pool = Pool(Origin(host="api.example", port=port))

    async def ask() -> bytes:
        async with get(pool) as answer:
            return (await answer.whole(10)).body

    asks = [asyncio.ensure_future(ask()) for _ in range(10)]
    while pool.connections < 10 or not asked:
        await asyncio.sleep(0)
    asks.pop().cancel()
    go_on.set()
    assert await asyncio.gather(*asks) == [b"a"] * 9
    assert asked == 1
    await pool.close()
    server.close()


async def test_a_connection_that_ended_needs_no_collector(tmp_path: Path) -> None:
    async with serving(tmp_path, ok(b"a")) as served:
        pool = Pool(served.origin)
        async with get(pool) as answer:
            await answer.whole(10)
        ref = weakref.ref(pool._idle[0])
        gc.collect()
        gc.disable()
        try:
            del answer
            await pool.close()
            for _ in range(5):
                await asyncio.sleep(0)
            assert ref() is None
        finally:
            gc.enable()


@pytest.mark.parametrize("target", [b"", b"x", b"http://b/", b"*"])
def test_a_target_is_a_path(target: bytes) -> None:
    with pytest.raises(ValueError, match="/PATH"):
        request_head(b"GET", target, Origin(), [], length=None)


@pytest.mark.parametrize("url", ["http://a/x y", "http://a b/", "http://a/\u00e9"])
def test_an_origin_that_would_break_a_request_line_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent|ascii"):
        origin_of(url)


def test_a_length_without_a_body_is_refused() -> None:
    """The server would wait for it."""
    with pytest.raises(ValueError, match="without a body"):
        Pool(Origin()).exchange(b"POST", b"/", (), None, length=5)


def test_what_was_expected_of_us_is_not_expected_of_the_next() -> None:
    assert end_to_end([(b"Expect", b"100-continue"), (b"X-A", b"b")]) == [(b"X-A", b"b")]


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip\r\nTransfer-Encoding: chunked"])
async def test_an_answer_whose_head_is_refused_is_heard_by_nobody(tmp_path: Path, coding: bytes) -> None:
    """Also where its end comes with it: whoever heard it would send on bytes that nobody can read."""
    coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n1\r\na\r\n0\r\n\r\n" % coding
    found: list[bytes] = []
    async with serving(tmp_path, coded) as served:
        pool = Pool(served.origin)
        with pytest.raises(BrokenOff, match="coded for the way"):
            async with pool.exchange(b"GET", b"/", (), sent=heard_by(found)) as answer:
                await answer.whole(100)
        assert pool.connections == 0
        await pool.close()
    assert found == []


@pytest.mark.parametrize("body", [b"", b"x" * 60_000])
async def test_many_small_fields_are_not_free_whatever_comes_with_them(tmp_path: Path, body: bytes) -> None:
    """Each is much more in memory than on the way."""
    async with serving(tmp_path, ok(body, fields=b"a:b\r\n" * 3_700), ok(body, fields=b"a:b\r\n" * 3_600)) as served:
        pool = Pool(served.origin)
        with pytest.raises(BrokenOff, match="fields have more than 65536 bytes"):
            async with get(pool) as answer:
                await answer.whole(len(body))
        async with get(pool) as answer:
            assert len((await answer.whole(len(body))).fields) == 3_601
        await pool.close()
