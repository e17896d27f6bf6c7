"""Requests over connections that are kept: answers in every framing, and connections that end, stall or talk nonsense."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import ok, read_request, serving

from tensorfusion.testing.certificates import Authority
from tensorfusion.testing.control_plane import free_ports
from tensorfusion.wire.connection import HIGH_WATER, Connection
from tensorfusion.wire.errors import BrokenOff, NotReached
from tensorfusion.wire.messages import Answer, Origin, head_of, origin_of
from tensorfusion.wire.pool import Pool

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
FRAMINGS = {
    "length": ok(b"abcde"),
    "chunked": CHUNKED,
    "behind an interim answer": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok(b"abcde"),
    "trailers": CHUNKED.removesuffix(b"\r\n") + b"X-Sum: 1\r\n\r\n",
}


async def ask(pool: Pool, *, body: bytes | None = None, seconds: float = 10, most: int = 1 << 20) -> Answer:
    method = "GET" if body is None else "POST"
    return await pool.request(method, "/x?y=1", fields={"Accept": "*/*"}, body=body, seconds=seconds, most=most)


@pytest.mark.parametrize("answer", FRAMINGS.values(), ids=FRAMINGS)
async def test_an_answer_is_read_whole_and_its_connection_used_again(tmp_path: Path, answer: bytes) -> None:
    async with serving(tmp_path, answer) as served:
        pool = Pool(served.origin)
        for _ in range(3):
            found = await ask(pool)
            assert (found.status, found.body) == (200, b"abcde")
        await pool.close()
    assert served.connections == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 80), max_size=8), kind=st.sampled_from(sorted(FRAMINGS)))
def test_an_answer_is_the_same_however_its_bytes_arrive(cuts: list[int], kind: str) -> None:
    answer = FRAMINGS[kind]
    edges = sorted({0, *(cut for cut in cuts if cut < len(answer)), len(answer)})

    async def read() -> Answer:
        connection = Connection(asyncio.get_running_loop())
        connection.connection_made(_Sink())
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        for start, end in itertools.pairwise(edges):
            connection.data_received(answer[start:end])
        assert connection.usable
        return await connection.whole(100)

    found = asyncio.run(read())
    assert (found.status, found.body) == (200, b"abcde")


class _Sink(asyncio.Transport):
    """Takes everything."""

    def write(self, data: object) -> None: ...
    def abort(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


async def test_a_body_without_a_length_ends_with_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, b"HTTP/1.1 200 OK\r\n\r\nabcde", close=True) as served:
        pool = Pool(served.origin)
        assert [(await ask(pool)).body for _ in range(2)] == [b"abcde", b"abcde"]
        await pool.close()
    assert served.connections == 2


async def test_what_is_sent_is_a_request_with_its_fields_and_body(tmp_path: Path) -> None:
    async with serving(tmp_path, ok()) as served:
        pool = Pool(served.origin)
        await ask(pool, body=b"hello")
        await ask(pool, body=b"")
        await ask(pool)
        await pool.close()
    head = b"POST /x?y=1 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: "
    assert served.requests[:2] == [head + b"5\r\n\r\nhello", head + b"0\r\n\r\n"]
    assert served.requests[2] == b"GET /x?y=1 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"


async def test_no_two_requests_share_a_connection(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(ok(b"late"))

    async with serving(tmp_path, late) as served:
        pool = Pool(served.origin)
        asked = [asyncio.ensure_future(ask(pool)) for _ in range(5)]
        while len(served.requests) < 5:
            await asyncio.sleep(0)
        gate.set()
        assert [one.body for one in await asyncio.gather(*asked)] == [b"late"] * 5
        assert served.connections == 5
        await ask(pool)
        await pool.close()
    assert served.connections == 5


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "closed"),
        (CHUNKED[:-5], "closed"),
        (b"SSH-2.0-OpenSSH\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n", "fields"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\nContent-Length: 1\r\n\r\na", "fields"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 40_000, "fields"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocol"),
    ],
)
async def test_what_is_no_whole_answer_breaks_off_and_says_why(tmp_path: Path, answer: bytes, words: str) -> None:
    async with serving(tmp_path, answer, close=True) as served:
        pool = Pool(served.origin)
        with pytest.raises(BrokenOff, match=words):
            await ask(pool)
        await pool.close()


async def test_bytes_behind_an_answer_are_never_taken_for_the_next_ones(tmp_path: Path) -> None:
    async with serving(tmp_path, ok(b"mine") + ok(b"another's"), ok(b"second")) as served:
        pool = Pool(served.origin)
        assert (await ask(pool)).body == b"mine"
        assert (await ask(pool)).body == b"second"
        await pool.close()
    assert served.connections == 2


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(tmp_path: Path) -> None:
    async def last(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"bye"))
        writer.close()

    async with serving(tmp_path, last, ok(b"new")) as served:
        pool = Pool(served.origin)
        assert (await ask(pool)).body == b"bye"
        while served.connections == 1:  # until it is noticed, a request may still break off
            with contextlib.suppress(BrokenOff):
                assert (await ask(pool)).body == b"new"
        await pool.close()


async def test_a_server_that_wants_it_closed_gets_a_new_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, ok(b"a", fields=b"Connection: close\r\n"), close=True) as served:
        pool = Pool(served.origin)
        assert [(await ask(pool)).body for _ in range(3)] == [b"a"] * 3
        await pool.close()
    assert served.connections == 3


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()
    raise asyncio.IncompleteReadError(b"", 1)


async def test_an_answer_that_does_not_come_in_time_ends_its_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, silent) as served:
        pool = Pool(served.origin)
        with pytest.raises(TimeoutError):
            await ask(pool, seconds=0.3)
        async with asyncio.timeout(10):
            await served.ended.wait()
        await pool.close()


async def test_a_cancelled_request_ends_its_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, silent) as served:
        pool = Pool(served.origin)
        asked = asyncio.ensure_future(ask(pool))
        while not served.requests:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        async with asyncio.timeout(10):
            await served.ended.wait()
        await pool.close()


async def test_a_body_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, ok(b"x" * 1000)) as served:
        pool = Pool(served.origin)
        with pytest.raises(BrokenOff, match="more than 999 bytes"):
            await ask(pool, most=999)
        assert len((await ask(pool, most=1000)).body) == 1000
        await pool.close()


async def test_nobody_there_is_not_reached() -> None:
    (port,) = free_ports(1)
    pool = Pool(Origin(host="127.0.0.1", port=port))
    with pytest.raises(NotReached, match=f"127.0.0.1:{port}") as caught:
        await ask(pool)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_an_address_that_does_not_answer_does_not_hide_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await read_request(reader)
            writer.write(ok(b"here"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    connect, asked = loop.create_connection, []

    async def two(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("192.0.2.1", port)), (2, 1, 6, "", ("127.0.0.1", port))]

    async def create(factory: Callable[[], asyncio.Protocol], host: str, *rest: object, **more: object) -> object:
        asked.append(host)
        if host == "192.0.2.1":
            await asyncio.Event().wait()
        return await connect(factory, host, *rest, **more)  # type: ignore[call-overload, misc]

    monkeypatch.setattr(loop, "getaddrinfo", two)
    monkeypatch.setattr(loop, "create_connection", create)
    pool = Pool(Origin(host="api.example", port=port), connect_seconds=0.2, idle_seconds=-1)
    assert [(await ask(pool)).body for _ in range(2)] == [b"here", b"here"]
    assert asked == ["192.0.2.1", "127.0.0.1", "127.0.0.1"]
    await pool.close()
    server.close()


async def test_tls_is_checked_and_spoken(tmp_path: Path) -> None:
    authority = Authority("wire")
    certificate, key = authority.issue(name="server", hosts=("localhost", "127.0.0.1"))
    (tmp_path / "pair.pem").write_bytes(certificate + b"\n" + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pair.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await read_request(reader)
                writer.write(ok(b"safe"))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trust = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    pool = Pool(origin_of(f"https://127.0.0.1:{port}", tls=trust))
    assert [(await ask(pool)).body for _ in range(2)] == [b"safe", b"safe"]
    await pool.close()
    other = Pool(origin_of(f"https://127.0.0.1:{port}", tls=ssl.create_default_context()))
    with pytest.raises(NotReached) as caught:
        await ask(other)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    named = Pool(origin_of(f"https://127.0.0.1:{port}", tls=trust, server_name="elsewhere"))
    with pytest.raises(NotReached):
        await ask(named)
    server.close()


async def test_a_stream_is_read_as_it_comes(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await go_on.wait()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")

    async with serving(tmp_path, slowly, ok(b"next")) as served:
        pool = Pool(served.origin)
        async with pool.stream("GET", "/", fields={}, seconds=10, silence=10) as answer:
            assert (answer.status, await answer.read()) == (200, b"a")
            go_on.set()
            assert [await answer.read(), await answer.read()] == [b"b", b""]
        assert (await ask(pool)).body == b"next"
        await pool.close()
    assert served.connections == 1


async def test_a_stream_that_is_left_early_ends_its_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, _endless) as served:
        pool = Pool(served.origin)
        async with pool.stream("GET", "/", fields={}, seconds=10, silence=10) as answer:
            assert await answer.read()
        async with asyncio.timeout(10):
            await served.ended.wait()
        await pool.close()


async def _endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


async def test_a_stream_that_nobody_reads_stops_the_server_instead_of_filling_memory(tmp_path: Path) -> None:
    sent = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000

    async with serving(tmp_path, count) as served:
        pool = Pool(served.origin)
        async with pool.stream("GET", "/", fields={}, seconds=10, silence=10) as answer:
            before = -1
            while before != sent:
                before = sent
                for _ in range(200):
                    await asyncio.sleep(0)
            assert sent < 8 * HIGH_WATER
            assert len(await answer.read()) < 3 * HIGH_WATER
            for _ in range(100):
                await answer.read()
            assert sent > before
        await pool.close()


async def test_a_silent_stream_is_given_up(tmp_path: Path) -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await silent(reader, writer)

    async with serving(tmp_path, nothing) as served:
        pool = Pool(served.origin)
        async with pool.stream("GET", "/", fields={}, seconds=10, silence=0.01) as answer:
            with pytest.raises(TimeoutError):
                await answer.read()
        await pool.close()


async def test_an_old_connection_is_not_used(tmp_path: Path) -> None:
    async with serving(tmp_path, ok(b"a")) as served:
        pool = Pool(served.origin, idle_seconds=-1)
        await ask(pool)
        await ask(pool)
        await pool.close()
    assert served.connections == 2


@pytest.mark.parametrize(
    ("fields", "method"),
    [({"A": "b\r\nX: y"}, "GET"), ({"A b": "c"}, "GET"), ({"": "c"}, "GET"), ({"A": "\x00"}, "GET"), ({}, "HEAD")],
)
def test_nothing_can_be_smuggled_into_a_head(fields: dict[str, str], method: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent|not spoken"):
        head_of(method, "/", Origin(), fields, length=None)


@given(st.text())
def test_no_target_ends_the_request_line(target: str) -> None:
    line = head_of("GET", "/" + target, Origin(), {}, length=None).split(b"\r\n")[0]
    assert line.startswith(b"GET /")
    assert line.endswith(b" HTTP/1.1")
    assert line.count(b" ") == 2
    assert all(32 <= byte < 127 for byte in line)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "prefix"),
    [
        ("http://a", "a", 80, "a", ""),
        ("http://a:81/k8s/c-1/", "a", 81, "a:81", "/k8s/c-1"),
        ("http://[::1]:8080", "::1", 8080, "[::1]:8080", ""),
        ("http://user:secret@a:5", "a", 5, "a:5", ""),
    ],
)
def test_a_url_says_where_to_go(url: str, host: str, port: int, authority: str, prefix: str) -> None:
    found = origin_of(url)
    assert (found.host, found.port, found.authority, found.prefix) == (host, port, authority, prefix)


@pytest.mark.parametrize("url", ["", "a:80", "ftp://a", "https://a", "http://"])
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"wanted|TLS"):
        origin_of(url)
