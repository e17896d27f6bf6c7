"""Commands that run beside a container's program, in its environment and as its user: exec, probes and hooks.

They are children of the node process and end with it; they also end with their container, because they carry its
pod's mark.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorfusion.embedded.processes import shim
from tensorfusion.embedded.processes.images import find_program
from tensorfusion.embedded.processes.pipes import chunks, until_gone, write_all
from tensorfusion.errors import BadRequest

_MOST_OUTPUT = 10 << 10
_DRAIN = 0.2


@dataclass(frozen=True, slots=True)
class Context:
    """Where a command runs: the environment, folder and user of a container."""

    env: dict[str, str]
    cwd: str
    uid: int | None

    @classmethod
    def of(cls, pid: int, *, cwd: str, uid: int | None) -> "Context":
        """That of a running program.

        Raises:
            OSError: it has ended.
        """
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        pairs = (entry.decode("utf-8", "surrogateescape").partition("=") for entry in entries if b"=" in entry)
        return cls({name: value for name, _, value in pairs}, cwd, uid)


class Session:
    """One command under way. ``output`` and ``error`` are non-blocking descriptors; with a terminal there is one."""

    def __init__(self, command: Sequence[str], context: Context, *, stdin: bool, tty: bool) -> None:
        """Start it.

        Raises:
            BadRequest: there is no such program.
        """
        program = find_program(command[0], context.env.get("PATH", ""), cwd=context.cwd, uid=context.uid)
        if program is None:
            raise BadRequest(f'exec: "{command[0]}": executable file not found in $PATH')
        self.tty = tty
        self._open: set[int] = set()
        self.input = self.error = -1
        if tty:
            self.output, theirs = pty.openpty()
            self.input = os.dup(self.output) if stdin else -1
            ends = (theirs, theirs, theirs)
        else:
            self.output, out = os.pipe2(os.O_CLOEXEC)
            self.error, err = os.pipe2(os.O_CLOEXEC)
            into = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            if stdin:
                os.close(into)
                into, self.input = os.pipe2(os.O_CLOEXEC)
            ends = (into, out, err)
        for descriptor in (self.input, self.output, self.error):
            if descriptor >= 0:
                os.set_blocking(descriptor, False)
                self._open.add(descriptor)
        try:
            self._process = _launch(program, command, context, ends=ends, tty=tty)
        except BaseException:
            self.close()
            raise
        finally:
            for end in set(ends):
                os.close(end)

    async def write(self, data: bytes) -> None:
        """Pass input on. A command that reads no more loses it."""
        if self.input in self._open:
            try:
                await write_all(self.input, data)
            except OSError:
                self._close(self.input)

    def end_input(self) -> None:
        """The command sees the end of its input; a terminal gets its end-of-input character."""
        if self.tty and self.input in self._open:
            with contextlib.suppress(OSError):
                os.write(self.input, b"\x04")
        self._close(self.input)

    def resize(self, *, rows: int, columns: int) -> None:
        if self.tty and self.output in self._open:
            size = struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.output, termios.TIOCSWINSZ, size)

    async def wait(self) -> int:
        """The exit code, 128 and the signal's number when it was killed."""
        while (status := self._process.poll()) is None:
            await until_gone(self._process.pid)
        return status if status >= 0 else 128 - status

    def kill(self) -> None:
        """Kill it and its group."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        for descriptor in tuple(self._open):
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.discard(descriptor)
            os.close(descriptor)


async def run_command(command: Sequence[str], context: Context, *, timeout: float | None) -> tuple[int, str]:
    """Run a command to its end; its exit code and the beginning of what it wrote.

    Raises:
        BadRequest: there is no such program.
        TimeoutError: it took too long, and was killed.
    """
    session = Session(command, context, stdin=False, tty=False)
    try:
        async with asyncio.timeout(timeout):
            readers = [asyncio.create_task(_collect(end)) for end in (session.output, session.error)]
            try:
                code = await session.wait()
                await asyncio.wait(readers, timeout=_DRAIN)
            finally:
                for reader in readers:
                    reader.cancel()
                written = await asyncio.gather(*readers, return_exceptions=True)
    finally:
        session.kill()
        await session.wait()
        session.close()
    text = b"".join(part for part in written if isinstance(part, bytes))
    return code, text.decode("utf-8", "replace")


async def _collect(descriptor: int) -> bytes:
    held = bytearray()
    with contextlib.suppress(asyncio.CancelledError):
        async for chunk in chunks(descriptor):
            held += chunk[: _MOST_OUTPUT - len(held)]
    return bytes(held)


def _launch(
    program: str, command: Sequence[str], context: Context, *, ends: tuple[int, int, int], tty: bool
) -> subprocess.Popen[bytes]:
    specification: dict[str, Any] = {  # Any: JSON
        "program": program,
        "argv": list(command),
        "env": context.env,
        "cwd": context.cwd,
        "uid": context.uid,
        "gid": context.uid,
        "nice": 0,
        "tty": tty,
        "parent": os.getpid(),
    }
    sheet = os.memfd_create("command", os.MFD_CLOEXEC)
    with os.fdopen(sheet, "wb", closefd=False) as file:
        file.write(json.dumps(specification).encode())
    os.lseek(sheet, 0, os.SEEK_SET)
    try:
        return subprocess.Popen(  # our own script; the caller has been authorized
            [sys.executable, "-I", "-S", shim.__file__, "--exec", str(sheet)],
            stdin=ends[0],
            stdout=ends[1],
            stderr=ends[2],
            pass_fds=(sheet,),
            start_new_session=True,
            cwd="/",
            env={},
        )
    finally:
        os.close(sheet)
