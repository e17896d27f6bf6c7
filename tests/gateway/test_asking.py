"""A body is read as little as a decision needs, and what nobody here knows passes through as it came."""

import json

import pytest

from tensorfusion.gateway.apis import Api, call_of
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.faults import Fault, Words


def asked(api: Api = Api.CHAT, **fields: object) -> Asked:
    return Asked(api, json.dumps({"model": "m", **fields}).encode())


def test_only_the_model_changes_and_unknown_fields_keep_their_bytes() -> None:
    body = b'{"model": "a", "messages": [ {"role":"user"} ], "x_new": {"b": 1.0e1, "a":"\\u00e9"}}'
    assert Asked(Api.CHAT, body).body_for("b", {}) == (
        b'{"model":"b","messages":[ {"role":"user"} ],"x_new":{"b": 1.0e1, "a":"\\u00e9"}}'
    )


def test_a_name_that_came_twice_goes_out_once() -> None:
    found = Asked(Api.CHAT, b'{"model":"cheap","model":"dear"}')
    assert found.model == "dear"
    assert found.body_for("x", {}) == b'{"model":"x"}'


def test_parameters_are_for_what_the_client_left_out() -> None:
    body = json.loads(asked(temperature=1).body_for("m", {"temperature": b"0", "top_p": b"0.5"}))
    assert (body["temperature"], body["top_p"]) == (1, 0.5)


@pytest.mark.parametrize(
    ("given", "wanted", "sent"),
    [
        ({}, False, {"include_usage": True}),
        ({"stream_options": None}, False, {"include_usage": True}),
        ({"stream_options": {"x": 1}}, False, {"x": 1, "include_usage": True}),
        ({"stream_options": {"include_usage": True, "x": 1}}, True, {"include_usage": True, "x": 1}),
    ],
)
def test_a_stream_tells_its_usage_whether_the_client_wants_it_or_not(
    given: dict[str, object], *, wanted: bool, sent: object
) -> None:
    found = asked(stream=True, **given)
    assert found.usage_wanted is wanted
    assert json.loads(found.body_for("m", {}))["stream_options"] == sent


def test_without_a_stream_nothing_is_said_of_its_usage() -> None:
    assert "stream_options" not in json.loads(asked().body_for("m", {}))
    assert "stream_options" not in json.loads(asked(Api.RESPONSES, stream=True).body_for("m", {}))


@pytest.mark.parametrize(
    ("body", "param", "why"),
    [
        (b"", "", "no JSON object"),
        (b"[]", "", "no JSON object"),
        (b'{"a":' + b"[" * 100_000, "", "no JSON object"),
        (b"\xff", "", "no JSON object"),
        (b"{}", "model", "names no model"),
        (b'{"model": ""}', "model", "names no model"),
        (b'{"model": 3}', "model", "wanted a string"),
        (b'{"model": "%b"}' % (b"x" * 257), "model", "257 characters: wanted at most 256"),
        (b'{"model": null}', "model", "wanted a string"),
        (b'{"model": "m", "stream": "yes"}', "stream", "wanted a boolean"),
        (b'{"model": "m", "max_tokens": 1.5}', "max_tokens", "wanted an integer"),
        (b'{"model": "m", "max_tokens": -1}', "max_tokens", "at least 0"),
        (b'{"model": "m", "stream": true, "stream_options": 1}', "stream_options", "wanted an object"),
        (b'{"model": "m", "user": 1}', "user", "wanted a string"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str, why: str) -> None:
    with pytest.raises(Fault, match=why) as caught:
        Asked(Api.CHAT, body)
    assert (caught.value.status, caught.value.type, caught.value.param) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant"}], "b"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]}], "a\nb"),
        ([{"role": "system", "content": "a"}], ""),
        ([{"role": "user", "content": 3}], ""),
        (3, ""),
    ],
)
def test_the_last_text_of_a_user(messages: object, text: str) -> None:
    assert asked(messages=messages).last_user_message() == text


def test_a_prompt_is_estimated_by_its_bytes() -> None:
    assert asked(messages=[]).prompt_tokens == 1
    assert asked(prompt="x" * 398).prompt_tokens == 100


def test_paths_and_whose_words_their_errors_have() -> None:
    chat = call_of(b"/v1/chat/completions?x=1")
    assert chat is not None
    assert (chat.api, chat.path, chat.words) == (Api.CHAT, "chat/completions?x=1", Words.OPENAI)
    messages = call_of(b"/v1/messages")
    assert messages is not None
    assert messages.words is Words.ANTHROPIC
    audio = call_of(b"/v1/audio/speech")
    assert audio is not None
    assert (audio.api, audio.path) == (Api.VERBATIM, "audio/speech")
    assert call_of(b"/health") is None


@pytest.mark.parametrize("path", [b"/v1/../x", b"/v1/%2E%2e/x", b"/v1//x", b"/v1/a%2Fb", b"/v1/a\\b", b"/v1/\xc3\xa9"])
def test_a_path_that_could_mean_another_is_none(path: bytes) -> None:
    assert call_of(path) is None
