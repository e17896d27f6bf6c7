"""End what pods left behind: every shim of a folder, every process that is a pod's.

Standard library only, because the supervisor and ``tensorfusion down`` call it. Processes are recognised by their
environment, which holds the pod's uid, or by their user, where the pod has one of its own; shims by their command line,
which names the cluster's folder.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MARK = "TENSORFUSION_POD_UID"
OWN_USER = "user"
"""File in a pod's state folder: the number of the user that is the pod's alone."""
_ORDERLY = 5.0
_KILL = 5.0
_POLL = 0.02


def shims_of(folder: Path) -> list[int]:
    """The pids of the shims whose attempt is somewhere below a folder."""
    below = os.fsencode(folder.absolute()) + b"/"
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if len(command) > 4 and command[3].endswith(b"/shim.py") and command[4].startswith(below):
                found.append(pid)
    return found


def marked(uid: str, user: int | None = None) -> list[int]:
    """The pids of the processes of one pod; ``user`` is the user that is its alone."""
    mark = f"{MARK}={uid}".encode()
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if (user is not None and Path(f"/proc/{pid}").stat().st_uid == user) or (
                mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            ):
                found.append(pid)
    return found


def kill_marked(state: Path) -> None:
    """Kill what still runs of the pod with this state folder: commands executed in it, whatever escaped its shims."""
    try:
        user = int((state / OWN_USER).read_text())
    except (OSError, ValueError):
        user = None
    _until_none(lambda: marked(state.name, user), _KILL, signal.SIGKILL)


def end_workloads(data: Path) -> int:
    """End all workloads of a cluster's folder, in good order if they will; returns how many containers there were."""
    pods = data / "node" / "pods"
    if not pods.is_dir():
        return 0
    running = shims_of(pods)
    for pid in running:
        _send(pid, signal.SIGTERM)
    _wait(lambda: shims_of(pods), _ORDERLY)
    _until_none(lambda: shims_of(pods), _KILL, signal.SIGQUIT)
    for path in pods.iterdir():
        kill_marked(path)
    return len(running)


def _until_none(find: Callable[[], list[int]], seconds: float, number: signal.Signals) -> None:
    deadline = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < deadline:
        for pid in found:
            _send(pid, number)
        time.sleep(_POLL)


def _wait(find: Callable[[], list[int]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while find() and time.monotonic() < deadline:
        time.sleep(_POLL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208  # names are all we need
