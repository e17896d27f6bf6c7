"""The audit log's file: one JSON event a line, written behind the requests, turned over when it is large.

Events are gathered for a moment and appended in one write: an answer never waits for them, and a crash may lose the
last moment. A log that cannot be written is reported once, and the API goes on: it serves many who could not help it.
"""

import asyncio
import contextlib
import os
from pathlib import Path

from tensorfusion.telemetry.logs import get_logger

LARGEST = 64 << 20
"""Bytes after which a file is turned over."""
KEPT = 4
"""Old files that are kept: ``audit.log.1`` is the newest of them."""

_GATHER_SECONDS = 0.2
_MOST_WAITING = 50_000

log = get_logger(__name__)


class Journal:
    """Appends lines to a file. ``run`` writes until cancelled and then writes what is left."""

    def __init__(self, path: Path, *, largest: int = LARGEST) -> None:
        self.path = path
        self._largest = largest
        self._waiting: list[bytes] = []
        self._dropped = 0
        self._failing = False

    def append(self, line: bytes) -> None:
        """Take a line; beyond what can be kept for a disk that does not keep up, lines are dropped and counted."""
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(line)

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(_GATHER_SECONDS)
                if self._waiting:
                    await asyncio.to_thread(self._write, self._take())
        finally:
            if self._waiting:
                self._write(self._take())

    def _take(self) -> bytes:
        lines, self._waiting = self._waiting, []
        if self._dropped:
            log.warning("audit events dropped: the disk does not keep up", dropped=self._dropped)
            self._dropped = 0
        return b"\n".join(lines) + b"\n"

    def _write(self, block: bytes) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                if self.path.stat().st_size + len(block) > self._largest:
                    self._turn_over()
            with open(self.path, "ab", opener=_private) as file:  # Path.open takes no opener
                file.write(block)
        except OSError as error:
            if not self._failing:
                log.warning("the audit log cannot be written", file=str(self.path), error=error)
            self._failing = True
        else:
            self._failing = False

    def _turn_over(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            old = self._numbered(number)
            if old.exists():
                old.replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
