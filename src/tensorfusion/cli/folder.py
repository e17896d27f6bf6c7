"""The data folder of an embedded cluster: which files are in it and which processes run from it.

The one place that knows the layout. Process files hold a pid alone; a pid counts only while that process's command
line names this folder, so a reused pid is never taken for ours.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tensorfusion.embedded.processes.shim import stat_fields
from tensorfusion.errors import ConfigError

_ROLES: dict[str, tuple[bytes, ...]] = {
    "gateway": (b"-m", b"tensorfusion", b"gateway"),
    "node": (b"-m", b"tensorfusion.embedded.processes"),
    "install": (b"-m", b"tensorfusion.cli.install"),
    "control": (b"-m", b"tensorfusion", b"control"),
    "api": (b"-m", b"tensorfusion.embedded.api"),
}
"""How the supervisor starts its processes, in the order in which they are stopped."""


def default_folder() -> Path:
    """``TENSORFUSION_DATA``, or ``~/.tensorfusion``."""
    return Path(os.environ.get("TENSORFUSION_DATA", "~/.tensorfusion")).expanduser()


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths of one embedded cluster."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def api_socket(self) -> Path:
        return self.run / "api.sock"

    @property
    def node_socket(self) -> Path:
        """Where a process node answers the API process."""
        return self.run / "node.sock"

    @property
    def ready_file(self) -> Path:
        """Written by the supervisor when the cluster answers; holds the addresses as JSON."""
        return self.run / "ready.json"

    def write_ready(self, ready: dict[str, object]) -> None:
        """Say that the cluster answers; a reader sees all of it or nothing."""
        fresh = self.ready_file.with_suffix(".new")
        fresh.write_text(json.dumps(ready))
        fresh.rename(self.ready_file)

    @property
    def fleet_file(self) -> Path:
        """The machines that the cluster simulates; the demo's fleet where there is no such file."""
        return self.root / "fleet.yaml"

    @property
    def record_file(self) -> Path:
        """Where to record what happens; without such a file nothing is recorded."""
        return self.root / "record.json"

    @property
    def scheduler_file(self) -> Path:
        """How pods are placed; without such a file as the defaults say."""
        return self.root / "scheduler-config.yaml"

    @property
    def hold_file(self) -> Path:
        """Whoever holds a lock on it keeps the supervisor from starting processes."""
        return self.run / "hold.lock"

    @property
    def store(self) -> Path:
        """All objects of the cluster."""
        return self.root / "store.db"

    @property
    def store_lock(self) -> Path:
        """Names the process that has the store open."""
        return self.root / "store.db.lock"

    def account_kubeconfig(self, account: str) -> Path:
        """The kubeconfig that one of our own service accounts uses over the Unix socket."""
        return self.run / f"{account}.kubeconfig"

    def account_token(self, account: str) -> Path:
        return self.run / f"{account}.token"

    def pid_file(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def prepare(self) -> None:
        """Make the folders, readable by their owner alone.

        Raises:
            ConfigError: the folder cannot be made or written, or its path is too long for a Unix socket.
        """
        if len(str(self.api_socket.absolute())) > 100:
            raise ConfigError(
                f"{self.root}: the path is too long for a Unix socket (100 characters): choose a shorter --data"
            )
        try:
            for folder in (self.root, self.run, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.run / ".writable"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise ConfigError(f"{self.root}: cannot be written ({error.strerror}): choose another --data") from error

    def processes(self) -> dict[str, int]:
        """The live processes of this cluster by name."""
        found: dict[str, int] = {}
        if not self.run.is_dir():
            return found
        for path in sorted(self.run.glob("*.pid")):
            pid = self._live_pid(path)
            if pid is not None:
                found[path.stem] = pid
        return found

    def pid(self, name: str) -> int | None:
        """The pid of one live process, or None."""
        return self._live_pid(self.pid_file(name))

    def drop_pid(self, name: str, pid: int) -> None:
        """Remove a process file, if it names this process: another's is left alone."""
        path = self.pid_file(name)
        try:
            if path.read_text().strip() == str(pid):
                path.unlink()
        except OSError:
            return  # somebody else removed it

    def held(self) -> bool:
        """Somebody keeps processes from being started, as `restore` does while it changes the store."""
        try:
            with self.hold_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def orphans(self) -> list[tuple[str, int]]:
        """Processes of this cluster, by their command lines, in the order to stop them in. For the supervisor, before
        it starts any: whatever runs then has lost its own. Process files do not tell: a supervisor can be killed
        between starting a process and writing its pid down.
        """
        found: dict[str, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and (name := self._role(entry)):
                found.setdefault(name, []).append(int(entry.name))
        return [(name, pid) for name in _ROLES for pid in sorted(found.get(name, ()))]

    def _role(self, process: Path) -> str | None:
        """Which of our processes this one is; None for one of anybody else."""
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            state = stat_fields(int(process.name))[0]
        except OSError:
            return None
        if state == b"Z" or os.fsencode(self.root.absolute()) not in words:
            return None
        return next((name for name, command in _ROLES.items() if _follow(words, command)), None)

    def _live_pid(self, path: Path) -> int | None:
        try:
            pid = int(path.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if _lives(pid) and os.fsencode(self.root.absolute()) in command else None


def _lives(pid: int) -> bool:
    """The process has not ended. One that its parent has not collected has: in a container nobody may ever do that.

    While threads of it are left (field 20 of its ``stat``), what it had open may still be locked.
    """
    try:
        state, *fields = stat_fields(pid)
    except OSError:
        return False
    return state != b"Z" or int(fields[16]) > 1


def _follow(words: list[bytes], wanted: tuple[bytes, ...]) -> bool:
    """The words of a command line hold ``wanted`` in a row."""
    return any(tuple(words[at : at + len(wanted)]) == wanted for at in range(len(words)))


def stop_process(pid: int, *, timeout: float, reap: Callable[[], object] = lambda: None) -> bool:
    """Ask a process to end and wait; after ``timeout`` seconds it is killed. True when it ended by itself.

    ``reap`` is called while waiting: a parent collects its child with it, so that the pid goes.
    """
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        reap()
        if not _lives(pid):
            return True
        time.sleep(0.02)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False
