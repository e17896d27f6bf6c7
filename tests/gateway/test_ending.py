"""A gateway that ends while it answers: what takes longer than it may is told so, in whatever phase, and nobody takes it
for an end."""

import asyncio
import json

import pytest
from fronts import DONE, ROLE, STOP, Act, Client, Gateway, apart, chat, gateway, route, said, stall, target, until, word

from tensorfusion.wire.connection import Connection
from tensorfusion.wire.server_connection import ServerConnection

SOON = 0.05


async def ended(found: Gateway) -> None:
    """It was told to end, and waited for nobody longer than it may."""
    assert not await found.server.drain(SOON, idle_grace=0.0)


async def test_a_stream_that_takes_too_long_ends_with_an_error_event() -> None:
    async with target(stall(ROLE, word("a"))) as one, gateway(route({"endpoint": one.url})) as found:
        async with Client(found.port) as client:
            client.send(chat(stream=True))
            await client.reader.readuntil(ROLE)
            ending = asyncio.ensure_future(ended(found))
            rest = await client.reader.read()
            await ending
        assert rest.endswith(b"\n\n\r\n0\r\n\r\n")
        assert b"[DONE]" not in rest
        told = [line for line in rest.split(b"\n") if line.startswith(b"data: ")][-1]
        assert json.loads(told.removeprefix(b"data: "))["error"]["code"] == "gateway_ending"
        assert (found.records[0].status, found.records[0].completion_tokens) == (503, 1)


@pytest.mark.parametrize(("path", "kind"), [("chat/completions", "internal_error"), ("messages", "overloaded_error")])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_waits_for_its_answer_is_told_to_ask_again(path: str, kind: str, *, stream: bool) -> None:
    async with target(stall()) as one, gateway(route({"endpoint": one.url})) as found:
        async with Client(found.port) as client:
            client.send(chat(stream=stream, max_tokens=9), path=path)
            await until(lambda: one.requests)
            ending = asyncio.ensure_future(ended(found))
            response = await client.response()
            assert await client.reader.read() == b""
            await ending
        assert (response.status, response.error["type"], response.fields["retry-after"]) == (503, kind, "1")
        assert response.fields["connection"] == "close"
        assert found.records[0].status == 503


async def test_a_request_whose_body_has_not_come_is_told_so_too() -> None:
    async with target(stall()) as one, gateway(route({"endpoint": one.url})) as found:
        async with Client(found.port) as client:
            client.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
            await until(lambda: any(each._task for each in found.server._connections))
            ending = asyncio.ensure_future(ended(found))
            assert (await client.response()).status == 503
            await ending
        assert one.requests == []


async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await reader.readexactly(1)


async def test_what_is_passed_on_as_it_is_has_no_end() -> None:
    act: Act = half_an_answer
    async with target(act) as one, gateway(route({"endpoint": one.url})) as found:
        async with Client(found.port) as client:
            client.send({"model": "m"}, path="audio/speech")
            await client.reader.readuntil(b"1\r\na\r\n")
            ending = asyncio.ensure_future(ended(found))
            with pytest.raises(ConnectionError):
                await client.reader.read()
            await ending
        assert found.records[0].status == 503


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_told_just_before_the_end_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """Its end is sent where it arrives: the task that asked for it may be ended before it has seen that."""
    write = ServerConnection.write

    def write_and_end(connection: ServerConnection, data: bytes) -> None:
        write(connection, data)
        if data.endswith((b"0\r\n\r\n", b"}")):
            connection._loop.call_soon(connection.dismiss)

    monkeypatch.setattr(ServerConnection, "write", write_and_end)
    async with target(apart(ROLE, word("a"), STOP, DONE) if stream else said("a")) as one:
        async with gateway(route({"endpoint": one.url})) as found, Client(found.port) as client:
            client.send(chat(stream=stream))
            response = await client.response()
            assert (response.status, response.whole) == (200, True)
            await until(lambda: found.records)
            record = found.records[0]
            assert (record.status, record.error_type, record.attempts[0].outcome) == (200, "", "answered")
            assert len(found.limits.settled) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_comes_while_its_request_is_being_ended_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """The task that asked is ended with the loop's next turn, and the answer goes on in this one."""
    receive = Connection.data_received

    def end_and_receive(connection: Connection, data: bytes) -> None:
        if data.endswith((b"0\r\n\r\n", b"}")):
            for each in tuple(found.server._connections):
                each.dismiss()
        receive(connection, data)

    monkeypatch.setattr(Connection, "data_received", end_and_receive)
    async with target(apart(ROLE, word("a"), STOP, DONE) if stream else said("a")) as one:
        async with gateway(route({"endpoint": one.url})) as found, Client(found.port) as client:
            client.send(chat(stream=stream))
            response = await client.response()
            assert (response.status, response.whole) == (200, True)
            await until(lambda: found.records)
            record = found.records[0]
            assert (record.status, record.error_type, record.attempts[0].outcome) == (200, "", "answered")
            assert len(found.limits.settled) == 1
