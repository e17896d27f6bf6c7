"""Attempts: one start of one container, run by a shim that outlives this process.

An attempt is its folder. A node process that comes back finds the folders of what its predecessor started and goes on
with those whose shim still runs, by pid and start time; of the others it reads how they ended, or says that it is not
known: the machine was restarted, or somebody killed the shim.
"""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tensorfusion.clock import timestamp
from tensorfusion.embedded.processes import shim
from tensorfusion.embedded.processes.pipes import until_gone

_POLL = 0.05
_KEPT = 2
"""Attempts of a container whose folders and logs are kept: the current one and the one before it."""
UNKNOWN = "ContainerStatusUnknown"


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. ``path`` is the file, empty when there is none; ``memory`` bytes, 0 for no limit; ``uid`` None for
    our own user.
    """

    path: str
    argv: Sequence[str]
    env: dict[str, str]
    cwd: str
    uid: int | None
    nice: int = 0
    memory: int = 0
    tty: bool = False
    stdin: bool = False


class Ending(msgspec.Struct, frozen=True, rename="camel"):
    """How an attempt ended; the wire form is ``exit.json``."""

    started_at: str = ""
    finished_at: str = ""
    code: int = 137
    signal: int = 0
    out_of_memory: bool = False
    start_error: str = ""
    unknown: bool = False

    @property
    def reason(self) -> str:
        if self.unknown:
            return UNKNOWN
        if self.start_error:
            return "StartError"
        if self.out_of_memory:
            return "OOMKilled"
        return "Completed" if self.code == 0 else "Error"

    @property
    def message(self) -> str:
        if self.unknown:
            return "the process ended while nobody watched it: how is not known"
        return self.start_error


class _Process(msgspec.Struct, frozen=True):
    pid: int
    start: int
    boot: str

    def alive(self) -> bool:
        """It is still this very process, not another one with its number."""
        try:
            found = shim.identity(self.pid)
            state = shim.stat_fields(self.pid)[0]
        except OSError:
            return False
        return bool(found["start"] == self.start and found["boot"] == self.boot and state not in shim.ENDED)


class _ShimFile(msgspec.Struct, frozen=True):
    pid: int
    start: int
    boot: str
    child: _Process | None = None

    @property
    def process(self) -> _Process:
        return _Process(self.pid, self.start, self.boot)


class Attempt:
    """One attempt, under way or ended."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.folder = folder
        self.number = int(folder.name)
        self._process = process

    @property
    def pid(self) -> int | None:
        """The program's pid while it runs."""
        found = self._shim()
        return found.child.pid if found is not None and found.child is not None and found.child.alive() else None

    @property
    def running(self) -> bool:
        found = self._shim()
        return found is not None and found.process.alive()

    @property
    def started_at(self) -> str:
        try:
            seconds = (self.folder / "shim.json").stat().st_mtime
        except OSError:
            return ""
        return timestamp(datetime.fromtimestamp(seconds, UTC))

    @property
    def input(self) -> Path:
        """The named pipe to standard input, if the container has one."""
        return self.folder / "input"

    def ending(self) -> Ending | None:
        """How it ended; None while it runs."""
        try:
            return msgspec.json.decode((self.folder / "exit.json").read_bytes(), type=Ending)
        except (OSError, msgspec.MsgspecError):
            if self.running:
                return None
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # it may have ended between the two looks
            return msgspec.json.decode((self.folder / "exit.json").read_bytes(), type=Ending)
        return Ending(started_at=self.started_at, finished_at=self.started_at, unknown=True)

    async def wait(self) -> Ending:
        """Return when it has ended."""
        while (ended := self.ending()) is None:
            found = self._shim()
            if found is not None:
                await until_gone(found.pid)
            self._reap()
        self._reap()
        return ended

    def terminate(self) -> None:
        """Ask the program to end: SIGTERM. What it started is its own business, until it has ended."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program and everything it started."""
        self._signal(signal.SIGQUIT)

    def _signal(self, number: signal.Signals) -> None:
        found = self._shim()
        if found is not None and found.process.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, number)

    def _shim(self) -> _ShimFile | None:
        try:
            return msgspec.json.decode((self.folder / "shim.json").read_bytes(), type=_ShimFile)
        except (OSError, msgspec.MsgspecError):
            return None

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None


async def start(folder: Path, program: Program, log: Path) -> Attempt:
    """Start a program in a folder of its own; returns when it runs, or could not be started (see ``ending``)."""
    folder.mkdir(mode=0o700, parents=True)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    process = subprocess.Popen(  # our own script; what runs is decided by policy before
        [sys.executable, "-I", "-S", shim.__file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={},
    )
    specification: dict[str, Any] = {  # Any: JSON
        "program": program.path,
        "argv": list(program.argv),
        "env": program.env,
        "cwd": program.cwd,
        "uid": program.uid,
        "gid": program.uid,
        "nice": program.nice,
        "memory": program.memory,
        "log": str(log),
        "tty": program.tty,
        "stdin": program.stdin or program.tty,
    }
    await asyncio.to_thread(_hand_over, process, json.dumps(specification).encode())
    return Attempt(folder, process)


def _hand_over(process: subprocess.Popen[bytes], specification: bytes) -> None:
    if process.stdin is None or process.stdout is None:
        raise TypeError("the shim is started with pipes")
    with contextlib.suppress(OSError):
        process.stdin.write(specification)
        process.stdin.close()
    process.stdout.readline()
    process.stdout.close()


def attempts_in(folder: Path) -> list[Attempt]:
    """What a container's folder holds, oldest first."""
    try:
        numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    except OSError:
        return []
    return [Attempt(folder / str(number)) for number in numbers]


def drop_unstarted(folder: Path) -> None:
    """Remove an attempt whose shim never came to write who it is: nothing of it has run, and without its folder
    nothing will.
    """
    for attempt in attempts_in(folder):
        if not (attempt.folder / "shim.json").exists():
            shutil.rmtree(attempt.folder, ignore_errors=True)


def forget_old(folder: Path, logs: Path, newest: int) -> None:
    """Remove attempts and logs that nobody can ask for any more."""
    for old in attempts_in(folder):
        if old.number <= newest - _KEPT:
            shutil.rmtree(old.folder, ignore_errors=True)
            for path in logs.glob(f"{old.number}.log*"):
                path.unlink(missing_ok=True)


class Input:
    """Writes to a container's standard input."""

    def __init__(self, path: Path) -> None:
        """Raises OSError: the container has no input, or has ended."""
        self._end = os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    async def write(self, chunk: bytes) -> None:
        """Pass bytes on; waits while the program does not read."""
        step = 2048  # a frame that fits into a pipe's atomic write
        for begin in range(0, len(chunk), step):
            await self._frame(shim.INPUT_BYTES, chunk[begin : begin + step])

    async def end(self) -> None:
        """No more input: the program sees the end of its standard input."""
        await self._frame(shim.INPUT_END, b"")

    async def resize(self, *, rows: int, columns: int) -> None:
        await self._frame(shim.INPUT_SIZE, struct.pack(">HH", rows & 0xFFFF, columns & 0xFFFF))

    def close(self) -> None:
        os.close(self._end)

    async def _frame(self, kind: int, body: bytes) -> None:
        frame = struct.pack(">BI", kind, len(body)) + body
        while True:
            try:
                os.write(self._end, frame)
                return
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
            await asyncio.sleep(_POLL)
