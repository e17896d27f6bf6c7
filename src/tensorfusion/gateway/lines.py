"""Records of requests as lines of JSON, in a file or on standard output.

Taken without waiting, written by a thread of its own a few times a second: handing over costs the loop nothing but an
entry in a queue. When the disk does not keep up, or a pipe is not read, records are dropped and counted: what waits
here is bounded, and no request waits for it. Several processes write to one file: each write is whole lines, at its
end.
"""

import os
import sys
import threading
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
CLOSE_SECONDS: Final = 5.0
_MOST_AT_ONCE: Final = 500
_encoder: Final = msgspec.json.Encoder()
log = get_logger(__name__)


class JsonLines:
    """A sink. ``dropped`` is called for each record that is lost, from whatever thread. Close it at the end."""

    def __init__(self, path: str, *, dropped: Callable[[], None]) -> None:
        """Raises ConfigError: the file cannot be written."""
        self._waiting: deque[Record] = deque()
        self._dropped = dropped
        self._failing = False
        self._closing = threading.Event()
        if path == "-":
            self._fd = os.dup(sys.stdout.fileno())
        else:
            try:
                self._fd = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ConfigError(f"log.file: {path} cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._dropped()
        else:
            self._waiting.append(record)

    def close(self) -> None:
        """Write the rest, as far as that does not take too long."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closing.wait(EVERY_SECONDS):
            self._flush()
        self._flush()
        os.close(self._fd)

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting:
            batch = [waiting.popleft() for _ in range(min(len(waiting), _MOST_AT_ONCE))]
            try:
                self._write(b"".join([_encoder.encode(record) + b"\n" for record in batch]))
            except OSError as error:
                for _ in batch:
                    self._dropped()
                if not self._failing:
                    log.warning("records of requests cannot be written: they are dropped", error=str(error))
                self._failing = True
                return
            self._failing = False

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]
