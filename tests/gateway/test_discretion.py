"""What targets say of their failures is kept without keys and without words of the request."""

import json

import msgspec
import pytest
from fronts import answer, ask, chat, failed, gateway, route, target

from tensorfusion.gateway.discretion import MOST_COMPARED, discreet

SECRET = "the merger with Contoso closes on Friday"


def parts(**values: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in values.items()}


@pytest.mark.parametrize(
    "said",
    [
        f"HTTP 400: invalid message: {SECRET}",
        "HTTP 400: [{'type': 'missing', 'input': {'content': 'THE MERGER  with\\nContoso closes on Friday'}}]",
        "HTTP 500: cannot parse ... with Contoso closes ...",
        f"HTTP 422: got {SECRET.upper()}",
    ],
)
def test_words_of_the_request_are_left_out(said: str) -> None:
    found = discreet(said, parts(model="m", messages=[{"role": "user", "content": SECRET}]))
    assert found.startswith(said[:8])
    assert found.endswith("(its words are left out: they repeat the request)")


def test_short_and_escaped_words_too() -> None:
    body = {"messages": msgspec.Raw(b'[{"content": "p\\u00e4ssw\\u00f6rt"}]')}
    assert "pässwört" not in discreet("HTTP 500: unknown word pässwört", body)


def test_other_words_stay() -> None:
    body = parts(model="gpt-4o-of-a-long-name", messages=[{"role": "user", "content": SECRET}], temperature=0.1)
    for said in (
        "HTTP 404: The model gpt-4o-of-a-long-name does not exist",
        "HTTP 429: Rate limit reached, try again in 2 s",
        "HTTP 500",
    ):
        assert discreet(said, body) == said


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcDEF1234567890",
        "tf-abcdefghij0123456789",
        "Bearer abcdefghijklm",
        "sk-***************abcd",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
    ],
)
def test_keys_are_left_out(key: str) -> None:
    found = discreet(f"HTTP 401: Incorrect API key provided: {key}.", parts(messages=[]))
    assert key[-8:] not in found
    assert "***" in found


def test_a_body_that_is_large_or_was_not_read_costs_the_words() -> None:
    large = parts(messages="x" * MOST_COMPARED)
    assert (
        discreet("HTTP 500: anything", large)
        == discreet("HTTP 500: anything", {})
        == "HTTP 500: (its words are left out)"
    )


@pytest.mark.parametrize("status", [400, 422, 500, 503])
async def test_no_record_or_page_has_words_of_a_prompt(status: int) -> None:
    message = f"cannot answer {SECRET!r} of sk-abcdefgh12345678"
    async with target(failed(status, message), answer({"error": {"message": message}})) as one:
        async with gateway(route({"endpoint": one.url})) as running:
            for _ in range(2):
                await ask(running.port, chat(messages=[{"role": "user", "content": SECRET}]))
            kept = json.dumps(msgspec.to_builtins(running.records))
            reports = str([one.status(0.0) for one in running.front.state.choosers.values()])
    for text in (kept, reports):
        assert "Contoso" not in text
        assert "abcdefgh1234" not in text
    assert running.records[0].attempts[0].status == status
