"""Refusals that are spelled as nobody's API spells them: whoever asked gets an error that its client can read, with the
status of the target, and nothing that a target writes into one ends the gateway's own work."""

import gzip

import pytest
from fronts import STOP, answer, ask, chat, event, failed, gateway, route, said, streamed, target, word

from tensorfusion.gateway.outcomes import of_error_event, of_refusal
from tensorfusion.wire.messages import Answer

NOT_TEXT = b'{"error":{"message":"no","innererror":{"code":"\xff"}}}'
DEEP = b'{"error":{"message":"no","innererror":{"code":"a","more":' + b"[" * 900 + b"]" * 900 + b"}}}"
ODD = {"not-text": NOT_TEXT, "deep": DEEP}
CODED = answer(gzip.compress(b'{"error":{"message":"no"}}', mtime=0), fields=b"Content-Encoding: gzip\r\n")
REFUSED = {
    "page": (answer(b"<html>no such page</html>", kind=b"text/html"), "no such page"),
    "empty": (answer(b""), ""),
    "detail": (answer({"detail": "no such field"}), "no such field"),
    "details": (answer({"detail": [{"loc": ["body"], "msg": "no such field"}]}), "no such field"),
    "top": (answer({"object": "error", "message": "none here", "type": "BadRequestError", "code": 400}), "none here"),
    "words": (answer({"error": "no such thing"}), "no such thing"),
    "openai": (answer({"error": {"message": "none here", "type": "t"}}), "none here"),
    "not-text": (answer(b'{"error":{"message":"\xff"}}'), ""),
    "coded": (CODED, ""),
}


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
@pytest.mark.parametrize("provider", ["vllm", "anthropic"])
@pytest.mark.parametrize("status", [404, 409, 413, 422, 429])
@pytest.mark.parametrize(("refused", "text"), REFUSED.values(), ids=list(REFUSED))
async def test_a_refusal_is_one_in_the_clients_words(
    path: str, provider: str, status: int, refused: bytes, text: str
) -> None:
    theirs = refused.replace(b"200 X", b"%d X" % status, 1)
    async with target(theirs) as one, gateway(route({"endpoint": one.url, "provider": provider})) as gate:
        found = await ask(gate.port, chat(max_tokens=9), path=path)
        assert found.status == status
        assert found.fields["content-type"] == "application/json"
        assert "content-encoding" not in found.fields
        assert found.error["type"]
        assert found.error["message"]
        assert text in str(found.error["message"])
        assert (found.json.get("type") == "error") is (path == "messages")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"detail": "no such field"}, "no such field"),
        ({"detail": [{"msg": "no"}]}, '[{"msg": "no"}]'),
        ({"object": "error", "message": "none here", "type": "BadRequestError", "code": 400}, "none here"),
        ({"error": "no such thing"}, "no such thing"),
        ({"error": {"message": "none here"}}, "none here"),
        ({"message": 5}, '{"message": 5}'),
    ],
)
async def test_what_a_refusal_says_is_found_wherever_it_is(told: object, message: str) -> None:
    async with target(answer(told, status=422)) as one, gateway(route({"endpoint": one.url})) as gate:
        assert (await ask(gate.port, chat())).error["message"] == message


async def test_a_prompt_too_long_is_one_wherever_that_is_told() -> None:
    told = {"object": "error", "message": "This model's maximum context length is 9 tokens", "code": 400}
    async with target(answer(told, status=400)) as one, target(said("a")) as two:
        small, large = {"endpoint": one.url, "contextLength": 9}, {"endpoint": two.url, "contextLength": 99}
        async with gateway(route(small, large)) as gate:
            assert (await ask(gate.port, chat())).fields["x-tf-target"] == "t1"


async def test_a_refusal_in_the_clients_words_is_told_as_it_came() -> None:
    theirs = {"error": {"message": "no", "type": "t", "param": "x", "code": "c", "more": [1]}}
    async with target(answer(theirs, status=422)) as one, gateway(route({"endpoint": one.url})) as gate:
        assert (await ask(gate.port, chat())).json == theirs


async def test_a_refusal_keeps_what_it_says_of_the_time() -> None:
    async with target(answer(b"", status=429, fields=b"Retry-After: 7\r\n")) as one:
        async with gateway(route({"endpoint": one.url})) as gate:
            found = await ask(gate.port, chat())
            assert (found.status, found.fields["retry-after"], found.error["type"]) == (429, "7", "rate_limit_error")


@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_with_anything_in_it_is_an_error_of_the_target(odd: bytes, *, stream: bool) -> None:
    told = streamed(b"data: " + odd + b"\n\n") if stream else answer(odd)
    async with target(told, answer(odd, status=500), answer(odd, status=400)) as one:
        async with gateway(route({"endpoint": one.url})) as gate:
            statuses = [(await ask(gate.port, chat(stream=stream))).status for _ in range(3)]
            assert statuses == [502, 502, 400]


@pytest.mark.parametrize(
    "odd",
    [NOT_TEXT, DEEP, b'{"error":{"code":' + b"9" * 400 + b"}}", b'{"error":{"code":4e2}}'],
    ids=["not-text", "deep", "long", "float"],
)
def test_anything_can_be_read_as_a_refusal(odd: bytes) -> None:
    assert of_refusal(Answer(400, (), odd)).status == 400
    of_error_event(odd[len(b'{"error":') : -1])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_target_that_is_not_paid_is_the_gateways_business(*, stream: bool) -> None:
    good = streamed(word("a"), STOP) if stream else said("a")
    async with target(failed(402, "Insufficient Balance of acme")) as one, target(good) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as gate:
            assert (await ask(gate.port, chat(stream=stream))).fields["x-tf-target"] == "t1"
        async with gateway(route({"endpoint": one.url})) as gate:
            found = await ask(gate.port, chat(stream=stream))
            assert (found.status, found.error["type"]) == (502, "upstream_error")
            assert b"acme" not in found.body


async def test_an_error_of_unpaid_bills_in_a_stream_is_one_too() -> None:
    told = {"type": "error", "error": {"type": "billing_error", "message": "no"}}
    async with target(streamed(event(told))) as one, target(streamed(word("a"), STOP)) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as gate:
            assert (await ask(gate.port, chat(stream=True))).fields["x-tf-target"] == "t1"
