"""Requests and answers of both wires, as hypothesis makes them: of what both can say."""

import json
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]
TEXT = st.text(max_size=20)
SOME = st.text(min_size=1, max_size=20)
NAME = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAME, inner, max_size=2),
    max_leaves=4,
)
INPUT = st.dictionaries(NAME, VALUE, max_size=3)
BASE64 = st.from_regex(r"[A-Za-z0-9+/]{4,12}={0,2}", fullmatch=True)
SCHEMA = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
NUMBER = st.floats(0, 1, allow_nan=False)


def some_of(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Some of the members."""
    return st.fixed_dictionaries({}, optional=members)


def joined(*parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.tuples(*parts).map(lambda found: {name: value for part in found for name, value in part.items()})


# --- messages ---

TEXT_BLOCK = st.builds(lambda text: {"type": "text", "text": text}, TEXT)
IMAGE_BLOCK = st.one_of(
    st.builds(
        lambda kind, data: {"type": "image", "source": {"type": "base64", "media_type": f"image/{kind}", "data": data}},
        st.sampled_from(["png", "jpeg"]),
        BASE64,
    ),
    st.builds(lambda name: {"type": "image", "source": {"type": "url", "url": f"https://a.example/{name}"}}, NAME),
)
DOCUMENT_BLOCK = st.builds(
    lambda data, title: {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": data},
        "title": title,
    },
    BASE64,
    NAME,
)
TOOL_USE = st.builds(
    lambda number, name, given: {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given},
    st.integers(0, 99),
    NAME,
    INPUT,
)
TOOL_RESULT = st.builds(
    lambda number, content: {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content},
    st.integers(0, 99),
    TEXT | st.lists(TEXT_BLOCK, min_size=2, max_size=3),
)


def content(blocks: st.SearchStrategy[list[Json]]) -> st.SearchStrategy[Any]:
    """A plain text is a string, as both would have it."""

    def spelled(found: list[Json]) -> Any:
        if len(found) == 1 and found[0]["type"] == "text":
            return found[0]["text"]
        return found

    return TEXT | blocks.map(spelled)


SAID = content(
    st.tuples(st.lists(TOOL_RESULT, max_size=2), st.lists(TEXT_BLOCK | IMAGE_BLOCK | DOCUMENT_BLOCK, max_size=3))
    .map(lambda found: found[0] + found[1])
    .filter(bool)
)
ANSWERED = content(
    st.tuples(
        st.lists(st.builds(lambda text: {"type": "text", "text": text}, SOME), max_size=2),
        st.lists(TOOL_USE, max_size=2),
    )
    .map(lambda found: found[0] + found[1])
    .filter(bool)
)


def turns(most: int = 4) -> st.SearchStrategy[list[Json]]:
    """The user and the assistant by turns; the system may have a word between them."""
    rules = st.lists(TEXT | st.lists(TEXT_BLOCK, min_size=2, max_size=2), max_size=1)
    pairs = st.lists(st.tuples(SAID, ANSWERED, rules), max_size=most)
    last = st.lists(SAID, max_size=1)
    return st.tuples(pairs, last).map(
        lambda found: [
            *(
                message
                for said, answered, ruled in found[0]
                for message in (
                    {"role": "user", "content": said},
                    {"role": "assistant", "content": answered},
                    *({"role": "system", "content": rule} for rule in ruled),
                )
            ),
            *({"role": "user", "content": said} for said in found[1]),
        ]
    )


TOOL = joined(
    st.fixed_dictionaries({"name": NAME, "input_schema": SCHEMA}), some_of(description=TEXT, strict=st.booleans())
)
TOOL_CHOICE = joined(
    st.sampled_from([{"type": "auto"}, {"type": "any"}, {"type": "none"}])
    | st.builds(lambda name: {"type": "tool", "name": name}, NAME),
    some_of(disable_parallel_tool_use=st.just(True)),
)
MESSAGES_REQUEST = joined(
    st.fixed_dictionaries({"model": NAME, "max_tokens": st.integers(1, 9999), "messages": turns()}),
    some_of(
        system=TEXT | st.lists(TEXT_BLOCK, min_size=2, max_size=3),
        temperature=NUMBER,
        top_p=NUMBER,
        top_k=st.integers(1, 50),
        stop_sequences=st.lists(SOME, min_size=1, max_size=3),
        stream=st.booleans(),
        metadata=st.builds(lambda user: {"user_id": user}, NAME),
        output_config=some_of(
            effort=st.sampled_from(["low", "high", "max"]),
            format=st.builds(lambda schema: {"type": "json_schema", "schema": schema}, SCHEMA),
        ).filter(bool),
        service_tier=st.sampled_from(["auto", "standard_only"]),
        x_custom=VALUE.filter(lambda value: value is not None),
    ),
    st.just({})
    | joined(
        st.fixed_dictionaries({"tools": st.lists(TOOL, min_size=1, max_size=2)}), some_of(tool_choice=TOOL_CHOICE)
    ),
)

THINKING = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": ""}, SOME)
USAGE = st.fixed_dictionaries(
    {
        "input_tokens": st.integers(0, 99),
        "cache_creation_input_tokens": st.integers(0, 99),
        "cache_read_input_tokens": st.integers(0, 99),
        "output_tokens": st.integers(0, 99),
    }
)
MESSAGE = st.builds(
    lambda thoughts, texts, calls, reason, usage: {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": thoughts + texts + calls,
        "stop_reason": reason[0],
        "stop_sequence": reason[1],
        "usage": usage,
    },
    st.lists(THINKING, max_size=1),
    st.lists(st.builds(lambda text: {"type": "text", "text": text}, SOME), max_size=1),
    st.lists(TOOL_USE, max_size=3),
    st.sampled_from(
        [("end_turn", None), ("max_tokens", None), ("tool_use", None), ("stop_sequence", "x"), ("refusal", None)]
    ),
    USAGE,
)

# --- chat completions ---

TEXT_PART = TEXT_BLOCK
IMAGE_PART = st.builds(
    lambda url: {"type": "image_url", "image_url": {"url": url}},
    BASE64.map(lambda data: f"data:image/png;base64,{data}") | NAME.map(lambda name: f"https://a.example/{name}"),
)
FILE_PART = st.builds(
    lambda data, name: {
        "type": "file",
        "file": {"filename": name, "file_data": f"data:application/pdf;base64,{data}"},
    },
    BASE64,
    NAME,
)
CALL = st.builds(
    lambda number, name, given: {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": given},
    },
    st.integers(0, 99),
    NAME,
    INPUT.map(json.dumps),
)
CHAT_TURN = st.one_of(
    st.builds(
        lambda content: [{"role": "user", "content": content}],
        content(st.lists(TEXT_PART | IMAGE_PART | FILE_PART, min_size=1, max_size=3)),
    ),
    st.builds(lambda text: [{"role": "assistant", "content": text}], SOME),
)
CALLED_TURN = st.builds(
    lambda calls, said, results: [
        {"role": "assistant", **({"content": said} if said else {}), "tool_calls": calls},
        *(
            {"role": "tool", "tool_call_id": f"call_{number}", "content": result}
            for number, result in enumerate(results)
        ),
    ],
    st.lists(CALL, min_size=1, max_size=2),
    TEXT,
    st.lists(TEXT | st.lists(TEXT_PART, min_size=2, max_size=2), min_size=1, max_size=2),
)
RULED = st.builds(lambda text: [{"role": "system", "content": text}], TEXT)
CHAT_TURNS = st.tuples(
    st.lists(CHAT_TURN | CALLED_TURN, max_size=1), st.lists(CHAT_TURN | CALLED_TURN | RULED, max_size=3)
).map(lambda found: [message for turn in found[0] + (found[1] if found[0] else []) for message in turn])
FUNCTION = st.builds(
    lambda function: {"type": "function", "function": function},
    joined(
        st.fixed_dictionaries({"name": NAME, "parameters": SCHEMA}), some_of(description=TEXT, strict=st.booleans())
    ),
)
CHAT_REQUEST = joined(
    st.fixed_dictionaries({"model": NAME, "max_tokens": st.integers(1, 9999)}),
    st.tuples(st.lists(TEXT, max_size=1), CHAT_TURNS).map(
        lambda found: {"messages": [*({"role": "system", "content": text} for text in found[0]), *found[1]]}
    ),
    some_of(
        temperature=NUMBER,
        top_p=NUMBER,
        stop=st.lists(SOME, min_size=1, max_size=3),
        user=NAME,
        reasoning_effort=st.sampled_from(["low", "medium", "xhigh"]),
        response_format=SCHEMA.map(
            lambda schema: {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
        ),
        service_tier=st.sampled_from(["auto", "default"]),
        x_custom=VALUE.filter(lambda value: value is not None),
        top_k=st.integers(1, 9),
    ),
    st.just({}) | st.just({"stream": True, "stream_options": {"include_usage": True}}),
    st.just({})
    | joined(
        st.fixed_dictionaries({"tools": st.lists(FUNCTION, min_size=1, max_size=2)}),
        some_of(
            tool_choice=st.sampled_from(["none", "required"])
            | NAME.map(lambda name: {"type": "function", "function": {"name": name}})
        ),
    ),
)
CHAT_USAGE = st.builds(
    lambda new, read, written, said: {
        "prompt_tokens": new + read + written,
        "completion_tokens": said,
        "total_tokens": new + read + written + said,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    },
    *[st.integers(0, 99)] * 4,
)
COMPLETION = st.builds(
    lambda thought, text, refusal, calls, reason, usage: {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": text,
                    "refusal": refusal,
                    **({"reasoning_content": thought} if thought else {}),
                    **({"tool_calls": calls} if calls else {}),
                },
                "logprobs": None,
                "finish_reason": reason[0],
                **({"stop_reason": reason[1]} if reason[1] else {}),
            }
        ],
        "usage": usage,
    },
    TEXT,
    st.none() | TEXT,
    st.none() | SOME,
    st.lists(CALL, max_size=3),
    st.sampled_from(
        [("stop", None), ("stop", "END"), ("length", None), ("tool_calls", None), ("content_filter", None)]
    ),
    CHAT_USAGE,
)
