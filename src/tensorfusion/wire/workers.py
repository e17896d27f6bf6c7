"""Worker processes on one port: started, watched over, replaced one by one, and ended without a lost request.

Each worker has a listener of its own on the port (SO_REUSEPORT): the system spreads connections evenly over them,
whereas of one listener that all share the quickest to wake takes most. The listeners belong to this process, which
hands them down: what was not accepted when a worker ends waits for the next one at the same listener, instead of being
reset. A replacement takes over the listener before the old one lets go of it.

A worker knows nothing of this but a descriptor to accept from, and one end of a pipe, its lifeline: it writes a byte
there when it is ready, and ends when the other end closes. So no worker outlives its supervisor, however that ended.

Blocking, like every supervisor here: it costs nothing, and has no loop that could hang.
"""

import contextlib
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

BACKLOG: Final = 1024
READY_SECONDS: Final = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_LOOK_SECONDS, _SHORT_LOOK_SECONDS = 0.5, 0.02
_SECONDS_BEHIND_DRAIN = 15.0
"""In which a worker tells its last clients, and writes what it has counted, before it is taken for hung."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    lifeline: socket.socket
    by: float
    """When it is given up: not ready, or not ended."""
    ready: bool = False
    ending: bool = False
    connected: bool = True
    """Its end of the lifeline is open."""

    @property
    def settled(self) -> bool:
        """Nothing is about to happen to it."""
        return self.ready and self.connected and not self.ending


@dataclass(slots=True)
class _Slot:
    """A listener and who accepts from it: for a moment, two."""

    number: int
    listener: socket.socket
    workers: list[_Worker] = field(default_factory=list)
    pause: float = 0.0
    start_at: float = 0.0


class Workers:
    """``command(listener, lifeline)`` is what a worker runs, given the numbers of its two descriptors.

    SIGTERM and SIGINT end them all, each within ``drain_seconds``; SIGHUP replaces them one after another.
    """

    def __init__(
        self,
        command: Callable[[int, int], Sequence[str]],
        *,
        count: int,
        host: str = "127.0.0.1",
        port: int = 0,
        drain_seconds: float = 30.0,
        say: Callable[[str], None],
    ) -> None:
        if count < 1:
            raise ValueError(f"{count} workers: wanted at least 1")
        self._command = command
        self._drain_seconds = drain_seconds
        self._tell = say
        self._stopping = False
        self._replace = False
        self._to_replace: list[_Slot] = []
        self._slots = [_Slot(number, each) for number, each in enumerate(listeners_on(host, port, count))]
        self.port = int(self._slots[0].listener.getsockname()[1])
        """The one that the system chose, for 0."""

    def run(self) -> None:
        """Keep them running until told to end. In the main thread."""
        with self._signals() as told:
            try:
                while not self._stopping:
                    self._tend(time.monotonic())
                    self._wait(told)
            finally:
                self._end_all(told)
                for slot in self._slots:
                    slot.listener.close()

    def _tend(self, now: float) -> None:
        for slot in self._slots:
            for worker in tuple(slot.workers):
                self._look_at(slot, worker, now)
            if all(worker.ending for worker in slot.workers) and now >= slot.start_at:
                self._start(slot, now)
        if self._replace:
            self._replace = False
            self._to_replace = list(self._slots)
            self._say("replacing the workers one after another")
        if self._to_replace and all(worker.settled for slot in self._slots for worker in slot.workers):
            self._start(self._to_replace.pop(0), now)

    def _look_at(self, slot: _Slot, worker: _Worker, now: float) -> None:
        """Notice that it is ready, or has ended, or hangs."""
        others = [other for other in slot.workers if other is not worker and not other.ending]
        self._listen(worker)
        if worker.ready and not worker.ending and others and worker is slot.workers[-1]:
            for other in others:
                self._end(other, now)
        status = worker.process.poll()
        name = f"worker {slot.number} (pid {worker.process.pid})"
        if status is not None:
            slot.workers.remove(worker)
            worker.lifeline.close()
            if worker.ending:
                return
            if others and worker.ready:
                self._say(f"{name} {_how(status)}: its successor is on its way")
                return
            if others:
                self._to_replace = []
                self._say(f"{name} {_how(status)} before it was ready: the old ones stay")
                return
            if worker.ready:
                slot.pause = 0.0
            self._later(slot, now, f"{name} {_how(status)}")
        elif now >= worker.by and (worker.ending or not worker.ready):
            self._say(f"{name} {'did not end' if worker.ending else 'was not ready'} in time: killed")
            worker.process.kill()
            worker.by = float("inf")

    def _listen(self, worker: _Worker) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            if worker.connected and not worker.lifeline.recv(1):
                worker.connected = False
            elif worker.connected and not worker.ready:
                worker.ready = True
                self._say(f"worker with pid {worker.process.pid} is ready")

    def _later(self, slot: _Slot, now: float, why: str) -> None:
        slot.pause = min(max(slot.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        slot.start_at = now + slot.pause
        self._say(f"{why}: the next one starts in {slot.pause:g} s")

    def _start(self, slot: _Slot, now: float) -> None:
        """Start one more; where the system does not let us, those that are there go on."""
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                descriptors = (slot.listener.fileno(), theirs.fileno())
                try:
                    process = subprocess.Popen(  # noqa: S603 - ours
                        self._command(*descriptors), stdin=subprocess.DEVNULL, pass_fds=descriptors
                    )
                except BaseException:
                    ours.close()
                    raise
        except OSError as error:
            why = f"a worker {slot.number} cannot be started: {error}"
            if all(worker.ending for worker in slot.workers):
                self._later(slot, now, why)
            else:
                self._to_replace = []
                self._say(f"{why}: the old ones stay")
            return
        ours.setblocking(False)
        slot.workers.append(_Worker(process, ours, now + READY_SECONDS))

    def _say(self, line: str) -> None:
        """Whoever listens no longer must not end the workers."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: a closed file
            self._tell(line)

    def _end(self, worker: _Worker, now: float) -> None:
        worker.ending = True
        worker.by = now + self._drain_seconds + _SECONDS_BEHIND_DRAIN
        worker.process.terminate()

    def _end_all(self, told: socket.socket) -> None:
        now = time.monotonic()
        for slot in self._slots:
            for worker in slot.workers:
                if not worker.ending:
                    self._end(worker, now)
        while any(slot.workers for slot in self._slots):
            for slot in self._slots:
                for worker in tuple(slot.workers):
                    self._look_at(slot, worker, time.monotonic())
            self._wait(told)

    def _wait(self, told: socket.socket) -> None:
        """Until something may have happened."""
        workers = [worker for slot in self._slots for worker in slot.workers]
        lifelines = [worker.lifeline for worker in workers if worker.connected]
        settled = all(worker.settled for worker in workers) and all(slot.workers for slot in self._slots)
        if not workers and self._stopping:
            return
        found, _, _ = select.select([told, *lifelines], [], [], _LOOK_SECONDS if settled else _SHORT_LOOK_SECONDS)
        if told in found:
            told.recv(64)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Remember what we are told, and wake up for it."""
        told, tell = socket.socketpair()
        tell.setblocking(False)
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        fileno = signal.set_wakeup_fd(tell.fileno())
        try:
            yield told
        finally:
            signal.set_wakeup_fd(fileno)
            for number, handler in before.items():
                signal.signal(number, handler)
            told.close()
            tell.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._replace = True
        else:
            self._stopping = True


def listeners_on(host: str, port: int, count: int) -> list[socket.socket]:
    """So many that share one port. Raises OSError."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:  # listeners that share would not mind another's
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            listener = socket.socket(family, socket.SOCK_STREAM)
            found.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, port))
            port = int(listener.getsockname()[1])
        for listener in found:
            listener.listen(BACKLOG)
    except BaseException:
        for listener in found:
            listener.close()
        raise
    return found


def _how(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
