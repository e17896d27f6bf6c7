"""Configurations of Portkey's that requests bring along."""

import json

import pytest
from fronts import ask, chat, failed, gateway, route, said, target

from tensorfusion.clock import SystemClock
from tensorfusion.gateway.custom_hosts import CustomHosts
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.file import parse_keys
from tensorfusion.gateway.secrets import Secrets

KEY = "sk-of-somebody-0123456789"
ELSEWHERE = {"endpoint": "http://127.0.0.1:1/v1"}


def header(config: object) -> bytes:
    text = config if isinstance(config, str) else json.dumps(config)
    return b"x-portkey-config: " + text.encode() + b"\r\n"


def leaf(url: str, **fields: object) -> dict[str, object]:
    return {"provider": "openai", "api_key": "sk-own", "custom_host": url, **fields}


async def test_a_fallback_with_retries_and_parameters_of_its_own() -> None:
    async with target(failed(500), failed(500)) as one, target(said("b")) as two, gateway(route(ELSEWHERE)) as found:
        config = {
            "strategy": {"mode": "fallback", "on_status_codes": [500]},
            "targets": [
                leaf(one.url, retry={"attempts": 1, "on_status_codes": [500]}),
                leaf(two.url, override_params={"model": "gpt-x", "temperature": 0}),
            ],
        }
        response = await ask(found.port, chat(temperature=1), fields=header(config))
        assert (response.status, response.fields["x-tf-attempts"]) == (200, "3")
        assert len(one.requests) == 2
        assert one.requests[0].json["model"] == "m"
        assert (two.requests[0].json["model"], two.requests[0].json["temperature"]) == ("gpt-x", 0)
        assert two.requests[0].fields["authorization"] == "Bearer sk-own"
        assert not any(name.startswith("x-portkey") for name in two.requests[0].fields)
        assert found.records[0].route == "default/portkey"


async def test_conditions_look_at_metadata_and_parameters() -> None:
    async with target(said("a")) as one, target(said("b")) as two, gateway(route(ELSEWHERE)) as found:
        config = {
            "strategy": {
                "mode": "conditional",
                "conditions": [{"query": {"metadata.plan": {"$eq": "paid"}}, "then": "dear"}],
                "default": "cheap",
            },
            "targets": [leaf(one.url, name="cheap"), leaf(two.url, name="dear")],
        }
        await ask(found.port, chat(), fields=header(config))
        await ask(found.port, chat(), fields=header(config) + b'x-portkey-metadata: {"plan": "paid"}\r\n')
        assert (len(one.requests), len(two.requests)) == (1, 1)
        wrong = await ask(found.port, chat(), fields=header(config) + b"x-portkey-metadata: paid\r\n")
        assert (wrong.status, wrong.error["param"]) == (400, "x-portkey-metadata")


async def test_named_ones_and_virtual_keys() -> None:
    secrets = Secrets({("default", "openai", "api-key"): "sk-virtual"})
    async with target(said("a")) as one, gateway(route(ELSEWHERE), secrets=secrets) as found:
        found.front.portkeys.named = {"pc-1": {"provider": "openai", "virtual_key": "openai", "custom_host": one.url}}
        assert (await ask(found.port, chat(), fields=header("pc-1"))).status == 200
        assert one.requests[0].fields["authorization"] == "Bearer sk-virtual"
        unknown = await ask(found.port, chat(), fields=header("pc-2"))
        assert (unknown.status, unknown.error["param"]) == (400, "x-portkey-config")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "no JSON"),
        ({"provider": "openai", "api_key": "k", "input_guardrails": ["x"]}, "guardrails"),
        ({"strategy": {"mode": "race"}, "targets": [{"provider": "openai", "api_key": "k"}]}, "mode"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(config: object, why: str) -> None:
    async with gateway(route(ELSEWHERE)) as found:
        response = await ask(found.port, chat(), fields=header(config))
        assert (response.status, response.error["param"]) == (400, "x-portkey-config")
        assert why in str(response.error["message"])


async def test_a_key_is_not_widened_by_a_configuration() -> None:
    entries = [
        {"name": "plain", "keyFrom": {"env": "PLAIN"}},
        {"name": "small", "keyFrom": {"env": "SMALL"}, "models": ["m"], "metadata": {"customHosts": "true"}},
        {"name": "bound", "keyFrom": {"env": "BOUND"}, "routes": ["r"], "metadata": {"customHosts": "true"}},
    ]
    environ = {name: KEY + name for name in ("PLAIN", "SMALL", "BOUND")}
    book = KeyBook(SystemClock())
    book.replace("file", parse_keys(entries, at="keys", environ=environ))
    async with target(said("a")) as one, target(said("b")) as other, gateway(route(ELSEWHERE), keys=book) as found:
        found.front.portkeys.hosts = CustomHosts([f"127.0.0.1:{one.port}"])

        async def status(name: str, **fields: object) -> tuple[int, object]:
            bearer = f"Authorization: Bearer {environ[name]}\r\n".encode()
            response = await ask(found.port, chat(), fields=bearer + header(leaf(one.url, **fields)))
            return response.status, response.json.get("error", {}).get("code")

        assert (await status("PLAIN"))[0] == 400
        assert (await status("SMALL"))[0] == 200
        assert await status("SMALL", override_params={"model": "big"}) == (403, "model_not_allowed")
        assert await status("BOUND") == (403, "route_not_allowed")
        assert "sk-own" not in str(found.records)
        bearer = f"Authorization: Bearer {environ['SMALL']}\r\n".encode()
        refused = await ask(found.port, chat(), fields=bearer + header(leaf(other.url)))
        assert (refused.status, "portkey.customHosts" in str(refused.error["message"])) == (400, True)
        assert other.requests == []


async def test_a_credential_of_the_gateway_goes_to_no_address_that_only_ends_like_one() -> None:
    secrets = Secrets({("default", "azure", "api-key"): "sk-virtual"})
    async with target(said("a")) as one, gateway(route(ELSEWHERE), secrets=secrets) as found:
        config = {"provider": "azure", "virtual_key": "azure", "custom_host": f"{one.url}/.openai.azure.com"}
        refused = await ask(found.port, chat(), fields=header(config))
        assert (refused.status, refused.error["param"]) == (400, "x-portkey-config")
        assert one.requests == []
