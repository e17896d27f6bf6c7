"""Requests that are not let in leave a record each, are counted, and fill nothing however many there are."""

import asyncio
from collections.abc import Mapping

import pytest
from fronts import Client, Counted, ask, chat, gateway, route, said, target, until
from prometheus_client import CollectorRegistry

from tensorfusion.clock import SystemClock
from tensorfusion.gateway.evidence import Evidence, Meters, Record
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.record import Digest, Globs, KeyRecord
from tensorfusion.gateway.keys.secret import digest_of
from tensorfusion.gateway.refusals import BURST, PER_SECOND, Refusals
from tensorfusion.gateway.seams import Key, Reservation
from tensorfusion.policy.routing.route import Route

GOOD = "made-elsewhere-0123456789"
BEARER = f"Authorization: Bearer {GOOD}\r\n".encode()
ID = b"x-request-id: asked-1\r\n"


class Full(Counted):
    """No room for anybody."""

    async def reserve(self, key: Key, route: Route, *, tokens: int, guess: int = 0) -> Reservation:
        raise Fault(429, "rate_limit_error", "more than 1 requests a minute", code="rate_limit_exceeded")


def book(**fields: object) -> KeyBook:
    found = KeyBook(SystemClock())
    values: dict[str, object] = {"namespace": "red", "user": "ann", **fields}
    found.put("file", KeyRecord("red/a", "a", digests=(Digest(digest_of(GOOD.encode())),), **values))  # type: ignore[arg-type] # as the test says
    return found


def counted(registry: CollectorRegistry, name: str = "tensorfusion_gateway_requests_total") -> dict[str, float]:
    """By route and status."""
    found: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == name:
                found[" ".join(sample.labels.values())] = sample.value
    return found


@pytest.mark.parametrize(
    ("body", "path", "fields", "wanted"),
    [
        (chat(), "chat/completions", b"", {"status": 401, "error_type": "authentication_error", "key_id": ""}),
        (
            chat(),
            "chat/completions",
            b"Authorization: Bearer tf-wrong\r\n",
            {"status": 401, "namespace": "", "user": "", "model": "", "route": ""},
        ),
        (b"{no", "chat/completions", BEARER, {"status": 400, "error_type": "invalid_request_error", "model": ""}),
        (chat(n="x"), "messages", BEARER, {"status": 400, "api": "messages"}),
        (
            chat(model="nobodys"),
            "chat/completions",
            BEARER,
            {"status": 404, "error_type": "model_not_found", "model": "nobodys", "route": ""},
        ),
        (chat(model="secret"), "chat/completions", BEARER, {"status": 403, "error_type": "permission_error"}),
        (b"x" * 2000, "chat/completions", BEARER, {"status": 413, "model": ""}),
        (
            chat(stream=True),
            "chat/completions",
            BEARER,
            {"status": 429, "route": "red/r", "model": "m", "stream": True},
        ),
    ],
)
async def test_each_request_that_is_refused_leaves_a_record_and_is_counted(
    body: object, path: str, fields: bytes, wanted: Mapping[str, object]
) -> None:
    registry = CollectorRegistry()
    made = route({"endpoint": "http://127.0.0.1:1"}, namespace="red", selector={"modelPattern": "^m$"})
    keys = book(models=Globs(("m", "nobodys")))
    async with gateway(made, keys=keys, limits=Full(), registry=registry, most_body=1000) as running:
        found = await ask(running.port, body, path=path, fields=fields + ID)
        assert found.status == wanted["status"]
        (record,) = running.records
        assert {name: getattr(record, name) for name in wanted} == wanted
        assert (record.request_id, record.requests, record.prompt_tokens, record.target) == ("asked-1", 1, 0, "")
        assert 0 <= record.overhead_ms <= record.latency_ms < 10_000
        assert record.error_message
        if b"wrong" not in fields and fields:
            assert (record.key_id, record.namespace, record.user) == ("red/a", "red", "ann")
        assert counted(registry) == {f"{record.route} {record.status}": 1}
    assert GOOD not in repr(running.records)


async def test_a_wrong_method_a_path_of_no_api_and_pages() -> None:
    """Pages are no requests to models: they leave no record, but whoever shows no good key does, wherever it comes."""
    registry = CollectorRegistry()
    async with gateway(route({"endpoint": "http://127.0.0.1:1"}), keys=book(), registry=registry) as running:
        async with Client(running.port) as client:
            for path in ("/v1/chat/completions", "/v1/models", "/v1/models/none", "/nowhere", "/health"):
                client.get(path, fields=BEARER)
                await client.response()
            assert [(one.status, one.api) for one in running.records] == [(405, "chat/completions")]
            for path in ("/v1/models?key=1", "/nowhere"):
                client.get(path)
                assert (await client.response()).status == 401
            client.writer.write(b"POST /fallback/test HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert (await client.response()).status == 401
        assert [(one.status, one.api) for one in running.records[1:]] == [
            (401, "/v1/models"),
            (401, "/nowhere"),
            (401, "/fallback/test"),
        ]
        assert counted(registry) == {" 405": 1, " 401": 3}


async def test_a_client_that_leaves_before_it_is_let_in_is_told_of_as_such() -> None:
    registry = CollectorRegistry()
    asked = asyncio.Event()

    class Slow(Counted):
        async def reserve(self, key: Key, route: Route, *, tokens: int, guess: int = 0) -> Reservation:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    made = route({"endpoint": "http://127.0.0.1:1"}, namespace="red")
    async with gateway(made, keys=book(), limits=Slow(), registry=registry) as running:
        async with Client(running.port) as client:
            client.send(chat(), fields=BEARER + ID)
            await asked.wait()
        await until(lambda: running.records)
        (record,) = running.records
        assert (record.status, record.error_type, record.route, record.key_id) == (
            499,
            "client_closed",
            "red/r",
            "red/a",
        )
        assert counted(registry) == {"red/r 499": 1}


async def test_a_body_that_is_broken_on_its_way_is_told_of_as_it_was_answered() -> None:
    async with gateway(route({"endpoint": "http://127.0.0.1:1"})) as running, Client(running.port) as client:
        client.writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await client.reader.readuntil(b"\r\n\r\n")  # it waits for the body
        client.writer.write(b"zz\r\n")
        assert (await client.response()).status == 400
        await until(lambda: running.records)
        assert [(one.status, one.error_type) for one in running.records] == [(400, "invalid_request_error")]


async def test_a_flood_of_requests_without_a_key_leaves_a_bounded_number_of_records_and_each_is_counted() -> None:
    registry = CollectorRegistry()
    flood = BURST + 200
    async with target(said("a")) as one:
        made = route({"endpoint": one.url}, namespace="red")
        async with gateway(made, keys=book(), registry=registry) as running:
            async with Client(running.port) as client:
                for _ in range(0, flood, 50):
                    for _ in range(50):
                        client.get("/v1/models")
                    for _ in range(50):
                        assert (await client.response()).status == 401
                client.send({}, fields=BEARER)  # others are heard of while it lasts
                assert (await client.response()).status == 400
            ours = [record for record in running.records if record.key_id]
            nobodys = [record for record in running.records if not record.key_id]
            assert len(ours) == 1
            assert BURST <= len(nobodys) < flood
            running.front.evidence.flush()
            told = running.records[-1]
            assert (told.status, told.error_type, told.requests) == (401, "authentication_error", flood - len(nobodys))
            assert (told.request_id, told.key_id, told.latency_ms) == ("", "", 0.0)
            running.front.evidence.flush()
            assert running.records[-1] is told
        assert counted(registry) == {" 401": flood, " 400": 1}


def test_the_bound_holds_over_any_time_and_each_caller_has_its_own() -> None:
    left: list[Record] = []
    refusals = Refusals(left.append)
    for at in range(100_000):
        refusals.put(refused("red/a"), at / 1000)
    assert len(left) == pytest.approx(BURST + 100 * PER_SECOND, abs=1)
    refusals.put(refused("red/b"), 100.0)
    assert left[-1].key_id == "red/b"
    sets = len(left)
    refusals.flush()
    assert [(one.key_id, one.requests) for one in left[sets:]] == [("red/a", 100_000 - sets + 1)]


def test_callers_are_forgotten_when_they_have_their_whole_burst_again() -> None:
    refusals = Refusals(lambda record: None)
    for at in range(20_000):
        refusals.put(refused(f"red/{at}"), float(at))
    assert len(refusals._next) < 5000


def refused(key_id: str) -> Record:
    return Record(
        id="r",
        request_id="r",
        timestamp=0.0,
        api="chat/completions",
        status=429,
        latency_ms=0.0,
        overhead_ms=0.0,
        key_id=key_id,
        error_type="rate_limit_error",
    )


def test_without_sinks_refusals_are_counted_all_the_same() -> None:
    Evidence(meters=Meters(CollectorRegistry())).flush()
