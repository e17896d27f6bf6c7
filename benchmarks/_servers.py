"""API servers to measure: the embedded one, and a real etcd and kube-apiserver beside it.

Both are reached over TLS on loopback with an administrator's token, so one client can be pointed at either. etcd
keeps its files without fsync; the embedded server's writes are durable when they are answered.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tensorfusion.testing.control_plane import control_plane

PEER = "etcd + kube-apiserver"


@dataclass(frozen=True, slots=True)
class Serving:
    """A running API server: how to reach it, the processes it is made of, and how long it took to become ready."""

    kubeconfig: Path
    pids: tuple[int, ...]
    ready_seconds: float


@contextmanager
def embedded(folder: Path) -> Iterator[Serving]:
    """The API process alone, without controllers of other processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorfusion.embedded.api", "--data", str(folder), "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not (folder / "run" / "api.sock").exists():
            if process.poll() is not None:
                raise SystemExit(f"the API process ended with {process.returncode}")
            time.sleep(0.01)
        yield Serving(folder / "kubeconfig", (process.pid,), time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def assets() -> Path | None:
    """The folder that KUBEBUILDER_ASSETS names, where there is an API server in it."""
    found = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    return found if (found / "kube-apiserver").exists() else None


@contextmanager
def real(folder: Path, programs: Path) -> Iterator[Serving]:
    """etcd and kube-apiserver of ``programs``, without a controller manager."""
    started = time.perf_counter()
    with control_plane(programs, folder) as plane:
        yield Serving(plane.kubeconfig, plane.pids, time.perf_counter() - started)


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """Processor time that the processes have used so far, in user and kernel mode."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
