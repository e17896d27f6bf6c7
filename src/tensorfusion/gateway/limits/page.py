"""Memory that the worker processes of a host share: who may write, what time it is, who is alive.

One file, mapped by every worker. It outlives any of them, so that a restart forgets nothing, and goes with the last one
if there is nothing to forget; it lies in memory (``/dev/shm``), so that nothing waits for a disk, and a restart of the
machine begins anew.

**Lock.** ``flock`` on the file, taken without waiting: two system calls, about a microsecond. It belongs to the open
file: the kernel gives it back when its holder dies, however that was. A holder that is stopped in the few microseconds
that it holds the lock (by a debugger, a frozen container) is waited for ``wait_seconds``; then ``PageBusy`` is raised,
and the caller goes on without. Rejected: an OFD record lock on a byte, which costs nearly twice that; a robust mutex,
which costs less, but is a layout of the C library in a file that outlives processes.

**Torn writes.** A process may be killed between any two stores. Each store is one aligned word of 8 bytes, which no
processor tears. The word ``BUSY`` is set while somebody writes: who takes the lock and finds it set knows that its
predecessor died in between, and runs ``recover`` (see ``table``) before anything else.

**Life.** A worker holds an OFD record lock on a byte of its own for as long as it lives; who can take that lock knows
that the worker is dead. The page has its process id and start time, too, but for people: in two containers that share
the file, process ids mean different processes, and a test by them would declare the living dead.

**Time.** ``CLOCK_MONOTONIC`` is one for all processes. Should it go back all the same (a machine that was moved), time
here goes on from where it was: neither do buckets fill, nor does anybody wait for it to catch up.
"""

import fcntl
import mmap
import os
import stat
import struct
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tensorfusion.errors import ConfigError, TensorFusionError
from tensorfusion.gateway.limits.rules import TICKS_PER_NS, TICKS_PER_SECOND

MOST_WORKERS: Final = 64
ENTRIES: Final = 2048
"""Counters that one worker can have requests in flight on, at once."""
ENTRY_WORDS: Final = 4
RECORD_WORDS: Final = 8
WAYS: Final = 16
"""Records of a set: see ``table``."""
WAIT_SECONDS: Final = 0.25

_MAGIC: Final = 0x7466_6C69_6D69_7402
"""``tflimit`` and the version of the layout."""
MAGIC, BOOT, SIZE, BUSY, SEEN, OFFSET, RECOVERED = range(7)
"""Words of the header: what it is, since when, how many records; the last four are the lock's, the clock's, a count."""
_HEADER_WORDS: Final = 512
_WORKER_WORDS: Final = 8
USED, PID, STARTED = range(3)
"""Words of a worker."""
_WORKERS_AT: Final = _HEADER_WORDS
ENTRIES_AT: Final = _WORKERS_AT + MOST_WORKERS * _WORKER_WORDS
RECORDS_AT: Final = ENTRIES_AT + MOST_WORKERS * ENTRIES * ENTRY_WORDS

_LIVES_AT: Final = 1 << 40
"""Behind the end of the file: locks are on numbers, not on bytes."""
_FLOCK: Final = "hhqqi4x"  # struct flock: type, whence, start, length, pid
_YIELDS: Final = 16
_PAUSE: Final = 50e-6
_JUMP: Final = TICKS_PER_SECOND


class PageBusy(TensorFusionError):
    """Somebody holds the page and does not go on."""

    retryable = True


_flock, _TAKE, _GIVE = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
_fcntl, _SETLK = fcntl.fcntl, fcntl.F_OFD_SETLK


def _life(worker: int, kind: int = fcntl.F_WRLCK) -> bytes:
    """The lock that a worker holds while it lives."""
    return struct.pack(_FLOCK, kind, os.SEEK_SET, _LIVES_AT + worker, 1, 0)


class Page:
    """``path`` None is memory of this process alone. ``words`` are the file, as signed 64-bit integers."""

    def __init__(
        self,
        path: Path | None,
        *,
        records: int = 32768,
        clock: Callable[[], int] = time.monotonic_ns,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Open the file, or make it. The lock is held behind it: until this process has its place (``enter``), nobody
        may take the file for one that nobody uses.

        Raises:
            ConfigError: it cannot be used: not ours, of another size or version while others use it, or no room; or
                ``records`` is no power of two.
            PageBusy: the file is held by somebody.
        """
        sets = records // WAYS
        if sets < 2 or sets & (sets - 1) or sets * WAYS != records:
            raise ConfigError(f"{records} counters: wanted a power of two, 32 or more")
        self.records = records
        self._clock = clock
        self.wait_seconds = wait_seconds
        self._name = str(path) if path is not None else "memory"
        self._size = 8 * (RECORDS_AT + records * RECORD_WORDS)
        self.worker = -1
        self._path = path
        self._fd = _open(path) if path is not None else os.memfd_create("limits", os.MFD_CLOEXEC)
        try:
            self._take()
            while path is not None and os.fstat(self._fd).st_nlink == 0:  # the last worker took it away meanwhile
                os.close(self._fd)
                self._fd = _open(path)
                self._take()
            self._map = self._prepare()
        except BaseException:
            os.close(self._fd)
            raise
        self.words = memoryview(self._map).cast("q")
        weak = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(weak))

    def _prepare(self) -> mmap.mmap:
        """Bring the file to its size, and begin it anew if it is another's that nobody uses."""
        found = os.fstat(self._fd).st_size
        boot = _boot()
        if found != self._size or not self._is_ours(boot):
            if found and any(not self._is_dead(worker) for worker in range(MOST_WORKERS)):
                raise ConfigError(
                    f"{self._name}: is used by gateways of another version or size: end them first, or give this "
                    "one a file of its own"
                )
            self._begin(boot)
        return mmap.mmap(self._fd, self._size)

    def _is_ours(self, boot: int) -> bool:
        return struct.unpack("qqq", os.pread(self._fd, 24, 0)) == (_MAGIC, boot, self.records)

    def _begin(self, boot: int) -> None:
        os.ftruncate(self._fd, 0)
        try:
            os.posix_fallocate(self._fd, 0, self._size)  # now, or a store would be the one to find the memory full
        except OSError as error:
            raise ConfigError(f"{self._name}: no room for {self._size >> 20} MiB: {error.strerror}") from error
        os.pwrite(self._fd, struct.pack("qqq", _MAGIC, boot, self.records), 0)

    # -- the lock ------------------------------------------------------------------------------------------------

    def acquire(self) -> bool:
        """Take the page; True if the one before died while it wrote.

        Raises:
            PageBusy: it is held, and was for ``wait_seconds``.
        """
        try:
            _flock(self._fd, _TAKE)
        except OSError:
            self._take()
        words = self.words
        if words[BUSY]:
            return True
        words[BUSY] = 1
        return False

    def mark(self) -> bool:
        """Say that something is about to be written; True if the one before died while it wrote. With the lock."""
        words = self.words
        if words[BUSY]:
            return True
        words[BUSY] = 1
        return False

    def release(self) -> None:
        """Give the page back. Everything that belongs together is written."""
        self.words[BUSY] = 0
        _flock(self._fd, _GIVE)

    def abandon(self) -> None:
        """Give the page back as if this process had died: who comes next puts in order what is half written."""
        _flock(self._fd, _GIVE)

    def _take(self) -> None:
        """Try again until it is taken: others hold it for microseconds, unless they are not let run."""
        by = time.monotonic() + self.wait_seconds
        tries = 0
        while True:
            try:
                _flock(self._fd, _TAKE)
            except BlockingIOError as error:
                tries += 1
                if tries <= _YIELDS:
                    os.sched_yield()
                elif time.monotonic() >= by:
                    raise PageBusy(f"{self._name}: was not free within {self.wait_seconds:g} s") from error
                else:
                    time.sleep(_PAUSE)  # not in the loop's way: at most what the holder has left
            else:
                return

    # -- the clock -----------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Ticks, never fewer than anybody saw before. Only with the lock: who reads it later sees no less."""
        words = self.words
        now = self._clock() * TICKS_PER_NS + words[OFFSET]
        seen = words[SEEN]
        if now >= seen:
            words[SEEN] = now
            return now
        if seen - now > _JUMP:
            words[OFFSET] += seen - now
        return seen

    # -- who is alive --------------------------------------------------------------------------------------------

    def enter(self, reclaim: Callable[[int], None]) -> None:
        """Take a worker's place; ``reclaim`` gives back what a dead one in it held. With the lock.

        Raises:
            ConfigError: all places are taken by the living.
        """
        for worker in range(MOST_WORKERS):
            if not self._is_dead(worker):
                continue
            if self.words[self.worker_at(worker) + USED]:
                reclaim(worker)
            _fcntl(self._fd, _SETLK, _life(worker))
            at = self.worker_at(worker)
            self.words[at + PID], self.words[at + STARTED] = os.getpid(), _started()
            self.words[at + USED] = 1
            self.worker = worker
            return
        raise ConfigError(f"{self._name}: is used by {MOST_WORKERS} workers, the most there can be")

    def leave(self) -> None:
        """Give the place back. With the lock."""
        self.words[self.worker_at(self.worker) + USED] = 0
        _fcntl(self._fd, _SETLK, _life(self.worker, fcntl.F_UNLCK))
        self.worker = -1

    def dead(self) -> list[int]:
        """Workers that have ended without giving their places back. With the lock."""
        others = (worker for worker in range(MOST_WORKERS) if worker != self.worker)
        return [each for each in others if self.words[self.worker_at(each) + USED] and self._is_dead(each)]

    def workers(self) -> list[tuple[int, int]]:
        """Process ids and start times (clock ticks since the machine's start) of those who have places."""
        places = (self.worker_at(worker) for worker in range(MOST_WORKERS))
        return [(self.words[at + PID], self.words[at + STARTED]) for at in places if self.words[at + USED]]

    @staticmethod
    def worker_at(worker: int) -> int:
        """Where a worker's words begin."""
        return _WORKERS_AT + worker * _WORKER_WORDS

    def _is_dead(self, worker: int) -> bool:
        """Nobody holds the place's own lock."""
        if worker == self.worker:
            return False
        try:
            _fcntl(self._fd, _SETLK, _life(worker))
        except (BlockingIOError, PermissionError):
            return False
        _fcntl(self._fd, _SETLK, _life(worker, fcntl.F_UNLCK))
        return True

    def remove(self) -> None:
        """Take the file away, if nobody has a place in it. With the lock: who opens it meanwhile will see."""
        if self._path is not None and not self.workers():
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmap and close. Its locks go with it."""
        if self._fd >= 0:
            self.words.release()
            self._map.close()
            os.close(self._fd)
            self._fd = -1


def _open(path: Path) -> int:
    """The file, which must be ours: others can write where shared memory lies.

    Raises:
        ConfigError: it cannot be opened, or is somebody else's.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be opened: {error.strerror}") from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        os.close(fd)
        raise ConfigError(f"{path}: wanted a file of this user that no other can write: remove it, or name another")
    return fd


def _forget(page: "weakref.ref[Page]") -> None:
    """In a child that was forked: a copy of the descriptor would keep the parent's locks beyond its death.

    A map has a copy of its own, so it goes, too.
    """
    found = page()
    if found is not None:
        found.close()


def _boot() -> int:
    """The machine's present run; 0 where it cannot be told."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return 0
    return int(text.replace("-", "")[:15], 16)


def _started() -> int:
    """When this process began, in clock ticks since the machine's start; 0 where it cannot be told.

    Source: proc(5), field 22 of stat.
    """
    try:
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
