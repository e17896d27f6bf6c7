"""``/v1/configs`` and ``/v1/virtual-keys``: what namespaces keep, and who can use it."""

import asyncio
import contextlib
import json
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fronts import Target, ask, chat, gateway, request, route, said, target
from test_admin_keys import ADMIN, BLUE, KEYS, PLAIN, bearer
from test_portkey import header

from tensorfusion.clock import SystemClock
from tensorfusion.gateway.custom_hosts import CustomHosts
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.file import parse_keys
from tensorfusion.gateway.portkey_pages import CONFIGS, VIRTUAL_KEYS, PortkeyPages
from tensorfusion.gateway.portkey_store import MOST, VIRTUAL_IN, PortkeyFile
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State
from test_program import program, until_ready, write, written

Json = dict[str, Any]
CREDENTIAL = "sk-of-a-provider-0123456789"
ELSEWHERE = {"endpoint": "http://127.0.0.1:1/v1"}


@dataclass
class World:
    port: int
    path: Path
    file: PortkeyFile
    upstream: Target
    """Its host may be named."""
    follow: Callable[[], None]

    async def call(self, method: str, path: str, body: object = None, key: str = ADMIN) -> tuple[int, Json]:
        found = await request(self.port, method, f"/v1/{path}", body, fields=bearer(key))
        self.follow()
        return found.status, found.json

    async def use(self, config: object, key: str = PLAIN) -> tuple[int, str]:
        found = await ask(self.port, chat(), fields=bearer(key) + header(config))
        return found.status, str(found.json.get("error", ""))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A gateway in whose force everything is as soon as it is kept."""
    file = PortkeyFile(tmp_path / "keys.portkey.json")
    book = KeyBook(SystemClock())
    book.replace("file", parse_keys(KEYS, at="keys"))
    operators = Secrets({("red", "theirs", "api-key"): "sk-operator"})
    routes = [route(ELSEWHERE, namespace="red"), route(ELSEWHERE, namespace="blue")]
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(target(said("a")))
        pages = PortkeyPages(
            lambda: file, portkeys=lambda: found.front.portkeys, secrets=lambda: operators, clock=SystemClock()
        )
        handlers = {CONFIGS: pages.configs, VIRTUAL_KEYS: pages.virtual_keys}
        found = await stack.enter_async_context(gateway(*routes, keys=book, handlers=handlers, secrets=operators))

        def follow() -> None:
            kept = file.read()
            values = {
                (namespace, name, VIRTUAL_IN): entry.key
                for namespace, entries in kept.virtual_keys.items()
                for name, entry in entries.items()
            }
            secrets = Secrets({("red", "theirs", "api-key"): "sk-operator", **values})
            found.front.state = State.make(routes, secrets, before=found.front.state)
            found.front.portkeys.kept = kept

        found.front.portkeys.hosts = CustomHosts([f"127.0.0.1:{one.port}"])
        yield World(found.port, tmp_path / "keys.portkey.json", file, one, follow)


async def test_a_configuration_is_kept_changed_used_by_its_id_and_deleted(world: World) -> None:
    wish = {"name": "prod", "provider": "custom", "key": CREDENTIAL, "customHost": world.upstream.url}
    assert (await world.call("POST", "virtual-keys", wish))[0] == 201
    config = {"virtual_key": "prod", "override_params": {"model": "one"}}
    status, made = await world.call("POST", "configs", {"name": "My chat!", "config": config})
    assert (status, made["id"].startswith("pc-my-chat-"), made["config"]) == (201, True, config)
    assert await world.use(made["id"]) == (200, "")
    assert world.upstream.requests[0].fields["authorization"] == f"Bearer {CREDENTIAL}"
    assert world.upstream.requests[0].json["model"] == "one"
    config = {"virtual_key": "prod", "provider": "custom", "override_params": {"model": "two"}}
    status, changed = await world.call("PUT", f"configs/{made['id']}", {"config": json.dumps(config)})
    assert (status, changed["name"], changed["createdAt"]) == (200, "My chat!", made["createdAt"])
    assert await world.use(made["id"]) == (200, "")
    assert world.upstream.requests[1].json["model"] == "two"
    assert (await world.call("GET", f"configs/{made['id']}"))[1]["config"] == config
    assert [one["id"] for one in (await world.call("GET", "configs"))[1]["data"]] == [made["id"]]
    assert (await world.call("DELETE", f"configs/{made['id']}"))[0] == 200
    assert "there is no configuration" in (await world.use(made["id"]))[1]
    assert (await world.call("GET", f"configs/{made['id']}"))[0] == 404


async def test_a_virtual_key_is_never_told_and_goes_nowhere_but_where_it_was_made_for(world: World) -> None:
    host = world.upstream.url
    wish = {"name": "prod", "provider": "custom", "key": CREDENTIAL, "customHost": host, "note": "ours"}
    told = [await world.call("POST", "virtual-keys", wish), await world.call("GET", "virtual-keys")]
    told.append(await world.call("PUT", "virtual-keys/prod", {"key": CREDENTIAL + "-new"}))
    told.append(await world.call("POST", "virtual-keys", {**wish, "provider": "openai"}))
    assert [status for status, _ in told] == [201, 200, 200, 409]
    assert CREDENTIAL[:6] not in json.dumps(told)
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o600
    for config, why in (
        ({"virtual_key": "prod", "custom_host": "http://127.0.0.1:1"}, "may not name this address"),
        ({"virtual_key": "prod", "custom_host": host}, "goes to the address that was said with it"),
        ({"virtual_key": "prod", "provider": "openai"}, "which its virtual key is for"),
        ({"custom_host": host, "targets": [{"virtual_key": "prod"}]}, "goes to the address that was said"),
        ({"virtual_key": "theirs", "provider": "custom", "custom_host": host}, "goes to no custom_host"),
    ):
        status, found = await world.call("POST", "configs", {"name": "c", "config": config})
        assert (status, why in found["error"]["message"]) == (400, True), found
    assert (await world.use({"virtual_key": "prod"}))[0] == 200  # brought along, too
    assert world.upstream.requests[-1].fields["authorization"] == f"Bearer {CREDENTIAL}-new"
    assert (await world.call("DELETE", "virtual-keys/prod"))[0] == 200
    assert "no virtual key" in (await world.use({"virtual_key": "prod"}))[1]


async def test_a_host_that_is_no_longer_listed_gets_no_credential(world: World) -> None:
    wish = {"name": "prod", "provider": "custom", "key": CREDENTIAL, "customHost": world.upstream.url}
    await world.call("POST", "virtual-keys", wish)
    listed = world.upstream.port
    assert (await world.call("POST", "virtual-keys", {**wish, "name": "b", "customHost": "http://10.0.0.7"}))[0] == 400
    async with gateway(route(ELSEWHERE)) as found:
        kept, portkeys = world.file.read(), found.front.portkeys
        secrets = Secrets({("red", "prod", VIRTUAL_IN): CREDENTIAL})
        portkeys.hosts = CustomHosts([f"127.0.0.1:{listed}"])
        assert portkeys.check({"virtual_key": "prod"}, "red", kept, secrets).route.targets[0].secret is not None
        portkeys.hosts = CustomHosts(["other.example"])
        with pytest.raises(Fault, match="no longer lists its address"):
            portkeys.check({"virtual_key": "prod"}, "red", kept, secrets)


async def test_what_a_namespace_keeps_is_not_there_for_others(world: World) -> None:
    wish = {"name": "prod", "provider": "custom", "key": CREDENTIAL, "customHost": world.upstream.url}
    await world.call("POST", "virtual-keys", wish)
    _, made = await world.call("POST", "configs", {"name": "c", "config": {"virtual_key": "prod"}})
    assert (await world.call("GET", "configs", key=BLUE))[1]["data"] == []
    assert (await world.call("GET", "virtual-keys", key=BLUE))[1]["data"] == []
    for method, path, body in (
        ("GET", f"configs/{made['id']}", None),
        ("PUT", f"configs/{made['id']}", {"name": "mine"}),
        ("DELETE", f"configs/{made['id']}", None),
        ("PUT", "virtual-keys/prod", {"key": "sk-mine"}),
        ("DELETE", "virtual-keys/prod", None),
    ):
        assert (await world.call(method, path, body, key=BLUE))[0] == 404
    assert "there is no configuration" in (await world.use(made["id"], BLUE))[1]
    assert "there is no virtual key" in (await world.use({"virtual_key": "prod"}, BLUE))[1]
    assert (await world.call("POST", "configs", {"name": "c", "config": {"virtual_key": "prod"}}, key=BLUE))[0] == 400
    assert (await world.use(made["id"]))[0] == 200
    for path in ("configs", "virtual-keys"):
        for method, body in (("GET", None), ("POST", {})):
            assert (await world.call(method, path, body, key=PLAIN))[1]["error"]["code"] == "scope_missing"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("configs", {"config": {"provider": "openai"}}, "name: wanted text"),
        ("configs", {"name": "c"}, "config: wanted a configuration as an object"),
        ("configs", {"name": "c", "config": "{"}, "no JSON"),
        ("configs", {"name": "c", "config": {"provider": "openai", "api_key": "sk-x"}}, "holds no credential"),
        (
            "configs",
            {"name": "c", "config": {"targets": [{"provider": "openai", "virtual_key": "theirs"}, {"apiKey": "sk"}]}},
            "holds no credential",
        ),
        ("configs", {"name": "c", "config": {"provider": "openai", "virtual_key": "nobody"}}, "no virtual key"),
        ("configs", {"name": "c", "config": {}, "isDefault": 1}, "there is no field 'isDefault'"),
        ("configs", {"name": "c", "config": {"provider": "x", "input_guardrails": ["y"]}}, "guardrails"),
        ("virtual-keys", {"name": "Prod", "provider": "openai", "key": "sk"}, "name: wanted lower-case"),
        ("virtual-keys", {"name": "p", "provider": "openai", "key": "s k"}, "key: wanted a credential"),
        ("virtual-keys", {"name": "p", "provider": "openai"}, "key: wanted text"),
        ("virtual-keys", {"name": "p", "provider": "vllm", "key": "sk"}, "customHost: wanted the address"),
        ("virtual-keys", {"name": "p", "provider": "azure", "key": "sk"}, "resourceName: "),
        ("virtual-keys", {"name": "p", "provider": "vllm", "key": "sk", "customHost": "ftp://a"}, "wanted a URL"),
        ("virtual-keys", {"name": "theirs", "provider": "openai", "key": "sk"}, "there is a virtual key theirs"),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(world: World, path: str, body: object, said: str) -> None:
    status, found = await world.call("POST", path, body)
    assert (status in (400, 409), said in found["error"]["message"]) == (True, True), found
    assert not world.path.exists()


async def test_no_namespace_keeps_more_than_its_part(world: World) -> None:
    text = {"configs": {"red": {f"pc-{at}": _kept(at) for at in range(MOST)}}}
    world.path.write_text(json.dumps(text))
    config = {"name": "one more", "config": {"provider": "custom", "custom_host": world.upstream.url}}
    status, found = await world.call("POST", "configs", config)
    assert (status, found["error"]["code"]) == (409, "too_much_kept")
    assert (await world.call("POST", "configs", config, key=BLUE))[0] == 201


def _kept(at: int) -> Json:
    return {"name": str(at), "config": {}, "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}


async def test_who_keeps_none_says_so() -> None:
    book = KeyBook(SystemClock())
    book.replace("file", parse_keys(KEYS, at="keys"))
    pages = PortkeyPages(
        lambda: None, portkeys=lambda: found.front.portkeys, secrets=lambda: Secrets({}), clock=SystemClock()
    )
    handlers = {CONFIGS: pages.configs, VIRTUAL_KEYS: pages.virtual_keys}
    async with gateway(route(ELSEWHERE), keys=book, handlers=handlers) as found:
        for path in ("/v1/configs", "/v1/virtual-keys"):
            answer = await request(found.port, "GET", path, fields=bearer(ADMIN))
            assert (answer.status, answer.error["code"]) == (501, "no_portkey_store")


async def test_what_is_kept_by_one_worker_is_used_by_all(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"keys": list(KEYS)}))
    async with target(said("a")) as one, target(said("b")) as two:
        settings = {"keyFile": "keys.yaml", "portkey": {"customHosts": [f"127.0.0.1:{two.port}"]}}
        write(path, settings, written(one.url, namespace="red"))
        async with program(path, "--workers", "2") as running:
            await until_ready(running.port)

            async def call(path: str, body: object) -> Json:
                return (await request(running.port, "POST", path, body, fields=bearer(ADMIN))).json

            wish = {"name": "prod", "provider": "custom", "key": CREDENTIAL, "customHost": two.url}
            await call("/v1/virtual-keys", wish)
            made = await call("/v1/configs", {"name": "c", "config": {"virtual_key": "prod"}})
            fields = bearer(PLAIN) + header(made["id"])
            alike = 0
            async with asyncio.timeout(60):
                while alike < 10:
                    alike = alike + 1 if (await ask(running.port, chat(), fields=fields)).status == 200 else 0
            assert two.requests[-1].fields["authorization"] == f"Bearer {CREDENTIAL}"
            assert (await ask(running.port, chat(), fields=bearer(PLAIN))).status == 200
            assert len(one.requests) == 1
            assert CREDENTIAL[:6] not in str(running.told)
