"""Keep the processes of an embedded cluster running: start in order, restart what ends, stop in reverse.

Blocking on purpose and free of heavy imports: this process lives as long as the cluster and should cost next to
nothing. It knows processes, files and signals; nothing about Kubernetes.
"""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tensorfusion.cli.folder import Folder, stop_process
from tensorfusion.cli.renewal import Renewal
from tensorfusion.embedded.processes.leftovers import end_workloads
from tensorfusion.errors import ConfigError, TensorFusionError

_POLL = 0.05
_READY_TIMEOUT = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


@dataclass(slots=True)
class Child:
    """One supervised process: how to start it, and how it fares."""

    name: str
    command: list[str]
    ready: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = None
    pause: float = _FIRST_PAUSE
    restart_at: float = 0.0
    was_ready: bool = False


class Supervisor:
    """Runs the *api* and *control* processes of one folder, and *node* and *gateway* if wanted, until told to stop."""

    def __init__(
        self,
        folder: Folder,
        *,
        port: int,
        http_port: int,
        say: Callable[[str], None],
        run_processes: bool = False,
        gateway_port: int | None = None,
    ) -> None:
        """``gateway_port`` None is no gateway; 0 lets the system choose, as for the others."""
        self._folder = folder
        self._say = say
        self._stopping = False
        data = str(folder.root.absolute())
        self._port = port or _free_port()
        python = [sys.executable, "-m"]
        api = [*python, "tensorfusion.embedded.api", "--data", data, "--port", str(self._port)]
        self._api = Child("api", api, self._api_ready)
        control = [*python, "tensorfusion", "control", "--data", data, "--http-port", str(http_port or _free_port())]
        control.append("--anonymous-read")  # on the loopback address, for the two routes that name no pod
        self._control = Child("control", control, self._control_ready)
        self._node: Child | None = None
        if run_processes:
            self._node = Child("node", [*python, "tensorfusion.embedded.processes", "--data", data], self._node_ready)
            api.append("--run-processes")
            control.append("--run-processes")
        self._gateway: Child | None = None
        self._gateway_port = gateway_port
        if gateway_port is not None:
            self._gateway_port = gateway_port or _free_port()
            listen = f"127.0.0.1:{self._gateway_port}"
            command = [*python, "tensorfusion", "gateway", "--data", data, "--listen", listen]
            self._gateway = Child("gateway", command, self._gateway_ready)
            control += ["--gateway-url", f"http://{listen}"]
        self._install = [*python, "tensorfusion.cli.install", "--data", data]
        self._install += ["--run-processes"] if run_processes else []
        self._renewal = Renewal(self._install, say=say)

    def run(self) -> None:
        """Start everything, then watch over it until SIGTERM or SIGINT.

        Raises:
            TensorFusionError: another supervisor runs, or a process ended before it was ready.
        """
        with self._only_one():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            self._folder.ready_file.unlink(missing_ok=True)
            self._stop_orphans()
            if self._node is None:
                self._end_workloads()
            try:
                self._start_all()
                self._watch()
            finally:
                self._stop_all()

    @property
    def _children(self) -> tuple[Child, ...]:
        further = (child for child in (self._node, self._gateway) if child is not None)
        return (self._api, self._control, *further)

    def _start_all(self) -> None:
        self._start(self._api)
        self._await(self._api)
        self._run_install()
        self._start(self._control)
        self._await(self._control)
        for child in (self._node, self._gateway):
            if child is not None:
                self._start(child)
                self._await(child)
        if self._stopping:
            return
        http_address = json.loads(self._control_file.read_text())["http"]
        ready: dict[str, object] = {"server": f"https://127.0.0.1:{self._port}", "http": http_address}
        if self._gateway is not None:
            ready["gateway"] = f"http://127.0.0.1:{self._gateway_port}"
        ready["pid"] = os.getpid()
        self._folder.write_ready(ready)
        self._say(f"ready: {ready['server']} (kubeconfig {self._folder.kubeconfig})")

    def _stop_orphans(self) -> None:
        """End what a supervisor that was killed left behind: it holds the store, the socket and the ports."""
        for name, pid in self._folder.orphans():
            self._say(f"{name} (pid {pid}) was left behind by a supervisor that was killed: stopping it")
            stop_process(pid, timeout=10.0)
            self._folder.drop_pid(name, pid)

    def _watch(self) -> None:
        self._renewal.plan(time.monotonic())
        while not self._stopping:
            now = time.monotonic()
            for child in self._children:
                self._tend(child, now)
            self._renewal.tend(now)
            time.sleep(_POLL)

    def _tend(self, child: Child, now: float) -> None:
        """Restart a process that ended: soon when it had been ready, later each time when it had not."""
        if child.process is not None and child.process.poll() is not None:
            child.pause = _FIRST_PAUSE if child.was_ready else min(child.pause * 2, _LONGEST_PAUSE)
            child.restart_at = now + child.pause
            self._say(
                f"{child.name} (pid {child.process.pid}) {_how_it_ended(child.process.returncode)}: "
                f"restarting in {child.pause:.1f} s; its log is {self._log(child)}"
            )
            child.process = None
        if child.process is None and now >= child.restart_at and not self._folder.held():
            self._start(child)
        elif child.process is not None and not child.was_ready and child.ready():
            child.was_ready = True
            self._say(f"{child.name} is ready again")

    def _start(self, child: Child) -> None:
        if child is self._control:
            self._control_file.unlink(missing_ok=True)
        with self._log(child).open("ab") as log:
            child.process = subprocess.Popen(  # the command is ours, no shell
                child.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        child.was_ready = False
        self._folder.pid_file(child.name).write_text(str(child.process.pid))
        self._say(f"{child.name} has pid {child.process.pid}")

    def _await(self, child: Child) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while not self._stopping:
            if child.process is not None and child.process.poll() is not None:
                ended = _how_it_ended(child.process.returncode)
                raise TensorFusionError(f"{child.name} {ended} before it was ready: {self._last_line(child)}")
            if child.ready():
                child.was_ready = True
                return
            if time.monotonic() > deadline:
                late = f"{child.name} is not ready after {_READY_TIMEOUT:.0f} s"
                raise TensorFusionError(f"{late}: see {self._log(child)}: {self._last_line(child)}")
            time.sleep(_POLL)

    def _run_install(self) -> None:
        if self._stopping:
            return
        done = subprocess.run(self._install, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise TensorFusionError(f"installing the objects of tensorfusion failed: {lines[-1]}")

    def _api_ready(self) -> bool:
        """Our own child answers: whoever else listens on the socket does not hold the store."""
        if not self._holds_store(self._api):
            return False
        try:
            connection = _UnixConnection(self._folder.api_socket)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False

    def _node_ready(self) -> bool:
        try:
            connection = _UnixConnection(self._folder.node_socket)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def _gateway_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._gateway_port, timeout=5.0)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def _control_file(self) -> Path:
        return self._folder.run / "control.json"

    def _holds_store(self, child: Child) -> bool:
        """The process lives, and is the one that the store's lock file names."""
        if child.process is None or child.process.poll() is not None:
            return False
        try:
            return self._folder.store_lock.read_text().strip() == str(child.process.pid)
        except OSError:
            return False

    def _control_ready(self) -> bool:
        process = self._control.process
        if process is None or process.poll() is not None:
            return False
        try:
            return bool(json.loads(self._control_file.read_text())["pid"] == process.pid)
        except (OSError, ValueError, KeyError):
            return False

    def _stop_all(self) -> None:
        self._folder.ready_file.unlink(missing_ok=True)
        self._renewal.stop()
        for child in reversed(self._children):
            if child.process is None:
                continue
            if child.process.poll() is None:
                if not stop_process(child.process.pid, timeout=10.0, reap=child.process.poll):
                    self._say(f"{child.name} did not end in 10 s and was killed")
                child.process.wait()
            self._folder.drop_pid(child.name, child.process.pid)
            if child is self._node:
                self._end_workloads()

    def _end_workloads(self) -> None:
        """Programs of pods end with the cluster, not with the node process."""
        ended = end_workloads(self._folder.root)
        if ended:
            self._say(f"ended {ended} containers")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        with (self._folder.run / "up.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    f"{self._folder.root}: a cluster runs from this folder already (pid {self._folder.pid('up')}): "
                    f"stop it with `tensorfusion down --data {self._folder.root}`"
                ) from error
            own = self._folder.pid_file("up")
            own.write_text(str(os.getpid()))
            try:
                yield
            finally:
                self._folder.drop_pid("up", os.getpid())

    def _log(self, child: Child) -> Path:
        return self._folder.logs / f"{child.name}.log"

    def _last_line(self, child: Child) -> str:
        try:
            lines = self._log(child).read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "its log is empty"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5.0)
        self.sock.connect(str(self._path))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _how_it_ended(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
