"""Requests that mean no good, and targets that say too much: one clear error each, and nothing that was not theirs."""

import json

import pytest
from fronts import Client, Response, answer, ask, chat, failed, gateway, route, said, target

from tensorfusion.gateway.secrets import Secrets

SECRET = "sk-of-the-provider"
KEY = {"namespace": "default", "name": "s", "key": "api-key"}
SECRETS = Secrets({("default", "s", "api-key"): SECRET})


def portkey(config: object) -> bytes:
    return b"x-portkey-config: " + json.dumps(config).encode() + b"\r\n"


async def raw(port: int, line: bytes, body: bytes, fields: bytes = b"") -> Response:
    async with Client(port) as client:
        client.writer.write(
            b"%b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (line, fields, len(body), body)
        )
        return await client.response()


# --- what a target says back ---


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_a_credential_that_is_said_back_goes_nowhere(status: int, *, stream: bool) -> None:
    echo = failed(status, f"bad key {SECRET}", fields=b"X-Echo: %b\r\n" % SECRET.encode())
    async with (
        target(echo) as one,
        gateway(route({"endpoint": one.url, "provider": "openai", "apiKeySecret": KEY}), secrets=SECRETS) as gate,
    ):
        found = await ask(gate.port, chat(stream=stream))
        assert one.requests[0].fields["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in repr(found)
        assert SECRET not in repr(gate.records)
        async with Client(gate.port) as client:
            client.get("/routes")
            assert SECRET.encode() not in (await client.response()).body


async def test_a_credential_of_the_gateways_goes_to_no_address_of_a_callers() -> None:
    config = {"provider": "openai", "virtual_key": "s"}
    async with target(said("a")) as one, gateway(route({"endpoint": one.url}), secrets=SECRETS) as gate:
        found = await ask(gate.port, chat(), fields=portkey({**config, "custom_host": one.url}))
        assert (found.status, found.error["param"]) == (400, "x-portkey-config")
        assert one.requests == []


@pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS"])
async def test_a_method_that_could_say_a_credential_back_is_not_passed_on(method: bytes) -> None:
    async with target(answer({})) as one, gateway(route({"endpoint": one.url})) as gate:
        assert (await raw(gate.port, method + b" /v1/files?model=m", b"")).status == 405
        assert one.requests == []


# --- names that go into header fields ---


@pytest.mark.parametrize("model", ["a\r\nSet-Cookie: x", "a\nb", "a\0", "x" * 1000])
async def test_what_cannot_be_the_name_of_a_model_is_refused(model: str) -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as gate:
        for fields in (b"", portkey({"provider": "custom", "custom_host": one.url})):
            found = await ask(gate.port, chat(model=model), fields=fields)
            assert (found.status, found.error["param"]) == (400, "model")
        assert (await raw(gate.port, b"POST /v1/files?model=a%0d%0ab", b"x")).status == 400
        assert one.requests == []


@pytest.mark.parametrize("part", [{"name": "a\r\nSet-Cookie: x"}, {"override_params": {"model": "a\nb"}}])
async def test_a_configuration_with_line_ends_in_its_names_is_refused(part: dict[str, object]) -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as gate:
        config = {"provider": "custom", "custom_host": one.url, **part}
        assert (await ask(gate.port, chat(), fields=portkey(config))).status == 400


@pytest.mark.parametrize("part", [b'"x": 1e999', b'"x": "\xff"'])
async def test_a_parameter_that_a_condition_cannot_read_is_refused(part: bytes) -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as gate:
        config = {
            "strategy": {
                "mode": "conditional",
                "conditions": [{"query": {"params.x": {"$eq": 1}}, "then": "a"}],
                "default": "a",
            },
            "targets": [{"name": "a", "provider": "custom", "custom_host": one.url}],
        }
        found = await ask(gate.port, b'{"model": "m", "messages": [], %b}' % part, fields=portkey(config))
        assert (found.status, found.error["param"]) == (400, "x")


# --- two models in one request ---

PART = b"--b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        PART % (b'name="model"', b"m") + PART % (b'name="model"', b"other"),
        PART % (b'name="model"', b"m") + PART % (b"name=model", b"other"),
        (PART % (b'name="model"', b"other")).replace(b"\r\n", b"\n"),
        PART % (b"name=model", b"other"),
    ],
)
async def test_a_form_names_one_model_and_in_one_way(parts: bytes) -> None:
    async with target(answer({})) as one, gateway(route({"endpoint": one.url})) as gate:
        kind = b"Content-Type: multipart/form-data; boundary=b\r\n"
        found = await raw(gate.port, b"POST /v1/audio/transcriptions?model=m", parts + b"--b--\r\n", kind)
        assert (found.status, found.error["param"]) == (400, "model")
        assert one.requests == []


@pytest.mark.parametrize("kind", [b"", b"Content-Type: text/plain\r\n"])
async def test_a_model_in_json_counts_whatever_the_body_says_it_is(kind: bytes) -> None:
    async with target(answer({})) as one, gateway(route({"endpoint": one.url})) as gate:
        found = await raw(gate.port, b"POST /v1/rerank?model=m", b' {"model": "other"}', kind)
        assert found.status == 200
        assert one.requests[0].json == {"model": "up0"}
        assert gate.records[0].model == "other"


@pytest.mark.parametrize(
    "fields", [b"Content-Encoding: gzip\r\n", b"Content-Type: application/x-www-form-urlencoded\r\n"]
)
async def test_a_body_in_which_no_model_can_be_seen_is_refused(fields: bytes) -> None:
    async with target(answer({})) as one, gateway(route({"endpoint": one.url})) as gate:
        assert (await raw(gate.port, b"POST /v1/rerank?model=m", b"model=other", fields)).status == 415
        assert one.requests == []


async def test_a_model_by_another_spelling_of_its_field_is_refused() -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as gate:
        found = await ask(gate.port, chat(Model="other"))
        assert (found.status, found.error["param"]) == (400, "Model")


# --- bodies of every kind ---

MESSAGE = b'"messages": [{"role": "user", "content": "x"}]'
BODIES = (
    b'{"model": "m", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"model": "m", "messages": [{"role": "user", "content": "\xff"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": 1e999}]}',
    b'{"model": "m", "messages": 7}',
    b'{"model": "m", "messages": [7]}',
    b'{"model": "m"}',
    b'{"model": "m", %b, "max_tokens": 9223372036854775807}' % MESSAGE,
    b'{"model": "m", %b, "max_tokens": 99999999999999999999999}' % MESSAGE,
    b'{"model": "m", %b, "temperature": 1e999}' % MESSAGE,
    b'{"model": "m", %b, "temperature": NaN}' % MESSAGE,
    b'{"model": "m", %b, "tools": {"a": 1}}' % MESSAGE,
    b'{"model": "m", %b, "n": -3}' % MESSAGE,
    b'{"model": "m", %b, "user": {}}' % MESSAGE,
    b'{"model": "m", %b, "stream": "yes"}' % MESSAGE,
    b'{"model": "m\xff"}',
    b'{"model": "\\ud800"}',
    b'{"model": 7}',
    b"[]",
    b"",
    b"NaN",
    b"\x1f\x8b\x08\x00abc",
)


@pytest.mark.parametrize("path", ["chat/completions", "messages", "completions", "responses", "embeddings", "rerank"])
@pytest.mark.parametrize("provider", ["self-hosted", "anthropic"])
async def test_no_body_is_more_than_a_refusal(path: str, provider: str) -> None:
    spec = {"provider": provider, "apiKeySecret": KEY}
    async with target(failed(422)) as one, gateway(route({"endpoint": one.url, **spec}), secrets=SECRETS) as gate:
        for body in BODIES:
            found = await ask(gate.port, body, path=path)
            assert 400 <= found.status < 500, body[:80]
            assert found.error["message"], body[:80]


@pytest.mark.parametrize("part", [b'"x": 1e999', b'"x": "\xff"'])
async def test_a_body_that_only_its_target_reads_holds_no_place_behind_its_failure(part: bytes) -> None:
    async with (
        target(failed(500, "no number")) as one,
        target(said("a")) as two,
        gateway(route({"endpoint": one.url, "maxConcurrency": 1}, {"endpoint": two.url})) as gate,
    ):
        for _ in range(2):
            assert (await ask(gate.port, b'{"model": "m", "messages": [], %b}' % part)).status == 200
        assert len(one.requests) == 2
        assert [report.in_flight for report in gate.front.state.choosers["default/r"].status(0.0)] == [0, 0]


async def test_several_choices_are_reserved_for_as_several_answers() -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as gate:
        await ask(gate.port, chat(max_tokens=100))
        await ask(gate.port, chat(max_tokens=100, n=5))
        first, second = gate.limits.reserved
        assert second - first == 400
