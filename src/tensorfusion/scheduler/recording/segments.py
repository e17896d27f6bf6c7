"""The files of a recording: append-only segments of checked frames, bounded in all, and what can be read of a torn one.

A segment is one line that says what it is, then frames: length and checksum of what follows (both 32 bits, little
endian), then one compressed ``Frame``. Whatever happens to the writer, every frame that was written whole can be read,
and what stands behind the last of them is cut off. Names sort by the time at which segments begin; the series is one
run of one scheduler.

Several schedulers may write into one folder. Each keeps the folder as a whole below the bound, by removing the oldest
segments that nobody writes to any more; who writes holds a lock on the file.
"""

import fcntl
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.scheduler.recording.events import MAGIC, VERSION, Frame, decode_frame, encode

SUFFIX = ".recording"
LEAST_LIMIT = 1 << 20
"""Bytes: the smallest bound that can be kept."""
_PARTS = 8
"""Segments that the bound is divided into, so that what is removed is an eighth of the past."""
_LEAST_PARTS = 4
"""So many times what a segment begins with has to fit below the bound."""
_WRITERS = 16
"""So many can fill what is free at the same time before each of them looks again."""
_HEAD = struct.Struct("<II")
_MOST_BYTES = 1 << 28
"""Of one frame, before and after it is compressed."""
_LEVEL = 1
_NAME = re.compile(r"\d{14}-[0-9a-f]{8}-\d{6}\.recording")
_HEADER = MAGIC + b"%d\n"
_LONGEST_HEADER = len(MAGIC) + 12


class FullError(Exception):
    """What has to be written does not fit below the bound."""


def packed(frame: Frame) -> bytes:
    """The frame as it stands in a segment."""
    body = zlib.compress(encode(frame), _LEVEL)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


class Journal:
    """Writes the segments of one series; ``limit`` bounds the bytes of the whole folder. All calls may block."""

    def __init__(self, folder: Path, *, series: str, limit: int) -> None:
        self._folder = folder
        self._series = series
        self._limit = limit
        self._most = max(limit // _PARTS, 1)
        self._file: FileIO | None = None
        self._path: Path | None = None
        self._written = self._first = 0
        self._sequence = 0
        self._free = 0
        """Bytes that may be written before it is looked at the folder again."""

    def prepare(self) -> None:
        """Make the folder, readable for its owner alone.

        Raises:
            OSError: it cannot be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def is_full(self) -> bool:
        """The segment has its share of the bound, and no less has happened than it began with: the next one is due."""
        return self._written >= max(self._most, 2 * self._first)

    def begin(self, now: int, first: bytes) -> None:
        """Begin another segment with this frame. ``now`` is in milliseconds since 1970.

        Raises:
            OSError: it cannot be written.
            FullError: the frame alone is more than a quarter of the bound.
        """
        self.end()
        head = _HEADER % VERSION
        size = len(head) + len(first)
        if size * _LEAST_PARTS > self._limit:
            raise FullError(
                f"the fleet and its pods alone take {len(first)} bytes, more than a quarter of {self._limit}: "
                f"wanted --record-limit {size * _LEAST_PARTS} or more"
            )
        self._sequence += 1
        self._path = self._folder / f"{now:014d}-{self._series}-{self._sequence:06d}{SUFFIX}"
        self._make_room(size)
        self._file = self._path.open("xb", buffering=0)
        self._path.chmod(0o600)
        fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._written, self._first = 0, size
        self._write(head + first)

    def append(self, frame: bytes) -> None:
        """Write one more frame.

        Raises:
            OSError: it cannot be written.
            FullError: the bound cannot be kept.
        """
        self._make_room(len(frame))
        self._write(frame)

    def sync(self) -> None:
        """What was written survives a loss of power."""
        if self._file is not None:
            os.fdatasync(self._file.fileno())

    def end(self) -> None:
        """Close the segment."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is None:
            raise ValueError("no segment has begun")
        self._written += len(data)
        self._free -= len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _make_room(self, wanted: int) -> None:
        """Remove the oldest segments until there is room below the bound.

        Raises:
            OSError: one cannot be removed.
            FullError: there is none left that nobody writes to.
        """
        if wanted <= self._free:
            return
        sizes = {path: _size(path) for path in segments_of(self._folder)}
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total + wanted <= self._limit:
                break
            if path != self._path and _remove(path):
                total -= size
        if total + wanted > self._limit:
            raise FullError(f"{total} bytes are in use, and {wanted} more would pass {self._limit}")
        self._free = max(wanted, (self._limit - total) // _WRITERS)


def _size(path: Path) -> int:
    """Bytes of a segment; 0 where another scheduler has removed it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> bool:
    """Remove a segment unless somebody writes to it. Another scheduler may have done so meanwhile."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
    return True


def segments_of(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


@dataclass(frozen=True, slots=True)
class Segment:
    """The frames of one segment that were written whole, and how many bytes stand behind them."""

    path: Path
    frames: tuple[Frame, ...]
    size: int
    torn: int


def read_segment(path: Path) -> Segment:
    """What can be read of a segment.

    Raises:
        FileNotFoundError: it is not there any more: who writes the recording has removed it to keep the bound.
        ConfigError: it is no segment, one of a newer version, or what is in it is not what this version writes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    start = _body(path, data)
    frames: list[Frame] = []
    at = start
    for frame, end in _whole(path, data, start):
        frames.append(frame)
        at = end
    return Segment(path, tuple(frames), len(data), len(data) - at)


def _body(path: Path, data: bytes) -> int:
    """Where the frames begin; the end of a file that was torn in its first line.

    Raises:
        ConfigError: as ``read_segment``.
    """
    line, feed, _ = data[:_LONGEST_HEADER].partition(b"\n")
    if not feed and (MAGIC.startswith(line) or line.removeprefix(MAGIC).isdigit()):
        return len(data)
    version = line.removeprefix(MAGIC)
    if not line.startswith(MAGIC) or not version.isdigit():
        raise ConfigError(f"{path}: wanted a segment of a recording, found another file")
    if int(version) > VERSION:
        raise ConfigError(
            f"{path}: wanted a recording of version {VERSION} or older, found version {int(version)}: "
            "read it with the tensorfusion that wrote it, or a newer one"
        )
    return len(line) + 1


def _whole(path: Path, data: bytes, start: int) -> Iterator[tuple[Frame, int]]:
    """Frames that were written whole, and where each ends."""
    at = start
    while len(data) - at >= _HEAD.size:
        length, checksum = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if length > _MOST_BYTES or len(body) < length or zlib.crc32(body) != checksum:
            return
        at += _HEAD.size + length
        try:
            frame = decode_frame(zlib.decompressobj().decompress(body, _MOST_BYTES))
        except (zlib.error, msgspec.DecodeError) as error:
            raise ConfigError(f"{path}: wanted what version {VERSION} writes, found something else: {error}") from error
        yield frame, at
