"""What one exchange does to the next, and servers that stall, talk ahead, or answer before they were asked everything."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from scripted import ok, read_request, serving

from tensorfusion.wire.connection import HIGH_WATER, Connection
from tensorfusion.wire.errors import BrokenOff, Phase, TimedOut
from tensorfusion.wire.exchange import PATIENCE, Exchange, Patience
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool

PATIENT = 5
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
            while not answer._open._paused:
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
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await answer.pour(sink)
            go_on.set()
            assert await answer.read() == b"b"
        assert found == [b"a"]
        await pool.close()


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
