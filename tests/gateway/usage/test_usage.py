"""What the pages tell of requests is what their records said."""

import asyncio
from pathlib import Path

import pytest
from fronts import Client, ask, chat, failed, gateway, route, said, target, until

from stores import START, TOKEN, Served, ids, kept, key, record, refused, told
from tensorfusion.clock import SystemClock
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.evidence import TriedTarget
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.settings import MetricsSource
from tensorfusion.gateway.usage.pages import LOGS, USAGE, UsagePages
from tensorfusion.gateway.usage.rows import rows
from tensorfusion.gateway.usage.store import MOST_WAITING, RequestStore, database_of
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.parser import parse

ALL = key("ops/o", "admin", operator=True)


async def test_usage_adds_up_exactly(store: Served) -> None:
    records = [
        record(f"r{at}", latency_ms=float(at + 1), cost_microusd=1, usage_estimated=at == 0, timestamp=START + at)
        for at in range(100)
    ]
    await kept(store, *records, record("bad", status=502, model="other", cost_microusd=0, prompt_tokens=0))
    found = await told(store.pages().usage, f"start={START}&end={START + 1000}", ALL)
    assert found["total_requests"] == 101
    assert found["successful_requests"] == 100
    assert found["failed_requests"] == 1
    assert found["total_cost"] == "0.0001"
    assert found["prompt_tokens"] == 1000
    assert found["completion_tokens"] == 505
    assert found["total_tokens"] == 1505
    assert found["requests_with_estimated_usage"] == 1
    assert (found["cache_hits"], found["cache_misses"]) == (0, 0)
    parts = found["data"]
    assert isinstance(parts, list)
    assert [(one["model"], one["total_requests"], one["total_cost"]) for one in parts] == [
        ("chat", 100, "0.0001"),
        ("other", 1, "0"),
    ]
    assert parts[0]["average_latency_ms"] == 50.5
    assert 94 <= parts[0]["p95_latency_ms"] <= 96
    assert 98 <= parts[0]["p99_latency_ms"] <= 100


async def test_what_was_refused_is_counted_by_how_many_it_were_and_makes_nothing_look_faster(store: Served) -> None:
    flood = refused("", 429, requests=40)
    await kept(store, *(record(f"r{at}") for at in range(3)), refused("a", 429), flood, refused("b", 404, route=""))
    found = await told(store.pages().usage, f"start={START}", ALL)
    assert (found["total_requests"], found["successful_requests"], found["failed_requests"]) == (45, 3, 42)
    assert (found["average_latency_ms"], found["total_tokens"]) == (100.0, 45)
    parts = found["data"]
    assert isinstance(parts, list)
    assert [(one["route"], one["failed_requests"], one["p95_latency_ms"]) for one in parts] == [
        ("red/r", 41, 100.0),
        ("", 1, None),
    ]
    logs = (await told(store.pages().logs, f"start={START}&status=429", ALL))["data"]
    assert sorted((one["request_id"], one["requests"]) for one in logs) == [("", 40), ("a", 1)]  # type: ignore[attr-defined] # JSON


async def test_an_empty_store_says_nothing_was_used(store: Served) -> None:
    found = await told(store.pages().usage, "", ALL)
    assert (found["total_requests"], found["total_cost"], found["p95_latency_ms"]) == (0, "0", None)
    assert await ids(store, "", ALL) == []


async def test_logs_are_of_a_period_and_filtered_and_bounded(store: Served) -> None:
    await kept(
        store,
        record("a", timestamp=START + 1.25),
        record("b", status=429, timestamp=START + 2, model="large"),
        record("c", status=502, timestamp=START + 3),
    )
    assert await ids(store, f"start={START + 1.25}&end={START + 2}", ALL) == ["a"]
    assert await ids(store, f"start={START + 1.251}", ALL) == ["c", "b"]
    assert await ids(store, "status=429", ALL) == ["b"]
    assert await ids(store, "status=5XX", ALL) == ["c"]
    assert await ids(store, "model=large", ALL) == ["b"]
    assert await ids(store, "request_id=a", ALL) == ["a"]
    page = await told(store.pages().logs, "limit=2", ALL)
    assert ([one["request_id"] for one in page["data"]], page["has_more"]) == (["c", "b"], True)  # type: ignore[attr-defined] # JSON


async def test_a_record_comes_back_as_it_was(store: Served) -> None:
    tries = (TriedTarget("t0", "status 500: no", 500, 3.5), TriedTarget("t1", "answered", 200, 90.0, 12.0))
    full = record(
        "full",
        attempts=tries,
        stream=True,
        ttft_ms=12.0,
        tpot_ms=1.5,
        finish_reason="stop",
        user='a "user", with = and \\',
        error_type="",
        target_model="up",
        bytes_in=7,
        bytes_out=8,
    )
    await kept(store, full, record("bare", attempts=(TriedTarget("t", "answered", 200, 100.0),)))
    bare, found = sorted(
        (await told(store.pages().logs, "", ALL))["data"],  # type: ignore[call-overload] # JSON
        key=lambda one: one["request_id"],
    )
    assert found["attempts"] == [
        {"target": "t0", "outcome": "status 500: no", "status": 500, "latency_ms": 3.5},
        {"target": "t1", "outcome": "answered", "status": 200, "latency_ms": 90.0, "ttft_ms": 12.0},
    ]
    assert (found["cost"], found["cost_microusd"], found["timestamp"]) == ("0.00025", 250, START)
    assert (found["user"], found["tpot_ms"], found["target_model"]) == (full.user, 1.5, "up")
    assert (found["bytes_in"], found["bytes_out"], found["finish_reason"]) == (7, 8, "stop")
    assert bare["attempts"] == [{"target": "t", "outcome": "answered", "latency_ms": 100.0}]


def test_equal_records_are_rows_of_their_own() -> None:
    """A GreptimeDB replaces rows of equal tags and time; the id of a request is the client's to choose."""
    line_of = rows(0)
    times = [parse(line_of(record("same")).decode())[0].time for _ in range(1000)]
    assert len(set(times)) == 1000
    assert {time // 10**6 for time in times if time is not None} == {START * 1000}


def test_a_model_of_endless_length_is_cut() -> None:
    (point,) = parse(rows(0)(record(model="m" * 10_000, error_message="e" * 10_000)).decode())
    assert (len(point.tags["model"]), len(str(point.fields["error_message"]))) == (128, 500)


async def test_requests_are_asked_for_where_they_were_made(store: Served) -> None:
    pages = UsagePages(store.requests.reader, now=lambda: 4 * 10**18)
    async with target(said("a"), failed(400, "no")) as one, store.requests.tended():
        made = route({"endpoint": one.url, "costPer1MInput": "1000000", "costPer1MOutput": "0"})
        questions = {USAGE: pages.usage, LOGS: pages.logs}
        async with gateway(made, questions=questions, sinks=(store.requests,)) as running:
            assert (await ask(running.port, chat())).status == 200
            assert (await ask(running.port, chat())).status == 400
            async with Client(running.port) as client:

                async def get(path: str) -> dict[str, object]:
                    client.get(path)
                    return (await client.response()).json

                async with asyncio.timeout(20):
                    while (await get("/v1/usage?start=0"))["total_requests"] != 2:
                        await asyncio.sleep(0.05)
                assert (await get("/v1/usage?start=0"))["total_cost"] == "3"
                assert [one["status"] for one in (await get("/v1/logs?start=0"))["data"]] == [400, 200]  # type: ignore[attr-defined] # JSON
                assert "error" in await get("/v1/logs?starts=0")
            refused = await ask(running.port, {}, path="usage")
            assert (refused.status, refused.error["message"]) == (405, "/v1/usage takes GET")


async def test_without_a_store_or_with_one_that_is_away_it_says_so() -> None:
    with pytest.raises(Fault, match="set metrics in its configuration") as caught:
        await UsagePages(None, now=lambda: 1).usage(b"start=0&end=1", ALL)
    assert caught.value.status == 404
    away = RequestStore(Database("http://127.0.0.1:1"), clock=SystemClock(), dropped=lambda: None)
    with pytest.raises(Fault) as caught:
        await UsagePages(away.reader, now=lambda: 1).usage(b"start=0&end=1", ALL)
    assert (caught.value.status, caught.value.code) == (503, "metrics_unavailable")
    assert "127.0.0.1" not in str(caught.value)
    await away._database.close()


async def test_what_finds_no_place_is_counted(store: Served) -> None:
    for _ in range(MOST_WAITING + 3):
        store.requests.put(record())
    assert store.dropped == [3]


async def test_a_record_that_cannot_be_written_is_counted_and_ends_nothing(store: Served) -> None:
    async with store.requests.tended():
        await until(lambda: store.requests._prepared)
        store.requests.put(record(model=None))
        store.requests.put(record())
    assert store.dropped == [1]
    assert (await store.database.sql("SELECT count(*) AS n FROM llm_requests")).rows == [(1,)]


async def test_what_waits_at_the_end_is_written(store: Served) -> None:
    async with store.requests.tended():
        await until(lambda: store.requests._prepared)
        for at in range(100):
            store.requests.put(record(f"r{at}"))
    assert (await store.database.sql("SELECT count(*) AS n FROM llm_requests")).rows == [(100,)]


def test_the_secret_of_a_store_is_named_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    url = "http://127.0.0.1:1"
    for source in (MetricsSource(url=url, file="token"), MetricsSource(url=url, env="T")):
        database_of(source, tmp_path, {"T": TOKEN})
    for source, message in (
        (MetricsSource(url=url, file="none"), "cannot be read"),
        (MetricsSource(url=url, env="NONE"), "NONE is empty or unset"),
        (MetricsSource(url=url, env="T", file="token"), "found both"),
        (MetricsSource(url=""), "wanted the address"),
        (MetricsSource(url="ftp://a"), "metrics database"),
    ):
        with pytest.raises(ConfigError, match=message):
            database_of(source, tmp_path, {"T": TOKEN})
