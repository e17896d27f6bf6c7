"""Records of requests on their way to a store of time series, and questions on the way back.

A request leaves its record in a queue and goes on. A task makes lines of what waits a few times a second, a few records
at a time so that requests come between, and the writer sends them. What can be lost is bounded and counted: records
that no place was left for (``tensorfusion_gateway_records_dropped``), and lines that the database did not take
(``tensorfusion_timeseries_rows``; see ``timeseries/writer``).
"""

import asyncio
import contextlib
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.evidence import Record
from tensorfusion.gateway.settings import MetricsSource
from tensorfusion.gateway.usage.rows import rows
from tensorfusion.gateway.usage.sums import add_up
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.errors import DatabaseError
from tensorfusion.timeseries.reader import Reader
from tensorfusion.timeseries.retention_bounds import DAY, SUMS_DAYS, Retention
from tensorfusion.timeseries.tables import LLM_REQUESTS, LLM_USAGE, prepare
from tensorfusion.timeseries.writer import LineWriter

MOST_WAITING: Final = 20_000
"""Records."""
EVERY_SECONDS: Final = 0.2
PREPARE_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 5.0
ADD_UP_SECONDS: Final = 600.0
_NS: Final = 1_000_000_000
_AT_ONCE: Final = 16
"""Records that are made lines of without a pause: a few hundred microseconds."""
log = get_logger(__name__)


class RequestStore:
    """A sink, and its reader. ``dropped`` is called for each record that finds no place."""

    def __init__(self, database: Database, *, clock: Clock, dropped: Callable[[], None], days: int = 30) -> None:
        self._database = database
        self._clock = clock
        self._dropped = dropped
        self._retention = Retention(days * DAY, {LLM_USAGE.name: max(days, SUMS_DAYS) * DAY})
        self._waiting: deque[Record] = deque()
        self._line_of = rows()
        self._prepared = False
        self.writer = LineWriter(database, name="llm_requests", clock=clock)
        self.reader = Reader(database)

    def put(self, record: Record) -> None:
        if not self.offer(record):
            self._dropped()

    def offer(self, record: Record) -> bool:
        """Take it, if there is a place for it; says whether there was."""
        if len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting.append(record)
        return True

    @asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """Inside, records are written; behind, what was left is, as far as that does not take too long."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work()) for work in (self._send, self._make_lines, self._add_up)]
                yield
                for task in tasks:
                    task.cancel()
            self._take(len(self._waiting))
            await self.writer.drain(DRAIN_SECONDS if self._prepared else 0.0)
        finally:
            await self._database.close()

    async def _send(self) -> None:
        """Send from the moment on that the table is there: rows would make one with another time column."""
        told = False
        while not self._prepared:
            try:
                await prepare(self._database, (LLM_REQUESTS, LLM_USAGE), self._retention)
                self._prepared = True
            except DatabaseError as error:
                if not told:
                    log.warning("records wait: the table of requests could not be made", error=str(error))
                told = True
                await self._clock.sleep(PREPARE_SECONDS)
        await self.writer.run()

    async def _add_up(self) -> None:
        """Keep what hours came to, for when their records are gone."""
        while True:
            await self._clock.sleep(ADD_UP_SECONDS)
            if not self._prepared:
                continue
            try:
                await add_up(self._database, self.reader, int(self._clock.now().timestamp() * _NS))
            except DatabaseError as error:
                log.warning("hours of requests could not be added up: tried again later", error=str(error))

    async def _make_lines(self) -> None:
        while True:
            await self._clock.sleep(EVERY_SECONDS)
            while self._waiting:
                self._take(_AT_ONCE)
                await asyncio.sleep(0)

    def _take(self, most: int) -> None:
        waiting = self._waiting
        for _ in range(min(most, len(waiting))):
            record = waiting.popleft()
            try:
                self.writer.put(self._line_of(record))
            except Exception:  # a record that cannot be written must not end the gateway
                self._dropped()
                log.exception("a record could not be written", request=record.request_id)


@contextlib.asynccontextmanager
async def nothing_tended() -> AsyncIterator[None]:
    """Of a gateway without a store."""
    yield


def database_of(source: MetricsSource, folder: Path, environ: Mapping[str, str] | None = None) -> Database:
    """The store that settings name; ``folder`` is where its files are looked for.

    Raises:
        ConfigError: its URL or its secret cannot be used.
    """
    if not source.url:
        raise ConfigError("metrics.url: wanted the address of a GreptimeDB or of `tensorfusion metrics serve`")
    tls = ssl.create_default_context() if source.url.startswith("https:") else None
    secret = _secret_of(source, folder, os.environ if environ is None else environ)
    return Database(source.url, database=source.database, user=source.user, password=secret, tls=tls)


def _secret_of(source: MetricsSource, folder: Path, environ: Mapping[str, str]) -> str:
    if source.env and source.file:
        raise ConfigError("metrics: wanted env or file, found both")
    if source.env:
        found, where = environ.get(source.env, ""), f"environment variable {source.env}"
    elif source.file:
        where = str(folder / source.file)
        try:
            found = Path(where).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"metrics.file: {where} cannot be read: {error}") from error
    else:
        return ""
    if not found.strip():
        raise ConfigError(f"metrics: {where} is empty or unset: wanted a token, or the password of metrics.user")
    return found.strip()
