"""A request in the other's words: what both can say comes back, and nothing else goes without a word."""

import json
from typing import Any

import pytest
import shapes
from hypothesis import given

from tensorfusion.policy.translate import CannotTranslate, Flavour, request_to_chat, request_to_messages

HI = [{"role": "user", "content": "hi"}]


def to_chat(request: Any, flavour: Flavour = Flavour.VLLM) -> tuple[Any, tuple[str, ...]]:
    found = request_to_chat(json.dumps(request).encode(), flavour)
    return json.loads(found.body), found.warnings


def to_messages(request: Any) -> tuple[Any, tuple[str, ...]]:
    found = request_to_messages(json.dumps(request).encode(), max_tokens=4096)
    return json.loads(found.body), found.warnings


@given(shapes.MESSAGES_REQUEST)
def test_a_request_for_a_message_comes_back_as_it_was(request: shapes.Json) -> None:
    chat, warnings = to_chat(request)
    back, lost = to_messages(chat)
    assert (back, warnings, lost) == (request, (), ())


@given(shapes.CHAT_REQUEST)
def test_a_request_for_a_chat_completion_comes_back_as_it_was(request: shapes.Json) -> None:
    last = request["messages"][-1:]
    goes_on = bool(last) and last[0]["role"] == "assistant"
    if goes_on:
        request = {**request, "continue_final_message": True, "add_generation_prompt": False}
    there, warnings = to_messages(request)
    back, lost = to_chat(there)
    assert (one_message_a_turn(back), warnings, lost) == (one_message_a_turn(request), (), ())


def one_message_a_turn(request: shapes.Json) -> shapes.Json:
    """A user's text that follows results of tools is in one message with them over there: parts, not a string."""
    return {**request, "messages": [_parts(message) for message in request["messages"]]}


def _parts(message: shapes.Json) -> shapes.Json:
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def test_what_becomes_of_a_request_for_a_message() -> None:
    request = {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look"}, image("base64")]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "so"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, 2]}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no"}, image("url")],
                    },
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
        "stop_sequences": ["x"],
        "top_k": 5,
        "stream": True,
        "metadata": {"user_id": "u", "other": "o"},
        "tools": [{"name": "f", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "x_ours": 1,
    }
    chat, warnings = to_chat(request, Flavour.OPENAI)
    assert chat == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be kind"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": "so",
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, 2]}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "no"},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
        "max_completion_tokens": 9,
        "stop": ["x"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "x_ours": 1,
    }
    assert warnings == (
        "system[].cache_control: has no counterpart",
        "messages[].content[].thinking: is not carried over",
        "messages[].content[].is_error: has no counterpart",
        "messages[].content[].content: what is no text of a tool's result goes on as the user's",
        "top_k: has no counterpart",
        "metadata.other: has no counterpart",
        "tools[].web_search_20250305: is a tool of Anthropic's own servers",
        "thinking: has no counterpart",
    )


def image(kind: str) -> shapes.Json:
    if kind == "url":
        return {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
    return {"type": "image", "source": {"type": kind, "media_type": "image/png", "data": "AAAA"}}


def test_what_becomes_of_a_request_for_a_chat_completion() -> None:
    request = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": "one", "name": "ann"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
            {"role": "user", "content": "and?"},
            {"role": "system", "content": "be brief"},
        ],
        "temperature": 1.5,
        "stop": "x",
        "seed": 4,
        "frequency_penalty": 0,
        "logprobs": False,
        "n": 1,
        "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "minimal",
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    found, warnings = to_messages(request)
    assert found == {
        "model": "m",
        "temperature": 1,
        "max_tokens": 4096,
        "system": "be kind",
        "messages": [
            {"role": "user", "content": "one"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "1"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "2"},
                    {"type": "text", "text": "and?"},
                ],
            },
            {"role": "system", "content": "be brief"},
        ],
        "stop_sequences": ["x"],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    assert warnings == (
        "temperature: is at most 1",
        "max_tokens: has to be said: 4096 was taken",
        "messages[].name: has no counterpart",
        "messages[].reasoning_content: is not carried over",
        "tools[].custom: is no function",
        'reasoning_effort "minimal": has no counterpart',
        "response_format json_object: has no counterpart",
        "seed: has no counterpart",
    )


def test_what_describes_a_schema_is_named_where_it_cannot_be_said() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "description": "d", "schema": {}}}
    found, warnings = to_messages({"model": "m", "max_tokens": 1, "messages": HI, "response_format": form})
    assert found["output_config"] == {"format": {"type": "json_schema", "schema": {}}}
    assert warnings == ("response_format.json_schema.description: has no counterpart",)


def test_how_an_answer_that_has_begun_goes_on() -> None:
    begun = {"model": "m", "max_tokens": 9, "messages": [*HI, {"role": "assistant", "content": "we"}]}
    chat, warnings = to_chat(begun, Flavour.VLLM)
    assert (chat["continue_final_message"], chat["add_generation_prompt"], warnings) == (True, False, ())
    chat, warnings = to_chat(begun, Flavour.OPENAI)
    assert "continue_final_message" not in chat
    assert "begins anew" in warnings[0]
    _, warnings = to_messages(begun)
    assert "goes on from it" in warnings[0]
    prefixed = {**begun, "messages": [*HI, {"role": "assistant", "content": "we", "prefix": True}]}
    found, warnings = to_messages(prefixed)
    assert (found["messages"], warnings) == (begun["messages"], ())


def test_what_does_not_change_is_not_touched() -> None:
    text = rb'"\u0041\/ \ud83d\ude42 \u00e9"'
    number = b"1.50e0"
    body = b'{"model":"m","max_tokens":9,"x": %b,"messages":[{"role":"user","content":%b}]}' % (number, text)
    chat = request_to_chat(body, Flavour.VLLM).body
    assert text in chat
    assert number in chat
    assert text in request_to_messages(chat, max_tokens=1).body


def test_members_of_parts_that_nobody_knows_stay_with_them() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    found, warnings = to_messages({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [part]}]})
    assert (found["messages"][0]["content"], warnings) == ([part], ())
    both = {"model": "m", "max_tokens": 1, "system": "mine", "messages": [{"role": "system", "content": "yours"}, *HI]}
    found, warnings = to_messages(both)
    assert (found["system"], warnings) == ("yours", ("system: is said already",))


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "source",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url"}}]}]},
            "document of type url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "type search_result"),
        ({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]}, "type server_tool_use"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "wanted user, assistant or system"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "tool_use_id"),
        ({"messages": "x"}, "wanted a list of objects"),
        ({}, "wanted a list of messages"),
        ({"messages": HI, "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"messages": HI, "output_config": {"format": {"type": "xml"}}}, "json_schema"),
        ([], "wanted an object"),
    ],
)
def test_what_a_chat_completion_cannot_be_asked_for(request_: Any, where: str) -> None:
    with pytest.raises(CannotTranslate, match=where):
        to_chat(request_)


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        ({"messages": HI, "n": 2}, "n: one answer a message"),
        ({"messages": HI, "functions": [{"name": "f"}]}, "functions"),
        ({"messages": HI, "audio": {"voice": "x"}}, "audio"),
        ({"messages": HI, "temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "type input_audio"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "wanted file_data"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "image_url.url"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
        ({"messages": [{"role": "function", "content": "x"}]}, "found 'function'"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            "arguments: wanted an object",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]}, "type custom"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "function_call"),
        ({"messages": HI, "tool_choice": "sometimes"}, "tool_choice"),
        ({"messages": HI, "tool_choice": {"type": "allowed_tools"}}, "wanted function"),
        ({}, "wanted a list of messages"),
        ("x", "wanted an object"),
    ],
)
def test_what_a_message_cannot_be_asked_for(request_: Any, where: str) -> None:
    with pytest.raises(CannotTranslate, match=where):
        to_messages(request_)
