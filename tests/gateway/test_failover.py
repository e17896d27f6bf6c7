"""Every fault, streaming and not: nobody notices before the first word, and nobody is deceived behind it."""

import asyncio
import contextlib
import json
import os
import resource
from pathlib import Path

import pytest
from fronts import (
    DONE,
    LAST,
    ROLE,
    STOP,
    STREAM,
    USAGE,
    Act,
    Client,
    Response,
    answer,
    apart,
    ask,
    chat,
    chunked,
    cut,
    event,
    failed,
    gateway,
    reset,
    reset_at_once,
    route,
    said,
    stall,
    streamed,
    target,
    until,
    word,
)

HTML = answer(b"<html>sorry</html>", kind=b"text/html")
FAST = {"timeout": "100ms", "firstTokenTimeout": "150ms"}


def good(stream: bool) -> bytes:
    return streamed(ROLE, word("one "), word("two"), STOP, USAGE, DONE) if stream else said("one two")


def words_of(response: Response) -> str:
    """All text of a stream."""
    found = ""
    for line in response.body.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                found += choice.get("delta", {}).get("content") or ""
    return found


BEFORE = {
    "500": failed(500),
    "503": failed(503),
    "429": failed(429),
    "429 with a long pause": failed(429, fields=b"Retry-After: 3600\r\n"),
    "401": failed(401),
    "404": failed(404),
    "redirect": failed(302),
    "reset": reset_at_once,
    "no answer": stall(),
    "html": HTML,
    "no http": b"SSH-2.0-x\r\n",
    "error with 200": answer({"error": {"message": "overloaded"}}),
}
WHOLE = {
    **BEFORE,
    "no json": answer(b"{nope"),
    "cut": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{",
    "no choices": answer({"choices": []}),
    "a choice without a message": answer({"choices": [{"index": 0, "finish_reason": "stop"}]}),
    "a choice with no message in it": answer({"choices": [{"message": None, "finish_reason": "stop"}]}),
    "one of two without a message": answer({"choices": [{"message": {"content": "a"}}, {"finish_reason": "stop"}]}),
}
STREAMED = {
    **BEFORE,
    "json": said("a"),
    "cut at once": cut(),
    "cut behind the head": cut(ROLE),
    "stall before a word": stall(ROLE),
    "empty": streamed(),
    "done without a reason": streamed(ROLE, DONE),
    "error event": streamed(ROLE, event({"error": {"message": "overloaded", "code": 503}})),
    "nothing but garbage": streamed(event(b"{nope"), event(b"<>")),
}


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        *((False, closing if name == "cut" else fault) for name, fault in WHOLE.items()),
        *((True, fault) for fault in STREAMED.values()),
    ],
    ids=[*(f"whole {name}" for name in WHOLE), *(f"stream {name}" for name in STREAMED)],
)
async def test_a_failure_before_the_first_word_moves_on_unseen(*, stream: bool, fault: bytes | Act) -> None:
    async with target(fault) as one, target(good(stream)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url}, **FAST)) as found:
            response = await ask(found.port, chat(stream=stream))
            assert (response.status, response.fields["x-tf-target"], response.fields["x-tf-attempts"]) == (
                200,
                "t1",
                "2",
            )
            if stream:
                assert response.whole
                assert response.body == b"".join((ROLE, word("one "), word("two"), STOP, DONE))
            else:
                assert response.body == good(stream=False).partition(b"\r\n\r\n")[2]
            record = found.records[0]
            assert (record.status, record.target, len(record.attempts)) == (200, "t1", 2)
            assert record.completion_tokens == 2
            assert not record.attempts[0].outcome.startswith("answered")
            assert record.attempts[1].outcome == "answered"
            assert len(one.requests) == len(two.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_target_that_is_not_there_is_passed_over(*, stream: bool) -> None:
    async with target(good(stream)) as two:
        gone = {"endpoint": "http://127.0.0.1:1/v1"}
        async with gateway(route(gone, {"endpoint": two.url})) as found:
            assert (await ask(found.port, chat(stream=stream))).fields["x-tf-target"] == "t1"
            assert found.records[0].attempts[0].outcome.startswith("connect")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "type"),
    [
        (failed(500), 502, "upstream_error"),
        (failed(503), 502, "upstream_error"),
        (failed(401), 502, "upstream_error"),
        (failed(504), 504, "upstream_timeout"),
        (reset_at_once, 502, "upstream_error"),
        (stall(), 504, "upstream_timeout"),
        (HTML, 502, "upstream_error"),
    ],
)
async def test_when_nobody_can_answer_the_client_is_told(
    *, fault: bytes | Act, status: int, type: str, stream: bool
) -> None:
    async with target(fault) as one, gateway(route({"endpoint": one.url}, **FAST)) as found:
        response = await ask(found.port, chat(stream=stream))
        assert (response.status, response.error["type"]) == (status, type)
        assert "t0" in str(response.error["message"])
        assert (found.records[0].status, found.records[0].completion_tokens) == (status, 0)
        assert found.limits.settled == [0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        failed(429, fields=b"Retry-After: 7\r\n"),
        failed(400, "bad"),
        failed(400, "filtered", code="content_filter"),
        failed(400, "too long", code="context_length_exceeded"),
        failed(422, "bad"),
    ],
)
async def test_what_is_about_the_request_comes_back_as_it_is(*, fault: bytes, stream: bool) -> None:
    async with target(fault) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=stream))
        head, _, body = fault.partition(b"\r\n\r\n")
        assert (response.status, response.body) == (int(head[9:12]), body)
        if response.status == 429:
            assert response.fields["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_target_is_asked_again_where_the_route_says_so(*, stream: bool) -> None:
    retry = {"maxRetries": 2, "initialDelay": "1ms"}
    async with target(reset_at_once, failed(500), good(stream)) as one:
        async with gateway(route({"endpoint": one.url}, retry=retry)) as found:
            response = await ask(found.port, chat(stream=stream))
            assert (response.status, response.fields["x-tf-attempts"]) == (200, "3")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_pause_that_a_target_asks_for_is_kept(*, stream: bool) -> None:
    retry = {"maxRetries": 1, "initialDelay": "1ms", "maxDelay": "1s"}
    async with target(failed(429, fields=b"Retry-After: 0.2\r\n"), good(stream)) as one:
        async with gateway(route({"endpoint": one.url}, retry=retry)) as found:
            started = asyncio.get_running_loop().time()
            assert (await ask(found.port, chat(stream=stream))).status == 200
            assert asyncio.get_running_loop().time() - started >= 0.19


async def test_without_fallback_the_first_failure_is_the_last() -> None:
    async with target(failed(500)) as one, target(said("a")) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url}, enableFallback=False)) as found:
            assert (await ask(found.port, chat())).status == 502
            assert two.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_that_the_target_had_just_closed_is_no_failure(*, stream: bool) -> None:
    async def last(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(good(stream))
        await reader.readexactly(1)  # the next request: it is never read
        writer.transport.abort()
        raise ConnectionResetError

    async with target(last, good(stream)) as one, gateway(route({"endpoint": one.url})) as found:
        assert (await ask(found.port, chat(stream=stream))).status == 200
        response = await ask(found.port, chat(stream=stream))
        assert (response.status, response.fields["x-tf-attempts"]) == (200, "1")


# --- behind the first word ---


BAD_END = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]})
LOST = event({"error": {"message": "lost"}})
CUTS: dict[str, bytes | Act] = {
    "reset": cut(ROLE, word("one ")),
    "stall": stall(ROLE, word("one ")),
    "end without a reason": apart(ROLE, word("one ")),
    "done without a reason": apart(ROLE, word("one "), DONE),
    "error event": apart(ROLE, word("one "), LOST),
    "finished in an error": apart(ROLE, word("one "), BAD_END),
    "broken framing": STREAM + chunked(ROLE, word("one ")) + b"zz\r\n",
}


@pytest.mark.usefixtures("short_stall")
@pytest.mark.parametrize("fault", CUTS.values(), ids=CUTS)
async def test_a_cut_is_told_and_never_looks_like_an_end(fault: bytes | Act) -> None:
    async with target(fault) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=True))
        events = response.body.split(b"\n\n")
        assert response.body.startswith(ROLE + word("one ") + b'data: {"error":{"message":"target t0 failed: ')
        assert b"[DONE]" not in response.body
        assert len(events) == 4
        record = found.records[0]
        assert (record.status in (502, 504), record.completion_tokens, record.usage_estimated) == (True, 1, True)
        assert record.error_type.startswith("upstream_")


@pytest.mark.usefixtures("short_stall")
@pytest.mark.parametrize("fault", CUTS.values(), ids=CUTS)
async def test_a_cut_answer_goes_on_at_a_target_that_says_the_same(fault: bytes | Act) -> None:
    async with target(fault) as one, target(good(stream=True)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert response.whole
            assert words_of(response) == "one two"
            assert response.body.startswith(ROLE + word("one "))
            assert response.body.endswith(STOP + DONE)
            assert response.body.count(b'"role"') == 1
            assert (found.records[0].status, len(found.records[0].attempts)) == (200, 2)


@pytest.mark.parametrize("events", [(ROLE, word("never sent")), (ROLE, word("never sent"), DONE)])
async def test_an_answer_that_is_all_there_and_not_whole_moves_on_unseen(events: tuple[bytes, ...]) -> None:
    async with target(streamed(*events)) as one, target(good(stream=True)) as two:
        async with gateway(route({"endpoint": one.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert (response.status, b"never sent" in response.body) == (502, False)
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert response.whole
            assert words_of(response) == "one two"
            assert response.fields["x-tf-target"] == "t1"


async def test_a_word_that_came_together_with_the_failure_counts_as_said() -> None:
    async with target(apart(ROLE, word("on"), word("e "), LOST)) as one, target(good(stream=True)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert response.body.startswith(ROLE + word("on") + word("e "))
            assert words_of(response) == "one two"


async def test_words_that_nobody_got_are_not_taken_for_said() -> None:
    fault = streamed(ROLE, word("never sent"), LOST)
    async with target(fault) as one, target(cut(ROLE, word("one "))) as two, target(good(stream=True)) as three:
        async with gateway(route(*({"endpoint": each.url} for each in (one, two, three)))) as found:
            response = await ask(found.port, chat(stream=True))
            assert words_of(response) == "one two"
            assert response.fields["x-tf-target"] == "t1"


@pytest.mark.parametrize(
    "events",
    [
        (word("o"), word("ne two"), STOP),
        (word("one two", role="assistant"), STOP),
        (word("one "), word("two"), STOP),
        (ROLE, word("one"), word(" tw"), word("o"), STOP),
    ],
)
async def test_however_the_same_words_are_cut_up_each_comes_once(events: tuple[bytes, ...]) -> None:
    async with target(cut(ROLE, word("on"), word("e "))) as one, target(streamed(*events)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert words_of(response) == "one two"
            assert response.body.count(b'"role"') == 1
            assert response.body.endswith(DONE)


@pytest.mark.parametrize(
    "events",
    [
        (ROLE, word("One two"), STOP, DONE),
        (word("on"), STOP, DONE),
        (STOP, DONE),
        (event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]}), STOP, DONE),
    ],
)
async def test_another_answer_is_not_glued_to_the_first(events: tuple[bytes, ...]) -> None:
    async with target(cut(ROLE, word("one "))) as one, target(streamed(*events)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert words_of(response) == "one "
            assert b"[DONE]" not in response.body
            assert b'"error":{"message":"target t0 failed: ' in response.body
            assert found.records[0].status == 502


async def test_a_target_that_takes_up_a_beginning_is_given_it() -> None:
    rest = streamed(ROLE, word("two"), STOP, DONE)
    async with target(cut(ROLE, word("one "))) as one, target(rest) as two:
        able = {"endpoint": two.url, "capabilities": ["prefill"]}
        async with gateway(route({"endpoint": one.url}, able)) as found:
            response = await ask(found.port, chat(stream=True, max_tokens=10))
            assert words_of(response) == "one two"
            assert response.body.endswith(STOP + DONE)
            sent = two.requests[0].json
            assert sent["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "one "}]
            assert (sent["max_tokens"], sent["continue_final_message"]) == (9, True)


async def test_one_that_refuses_the_beginning_answers_from_the_start() -> None:
    async with target(cut(ROLE, word("one "))) as one, target(failed(400, "no prefill"), good(stream=True)) as two:
        able = {"endpoint": two.url, "capabilities": ["prefill"]}
        async with gateway(route({"endpoint": one.url}, able)) as found:
            assert words_of(await ask(found.port, chat(stream=True))) == "one two"


async def test_a_refused_beginning_does_not_hide_what_came_first() -> None:
    async with target(cut(ROLE, word("one "))) as one, target(failed(400, "no prefill")) as two:
        able = {"endpoint": two.url, "capabilities": ["prefill"]}
        async with gateway(route({"endpoint": one.url}, able)) as found:
            response = await ask(found.port, chat(stream=True))
            assert b"no prefill" not in response.body
            assert b"Connection" in response.body or b"reset" in response.body or b"closed" in response.body
            assert b"[DONE]" not in response.body


@pytest.mark.parametrize("spec", [{"midStream": "error"}, {"enableFallback": False}])
async def test_a_route_that_does_not_splice_tells_of_the_cut(spec: dict[str, object]) -> None:
    async with target(cut(ROLE, word("one "))) as one, target(good(stream=True)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url}, **spec)) as found:
            response = await ask(found.port, chat(stream=True))
            assert b'"error"' in response.body
            assert two.requests == []


async def test_calls_of_tools_are_never_joined() -> None:
    call = event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]})
    async with target(cut(ROLE, call)) as one, target(good(stream=True)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            response = await ask(found.port, chat(stream=True))
            assert response.body.startswith(ROLE + call)
            assert b'"error"' in response.body
            assert two.requests == []


async def test_a_buffered_answer_is_sent_when_it_is_whole() -> None:
    async with target(cut(ROLE, word("something else "))) as one, target(good(stream=True)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url}, midStream="buffer")) as found:
            response = await ask(found.port, chat(stream=True))
            assert response.body == b"".join((ROLE, word("one "), word("two"), STOP, DONE))


# --- the end ---


async def closed_behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await cut(ROLE, word("a"), STOP)(reader, writer)


@pytest.mark.parametrize("end", [streamed(ROLE, word("a"), STOP), closed_behind])
async def test_an_answer_that_finished_and_did_not_say_so_gets_its_end(end: bytes | Act) -> None:
    async with target(end) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=True))
        assert response.whole
        assert response.body == ROLE + word("a") + STOP + DONE
        assert (found.records[0].status, found.records[0].finish_reason) == (200, "stop")


async def test_several_choices_have_all_to_finish() -> None:
    second = event({"choices": [{"index": 1, "delta": {"content": "b"}}]})
    async with (
        target(streamed(ROLE, word("a"), second, STOP, DONE)) as one,
        gateway(route({"endpoint": one.url})) as found,
    ):
        response = await ask(found.port, chat(stream=True, n=2))
        assert b"[DONE]" not in response.body
        assert b'"error"' in response.body


async def test_a_stream_that_does_not_say_that_it_is_one_is_judged_by_what_it_says() -> None:
    plain = STREAM.replace(b"Content-Type: text/event-stream\r\n", b"")
    events = (ROLE, word("a"), STOP, DONE)
    async with (
        target(plain + chunked(*events) + LAST, plain + chunked(b"<html>", *events[:2]) + LAST) as one,
        gateway(route({"endpoint": one.url})) as found,
    ):
        assert (await ask(found.port, chat(stream=True))).body == b"".join(events)
        assert b"[DONE]" not in (await ask(found.port, chat(stream=True))).body


async def test_events_that_are_none_are_dropped_and_counted() -> None:
    events = (ROLE, event(b"{nope"), word("a"), event(b"[1]"), STOP, DONE)
    async with target(streamed(*events)) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=True))
        assert response.body == ROLE + word("a") + STOP + DONE
        assert found.records[0].events_dropped == 2


async def test_who_never_ends_a_stream_does_not_hold_its_client() -> None:
    async with target(stall(ROLE, word("a"), STOP, DONE)) as one, gateway(route({"endpoint": one.url})) as found:
        async with Client(found.port) as client:
            client.send(chat(stream=True))
            response = await client.response()
            assert response.whole
            assert response.body == ROLE + word("a") + STOP + DONE
        assert found.records[0].status == 200


async def test_a_target_that_fails_on_and_on_is_left_alone() -> None:
    async with target(failed(500)) as one, target(said("a")) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            for _ in range(8):
                assert (await ask(found.port, chat())).status == 200
            assert len(one.requests) == 5


@pytest.mark.parametrize("stream", [False, True])
async def test_a_gateway_without_descriptors_blames_no_target(*, stream: bool) -> None:
    async with target(good(stream)) as one, gateway(route({"endpoint": one.url})) as found:
        async with Client(found.port) as client, contextlib.AsyncExitStack() as stack:
            await until(lambda: found.server.connections == 1)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, before[1]))
            with contextlib.suppress(OSError):
                while True:
                    stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            for _ in range(6):
                client.send(chat(stream=stream))
                response = await client.response()
                assert (response.status, response.error["type"]) == (503, "internal_error")
                assert response.fields["retry-after"] == "1"
            assert found.front.state.choosers["default/r"].status(0.0)[0].circuit == "closed"
        assert (await ask(found.port, chat(stream=stream))).status == 200


async def test_a_target_that_has_closed_all_its_kept_connections_is_asked_over_a_new_one() -> None:
    """A machine in between that forgets connections after a while tells nobody: each of them fails when it is used."""
    kept, gone = 12, asyncio.Event()

    async def keeps(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers, and resets what still comes over the same connection."""
        together.append(writer)
        if len(together) >= kept:
            gone.set()
        await gone.wait()  # so that each of the first has a connection of its own
        writer.write(said("hi"))
        await reader.readexactly(1)
        reset(writer)

    together: list[asyncio.StreamWriter] = []
    async with target(keeps) as one, gateway(route({"endpoint": one.url})) as found:
        assert {answer.status for answer in await asyncio.gather(*(ask(found.port, chat()) for _ in range(kept)))} == {
            200
        }
        pool = next(iter(found.front.state.upstreams.replicas)).pool
        assert pool.connections == kept
        response = await ask(found.port, chat())
        assert (response.status, response.fields["x-tf-attempts"]) == (200, "1")
        assert pool.connections == 1
