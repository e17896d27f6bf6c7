"""The clients of OpenAI and Anthropic, unmodified, through the gateway to a simulated model server; and every fault
that this server knows, streaming and not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from fronts import Gateway, gateway, route, until
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tensorfusion.testing.llm import LlmServer, Rule, Settings
from tensorfusion.testing.llm.faults import FAULTS

MODEL = "sim-small"
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FAST = {"timeout": "300ms", "firstTokenTimeout": "400ms"}


class City(BaseModel):
    name: str
    people: int


@contextlib.asynccontextmanager
async def serving(*servers: LlmServer, **spec: object) -> AsyncIterator[Gateway]:
    targets = [{"endpoint": f"{server.url}/v1", "model": MODEL} for server in servers]
    async with gateway(route(*targets, selector={"modelPattern": "^m$"}, **spec)) as found:
        yield found


def client_of(found: Gateway) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{found.port}/v1", api_key="tf-any", max_retries=0)


async def test_chat_streams_tools_and_structured_output() -> None:
    async with LlmServer(Settings()) as server, serving(server) as found, client_of(found) as client:
        whole = await client.chat.completions.create(model="m", messages=HI)
        text = whole.choices[0].message.content
        assert text
        stream = await client.chat.completions.create(
            model="m", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
        called = await client.chat.completions.create(model="m", messages=HI, tools=[WEATHER], tool_choice="required")
        assert called.choices[0].message.tool_calls[0].function.name == "get_weather"
        async with client.chat.completions.stream(
            model="m", messages=HI, tools=[WEATHER], tool_choice="required"
        ) as events:
            async for _ in events:
                pass
            final = await events.get_final_completion()
        assert final.choices[0].message.tool_calls[0].function.name == "get_weather"
        parsed = await client.chat.completions.parse(model="m", messages=HI, response_format=City)
        assert isinstance(parsed.choices[0].message.parsed, City)


async def test_the_other_paths() -> None:
    async with LlmServer(Settings()) as server, serving(server) as found, client_of(found) as client:
        assert (await client.completions.create(model="m", prompt="a")).choices[0].text
        stream = await client.completions.create(model="m", prompt="a", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])
        assert len((await client.embeddings.create(model="m", input=["a", "b"])).data) == 2
        assert (await client.responses.create(model="m", input="hi")).output_text
        async with client.responses.stream(model="m", input="hi") as events:
            async for _ in events:
                pass
            assert (await events.get_final_response()).output_text
        assert [model.id async for model in client.models.list()] == ["m"]
        assert (await client.models.retrieve("m")).id == "m"


async def test_the_synchronous_client() -> None:
    async with LlmServer(Settings()) as server, serving(server) as found:

        def ask() -> str:
            with OpenAI(base_url=f"http://127.0.0.1:{found.port}/v1", api_key="tf-any") as client:
                stream = client.chat.completions.create(model="m", messages=HI, stream=True)
                return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

        assert await asyncio.to_thread(ask)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate-limit", openai.RateLimitError),
        ("context-length", openai.BadRequestError),
        ("content-filter", openai.BadRequestError),
        ("error", openai.InternalServerError),
        ("unauthorized", openai.InternalServerError),
        ("reset", openai.InternalServerError),
    ],
)
async def test_errors_are_those_of_the_client(*, fault: str, error: type[Exception], stream: bool) -> None:
    async with LlmServer(Settings(), rules=[Rule(fault)]) as server, serving(server) as found:
        async with client_of(found) as client:
            with pytest.raises(error):
                await client.chat.completions.create(model="m", messages=HI, stream=stream)
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="unknown", messages=HI, stream=stream)


@pytest.mark.parametrize("fault", ["cut", "cut-reset", "short-end", "error-event", "broken-chunk"])
async def test_a_broken_stream_is_an_error_to_the_client(fault: str) -> None:
    async with LlmServer(Settings(tpot=0.005), rules=[Rule(fault)]) as server, serving(server) as found:
        async with client_of(found) as client:
            with pytest.raises(openai.APIError):  # from the first line, where a slow machine has all of it at once
                stream = await client.chat.completions.create(model="m", messages=HI, stream=True)
                [chunk async for chunk in stream]


async def test_a_client_that_stops_reading_ends_the_request_at_the_target() -> None:
    async with LlmServer(Settings(tpot=0.05, answer_tokens=200)) as server, serving(server) as found:
        async with client_of(found) as client:
            stream = await client.chat.completions.create(model="m", messages=HI, stream=True)
            async for _ in stream:
                break
            await stream.close()
            await until(lambda: server.seen[-1].left)
            await until(lambda: found.records)
        assert found.records[0].status == 499
        assert 0 < found.records[0].completion_tokens <= server.seen[-1].tokens


PASSED_ON = {"prefill-rejected", "content-filter", "context-length", "context-length-vllm", "filter-stream"}
SLOW = {"slow-drip"}


@pytest.mark.usefixtures("short_stall")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", sorted(set(FAULTS) - PASSED_ON - SLOW))
async def test_no_fault_of_one_target_reaches_the_client(*, fault: str, stream: bool) -> None:
    async with (
        LlmServer(Settings(tpot=0.002), rules=[Rule(fault)]) as one,
        LlmServer(Settings(tpot=0.002)) as two,
        serving(one, two, **FAST) as found,
        client_of(found) as client,
    ):
        async with AsyncOpenAI(base_url=f"{two.url}/v1", api_key="any") as direct:
            wanted = await direct.chat.completions.create(model=MODEL, messages=HI)
        answered = await client.chat.completions.create(model="m", messages=HI, stream=stream)
        if stream:
            chunks = [chunk async for chunk in answered]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert chunks[-1].choices[0].finish_reason == "stop"
        else:
            text = answered.choices[0].message.content
        assert text == wanted.choices[0].message.content
        record = found.records[0]
        assert (record.status, record.completion_tokens) == (200, wanted.usage.completion_tokens)


async def test_anthropics_client_to_a_target_that_speaks_it() -> None:
    async with LlmServer(Settings()) as server:
        target = {"endpoint": f"{server.url}/v1", "model": MODEL, "provider": "anthropic"}
        async with gateway(route(target)) as found:
            async with AsyncAnthropic(
                base_url=f"http://127.0.0.1:{found.port}", api_key="tf-any", max_retries=0
            ) as client:
                whole = await client.messages.create(model="m", max_tokens=100, messages=HI)
                text = whole.content[0].text
                async with client.messages.stream(model="m", max_tokens=100, messages=HI) as stream:
                    assert (await stream.get_final_message()).content[0].text == text
                assert found.records[1].completion_tokens == whole.usage.output_tokens
                server.rules.set([Rule("rate-limit")])
                with pytest.raises(anthropic.RateLimitError):
                    await client.messages.create(model="m", max_tokens=100, messages=HI)


async def test_a_message_at_a_target_of_openais_wire_and_a_chat_at_one_of_anthropics() -> None:
    async with LlmServer(Settings()) as server:
        openais = route({"endpoint": f"{server.url}/v1", "model": MODEL}, name="a", selector={"modelPattern": "^a$"})
        anthropics = route(
            {"endpoint": f"{server.url}/v1", "model": MODEL, "provider": "anthropic"},
            name="b",
            selector={"modelPattern": "^b$"},
        )
        async with gateway(openais, anthropics) as found:
            base = f"http://127.0.0.1:{found.port}"
            async with AsyncAnthropic(base_url=base, api_key="tf-any", max_retries=0) as client:
                whole = await client.messages.create(model="a", max_tokens=100, messages=HI)
                assert whole.stop_reason == "end_turn"
                async with client.messages.stream(model="a", max_tokens=100, messages=HI) as stream:
                    final = await stream.get_final_message()
                assert final.content[0].text == whole.content[0].text
                assert final.usage.output_tokens == whole.usage.output_tokens
                tools = [{"name": "w", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
                async with client.messages.stream(
                    model="a", max_tokens=100, messages=HI, tools=tools, tool_choice={"type": "any"}
                ) as stream:
                    assert (await stream.get_final_message()).content[-1].type == "tool_use"
                server.rules.set([Rule("context-length")])
                with pytest.raises(anthropic.BadRequestError):
                    await client.messages.create(model="a", max_tokens=100, messages=HI)
                server.rules.set([Rule("cut")])
                with pytest.raises(anthropic.APIError):
                    async with client.messages.stream(model="a", max_tokens=100, messages=HI) as stream:
                        await stream.get_final_message()
                server.rules.set([])
            async with client_of(found) as client:
                whole = await client.chat.completions.create(model="b", messages=HI)
                assert whole.choices[0].finish_reason == "stop"
                stream = await client.chat.completions.create(
                    model="b", messages=HI, stream=True, stream_options={"include_usage": True}
                )
                chunks = [chunk async for chunk in stream]
                text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
                assert text == whole.choices[0].message.content
                assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
                server.rules.set([Rule("rate-limit")])
                with pytest.raises(openai.RateLimitError):
                    await client.chat.completions.create(model="b", messages=HI)
                with pytest.raises(openai.BadRequestError):
                    await client.embeddings.create(model="b", input="a")


@pytest.mark.parametrize("fault", ["cut", "cut-reset", "short-end", "error-event"])
async def test_a_translated_answer_goes_on_at_another_target(fault: str) -> None:
    async with LlmServer(Settings(tpot=0.005), rules=[Rule(fault)]) as one, LlmServer(Settings(tpot=0.005)) as two:
        for provider in ("vllm", "anthropic"):
            targets = [{"endpoint": f"{each.url}/v1", "model": MODEL, "provider": provider} for each in (one, two)]
            async with gateway(route(*targets)) as found:
                async with client_of(found) as client:
                    async with AsyncAnthropic(base_url=f"http://127.0.0.1:{found.port}", api_key="x") as other:
                        if provider == "vllm":
                            async with other.messages.stream(model="m", max_tokens=100, messages=HI) as stream:
                                text = (await stream.get_final_message()).content[0].text
                            whole = await other.messages.create(model="m", max_tokens=100, messages=HI)
                            assert text == whole.content[0].text
                        else:
                            chunks = await client.chat.completions.create(model="m", messages=HI, stream=True)
                            text = "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices])
                            assert text
                assert len(found.records[0].attempts) == 2
