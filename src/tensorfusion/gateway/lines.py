"""Records of requests as lines of JSON, in a file or on standard output.

Taken without waiting, written by a thread a few times a second. When the disk does not keep up, or a pipe is not read,
records are dropped and counted: what waits here is bounded, and no request waits for it. Several processes write to one
file: each write is whole lines, at its end.
"""

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.evidence import Record
from tensorfusion.telemetry.logs import get_logger

MOST_WAITING: Final = 20_000
"""Records."""
EVERY_SECONDS: Final = 0.2
_MOST_AT_ONCE: Final = 500
_encoder: Final = msgspec.json.Encoder()
log = get_logger(__name__)


class JsonLines:
    """A sink. ``dropped`` is called for each record that is lost. Run it, and ``close`` it at the end."""

    def __init__(self, path: str, *, dropped: Callable[[], None]) -> None:
        """Raises ConfigError: the file cannot be written."""
        self._waiting: deque[Record] = deque()
        self._dropped = dropped
        self._failing = False
        if path == "-":
            self._fd = os.dup(sys.stdout.fileno())
        else:
            try:
                self._fd = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ConfigError(f"log.file: {path} cannot be written: {error.strerror}") from error

    def put(self, record: Record) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._dropped()
        else:
            self._waiting.append(record)

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            if self._waiting:
                await self._flush()

    async def close(self) -> None:
        """Write the rest."""
        await self._flush()
        os.close(self._fd)

    async def _flush(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
            try:
                await asyncio.to_thread(self._write, batch)
            except OSError as error:
                for _ in batch:
                    self._dropped()
                if not self._failing:
                    log.warning("records of requests cannot be written: they are dropped", error=str(error))
                self._failing = True
                return
            self._failing = False

    def _write(self, batch: list[Record]) -> None:
        data = b"".join([_encoder.encode(record) + b"\n" for record in batch])
        while data:
            data = data[os.write(self._fd, data) :]
