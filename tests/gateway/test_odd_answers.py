"""Answers that are spelled as few spell them. What clients can read is not lost; what they would stumble over, and what
lacks a part of what was asked for, is no answer; and no end is told twice, nor before the answer has one."""

import json

import pytest
from fronts import (
    DONE,
    LAST,
    ROLE,
    STOP,
    STREAM,
    Response,
    answer,
    ask,
    chat,
    chunked,
    event,
    gateway,
    route,
    said,
    streamed,
    target,
    word,
)

BOM = b"\xef\xbb\xbf"
WORDS = (
    event({"type": "message_start", "message": {"id": "x", "model": "up", "usage": {"input_tokens": 5}}}),
    event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lost"}}),
)
ENDING = (
    event({"type": "content_block_stop", "index": 0}),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
    event({"type": "message_stop"}),
)
DELTA = event({"type": "response.output_text.delta", "delta": "lost"})
COMPLETED = event({"type": "response.completed", "response": {"status": "completed", "output": []}})
STREAMS = {
    "chat/completions": ("vllm", (ROLE, word("lost"), STOP, DONE)),
    "messages": ("anthropic", (*WORDS, *ENDING)),
    "responses": ("vllm", (DELTA, COMPLETED)),
}
WHOLE = {
    "chat/completions": (
        "vllm",
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "lost"}, "finish_reason": "stop"}]},
    ),
    "completions": ("vllm", {"choices": [{"index": 0, "text": "lost", "finish_reason": "stop"}]}),
    "messages": ("anthropic", {"content": [{"type": "text", "text": "lost"}], "stop_reason": "end_turn"}),
    "responses": ("vllm", {"output": [{"type": "message", "text": "lost"}], "status": "completed"}),
    "embeddings": ("vllm", {"data": [{"embedding": [0.5], "lost": 1}]}),
}


async def told(path: str, provider: str, theirs: bytes, **asked: object) -> Response:
    """What a client is told where one target is all there is."""
    async with target(theirs) as one, gateway(route({"endpoint": one.url, "provider": provider})) as gate:
        body = chat(prompt="hi", input="hi", max_tokens=9) | asked
        found = await ask(gate.port, body, path=path)
        good = found.status == 200 and b'"error":{"' not in found.body.replace(b": ", b":")
        assert (gate.records[0].status == 200 and not gate.records[0].error_type) is good
        return found


@pytest.mark.parametrize("number", ["NaN", "-Infinity"])
@pytest.mark.parametrize("path", STREAMS)
async def test_words_beside_a_number_that_is_none_are_not_lost(path: str, number: str) -> None:
    provider, events = STREAMS[path]
    odd = [one.replace(b"{", b'{"odd": %b, ' % number.encode(), 1) for one in events if one != DONE]
    found = await told(path, provider, streamed(*odd, *events[-1:] * (events[-1] == DONE)), stream=True)
    assert b"lost" in found.body
    assert b"error" not in found.body
    assert b'"odd": null' in found.body
    assert number.encode() not in found.body


@pytest.mark.parametrize("number", ["NaN", "-Infinity"])
@pytest.mark.parametrize("path", WHOLE)
async def test_an_answer_with_a_number_that_is_none_has_null_there(path: str, number: str) -> None:
    provider, body = WHOLE[path]
    theirs = json.dumps(body).encode().replace(b"{", b'{"odd": %b, ' % number.encode(), 1)
    assert (await told(path, provider, answer(theirs))).json == {"odd": None, **body}


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize("before", [b"", BOM])
async def test_half_a_pair_of_surrogates_and_a_mark_of_order_break_no_answer(path: str, before: bytes) -> None:
    provider, body = WHOLE[path]
    found = await told(path, provider, answer(before + json.dumps({**body, "odd": "\ud83d"}).encode()))
    assert found.body.startswith(b"{")
    assert found.json == {**body, "odd": "\ud83d"}


async def test_half_a_pair_of_surrogates_in_the_last_event_is_an_end() -> None:
    last = event({"id": "x", "choices": [{"index": 0, "delta": {"content": "\ud83d"}, "finish_reason": "length"}]})
    found = await told("chat/completions", "vllm", streamed(ROLE, word("a"), last, DONE), stream=True)
    assert found.body == ROLE + word("a") + last + DONE


async def test_a_message_with_a_number_that_is_none_is_not_lost_in_a_chat() -> None:
    odd = [one.replace(b'"index": 0', b'"index": 0, "odd": NaN') for one in (*WORDS, *ENDING)]
    assert b'"content":"lost"' in (await told("chat/completions", "anthropic", streamed(*odd), stream=True)).body


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize("error", [None, False, {}, [], ""])
async def test_an_error_that_is_none_is_none(path: str, error: object) -> None:
    provider, body = WHOLE[path]
    assert (await told(path, provider, answer({**body, "error": error}))).status == 200
    if path in STREAMS:
        provider, events = STREAMS[path]
        odd = [one.replace(b"{", b'{"error": %b, ' % json.dumps(error).encode(), 1) for one in events if one != DONE]
        found = await told(path, provider, streamed(*odd, *events[-1:] * (events[-1] == DONE)), stream=True)
        assert b"lost" in found.body
    if path == "chat/completions":  # as a message, too
        found = await told("messages", provider, streamed(*odd, DONE), stream=True)
        assert b"lost" in found.body
        assert b"message_stop" in found.body


@pytest.mark.parametrize("path", WHOLE)
async def test_what_is_no_text_is_no_answer(path: str) -> None:
    provider, body = WHOLE[path]
    found = await told(path, provider, answer(json.dumps(body).encode().replace(b"lost", b"l\xffst")))
    assert found.status == 502


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("odd", [b'data: {"id":"\xff"}\n\n', b": \xff\n\n"], ids=["event", "comment"])
async def test_what_is_no_text_is_no_event(path: str, at: int, odd: bytes) -> None:
    provider, events = STREAMS[path]
    found = await told(path, provider, streamed(*events[:at], odd, *events[at:]), stream=True)
    assert found.body == b"".join(events)


async def test_many_words_at_once_are_looked_at_for_what_is_no_text() -> None:
    events = b"".join((*[word("a")] * 9, b'data: {"id":"\xff","choices":[]}\n\n', *[word("b")] * 9, STOP, DONE))
    found = await told("chat/completions", "vllm", STREAM + chunked(events) + LAST, stream=True)
    assert found.body == word("a") * 9 + word("b") * 9 + STOP + DONE


@pytest.mark.parametrize("status", [201, 202, 206])
@pytest.mark.parametrize("stream", [False, True])
async def test_success_has_several_statuses(status: int, *, stream: bool) -> None:
    theirs = streamed(ROLE, word("a"), STOP, DONE) if stream else said("a")
    theirs = theirs.replace(b" 200 ", b" %d " % status, 1)
    assert (await told("chat/completions", "vllm", theirs, stream=stream)).status in (200, status)


@pytest.mark.parametrize("nothing", [b"HTTP/1.1 204 X\r\n\r\n", b"HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_success_without_an_answer_is_another_targets_turn(nothing: bytes, *, stream: bool) -> None:
    good = streamed(ROLE, word("a"), STOP, DONE) if stream else said("a")
    async with target(nothing) as one, target(good) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as gate:
            assert (await ask(gate.port, chat(stream=stream))).fields["x-tf-target"] == "t1"


@pytest.mark.parametrize("path", STREAMS)
async def test_nothing_goes_on_behind_the_end(path: str) -> None:
    provider, events = STREAMS[path]
    late = event({"type": "error", "error": {"type": "x", "message": "late"}})
    found = await told(path, provider, streamed(*events, events[-1], events[1], late, b"data: x\n\n"), stream=True)
    assert found.body.removesuffix(DONE) == b"".join(events).removesuffix(DONE)


@pytest.mark.parametrize("path", ["messages", "responses"])
@pytest.mark.parametrize("at", [0, 1])
async def test_an_end_of_others_is_none_before_the_answers_own(path: str, at: int) -> None:
    """OpenAI's clients take ``[DONE]`` for the end of any stream, and would not see the error behind it."""
    provider, events = STREAMS[path]
    found = await told(path, provider, streamed(*events[:-2], DONE), stream=True)
    assert DONE not in found.body
    assert b'"error"' in found.body
    found = await told(path, provider, streamed(*events[:at], DONE, *events[at:], DONE), stream=True)
    assert found.body == b"".join(events) + DONE


async def test_a_further_choice_that_has_begun_is_waited_for() -> None:
    more = event({"id": "x", "choices": [{"index": 1, "delta": {"content": "b"}}]})
    found = await told("chat/completions", "vllm", streamed(ROLE, word("a"), more, STOP), stream=True)
    assert DONE not in found.body
    assert b'"error"' in found.body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("messages", {"content": None, "stop_reason": "end_turn"}),
        ("messages", {"content": "text", "stop_reason": "end_turn"}),
        ("responses", {"output": None, "status": "completed"}),
        ("embeddings", {"data": None}),
        ("embeddings", {"data": []}),
        ("embeddings", {"data": [None]}),
        ("embeddings", {"data": "x"}),
    ],
)
async def test_an_answer_without_what_was_asked_for_is_none(path: str, body: dict[str, object]) -> None:
    assert (await told(path, "anthropic" if path == "messages" else "vllm", answer(body))).status == 502


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 1), ([{"text": "a"}, {"text": "b"}], 2)],
)
async def test_all_embeddings_that_were_asked_for_are_there(given: object, wanted: int) -> None:
    for there in (wanted, wanted - 1):
        body = {"data": [{"index": at, "embedding": [0.5]} for at in range(there)]}
        found = await told("embeddings", "vllm", answer(body), input=given)
        assert found.status == (200 if there == wanted else 502)


async def test_an_answer_that_is_coded_for_the_way_is_another_targets_turn() -> None:
    body = said("coded").partition(b"\r\n\r\n")[2]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    async with target(head + chunked(body) + LAST) as coded, target(said("plain")) as plain:
        async with gateway(route({"endpoint": coded.url}, {"endpoint": plain.url})) as found:
            response = await ask(found.port, chat())
        assert b"plain" in response.body
        assert (response.fields["x-tf-target"], response.fields["x-tf-attempts"]) == ("t1", "2")
        assert [(one.status, one.target, one.error_type) for one in found.records] == [(200, "t1", "")]


async def test_of_two_types_of_an_answer_the_first_one_is_its_type() -> None:
    """As whoever reads the first one takes it."""
    both = said("hi").replace(
        b"Content-Type: application/json", b"Content-Type: text/html\r\nContent-Type: application/json"
    )
    async with target(both) as one, target(said("other")) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat())
            assert (response.status, response.fields["x-tf-target"]) == (200, "t1")


@pytest.mark.parametrize(
    ("path", "choice"),
    [
        ("chat/completions", {"text": "a"}),
        ("chat/completions", {"message": "a"}),
        ("completions", {"message": {"content": "a"}}),
        ("completions", {"text": None}),
    ],
)
async def test_a_choice_that_says_nothing_in_the_form_of_its_call_is_no_answer(
    path: str, choice: dict[str, object]
) -> None:
    found = await told(path, "vllm", answer({"choices": [{"index": 0, "finish_reason": "stop", **choice}]}))
    assert found.status == 502
    assert "has a choice without" in found.json["error"]["message"]
