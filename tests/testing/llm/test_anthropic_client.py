"""Anthropic's own client, unmodified, against the simulated server."""

from collections.abc import AsyncIterator

import anthropic
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tensorfusion.testing.llm import LlmServer, Settings

MODEL = "sim-small"
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather somewhere",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
async def server() -> AsyncIterator[LlmServer]:
    async with LlmServer(Settings(context_length=200)) as found:
        yield found


@pytest.fixture
async def client(server: LlmServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=server.url, api_key="secret", max_retries=0) as found:
        yield found


async def test_a_message_streams_to_the_same_text(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(model=MODEL, max_tokens=100, messages=HI)
    text = whole.content[0].text
    assert (whole.stop_reason, whole.role) == ("end_turn", "assistant")
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (2, len(text.split()))
    stream = await client.messages.create(model=MODEL, max_tokens=100, messages=HI, stream=True)
    events = [event async for event in stream]
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == text
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * len(deltas),
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]  # the client keeps pings to itself
    assert events[0].message.usage.output_tokens == 0
    assert events[-2].delta.stop_reason == "end_turn"
    assert events[-2].usage.output_tokens == len(deltas)
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=HI) as stream:
        assert (await stream.get_final_message()).content[0].text == text


async def test_the_events_as_they_go_over_the_wire_have_a_ping(client: AsyncAnthropic) -> None:
    async with client.messages.with_streaming_response.create(
        model=MODEL, max_tokens=1, messages=HI, stream=True
    ) as answer:
        text = await answer.text()
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_both_wires_say_the_same(client: AsyncAnthropic, server: LlmServer) -> None:
    said = await client.messages.create(model=MODEL, max_tokens=100, system="be kind", messages=HI)
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as other:
        chat = await other.chat.completions.create(
            model=MODEL, messages=[{"role": "system", "content": "be kind"}, *HI]
        )
    assert said.content[0].text == chat.choices[0].message.content


async def test_max_tokens_and_stop_sequences(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(model=MODEL, max_tokens=100, messages=HI)
    short = await client.messages.create(model=MODEL, max_tokens=2, messages=HI)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)
    word = whole.content[0].text.split()[3]
    stopped = await client.messages.create(model=MODEL, max_tokens=100, messages=HI, stop_sequences=[word])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", word)


async def test_a_last_message_of_the_assistant_is_how_the_answer_begins(client: AsyncAnthropic) -> None:
    whole = (await client.messages.create(model=MODEL, max_tokens=100, messages=HI)).content[0].text
    begun = [*HI, {"role": "assistant", "content": [{"type": "text", "text": whole[:10]}]}]
    rest = await client.messages.create(model=MODEL, max_tokens=100, messages=begun)
    assert whole[:10] + rest.content[0].text == whole
    with pytest.raises(anthropic.BadRequestError, match="trailing whitespace"):
        await client.messages.create(
            model=MODEL, max_tokens=100, messages=[*HI, {"role": "assistant", "content": "and "}]
        )


async def test_tools(client: AsyncAnthropic) -> None:
    ask = [{"role": "user", "content": "get_weather, please"}]
    whole = await client.messages.create(model=MODEL, max_tokens=100, messages=ask, tools=[WEATHER])
    assert whole.stop_reason == "tool_use"
    (block,) = whole.content
    assert (block.type, block.name, block.input) == ("tool_use", "get_weather", {"city": ""})
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=ask, tools=[WEATHER]) as stream:
        assert (await stream.get_final_message()).content[0].input == {"city": ""}
    told = [
        *ask,
        {"role": "assistant", "content": [{"type": "tool_use", "id": block.id, "name": block.name, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "sun"}]},
    ]
    after = await client.messages.create(model=MODEL, max_tokens=100, messages=told, tools=[WEATHER])
    assert after.stop_reason == "end_turn"
    forced = await client.messages.create(
        model=MODEL, max_tokens=100, messages=HI, tools=[WEATHER], tool_choice={"type": "any"}
    )
    assert forced.stop_reason == "tool_use"


async def test_tokens_are_counted_beforehand(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=HI, system="be kind", tools=[WEATHER])
    said = await client.messages.create(model=MODEL, max_tokens=9, messages=HI, system="be kind", tools=[WEATHER])
    assert counted.input_tokens == said.usage.input_tokens


async def test_models_are_listed(client: AsyncAnthropic) -> None:
    assert [model.id async for model in client.models.list()] == [MODEL]
    assert (await client.models.retrieve(MODEL)).display_name == MODEL


async def test_errors_are_those_of_the_api(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.messages.create(model="other", max_tokens=9, messages=HI)
    assert unknown.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        await client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "a " * 300}])
    with pytest.raises(anthropic.BadRequestError, match="Input should be 'user', 'assistant' or 'system'"):
        await client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "tool", "content": "a"}])
    with pytest.raises(anthropic.BadRequestError, match="greater than or equal to 0"):
        await client.messages.create(model=MODEL, max_tokens=-1, messages=HI)


async def test_a_prompt_may_be_read_without_an_answer(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(model=MODEL, max_tokens=0, messages=[*HI, {"role": "system", "content": "x"}])
    assert (whole.stop_reason, whole.usage.input_tokens, whole.usage.output_tokens) == ("max_tokens", 4, 0)
