"""The clients of both, unmodified, asking a model that speaks only the other's words."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tensorfusion.policy.translate import (
    Flavour,
    StreamToChat,
    StreamToMessages,
    answer_to_chat,
    answer_to_messages,
    request_to_chat,
    request_to_messages,
)
from tensorfusion.testing.llm.ask import answer
from tensorfusion.testing.llm.chat import Chat
from tensorfusion.testing.llm.messages import Messages
from tensorfusion.testing.llm.settings import Settings
from tensorfusion.testing.llm.wire import Ticket
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server

SETTINGS = Settings(models={"m": "m"})
TICKET = Ticket("x", 7)
STREAM = ((b"Content-Type", b"text/event-stream"),)
JSON = ((b"Content-Type", b"application/json"),)
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def as_messages(request: Request, reply: Reply) -> None:
    """A chat completion's model behind Anthropic's path."""
    chat = Chat(request_to_chat(await request.whole(1 << 20), Flavour.VLLM).body)
    found = answer(chat.ask, SETTINGS)
    if not chat.stream:
        reply.send(200, JSON, answer_to_messages(chat.whole(found, TICKET)).body)
        return
    stream = StreamToMessages()
    reply.start(200, STREAM)
    for event, _ in chat.events(found, TICKET):
        for name, data in stream.feed(event.removeprefix(b"data: ").strip()):
            reply.push(b"event: %b\ndata: %b\n\n" % (name, data))
    reply.end()


async def as_chat(request: Request, reply: Reply) -> None:
    """A message's model behind OpenAI's path."""
    body = await request.whole(1 << 20)
    usage = json.loads(body).get("stream_options", {}).get("include_usage", False)
    messages = Messages(request_to_messages(body, max_tokens=100).body)
    found = answer(messages.ask, SETTINGS)
    if not messages.stream:
        reply.send(200, JSON, answer_to_chat(messages.whole(found, TICKET), created=7).body)
        return
    stream = StreamToChat(created=7, include_usage=usage)
    reply.start(200, STREAM)
    for event, _ in messages.events(found, TICKET):
        for data in stream.feed(event.partition(b"data: ")[2].strip()):
            reply.push(b"data: %b\n\n" % data)
    reply.end()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[str]:
    async def handle(request: Request, reply: Reply) -> None:
        await (as_messages if request.target == b"/v1/messages" else as_chat)(request, reply)

    server = Server(handle)
    try:
        yield f"http://127.0.0.1:{await server.listen()}"
    finally:
        await server.drain(0)


@pytest.mark.parametrize("content", ["hi", "call get_weather"])
async def test_anthropics_client(content: str) -> None:
    ask = {
        "model": "m",
        "max_tokens": 50,
        "system": "be kind",
        "messages": [{"role": "user", "content": content}],
        "tools": [{"name": "get_weather", "input_schema": WEATHER}],
    }
    own = Messages(json.dumps(ask).encode())
    wanted = json.loads(own.whole(answer(own.ask, SETTINGS), TICKET))
    async with (
        serving() as url,
        AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client,
        asyncio.timeout(20),
    ):
        whole = await client.messages.create(**ask)
        async with client.messages.stream(**ask) as stream:
            streamed = await stream.get_final_message()
    for found in (whole, streamed):
        (block,) = found.content
        (own_block,) = wanted["content"]
        assert [getattr(block, name, None) for name in ("type", "text", "name", "input")] == [
            own_block.get(name) for name in ("type", "text", "name", "input")
        ]
        assert found.stop_reason == wanted["stop_reason"]
        assert found.usage.output_tokens == wanted["usage"]["output_tokens"]
        assert found.usage.input_tokens == wanted["usage"]["input_tokens"]


@pytest.mark.parametrize("content", ["hi", "call get_weather"])
async def test_openais_client(content: str) -> None:
    ask = {
        "model": "m",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": content}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}],
    }
    own = Chat(json.dumps(ask).encode())
    wanted = json.loads(own.whole(answer(own.ask, SETTINGS), TICKET))
    said = wanted["choices"][0]["message"]
    async with (
        serving() as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
        asyncio.timeout(20),
    ):
        whole = await client.chat.completions.create(**ask)
        async with client.chat.completions.stream(**ask, stream_options={"include_usage": True}) as stream:
            streamed = await stream.get_final_completion()
    for found in (whole, streamed):
        (choice,) = found.choices
        assert (choice.message.content or None) == said["content"]
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]
        assert calls == [
            (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in said.get("tool_calls", ())
        ]
        assert choice.finish_reason == wanted["choices"][0]["finish_reason"]
        assert found.usage.total_tokens == wanted["usage"]["total_tokens"]
