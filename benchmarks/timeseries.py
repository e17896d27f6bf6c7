"""What a number costs on its way into the metrics store, and a question to a million of them.

Processor time of everything in this process, since machines are shared: encoder, writer, HTTP both ways, parser, store.

* encode: a row of the gateway's request log as line protocol. Peer: a point as a dict, every name and value escaped
  each time, as general clients do.
* road: rows encoded, put, sent in batches, parsed and committed. Peer: the same rows as one HTTP write each, to the
  same store; and as rows handed to DuckDB one by one (``executemany``), without any wire.
* query: p95 of a GROUP BY over all rows, by wall time. Peer: SQLite with the same rows in the same columns.
* size: bytes of the file for a row. Peer: SQLite's file.
* forget: retention of a tenth of the rows.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import uvloop
from starlette.applications import Starlette

from _report import Row, report
from tensorfusion.clock import SystemClock
from tensorfusion.runtime.serving import Listener
from tensorfusion.timeseries.access import Access, Account, Accounts, digest_of
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.encoder import Encode, Table, compiled
from tensorfusion.timeseries.parser import parse
from tensorfusion.timeseries.points import Kind
from tensorfusion.timeseries.retention_bounds import DAY, Retention
from tensorfusion.timeseries.server import routes
from tensorfusion.timeseries.store import Store
from tensorfusion.timeseries.tables import GPU_USAGE, LLM_REQUESTS
from tensorfusion.timeseries.writer import LineWriter, WriterLimits

SECRET = "benchmark"
STEP = 1_000_000
ROUNDS = 3
QUERIES = 40
QUESTION = "SELECT node, avg(compute_percentage), max(memory_percentage) FROM tf_gpu_usage GROUP BY node"


def requests(count: int, start: int) -> Iterator[tuple[Any, ...]]:
    """Rows of the request log, in the order of its columns."""
    for number in range(count):
        model = ("llama-3.1-8b", "llama-3.1-70b", "qwen-2.5-coder", "text-embedding")[number % 4]
        tags = (f"team-{number % 20}", "chat", model, "own", f"{model}-{number % 8}", f"tf-{number % 300:08d}")
        measured = (812.25 + number % 100, 0.5, 0.875, 103.5, 17.125)
        counts = (2048 + number % 512, 8192, 1)
        tokens = (500 + number % 700, 120 + number % 80, False, 1250 + number % 1000)
        texts = (None, "stop", f"user-{number % 5000}", None, None, "chat/completions", model, None)
        yield (
            *tags,
            f"req-{number:012d}",
            1,
            200,
            True,
            number % 9 == 0,
            *tokens,
            *measured,
            *counts,
            *texts,
            start + number,
        )


def devices(count: int, start: int) -> Iterator[tuple[Any, ...]]:
    """Rows of the devices' measurements: 4,000 devices on 500 nodes, time and again."""
    for number in range(count):
        device = number % 4000
        tags = (f"GPU-{device:08d}", f"node-{device // 8:04d}", f"pool-{device % 5}")
        load = (number * 7919) % 1000 / 10
        clocks = (1.5, 2.5, 61.0 + device % 20, 312.5, 1410.0, 1410.0, 1593.0, 1275.0, None, None)
        yield (*tags, device * 1_000_003, load * 0.9, load, load * 3.12, *clocks, start + number * STEP // 4000)


def naive_line(table: Table, row: tuple[Any, ...]) -> str:
    """A point as a dict, spelled out each time."""

    def name(text: str) -> str:
        return text.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")

    def value(found: bool | float | str) -> str:
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, int):
            return f"{found}i"
        if isinstance(found, float):
            return str(found)
        return '"' + found.replace("\\", "\\\\").replace('"', '\\"') + '"'

    tags = dict(zip(table.tags, row, strict=False))
    fields = dict(zip((field.name for field in table.fields), row[len(table.tags) : -1], strict=True))
    head = "".join(f",{name(key)}={name(text)}" for key, text in sorted(tags.items()) if text)
    body = ",".join(f"{name(key)}={value(found)}" for key, found in sorted(fields.items()) if found is not None)
    return f"{name(table.name)}{head} {body} {row[-1]}\n"


def encoding(count: int) -> list[Row]:
    rows = list(requests(count, time.time_ns()))
    encode = compiled(LLM_REQUESTS)
    assert parse(encode(*rows[1]).decode()) == parse(naive_line(LLM_REQUESTS, rows[1]))
    ours, theirs, reading = [], [], []
    text = b"".join(encode(*row) for row in rows).decode()
    for _ in range(ROUNDS):
        started = time.process_time()
        for row in rows:
            encode(*row)
        ours.append(time.process_time() - started)
        started = time.process_time()
        for row in rows:
            naive_line(LLM_REQUESTS, row).encode()
        theirs.append(time.process_time() - started)
        started = time.process_time()
        parse(text)
        reading.append(time.process_time() - started)
    columns = {"rows": count, "columns": len(LLM_REQUESTS.columns) + 1}
    return [
        Row("encode_row", min(ours) / count * 1e6, "us", "naive point", min(theirs) / count * 1e6, columns),
        Row("parse_row", min(reading) / count * 1e6, "us", "", None, columns),
    ]


async def road(encode: Encode, rows: list[tuple[Any, ...]], database: Database) -> float:
    """Processor seconds from the first row to the last acknowledgement."""
    limits = WriterLimits(most_bytes=1 << 30)
    writer = LineWriter(database, name="benchmark", clock=SystemClock(), limits=limits)
    started = time.process_time()
    running = asyncio.ensure_future(writer.run())
    for number, row in enumerate(rows):
        writer.put(encode(*row))
        if number % 5000 == 0:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait((running,))
    if await writer.drain(600):
        raise SystemExit("rows were lost")
    return time.process_time() - started


async def one_by_one(rows: list[tuple[Any, ...]], database: Database) -> float:
    started = time.process_time()
    for row in rows:
        await database.write(naive_line(GPU_USAGE, row).encode())
    return time.process_time() - started


def inserted(rows: list[tuple[Any, ...]], folder: Path) -> float:
    with duckdb.connect(str(folder / "peer.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t ({_columns(GPU_USAGE)})")
        places = ", ".join("?" for _ in rows[0])
        started = time.process_time()
        connection.executemany(f"INSERT INTO t VALUES ({places})", rows)
        return time.process_time() - started


def _columns(table: Table) -> str:
    types = {Kind.INT: "BIGINT", Kind.FLOAT: "DOUBLE", Kind.BOOL: "BOOLEAN", Kind.STRING: "VARCHAR"}
    tags = [f"{tag} VARCHAR" for tag in table.tags]
    return ", ".join([*tags, *(f"{field.name} {types[field.kind]}" for field in table.fields), "ts BIGINT"])


def p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.95)] * 1000


def sqlite_peer(rows: list[tuple[Any, ...]], folder: Path) -> tuple[float, float]:
    """p95 of the question in ms, and bytes a row."""
    file = folder / "peer.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute(f"CREATE TABLE tf_gpu_usage ({_columns(GPU_USAGE)})")
        places = ", ".join("?" for _ in rows[0])
        connection.executemany(f"INSERT INTO tf_gpu_usage VALUES ({places})", rows)
        connection.commit()
        connection.execute("VACUUM")
        taken = []
        for _ in range(max(QUERIES // 8, 3)):
            started = time.perf_counter()
            connection.execute(QUESTION).fetchall()
            taken.append(time.perf_counter() - started)
    return p95(taken), file.stat().st_size / len(rows)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--encoded", type=int, default=100_000)
    parser.add_argument("--peers", type=int, default=2_000, help="rows of the peers that take them one by one")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    count, few = arguments.rows, arguments.peers
    found = encoding(arguments.encoded)
    encode = compiled(GPU_USAGE)
    now = time.time_ns()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        age = count * STEP // 4000
        moment = [now]
        store = await Store.open(
            folder / "metrics.duckdb", tables=[GPU_USAGE], retention=Retention(DAY), now=lambda: moment[0]
        )
        accounts = Accounts([Account("b", digest_of(SECRET), frozenset(Access))])
        listener = Listener(Starlette(routes=routes(store, authorize=accounts.check)))
        database = Database(f"http://127.0.0.1:{await listener.start()}", password=SECRET)
        rows = list(devices(count, now - age))
        whole = await road(encode, rows, database) / count * 1e6
        single = await one_by_one(list(devices(few, now)), database) / few * 1e6
        direct = await asyncio.to_thread(inserted, rows[:few], folder) / few * 1e6
        found.append(Row("road_row", whole, "us", "a write a row", single, {"rows": count, "peer_rows": few}))
        found.append(Row("road_row", whole, "us", "executemany", direct, {"rows": count, "peer_rows": few}))
        await store.retain()
        taken = []
        for _ in range(QUERIES):
            started = time.perf_counter()
            await database.sql(QUESTION)
            taken.append(time.perf_counter() - started)
        size = await store.size()
        slow, large = await asyncio.to_thread(sqlite_peer, rows, folder)
        found.append(Row("query_p95", p95(taken), "ms", "SQLite", slow, {"rows": count, "groups": 500}))
        found.append(Row("row_size", size / count, "bytes", "SQLite", large, {"rows": count}))
        moment[0] = now - age + DAY * 1_000_000_000 + age // 10
        started = time.perf_counter()
        gone = await store.retain()
        found.append(
            Row("forget", (time.perf_counter() - started) * 1000, "ms", "", None, {"rows": count, "gone": gone})
        )
        await database.close()
        await listener.stop()
        await store.close()
    report(found, arguments.json)


if __name__ == "__main__":
    uvloop.run(main())
