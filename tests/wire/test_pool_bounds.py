"""How many connections a pool opens, who waits for one, for how long, and what becomes of those that nobody uses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw import until
from scripted import ok, serving

from tensorfusion.testing.control_plane import free_ports
from tensorfusion.wire.errors import BrokenOff, Busy, NotReached
from tensorfusion.wire.exchange import Patience
from tensorfusion.wire.messages import CHUNKED, Origin, request_head
from tensorfusion.wire.pool import Pool


class Gate:
    """Holds every answer until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.open.wait()
        writer.write(ok(b"a"))


async def ask(pool: Pool, *, connect: float = 20) -> bytes:
    async with pool.exchange(b"GET", b"/", (), patience=Patience(connect=connect)) as answer:
        return (await answer.whole(100)).body


async def test_no_more_connections_are_opened_than_allowed_and_all_are_served(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, gate) as served:
        pool = Pool(served.origin, most_connections=2)
        asked = [asyncio.ensure_future(ask(pool)) for _ in range(9)]
        await until(lambda: len(served.requests) == 2 and pool.waiting == 7)
        gate.open.set()
        assert await asyncio.gather(*asked) == [b"a"] * 9
        assert pool.waiting == 0
        await pool.close()
    assert served.connections == 2


async def test_who_comes_while_a_connection_is_given_on_opens_none(tmp_path: Path) -> None:
    most = 0

    async def one() -> None:
        nonlocal most
        for _ in range(20):
            await ask(pool)
            most = max(most, pool.connections)

    async with serving(tmp_path, ok(b"a")) as served:
        pool = Pool(served.origin, most_connections=3)
        await asyncio.gather(*(one() for _ in range(30)))
        await pool.close()
    assert (most, served.connections) == (3, 3)


async def test_a_body_is_as_long_as_it_was_told(tmp_path: Path) -> None:
    """What is beyond it would be read as the next request."""

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"GET /hidden HTTP/1.1\r\n\r\n"

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        assert b"hidden" not in await reader.read()

    for length, word in ((3, "longer"), (300, "shorter")):
        (tmp_path / word).mkdir()
        async with serving(tmp_path / word, wait) as served:
            pool = Pool(served.origin)
            with pytest.raises(BrokenOff, match=word):
                async with pool.exchange(b"POST", b"/", (), body(), length=length):
                    pass
            assert pool.connections == 0


async def test_who_waited_longest_is_served_first(tmp_path: Path) -> None:
    gate, order = Gate(), []

    async def one(number: int) -> None:
        await ask(pool)
        order.append(number)

    async with serving(tmp_path, gate) as served:
        pool = Pool(served.origin, most_connections=1)
        asked = []
        for number in range(5):
            asked.append(asyncio.ensure_future(one(number)))
            await until(lambda number=number: pool.waiting == number and served.requests)  # type: ignore[misc]
        gate.open.set()
        await asyncio.gather(*asked)
        await pool.close()
    assert order == [0, 1, 2, 3, 4]


async def test_the_queue_has_an_end(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, gate) as served:
        pool = Pool(served.origin, most_connections=1, most_waiting=1)
        asked = [asyncio.ensure_future(ask(pool)) for _ in range(2)]
        await until(lambda: served.requests and pool.waiting == 1)
        with pytest.raises(Busy, match="1 requests are under way and 1 wait"):
            await ask(pool)
        gate.open.set()
        await asyncio.gather(*asked)
        await pool.close()


async def test_a_place_in_the_queue_is_held_for_so_long(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, gate) as served:
        pool = Pool(served.origin, most_connections=1)
        first = asyncio.ensure_future(ask(pool))
        await until(lambda: served.requests)
        with pytest.raises(Busy, match="no connection was free within"):
            await ask(pool, connect=0.05)
        assert pool.waiting == 0
        gate.open.set()
        assert await first == b"a"
        assert await ask(pool) == b"a"
        await pool.close()


async def test_a_connection_that_closes_makes_room_for_who_waits(tmp_path: Path) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"a", fields=b"Connection: close\r\n"))

    async with serving(tmp_path, close, close=True) as served:
        pool = Pool(served.origin, most_connections=1)
        assert await asyncio.gather(*(ask(pool) for _ in range(5))) == [b"a"] * 5
        await pool.close()
    assert served.connections == 5


async def test_a_connection_that_cannot_be_made_makes_room_for_who_waits() -> None:
    (port,) = free_ports(1)
    pool = Pool(Origin(host="127.0.0.1", port=port), most_connections=1)
    found = await asyncio.gather(*(ask(pool) for _ in range(5)), return_exceptions=True)
    assert [type(error) for error in found] == [NotReached] * 5
    assert (pool.connections, pool.waiting) == (0, 0)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 3)), max_size=8))
def test_who_gives_up_takes_no_connection_along(tmp_path: Path, cancels: list[tuple[int, int]]) -> None:
    """Some are cancelled, each after a few turns of the loop; all others are served, and nothing stays in use."""

    async def run() -> None:
        async with serving(tmp_path, ok(b"a")) as served:
            pool = Pool(served.origin, most_connections=2)
            asked = [asyncio.ensure_future(ask(pool)) for _ in range(12)]
            for victim, turns in cancels:
                for _ in range(turns):
                    await asyncio.sleep(0)
                asked[victim].cancel()
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert all(one == b"a" or isinstance(one, asyncio.CancelledError) for one in found)
            assert (pool.waiting, len(pool._used), pool._connecting) == (0, 0, 0)
            assert await ask(pool) == b"a"
            await pool.close()

    asyncio.run(run())


async def test_a_connection_that_nobody_uses_closes_after_a_while(tmp_path: Path) -> None:
    async with serving(tmp_path, ok(b"a")) as served:
        pool = Pool(served.origin, idle_seconds=0.05)
        assert await asyncio.gather(*(ask(pool) for _ in range(3))) == [b"a"] * 3
        await until(lambda: pool.connections == 0)
        await pool.close()
    assert 1 <= served.connections <= 3


@pytest.mark.parametrize(
    ("method", "target", "fields", "length"),
    [
        (b"GET", b"/a b", [], None),
        (b"GET", b"/\r\nX: y", [], None),
        (b"GET", b"/\n", [], None),
        (b"GET", b"/\xff", [], None),
        (b"GET", b"/\x7f", [], None),
        (b"GET /", b"/", [], None),
        (b"CONNECT", b"/", [], None),
        (b"", b"/", [], None),
        (b"GET", b"/", [(b"A", b"b\r\nX: y")], None),
        (b"GET", b"/", [(b"A", b"b\n")], None),
        (b"GET", b"/", [(b"A", b"\0")], None),
        (b"GET", b"/", [(b"A\n", b"b")], None),
        (b"GET", b"/", [(b"A ", b"b")], None),
        (b"POST", b"/", [(b"content-LENGTH", b"3")], 4),
        (b"POST", b"/", [(b"Transfer-Encoding", b"chunked")], 4),
        (b"POST", b"/", [(b"Connection", b"close")], CHUNKED),
    ],
)
def test_nothing_can_be_slipped_into_a_request(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], length: int | None
) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent|not spoken"):
        request_head(method, target, Origin(), fields, length=length)


@given(st.binary(), st.binary(), st.binary(), st.binary())
def test_a_head_has_as_many_lines_as_it_should(method: bytes, target: bytes, name: bytes, value: bytes) -> None:
    try:
        head = request_head(method, target, Origin(), [(name, value)], length=None)
    except ValueError:
        return
    assert head.count(b"\n") == head.count(b"\r") == (3 if name.lower() == b"host" else 4)
    assert head.split(b"\r\n")[0].count(b" ") == 2
