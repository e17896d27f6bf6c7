"""OpenAI's own client, unmodified, against the simulated server."""

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tensorfusion.testing.llm import LlmServer, Settings

MODEL = "sim-small"
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather somewhere",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


class City(BaseModel):
    name: str
    people: int


@pytest.fixture
async def server() -> AsyncIterator[LlmServer]:
    async with LlmServer(Settings(context_length=200)) as found:
        yield found


@pytest.fixture
async def client(server: LlmServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as found:
        yield found


async def test_a_chat_completion_streams_to_the_same_text(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model=MODEL, messages=HI)
    text = whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.prompt_tokens == 2
    assert whole.usage.completion_tokens == len(text.split())
    stream = await client.chat.completions.create(
        model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    first, *middle, end, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "".join(chunk.choices[0].delta.content for chunk in middle) == text
    assert len(middle) == whole.usage.completion_tokens
    assert {chunk.choices[0].finish_reason for chunk in (first, *middle)} == {None}
    assert (end.choices[0].finish_reason, end.choices[0].delta.content) == ("stop", None)
    assert usage.choices == []
    assert usage.usage == whole.usage
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id != whole.id


async def test_without_being_asked_for_it_a_stream_tells_no_usage(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(len(chunk.choices) == 1 and "usage" not in chunk.model_fields_set for chunk in chunks)


def test_the_client_that_blocks_gets_the_same() -> None:
    async def scenario() -> None:
        async with LlmServer() as server:

            def ask() -> tuple[str, str]:
                with OpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as client:
                    whole = client.chat.completions.create(model=MODEL, messages=HI)
                    stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
                    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
                    return whole.choices[0].message.content, "".join(pieces)

            whole, streamed = await asyncio.to_thread(ask)
            assert whole == streamed

    asyncio.run(scenario())


async def test_max_tokens_stop_and_n(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model=MODEL, messages=HI, n=3)
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    assert whole.usage.completion_tokens == sum(len(text.split()) for text in texts)
    short = await client.chat.completions.create(model=MODEL, messages=HI, max_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.choices[0].message.content == " ".join(texts[0].split()[:3])
    word = texts[0].split()[4]
    stopped = await client.chat.completions.create(model=MODEL, messages=HI, stop=[word, "nowhere"])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == texts[0][: texts[0].index(word)]
    stream = await client.chat.completions.create(model=MODEL, messages=HI, n=3, stream=True)
    pieces = ["", "", ""]
    async for chunk in stream:
        for choice in chunk.choices:
            pieces[choice.index] += choice.delta.content or ""
    assert pieces == texts


async def test_an_answer_goes_on_from_how_it_begins(client: AsyncOpenAI) -> None:
    whole = (await client.chat.completions.create(model=MODEL, messages=HI, seed=4)).choices[0].message.content
    begun = [*HI, {"role": "assistant", "content": whole[:21]}]
    vllm = {"continue_final_message": True, "add_generation_prompt": False}
    rest = await client.chat.completions.create(model=MODEL, messages=begun, seed=4, extra_body=vllm)
    assert whole[:21] + rest.choices[0].message.content == whole
    new = await client.chat.completions.create(model=MODEL, messages=begun, seed=4)
    assert new.choices[0].message.content not in whole
    begun[-1]["prefix"] = True
    prefixed = await client.chat.completions.create(model=MODEL, messages=begun, seed=4)
    assert prefixed.choices[0].message.content == rest.choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="Cannot set both"):
        await client.chat.completions.create(model=MODEL, messages=begun, extra_body={"continue_final_message": True})
    with pytest.raises(openai.BadRequestError, match="its role is user"):
        await client.chat.completions.create(model=MODEL, messages=HI, extra_body=vllm)


async def test_tools_are_called_when_they_are_asked_for(client: AsyncOpenAI) -> None:
    ask = [{"role": "user", "content": "call get_weather, then the clock."}]
    tools = [WEATHER, CLOCK]
    whole = await client.chat.completions.create(model=MODEL, messages=ask, tools=tools)
    (choice,) = whole.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "clock"]
    assert json.loads(calls[0].function.arguments) == {"city": "x", "days": 2}
    assert calls[1].function.arguments == "{}"
    async with client.chat.completions.stream(model=MODEL, messages=ask, tools=tools) as stream:
        final = await stream.get_final_completion()
    streamed = final.choices[0].message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in streamed] == [
        (call.function.name, call.function.arguments) for call in calls
    ]
    one = await client.chat.completions.create(model=MODEL, messages=ask, tools=tools, parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls) == 1
    none = await client.chat.completions.create(model=MODEL, messages=ask, tools=tools, tool_choice="none")
    assert none.choices[0].message.tool_calls is None
    plain = await client.chat.completions.create(model=MODEL, messages=HI, tools=tools)
    assert plain.choices[0].message.tool_calls is None
    forced = await client.chat.completions.create(model=MODEL, messages=HI, tools=tools, tool_choice="required")
    assert forced.choices[0].message.tool_calls[0].function.name == "get_weather"
    named = {"type": "function", "function": {"name": "clock"}}
    chosen = await client.chat.completions.create(model=MODEL, messages=HI, tools=tools, tool_choice=named)
    assert chosen.choices[0].message.tool_calls[0].function.name == "clock"
    told = [*ask, {"role": "assistant", "tool_calls": [call.model_dump() for call in calls]}]
    told += [{"role": "tool", "tool_call_id": call.id, "content": "get_weather: sun"} for call in calls]
    after = await client.chat.completions.create(model=MODEL, messages=told, tools=tools)
    assert after.choices[0].finish_reason == "stop"


async def test_structured_output_keeps_to_its_schema(client: AsyncOpenAI) -> None:
    parsed = await client.chat.completions.parse(model=MODEL, messages=HI, response_format=City)
    assert parsed.choices[0].message.parsed == City(name="", people=0)
    loose = await client.chat.completions.create(model=MODEL, messages=HI, response_format={"type": "json_object"})
    assert loose.choices[0].message.content == "{}"
    response = await client.responses.parse(model=MODEL, input="hi", text_format=City)
    assert response.output_parsed == City(name="", people=0)


async def test_completions(client: AsyncOpenAI) -> None:
    whole = await client.completions.create(model=MODEL, prompt="one two", max_tokens=5)
    assert whole.choices[0].finish_reason == "length"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (2, 5)
    stream = await client.completions.create(model=MODEL, prompt="one two", max_tokens=5, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 5 + ["length"]
    echoed = await client.completions.create(model=MODEL, prompt="one two", echo=True)
    assert echoed.choices[0].text.startswith("one two")
    assert echoed.usage.completion_tokens <= 16
    numbers = await client.completions.create(model=MODEL, prompt=[1, 2, 3], n=2)
    assert (numbers.usage.prompt_tokens, len(numbers.choices)) == (3, 2)
    with pytest.raises(openai.BadRequestError, match="2 prompts"):
        await client.completions.create(model=MODEL, prompt=["a", "b"])


async def test_embeddings(client: AsyncOpenAI) -> None:
    found = await client.embeddings.create(model=MODEL, input=["a b", "c"])
    assert [len(row.embedding) for row in found.data] == [64, 64]
    assert found.usage.prompt_tokens == 3
    again = await client.embeddings.create(model=MODEL, input="a b", encoding_format="float")
    assert again.data[0].embedding == pytest.approx(found.data[0].embedding, abs=1e-7)
    assert sum(value * value for value in again.data[0].embedding) == pytest.approx(1)
    small = await client.embeddings.create(model=MODEL, input=[[1, 2], [3]], dimensions=5)
    assert [len(row.embedding) for row in small.data] == [5, 5]
    with pytest.raises(openai.BadRequestError, match="at least one text"):
        await client.embeddings.create(model=MODEL, input=[])


async def test_responses(client: AsyncOpenAI) -> None:
    whole = await client.responses.create(model=MODEL, input="hi", instructions="be kind")
    chat = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "developer", "content": "be kind"}, *HI]
    )
    assert whole.status == "completed"
    assert whole.output_text == chat.choices[0].message.content
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
    )
    events = [event async for event in await client.responses.create(model=MODEL, input="hi", stream=True)]
    kinds = [event.type for event in events]
    count = kinds.count("response.output_text.delta")
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * count,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == events[-4].text
    assert events[-1].response.usage.output_tokens == count
    short = await client.responses.create(model=MODEL, input="hi", max_output_tokens=2)
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_responses_call_tools(client: AsyncOpenAI) -> None:
    tools = [{"type": "function", "strict": True, **WEATHER["function"]}]
    async with client.responses.stream(model=MODEL, input="use get_weather", tools=tools) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    (call,) = final.output
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "get_weather",
        {"city": "x", "days": 2},
    )
    assert kinds[2] == "response.output_item.added"
    assert kinds[-3:] == ["response.function_call_arguments.done", "response.output_item.done", "response.completed"]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "use get_weather"}]},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"},
    ]
    after = await client.responses.create(model=MODEL, input=items, tools=tools)
    assert after.output_text
    with pytest.raises(openai.BadRequestError, match="nothing is stored"):
        await client.responses.create(model=MODEL, input="and?", previous_response_id="resp_1")


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    (model,) = (await client.models.list()).data
    assert (model.id, model.owned_by) == (MODEL, "tensorfusion-testserver")
    assert (await client.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")


async def test_errors_are_those_of_the_api(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="other", messages=HI)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "a " * 300}])
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError, match=r"Expected `str`, got `int`: messages\[0\].role") as wrong:
        await client.chat.completions.create(model=MODEL, messages=[{"role": 1}])
    assert wrong.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="too short"):
        await client.chat.completions.create(model=MODEL, messages=[])
    with pytest.raises(openai.BadRequestError, match="stream_options"):
        await client.chat.completions.create(model=MODEL, messages=HI, stream_options={"include_usage": True})
    with pytest.raises(openai.BadRequestError, match="Invalid schema for tools"):
        tool = {"type": "function", "function": {"name": "hi", "parameters": {"type": "colour"}}}
        await client.chat.completions.create(model=MODEL, messages=HI, tools=[tool])


async def test_a_key_is_asked_for_where_one_is_set() -> None:
    async with LlmServer(Settings(api_key="right")) as server:
        for key in ("right", "wrong"):
            async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
                if key == "wrong":
                    with pytest.raises(openai.AuthenticationError):
                        await client.chat.completions.create(model=MODEL, messages=HI)
                else:
                    assert (await client.chat.completions.create(model=MODEL, messages=HI)).choices
        right, wrong = server.seen
    assert (right.status, wrong.status) == (200, 401)
    assert right.credential != wrong.credential
    assert "right" not in str(right.headers)
