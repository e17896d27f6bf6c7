"""What events and answers say is read whatever else is in them, and what is none is known for it."""

import pytest

from tensorfusion.gateway.faults import Fault, Words, body_of, invalid
from tensorfusion.gateway.reading import mend, read_chunk, read_failure, read_whole


def test_a_word_an_end_and_what_was_used() -> None:
    word = read_chunk(b'{"id":"x","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}],"usage":null}')
    assert word is not None
    assert word.choices is not None
    assert word.choices[0].delta is not None
    assert (word.choices[0].delta.content, word.choices[0].finish_reason, word.usage) == ("hi", None, None)
    end = read_chunk(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}')
    assert end is not None
    assert end.usage is not None
    assert (end.choices, end.usage.prompt_tokens, end.usage.completion_tokens) == ([], 3, 4)


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"3", b"nope", b'{"a":"\xff\x00"', b"[" * 100_000])
def test_what_is_no_object_is_no_event(data: bytes) -> None:
    assert read_chunk(data) is None
    assert read_whole(data) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"[NaN]", b'{"a":"\xff"}', b"[" * 100_000, b'{"a":' + b"9" * 5000])
def test_what_is_no_object_to_anybody_is_not_mended(data: bytes) -> None:
    assert mend(data) is None


def test_what_is_nearly_an_object_is_mended() -> None:
    assert mend(b'{"a": [NaN, 1.50], "b": -Infinity, "c": 1e999}') == (
        b'{"a": [null, 1.5], "b": null, "c": null}',
        b'{"a": [null, 1.5], "b": null, "c": null}',
    )
    halves = rb'{"a":  "\ud83d", "b": "\u00e9"}'
    assert mend(halves) == (halves, '{"a": "?", "b": "\u00e9"}'.encode())
    assert mend(b'\xef\xbb\xbf{"a": "\xc3\xa9"}') == (b'{"a": "\\u00e9"}', b'{"a": "\xc3\xa9"}')


@pytest.mark.parametrize("data", [b'{"choices":[{"delta":{"content":[1]}}]}', b'{"choices":3}', b'{"usage":"x"}'])
def test_an_object_of_an_unknown_form_is_passed_on_but_not_read(data: bytes) -> None:
    chunk = read_chunk(data)
    assert chunk is not None
    assert chunk.opaque
    assert read_whole(data) is not None


@pytest.mark.parametrize(
    ("delta", "more"),
    [
        (b'{"content":"a"}', False),
        (b'{"content":"a","tool_calls":null,"refusal":null}', False),
        (b'{"role":"assistant","content":"","tool_calls":[]}', False),
        (b'{"tool_calls":[{"index":0}]}', True),
        (b'{"reasoning_content":"a"}', True),
        (b'{"refusal":"a"}', True),
    ],
)
def test_what_is_said_beside_the_text(delta: bytes, *, more: bool) -> None:
    chunk = read_chunk(b'{"choices":[{"delta":%b}]}' % delta)
    assert chunk is not None
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.more_than_text is more


@pytest.mark.parametrize(
    ("error", "message"),
    [(b'{"message":"m","code":"c"}', "m"), (b'"m"', "m"), (b'{"message":3}', ""), (b"3", ""), (b"[", "")],
)
def test_a_failure_is_read_in_any_form(error: bytes, message: str) -> None:
    assert read_failure(error).message == message


def test_a_fault_is_told_in_the_words_of_the_api() -> None:
    fault = invalid("no", param="model")
    assert body_of(fault, Words.OPENAI) == (
        b'{"error":{"message":"no","type":"invalid_request_error","code":null,"param":"model"}}'
    )
    assert body_of(Fault(503, "no_healthy_target", "no"), Words.ANTHROPIC) == (
        b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}'
    )
