"""A store of records behind its HTTP face, records to put into it, and keys that ask."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from tensorfusion.clock import SystemClock
from tensorfusion.gateway.evidence import Record, TriedTarget
from tensorfusion.gateway.keys.record import Digest, KeyRecord
from tensorfusion.gateway.usage.pages import UsagePages
from tensorfusion.gateway.usage.store import RequestStore
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.runtime.serving import Listener
from tensorfusion.timeseries.access import Access, Account, Accounts, digest_of
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.retention_bounds import Retention
from tensorfusion.timeseries.server import routes
from tensorfusion.timeseries.store import Store
from tensorfusion.timeseries.tables import TABLES

START = 1_767_225_600
TOKEN = "token-of-the-store-000"


@dataclass
class Served:
    url: str
    store: Store
    requests: RequestStore
    database: Database
    dropped: list[int]

    def pages(self, now: float = START + 3600) -> UsagePages:
        return UsagePages(self.requests.reader, now=lambda: int(now * 10**9))


@contextlib.asynccontextmanager
async def served(
    folder: Path, *, retention: Retention | None = None, now: Callable[[], int] = time.time_ns
) -> AsyncIterator[Served]:
    """An embedded store on a port of its own."""
    store = await Store.open(folder / "metrics.duckdb", tables=TABLES, retention=retention, now=now)
    account = Account("metrics", digest_of(TOKEN), frozenset(Access))
    listener = Listener(Starlette(routes=routes(store, authorize=Accounts([account]).check)))
    url = f"http://127.0.0.1:{await listener.start()}"
    database, dropped = Database(url, password=TOKEN), [0]

    def count() -> None:
        dropped[0] += 1

    requests = RequestStore(Database(url, password=TOKEN), clock=SystemClock(), dropped=count)
    try:
        yield Served(url, store, requests, database, dropped)
    finally:
        await database.close()
        await listener.stop()
        await store.close()


async def kept(found: Served, *records: Record) -> None:
    """All of these are in the store when this returns."""
    for record in records:
        found.requests.put(record)
    line_of = found.requests._line_of
    lines = b"".join(line_of(found.requests._waiting.popleft()) for _ in records)
    await found.database.write(lines)


def record(name: str = "req-1", **fields: object) -> Record:
    values: dict[str, object] = {
        "id": name,
        "request_id": name,
        "timestamp": float(START),
        "api": "chat/completions",
        "status": 200,
        "latency_ms": 100.0,
        "overhead_ms": 0.2,
        "model": "chat",
        "route": "red/r",
        "target": "t",
        "provider": "openai",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost_microusd": 250,
        "attempts": (TriedTarget("t", "answered", 200, 100.0),),
        "namespace": "red",
        "key_id": "red/a",
    }
    return Record(**{**values, **fields})  # type: ignore[arg-type] # as the test says


def key(name: str, *scopes: str, operator: bool = False) -> KeyRecord:
    namespace, _, short = name.partition("/")
    found = frozenset(map(KeyScope, scopes or ("infer",)))
    return KeyRecord(name, short, namespace, (Digest(b"0" * 32),), scopes=found, operator=operator)


async def told(page: Callable[..., object], query: str, who: KeyRecord) -> dict[str, object]:
    status, _, body = await page(query.encode(), who)  # type: ignore[misc] # a page of UsagePages
    assert status == 200
    found: dict[str, object] = json.loads(body)
    return found


async def ids(found: Served, query: str, who: KeyRecord) -> list[str]:
    return [one["request_id"] for one in (await told(found.pages().logs, query, who))["data"]]  # type: ignore[attr-defined,index] # JSON


def refused(name: str, status: int, **fields: object) -> Record:
    """Of a request that was not let in."""
    used = {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost_microusd": 0,
        "target": "",
        "provider": "",
        "attempts": (),
    }
    return record(name, **{**used, "latency_ms": 0.1, "status": status, "error_type": "refused", **fields})
