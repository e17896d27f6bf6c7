"""Read a container's log as ``kubectl logs`` asks: tail, since, timestamps, a limit, and following.

Source: PodLogOptions of core/v1; lines are ``TIME STREAM F|P TEXT``.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_CHUNK = 1 << 16
_POLL = 0.1
_KEPT = 5
_SLICE = 512
_LAST_LINES, _LAST_BYTES = 80, 2048


@dataclass(frozen=True, slots=True)
class LogOptions:
    """``since`` is a time as the log writes it."""

    follow: bool = False
    tail: int | None = None
    since: str = ""
    timestamps: bool = False
    limit: int | None = None


async def read_log(path: Path, options: LogOptions, *, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The wanted lines, in chunks. Following ends some moments after ``running`` says no."""
    left = options.limit
    async for chunk in _lines(path, options, running):
        if left is not None:
            chunk = chunk[:left]  # noqa: PLW2901  # what is sent of it
            left -= len(chunk)
        if chunk:
            yield chunk
        if left == 0:
            return


async def follow_raw(path: Path, *, running: Callable[[], bool]) -> AsyncIterator[tuple[str, bytes]]:
    """What a container writes from now on, with its stream, until it has ended."""
    file = _Follower(path, at_end=True)
    try:
        async for line in file.follow(running):
            _, stream, flag, text = _parts(line)
            yield stream, text + (b"\n" if flag == b"F" else b"")
    finally:
        file.close()


async def last_words(path: Path) -> str:
    """The end of a container's log, as much of it as fits into a termination message."""
    options = LogOptions(tail=_LAST_LINES)
    text = b"".join([chunk async for chunk in read_log(path, options, running=lambda: False)])
    return text[-_LAST_BYTES:].decode("utf-8", "replace")


async def _lines(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    shown = _Shown(options)
    older = [Path(f"{path}.{number}") for number in range(1, _KEPT)]  # newest first
    file = _Follower(path)
    try:
        newest = [line for line in await asyncio.to_thread(file.available) if shown.wants(line)]
        if options.tail is None:
            for part in reversed(older):
                for chunk in _slices(shown, await asyncio.to_thread(_wanted_of, part, shown)):
                    yield chunk
        else:
            newest = await asyncio.to_thread(_tail, newest, older, shown, options.tail)
        for chunk in _slices(shown, newest):
            yield chunk
        if options.follow:
            async for line in file.follow(running):
                if shown.wants(line):
                    yield shown.text(line)
    finally:
        file.close()


def _slices(shown: "_Shown", lines: list[bytes]) -> Iterator[bytes]:
    for begin in range(0, len(lines), _SLICE):
        yield b"".join(map(shown.text, lines[begin : begin + _SLICE]))


def _wanted_of(path: Path, shown: "_Shown") -> list[bytes]:
    """The wanted lines of a file that has been put away; none when it is not there."""
    try:
        return [line for line in path.read_bytes().split(b"\n")[:-1] if shown.wants(line)]
    except FileNotFoundError:
        return []


def _tail(newest: list[bytes], older: Sequence[Path], shown: "_Shown", count: int) -> list[bytes]:
    """The last lines, from as few files as hold them."""
    lines = newest
    for path in older:
        if len(_last(lines, count)) < len(lines):
            break  # there is more than is wanted already
        lines = _wanted_of(path, shown) + lines
    return _last(lines, count)


def _last(lines: list[bytes], count: int) -> list[bytes]:
    """The last ``count`` whole lines; the parts of one line belong together."""
    if count == 0:
        return []
    ends = 0
    for index in range(len(lines) - 1, -1, -1):
        if _parts(lines[index])[2] == b"F" or index == len(lines) - 1:
            ends += 1
            if ends > count:
                return lines[index + 1 :]
    return lines


class _Shown:
    """Which lines are wanted, and how they are shown."""

    def __init__(self, options: LogOptions) -> None:
        self._since = options.since.encode()
        self._timestamps = options.timestamps
        self._goes_on = False

    def wants(self, line: bytes) -> bool:
        return not self._since or _parts(line)[0] >= self._since

    def text(self, line: bytes) -> bytes:
        time, _, flag, text = _parts(line)
        head = time + b" " if self._timestamps and not self._goes_on else b""
        self._goes_on = flag == b"P"
        return head + text + (b"" if self._goes_on else b"\n")


def _parts(line: bytes) -> tuple[bytes, str, bytes, bytes]:
    time, _, rest = line.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    flag, _, text = rest.partition(b" ")
    return time, stream.decode("ascii", "replace"), flag, text


class _Follower:
    """Reads whole lines of a file that grows and is replaced when it is long."""

    def __init__(self, path: Path, *, at_end: bool = False) -> None:
        self._path = path
        self._rest = b""
        self._file = self._open()
        if at_end and self._file >= 0:
            os.lseek(self._file, 0, os.SEEK_END)

    def available(self) -> list[bytes]:
        """The whole lines that are there now."""
        if self._file < 0:
            self._file = self._open()
        chunks = [self._rest]
        while self._file >= 0 and (chunk := os.read(self._file, _CHUNK)):
            chunks.append(chunk)
        *lines, self._rest = b"".join(chunks).split(b"\n")
        return lines

    async def follow(self, running: Callable[[], bool]) -> AsyncIterator[bytes]:
        while True:
            alive = running()  # asked before reading: what is written before the end is seen
            lines = self.available()
            for line in lines:
                yield line
            if not lines:
                if self._replaced():
                    self.close()
                    self._file = self._open()
                    continue
                if not alive:
                    return
            await asyncio.sleep(_POLL)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1

    def _replaced(self) -> bool:
        try:
            return self._file < 0 or self._path.stat().st_ino != os.fstat(self._file).st_ino
        except FileNotFoundError:
            return False


def log_time(moment: datetime) -> str:
    """A time as the log writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
