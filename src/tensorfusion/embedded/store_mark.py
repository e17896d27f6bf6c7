"""The mark beside a store: the newest revision that a writer was told is durable.

A WAL that was cut off, damaged or thrown away looks to SQLite like one that ended earlier, and it goes on from there
without a word. The mark knows how far the store had come, so that the missing writes are noticed before anything else
is written. It is set behind each commit and never synced: after a killed process it is exact, and after a power cut it
can only be behind, since what it names was on the disk before. A mark that cannot be read claims nothing.
"""

import os
import zlib
from contextlib import suppress
from pathlib import Path

from tensorfusion.errors import ConfigError


def mark_path(store: Path) -> Path:
    """Where the mark of a store is."""
    return store.with_name(store.name + ".mark")


def read_mark(store: Path) -> int:
    """The newest acknowledged revision of a store; 0 where nothing is known."""
    try:
        digits, checksum = mark_path(store).read_bytes().split()
        return int(digits) if int(checksum, 16) == zlib.crc32(digits) else 0
    except (OSError, ValueError):
        return 0


class Mark:
    """The mark of an opened store."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, store: Path, revision: int) -> "Mark":
        """Start marking at a revision that is on the disk. What the file takes later it takes now: a full disk is
        noticed here.

        Raises:
            ConfigError: the file cannot be written.
        """
        path = mark_path(store)
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(descriptor, _content(revision), 0)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise ConfigError(f"cannot write {path}: {error.strerror}; make it writable and free space") from error
        return cls(descriptor)

    def set(self, revision: int) -> None:
        """Everything up to a revision is durable. One that cannot be written leaves the claim as it was."""
        with suppress(OSError):
            os.pwrite(self._descriptor, _content(revision), 0)

    def close(self) -> None:
        """Leave the mark as it is. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _content(revision: int) -> bytes:
    digits = b"%020d" % revision
    return b"%s %08x\n" % (digits, zlib.crc32(digits))
