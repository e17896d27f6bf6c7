"""Time as a value that is passed in, so that tests never sleep and decisions can be replayed.

``now`` is wall time for what is written down; ``monotonic`` is for measuring and waiting. The virtual clock
lives in ``tensorfusion.testing.clock``: it is a test tool, this is the seam.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait for later."""

    def now(self) -> datetime:
        """Wall time, UTC, timezone-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; the zero means nothing."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock's time."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def timestamp(moment: datetime) -> str:
    """RFC 3339 with whole seconds, as Kubernetes writes metav1.Time."""
    return moment.isoformat(timespec="seconds")[:19] + "Z"  # a quarter of the time of a format string


def micro_timestamp(moment: datetime) -> str:
    """RFC 3339 with microseconds, as Kubernetes writes metav1.MicroTime (Leases)."""
    return moment.isoformat(timespec="microseconds")[:26] + "Z"
