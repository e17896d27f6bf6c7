"""How a server ends: nobody is cut off in the middle, nobody is kept for ever."""

import asyncio
import contextlib
import socket

import pytest
from raw import Client, serving, until

from tensorfusion.wire.errors import WireError
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request


async def test_what_runs_is_finished_and_says_that_it_was_the_last() -> None:
    gate = asyncio.Event()

    async def handle(request: Request, reply: Reply) -> None:
        await gate.wait()
        reply.send(200, body=b"done")

    async with serving(handle) as seen, Client(seen.port) as client:
        client.get()
        await until(lambda: any(one._task for one in seen.server._connections))
        drain = asyncio.ensure_future(seen.server.drain(20))
        await until(lambda: seen.server.draining)
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection("127.0.0.1", seen.port)
        gate.set()
        found = await client.response()
        assert (found.body, found.fields["connection"]) == (b"done", "close")
        assert await client.rest() == b""
        assert await drain


async def test_who_has_connected_when_the_end_begins_is_served() -> None:
    async with serving() as seen:
        clients = []
        for _ in range(20):
            clients.append(socket.create_connection(("127.0.0.1", seen.port)))
            clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await seen.server.drain(20)
        for client in clients:
            with client:
                assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_idle_connection_may_still_bring_a_request_for_a_moment() -> None:
    async with serving() as seen, Client(seen.port) as client:
        client.get()
        await client.response()
        drain = asyncio.ensure_future(seen.server.drain(20, idle_grace=20))
        await until(lambda: seen.server.draining)
        client.get()
        found = await client.response()
        assert (found.status, found.fields["connection"]) == (200, "close")
        client.writer.transport.abort()
        assert await drain


async def test_an_idle_connection_that_stays_silent_is_closed_behind_that_moment() -> None:
    async with serving() as seen, Client(seen.port) as client, Client(seen.port) as silent:
        client.get()
        await client.response()
        drain = asyncio.ensure_future(seen.server.drain(20, idle_grace=0.05))
        assert await client.rest() == b""
        assert await silent.rest() == b""
        assert await drain


async def test_what_still_runs_at_the_deadline_is_ended_and_told_so_where_nothing_else_was() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/begun":
            reply.start(200)
            reply.push(b"x")
        await asyncio.Event().wait()

    async with serving(handle) as seen, Client(seen.port) as first, Client(seen.port) as second:
        first.get(b"/begun")
        second.get()
        await first.head()
        await until(lambda: sum(one._task is not None for one in seen.server._connections) == 2)
        assert not await seen.server.drain(0.05)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            async for _ in first.chunks():
                pass
        assert (await second.response()).status == 503
        assert await second.rest() == b""
    assert seen.cancelled == 2


async def test_a_handler_whose_client_left_is_waited_for() -> None:
    settled = []

    async def handle(request: Request, reply: Reply) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            settled.append(request.target)

    async with serving(handle) as seen:
        async with Client(seen.port) as client:
            client.get()
            await until(lambda: any(one._task for one in seen.server._connections))
        await until(lambda: seen.server.connections == 0)
        assert await seen.server.drain(20)
        assert settled == [b"/"]


async def test_a_handler_that_settles_behind_its_answer_is_not_cancelled_when_the_client_goes() -> None:
    settled = []

    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200)
        await asyncio.sleep(0.05)
        settled.append(request.target)

    async with serving(handle) as seen:
        async with Client(seen.port) as client:
            client.get()
            await client.response()
        await until(lambda: settled)
    assert seen.cancelled == 0


async def test_a_server_that_drains_under_load_fails_no_request() -> None:
    """Clients that keep their connections go on asking while the server ends, and come back to the next one."""
    answered = 0

    async def handle(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.002)
        reply.send(200, body=request.target)

    async with serving(handle) as old, serving(handle) as new:
        ports = [old.port]
        failures = []

        async def client() -> None:
            nonlocal answered
            pools = {port: Pool(Origin(host="127.0.0.1", port=port)) for port in (old.port, new.port)}
            while not stop.is_set():
                try:
                    async with pools[ports[-1]].exchange(b"GET", b"/", ()) as answer:
                        assert (await answer.whole(10)).body == b"/"
                        answered += 1
                except WireError as error:
                    failures.append(error)
            for pool in pools.values():
                await pool.close()

        stop = asyncio.Event()
        clients = [asyncio.ensure_future(client()) for _ in range(20)]
        await until(lambda: answered > 200)
        ports.append(new.port)  # as a balancer does it: first elsewhere, then the end
        assert await old.server.drain(20)
        before = answered
        await until(lambda: answered > before + 200)
        stop.set()
        await asyncio.gather(*clients)
    assert failures == []


async def test_a_server_that_drained_leaves_no_task() -> None:
    before = len(asyncio.all_tasks())
    async with serving() as seen:
        async with Client(seen.port) as client:
            client.get()
            await client.response()
        with contextlib.suppress(TimeoutError):
            await seen.server.drain(1)
    assert len(asyncio.all_tasks()) == before
