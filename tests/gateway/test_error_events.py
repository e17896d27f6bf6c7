"""Errors that a target tells in a stream, or with a status of success: the same follows as from the same error with a
status of its own, and nobody's request shuts a target for others."""

import pytest
from fronts import DONE, ROLE, STOP, answer, ask, chat, event, gateway, route, streamed, target, word

TOO_LONG = {"message": "This model's maximum context length is 9 tokens", "code": "context_length_exceeded"}
FILTERED = {"message": "no", "type": "invalid_request_error", "code": "content_filter"}
WRONG = {"message": "temperature is 9", "type": "invalid_request_error", "param": "temperature"}
BUSY = {"message": "slow down", "type": "rate_limit_error"}
SICK = {"message": "oh", "type": "server_error"}
OTHER = {"message": "oh", "type": "flux"}


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
@pytest.mark.parametrize(
    ("error", "status", "kind", "outcome"),
    [
        (TOO_LONG, 400, "invalid_request_error", "context-length 400"),
        (FILTERED, 400, "invalid_request_error", "content-filter 400"),
        (WRONG, 400, "invalid_request_error", "status 400"),
        (BUSY, 429, "rate_limit_error", "status 429"),
        (SICK, 502, "upstream_error", "status 500"),
        (OTHER, 502, "upstream_error", "malformed"),
    ],
)
async def test_an_error_event_is_what_it_says(
    path: str, error: dict[str, str], status: int, kind: str, outcome: str
) -> None:
    async with target(streamed(ROLE, event({"error": error}))) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat(stream=True, max_tokens=9), path=path)
        wanted = "api_error" if path == "messages" and status == 502 else kind
        assert (response.status, response.error["type"]) == (status, wanted)
        assert error["message"] in str(response.error["message"])
        assert found.records[0].attempts[0].outcome.startswith(outcome)
        assert found.records[0].status == status


@pytest.mark.parametrize("kind", ["invalid_request_error", "request_too_large"])
async def test_what_a_request_did_wrong_shuts_no_target(kind: str) -> None:
    async with target(streamed(event({"error": {"message": "no", "type": kind}}))) as one:
        async with gateway(route({"endpoint": one.url})) as found:
            for _ in range(7):
                assert (await ask(found.port, chat(stream=True))).status in (400, 413)
            assert found.front.state.choosers["default/r"].status(0.0)[0].circuit == "closed"


async def test_an_event_of_anthropics_is_told_in_its_words() -> None:
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    wrong = {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}
    async with target(streamed(event(told)), streamed(event(wrong))) as one:
        async with gateway(route({"endpoint": one.url, "provider": "anthropic"})) as found:
            response = await ask(found.port, chat(stream=True, max_tokens=9), path="messages")
            assert (response.status, response.error["type"]) == (502, "api_error")
            assert found.records[0].attempts[0].outcome.startswith("status 529")
            response = await ask(found.port, chat(stream=True))
            assert (response.status, response.error["type"]) == (400, "invalid_request_error")


async def test_a_prompt_too_long_for_one_goes_to_one_that_takes_more() -> None:
    async with (
        target(streamed(event({"error": TOO_LONG}))) as one,
        target(streamed(ROLE, word("a"), STOP, DONE)) as two,
    ):
        small, large = {"endpoint": one.url, "contextLength": 9}, {"endpoint": two.url, "contextLength": 99}
        async with gateway(route(small, large)) as found:
            assert (await ask(found.port, chat(stream=True))).fields["x-tf-target"] == "t1"


async def test_a_whole_answer_that_is_an_error_is_one_too() -> None:
    async with target(answer({"error": WRONG})) as one, gateway(route({"endpoint": one.url})) as found:
        response = await ask(found.port, chat())
        assert (response.status, response.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_only_this_client_cannot_be_told_shuts_no_target(*, stream: bool) -> None:
    """A chat completion can hold what no message can: who asks for messages must not shut its target for others."""
    calls = [{"index": number, "function": {"name": "f", "arguments": "{"}} for number in (0, 1, 0)]
    events = [event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}) for call in calls]
    wrong = {"index": 0, "message": {"role": "assistant", "tool_calls": [{"function": 5}]}, "finish_reason": "stop"}
    theirs = streamed(ROLE, *events, STOP, DONE) if stream else answer({"choices": [wrong]})
    async with target(theirs) as one, gateway(route({"endpoint": one.url})) as found:
        for _ in range(6):
            response = await ask(found.port, chat(stream=stream, max_tokens=9), path="messages")
            assert response.status == 502
            assert b"cannot be said in the client's words" in response.body
        assert found.front.state.choosers["default/r"].status(0.0)[0].circuit == "closed"
