"""Responses that are cut in the middle go on at another target under the names and numbers that they began with, or end
with an error: never with half an answer that looks whole, nor with words of two answers."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

import openai
import pytest
from fronts import (
    DONE,
    LAST,
    STREAM,
    Act,
    Client,
    Gateway,
    Response,
    ask,
    chunked,
    cut,
    event,
    failed,
    gateway,
    reset,
    route,
    stall,
    streamed,
    target,
    until,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI

from tensorfusion.testing.llm import LlmServer, Rule, Settings

Event = dict[str, Any]  # JSON
MODEL = "sim-small"
ASKED = {"model": "m", "input": "hi", "stream": True}
TEXT = "a long way"


@dataclass
class Speaker:
    """Says responses as one target does: with its own names, numbers and indices."""

    name: str
    first: int | None = 0
    """Of its numbers; None: it has none."""
    output: int = 0
    content: int = 0
    numbers: Any = field(init=False)  # an iterator, or nothing

    def __post_init__(self) -> None:
        self.numbers = None if self.first is None else count(self.first)

    def say(self, kind: str, **parts: Any) -> bytes:
        number = {} if self.numbers is None else {"sequence_number": next(self.numbers)}
        return b"event: %b\n" % kind.encode() + event({"type": kind, **number, **parts})

    @property
    def item(self) -> str:
        return f"msg_{self.name}"

    @property
    def place(self) -> Event:
        return {"item_id": self.item, "output_index": self.output, "content_index": self.content}

    def response(self, status: str, output: Sequence[Event] = (), **parts: Any) -> Event:
        return {"id": f"resp_{self.name}", "object": "response", "status": status, "output": list(output), **parts}

    def message(self, status: str, text: str | None = None) -> Event:
        content = [] if text is None else [part(text)]
        return {"id": self.item, "type": "message", "role": "assistant", "status": status, "content": content}

    def head(self) -> list[bytes]:
        begun = self.response("in_progress")
        return [
            self.say("response.created", response=begun),
            self.say("response.in_progress", response=begun),
            self.say("response.output_item.added", output_index=self.output, item=self.message("in_progress")),
            self.say("response.content_part.added", **self.place, part=part("")),
        ]

    def word(self, text: str, **parts: Any) -> bytes:
        return self.say("response.output_text.delta", **self.place, delta=text, logprobs=[], **parts)

    def end(self, text: str, status: str = "completed") -> list[bytes]:
        message = self.message(status, text)
        usage = {"input_tokens": 5, "output_tokens": 4}
        return [
            self.say("response.output_text.done", **self.place, text=text, logprobs=[]),
            self.say("response.content_part.done", **self.place, part=part(text)),
            self.say("response.output_item.done", output_index=self.output, item=message),
            self.say(f"response.{status}", response=self.response(status, [message], usage=usage)),
        ]

    def whole(self, *texts: str, status: str = "completed") -> list[bytes]:
        return [*self.head(), *map(self.word, texts), *self.end("".join(texts), status)]

    def half(self, *texts: str) -> list[bytes]:
        return [*self.head(), *map(self.word, texts)]


def part(text: str) -> Event:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def one() -> Speaker:
    return Speaker("one")


def two() -> Speaker:
    return Speaker("two", first=100)


def events_of(body: bytes) -> list[Event]:
    """What a client reads, each under its own name."""
    found = []
    for block in body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        told = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        if not told or told == b"[DONE]":
            continue
        read = json.loads(told)
        names = [line.partition(b": ")[2].decode() for line in lines if line.startswith(b"event:")]
        assert not names or names == [read["type"]]
        found.append(read)
    return found


def text_of(found: Sequence[Event]) -> str:
    return "".join(one["delta"] for one in found if one.get("type") == "response.output_text.delta")


def told(response: Response) -> tuple[str, str]:
    """The text that a client reads, and how it ends: what it reads is one response with one message, or an error."""
    found = events_of(response.body)
    assert response.status == 200
    assert response.whole
    failures = [one for one in found if "error" in one and "type" not in one]
    assert failures in ([], found[-1:])
    said = found[: len(found) - len(failures)]
    numbers = [one["sequence_number"] for one in said if "sequence_number" in one]
    assert len(numbers) in (0, len(said))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)) if numbers else [])
    kinds = [one["type"] for one in said]
    for once in ("response.created", "response.output_item.added", "response.content_part.added"):
        assert kinds.count(once) == 1
    added = said[kinds.index("response.output_item.added")]
    places = {(one["item_id"], one["output_index"], one["content_index"]) for one in said if "item_id" in one}
    assert places == {(added["item"]["id"], added["output_index"], 0)}
    assert {one["response"]["id"] for one in said if "response" in one} == {said[0]["response"]["id"]}
    assert {one["item"]["id"] for one in said if "item" in one} == {added["item"]["id"]}
    assert {one["output_index"] for one in said if "output_index" in one} == {added["output_index"]}
    text = text_of(said)
    if failures:
        assert not {"response.completed", "response.incomplete"} & set(kinds)
        return text, "error"
    last = said[-1]
    assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert said[-4]["text"] == said[-3]["part"]["text"] == said[-2]["item"]["content"][0]["text"] == text
    assert last["response"]["output"] == [said[-2]["item"]]
    return text, last["type"].removeprefix("response.")


async def answered(*acts: bytes | Act, asked: Event | None = None, **spec: object) -> tuple[Response, Gateway]:
    """What a client gets where targets answer so, one behind the other."""
    async with target(acts[0]) as first, target(acts[min(1, len(acts) - 1)]) as second, target(acts[-1]) as third:
        targets = [{"endpoint": each.url} for each in (first, second, third)][: len(acts)]
        async with gateway(route(*targets, **spec)) as found:
            return await ask(found.port, ASKED | (asked or {}), path="responses"), found


# --- it goes on ---


def later(events: Sequence[bytes], *last: bytes) -> Act:
    """A whole stream, its last events in an arrival of their own."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(*events))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(chunked(*last) + LAST)

    return act


ERROR = {"type": "error", "code": "server_error", "message": "lost", "param": None}
LOST = b"event: error\n" + event(ERROR)


def lost(speaker: Speaker) -> bytes:
    error = {"code": "server_error", "message": "lost"}
    return speaker.say("response.failed", response=speaker.response("failed", error=error))


CUTS: dict[str, Callable[[Speaker], bytes | Act]] = {
    "reset": lambda said: cut(*said.half("a lo", "ng")),
    "stall": lambda said: stall(*said.half("a lo", "ng")),
    "end": lambda said: later(said.half("a lo", "ng")),
    "done": lambda said: later(said.half("a lo", "ng"), DONE),
    "error": lambda said: later(said.half("a lo", "ng"), LOST),
    "failed": lambda said: later(said.half("a lo", "ng"), lost(said)),
    "framing": lambda said: STREAM + chunked(*said.half("a lo", "ng")) + b"zz\r\n",
}


@pytest.mark.usefixtures("short_stall")
@pytest.mark.parametrize("fault", CUTS.values(), ids=CUTS)
async def test_a_cut_response_goes_on_at_a_target_that_says_the_same(fault: Callable[[Speaker], bytes | Act]) -> None:
    response, found = await answered(fault(one()), streamed(*two().whole("a ", "long way")))
    assert told(response) == (TEXT, "completed")
    assert response.body.startswith(b"".join(one().half("a lo", "ng")))
    assert b'"delta":" way"' in response.body
    record = found.records[0]
    assert (record.status, record.finish_reason, record.prompt_tokens, record.completion_tokens) == (
        200,
        "completed",
        5,
        4,
    )
    assert [each.target for each in record.attempts] == ["t0", "t1"]
    assert found.limits.settled == [9]


@pytest.mark.parametrize(
    "texts",
    [
        ("a long way",),
        ("a lo", "ng", " way"),
        ("a lo", "ng way"),
        ("a", " long w", "ay"),
        ("", "a lo", "", "ng", "", " way", ""),
        tuple(TEXT),
    ],
)
async def test_however_the_same_words_are_cut_up_each_comes_once(texts: tuple[str, ...]) -> None:
    response, _ = await answered(cut(*one().half("a lo", "ng")), streamed(*two().whole(*texts)))
    assert told(response) == (TEXT, "completed")


@pytest.mark.parametrize("status", ["completed", "incomplete"])
async def test_a_target_that_has_nothing_to_add_ends_the_response(status: str) -> None:
    response, found = await answered(
        cut(*one().half("a lo", "ng way")), streamed(*two().whole("a long way", status=status))
    )
    assert told(response) == (TEXT, status)
    assert found.records[0].finish_reason == status


@pytest.mark.parametrize("ended", [1, 2, 3])
async def test_a_text_that_has_ended_lacks_only_the_end_of_its_response(ended: int) -> None:
    first = one()
    ours = [*first.half("a lo", "ng way"), *first.end(TEXT)[:ended]]
    response, _ = await answered(cut(*ours), cut(*two().half("a long way")), streamed(*two().whole(*TEXT)))
    assert told(response) == (TEXT, "completed")
    assert response.body.startswith(b"".join(ours))
    response, _ = await answered(cut(*one().half("a lo")), cut(*two().half(TEXT), *two().end(TEXT)[:ended]), ours[0])
    assert told_half(response) == (TEXT, ended)
    response, _ = await answered(cut(*ours), streamed(*two().whole(TEXT, " and more")))
    assert told_half(response) == (TEXT, ended)


def told_half(response: Response) -> tuple[str, int]:
    """The text that a client reads of a response which ends with an error, and how many of its parts have ended."""
    *found, last = events_of(response.body)
    assert "error" in last
    assert len({each["sequence_number"] for each in found}) == len(found)
    return text_of(found), sum(each["type"].endswith(".done") for each in found)


async def test_a_third_target_goes_on_where_the_second_one_broke_off() -> None:
    third = Speaker("three", first=7)
    response, found = await answered(
        cut(*one().half("a lo")), cut(*two().half("a long", " w")), streamed(*third.whole(*TEXT))
    )
    assert told(response) == (TEXT, "completed")
    assert [each.target for each in found.records[0].attempts] == ["t0", "t1", "t2"]
    assert b"resp_two" not in response.body
    assert b"three" not in response.body


async def test_a_second_target_that_fails_before_it_says_more_is_followed_by_a_third() -> None:
    for between in (cut(*two().half("a l")), failed(500), failed(404), later(two().half("a"), LOST), streamed()):
        response, _ = await answered(cut(*one().half("a lo")), between, streamed(*Speaker("three").whole(*TEXT)))
        assert told(response) == (TEXT, "completed")


@pytest.mark.parametrize("texts", [(), ("",)])
async def test_words_that_nobody_got_are_not_taken_for_said(texts: tuple[str, ...]) -> None:
    unheard = streamed(*one().half("never sent"), LOST)
    response, _ = await answered(unheard, cut(*one().half(*texts, "a lo")), streamed(*two().whole(TEXT)))
    assert told(response) == (TEXT, "completed")


async def test_a_response_that_has_begun_with_an_empty_word_goes_on() -> None:
    response, _ = await answered(cut(*one().half("")), streamed(*two().whole("a", " long way")))
    assert told(response) == (TEXT, "completed")


@pytest.mark.parametrize("first", [None, 0, 1, 7])
@pytest.mark.parametrize("second", [None, 0, 100])
async def test_events_are_numbered_as_they_began(first: int | None, second: int | None) -> None:
    response, _ = await answered(
        cut(*Speaker("one", first=first).half("a ")), streamed(*Speaker("two", first=second).whole("a long", " way"))
    )
    assert told(response) == (TEXT, "completed")
    numbers = [each.get("sequence_number") for each in events_of(response.body)]
    assert numbers == ([None] * 11 if first is None else list(range(first, first + 11)))


@pytest.mark.parametrize(("ours", "theirs"), [((0, 0), (1, 2)), ((1, 0), (0, 0)), ((2, 0), (1, 3))])
async def test_indices_are_those_that_the_client_knows(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    first = Speaker("one", output=ours[0], content=ours[1])
    second = Speaker("two", output=theirs[0], content=theirs[1])
    response, _ = await answered(cut(*first.half("a ")), streamed(*second.whole("a long", " way")))
    assert told(response) == (TEXT, "completed")


async def test_what_follows_the_text_follows_it_in_the_response() -> None:
    """A call of a tool behind the words, at the target that ends the response."""
    second = Speaker("two", output=1)
    call = {"id": "fc_two", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    half = [*second.half("a long", " way"), *second.end(TEXT)[:3]]
    place = {"item_id": "fc_two", "output_index": 2}
    behind = [
        second.say("response.output_item.added", output_index=2, item={**call, "arguments": ""}),
        second.say("response.function_call_arguments.delta", **place, delta="{}"),
        second.say("response.function_call_arguments.done", **place, arguments="{}", name="f"),
        second.say("response.output_item.done", output_index=2, item=call),
        second.say("response.completed", response=second.response("completed", [second.message("completed"), call])),
    ]
    response, _ = await answered(cut(*one().half("a ")), streamed(*half, *behind))
    found = events_of(response.body)
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    assert [each.get("output_index") for each in found[-5:]] == [1, 1, 1, 1, None]
    assert [each["item_id"] for each in found if "arguments" in each["type"]] == ["fc_two", "fc_two"]
    assert [each["id"] for each in found[-1]["response"]["output"]] == ["msg_one", "fc_two"]
    assert text_of(found) == TEXT


async def test_what_is_no_word_comes_through_and_is_no_place_to_be_confused() -> None:
    first, second = one(), two()
    head = second.head()
    theirs = (
        *head[:2],
        b": ping\n\n",
        second.say("keepalive"),
        *head[2:],
        second.word("a "),
        second.say("keepalive"),
        second.word("long way"),
        second.say("keepalive"),
        b": pong\n\n",
        *second.end(TEXT),
        DONE,
    )
    ours = (*first.head(), first.say("keepalive"), first.word("a lo"), b": ping\n\n", first.say("keepalive"))
    response, _ = await answered(cut(*ours), streamed(*theirs))
    assert told(response) == (TEXT, "completed")
    assert response.body.endswith(DONE)
    assert b": pong\n\n" in response.body
    assert [each["type"] for each in events_of(response.body)].count("keepalive") == 3


async def test_a_response_has_the_name_that_it_began_with_whenever_it_is_named() -> None:
    second = two()
    again = second.half("a long", " w")
    again += [second.say("response.in_progress", response=second.response("in_progress")), second.word("ay")]
    response, _ = await answered(cut(*one().half("a lo")), streamed(*again, *second.end(TEXT)))
    assert told(response) == (TEXT, "completed")
    assert b"resp_two" not in response.body


ODD_NUMBER = (b'"sequence_number": ', b'"sequence_number": "?", "was": ')


@pytest.mark.parametrize("at", range(4, 10))
async def test_what_cannot_be_put_in_its_place_is_an_error_and_not_told_under_another_name(at: int) -> None:
    theirs = two().whole("a lo", "ng way")
    theirs[at] = theirs[at].replace(*ODD_NUMBER)
    response, _ = await answered(cut(*one().half("a l")), streamed(*theirs))
    assert told(response) == ("a l", "error")


def half_a_pair(said: bytes) -> bytes:
    return said.replace(b"way", rb"way\ud83d")


async def test_half_a_pair_of_surrogates_is_compared_with_nothing_and_goes_on_as_it_is() -> None:
    response, _ = await answered(cut(*one().half("a lo")), streamed(*map(half_a_pair, two().whole("a ", "long way"))))
    assert told(response) == ("a lo", "error")
    response, _ = await answered(
        cut(*one().half("a lo")), streamed(*map(half_a_pair, two().whole("a long ", "way", "")))
    )
    assert text_of(events_of(response.body)).encode("utf-8", "surrogatepass") == b"a long way\xed\xa0\xbd"
    assert [each["sequence_number"] for each in events_of(response.body)] == list(range(12))
    assert b"resp_two" not in response.body


async def test_what_nobody_knows_goes_on_behind_the_words_in_whatever_form() -> None:
    second = two()
    new = second.say("response.new", delta={"is": "an object"})
    response, _ = await answered(
        cut(*one().half("a lo")), streamed(*second.half(TEXT), new.replace(*ODD_NUMBER), *second.end(TEXT))
    )
    assert told(response) == (TEXT, "completed")
    assert b'"delta":{"is": "an object"}' in response.body


async def test_what_is_written_anew_is_one_event_however_it_was_spelled() -> None:
    def spread(events: list[bytes]) -> list[bytes]:
        """Each in lines of its own, as some print JSON."""
        found = []
        for each in events:
            name, _, data = each.rstrip().partition(b"\ndata: ")
            lines = json.dumps(json.loads(data), indent=1).encode().split(b"\n")
            found.append(b"\r\n".join((name, *(b"data:" + line for line in lines))) + b"\r\n\r\n")
        return found

    response, _ = await answered(
        cut(*spread(one().half("a ", "l"))), streamed(*spread(two().whole("a ", "long", " way")))
    )
    assert told(response) == (TEXT, "completed")


async def test_of_a_word_in_two_halves_nothing_is_told_that_belongs_to_both() -> None:
    second = two()
    odds = [{"token": "long way", "logprob": -0.5, "bytes": [], "top_logprobs": []}]
    words = [second.say("response.output_text.delta", **second.place, delta=TEXT, logprobs=odds, obfuscation="x")]
    response, _ = await answered(cut(*one().half("a ")), streamed(*second.head(), *words, *second.end(TEXT)))
    assert told(response) == (TEXT, "completed")
    joined = events_of(response.body)[5]
    assert (joined["delta"], joined["logprobs"], joined["obfuscation"]) == ("long way", [], "x")


# --- it cannot ---


@pytest.mark.parametrize(
    "events",
    [
        two().whole("a short way"),
        two().whole("A long way"),
        two().whole("a l"),
        two().whole("a l", status="incomplete"),
        two().whole(""),
        [*two().head(), *two().end(TEXT)],
        two().half("a l"),
        two().half("a long way"),
        [*two().half("a l"), DONE],
        [two().say("response.completed", response=two().response("completed"))],
        [two().word("a long way"), *two().end(TEXT)],
        [*two().head()[:2], two().word("a long way"), *two().end(TEXT)],
        [*two().half("a ", "l"), two().say("response.refusal.delta", **two().place, delta="no"), *two().end(TEXT)],
        [*two().half("a l"), Speaker("two", content=1).word("ong way"), *two().end(TEXT)],
        [*two().half("a l"), Speaker("two", output=1).word("ong way"), *two().end(TEXT)],
        [*two().half("a l"), Speaker("2").word("ong way"), *two().end(TEXT)],
        [*two().half("a"), *two().head()[2:3], two().word(" long way"), *two().end(TEXT)],
        [*two().half("a"), *two().head()[3:], two().word(" long way"), *two().end(TEXT)],
        [*two().head()[:3], two().say("response.content_part.added", **two().place, part=part("a "))],
        [two().say("response.created", response=two().response("in_progress", [two().message("x", "a")]))],
        [two().say("response.created"), *two().whole(TEXT)[1:]],
        [two().say("response.new", why="nobody knows"), *two().whole(TEXT)],
        [*two().half("a l"), event({"type": 5, "delta": "LOST"}), *two().whole(TEXT)[5:]],
        [
            two().say("response.output_item.added", output_index=0, item={"type": "reasoning", "id": "rs"}),
            *Speaker("two", output=1).whole(TEXT),
        ],
        [
            *two().half("a"),
            two().say("response.output_text.annotation.added", **two().place, annotation={"type": "url_citation"}),
            two().word(" long way"),
            *two().end(TEXT),
        ],
    ],
)
async def test_another_response_is_not_glued_to_the_first(events: list[bytes]) -> None:
    response, found = await answered(cut(*one().half("a ", "lo")), streamed(*events))
    text, end = told(response)
    assert (text in ("a lo", TEXT), end) == (True, "error")
    assert b'"error":{"message":"target t' in response.body
    assert found.records[0].status == 502


@pytest.mark.parametrize(
    "events",
    [
        [
            one().say("response.output_item.added", output_index=0, item={"type": "reasoning", "id": "rs"}),
            *Speaker("one", output=1).half("a l"),
        ],
        [*one().head(), one().say("response.reasoning_text.delta", item_id="rs", output_index=0, delta="hm")],
        [*one().half("a l"), one().say("response.refusal.delta", **one().place, delta="no")],
        [*one().half("a l"), one().say("response.function_call_arguments.delta", item_id="fc", delta="{}")],
        [*one().half("a l"), Speaker("more", output=1).head()[2]],
        [*one().half("a l"), Speaker("one", content=1).head()[3], Speaker("one", content=1).word("x")],
        [*one().half("a l"), one().say("response.output_text.annotation.added", **one().place, annotation={})],
        [*one().half("a l"), one().say("response.web_search_call.in_progress", item_id="ws", output_index=1)],
        [*one().half(TEXT), *one().end(TEXT)[:1], one().word("more")],
        [*one().half(TEXT), *one().end(TEXT)[:1], *one().end(TEXT)[:1]],
        [*one().half(TEXT), *one().end(TEXT)[:3], Speaker("more", output=1).head()[2]],
        [*one().half(TEXT), Speaker("more", output=1).end(TEXT)[2]],
        [*one().half(TEXT), one().end(TEXT)[2]],
        [*one().half("a"), one().end(TEXT)[0]],
        [*one().half(), one().end(TEXT)[0]],
        [*one().half(), *one().end(TEXT)[:3]],
        [*one().half("a l"), event({"type": "response.output_text.delta", "delta": ["x"]})],
        [event({"type": "response.output_text.delta", "delta": "a l"})],
        [*one().head()[:2], one().word("a l")],
        [*one().head(), one().word("a l").replace(b'"logprobs": []', b'"logprobs": [{"logprob": -Infinity}]')],
    ],
)
async def test_what_is_more_than_the_text_of_one_message_is_not_joined(events: list[bytes]) -> None:
    async with target(cut(*events)) as first, target(streamed(*two().whole(TEXT))) as second:
        async with gateway(route({"endpoint": first.url}, {"endpoint": second.url})) as found:
            response = await ask(found.port, ASKED, path="responses")
            assert response.whole
            assert b"response.completed" not in response.body
            assert events_of(response.body)[-1]["error"]["message"].startswith("target t0 failed: ")
            assert second.requests == []
            assert found.records[0].status == 502


@pytest.mark.parametrize(
    "kept",
    [
        {"previous_response_id": "resp_0"},
        {"conversation": "conv_0"},
        {"conversation": {"id": "conv_0"}},
        {"background": True},
        {"background": True, "store": True},
    ],
)
async def test_what_leans_on_one_target_is_not_asked_of_another_in_the_middle(kept: Event) -> None:
    async with target(cut(*one().half("a lo"))) as first, target(streamed(*two().whole(TEXT))) as second:
        async with gateway(route({"endpoint": first.url}, {"endpoint": second.url})) as found:
            response = await ask(found.port, ASKED | kept, path="responses")
            assert told(response) == ("a lo", "error")
            assert second.requests == []
            nothing = dict.fromkeys(kept) | {"background": False}
            assert told(await ask(found.port, ASKED | nothing, path="responses")) == (TEXT, "completed")


@pytest.mark.parametrize("kept", [{"background": True}, {"conversation": {"id": "c"}}, {"previous_response_id": "r"}])
async def test_what_a_response_says_that_it_leans_on_counts_too(kept: Event) -> None:
    """As where the target's route gave it, and not the client."""
    first = one()
    begun = first.say("response.created", response=first.response("in_progress", **kept))
    async with target(cut(begun, *first.half("a lo")[1:])) as cut_off, target(streamed(*two().whole(TEXT))) as second:
        async with gateway(route({"endpoint": cut_off.url}, {"endpoint": second.url})) as found:
            assert (await ask(found.port, ASKED, path="responses")).body.endswith(b'"param":null}}\n\n')
            assert second.requests == []


async def test_a_client_that_leaves_while_a_target_says_again_what_was_said_leaves_that_too() -> None:
    async with target(cut(*one().half("a lo"))) as first, target(stall(*two().half("a"))) as second:
        async with gateway(route({"endpoint": first.url}, {"endpoint": second.url})) as found:
            async with Client(found.port) as client:
                client.send(ASKED, path="responses")
                await client.reader.readuntil(one().half("a lo")[-1][-40:])
                await until(lambda: second.requests)
            await until(lambda: second.left)
            await until(lambda: found.records)
            assert (found.records[0].status, found.records[0].completion_tokens) == (499, 1)


async def test_another_replica_of_the_same_target_goes_on() -> None:
    async with target(cut(*one().half("a lo"))) as first, target(streamed(*two().whole(TEXT))) as second:
        urls = [first.url, second.url]
        async with gateway(route({"gpuPool": "p"}), addresses=lambda route, written: urls) as found:
            while not first.requests:
                assert told(await ask(found.port, ASKED, path="responses")) == (TEXT, "completed")


async def test_a_route_that_wants_an_error_gets_it() -> None:
    response, found = await answered(cut(*one().half("a lo")), streamed(*two().whole(TEXT)), midStream="error")
    assert told(response) == ("a lo", "error")
    assert len(found.records[0].attempts) == 1
    assert (found.records[0].completion_tokens, found.records[0].usage_estimated) == (1, True)


async def test_a_response_that_is_kept_until_it_is_whole_is_that_of_one_target() -> None:
    theirs = streamed(*two().whole(TEXT))
    response, _ = await answered(cut(*one().half("a lo")), theirs, midStream="buffer")
    assert response.body == b"".join(two().whole(TEXT))
    assert response.fields["x-tf-target"] == "t1"


async def test_the_words_that_came_are_counted_once() -> None:
    response, found = await answered(
        cut(*one().half("a ", "lo")), cut(*two().half(*TEXT[:7])), cut(*two().half("a long", " w"))
    )
    assert told(response) == ("a long w", "error")
    assert (found.records[0].completion_tokens, found.records[0].usage_estimated) == (6, True)


# --- wherever it is cut ---


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=4)
LINE_ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])


@dataclass
class Script:
    """The same text as one target says it, cut at any byte and sent in any pieces."""

    texts: list[str]
    at: float
    """Where it is cut; 1: nowhere."""
    line_end: bytes
    pieces: list[float]
    speaker: Speaker

    async def act(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        events = [each.replace(b"\n", self.line_end) for each in self.speaker.whole(*self.texts)]
        data = STREAM + chunked(b"".join(events)) + LAST
        whole = self.at == 1
        data = data[: int(len(data) * self.at)]
        edges = sorted({0, *(int(len(data) * piece) for piece in self.pieces), len(data)})
        for start, end in pairwise(edges):
            writer.write(data[start:end])
            await writer.drain()
            await asyncio.sleep(0.001)  # so that they arrive one by one
        if not whole:
            await asyncio.sleep(0.005)  # what was sent is to arrive before the reset
            reset(writer)


@st.composite
def script(draw: st.DrawFn, text: str, name: str, *, whole: bool) -> Script:
    edges = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=6))})
    texts = [text[start:end] for start, end in pairwise(edges)]
    shares = st.floats(0, 1, exclude_max=True)
    return Script(
        texts=texts,
        at=1 if whole else draw(shares),
        line_end=draw(LINE_ENDS),
        pieces=draw(st.lists(shares, max_size=4)),
        speaker=Speaker(name, first=draw(st.sampled_from((0, 0, 1, 50)))),
    )


@given(data=st.data(), text=st.lists(TEXTS, min_size=1, max_size=6).map("".join), changed=st.sampled_from([0, 0, 0, 1]))
@settings(max_examples=150)
def test_cut_at_any_byte_it_is_whole_or_says_that_it_is_not(data: st.DataObject, text: str, changed: int) -> None:
    scripts = [data.draw(script(text, name, whole=False)) for name in ("one", "two")[: data.draw(st.integers(1, 2))]]
    last = data.draw(script(f"{text[:1]}?" if changed else text, "three", whole=True))
    response, found = asyncio.run(answered(*(each.act for each in scripts), last.act))
    said, end = told(response)
    if end == "completed":
        assert said in (text, "".join(last.texts))
        assert found.records[0].status == 200
    else:
        assert text.startswith(said) or "".join(last.texts).startswith(said)
        assert found.records[0].status == 502
        assert changed


# --- the official client ---


def client_of(found: Gateway) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{found.port}/v1", api_key="tf-any", max_retries=0)


FAULTS = ["cut;after=9", "cut-reset;after=9", "short-end;after=9", "error-event;after=9", "broken-chunk;after=9"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_openais_client_reads_a_joined_response_as_any_other(fault: str) -> None:
    async with LlmServer(Settings(tpot=0.002), rules=[Rule(fault)]) as first, LlmServer(Settings(tpot=0.002)) as second:
        targets = [{"endpoint": f"{server.url}/v1", "model": MODEL} for server in (first, second)]
        async with gateway(route(*targets)) as found, client_of(found) as client:
            async with client.responses.stream(model="m", input="hi") as events:
                names = [each.type async for each in events]
                final = await events.get_final_response()
            whole = await client.responses.create(model="m", input="hi")
            assert final.output_text == whole.output_text
            assert final.usage == whole.usage
            assert names.count("response.output_text.delta") > 3
            stream = await client.responses.create(model="m", input="hi", stream=True)
            raw = [each async for each in stream]
            assert [each.sequence_number for each in raw] == list(range(len(raw)))
            assert "".join(each.delta for each in raw if each.type.endswith("text.delta")) == whole.output_text

            def ask_on_a_thread() -> str:
                with OpenAI(base_url=f"http://127.0.0.1:{found.port}/v1", api_key="tf-any", max_retries=0) as other:
                    with other.responses.stream(model="m", input="hi") as stream:
                        return stream.get_final_response().output_text

            assert await asyncio.to_thread(ask_on_a_thread) == whole.output_text
            streams = [record for record in found.records if record.stream]
            assert [len(record.attempts) for record in streams] == [2, 2, 2]


@pytest.mark.parametrize("fault", FAULTS)
async def test_openais_client_raises_where_a_response_breaks_off(fault: str) -> None:
    async with LlmServer(Settings(tpot=0.002), rules=[Rule(fault)]) as server:
        async with gateway(route({"endpoint": f"{server.url}/v1", "model": MODEL})) as found:
            async with client_of(found) as client:
                with pytest.raises(openai.APIError, match="target t0 failed"):
                    async with client.responses.stream(model="m", input="hi") as events:
                        await events.get_final_response()
                with pytest.raises(openai.APIError, match="target t0 failed"):
                    async for _ in await client.responses.create(model="m", input="hi", stream=True):
                        pass

            def ask_on_a_thread() -> str:
                with OpenAI(base_url=f"http://127.0.0.1:{found.port}/v1", api_key="tf-any", max_retries=0) as other:
                    with other.responses.stream(model="m", input="hi") as stream:
                        return stream.get_final_response().output_text

            with pytest.raises(openai.APIError, match="target t0 failed"):
                await asyncio.to_thread(ask_on_a_thread)
