"""A month's bill is answered when its records are gone, as it was while they were there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stores import START, Served, kept, key, record, refused, served, told
from tensorfusion.gateway.usage import store as stored
from tensorfusion.gateway.usage import sums
from tensorfusion.gateway.usage.sums import HOUR, add_up, edge
from tensorfusion.timeseries.retention_bounds import DAY, LEAST_DAYS, Retention
from tensorfusion.timeseries.tables import LLM_USAGE

NS = 10**9
ALL, RED, RED_LOGS = key("ops/o", "admin", operator=True), key("red/a"), key("red/l", "logs")
MONTH = f"start={START}&end={START + 30 * DAY}"


class Later:
    """A store whose time is set."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> int:
        return int(self.now * NS)


@contextlib.asynccontextmanager
async def month(tmp_path: Path) -> AsyncIterator[tuple[Served, Later]]:
    """Requests of nine days from ``START`` on, of two namespaces."""
    clock = Later()
    retention = Retention(30 * DAY, {LLM_USAGE.name: 400 * DAY})
    async with served(tmp_path, retention=retention, now=clock) as store:
        records = [
            record(
                f"r{at}",
                timestamp=START + at * 70_000.5,
                latency_ms=100.0 + at,
                cost_microusd=at,
                status=200 + at % 2 * 302,
            )
            for at in range(12)
        ]
        records += [
            record("b", timestamp=START + 5, namespace="blue", key_id="blue/a", route="blue/r", cost_microusd=7000)
        ]
        records += [
            refused("f", 429, timestamp=START + 6, requests=30),
            record("e", timestamp=START + 9, usage_estimated=True),
        ]
        records += [refused("n", 404, timestamp=START + 7, route="", model=f"none-{at}") for at in range(5)]
        records += [refused("s", 401, timestamp=START + 8, route="", model="", namespace="", key_id="")]
        await kept(store, *records)
        yield store, clock


async def test_the_bill_is_the_same_while_records_go_one_by_one_and_when_all_are_gone(tmp_path: Path) -> None:
    async with month(tmp_path) as (store, clock):
        views = (ALL, RED, RED_LOGS, key("blue/a"), key("green/a"))

        async def bills() -> list[dict[str, object]]:
            clock.now = max(clock.now, START + 11 * DAY)
            return [await told(store.pages(clock.now).usage, MONTH, who) for who in views]

        before = await bills()
        assert [one["total_requests"] for one in before] == [50, 48, 48, 1, 0]
        assert [one["total_cost"] for one in before[:2]] == ["0.007316", "0.000316"]
        assert await add_up(store.database, store.requests.reader, clock()) == 12
        for days in (31, 33.3, 36, 41, 60, 399):
            clock.now = START + days * DAY
            gone = await store.store.retain()
            assert gone or days > 41
            after = await bills()
            for one, other in zip(before, after, strict=True):
                assert without_times(one) == without_times(other), days
                assert one["start"] == other["start"]
        assert [row["model"] for row in after[0]["data"]] == ["chat", "chat", "", ""]  # type: ignore[attr-defined] # JSON
        assert after[0]["p95_latency_ms"] is None
        assert after[0]["average_latency_ms"] == before[0]["average_latency_ms"]
        clock.now = START + 411 * DAY
        await store.store.retain()
        assert (await bills())[0]["total_requests"] == 0


def without_times(found: dict[str, object]) -> dict[str, object]:
    """What is added up; models of requests that no route took are not kept."""
    left = {name: value for name, value in found.items() if not name.endswith("_ms")}
    parts: dict[tuple[str, ...], dict[str, float]] = {}
    for one in found["data"]:  # type: ignore[attr-defined] # JSON
        sums = parts.setdefault((one["namespace"], one["route"], one["model"] if one["route"] else ""), {})
        for name, value in one.items():
            if name.startswith("total") or name.endswith(("requests", "tokens")):
                sums[name] = sums.get(name, 0) + float(value)
    return {**left, "data": parts}


async def test_an_hour_is_added_up_once_whoever_does_it_and_no_sooner_than_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_AT_ONCE", 2)
    async with month(tmp_path) as (store, clock):
        reader = store.requests.reader
        clock.now = START + DAY + 3599
        assert await add_up(store.database, reader, clock()) == 0
        clock.now += 1
        many = await asyncio.gather(*(add_up(store.database, reader, clock()) for _ in range(4)))
        assert max(many) == 1
        assert await add_up(store.database, reader, clock()) == 0
        found = await store.database.sql("SELECT sum(requests) AS n, count(*) AS parts, max(ts) AS at FROM llm_usage")
        assert found.rows == [(39, 5, START * NS // HOUR * HOUR)]


async def test_a_period_that_cuts_an_hour_whose_records_are_gone_is_answered_in_whole_hours_and_says_so(
    tmp_path: Path,
) -> None:
    async with month(tmp_path) as (store, clock):
        clock.now = START + 60 * DAY
        await add_up(store.database, store.requests.reader, clock())
        await store.store.retain()
        found = await told(store.pages(clock.now).usage, f"start={START + 60}&end={START + 7000}", ALL)
        assert (found["start"], found["end"], found["total_requests"]) == (START, START + 7200, 39)


async def test_a_gateway_adds_up_beside_its_requests(store: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "ADD_UP_SECONDS", 0.01)
    async with store.requests.tended():
        store.requests.put(record("old"))
        async with asyncio.timeout(20):
            while await edge(store.requests.reader, "SELECT max(ts) AS at FROM llm_usage") != START * NS:
                await asyncio.sleep(0.01)


async def test_the_first_requests_may_all_be_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as store:
        await kept(store, refused("s", 401, route="", model="", namespace="", key_id=""))
        found = await told(store.pages().usage, f"start={START}", ALL)
        assert found["failed_requests"] == 1
        assert [part["failed_requests"] for part in found["data"]] == [1]  # type: ignore[attr-defined] # JSON
        assert (await told(store.pages().usage, "", RED_LOGS))["total_requests"] == 0


async def test_a_store_that_keeps_two_days_forgets_nothing_that_is_in_no_sum(tmp_path: Path) -> None:
    clock = Later()
    async with served(tmp_path, retention=Retention(LEAST_DAYS * DAY, {LLM_USAGE.name: 400 * DAY}), now=clock) as store:
        await kept(store, *(record(f"r{at}", timestamp=START + at * 1800.5) for at in range(12)))
        for minute in range(0, 72 * 60, 45):
            clock.now = START + minute * 60.0
            await add_up(store.database, store.requests.reader, clock())
            await store.store.retain()
        assert (await told(store.pages(clock.now).usage, MONTH, ALL))["total_requests"] == 12
        assert (await store.database.sql("SELECT count(*) AS n FROM llm_requests")).rows == [(0,)]
