"""Lines on their way to a database: put without waiting, sent in batches, kept while the database is away.

``put`` appends to a queue and returns; nothing on a hot path awaits. A batch goes when it is large enough or its oldest
line old enough, one at a time: a slow database makes batches larger, never requests more.

**What can be lost.** While the database answers: the lines of the last ``batch_seconds`` and of the one request under
way, if the process is killed. While it does not: lines are kept up to ``most_bytes``, then the oldest go, counted; a
batch that was tried for ``most_seconds`` goes as well. At shutdown: what ``drain`` did not get through. What the
database refuses is halved until only the lines that are wrong are left out.

A request that got no answer may have been carried out. It is sent again with the same id, which the embedded store
knows; GreptimeDB replaces rows of equal tags and time.
"""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from tensorfusion.clock import Clock
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter
from tensorfusion.timeseries.errors import DatabaseFailed, DatabaseRefused

log = get_logger(__name__)

ROWS: Final = counter(
    "tensorfusion_timeseries_rows",
    "Rows by what became of them: sent; or lost: too many waited (dropped), the database took none for too long (old), "
    "it refused them, or the process ended (shutdown).",
    ("writer", "result"),
)
RETRIES: Final = counter("tensorfusion_timeseries_write_retries", "Batches that were sent again.", ("writer",))

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_MOST_HALVES: Final = 64
"""Requests that a batch with wrong lines may take; then what is left of it goes. Enough for five of 5,000."""


class Sink(Protocol):
    """Where batches go: a ``client.Database``."""

    async def write(self, lines: bytes, *, batch: str = "") -> None:
        """Raises DatabaseRefused or DatabaseFailed."""
        ...


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """Bytes and seconds."""

    batch_bytes: int = 1 << 20
    batch_seconds: float = 1.0
    most_bytes: int = 16 << 20
    """Of lines that wait, without the batch under way."""
    most_seconds: float = 900.0


@dataclass(eq=False, slots=True)
class _Batch:
    lines: list[bytes]
    id: str
    begun: float
    halves: list[int] = field(default_factory=lambda: [_MOST_HALVES])
    """Shared by the parts of one batch."""


class LineWriter:
    """``put`` from the event loop, ``run`` as a task, ``drain`` after that task has ended."""

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        clock: Clock,
        limits: WriterLimits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._limits = limits or WriterLimits()
        self._jitter = jitter
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._parts: deque[_Batch] = deque()
        """The batch under way, in parts where some of it was refused."""
        self._any = asyncio.Event()
        self._full = asyncio.Event()
        self._ids = secrets.token_hex(8)
        self._batches = 0
        self._failing = False
        self._name = name
        self._counts = {
            result: ROWS.labels(name, result) for result in ("sent", "dropped", "old", "refused", "shutdown")
        }
        self._retries = RETRIES.labels(name)

    @property
    def waiting(self) -> int:
        """Lines that are not sent yet, those under way included."""
        return len(self._lines) + sum(len(part.lines) for part in self._parts)

    def put(self, line: bytes) -> None:
        """Take one line, with its end; an empty one is none. The oldest goes when there is no room."""
        if not line:
            return
        lines = self._lines
        lines.append(line)
        self._bytes += len(line)
        if self._bytes >= self._limits.batch_bytes:
            self._full.set()
            while self._bytes > self._limits.most_bytes:
                self._bytes -= len(lines.popleft())
                self._counts["dropped"].inc()
        if len(lines) == 1:
            self._any.set()

    async def run(self) -> None:
        """Send until cancelled. What was under way then is kept for ``drain``."""
        while True:
            if not self._parts:
                await self._gather()
                self._take()
            await self._send_first()

    async def drain(self, seconds: float) -> int:
        """Send all there is, within so many seconds; the lines that are lost. Call it when ``run`` has ended."""
        sending = asyncio.ensure_future(self._send_all())
        late = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((sending, late), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            late.cancel()
            await asyncio.wait((sending, late))
        lost = self.waiting
        if lost:
            self._counts["shutdown"].inc(lost)
            log.warning("numbers are lost: the database did not take them in time", writer=self._name, rows=lost)
        self._lines.clear()
        self._parts.clear()
        self._bytes = 0
        return lost

    async def _send_all(self) -> None:
        while self.waiting:
            if not self._parts:
                self._take()
            await self._send_first()

    async def _gather(self) -> None:
        """Until there is a full batch, or a line that is old enough."""
        if not self._lines:
            self._any.clear()
            await self._any.wait()
        if self._bytes >= self._limits.batch_bytes:
            return
        self._full.clear()
        full = asyncio.ensure_future(self._full.wait())
        age = asyncio.ensure_future(self._clock.sleep(self._limits.batch_seconds))
        try:
            await asyncio.wait((full, age), return_when=asyncio.FIRST_COMPLETED)
        finally:
            full.cancel()
            age.cancel()

    def _take(self) -> None:
        """Make a batch of the oldest lines."""
        taken: list[bytes] = []
        size = 0
        while self._lines and size < self._limits.batch_bytes:
            line = self._lines.popleft()
            size += len(line)
            taken.append(line)
        self._bytes -= size
        self._batches += 1
        self._parts.append(_Batch(taken, f"{self._ids}-{self._batches}", self._clock.monotonic()))

    async def _send_first(self) -> None:
        """Get rid of the first part. It stays until that is so: a cancelled call may be made again."""
        part = self._parts[0]
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._sink.write(b"".join(part.lines), batch=part.id)
            except DatabaseRefused as error:
                self._halve(part, error)
                return
            except DatabaseFailed as error:
                if self._clock.monotonic() - part.begun >= self._limits.most_seconds:
                    self._lose(part, "old", error)
                    return
                self._say_failing(error)
                self._retries.inc()
                await self._clock.sleep(max(pause * (0.5 + self._jitter()), min(error.retry_after, _LONGEST_PAUSE)))
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._parts.popleft()
                self._counts["sent"].inc(len(part.lines))
                self._say_well()
                return

    def _halve(self, part: _Batch, error: DatabaseRefused) -> None:
        """The database answered, and one line or more of the part is wrong: look for it in its halves."""
        self._say_well()
        part.halves[0] -= 1
        if len(part.lines) == 1 or part.halves[0] <= 0:
            self._lose(part, "refused", error)
            return
        self._parts.popleft()
        middle = len(part.lines) // 2
        for place, lines in enumerate((part.lines[middle:], part.lines[:middle])):
            self._parts.appendleft(_Batch(lines, f"{part.id}.{place}", part.begun, part.halves))

    def _lose(self, part: _Batch, result: str, error: DatabaseRefused | DatabaseFailed) -> None:
        self._parts.popleft()
        self._counts[result].inc(len(part.lines))
        log.warning("numbers are lost", writer=self._name, rows=len(part.lines), why=result, error=error)

    def _say_failing(self, error: DatabaseFailed) -> None:
        if not self._failing:
            self._failing = True
            log.warning("numbers wait: the database does not take them", writer=self._name, error=error)

    def _say_well(self) -> None:
        if self._failing:
            self._failing = False
            log.info("the database takes numbers again", writer=self._name, waiting=self.waiting)
