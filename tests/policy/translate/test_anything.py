"""Whatever comes, it is translated into JSON or refused with the member that is wrong: nothing else happens."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.translate import (
    CannotTranslate,
    Flavour,
    StreamToChat,
    StreamToMessages,
    answer_to_chat,
    answer_to_messages,
    error_to_chat,
    error_to_messages,
    request_to_chat,
    request_to_messages,
)

_SETTINGS = """
system tools tool_choice metadata output_config response_format service_tier reasoning_effort temperature stop n
max_tokens stream stop_sequences top_k user parallel_tool_calls functions thinking usage model id type choices
content stop_reason
"""
_WORDS = """
text image image_url file document tool_use tool_result thinking refusal user assistant system tool function base64
url auto any none required json_schema message message_start message_delta content_block_start content_block_delta
content_block_stop message_stop text_delta input_json_delta thinking_delta stop tool_calls error
"""
_NAMES = """
type role content text id name input source url data media_type file file_data file_id tool_use_id is_error
tool_calls function arguments tool_call_id image_url detail refusal thinking index delta choices message usage
content_block stop_reason finish_reason partial_json input_tokens prompt_tokens format schema effort json_schema
user_id prefix signature cache_control prompt_tokens_details error code
"""
NAMES = st.sampled_from(_NAMES.split())
WORDS = st.sampled_from(_WORDS.split())
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)
BLOCK = st.dictionaries(NAMES, VALUE, max_size=5)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]), "content": st.lists(BLOCK, max_size=3) | VALUE},
    optional={"tool_calls": VALUE, "tool_call_id": VALUE, "refusal": VALUE, "name": VALUE},
)
SETTINGS = st.dictionaries(
    st.sampled_from(_SETTINGS.split()),
    VALUE,
    max_size=4,
)
BODIES = st.one_of(
    st.tuples(SETTINGS, st.lists(MESSAGE, max_size=3)).map(
        lambda found: json.dumps({"messages": found[1], **found[0]})
    ),
    VALUE.map(json.dumps),
    BLOCK.map(lambda said: json.dumps({"choices": [{"message": said}]})),
    st.lists(BLOCK, max_size=3).map(lambda blocks: json.dumps({"type": "message", "content": blocks})),
).map(str.encode) | st.binary(max_size=10)


def feed(stream: Any) -> Callable[[bytes], bytes]:
    def fed(body: bytes) -> bytes:
        if isinstance(stream, StreamToChat):
            stream.feed(b'{"type":"message_start","message":{"id":"m","model":"m"}}')
            found = [data for data in stream.feed(body) if data != b"[DONE]"]
        else:
            found = [data for _, data in stream.feed(body)]
        return b"[%b]" % b",".join(found)

    return fed


TRANSLATIONS: dict[str, Callable[[bytes], bytes]] = {
    "request to chat": lambda body: request_to_chat(body, Flavour.OPENAI).body,
    "request to messages": lambda body: request_to_messages(body, max_tokens=9).body,
    "answer to chat": lambda body: answer_to_chat(body, created=7).body,
    "answer to messages": lambda body: answer_to_messages(body).body,
    "error to chat": lambda body: error_to_chat(400, body),
    "error to messages": lambda body: error_to_messages(400, body),
    "stream to chat": lambda body: feed(StreamToChat(created=7, include_usage=True))(body),
    "stream to messages": lambda body: feed(StreamToMessages())(body),
}


@pytest.mark.parametrize("name", TRANSLATIONS)
@given(body=BODIES)
def test_anything_is_translated_or_refused(name: str, body: bytes) -> None:
    try:
        found = TRANSLATIONS[name](body)
    except CannotTranslate as refused:
        assert str(refused)
    else:
        json.loads(found)


@pytest.mark.parametrize("name", TRANSLATIONS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"a":"\xff"}}]}]}',
        b'{"type":"message","content":[{"type":"tool_use","input":{"a":"\xff"}}]}',
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[],"n":"\xff"}',
        b'{"messages":[{"role":"user","content":[{"type":"\\ud800"}]}]}',
        b'{"type":"message","content":[{"type":"text","text":{"a":"b"}}]}',
        b'{"type":"content_block_start","content_block":{"type":"tool_use","input":{"a":"\xff"}}}',
        b'{"messages":' + b"[" * 100_000,
        b'{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":{},"data":[]}}]}]}',
    ],
)
def test_what_is_spelled_wrong_inside_is_passed_on_or_refused(name: str, body: bytes) -> None:
    try:
        found = TRANSLATIONS[name](body)
    except CannotTranslate as refused:
        assert str(refused)
    else:
        json.loads(found.decode("utf-8", "replace"))
