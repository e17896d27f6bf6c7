"""Each fault as a client meets it, and which requests have it."""

import asyncio
import contextlib
import email.utils
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import anthropic
import msgspec
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tensorfusion.errors import ConfigError
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.llm import End, LlmServer, Rule, Settings
from tensorfusion.testing.llm.faults import FAULTS, Rules, fault_of

MODEL = "sim-small"
HI = [{"role": "user", "content": "hi"}]
PATIENCE = 20


@pytest.fixture
async def server(clock: VirtualClock) -> AsyncIterator[LlmServer]:
    async with LlmServer(Settings(faults=True, answer_tokens=20), clock=clock) as found:
        yield found


@pytest.fixture
async def client(server: LlmServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as found:
        yield found


async def ask(client: AsyncOpenAI, fault: str = "", *, stream: bool = False, **more: object):
    headers = {"x-testserver-fault": fault} if fault else {}
    return await client.chat.completions.create(model=MODEL, messages=HI, stream=stream, extra_headers=headers, **more)


async def streamed(client: AsyncOpenAI, fault: str) -> tuple[list, BaseException | None]:
    """The chunks that came, and what ended them."""
    chunks = []
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in await ask(client, fault, stream=True):
                chunks.append(chunk)
    except Exception as error:
        return chunks, error
    return chunks, None


async def raw(server: LlmServer, fault: str, *, stream: bool = True) -> tuple[bytes, BaseException | None]:
    """All bytes of the answer, and the error at its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = json.dumps({"model": MODEL, "messages": HI, "stream": stream}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Testserver-Fault: {fault}\r\nContent-Length: {len(body)}"
    )
    writer.write(head.encode() + b"\r\n\r\n" + body)
    found = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while piece := await reader.read(1 << 16):
                found += piece
                if found.endswith(b"0\r\n\r\n"):
                    break
    except ConnectionError as error:
        return found, error
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return found, None


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("rate-limit", openai.RateLimitError, "rate_limit_exceeded"),
        ("quota", openai.RateLimitError, "insufficient_quota"),
        ("unauthorized", openai.AuthenticationError, "invalid_api_key"),
        ("error", openai.InternalServerError, None),
        ("unavailable", openai.InternalServerError, None),
        ("overloaded", openai.InternalServerError, None),
        ("status;code=403", openai.PermissionDeniedError, None),
        ("context-length", openai.BadRequestError, "context_length_exceeded"),
        ("context-length-vllm", openai.BadRequestError, "400"),
        ("content-filter", openai.BadRequestError, "content_filter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals(
    client: AsyncOpenAI, server: LlmServer, fault: str, kind: type, code: str, stream: bool
) -> None:
    with pytest.raises(kind) as caught:
        await ask(client, fault, stream=stream)
    assert caught.value.code == code
    (seen,) = server.seen
    assert (seen.fault, seen.status, seen.end, seen.tokens) == (fault, caught.value.status_code, End.WHOLE, 0)


async def test_retry_after_as_seconds_and_as_a_date(client: AsyncOpenAI, clock: VirtualClock) -> None:
    with pytest.raises(openai.RateLimitError) as plain:
        await ask(client, "rate-limit")
    assert "retry-after" not in plain.value.response.headers
    with pytest.raises(openai.RateLimitError) as seconds:
        await ask(client, "rate-limit-seconds;seconds=7")
    assert seconds.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.RateLimitError) as date:
        await ask(client, "rate-limit-date;seconds=30")
    moment = email.utils.parsedate_to_datetime(date.value.response.headers["retry-after"])
    assert moment - clock.now() == timedelta(seconds=30)


async def test_anthropic_is_told_in_its_own_words(server: LlmServer) -> None:
    async with AsyncAnthropic(base_url=server.url, api_key="secret", max_retries=0) as client:

        async def ask(fault: str, **more: object):
            headers = {"x-testserver-fault": fault}
            return await client.messages.create(model=MODEL, max_tokens=50, messages=HI, extra_headers=headers, **more)

        with pytest.raises(anthropic.OverloadedError) as overloaded:
            await ask("overloaded")
        assert overloaded.value.type == "overloaded_error"
        with pytest.raises(anthropic.RateLimitError):
            await ask("rate-limit")
        with pytest.raises(anthropic.APIStatusError, match="in the middle of the answer"):
            async for _ in await ask("error-event", stream=True):
                pass
        assert (await ask("filter-stream")).stop_reason == "refusal"


async def test_a_reset_before_an_answer(client: AsyncOpenAI, server: LlmServer) -> None:
    for stream in (False, True):
        with pytest.raises(openai.APIConnectionError):
            await ask(client, "reset", stream=stream)
    found, error = await raw(server, "reset")
    assert (found, type(error)) == (b"", ConnectionResetError)
    assert {seen.end for seen in server.seen} == {End.BROKEN}


async def test_no_answer_until_the_client_has_enough(client: AsyncOpenAI, server: LlmServer) -> None:
    with pytest.raises(openai.APITimeoutError):
        await ask(client, "hang", timeout=0.05)
    await ended(server)
    (seen,) = server.seen
    assert (seen.left, seen.status, seen.tokens, server.engine.running) == (True, 0, 0, 0)


@pytest.mark.parametrize("fault", ["cut", "broken-chunk", "cut-reset"])
async def test_a_connection_that_ends_after_some_events(client: AsyncOpenAI, server: LlmServer, fault: str) -> None:
    chunks, error = await streamed(client, f"{fault};after=4")
    assert len(chunks) == 4
    assert isinstance(error, openai.APIConnectionError)
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    (seen,) = server.seen
    assert (seen.end, seen.tokens, seen.status) == (End.BROKEN, 3, 200)


async def test_how_such_a_connection_ends_on_the_wire(server: LlmServer) -> None:
    found, error = await raw(server, "cut;after=2")
    assert error is None
    assert found.count(b"data: ") == 2
    assert found.endswith(b"\n\n\r\n")
    found, error = await raw(server, "cut-reset;after=2")
    assert isinstance(error, ConnectionResetError)
    assert found.count(b"data: ") == 2
    found, error = await raw(server, "broken-chunk;after=2")
    assert error is None
    assert found.count(b"data: ") == 3
    size, _, half = found.rpartition(b"\r\n")
    assert len(half) == int(size.rpartition(b"\r\n")[2], 16) // 2


async def test_a_body_that_ends_well_without_having_said_all(client: AsyncOpenAI, server: LlmServer) -> None:
    chunks, error = await streamed(client, "short-end;after=4")
    assert (len(chunks), error) == (4, None)
    found, _ = await raw(server, "short-end;after=4")
    assert b"[DONE]" not in found
    assert found.endswith(b"0\r\n\r\n")


async def test_silence_after_some_events(client: AsyncOpenAI, server: LlmServer) -> None:
    stream = await ask(client, "stall;after=3", stream=True, timeout=0.05)
    chunks = []
    with pytest.raises(openai.APITimeoutError):
        async for chunk in stream:
            chunks.append(chunk)
    await ended(server)
    (seen,) = server.seen
    assert (len(chunks), seen.left, seen.tokens) == (3, True, 2)


async def test_events_that_are_wrong(client: AsyncOpenAI, server: LlmServer) -> None:
    chunks, error = await streamed(client, "malformed-event;after=2")
    assert len(chunks) == 2
    assert isinstance(error, json.JSONDecodeError)
    chunks, error = await streamed(client, "error-event;after=2")
    assert len(chunks) == 2
    assert isinstance(error, openai.APIError)
    chunks, error = await streamed(client, "oversized-event;after=2;bytes=300000")
    assert (error, len(chunks)) == (None, 23)
    found, _ = await raw(server, "oversized-event;bytes=300000")
    assert b"x" * 300_000 in found
    found, _ = await raw(server, "no-done")
    assert b"[DONE]" not in found
    assert b'"finish_reason":"stop"' in found


async def test_a_content_filter_in_the_middle(client: AsyncOpenAI) -> None:
    chunks, error = await streamed(client, "filter-stream;after=5")
    assert error is None
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 6 + ["content_filter"]
    whole = await ask(client, "filter-stream;after=5")
    assert (whole.choices[0].finish_reason, whole.usage.completion_tokens) == ("content_filter", 5)


async def test_answers_that_are_no_json(client: AsyncOpenAI) -> None:
    with pytest.raises(json.JSONDecodeError):
        await ask(client, "invalid-json")
    chunks, error = await streamed(client, "invalid-json")
    assert chunks == []
    assert isinstance(error, json.JSONDecodeError)
    page = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HI, extra_headers={"x-testserver-fault": "wrong-content-type"}
    )
    assert page.http_response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("fault", ["cut", "cut-reset", "broken-chunk"])
async def test_whole_answers_are_cut_in_half(client: AsyncOpenAI, server: LlmServer, fault: str) -> None:
    with pytest.raises(openai.APIConnectionError):
        await ask(client, fault)
    assert server.seen[0].end is End.BROKEN


async def test_what_is_slow_takes_its_time(client: AsyncOpenAI, server: LlmServer, clock: VirtualClock) -> None:
    plain = (await ask(client)).choices[0].message.content
    for fault in ("slow-head;seconds=3", "slow-start;seconds=3"):
        for stream in (False, True):
            clock.slept.clear()
            if stream:
                chunks, error = await streamed(client, fault)
                text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
                assert error is None
            else:
                text = (await ask(client, fault)).choices[0].message.content
            assert text == plain
            assert clock.slept == [3.0]
    clock.slept.clear()
    assert (await ask(client, "slow-drip;bytes=100;seconds=2")).choices[0].message.content == plain
    assert set(clock.slept) == {2.0}
    chunks, error = await streamed(client, "slow-drip;bytes=5")
    assert error is None
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain


async def test_prefill_is_rejected_where_there_is_one(client: AsyncOpenAI) -> None:
    assert (await ask(client, "prefill-rejected")).choices
    with pytest.raises(openai.BadRequestError, match="does not support assistant message prefill"):
        await client.chat.completions.create(
            model=MODEL,
            messages=[*HI, {"role": "assistant", "content": "the", "prefix": True}],
            extra_headers={"x-testserver-fault": "prefill-rejected"},
        )


async def test_an_event_that_never_comes_breaks_nothing(client: AsyncOpenAI) -> None:
    chunks, error = await streamed(client, "cut;after=1000")
    assert error is None
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_header_is_nothing_to_a_server_that_was_not_started_with_faults() -> None:
    async with (
        LlmServer() as server,
        AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as client,
    ):
        assert (await ask(client, "error")).choices


async def test_a_fault_that_is_none_is_told(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no fault 'cutt': did you mean cut"):
        await ask(client, "cutt")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no fault ''"),
        ("cut;before=3", "fault cut has no setting 'before'"),
        ("error;after=3", "it has none"),
        ("cut;after=x", "after is 'x': wanted a number"),
        ("cut;after=-1", "wanted a number from 0 on"),
        ("cut;after=nan", "wanted a number from 0 on"),
        ("status;code=200", "wanted a status from 400 to 599"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        fault_of(text)


def test_every_fault_can_be_written_with_each_of_its_settings() -> None:
    for name, (settings, what) in FAULTS.items():
        assert what
        text = ";".join([name, *(f"{key}={value}" for key, value in settings.items())])
        fault = fault_of(text)
        assert {key: getattr(fault, key) for key in settings} == dict(settings)


def chosen(rule: Rule, count: int = 12, *, path: bytes = b"/v1/messages", model: str = MODEL) -> str:
    rules = Rules([rule])
    return "".join("." if rules.choose(path, model) is None else "x" for _ in range(count))


def test_which_requests_a_rule_takes() -> None:
    assert chosen(Rule("error")) == "x" * 12
    assert chosen(Rule("error", nth=[1, 4])) == "x..x........"
    assert chosen(Rule("error", times=2)) == "xx.........."
    assert chosen(Rule("error", good=3, bad=2)) == "...xx...xx.."
    some = chosen(Rule("error", probability=0.5, seed=3))
    assert some == chosen(Rule("error", probability=0.5, seed=3)) != chosen(Rule("error", probability=0.5, seed=4))
    assert 0 < some.count("x") < 12
    assert chosen(Rule("error", model="other")) == "." * 12
    assert chosen(Rule("error", path="/v1/messages")) == "x" * 12
    assert chosen(Rule("error", path="/health")) == "." * 12


def test_the_first_rule_decides_and_every_one_counts() -> None:
    rules = Rules([Rule("error", nth=[1]), Rule("unavailable", nth=[1, 2])])
    faults = [rules.choose(b"/v1/messages", MODEL) for _ in range(3)]
    assert [fault and fault.name for fault in faults] == ["error", "unavailable", None]
    told = msgspec.json.decode(rules.spelled())["rules"]
    assert [(rule["matched"], rule["failed"]) for rule in told] == [(3, 1), (3, 1)]


async def test_rules_are_set_over_the_wire(client: AsyncOpenAI, server: LlmServer) -> None:
    web = client.with_options(base_url=server.url)
    told = await web.post(
        "/testserver/faults",
        cast_to=object,
        body={"rules": [{"fault": "error", "times": 1}, {"fault": "unavailable", "path": "/health"}]},
    )
    assert [rule["fault"] for rule in told["rules"]] == ["error", "unavailable"]
    with pytest.raises(openai.InternalServerError):
        await ask(client)
    assert (await ask(client)).choices
    with pytest.raises(openai.InternalServerError) as unhealthy:
        await web.get("/health", cast_to=object)
    assert unhealthy.value.status_code == 503
    await web.delete("/testserver/faults", cast_to=object)
    await web.get("/health", cast_to=object)
    for rule, why in (
        ({"fault": "cutt"}, "no fault 'cutt'"),
        ({"fault": "cut", "probability": 2}, "probability is 2"),
        ({"fault": "cut", "good": 2}, "good without bad"),
        ({"fault": "cut", "nht": [1]}, "unknown field `nht`"),
    ):
        with pytest.raises(openai.BadRequestError, match=why):
            await web.post("/testserver/faults", cast_to=object, body={"rules": [rule]})


async def ended(server: LlmServer) -> None:
    """Let the loop run until no request is under way."""
    async with asyncio.timeout(PATIENCE):
        while any(seen.end is End.RUNNING for seen in server.seen):
            await asyncio.sleep(0.001)
