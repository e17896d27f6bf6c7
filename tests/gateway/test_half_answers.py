"""What a target sends that is no whole answer, and does not look like it: it never goes out as one."""

import asyncio
import json

import pytest
from fronts import (
    DONE,
    LAST,
    ROLE,
    STOP,
    STREAM,
    Client,
    answer,
    apart,
    ask,
    chat,
    chunked,
    cut,
    event,
    gateway,
    route,
    said,
    stall,
    streamed,
    target,
    until,
    word,
)

from tensorfusion.gateway.secrets import Secrets

SECRET = {"namespace": "default", "name": "s", "key": "k"}
SECRETS = Secrets({("default", "s", "k"): "sk"})
PREFILL = {"capabilities": ["prefill"]}
SURROGATES = (rb"\ud83d", rb"\ude00")
ODD = event({"id": "x", "choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "LOST"}]}}]})


def end(reason: str) -> bytes:
    return event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def call(number: int, arguments: str) -> bytes:
    function = {"name": "f", "arguments": arguments}
    return event(
        {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": number, "function": function}]}}]}
    )


def piece(text: str, reason: str | None = None) -> bytes:
    return event({"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": reason}]})


def piece_of(choice: int, text: str, reason: str | None = None) -> bytes:
    return event({"id": "x", "choices": [{"index": choice, "delta": {"content": text}, "finish_reason": reason}]})


@pytest.mark.parametrize("reason", ["error", "abort"])
async def test_an_answer_that_was_given_up_is_none(reason: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "par"}, "finish_reason": reason}
    async with (
        target(answer({"id": "x", "choices": [choice]}), streamed(ROLE, word("par"), end(reason), DONE)) as one,
        target(said("whole")) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as gate,
    ):
        assert b"whole" in (await ask(gate.port, chat())).body
        stream = await ask(gate.port, chat(stream=True))
        assert b"[DONE]" not in stream.body
        assert b'"error"' in stream.body


@pytest.mark.parametrize(("path", "provider"), [("messages", "anthropic"), ("responses", "openai")])
async def test_an_object_without_content_is_no_answer(path: str, provider: str) -> None:
    async with (
        target(answer({})) as one,
        gateway(route({"endpoint": one.url, "provider": provider, "apiKeySecret": SECRET}), secrets=SECRETS) as gate,
    ):
        assert (await ask(gate.port, chat(max_tokens=3), path=path)).status == 502


async def test_a_call_of_a_tool_behind_a_beginning_that_was_given_is_not_lost() -> None:
    async with (
        target(cut(ROLE, word("let me"))) as one,
        target(streamed(ROLE, call(0, "{}"), end("tool_calls"), DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        found = await ask(gate.port, chat(stream=True))
        assert b'"tool_calls":[' in found.body
        assert b"[DONE]" in found.body


@pytest.mark.parametrize("able", [PREFILL, {}])
async def test_what_is_not_understood_where_two_answers_are_joined_is_not_left_out(able: dict[str, object]) -> None:
    again = () if able else (word("let me"),)
    async with (
        target(cut(ROLE, word("let me"))) as one,
        target(streamed(ROLE, *again, ODD, STOP, DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **able})) as gate,
    ):
        found = await ask(gate.port, chat(stream=True))
        assert (b"LOST" in found.body) == (b"[DONE]" in found.body)
        assert b"[DONE]" in found.body or b'"error"' in found.body


SAID = "the quick brown fox jumps over the lazy "


@pytest.mark.parametrize(
    ("goes_on", "wanted"),
    [
        ([SAID, "dog"], "dog"),
        ([SAID[:9], SAID[9:] + "dog"], "dog"),
        ([*SAID, "dog"], "dog"),
        (["dog"], "dog"),
        (["the ", "quick", " dog"], "the quick dog"),
        (["the ", "quick"], "the quick"),
        ([SAID], ""),
    ],
)
@pytest.mark.parametrize("path", ["chat/completions", "messages"])
async def test_who_was_given_the_beginning_and_begins_anew_is_not_heard_twice(
    path: str, goes_on: list[str], wanted: str
) -> None:
    async with (
        target(cut(ROLE, word(SAID[:20]), word(SAID[20:]))) as one,
        target(streamed(ROLE, *map(word, goes_on), STOP, DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        found = await ask(gate.port, chat(stream=True, max_tokens=99), path=path)
        assert two.requests[0].json["continue_final_message"] is True
        said = [json.loads(line[6:]) for line in found.body.split(b"\n") if line.startswith(b"data: {")]
        if path == "messages":
            texts = [one["delta"].get("text", "") for one in said if one["type"] == "content_block_delta"]
        else:
            texts = [one["choices"][0]["delta"].get("content", "") for one in said]
        assert "".join(texts) == SAID + wanted
        assert b'"error"' not in found.body


async def test_a_short_beginning_may_be_said_twice() -> None:
    async with (
        target(cut(ROLE, word("ha "))) as one,
        target(streamed(ROLE, word("ha "), word("ha"), STOP, DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        found = await ask(gate.port, chat(stream=True))
        assert found.body.count(b'"ha ') == 2


async def test_words_that_are_kept_back_are_not_lost_to_what_is_not_understood() -> None:
    async with (
        target(cut(ROLE, word(SAID))) as one,
        target(streamed(ROLE, word("the "), ODD, STOP, DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        found = await ask(gate.port, chat(stream=True))
        assert b"[DONE]" not in found.body
        assert b'"error"' in found.body


@pytest.mark.parametrize("prompt", [["hi"], [1, 2], "hi"])
async def test_a_prompt_that_cannot_be_gone_on_from_is_answered_from_the_start(prompt: object) -> None:
    async with (
        target(cut(piece("let me"))) as one,
        target(streamed(piece("let me"), piece(" go", "stop"), DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        found = await ask(gate.port, {"model": "m", "prompt": prompt, "stream": True}, path="completions")
        assert found.whole
        assert b"[DONE]" in found.body
        assert b"error" not in found.body


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("odd", [(call(0, "{"), call(1, "{"), call(0, "}")), (ODD,)])
async def test_what_cannot_be_said_in_a_message_is_an_error(odd: tuple[bytes, ...], *, begun: bool) -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(ROLE, word("a")))
        if begun:
            await writer.drain()
            await asyncio.sleep(0.05)  # the client is to have this before the rest comes
        writer.write(chunked(*odd, end("tool_calls"), DONE) + LAST)
        await writer.drain()

    async with target(act) as one, gateway(route({"endpoint": one.url})) as gate:
        found = await ask(gate.port, chat(stream=True, max_tokens=9), path="messages")
        assert found.whole
        assert b"message_stop" not in found.body
        assert (b"event: error" in found.body) if begun else found.status == 502


@pytest.mark.parametrize("usage", [{"prompt_tokens": 3.0}, {"prompt_tokens": "3"}, "x"])
async def test_usage_in_no_known_form_breaks_no_answer(usage: object) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    last = event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
    whole = answer({"id": "x", "choices": [choice], "usage": usage})
    async with (
        target(whole, streamed(ROLE, word("a"), last, DONE)) as one,
        gateway(route({"endpoint": one.url})) as gate,
    ):
        assert (await ask(gate.port, chat())).status == 200
        assert b"[DONE]" in (await ask(gate.port, chat(stream=True))).body
        assert [record.usage_estimated for record in gate.records] == [True, True]


@pytest.mark.parametrize(("told", "kept"), [((-5, -7), (0, 0)), ((10**30, 2), (1 << 31, 2))])
async def test_nonsense_of_a_target_about_its_usage_is_bounded(told: tuple[int, int], kept: tuple[int, int]) -> None:
    async with target(said("a", usage=told)) as one, gateway(route({"endpoint": one.url})) as gate:
        assert (await ask(gate.port, chat())).status == 200
        assert (gate.records[0].prompt_tokens, gate.records[0].completion_tokens) == kept


async def test_half_of_a_pair_of_surrogates_is_not_lost() -> None:
    halves = [b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % half for half in SURROGATES]
    async with target(streamed(ROLE, *halves, STOP, DONE)) as one, gateway(route({"endpoint": one.url})) as gate:
        found = await ask(gate.port, chat(stream=True))
        assert b"".join(halves) in found.body
        assert b"[DONE]" in found.body


@pytest.mark.parametrize("events", [(ROLE, word("a"), DONE), (ROLE, word("a"), end("abort"), DONE)])
@pytest.mark.parametrize("path", ["chat/completions", "messages"])
async def test_of_an_answer_that_is_kept_until_it_is_whole_a_half_one_is_never_seen(
    path: str, events: tuple[bytes, ...]
) -> None:
    async with target(streamed(*events)) as one, target(streamed(ROLE, word("b"), STOP, DONE)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url}, midStream="buffer")) as gate:
            found = await ask(gate.port, chat(stream=True, max_tokens=9), path=path)
            assert found.fields["x-tf-target"] == "t1"
            assert b'"error"' not in found.body


def message(**parts: object) -> dict[str, object]:
    return {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "par"}], **parts}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"choices": [{"index": 0, "message": {"content": "par"}, "finish_reason": None}]}),
        ("completions", {"choices": [{"index": 0, "text": "par", "finish_reason": None}]}),
        ("messages", message(stop_reason=None)),
        ("responses", {"status": "failed", "output": [], "error": None}),
    ],
)
async def test_an_answer_that_says_that_it_has_not_finished_is_none(path: str, body: dict[str, object]) -> None:
    provider = {"provider": "anthropic"} if path == "messages" else {}
    async with target(answer(body)) as one, gateway(route({"endpoint": one.url, **provider})) as gate:
        assert (await ask(gate.port, chat(prompt="hi", input="hi", max_tokens=3), path=path)).status == 502


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
async def test_an_answer_that_does_not_say_why_it_finished_is_one(path: str) -> None:
    whole = message() if path == "messages" else {"choices": [{"index": 0, "message": {"content": "whole"}}]}
    provider = {"provider": "anthropic"} if path == "messages" else {}
    async with target(answer(whole)) as one, gateway(route({"endpoint": one.url, **provider})) as gate:
        assert (await ask(gate.port, chat(max_tokens=3), path=path)).status == 200


async def test_a_target_that_makes_fewer_choices_than_asked_for_has_answered_when_it_says_so() -> None:
    async with target(streamed(ROLE, word("a"), STOP, DONE)) as one, gateway(route({"endpoint": one.url})) as gate:
        found = await ask(gate.port, chat(stream=True, n=2))
        assert found.body == ROLE + word("a") + STOP + DONE
        assert (gate.records[0].status, gate.records[0].finish_reason) == (200, "stop")


@pytest.mark.parametrize(
    "events", [(ROLE, word("a"), STOP), (piece_of(1, "b", "stop"), DONE), (ROLE, STOP, piece_of(1, "b"), DONE)]
)
async def test_choices_that_are_lacking_without_a_word_or_have_begun_are_waited_for(events: tuple[bytes, ...]) -> None:
    async with target(streamed(*events)) as one, gateway(route({"endpoint": one.url})) as gate:
        found = await ask(gate.port, chat(stream=True, n=2))
        assert b"[DONE]" not in found.body
        assert b'"error"' in found.body


TOLD = (
    event({"type": "message_start", "message": {**message(), "content": [], "usage": {"input_tokens": 5}}}),
    event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
)
END = event({"type": "message_stop"})


@pytest.mark.parametrize("broken", [False, True])
async def test_a_message_that_finished_and_did_not_say_so_gets_its_end(*, broken: bool) -> None:
    there = cut(*TOLD) if broken else streamed(*TOLD)
    async with target(there) as one, gateway(route({"endpoint": one.url, "provider": "anthropic"})) as gate:
        found = await ask(gate.port, chat(stream=True, max_tokens=9), path="messages")
        assert found.whole
        assert found.body == b"".join(TOLD) + b"event: message_stop\n" + END.replace(b': "', b':"')
        record = gate.records[0]
        assert (record.status, record.prompt_tokens, record.completion_tokens) == (200, 5, 4)
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        found = await ask(gate.port, chat(**asked))
        assert b'"prompt_tokens":5' in found.body
        assert found.body.endswith(DONE)
        record = gate.records[1]
        assert (record.status, record.completion_tokens, record.usage_estimated) == (200, 4, False)


@pytest.mark.parametrize("end", [(), (END,)])
async def test_a_message_that_has_not_finished_has_no_end(end: tuple[bytes, ...]) -> None:
    """Neither where it is cut, nor where it says that it is over and not why."""
    async with (
        target(apart(*TOLD[:2], *end)) as one,
        gateway(route({"endpoint": one.url, "provider": "anthropic"})) as gate,
    ):
        found = await ask(gate.port, chat(stream=True, max_tokens=9), path="messages")
        assert b"event: message_stop" not in found.body
        assert b'"message_stop"' not in found.body
        assert b"event: error" in found.body
        assert gate.records[0].status == 502


GRAMMAR = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(
    "asked",
    [
        GRAMMAR,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"guided_choice": ["a", "b"]},
        {"structured_outputs": {"regex": "a+"}},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "I say: "}]},
    ],
)
async def test_an_answer_whose_form_begins_anew_is_answered_from_the_start(asked: dict[str, object]) -> None:
    """A grammar knows nothing of the words so far, and an answer that the client began cannot be begun again."""
    async with (
        target(cut(ROLE, word('{"a": '))) as one,
        target(streamed(ROLE, word('{"a": 1}'), STOP, DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        found = await ask(gate.port, chat(stream=True, **asked))
        assert two.requests[0].json["messages"] == chat(**asked)["messages"]
        assert "continue_final_message" not in two.requests[0].json
        assert b'"content":"1}"' in found.body
        assert found.body.endswith(STOP + DONE)


async def test_a_form_that_the_target_gives_counts_too() -> None:
    given = {**PREFILL, "parameters": {"guided_regex": "a+"}}
    async with (
        target(cut(ROLE, word("a"))) as one,
        target(streamed(ROLE, word("aa"), STOP, DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **given})) as gate,
    ):
        await ask(gate.port, chat(stream=True))
        assert "continue_final_message" not in two.requests[0].json


async def test_a_completion_that_repeats_its_prompt_is_not_given_it_twice() -> None:
    asked = {"model": "m", "prompt": "hi", "stream": True, "echo": True}
    async with (
        target(cut(piece("hi the"))) as one,
        target(streamed(piece("hi there", "stop"), DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        found = await ask(gate.port, asked, path="completions")
        assert two.requests[0].json["prompt"] == "hi"
        assert b"[DONE]" in found.body


async def test_plain_text_as_a_form_is_none() -> None:
    async with (
        target(cut(ROLE, word("let me"))) as one,
        target(streamed(ROLE, word(" go"), STOP, DONE)) as two,
        gateway(route({"endpoint": one.url}, {"endpoint": two.url, **PREFILL})) as gate,
    ):
        await ask(gate.port, chat(stream=True, response_format={"type": "text"}))
        assert two.requests[0].json["continue_final_message"] is True


async def test_a_message_that_is_left_counts_the_words_that_came_and_not_what_its_beginning_told() -> None:
    async with target(stall(*TOLD[:1], *[TOLD[1]] * 7)) as one:
        async with gateway(route({"endpoint": one.url, "provider": "anthropic"})) as gate:
            async with Client(gate.port) as client:
                client.send(chat(stream=True, max_tokens=9), path="messages")
                for _ in range(7):
                    await client.reader.readuntil(TOLD[1])
            await until(lambda: gate.records)
            record = gate.records[0]
            assert (record.prompt_tokens, record.completion_tokens, record.usage_estimated) == (5, 7, True)
            assert gate.limits.settled == [12]
