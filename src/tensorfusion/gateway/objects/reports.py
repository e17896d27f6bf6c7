"""What the workers of a host have counted, for the one of them that writes it down.

Each worker puts a report into a folder in memory, about once a second and when it ends: a file that is replaced as a
whole. Reports hold totals since the worker began, never differences, so one may be read twice or missed. How much of
them is in the status of routes already, the ledger says; see there.

A worker is alive while it holds the lock on a file beside its report. The report of a dead one stays until all of it is
written down.

Rejected: words in the page of the limits: what is told of a target is text, and has no bound that fits a fixed layout.
"""

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.policy.routing.latencies import merged
from tensorfusion.policy.routing.route_stats import Totals
from tensorfusion.policy.routing.state import TargetReport

_REPORT, _ALIVE = ".report", ".alive"


class RouteReport(msgspec.Struct, frozen=True, gc=False):
    """One worker's, of one route. ``uid`` is the object's: another one of the same name is another route."""

    uid: str
    totals: Totals
    seconds: float = 0.0
    latencies: dict[int, int] = {}
    active: str = ""
    active_at: float = 0.0
    targets: tuple[TargetReport, ...] = ()


class Report(msgspec.Struct, frozen=True, gc=False):
    """One worker's."""

    worker: str
    routes: tuple[RouteReport, ...] = ()


_decoder: Final = msgspec.json.Decoder(Report)
_encoder: Final = msgspec.json.Encoder()


def folder_for(origin: str) -> Path:
    """Where the workers of a host that serve one cluster report: in memory, apart for each user."""
    return Path("/dev/shm") / f"tensorfusion-{os.geteuid()}-{origin}.routes"  # noqa: S108 - it must be ours: see own


def own(folder: Path) -> Path:
    """The folder, made if it is not there, which must be ours.

    Raises:
        ConfigError: it cannot be used, or is somebody else's.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigError(f"{folder}: wanted a folder of this user that no other can write: remove it")
    return folder


class Reporter:
    """One worker's place in the folder. Close it at the end."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError: there is no room."""
        self.worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = folder
        self._told = b""
        path = folder / (self.worker + _ALIVE)
        fresh = path.with_suffix(".new")  # it gets its name locked: nobody may take this worker for dead before
        self._alive = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        fresh.rename(path)

    def put(self, routes: Iterable[RouteReport]) -> None:
        """Replace the report. What cannot be written is with the next one."""
        data = _encoder.encode(Report(self.worker, tuple(routes)))
        if data == self._told:
            return
        with contextlib.suppress(OSError):
            replace(self._folder / (self.worker + _REPORT), data)
            self._told = data

    def close(self) -> None:
        """It is dead from now on; its last report stays."""
        os.close(self._alive)


class Reports:
    """All that are in the folder, as they are now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> list[Report]:
        """What workers have told, the dead ones too."""
        found = []
        for path in sorted(self._folder.glob("*" + _REPORT)):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found.append(_decoder.decode(path.read_bytes()))
        return found

    def remove_dead(self, settled: Collection[str]) -> None:
        """Remove what is left of those that are dead, and of whom everything is written down, or nothing was told."""
        for path in self._folder.glob("*" + _ALIVE):
            worker = path.name.removesuffix(_ALIVE)
            report = self._folder / (worker + _REPORT)
            if (worker in settled or not report.exists()) and _is_dead(path):
                for one in (report, path):
                    one.unlink(missing_ok=True)


class Sum(msgspec.Struct, frozen=True):
    """One route's, over all workers. ``counted`` is by worker."""

    counted: dict[str, Totals]
    requests: int
    seconds: float
    latencies: dict[int, int]
    active: str
    targets: tuple[tuple[TargetReport, ...], ...]


def summed(reports: Iterable[Report]) -> dict[str, Sum]:
    """By uid."""
    by_uid: dict[str, dict[str, RouteReport]] = {}
    for report in reports:
        for one in report.routes:
            by_uid.setdefault(one.uid, {})[report.worker] = one
    return {uid: _sum(ones) for uid, ones in by_uid.items()}


def _sum(by_worker: dict[str, RouteReport]) -> Sum:
    ones = by_worker.values()
    return Sum(
        counted={worker: one.totals for worker, one in by_worker.items()},
        requests=sum(one.totals.requests for one in ones),
        seconds=sum(one.seconds for one in ones),
        latencies=merged(one.latencies for one in ones),
        active=max(ones, key=lambda one: one.active_at).active,
        targets=tuple(one.targets for one in ones if one.targets),
    )


def replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old or the new one. Raises OSError."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    fresh.rename(path)


def _is_dead(path: Path) -> bool:
    try:
        with _opened(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
