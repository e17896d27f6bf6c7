"""Memory that is free inside the process goes back to the machine.

For hours objects of many sizes come and go, and the allocator keeps the pages between those that stay: after an hour of
steady work the API process held 500 MiB, of which 185 were free. ``malloc_trim`` gives whole free pages back. It takes
some tens of milliseconds, in which other threads wait for memory, so it is called only once the process has grown.

Where the C library is not glibc nothing is done.

Source: glibc, malloc_trim(3).
"""

import asyncio
import ctypes
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from tensorfusion.clock import Clock
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

LOOK_EVERY = 30.0
GROWTH = 16 << 20
"""Bytes by which the process has to grow before it is looked at for free pages."""


async def give_back(clock: Clock) -> None:
    """Give free pages back for as long as the process lives."""
    trim = malloc_trim()
    if trim is not None:
        await follow(clock, resident=resident_bytes, trim=lambda: asyncio.to_thread(trim))


async def follow(clock: Clock, *, resident: Callable[[], int], trim: Callable[[], Awaitable[None]]) -> None:
    """Trim whenever what is resident has grown by ``GROWTH`` since it was least."""
    least = 0
    while True:
        await clock.sleep(LOOK_EVERY)
        before = resident()
        if before - least >= GROWTH:
            await trim()
            least = resident()
            log.debug("free memory given back", mib=(before - least) >> 20, resident_mib=least >> 20)
        least = min(least, before)


def resident_bytes() -> int:
    """What this process has in memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def malloc_trim() -> Callable[[], None] | None:
    """The C library's own; None where it has none."""
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: function(0)
