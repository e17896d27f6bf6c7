"""The road of a request: what a target gets, what the client gets, and what is noted of it."""

import asyncio
import json
import socket

import pytest
from fronts import (
    DONE,
    ROLE,
    STOP,
    USAGE,
    Client,
    answer,
    ask,
    chat,
    failed,
    gateway,
    reset,
    route,
    said,
    stall,
    steady,
    streamed,
    target,
    until,
    word,
)

from tensorfusion.gateway.secrets import Secrets

ROUNDED = 1.0
"""Milliseconds: what figures of two clocks may differ by."""
SECRET = {"apiKeySecret": {"name": "s", "namespace": "default", "key": "k"}}


async def test_a_whole_answer_comes_in_its_own_bytes_and_is_noted() -> None:
    async with (
        target(said("hello")) as one,
        gateway(route({"endpoint": one.url, "costPer1MInput": "1", "costPer1MOutput": "2"})) as found,
    ):
        began = asyncio.get_running_loop().time()
        response = await ask(found.port, chat(temperature=0.5), fields=b"x-request-id: abc\r\n")
        took = (asyncio.get_running_loop().time() - began) * 1000
        assert (response.status, response.body) == (200, said("hello").partition(b"\r\n\r\n")[2])
        assert response.fields["x-tf-target"] == "t0"
        assert response.fields["x-tf-model"] == "up0"
        assert response.fields["x-tf-attempts"] == "1"
        assert response.fields["x-request-id"] == "abc"
        assert response.fields["x-tf-cost-usd"] == "0.000007"
        assert float(response.fields["x-tf-overhead-ms"]) < took + ROUNDED
        assert one.requests[0].target == "/v1/chat/completions"
        assert one.requests[0].json == {**chat(temperature=0.5), "model": "up0"}
        record = found.records[0]
        assert (record.request_id, record.status, record.model, record.route) == ("abc", 200, "m", "default/r")
        assert (record.prompt_tokens, record.completion_tokens, record.cost_microusd) == (3, 2, 7)
        assert (record.finish_reason, record.usage_estimated, len(record.attempts)) == ("stop", False, 1)
        assert found.limits.settled == [5]


async def test_a_stream_comes_in_its_own_bytes_without_the_usage_that_nobody_asked_for() -> None:
    events = (ROLE, word("hé"), b": comment\n\n", word("llo"), STOP, USAGE, DONE)
    async with target(streamed(*events)) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=True))
        assert response.whole
        assert response.body == b"".join(each for each in events if each is not USAGE)
        assert response.fields["content-type"] == "text/event-stream"
        assert one.requests[0].json["stream_options"] == {"include_usage": True}
        record = found.records[0]
        assert (record.stream, record.status, record.prompt_tokens, record.completion_tokens) == (True, 200, 7, 2)
        assert record.ttft_ms is not None
        wanted = await ask(found.port, chat(stream=True, stream_options={"include_usage": True}))
        assert wanted.body == b"".join(events)


async def test_only_what_is_a_targets_business_goes_there() -> None:
    secrets = Secrets({("default", "s", "k"): "upstream-credential\n"})
    fields = (
        b"Authorization: Bearer tf-secret\r\nX-Api-Key: tf-secret\r\nCookie: tf-secret\r\nx-tf-session: tf-secret\r\n"
        b"x-portkey-api-key: tf-secret\r\nAccept-Encoding: gzip\r\nUser-Agent: me\r\nOpenAI-Beta: x\r\n"
    )
    fields_of_it = b"Set-Cookie: a=b\r\nX-RateLimit-Limit-Requests: 3\r\nX-Other: 1\r\n"
    reply = answer({"choices": [{"message": {}}]}, fields=fields_of_it)
    async with target(reply) as one, gateway(route({"endpoint": one.url, **SECRET}), secrets=secrets) as found:
        response = await ask(found.port, chat(), fields=fields)
        got = one.requests[0].fields
        assert got["authorization"] == "Bearer upstream-credential"
        assert (got["user-agent"], got["openai-beta"]) == ("me", "x")
        assert "tf-secret" not in str(got)
        assert not {"accept-encoding", "cookie", "x-tf-session"} & set(got)
        assert response.fields["x-other"] == "1"
        assert not {"set-cookie", "x-ratelimit-limit-requests"} & set(response.fields)
        assert "credential" not in str(found.records) + repr(secrets)


@pytest.mark.parametrize(
    ("provider", "endpoint", "path", "field"),
    [
        ("openai", "", "/v1/chat/completions", ("authorization", "Bearer c")),
        ("openai", "/api/v3", "/api/v3/chat/completions", ("authorization", "Bearer c")),
        ("azure", "", "/openai/deployments/up0/chat/completions?api-version=2024-10-21", ("api-key", "c")),
        ("azure", "/openai/v1", "/openai/v1/chat/completions", ("api-key", "c")),
    ],
)
async def test_paths_and_credentials_are_the_providers(
    provider: str, endpoint: str, path: str, field: tuple[str, str]
) -> None:
    secrets = Secrets({("default", "s", "k"): "c"})
    async with target(said("a")) as one:
        written = {"provider": provider, "endpoint": one.url.removesuffix("/v1") + endpoint, **SECRET}
        async with gateway(route(written), secrets=secrets) as found:
            assert (await ask(found.port, chat())).status == 200
            assert one.requests[0].target == path
            assert one.requests[0].fields[field[0]] == field[1]


async def test_what_is_not_let_in_is_told_in_the_words_of_the_api() -> None:
    async with target(said("a")) as one:
        only = route({"endpoint": one.url}, selector={"modelPattern": "^m$"})
        async with gateway(only) as found:
            unknown = await ask(found.port, chat(model="other"))
            assert (unknown.status, unknown.error["type"], unknown.error["param"]) == (404, "model_not_found", "model")
            broken = await ask(found.port, b"{")
            assert (broken.status, broken.error["type"]) == (400, "invalid_request_error")
            large = await ask(found.port, b"x" * (33 << 20))
            assert (large.status, large.error["type"]) == (413, "invalid_request_error")
            message = await ask(found.port, b"{", path="messages")
            assert message.json["type"] == "error"
            hint = await ask(found.port, chat(), fields=b"x-tf-priority: urgent\r\n")
            assert (hint.status, hint.error["param"]) == (400, "x-tf-priority")
            async with Client(found.port) as client:
                client.get("/v1/chat/completions")
                assert (await client.response()).status == 405
        assert one.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_without_a_credential_a_target_is_never_asked(*, stream: bool) -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url, **SECRET})) as found:
        response = await ask(found.port, chat(stream=stream))
        assert (response.status, response.error["type"]) == (503, "no_healthy_target")
        assert "Secret default/s key k does not exist" in str(response.error["message"])
        assert one.requests == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("spoken", [False, True])
async def test_a_client_that_leaves_takes_its_request_along(*, stream: bool, spoken: bool) -> None:
    events = (ROLE, word("a")) if stream and spoken else ()
    async with target(stall(*events)) as one, gateway(route({"endpoint": one.url})) as found, steady() as now:
        async with Client(found.port) as client:
            client.send(chat(stream=stream))
            if events:
                await client.reader.readuntil(b"\r\n\r\n")
                await client.chunk()
            await until(lambda: one.requests)
            left = now()
        await until(lambda: one.left)
        assert now() - left < 0.1
        await until(lambda: found.records)
        record = found.records[0]
        assert (record.status, record.error_type) == (499, "client_closed")
        assert record.completion_tokens == len(events) // 2
        assert record.prompt_tokens > 0  # it may have been read: who leaves early enough must not have it for nothing
        assert found.limits.settled == [record.prompt_tokens + record.completion_tokens]
        assert record.attempts[0].outcome == "cancelled"


async def test_what_the_target_says_of_the_request_is_the_clients_to_read() -> None:
    theirs = failed(400, "bad thing")
    async with target(theirs) as one, target(said("b")) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat())
            assert (response.status, response.body) == (400, theirs.partition(b"\r\n\r\n")[2])
            assert response.fields["x-tf-attempts"] == "1"
            assert two.requests == []


async def test_a_load_test_asks_all_others_too_and_charges_nothing_for_it() -> None:
    async with target(said("a")) as one, target(failed(500)) as two, target(stall()) as three:
        targets = [{"endpoint": each.url} for each in (one, two, three)]
        async with gateway(route(*targets, strategy="loadtest")) as found:
            response = await ask(found.port, chat())
            assert (response.status, response.fields["x-tf-target"]) == (200, "t0")
            await until(lambda: two.requests and three.requests)
            assert len(found.records) == 1
            assert found.limits.settled == [5]
            assert [each.json["model"] for each in (two.requests[0], three.requests[0])] == ["up1", "up2"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 422, 429, 500])
async def test_what_a_target_quotes_of_a_request_is_told_to_who_asked_and_kept_nowhere(
    *, status: int, stream: bool
) -> None:
    quoting = failed(status, "cannot answer 'my secret prompt'", code="bad_thing")
    async with target(quoting) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=stream))
        assert "my secret prompt" in str(response.error["message"])
        async with Client(found.port) as client:
            client.get("/routes")
            routes = (await client.response()).body
        assert b"bad_thing" in routes
        assert "secret" not in str(found.records) + str(routes)


async def test_names_that_no_field_can_hold_do_no_harm() -> None:
    async with target(said("a")) as one:
        odd = {"endpoint": one.url, "name": "é\r\nx: y", "model": "a b"}
        async with gateway(route(odd)) as found:
            response = await ask(found.port, chat())
            assert response.status == 200
            assert response.fields["x-tf-target"] == "%C3%A9%0D%0Ax: y"
            assert response.fields["x-tf-model"] == "a b"
            assert "x" not in response.fields


async def test_what_a_client_takes_to_send_its_request_is_not_the_gateways_time() -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as found:
        async with Client(found.port) as client:
            body = json.dumps(chat()).encode()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.writer.write(head + body[:10])
            await until(lambda: any(each._task for each in found.server._connections))
            took: list[float] = []
            await slept(took)
            client.writer.write(body[10:])
            response = await client.response()
        record = found.records[0]
        assert record.latency_ms >= 200
        rest = record.latency_ms - sum(took) + ROUNDED
        assert float(response.fields["x-tf-overhead-ms"]) < rest
        assert record.overhead_ms < rest
        assert record.queue_ms < rest


@pytest.mark.parametrize("how", ["whole", "stream", "verbatim"])
async def test_what_a_target_takes_to_fail_or_to_begin_is_not_the_gateways_time(how: str) -> None:
    took: list[float] = []

    async def reset_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await slept(took)
        reset(writer)

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await slept(took)
        writer.write(streamed(ROLE, word("a"), STOP, DONE) if how == "stream" else said("a"))

    async with target(reset_late) as one, target(late) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            path = "audio/speech" if how == "verbatim" else "chat/completions"
            response = await ask(found.port, chat(stream=how == "stream"), path=path)
        assert (response.status, response.fields["x-tf-attempts"]) == (200, "2")
        record = found.records[0]
        assert record.latency_ms >= 400
        rest = record.latency_ms - sum(took) + ROUNDED
        assert float(response.fields["x-tf-overhead-ms"]) < rest
        assert record.overhead_ms < rest


async def slept(took: list[float]) -> None:
    """0.2 s pass, and as many more as the machine stands still; notes the milliseconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(0.2)
    took.append((loop.time() - began) * 1000)


async def test_a_client_that_leaves_in_a_pause_between_attempts_is_not_waited_for() -> None:
    retry = {"maxRetries": 3, "maxDelay": "60s"}
    async with target(failed(503, fields=b"Retry-After: 50\r\n")) as one:
        async with gateway(route({"endpoint": one.url}, retry=retry)) as found, steady() as now:
            async with Client(found.port) as client:
                client.send(chat())
                await until(lambda: one.requests)
                await asyncio.sleep(0.05)  # it is in the pause now
            left = now()
            await until(lambda: found.records)
            assert now() - left < 0.1
            assert (found.records[0].status, len(one.requests)) == (499, 1)


async def test_a_client_that_leaves_while_a_target_is_connected_to_is_not_waited_for() -> None:
    with socket.socket() as full:  # it accepts nobody, and its queue is full
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        try:
            url = f"http://127.0.0.1:{address[1]}/v1"
            async with gateway(route({"endpoint": url})) as found, steady() as now:
                async with Client(found.port) as client:
                    client.send(chat())
                    await asyncio.sleep(0.1)
                left = now()
                await until(lambda: found.records)
                assert now() - left < 0.1
                assert found.records[0].status == 499
        finally:
            for filler in fillers:
                filler.close()


async def test_what_a_request_wants_of_a_cache_is_read_and_nothing_is_asked_for_one_that_only_wants_that() -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as found:
        for wanted in (b"no-store", b"No-Cache, no-store"):
            answer = await ask(found.port, chat(), fields=b"x-tf-cache: " + wanted + b"\r\n")
            assert (answer.status, "x-tf-cache" in answer.fields) == (200, False)
        wrong = await ask(found.port, chat(), fields=b"x-tf-cache: max-age=5\r\n")
        assert (wrong.status, wrong.error["param"]) == (400, "x-tf-cache")
        assert "wanted no-store, no-cache or only-if-cached" in str(wrong.error["message"])
        only = await ask(found.port, chat(), fields=b"x-tf-cache: only-if-cached\r\n")
        assert (only.status, only.error["code"]) == (504, "not_cached")
        assert len(one.requests) == 2
