"""The counters of one host, shared by all worker processes of its gateways.

What ``table`` promises holds while the page can be had. While it cannot, because a worker was stopped in the few
microseconds that it held it, each of the others keeps the limits by itself, with counters of its own: then as many
times the limit is let in as there are workers, and not without any. What ends meanwhile is given back once the page is
free.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.limits.holding import MOST_TOKENS, Reservation
from tensorfusion.gateway.limits.page import WAIT_SECONDS, Page, PageBusy
from tensorfusion.gateway.limits.rules import Charge
from tensorfusion.gateway.limits.table import Table
from tensorfusion.gateway.limits.verdict import Verdict
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter

RECORDS: Final = 32768
APART_SECONDS: Final = 0.1
"""Between two looks whether a page is free again that was not."""
_NO_LIMITS: Final = Verdict()

APART = counter("tensorfusion_gateway_limits_apart_total", "Requests that a worker counted apart from the others.")
DEAD = counter("tensorfusion_gateway_limits_dead_workers_total", "Workers that died with requests in flight counted.")

log = get_logger(__name__)


def default_path(name: str) -> Path:
    """Where the counters of the gateway ``name`` lie: in memory, apart for each user."""
    return Path("/dev/shm") / f"tensorfusion-{os.geteuid()}-{name}.limits"  # noqa: S108 - it must be ours: see page


class SharedLimits:
    """Satisfies ``Limits``. Nothing waits but for the page, and that for microseconds."""

    def __init__(
        self,
        path: Path | None,
        *,
        records: int = RECORDS,
        clock: Callable[[], int] = time.monotonic_ns,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """``path`` None counts for this process alone; ``records`` is how many counters there can be, a power of two.

        Raises:
            ConfigError: the file cannot be used.
        """
        self._records = records
        self._clock = clock
        self._wait_seconds = wait_seconds
        try:
            self._table: Table | None = Table(Page(path, records=records, clock=clock, wait_seconds=wait_seconds))
        except PageBusy as error:
            raise ConfigError(f"{error}: end the process that holds it, or remove the file") from error
        self._own: Table | None = None
        self._apart_until = 0.0
        self._late: deque[tuple[Sequence[Charge], int, int]] = deque()

    async def reserve(self, charges: Sequence[Charge], tokens: int) -> Reservation:
        """As ``Limits.reserve``."""
        return self.take(charges, tokens)

    def take(self, charges: Sequence[Charge], tokens: int) -> Reservation:
        """As ``reserve``, for who cannot wait.

        Raises:
            RateLimited: a limit has no room.
        """
        if not 0 <= tokens <= MOST_TOKENS:
            tokens = 0 if tokens < 0 else MOST_TOKENS
        if not charges or self._table is None:
            return Reservation(self, (), tokens, _NO_LIMITS)
        if not self._apart_until or time.monotonic() >= self._apart_until:
            try:
                verdict = self._table.take(charges, tokens)
            except PageBusy as error:
                self._part(error)
            else:
                if self._apart_until:
                    self._join()
                return Reservation(self, charges, tokens, verdict)
        if self._own is None:
            self._own = Table(Page(None, records=self._records, clock=self._clock))
        APART.inc()
        return Reservation(_Apart(self._own), charges, tokens, self._own.take(charges, tokens))

    def settle(self, charges: Sequence[Charge], reserved: int, tokens: int) -> None:
        """As ``Counters.settle``."""
        for charge in charges:
            if charge.rule.holds:
                break
        else:
            return
        if self._table is None:
            return
        if self._late or self._apart_until:
            self._late.append((charges, reserved, tokens))
            return
        try:
            self._table.give_back(charges, reserved, tokens)
        except PageBusy as error:
            self._late.append((charges, reserved, tokens))
            self._part(error)

    def tend(self) -> None:
        """Give back what dead workers held, and what could not be given back before. To be called once a second."""
        if self._table is None:
            return
        try:
            found = self._table.tend()
        except PageBusy:
            return
        if self._apart_until or self._late:
            self._join()
        if found:
            DEAD.inc(found)
            log.warning("workers have died: their requests in flight are given back", workers=found)

    def close(self) -> None:
        """Give everything back that this process still holds. What is settled later is not counted any more."""
        table, self._table = self._table, None
        if table is not None:
            table.close()
        if self._own is not None:
            self._own.close()

    def _part(self, error: PageBusy) -> None:
        """Go on without the others for a moment."""
        if not self._apart_until:
            log.warning("the counters of the host are stuck: this worker counts by itself", error=str(error))
        assert self._table is not None  # noqa: S101 - asked by those who call
        self._table.page.wait_seconds = 0.0  # the loop has waited once
        self._apart_until = time.monotonic() + APART_SECONDS

    def _join(self) -> None:
        """Count with the others again: first what ended meanwhile."""
        assert self._table is not None  # noqa: S101 - asked by those who call
        try:
            while self._late:
                self._table.give_back(*self._late[0])
                self._late.popleft()
        except PageBusy:
            return
        if self._apart_until:
            self._apart_until = 0.0
            self._table.page.wait_seconds = self._wait_seconds
            log.info("the counters of the host are free again")


class _Apart:
    """Gives back to this worker's own counters what was counted there."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def settle(self, charges: Sequence[Charge], reserved: int, tokens: int) -> None:
        if any(charge.rule.holds for charge in charges):
            self._table.give_back(charges, reserved, tokens)
