"""Which worker of a host does what only one of them need do: whoever holds a lock on a file in memory.

The system gives the lock back when its holder ends, however that was; the next one takes it within a second. Apart from
the Lease of a cluster, so that of many workers only one asks the API for that.
"""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.errors import ConfigError

LOOK_SECONDS: Final = 1.0


@asynccontextmanager
async def first_of_host(path: Path, clock: Clock) -> AsyncIterator[None]:
    """Inside, no other process holds the file. Waits as long as it takes.

    Raises:
        ConfigError: the file cannot be used.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be used: {error.strerror}") from error
    try:
        while not _taken(descriptor):
            await clock.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
