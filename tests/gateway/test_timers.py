"""Targets that keep a connection alive and say nothing: comments are no words, and nobody waits for ever."""

import asyncio

import pytest
from fronts import (
    DONE,
    ROLE,
    STOP,
    STREAM,
    Act,
    ask,
    chat,
    chunked,
    gateway,
    route,
    stall,
    streamed,
    target,
    word,
)

from tensorfusion.policy.routing import compiler
from tensorfusion.policy.routing.route import Timers

PING = b": ping\n\n"
WHOLE = (ROLE, word("a"), STOP, DONE)


def pinging(*events: bytes) -> Act:
    """These, and then comments for as long as somebody reads them."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(*events))
        while True:
            writer.write(chunked(PING))
            await writer.drain()
            await asyncio.sleep(0.02)
            if reader.at_eof() or reader.exception() is not None:
                raise ConnectionError

    return act


@pytest.fixture
def short_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "Timers", lambda **given: Timers(**given, total=0.3))


async def test_comments_are_no_first_word() -> None:
    async with target(pinging(ROLE)) as one, target(streamed(*WHOLE)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url}, firstTokenTimeout="150ms")) as found:
            response = await ask(found.port, chat(stream=True))
            assert response.body == b"".join(WHOLE)
            assert found.records[0].attempts[0].outcome.startswith("first-token")


@pytest.mark.usefixtures("short_total")
async def test_a_target_without_another_may_take_until_the_request_has_no_time_left() -> None:
    async with target(pinging()) as one, gateway(route({"endpoint": one.url}, firstTokenTimeout="100ms")) as found:
        response = await ask(found.port, chat(stream=True))
        assert (response.status, response.error["type"]) == (504, "upstream_timeout")
        assert found.records[0].latency_ms >= 290


@pytest.mark.usefixtures("short_total")
async def test_comments_behind_words_end_with_the_time_of_the_request() -> None:
    async with target(pinging(ROLE, word("a"))) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=True))
        assert PING in response.body
        assert response.whole
        assert b'"error"' in response.body
        assert b"[DONE]" not in response.body
        assert found.records[0].status == 504


async def test_who_says_why_it_finished_and_then_nothing_does_not_hold_its_client() -> None:
    async with target(stall(ROLE, word("a"), STOP)) as one, gateway(route({"endpoint": one.url})) as found:
        async with asyncio.timeout(5):  # of the 15 seconds that a stream may be silent before it finished
            response = await ask(found.port, chat(stream=True))
        assert response.body == b"".join(WHOLE)
        assert found.records[0].status == 200


@pytest.mark.usefixtures("short_stall")
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("how", ["splice", "buffer"])
async def test_comments_behind_words_are_no_words(how: str, *, other: bool) -> None:
    """Whoever keeps the connection alive, of a server that has nothing more to say: another target goes on."""
    async with target(pinging(ROLE, word("a"))) as one, target(streamed(*WHOLE)) as two:
        targets = [{"endpoint": each.url} for each in ((one, two) if other else (one,))]
        async with gateway(route(*targets, midStream=how)) as found, asyncio.timeout(10):
            response = await ask(found.port, chat(stream=True))
            assert response.whole
            assert found.records[0].attempts[0].outcome.startswith("stall")
            assert (b"[DONE]" in response.body) is other
            assert (b'"error"' in response.body) is not other


@pytest.mark.parametrize("events", [WHOLE, WHOLE[:-1]], ids=["done", "finished"])
@pytest.mark.parametrize("how", ["splice", "buffer"])
async def test_who_goes_on_behind_the_end_in_drops_does_not_hold_its_client(
    events: tuple[bytes, ...], how: str
) -> None:
    async with target(pinging(*events)) as one, gateway(route({"endpoint": one.url}, midStream=how)) as found:
        async with asyncio.timeout(8):
            response = await ask(found.port, chat(stream=True))
        assert response.whole
        assert response.body.replace(PING, b"") == b"".join(WHOLE)
        assert found.records[0].status == 200


async def test_fields_behind_the_end_for_ever_do_not_hold_a_client() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(*WHOLE) + b"0\r\n")
        while not reader.at_eof() and reader.exception() is None:
            writer.write(b"X-More: a\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
        raise ConnectionError

    async with target(act) as one, gateway(route({"endpoint": one.url})) as found, asyncio.timeout(8):
        response = await ask(found.port, chat(stream=True))
        assert response.body == b"".join(WHOLE)
        assert found.records[0].status == 200


async def test_a_stream_may_take_longer_than_its_first_word() -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(ROLE, word("a")))
        await asyncio.sleep(0.3)
        writer.write(chunked(STOP, DONE) + b"0\r\n\r\n")

    async with target(slowly) as one, target(streamed(*WHOLE)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url}, firstTokenTimeout="150ms")) as found:
            assert (await ask(found.port, chat(stream=True))).fields["x-tf-target"] == "t0"
