"""The embedded time-series store: one DuckDB file that takes line protocol and answers SELECTs.

One thread writes. Requests that arrive while it commits are committed together by the next turn, so a hundred small
writers wait for one disk flush and not for a hundred; each still gets its own error. A write is acknowledged when its
commit is on disk. A few threads read, each with a connection of its own, beside the writer: DuckDB gives every query
the state of one moment.

Who sends a batch again because its acknowledgement was lost gives it the same ``batch`` id: the id is kept in the same
transaction as the rows, so they are there once. (GreptimeDB gets there by another road: rows with equal tags and
time replace each other.)
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tensorfusion.clock import Clock
from tensorfusion.errors import StoreError, StoreUnwritable
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter, gauge, histogram
from tensorfusion.timeseries.columns import TableShape, declared
from tensorfusion.timeseries.encoder import Table
from tensorfusion.timeseries.engine import connect, duckdb
from tensorfusion.timeseries.errors import QueryTooLong, StoreBusy
from tensorfusion.timeseries.ingest import Ingest, Write
from tensorfusion.timeseries.queries import run_query
from tensorfusion.timeseries.results import Result
from tensorfusion.timeseries.retention import retain, used_bytes
from tensorfusion.timeseries.retention_bounds import Retention

log = get_logger(__name__)

KEPT: Final = counter("tensorfusion_timeseries_store_rows", "Rows that the embedded store has kept.")
FORGOTTEN: Final = counter("tensorfusion_timeseries_store_forgotten_rows", "Rows that it deleted: too old, or no room.")
BYTES: Final = gauge("tensorfusion_timeseries_store_bytes", "Bytes of its file that are in use.")
QUERY_SECONDS: Final = histogram(
    "tensorfusion_timeseries_store_query_seconds",
    "Time of a query, the wait for its turn included.",
    buckets=(0.005, 0.025, 0.1, 0.5, 2.5, 10.0),
)

_READERS: Final = 2
_RING_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bytes, seconds and counts. Each is a bound on what one who may write or query can take from the machine."""

    memory: int = 512 << 20
    threads: int = 2
    spill: int = 1 << 30
    """Files beside the store of queries that need more memory."""
    waiting: int = 64 << 20
    """Characters of line protocol that wait for the writer; beyond, ``StoreBusy``."""
    queries: int = 32
    """That wait or run; beyond, ``StoreBusy``."""
    query_seconds: float = 10.0
    query_rows: int = 10_000


class Store:
    """Made by ``await Store.open(file)``; close it. From one event loop."""

    def __init__(
        self,
        file: Path,
        connection: "duckdb.DuckDBPyConnection",
        ingest: Ingest,
        *,
        limits: StoreLimits,
        retention: Retention,
        now: Callable[[], int],
    ) -> None:
        self.file = file
        self._connection = connection
        self._ingest = ingest
        self._limits = limits
        self._retention = retention
        self._now = now
        self._writer = ThreadPoolExecutor(1, "timeseries-writer")
        self._readers = ThreadPoolExecutor(_READERS, "timeseries-reader")
        self._cursor = connection.cursor()
        self._idle = deque(connection.cursor() for _ in range(_READERS))
        self._waiting: deque[tuple[Write, asyncio.Future[None]]] = deque()
        self._waiting_size = 0
        self._committing = False
        self._running: set[_Running] = set()
        self._closed = False

    @classmethod
    async def open(
        cls,
        file: Path,
        *,
        limits: StoreLimits | None = None,
        retention: Retention | None = None,
        tables: Iterable[Table] = (),
        now: Callable[[], int] = time.time_ns,
    ) -> Self:
        """Open or make the file, and its folder, which only its owner may enter then.

        ``tables`` (``tables.py``) have all of their columns from the first row on.

        Raises:
            StoreLocked, StoreCorrupt, StoreTooNew, StoreUnwritable: see ``engine.connect``.
        """
        bounds = limits or StoreLimits()
        columns = declared(tables)

        def opened() -> "tuple[duckdb.DuckDBPyConnection, Ingest]":
            try:
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StoreUnwritable(f"metrics store {file}: its folder cannot be made: {error}") from error
            connection = connect(file, memory=bounds.memory, threads=bounds.threads, spill=bounds.spill)
            return connection, Ingest(file, connection.cursor(), declared=columns, now=now)

        connection, ingest = await asyncio.to_thread(opened)
        return cls(file, connection, ingest, limits=bounds, retention=retention or Retention(), now=now)

    @property
    def tables(self) -> Mapping[str, TableShape]:
        """What there is to query, by name in lower case."""
        return self._ingest.tables

    @property
    def failing(self) -> bool:
        """Whether what was written last could not be kept."""
        return self._ingest.failing

    async def close(self) -> None:
        """Stop queries, finish what is being written, and let the file go."""
        self._closed = True
        for running in self._running:
            self._stop(running)
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._writer.shutdown)
        while self._waiting:
            _, done = self._waiting.popleft()
            if not done.done():
                done.set_exception(StoreError(f"metrics store {self.file}: it was closed before this was written"))
        await asyncio.to_thread(self._connection.close)

    async def write(self, text: str, *, precision: str = "ns", batch: str = "") -> int:
        """Keep the points of a text, all or none; the rows that were kept now. On disk when this returns.

        Raises:
            LineError, ColumnConflict: see ``errors``.
            StoreBusy: too much waits to be written.
            StoreUnwritable: the disk is full, or fails.
            StoreError: the store is closed.
            ValueError: no such precision.
        """
        self._check_open()
        if self._waiting_size + len(text) > self._limits.waiting and self._waiting_size:
            raise StoreBusy(f"metrics store: {self._waiting_size} characters wait to be written: send again later")
        write = Write(text, precision, batch)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, done))
        self._waiting_size += len(text)
        self._commit_soon()
        try:
            await done
        finally:
            self._waiting_size -= len(text)
        if write.error is not None:
            raise write.error
        KEPT.inc(write.count)
        return write.count

    async def query(self, sql: str, *, seconds: float | None = None, rows: int | None = None) -> Result:
        """Answer one SELECT. ``seconds`` and ``rows`` may only be less than the store's own bounds.

        Raises:
            QueryRefused, QueryTooLong, QueryTooLarge: see ``errors``.
            StoreBusy: too many queries wait.
            StoreError: the store is closed.
        """
        self._check_open()
        limits = self._limits
        if len(self._running) >= limits.queries:
            raise StoreBusy(f"metrics store: {len(self._running)} queries wait or run: ask again later")
        seconds = min(seconds or limits.query_seconds, limits.query_seconds)
        most = min(rows or limits.query_rows, limits.query_rows)
        running = _Running(seconds)
        self._running.add(running)
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(seconds, self._stop, running)

        def work() -> Result:
            cursor = self._idle.popleft()
            try:
                running.start(cursor)
                return run_query(cursor, sql, self.tables, rows=most)
            except duckdb.InterruptException as error:
                raise QueryTooLong(seconds) from error
            finally:
                running.end()
                self._idle.append(cursor)

        began = time.perf_counter()
        try:
            return await loop.run_in_executor(self._readers, work)
        finally:
            QUERY_SECONDS.observe(time.perf_counter() - began)
            alarm.cancel()
            self._stop(running)  # nobody waits for it any more
            self._running.discard(running)

    async def retain(self) -> int:
        """Delete what is older than its table's bound, then the oldest until the file is small enough; the rows."""
        self._check_open()

        def work() -> int:
            self._ingest.forget_batches()
            return retain(self._cursor, self.tables, self._retention, self._now())

        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def keep_bounds(self, clock: Clock, *, seconds: float = 60.0) -> None:
        """``retain`` every so many seconds, until cancelled. One that fails is logged, and the next one comes."""
        while True:
            await clock.sleep(seconds)
            try:
                gone = await self.retain()
                BYTES.set(await self.size())
            except (StoreError, duckdb.Error) as error:
                log.warning("rows that are too old stay", store=self.file, error=error)
            else:
                FORGOTTEN.inc(gone)

    async def size(self) -> int:
        """Bytes of the file that are in use."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._writer, used_bytes, self._cursor)

    def _stop(self, running: "_Running") -> None:
        """Again and again until it has stopped: between two steps of a query DuckDB forgets that it was interrupted."""
        if running.stop():
            asyncio.get_running_loop().call_later(_RING_SECONDS, self._stop, running)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"metrics store {self.file}: it is closed")

    def _commit_soon(self) -> None:
        """Start a turn of the writer unless one is under way; that one is followed by another while anything waits."""
        if self._committing or not self._waiting:
            return
        self._committing = True
        turn = list(self._waiting)
        self._waiting.clear()
        loop = asyncio.get_running_loop()
        committed = loop.run_in_executor(self._writer, self._ingest.commit, [write for write, _ in turn])

        def tell(finished: asyncio.Future[None]) -> None:
            self._committing = False
            failure = finished.exception()
            for _, done in turn:
                if done.done():
                    continue  # whoever asked has left
                if failure is not None:
                    done.set_exception(failure)
                else:
                    done.set_result(None)
            if not self._closed:
                self._commit_soon()

        committed.add_done_callback(tell)


class _Running:
    """One query, so that its time limit stops it and never the next one on the same connection."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._stopped = False

    def start(self, cursor: "duckdb.DuckDBPyConnection") -> None:
        """Raises:
        QueryTooLong: its time was over while it waited.
        """
        with self._lock:
            if self._stopped:
                raise QueryTooLong(self._seconds)
            self._cursor = cursor

    def end(self) -> None:
        with self._lock:
            self._cursor = None

    def stop(self) -> bool:
        """Let it end; whether it runs still."""
        with self._lock:
            self._stopped = True
            if self._cursor is None:
                return False
            self._cursor.interrupt()
            return True
