"""What requests used, asked of a store with a million records of them: how long the gateway's /v1/usage takes.

The records are of a month, of 20 namespaces with 15 keys each, 4 models; the store is the embedded one behind HTTP, as
the gateway has it. Wall time of one question, the median of several; the goal is a second. And what it takes to
add up an hour, for when its records are gone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop
from starlette.applications import Starlette

from _report import Row, report
from tensorfusion.gateway.evidence import Record, TriedTarget
from tensorfusion.gateway.usage.questions import Period, View, usage
from tensorfusion.gateway.usage.rows import rows
from tensorfusion.gateway.usage.sums import AGE, add_up
from tensorfusion.runtime.serving import Listener
from tensorfusion.timeseries.access import Access, Account, Accounts, digest_of
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.reader import Reader
from tensorfusion.timeseries.retention_bounds import DAY
from tensorfusion.timeseries.server import routes
from tensorfusion.timeseries.store import Store
from tensorfusion.timeseries.tables import TABLES

SECRET = "benchmark"
GOAL_MS = 1000
AT_ONCE = 50_000
ROUNDS = 5


def records(count: int, start: float) -> Iterator[Record]:
    for number in range(count):
        namespace = f"team-{number % 20}"
        model = ("llama-3.1-8b", "llama-3.1-70b", "qwen-2.5-coder", "text-embedding")[number % 4]
        refused = number % 50 == 0
        yield Record(
            id=f"req-{number:024x}",
            request_id=f"req-{number:024x}",
            timestamp=start + number * 30 * DAY / count,
            api="chat/completions",
            status=429 if refused else 200,
            latency_ms=800.25 + number % 997,
            overhead_ms=0.125,
            model=model,
            route=f"{namespace}/chat",
            target="" if refused else f"{model}-{number % 8}",
            target_model=model,
            provider="vllm",
            stream=True,
            ttft_ms=80.5 + number % 97,
            tpot_ms=11.25,
            prompt_tokens=500 + number % 700,
            completion_tokens=120 + number % 80,
            cost_microusd=1250 + number % 1000,
            finish_reason="stop",
            bytes_in=2048,
            bytes_out=8192,
            key_id=f"{namespace}/key-{number // 20 % 15}",
            namespace=namespace,
            user=f"user-{number % 5000}",
            attempts=() if refused else (TriedTarget("t", "answered", 200, 800.0, 80.0),),
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    count = arguments.rows
    start = float(int(time.time()) // 3600 * 3600 - 30 * DAY)
    with tempfile.TemporaryDirectory() as name:
        store = await Store.open(Path(name) / "metrics.duckdb", tables=TABLES)
        accounts = Accounts([Account("b", digest_of(SECRET), frozenset(Access))])
        listener = Listener(Starlette(routes=routes(store, authorize=accounts.check)))
        database = Database(f"http://127.0.0.1:{await listener.start()}", password=SECRET)
        line_of, lines = rows(), []
        for record in records(count, start):
            lines.append(line_of(record))
            if len(lines) == AT_ONCE:
                await store.write(b"".join(lines).decode())
                lines.clear()
        if lines:
            await store.write(b"".join(lines).decode())
        reader = Reader(database)
        month = Period(int(start) * 10**9, time.time_ns() + DAY * 10**9)
        found = []
        views = {"all": View(), "namespace": View("team-1"), "key": View("team-1", "team-1/key-1")}
        for who, view in views.items():
            taken = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = await usage(reader, view, month, now=time.time_ns())
                taken.append((time.perf_counter() - began) * 1000)
            parameters = {"rows": count, "of": answer["total_requests"]}
            found.append(Row(f"usage_{who}", statistics.median(taken), "ms", "goal", GOAL_MS, parameters))
        now = int((start + DAY) * 10**9) + AGE
        began = time.perf_counter()
        hours = await add_up(database, reader, now)
        taken_ms = (time.perf_counter() - began) * 1000
        found.append(Row("add_up_hour", taken_ms / hours, "ms", "", None, {"rows": count, "hours": hours}))
        await database.close()
        await listener.stop()
        await store.close()
    report(found, arguments.json)


if __name__ == "__main__":
    uvloop.run(main())
