"""Whatever a target sends, in whatever arrivals, and however it ends: what looks like a whole answer to a client is one,
and says what was said; what was whole is not lost."""

import asyncio
import itertools
import json
from dataclasses import dataclass
from typing import Any

import pytest
from fronts import (
    DONE,
    LAST,
    ROLE,
    STOP,
    STREAM,
    USAGE,
    Act,
    Response,
    ask,
    chat,
    chunked,
    event,
    gateway,
    reset,
    route,
    streamed,
    target,
    word,
)
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 25
"""Of each pair of wires."""


def typed(kind: str, **parts: Any) -> bytes:  # Any: JSON
    return b"event: %b\n" % kind.encode() + event({"type": kind, **parts})


def message_word(text: str) -> bytes:
    return typed("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


@dataclass(frozen=True)
class Wire:
    """How a target says things, and a client asks."""

    provider: str
    path: str
    start: tuple[bytes, ...]
    odd: tuple[bytes, ...]
    """What may stand between words, and says nothing."""
    reason: bytes
    behind: tuple[bytes, ...]
    """What may follow the reason to finish, the stream's own end last."""
    failure: bytes

    def word(self, text: str) -> bytes:
        if self is RESPONSES:
            return typed("response.output_text.delta", **PLACE, delta=text)
        return word(text) if self is CHAT else message_word(text)

    def whole(self, words: list[str]) -> bytes:
        return streamed(*self.start, *map(self.word, words), self.reason, *self.behind)


CHAT = Wire(
    provider="vllm",
    path="chat/completions",
    start=(ROLE,),
    odd=(b": ping\n\n", b"retry: 10\n\n", b"\n", b"data: {no json\n\n", event({"id": "x", "choices": []})),
    reason=STOP,
    behind=(USAGE, DONE),
    failure=event({"error": {"message": "lost", "type": "server_error"}}),
)
MESSAGES = Wire(
    provider="anthropic",
    path="messages",
    start=(
        typed("message_start", message={"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 5}}),
        typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ),
    odd=(b": ping\n\n", b"\n", b"event: ping\ndata: {no json\n\n", typed("ping")),
    reason=typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4}),
    behind=(typed("message_stop"),),
    failure=typed("error", error={"type": "overloaded_error", "message": "lost"}),
)
PLACE = {"item_id": "i", "output_index": 0, "content_index": 0}
RESPONSES = Wire(
    provider="vllm",
    path="responses",
    start=(
        typed("response.created", response={"id": "r", "status": "in_progress", "output": []}),
        typed("response.output_item.added", output_index=0, item={"id": "i", "type": "message", "content": []}),
        typed("response.content_part.added", **PLACE, part={"type": "output_text", "text": ""}),
    ),
    odd=(b": ping\n\n", b"\n", b"event: ping\ndata: {no json\n\n", typed("keepalive")),
    reason=typed("response.completed", response={"id": "r", "status": "completed", "output": []}),
    behind=(DONE,),
    failure=typed("error", code="server_error", message="lost"),
)
PAIRS = [*((asked, spoken) for asked in (CHAT, MESSAGES) for spoken in (CHAT, MESSAGES)), (RESPONSES, RESPONSES)]


@dataclass(frozen=True)
class Sent:
    """What a target sends: ``whole`` tells that the answer is."""

    words: list[str]
    events: list[bytes]
    whole: bool
    end: str
    cuts: list[int]

    async def act(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = STREAM + chunked(*self.events) + (LAST if self.end == "last" else b"")
        edges = sorted({0, *(cut % len(data) for cut in self.cuts), len(data)})
        for start, end in itertools.pairwise(edges):
            writer.write(data[start:end])
            await writer.drain()
            await asyncio.sleep(0.002)  # so that they arrive one by one
        if self.end == "reset":
            reset(writer)
        elif self.end == "closed":
            raise ConnectionError


@st.composite
def sent(draw: st.DrawFn, wire: Wire) -> Sent:
    words = [f"w{number} " for number in range(draw(st.integers(0, 5)))]
    events = [*wire.start]
    for text in words:
        events.append(wire.word(text))
        events += draw(st.lists(st.sampled_from(wire.odd), max_size=1))
    reason, failed = draw(st.booleans()), draw(st.integers(0, 5)) == 0
    if failed:
        events.append(wire.failure)
    if reason:
        events.append(wire.reason)
    events += [one for one in wire.behind if draw(st.booleans())]
    if draw(st.integers(0, 3)) == 0:
        events = [one.replace(b"\n", b"\r\n") for one in events]
    return Sent(
        words,
        events,
        whole=reason and not failed,
        end=draw(st.sampled_from(("last", "last", "closed", "reset"))),
        cuts=draw(st.lists(st.integers(0, 1 << 16), max_size=4)),
    )


def looks_whole(response: Response) -> bool:
    return response.status == 200 and response.whole and b"error" not in response.body


def text_of(response: Response) -> str:
    """What the client reads."""
    found = ""
    for line in response.body.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"data: {"):
            data = json.loads(line[6:])
            if data.get("type") == "response.output_text.delta":
                found += data["delta"]
            if data.get("type") == "content_block_delta":
                found += data["delta"]["text"]
            for choice in data.get("choices", ()):
                found += choice.get("delta", {}).get("content") or ""
    return found


async def heard(asked: Wire, spoken: Wire, *answers: bytes | Act) -> Response:
    """What a client gets where targets answer so; its record says the same of it."""
    async with target(answers[0]) as one, target(answers[-1]) as two:
        targets = [{"endpoint": each.url, "provider": spoken.provider} for each in (one, two)]
        async with gateway(route(*targets[: len(answers)])) as found:
            response = await ask(found.port, chat(stream=True, max_tokens=50), path=asked.path)
            record = found.records[0]
            assert (record.status == 200 and not record.error_type) is looks_whole(response)
            return response


@pytest.mark.parametrize(("asked", "spoken"), PAIRS, ids=lambda wire: wire.path)
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_what_looks_whole_is_whole_and_the_other_way_round(asked: Wire, spoken: Wire, data: st.DataObject) -> None:
    what = data.draw(sent(spoken))
    response = asyncio.run(heard(asked, spoken, what.act))
    assert looks_whole(response) is what.whole
    if what.whole:
        assert text_of(response) == "".join(what.words)
        ends = response.body.replace(b"\r\n", b"\n").rstrip(b"\n")
        if asked is RESPONSES:
            ends = ends.removesuffix(DONE.strip()).rstrip(b"\n")
            assert asked.reason.strip().endswith(ends.rpartition(b"\n")[2])
        else:
            assert ends.endswith(DONE.strip() if asked is CHAT else b'"message_stop"}')


@pytest.mark.parametrize(("asked", "spoken"), PAIRS, ids=lambda wire: wire.path)
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_another_target_makes_it_whole(asked: Wire, spoken: Wire, data: st.DataObject) -> None:
    what = data.draw(sent(spoken))
    response = asyncio.run(heard(asked, spoken, what.act, spoken.whole(what.words)))
    if looks_whole(response):
        assert text_of(response) == "".join(what.words)
    else:
        # What nobody can know the rest of: it has been told that the text is over, or an event was lost.
        assert response.status == 200
        assert any(b"no json" in one for one in what.events)
