"""Run one container's program and outlive the node process: logs, the memory limit and the exit code are kept here.

Started as a script of its own by ``attempts``, with a folder as argument and the whole specification on standard input,
so that no environment value is ever seen in a command line. Standard library only: one runs for each container, and
its start is part of every container's start. It is the reaper of everything its program leaves behind, so nothing
survives it: when it is killed, the kernel kills the program.

With ``--exec`` it becomes a command that runs beside such a program, for probes, hooks and ``kubectl exec``; the
specification is then on a descriptor and standard input, output and error are the command's.

Signals: TERM is passed on to the program, QUIT kills the whole tree. What the program leaves behind is killed too.

In the folder: ``shim.json`` (who runs), ``exit.json`` (how it ended), ``input`` (a named pipe, with stdin or tty).
The log has lines ``TIME STREAM F|P TEXT``; P is a line that goes on.

Source: the log format of the container runtime interface.
"""

import ctypes
import errno
import fcntl
import json
import os
import pty
import resource
import selectors
import signal
import struct
import sys
import termios
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SUBREAPER, _DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 36, 1, 38
_CHUNK = 1 << 16
_LONGEST_PART = 16 << 10
_LOG_BYTES, _LOG_FILES = 10 << 20, 5
_WATCH_EVERY = 0.2
_DRAIN_SECONDS = 1.0
_KILL_SECONDS = 5.0
_KILLED_FIRST = "500"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FRAME = struct.Struct(">BI")
INPUT_BYTES, INPUT_END, INPUT_SIZE = 0, 1, 2
"""Kinds of frames in the named pipe: bytes, the end of input, the size of the terminal (two shorts: rows, columns)."""

ENDED = (b"Z", b"X")
"""States of a process that has ended and is not collected yet."""
_HANDLED = (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)


class Log:
    """One container's log, cut at ten MiB; the last five files are kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size
        self._rest: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def add(self, stream: str, chunk: bytes, *, whole: bool) -> None:
        """Write the lines of a chunk; what is no whole line yet is written only when ``whole`` is false, as a part."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()
        head = now + b" " + stream.encode() + b" "
        lines = (self._rest[stream] + chunk).split(b"\n")
        rest = lines.pop()
        out = []
        for line in lines:
            while len(line) > _LONGEST_PART:
                out.append(head + b"P " + line[:_LONGEST_PART] + b"\n")
                line = line[_LONGEST_PART:]  # noqa: PLW2901  # the rest of the same line
            out.append(head + b"F " + line + b"\n")
        while len(rest) > _LONGEST_PART or (rest and not whole):
            out.append(head + b"P " + rest[:_LONGEST_PART] + b"\n")
            rest = rest[_LONGEST_PART:]
        self._rest[stream] = rest
        if out:
            self._write(b"".join(out))

    def end(self) -> None:
        for stream in self._rest:
            self.add(stream, b"", whole=False)
        os.close(self._file)

    def _write(self, text: bytes) -> None:
        try:
            os.write(self._file, text)
        except OSError:
            return  # a full disk loses output, not the program
        self._size += len(text)
        if self._size >= _LOG_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        for number in range(_LOG_FILES - 1, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            if Path(older).exists():
                os.replace(older, f"{self._path}.{number}")
        os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0


class Shim:
    """One program from its start to its end."""

    def __init__(self, folder: str, spec: dict[str, Any]) -> None:  # Any: JSON
        self._folder = folder
        self._spec = spec
        self._log = Log(spec["log"])
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, str] = {}
        self._master = self._feed = self._input = -1
        self._pending = bytearray()
        self._frames = bytearray()
        self._feed_ends = False
        self._status: int | None = None
        self._out_of_memory = False
        self._started_at = self._finished_at = ""

    def run(self) -> None:
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        wakeup_read, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._write_json("shim.json", identity(os.getpid()))
        self._started_at = _now()
        failure = self._start()
        if failure:
            self._finish(start_error=failure)
            return
        self._write_json("shim.json", {**identity(os.getpid()), "child": identity(self._child)})
        _say("started")
        self._selector.register(wakeup_read, selectors.EVENT_READ, "signal")
        self._loop(wakeup_read)
        self._finish()

    # --- starting ---

    def _start(self) -> str:
        """Fork and execute; the reason when that fails."""
        spec = self._spec
        if not spec["program"]:
            return f'exec: "{spec["argv"][0]}": executable file not found in $PATH'
        error_read, error_write = os.pipe2(os.O_CLOEXEC)
        if spec["tty"]:
            self._master, slave = pty.openpty()
            ends = (slave, slave, slave)
            ours = {self._master: "stdout"}
            self._feed = os.dup(self._master) if spec["stdin"] else -1
        else:
            out_read, out_write = os.pipe2(os.O_CLOEXEC)
            err_read, err_write = os.pipe2(os.O_CLOEXEC)
            ours = {out_read: "stdout", err_read: "stderr"}
            if spec["stdin"]:
                in_read, self._feed = os.pipe2(os.O_CLOEXEC)
            else:
                in_read = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            ends = (in_read, out_write, err_write)
        self._child = os.fork()
        if self._child == 0:
            self._become(ends, error_write)
        for end in {*ends, error_write}:
            os.close(end)
        failure = _read_all(error_read).decode(errors="replace")
        if failure:
            os.waitpid(self._child, 0)
            return failure
        for end, stream in ours.items():
            os.set_blocking(end, False)
            self._open[end] = stream
            self._selector.register(end, selectors.EVENT_READ, "output")
        if spec["stdin"]:
            self._open_input()
        return ""

    def _become(self, ends: tuple[int, int, int], error: int) -> None:
        """In the child: turn into the program. Never returns."""
        spec = self._spec
        try:
            parent = os.getppid()
            os.setsid()
            for number, end in enumerate(ends):
                os.dup2(end, number)
            if spec["tty"]:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in (*_HANDLED, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            _execute(spec, parent)
        except OSError as problem:
            os.write(error, f"{problem.filename or spec['program']}: {problem.strerror}".encode())
        except ValueError as problem:
            os.write(error, str(problem).encode())
        os._exit(127)

    def _open_input(self) -> None:
        path = os.path.join(self._folder, "input")  # pathlib is a part of the start-up time
        os.mkfifo(path, 0o600)
        self._input = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(self._feed, False)
        self._selector.register(self._input, selectors.EVENT_READ, "input")

    # --- running ---

    def _loop(self, wakeup: int) -> None:
        memory = self._spec["memory"]
        deadline = None
        while self._status is None or self._open:
            if self._status is not None and deadline is None:
                _kill_tree()
                deadline = time.monotonic() + _DRAIN_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                break  # somebody outside the tree holds the pipe
            timeout = _WATCH_EVERY if memory or deadline is not None else None
            for key, _ in self._selector.select(timeout):
                self._serve(key, wakeup)
            if memory and self._status is None and _anonymous_bytes() > memory:
                self._out_of_memory = True
                _kill_tree()
            self._reap()

    def _serve(self, key: selectors.SelectorKey, wakeup: int) -> None:
        match key.data:
            case "signal":
                self._on_signals(os.read(wakeup, 512))
            case "output":
                self._read_output(key.fd)
            case "input":
                self._read_input()
            case "feed":
                self._write_feed()

    def _on_signals(self, numbers: bytes) -> None:
        if signal.SIGQUIT in numbers:
            _kill_tree()
        elif signal.SIGTERM in numbers and self._status is None:
            try:
                os.kill(self._child, signal.SIGTERM)
            except OSError:
                pass

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._status = status
                self._finished_at = _now()

    def _read_output(self, end: int) -> None:
        try:
            chunk = os.read(end, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""  # a terminal whose other side is closed
        if chunk:
            self._log.add(self._open[end], chunk, whole=not (self._spec["tty"] or self._spec["stdin"]))
        else:
            self._selector.unregister(end)
            os.close(end)
            del self._open[end]

    def _read_input(self) -> None:
        self._frames += os.read(self._input, _CHUNK)
        while len(self._frames) >= _FRAME.size:
            kind, length = _FRAME.unpack_from(self._frames)
            if len(self._frames) < _FRAME.size + length:
                break
            body = bytes(self._frames[_FRAME.size : _FRAME.size + length])
            del self._frames[: _FRAME.size + length]
            if kind == INPUT_BYTES:
                self._pending += body
            elif kind == INPUT_END:
                self._feed_ends = True
            elif kind == INPUT_SIZE and self._master >= 0 and length == 4:
                rows, columns = struct.unpack(">HH", body)
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._write_feed()

    def _write_feed(self) -> None:
        """Pass input on; while the program does not read, nothing more is taken from the pipe."""
        if self._feed < 0:
            self._pending.clear()
            return
        blocked = False
        while self._pending and not blocked:
            try:
                written = os.write(self._feed, self._pending[:_CHUNK])
                del self._pending[:written]
            except BlockingIOError:
                blocked = True
            except OSError:
                self._pending.clear()
                self._feed_ends = True
        registered = self._feed in self._selector.get_map()
        if blocked and not registered:
            self._selector.register(self._feed, selectors.EVENT_WRITE, "feed")
            self._selector.unregister(self._input)
        elif not blocked and registered:
            self._selector.unregister(self._feed)
            self._selector.register(self._input, selectors.EVENT_READ, "input")
        if self._feed_ends and not self._pending:
            if self._master < 0:
                os.close(self._feed)
                self._feed = -1
            self._feed_ends = False

    # --- ending ---

    def _finish(self, *, start_error: str = "") -> None:
        _kill_tree()
        self._log.end()
        status = self._status
        ending = {
            "startedAt": self._started_at,
            "finishedAt": self._finished_at or _now(),
            "code": 128 if start_error else _exit_code(status),
            "signal": os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else 0,
            "outOfMemory": self._out_of_memory,
            "startError": start_error,
        }
        self._write_json("exit.json", ending)
        _say("failed" if start_error else "ended")

    def _write_json(self, name: str, value: dict[str, Any]) -> None:  # Any: JSON
        path = os.path.join(self._folder, name)
        with open(f"{path}.new", "w") as file:
            json.dump(value, file)
        os.replace(f"{path}.new", path)


def _execute(spec: dict[str, Any], parent: int) -> None:  # Any: JSON
    """Become the specified program, as its user, without a way to more rights, killed when ``parent`` ends."""
    os.umask(0o022)
    try:  # when the machine itself is short of memory, workloads go before the cluster
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(_KILLED_FIRST)
    except OSError:
        pass
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if spec["nice"]:
        os.nice(spec["nice"])
    if spec["uid"] is not None:
        os.setgroups([])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
    _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.chdir(spec["cwd"])
    os.execve(spec["program"], spec["argv"], spec["env"])


def execute_beside() -> None:
    """``--exec``: become a command with the standard input, output and error that are there."""
    with os.fdopen(int(sys.argv[2])) as file:
        spec = json.load(file)
    if spec["tty"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    try:
        _execute(spec, spec["parent"])
    except (OSError, ValueError) as problem:
        os.write(2, f"{problem}\n".encode())
    os._exit(126)


def identity(pid: int) -> dict[str, Any]:  # Any: JSON
    """A process so that a reused number is not taken for it: pid, start time, boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"pid": pid, "start": int(stat_fields(pid)[19]), "boot": boot}


def stat_fields(pid: int) -> list[bytes]:
    """What ``/proc/PID/stat`` says after the name, the state first.

    Bytes, because the name is whatever bytes the process gave itself, parentheses and half letters included.

    Raises:
        OSError: there is no such process.

    Source: proc_pid_stat(5), field 3 and on.
    """
    return fields_after_name(Path(f"/proc/{pid}/stat").read_bytes())


def fields_after_name(stat: bytes) -> list[bytes]:
    """The fields of a ``stat`` after the name.

    Raises:
        ProcessLookupError: there are none: the process went between the opening of the file and its reading.
    """
    fields = stat.rpartition(b")")[2].split()
    if not fields:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return fields


def _exit_code(status: int | None) -> int:
    if status is None:
        return 137
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _descendants() -> list[int]:
    """Everything below this process; orphans included, because it is their reaper."""
    found: list[int] = []
    ahead = [os.getpid()]
    while ahead:
        pid = ahead.pop()
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    children = [int(child) for child in file.read().split()]
                found += children
                ahead += children
        except OSError:
            continue
    return found


def _anonymous_bytes() -> int:
    """Memory of the tree that no file backs."""
    pages = 0
    for pid in _descendants():
        try:
            with open(f"/proc/{pid}/statm") as file:
                _, resident, shared, *_ = file.read().split()
        except (OSError, ValueError):
            continue
        pages += max(0, int(resident) - int(shared))
    return pages * _PAGE


def _kill_tree() -> None:
    """Kill everything below; children that are ended are left to be reaped by the caller."""
    deadline = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        alive = [pid for pid in _descendants() if not _ended(pid)]
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.005)


def _ended(pid: int) -> bool:
    try:
        return stat_fields(pid)[0] in ENDED
    except OSError:
        return True


def _read_all(end: int) -> bytes:
    chunks = []
    while chunk := os.read(end, 4096):
        chunks.append(chunk)
    os.close(end)
    return b"".join(chunks)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(word: str) -> None:
    """Tell the node process, if it still listens."""
    try:
        os.write(1, f"{word}\n".encode())
    except OSError:
        pass


def main() -> None:
    if sys.argv[1] == "--exec":
        execute_beside()
    text = sys.stdin.read()
    if not text:
        return  # the node process ended before it said what to run
    Shim(sys.argv[1], json.loads(text)).run()


if __name__ == "__main__":
    main()
