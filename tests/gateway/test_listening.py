"""What goes on of a stream is its own bytes, however they arrive; what it says is the same, too."""

import itertools
import json

import pytest
from fronts import DONE, ROLE, STOP, USAGE, event, word
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.gateway.apis import Api
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.listening import ChunkListener, Said
from tensorfusion.gateway.reading import read_chunks
from tensorfusion.gateway.splicing import Repeated
from tensorfusion.gateway.sse import Events, objects_of

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
ODD = st.sampled_from(
    [
        b": comment\n\n",
        b"event: x\r\nid: 7\r\nunknown: field\r\n" + word("odd").replace(b"\n\n", b"\r\n\r\n"),
        b"retry: 10\n\n",
        b"\n",
        word("x" * 5000),
        event({"choices": [{"index": 0, "delta": {"content": "a"}, "extra": {"deep": [1, None]}}], "new": "é😀"}),
    ]
)
RARE = st.sampled_from(
    [
        event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}),
        event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "t"}]}}]}),
        event({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        event({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]}),
        event({"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": {"completion_tokens": 1}}),
        event({"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": None, "error": None}),
        event({"choices": [{"index": 0, "text": "completed"}]}),
        event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
        event({"choices": [{"index": 0, "delta": {"content": ["no", "text"]}}]}),
        event({"choices": []}),
        event({"error": {"message": "no more memory", "code": 500}}),
        b"data: {no json}\n\n",
        b"data: {} {}\n\n",
        b'data: {"choices": [{"delta": {}\n\n',
        b'data: {"choices":\n[]}\n\n',
        b'data: {"choices":\ndata: []}\n\n',
        b"data:{}\n\n",
        b"data: 7\n\n",
        b"\n\n\n",
        STOP,
        USAGE,
        DONE,
    ]
)
STREAMS = st.lists(st.one_of(TEXTS.map(word), ODD), max_size=8)


def asked(**fields: object) -> Asked:
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, **fields}
    return Asked(Api.CHAT, json.dumps(body).encode())


def heard(listener: ChunkListener, data: bytes, cuts: list[int]) -> bytes:
    edges = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    found = b"".join(listener.take(data[start:end]) for start, end in itertools.pairwise(edges))
    assert listener.failure is None
    return found + listener.end()


@given(STREAMS, st.lists(st.integers(0, 1 << 16), max_size=40))
def test_bytes_and_words_are_the_same_under_any_arrival(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join((ROLE, *events, STOP, USAGE, DONE))
    said = Said()
    listener = ChunkListener(asked(), said)
    assert heard(listener, stream, cuts) == stream
    whole = Said()
    heard(ChunkListener(asked(), whole), stream, [])
    assert (said.text, said.pieces, listener.finish_reason) == (whole.text, whole.pieces, "stop")
    assert listener.usage is not None
    assert listener.usage.prompt_tokens == 7


def state_of(listener: ChunkListener) -> tuple[object, ...]:
    said, failure = listener.said, listener.failure
    return (
        (said.texts, said.pieces, said.comparable, listener.spoken, listener.finished, listener.done),
        (listener.finish_reason, listener.dropped, str(failure), failure and failure.status),
        listener.usage and (listener.usage.prompt_tokens, listener.usage.completion_tokens),
    )


@given(st.lists(st.one_of(TEXTS.map(word), TEXTS.map(word), RARE, ODD), max_size=12), st.booleans())
def test_events_that_come_at_once_are_heard_as_one_by_one(events: list[bytes], begun: bool) -> None:
    """Many of them are read together: that must not show, whatever is among them."""
    stream = b"".join((ROLE, *events, STOP, DONE) if begun else events)
    at_once = ChunkListener(asked(), Said())
    passed = at_once.take(stream)
    one_by_one = ChunkListener(asked(), Said())
    told: list[bytes] = []
    for one in Events().feed(stream):
        if one_by_one.failure is None:
            told.append(one_by_one.take(one))
    assert passed == b"".join(told)
    assert state_of(at_once) == state_of(one_by_one)


@given(st.lists(TEXTS, min_size=1, max_size=8), st.lists(st.integers(0, 60), max_size=6), st.integers(0, 60))
def test_joined_at_any_place_and_however_cut_up_the_words_come_once(
    texts: list[str], cuts: list[int], place: int
) -> None:
    text = "".join(texts)
    place %= len(text) + 1
    edges = sorted({0, *(cut % (len(text) + 1) for cut in cuts), len(text)})
    pieces = [word(text[start:end]) for start, end in itertools.pairwise(edges)]
    said = Said()
    said.add(text[:place])
    listener = ChunkListener(asked(), said, Repeated(text[:place]))
    told = heard(listener, b"".join((ROLE, *pieces, STOP, DONE)), [])
    again = Said()
    heard(ChunkListener(asked(), again), told, [])
    assert text[:place] + again.text == text == said.text
    assert b'"role"' not in told


@given(STREAMS, st.lists(st.integers(0, 1 << 16), max_size=40))
def test_no_byte_of_the_last_line_end_is_kept_back(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join((ROLE, *events, STOP, DONE)).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for further in ([], [len(stream) - 1]):
        assert heard(ChunkListener(asked(), Said()), stream, [*cuts, *further]) == stream


def test_an_event_of_a_megabyte_passes_in_any_pieces() -> None:
    stream = b"".join((ROLE, word("x" * (1 << 20)), STOP, DONE))
    assert heard(ChunkListener(asked(), Said()), stream, list(range(0, len(stream), 1448))) == stream


@pytest.mark.parametrize(
    "events",
    [
        b'data: {"choices": [{"delta": {}\n\ndata: {}}]} {}\n\n',
        b'data: {"choices":\n[]}\n\ndata: {}\n\n',
        b"data: {} {}\n\n",
        b"data: {}\n{}\n\n",
    ],
)
def test_objects_that_do_not_stand_one_in_each_event_are_not_read_together(events: bytes) -> None:
    objects = objects_of(events)
    assert objects is None or read_chunks(objects) is None
