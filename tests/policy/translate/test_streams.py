"""A stream in the other's words says what the whole answer in the other's words does, however it was cut into events."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
import shapes
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.translate import (
    CannotTranslate,
    StreamToChat,
    StreamToMessages,
    answer_to_chat,
    answer_to_messages,
)
from tensorfusion.testing.llm.ask import answer
from tensorfusion.testing.llm.chat import Chat
from tensorfusion.testing.llm.messages import Messages
from tensorfusion.testing.llm.settings import Settings
from tensorfusion.testing.llm.wire import Ticket


def pieces(text: str, data: st.DataObject) -> list[str]:
    """The text, cut anywhere; empty pieces too."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    edges = [0, *cuts, len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


# --- what a stream of each says ---


def events_of(message: shapes.Json, data: st.DataObject) -> list[shapes.Json]:
    """A message as its events."""
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**message["usage"], "output_tokens": 1}
    events: list[shapes.Json] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(message["content"]):
        kind = block["type"]
        if kind == "text":
            empty, deltas = (
                {**block, "text": ""},
                [{"type": "text_delta", "text": piece} for piece in pieces(block["text"], data)],
            )
        elif kind == "thinking":
            empty = {**block, "thinking": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"], data)]
        else:
            empty = {**block, "input": {}}
            spelled = json.dumps(block["input"]) if block["input"] or data.draw(st.booleans()) else ""
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(spelled, data)]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    return [*events, {"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def chunks_of(completion: shapes.Json, data: st.DataObject) -> list[shapes.Json]:
    """A chat completion as its chunks."""
    choice = completion["choices"][0]
    said = choice["message"]
    deltas: list[shapes.Json] = [{"role": "assistant", "content": ""}]
    for name in ("reasoning_content", "content", "refusal"):
        if said.get(name):
            deltas += [{name: piece} for piece in pieces(said[name], data)]
    for index, call in enumerate(said.get("tool_calls", ())):
        first, *rest = pieces(call["function"]["arguments"], data)
        start = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": first}}
        deltas.append({"tool_calls": [start]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in rest]
    head = {"id": completion["id"], "object": "chat.completion.chunk", "created": 7, "model": completion["model"]}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    if "stop_reason" in choice:
        end["stop_reason"] = choice["stop_reason"]
    return [*chunks, {**head, "choices": [end]}, {**head, "choices": [], "usage": completion["usage"]}]


def completion_of(chunks: Iterable[bytes]) -> shapes.Json:
    """What chunks say together."""
    *datas, done = chunks
    assert done == b"[DONE]"
    found: shapes.Json = {"message": {"content": "", "reasoning_content": ""}, "calls": [], "usage": None}
    for data in map(json.loads, datas):
        found["usage"] = data["usage"] or found["usage"]
        assert (data["object"], data["created"]) == ("chat.completion.chunk", 7)
        found |= {"id": data["id"], "model": data["model"]}
        for choice in data["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                found["message"][name] += delta.get(name) or ""
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    assert call["index"] == len(found["calls"])
                    found["calls"].append({**call, "function": {**call["function"]}})
                else:
                    found["calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
            if choice["finish_reason"]:
                found |= {name: choice.get(name) for name in ("finish_reason", "stop_reason")}
    return found


def whole_completion(chat: shapes.Json) -> shapes.Json:
    """A whole answer in the same form."""
    choice = chat["choices"][0]
    said = choice["message"]
    return {
        "id": chat["id"],
        "model": chat["model"],
        "usage": chat["usage"],
        "message": {name: said.get(name) or "" for name in ("content", "reasoning_content")},
        "calls": [{**call, "index": index} for index, call in enumerate(said.get("tool_calls", ()))],
        "finish_reason": choice["finish_reason"],
        "stop_reason": choice.get("stop_reason"),
    }


def message_of(events: Iterable[tuple[bytes, bytes]]) -> shapes.Json:
    """What events say together, which are in their order."""
    message: shapes.Json = {}
    open_block: int | None = None
    spelled = ""
    for name, data in events:
        event = json.loads(data)
        assert event["type"] == name.decode()
        match event["type"]:
            case "message_start":
                assert not message
                message = event["message"]
            case "content_block_start":
                assert open_block is None
                open_block = event["index"]
                assert open_block == len(message["content"])
                message["content"].append(event["content_block"])
                spelled = ""
            case "content_block_delta":
                assert event["index"] == open_block
                block, delta = message["content"][-1], event["delta"]
                if delta["type"] == "input_json_delta":
                    spelled += delta["partial_json"]
                else:
                    word = delta["type"].removesuffix("_delta")
                    assert word == block["type"]
                    block[word] += delta[word]
            case "content_block_stop":
                assert event["index"] == open_block
                open_block = None
                if message["content"][-1]["type"] == "tool_use":
                    message["content"][-1]["input"] = json.loads(spelled or "{}")
            case "message_delta":
                assert open_block is None
                message |= event["delta"]
                message["usage"] = event["usage"]
            case "message_stop":
                return message
    raise AssertionError("no message_stop")


# --- the tests ---


@given(shapes.MESSAGE, st.data())
def test_a_stream_of_a_message_says_what_the_whole_does(message: shapes.Json, data: st.DataObject) -> None:
    stream = StreamToChat(created=7, include_usage=True)
    chunks: list[bytes] = []
    for event in events_of(message, data):
        assert not stream.finished
        chunks += stream.feed(json.dumps(event).encode())
    assert stream.finished
    assert stream.warnings == ()
    whole = json.loads(answer_to_chat(json.dumps(message).encode(), created=7).body)
    assert completion_of(chunks) == whole_completion(whole)


@given(shapes.COMPLETION, st.data())
def test_a_stream_of_a_chat_completion_says_what_the_whole_does(completion: shapes.Json, data: st.DataObject) -> None:
    stream = StreamToMessages()
    events: list[tuple[bytes, bytes]] = []
    for chunk in chunks_of(completion, data):
        events += stream.feed(json.dumps(chunk).encode())
    assert not stream.finished
    events += stream.feed(b"[DONE]")
    assert stream.finished
    assert stream.warnings == ()
    whole = json.loads(answer_to_messages(json.dumps(completion).encode()).body)
    assert message_of(events) == whole


REQUESTS = [
    {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50},
    {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3},
    {
        "messages": [{"role": "user", "content": "call f and g"}],
        "max_tokens": 50,
        "tools": [
            {"name": "f", "input_schema": {"type": "object", "required": ["a", "b"]}},
            {"name": "g", "input_schema": {}},
        ],
    },
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_simulated_server_says_the_same_over_its_own_wire_and_translated(request_: Any) -> None:
    from tensorfusion.policy.translate import Flavour, request_to_chat

    settings, ticket = Settings(models={"m": "m"}), Ticket("x", 7)
    body = json.dumps({"model": "m", "stream": True, **request_}).encode()
    native = Messages(body)
    whole = json.loads(native.whole(answer(native.ask, settings), ticket))
    chat = Chat(request_to_chat(body, Flavour.VLLM).body)
    to_messages, to_chat = StreamToMessages(), StreamToChat(created=7, include_usage=True)
    events: list[tuple[bytes, bytes]] = []
    for event, _ in chat.events(answer(chat.ask, settings), ticket):
        events += to_messages.feed(event.removeprefix(b"data: ").strip())
    found = message_of(events)
    for block, own in zip(found["content"], whole["content"], strict=True):
        assert (block["type"], block.get("text"), block.get("input")) == (
            own["type"],
            own.get("text"),
            own.get("input"),
        )
    assert found["stop_reason"] == whole["stop_reason"]
    assert found["usage"] == whole["usage"]
    chunks: list[bytes] = []
    for event, _ in native.events(answer(native.ask, settings), ticket):
        chunks += to_chat.feed(event.partition(b"data: ")[2].strip())
    own_chat = json.loads(chat.whole(answer(chat.ask, settings), ticket))
    assert completion_of(chunks)["message"]["content"] == (own_chat["choices"][0]["message"]["content"] or "")
    assert completion_of(chunks)["usage"]["total_tokens"] == own_chat["usage"]["total_tokens"]


def test_usage_is_told_only_where_it_was_asked_for() -> None:
    stream = StreamToChat(created=7, include_usage=False)
    start = {"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 1}}}
    (chunk,) = stream.feed(json.dumps(start).encode())
    assert "usage" not in json.loads(chunk)
    stream.feed(b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}')
    assert stream.feed(b'{"type":"message_stop"}') == [b"[DONE]"]


def test_texts_go_on_as_they_are_spelled() -> None:
    to_chat, to_messages = StreamToChat(created=7, include_usage=False), StreamToMessages()
    to_chat.feed(b'{"type":"message_start","message":{"id":"m","model":"m"}}')
    text = rb'"\u0041\/\ud83d\ude42"'
    (chunk,) = to_chat.feed(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%b}}' % text)
    assert text in chunk
    *_, (_, event) = to_messages.feed(chunk)
    assert text in event


def test_errors_in_the_middle() -> None:
    stream = StreamToChat(created=7, include_usage=True)
    (told,) = stream.feed(b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}')
    assert json.loads(told)["error"]["code"] == "overloaded"
    ((name, told),) = StreamToMessages().feed(b'{"error":{"message":"oh","type":"server_error","code":500}}')
    assert (name, json.loads(told)["error"]) == (b"error", {"type": "api_error", "message": "oh"})


def test_what_is_left_out_is_named() -> None:
    stream = StreamToChat(created=7, include_usage=True)
    stream.feed(b'{"type":"message_start","message":{"id":"m","model":"m"}}')
    for event in (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "message_pause"},
    ):
        assert stream.feed(json.dumps(event).encode()) == []
    assert stream.warnings == (
        "content[].server_tool_use: has no counterpart",
        "content[].signature: has no counterpart",
        "event message_pause: has no counterpart",
    )
    other = StreamToMessages()
    other.feed(b'{"choices":[{"index":1,"delta":{"content":"x"}},{"index":0,"logprobs":{},"delta":{}}]}')
    assert other.warnings == ("choices: only the first is told", "choices[].logprobs: has no counterpart")


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[]", b"{}", b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}']
)
def test_what_is_no_event_of_a_message(data: bytes) -> None:
    with pytest.raises(CannotTranslate):
        StreamToChat(created=7, include_usage=True).feed(data)


def test_calls_that_all_have_the_number_0_are_told_apart_by_their_ids() -> None:
    """As Google's compatible API and others number them."""
    stream = StreamToMessages()
    events: list[tuple[bytes, bytes]] = []
    for number in ("a", "a", "b"):
        call = {
            "index": 0,
            "id": number,
            "function": {"name": "f", "arguments": '{"x":1}' if number == "b" else "{}"[:1]},
        }
        if number == "a" and events:
            call["function"]["arguments"] = "}"
        events += stream.feed(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode())
    events += stream.feed(b'{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}')
    events += stream.feed(b"[DONE]")
    assert [(block["id"], block["input"]) for block in message_of(events)["content"]] == [("a", {}), ("b", {"x": 1})]


def test_an_end_that_is_none_is_not_told_as_one() -> None:
    stream = StreamToMessages()
    stream.feed(b'{"choices":[{"index":0,"delta":{"content":"x"}}]}')
    with pytest.raises(CannotTranslate, match="without a finish_reason"):
        stream.feed(b"[DONE]")
    other = StreamToChat(created=7, include_usage=True)
    other.feed(b'{"type":"message_start","message":{"id":"m","model":"m"}}')
    with pytest.raises(CannotTranslate, match="without a stop_reason"):
        other.feed(b'{"type":"message_stop"}')
    assert not (stream.finished or other.finished)


def test_behind_the_end_nothing_is_told() -> None:
    stream = StreamToMessages()
    stream.feed(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
    assert stream.feed(b"[DONE]")
    assert stream.feed(b"[DONE]") == []
    other = StreamToChat(created=7, include_usage=True)
    other.feed(b'{"type":"message_start","message":{"id":"m","model":"m"}}')
    other.feed(b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}')
    assert other.feed(b'{"type":"message_stop"}')
    assert other.feed(b'{"type":"message_stop"}') == []


def test_what_is_no_chunk_and_what_goes_back_to_a_call_that_has_ended() -> None:
    for data in (b"", b"x", b"[]", b'{"choices":"x"}', b"[DONE]"):
        with pytest.raises(CannotTranslate):
            StreamToMessages().feed(data)
    stream = StreamToMessages()
    for index in (0, 1):
        call = {"index": index, "id": "ab"[index], "type": "function", "function": {"name": "f", "arguments": ""}}
        stream.feed(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode())
    with pytest.raises(CannotTranslate, match="more of call 0"):
        stream.feed(b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{}}]}}]}')
    with pytest.raises(CannotTranslate, match="more of call 0"):
        stream.feed(b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}')
