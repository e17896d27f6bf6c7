"""Pages that are no model's: what is there, and how it does."""

import json

from fronts import Client, Response, ask, chat, failed, gateway, request, route, said, target

from tensorfusion.clock import SystemClock
from tensorfusion.gateway.faults import JSON
from tensorfusion.gateway.handling import Inquiry
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.file import parse_keys
from tensorfusion.gateway.keys.pages import PREFIX as KEYS
from tensorfusion.gateway.pages import Page
from tensorfusion.gateway.portkey_pages import CONFIGS, VIRTUAL_KEYS
from tensorfusion.gateway.seams import Key
from tensorfusion.gateway.usage.tokens import BUDGET, REPORT

CONTRACT = (
    *(("post", f"/v1/{api}") for api in ("chat/completions", "completions", "embeddings", "responses", "messages")),
    ("post", "/v1/rerank"),
    *(("get", path) for path in ("/v1/models", "/v1/models/{id}", "/health", "/metrics", "/ready", "/routes")),
    *(("get", path) for path in ("/v1/usage", "/v1/logs", "/providers/status")),
    *((method, "/admin/keys") for method in ("get", "post")),
    *((method, "/admin/keys/{id}") for method in ("get", "patch", "delete")),
    ("post", "/admin/keys/{id}/rotate"),
    *((method, "/v1/configs") for method in ("get", "post")),
    *((method, "/v1/configs/{id}") for method in ("get", "put", "delete")),
    ("post", "/v1/virtual-keys"),
    ("get", "/tokens/budget/{key}"),
    ("post", "/tokens/usage"),
    ("post", "/fallback/test"),
)
"""Of the platform's contract, 3.1."""


async def get(port: int, path: str) -> Response:
    async with Client(port) as client:
        client.get(path)
        return await client.response()


async def post(port: int, path: str, body: object) -> Response:
    async with Client(port) as client:
        data = json.dumps(body).encode()
        client.writer.write(
            b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(data), data)
        )
        return await client.response()


async def test_models_are_those_that_a_caller_may_ask_for() -> None:
    async with target(said("a")) as one:
        named = route({"endpoint": one.url, "model": "big-1"}, name="a", selector={"modelPattern": "^chat$"})
        pattern = route({"endpoint": one.url, "model": "llama-3-70b"}, name="b", selector={"modelPattern": "^llama-.*"})
        other = route({"endpoint": one.url}, name="c", namespace="other", selector={"modelPattern": "^secret$"})
        async with gateway(named, pattern, other) as found:
            models = (await get(found.port, "/v1/models")).json
            assert [one["id"] for one in models["data"]] == ["chat", "llama-3-70b"]
            assert (await get(found.port, "/v1/models/llama-anything")).json["id"] == "llama-anything"
            missing = await get(found.port, "/v1/models/secret")
            assert (missing.status, missing.error["type"]) == (404, "model_not_found")
            assert "secret" not in str((await get(found.port, "/routes")).json)


async def test_routes_and_providers_tell_how_targets_do() -> None:
    async with target(failed(500)) as one, target(said("a")) as two:
        secret = {"apiKeySecret": {"name": "s", "namespace": "default", "key": "k"}}
        targets = ({"endpoint": one.url}, {"endpoint": two.url, "provider": "openai"}, {"endpoint": two.url, **secret})
        async with gateway(route(*targets)) as found:
            for _ in range(6):
                assert (await ask(found.port, chat())).status == 200
            routes = (await get(found.port, "/routes")).json["data"]
            assert isinstance(routes, list)
            sick, well, keyless = routes[0]["targets"]
            assert (sick["healthy"], sick["circuit"], sick["lastError"]) == (False, "open", "status 500: HTTP 500 (t)")
            assert (well["healthy"], well["circuit"], well["lastError"]) == (True, "closed", "")
            assert (keyless["healthy"], keyless["lastError"]) == (False, "Secret default/s key k does not exist")
            providers = (await get(found.port, "/providers/status")).json["data"]
            assert [(one["provider"], one["targets"], one["healthy"]) for one in providers] == [
                ("openai", 1, 1),
                ("self-hosted", 2, 0),
            ]


async def test_a_dry_run_tells_who_would_be_asked_and_asks_nobody() -> None:
    async with target(said("a")) as one:
        cheap = {"endpoint": one.url, "conditions": {"maxTokens": 1}}
        async with gateway(route(cheap, {"endpoint": one.url}, {"endpoint": one.url})) as found:
            told = (await post(found.port, "/fallback/test", chat(padding="x" * 100, model="m"))).json
            assert told["route"] == "default/r"
            assert [(each["target"], each["tried"]) for each in told["targets"]] == [
                ("t1", True),
                ("t2", True),
                ("t0", False),
            ]
            assert one.requests == []
            assert (await post(found.port, "/fallback/test", {})).status == 400


async def test_a_dry_run_is_for_whoever_may_ask_the_model() -> None:
    entries = [
        {"name": "reader", "keyFrom": {"env": "READER"}, "scopes": ["logs"]},
        {"name": "small", "keyFrom": {"env": "SMALL"}, "models": ["m"]},
    ]
    environ = {name: f"made-elsewhere-{name}-0123" for name in ("READER", "SMALL")}
    book = KeyBook(SystemClock())
    book.replace("file", parse_keys(entries, at="keys", environ=environ))
    async with gateway(route({"endpoint": "http://127.0.0.1:1/v1"}), keys=book) as found:

        async def status(name: str, model: str = "m") -> tuple[int, object]:
            bearer = f"Authorization: Bearer {environ[name]}\r\n".encode()
            answer = await request(found.port, "POST", "/fallback/test", chat(model=model), fields=bearer)
            return answer.status, answer.json.get("error", {}).get("code")  # type: ignore[attr-defined] # JSON

        assert await status("READER") == (403, "scope_missing")
        assert await status("SMALL", "big") == (403, "model_not_allowed")
        assert (await status("SMALL"))[0] == 200


async def test_what_is_described_is_there() -> None:
    """For the first of what a path leaves open; who answers behind a prefix has tests of its own."""
    known = {b"/" + path for path in (b"v1/usage", b"v1/logs")}

    async def question(query: bytes, key: Key) -> Page:
        return 200, (JSON,), b"{}"

    async def answered(inquiry: Inquiry) -> Page:
        return 200, (JSON,), b"{}"

    async with (
        target(said("a")) as one,
        gateway(
            route({"endpoint": one.url}),
            questions=dict.fromkeys(known, question),
            handlers=dict.fromkeys((KEYS, CONFIGS, VIRTUAL_KEYS, BUDGET, REPORT), answered),
        ) as found,
    ):
        described = (await get(found.port, "/openapi.json")).json["paths"]
        assert isinstance(described, dict)
        assert set(CONTRACT) <= {(method, path) for path, operations in described.items() for method in operations}
        for path, operations in described.items():
            for method in operations:
                sent = chat() if method in ("post", "put", "patch") else None
                answer = await request(found.port, method.upper(), path.replace("{", "").replace("}", ""), sent)
                assert answer.status in (200, 502), (method, path, answer.body)  # 502: other words than were asked for


async def test_health_is_told_to_everybody_and_nothing_else_is_there() -> None:
    async with gateway(route({"endpoint": "http://127.0.0.1:1/v1"})) as found:
        assert (await get(found.port, "/health")).json == {"status": "ok"}
        assert (await get(found.port, "/ready")).status == 200
        described = (await get(found.port, "/openapi.json")).json
        assert described["openapi"] == "3.1.0"
        assert [each["url"] for each in described["servers"]] == ["/", "/routes/{route}"]
        assert (await get(found.port, "/nothing")).error["code"] == "unknown_path"
        assert (await post(found.port, "/health", {})).status == 405
