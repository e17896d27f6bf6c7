"""What is left of a budget, and usage that went around the gateway: as the store of records has it."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fronts import gateway, request, route

from stores import Served, ids, kept, key, record
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.handling import inquiry_of
from tensorfusion.gateway.keys.errors import ScopeMissing
from tensorfusion.gateway.keys.record import Budget, KeyRecord
from tensorfusion.gateway.usage.store import MOST_WAITING
from tensorfusion.gateway.usage.tokens import BUDGET, REPORT, REPORTS_AT_ONCE, TokenPages
from tensorfusion.testing.clock import VirtualClock

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = 3600
RED = replace(key("red/a", "infer"), budget=Budget(daily=1_000_000, monthly=5_000_000), user="ann")
BOSS = key("red/boss", "admin", "infer")
BLUE = key("blue/a", "infer")
OPERATOR = key("ops/o", "admin", operator=True)
KEYS = {one.id: one for one in (RED, BOSS, BLUE, OPERATOR)}
Json = dict[str, Any]


def pages(found: Served | None, now: datetime = NOW) -> TokenPages:
    return TokenPages(found.requests if found is not None else None, key_of=KEYS.get, clock=VirtualClock(now))


async def budget(found: Served | None, name: str, who: KeyRecord) -> Json:
    asked = inquiry_of(b"GET", BUDGET + b"/" + name.encode(), b"", b"", who)
    told: Json = json.loads((await pages(found).budget(asked))[2])
    return told


async def report(found: Served | None, body: Json, who: KeyRecord = BOSS) -> Json:
    asked = inquiry_of(b"POST", REPORT, b"", json.dumps(body).encode(), who)
    status, _, data = await pages(found).report(asked)
    assert status == 202
    told: Json = json.loads(data)
    return told


async def test_what_is_left_is_what_today_and_this_month_have_used(store: Served) -> None:
    now = NOW.timestamp()
    await kept(
        store,
        record("now", timestamp=now - 1, cost_microusd=250_000),
        record("morning", timestamp=now - 12 * HOUR, cost_microusd=500_000),
        record("yesterday", timestamp=now - 12 * HOUR - 1, cost_microusd=4_500_000),
        record("last month", timestamp=datetime(2025, 12, 31, 23, 59, tzinfo=UTC).timestamp(), cost_microusd=9),
        record("another", timestamp=now - 1, cost_microusd=7, key_id="red/b"),
        record("elsewhere", timestamp=now - 1, cost_microusd=7, namespace="blue"),
    )
    found = await budget(store, "a", RED)
    assert (found["key"], found["currency"], found["enforced"]) == ("red/a", "USD", False)
    assert found["daily"] == {
        "limit": "1",
        "used": "0.75",
        "remaining": "0.25",
        "exceeded": False,
        "tokens": 30,
        "requests": 2,
        "resets": "2026-01-16T00:00:00Z",
    }
    assert found["monthly"] == {
        "limit": "5",
        "used": "5.25",
        "remaining": "0",
        "exceeded": True,
        "tokens": 45,
        "requests": 3,
        "resets": "2026-02-01T00:00:00Z",
    }


async def test_who_has_no_budget_has_no_limit(store: Served) -> None:
    found = await budget(store, "blue/a", BLUE)
    assert found["daily"]["limit"] is found["daily"]["remaining"] is None
    assert (found["daily"]["used"], found["daily"]["exceeded"]) == ("0", False)


async def test_budgets_are_told_within_ones_border(store: Served) -> None:
    for who in (RED, BOSS, OPERATOR):
        assert (await budget(store, "red/a", who))["key"] == "red/a"
    for who, name in ((RED, "red/boss"), (BLUE, "red/a"), (BOSS, "blue/a"), (BOSS, "blue/nobody")):
        with pytest.raises(ScopeMissing):
            await budget(store, name, who)
    with pytest.raises(Fault) as caught:
        await budget(store, "nobody", BOSS)
    assert (caught.value.status, caught.value.code) == (404, "key_not_found")


async def test_what_is_told_is_used_like_what_went_through(store: Served) -> None:
    body = {"key": "a", "model": "m", "prompt_tokens": 100, "completion_tokens": 20, "cost": "0.4"}
    async with store.requests.tended():
        told = await report(store, {**body, "request_id": "job-7", "provider": "openai"})
        assert (told["id"], told["cost"], told["timestamp"]) == ("job-7", "0.4", NOW.timestamp())
        later = pages(store, NOW + timedelta(seconds=1))
        asked = inquiry_of(b"GET", BUDGET + b"/a", b"", b"", RED)
        async with asyncio.timeout(20):
            while (found := json.loads((await later.budget(asked))[2])["daily"])["requests"] == 0:
                await asyncio.sleep(0.02)
        assert (found["used"], found["tokens"]) == ("0.4", 120)
        (row,) = await ids(store, f"start={NOW.timestamp():.0f}&end={NOW.timestamp() + 9:.0f}", RED)
        assert row == "job-7"


async def test_only_an_administrator_tells_and_only_of_its_own_namespace(store: Served) -> None:
    body = {"key": "red/a", "model": "m", "prompt_tokens": 1}
    with pytest.raises(ScopeMissing):
        await report(store, body, RED)
    with pytest.raises(ScopeMissing):
        await report(store, {**body, "key": "blue/a"})
    assert (await report(store, {**body, "key": "blue/a"}, OPERATOR))["key"] == "blue/a"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": None}, "key: wanted text"),
        ({"key": "nobody"}, "the key: there is none"),
        ({"model": ""}, "model: wanted text"),
        ({"prompt_tokens": -1}, "prompt_tokens: wanted a whole number"),
        ({"prompt_tokens": 1.5}, "prompt_tokens: wanted a whole number"),
        ({"completion_tokens": 1 << 40}, "completion_tokens: wanted a whole number"),
        ({"cost": 0.5}, "cost: wanted dollars as text"),
        ({"cost": "-1"}, "cost: wanted dollars"),
        ({"timestamp": NOW.timestamp() - 24 * HOUR}, "timestamp: wanted Unix seconds of the last 23 hours"),
        ({"timestamp": NOW.timestamp() + HOUR}, "timestamp: wanted"),
        ({"request_id": "a b"}, "request_id: wanted"),
        ({"tokens": 5}, "there is no field 'tokens'"),
    ],
)
async def test_what_cannot_have_been_used_is_refused(store: Served, change: Json, said: str) -> None:
    with pytest.raises(Fault, match=said):
        await report(store, {"key": "a", "model": "m", **change})
    assert not store.requests._waiting


async def test_who_tells_is_told_when_there_is_no_place_and_where_nothing_is_kept(store: Served) -> None:
    body = {"key": "a", "model": "m"}
    store.requests._waiting.extend([record()] * MOST_WAITING)
    with pytest.raises(Fault) as caught:
        await report(store, body)
    assert (caught.value.status, store.dropped) == (503, [0])
    for ask in (report(None, body), budget(None, "a", RED)):
        with pytest.raises(Fault) as caught:
            await ask
        assert (caught.value.status, caught.value.code) == (404, "no_metrics_store")


async def test_no_namespace_fills_the_queue_that_all_records_wait_in(store: Served) -> None:
    tokens = pages(store)
    body = json.dumps({"key": "a", "model": "m"}).encode()
    for _ in range(REPORTS_AT_ONCE):
        await tokens.report(inquiry_of(b"POST", REPORT, b"", body, BOSS))
    with pytest.raises(Fault, match="namespace red tells of usage too often") as caught:
        await tokens.report(inquiry_of(b"POST", REPORT, b"", body, BOSS))
    assert caught.value.status == 429
    elsewhere = json.dumps({"key": "blue/a", "model": "m"}).encode()
    assert (await tokens.report(inquiry_of(b"POST", REPORT, b"", elsewhere, OPERATOR)))[0] == 202


async def test_a_gateway_answers_both(store: Served) -> None:
    tokens = pages(store)
    handlers = {BUDGET: tokens.budget, REPORT: tokens.report}
    async with gateway(route({"endpoint": "http://127.0.0.1:1/v1"}), handlers=handlers) as found:
        assert (await request(found.port, "GET", "/tokens/budget/red%2Fa")).json["key"] == "red/a"
        assert (await request(found.port, "GET", "/tokens/budget/red/a")).json["key"] == "red/a"
        assert (await request(found.port, "POST", "/tokens/usage", {})).status == 403  # nobody is asked for a key
        assert (await request(found.port, "PUT", "/tokens/usage", {})).status == 405
