"""Whole answers and errors in the other's words."""

import json
from typing import Any

import msgspec
import pytest
import shapes
from anthropic.types import Message
from hypothesis import given
from openai.types.chat import ChatCompletion

from tensorfusion.policy.translate import (
    CannotTranslate,
    answer_to_chat,
    answer_to_messages,
    error_to_chat,
    error_to_messages,
)


def to_chat(answer: Any) -> tuple[Any, tuple[str, ...]]:
    found = answer_to_chat(json.dumps(answer).encode(), created=7)
    ChatCompletion.model_validate_json(found.body, strict=True)
    return json.loads(found.body), found.warnings


def to_messages(answer: Any) -> tuple[Any, tuple[str, ...]]:
    found = answer_to_messages(json.dumps(answer).encode())
    Message.model_validate_json(found.body, strict=True)
    return json.loads(found.body), found.warnings


@given(shapes.MESSAGE)
def test_a_message_comes_back_as_it_was(message: shapes.Json) -> None:
    chat, warnings = to_chat(message)
    back, lost = to_messages(chat)
    assert (back, warnings, lost) == (message, (), ())


@given(shapes.COMPLETION)
def test_a_chat_completion_comes_back_as_it_was(completion: shapes.Json) -> None:
    message, warnings = to_messages(completion)
    back, lost = to_chat(message)
    said = completion["choices"][0]["message"]
    refusal = said["refusal"] or ""
    said["content"] = (said["content"] or "") + refusal or (None if said.get("tool_calls") else "")
    said["refusal"] = None
    for call, old in zip(back["choices"][0]["message"].get("tool_calls", ()), said.get("tool_calls", ()), strict=True):
        assert json.loads(call["function"].pop("arguments")) == json.loads(old["function"].pop("arguments"))
    assert (back, warnings, lost) == (completion, (), ())


def test_what_becomes_of_a_message() -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
            {"type": "text", "text": "b", "citations": None},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        ],
        "stop_reason": "pause_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 1,
            "cache_read_input_tokens": 2,
            "output_tokens": 4,
            "output_tokens_details": {"thinking_tokens": 3},
        },
        "container": {"id": "c"},
    }
    chat, warnings = to_chat(message)
    assert chat["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "ab", "refusal": None, "reasoning_content": "hm"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert chat["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert warnings == (
        "content[].signature: has no counterpart",
        "content[].redacted_thinking: has no counterpart",
        "content[].citations: has no counterpart",
        "content[].server_tool_use: has no counterpart",
        "stop_reason pause_turn: is told as stop",
        "container: has no counterpart",
    )


def test_what_becomes_of_a_chat_completion() -> None:
    said = {"role": "assistant", "content": "a", "annotations": [{"type": "url_citation"}], "reasoning": "hm"}
    completion = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": said, "finish_reason": "stop", "logprobs": {"content": []}},
            {"index": 1, "message": said, "finish_reason": "stop"},
        ],
    }
    message, warnings = to_messages(completion)
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "a"},
    ]
    assert message["usage"]["input_tokens"] == message["usage"]["output_tokens"] == 0
    assert warnings == (
        "choices: only the first is told",
        "choices[].message.annotations: has no counterpart",
        "choices[].logprobs: has no counterpart",
    )


@pytest.mark.parametrize(
    ("translate", "body", "why"),
    [
        (to_chat, {"type": "error"}, "wanted a message"),
        (to_chat, {"type": "message", "content": "x"}, "wanted a list of objects"),
        (to_chat, {"type": "message", "content": [], "usage": {"input_tokens": "x"}}, "wanted usage"),
        (to_messages, {"choices": []}, "found none"),
        (to_messages, {"error": {}}, "choices: wanted a list"),
        (to_messages, {"choices": [{"message": {"tool_calls": [{"function": {"arguments": "[1]"}}]}}]}, "arguments"),
    ],
)
def test_what_is_no_answer(translate: Any, body: Any, why: str) -> None:
    with pytest.raises(CannotTranslate, match=why):
        translate(body)


@pytest.mark.parametrize(
    ("status", "kind", "message", "wanted"),
    [
        (400, "invalid_request_error", "no", ("invalid_request_error", None)),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 9 > 8",
            ("invalid_request_error", "context_length_exceeded"),
        ),
        (401, "authentication_error", "no", ("invalid_request_error", "invalid_api_key")),
        (429, "rate_limit_error", "slow", ("rate_limit_error", "rate_limit_exceeded")),
        (529, "overloaded_error", "busy", ("server_error", "overloaded")),
        (500, "strange_error", "oh", ("server_error", None)),
    ],
)
def test_an_error_of_a_message(status: int, kind: str, message: str, wanted: tuple[str, str | None]) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    found = json.loads(error_to_chat(status, body))["error"]
    assert (found["type"], found["code"], found["message"]) == (*wanted, message)
    back = json.loads(error_to_messages(status, error_to_chat(status, body)))
    assert back["type"] == "error"
    assert back["error"] == {"type": kind if kind != "strange_error" else "api_error", "message": message}


@pytest.mark.parametrize(
    ("status", "error", "wanted"),
    [
        (400, {"type": "invalid_request_error", "code": "context_length_exceeded"}, "invalid_request_error"),
        (400, {"type": "BadRequestError", "code": 400}, "invalid_request_error"),
        (404, {"type": "invalid_request_error", "code": "model_not_found"}, "not_found_error"),
        (429, {"type": "requests", "code": None}, "rate_limit_error"),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, "billing_error"),
        (503, {"type": "server_error"}, "overloaded_error"),
        (500, {}, "api_error"),
    ],
)
def test_an_error_of_a_chat_completion(status: int, error: shapes.Json, wanted: str) -> None:
    body = json.dumps({"error": {"message": "oh", **error}}).encode()
    assert json.loads(error_to_messages(status, body))["error"] == {"type": wanted, "message": "oh"}


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"\xff" * 2000, b"[" * 100_000, b'{"error": "x"}'])
def test_an_error_that_is_none_of_either_is_told_as_text(body: bytes) -> None:
    for found in (error_to_chat(502, body), error_to_messages(502, body)):
        error = msgspec.json.decode(found)["error"]
        assert 0 < len(error["message"]) <= 500
        assert error["type"] in ("server_error", "api_error")
