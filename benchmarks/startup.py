"""From exec to /readyz of the embedded API with 10,000 objects in its store. Goal: at most 2 s.

Peer: a real etcd and kube-apiserver, started empty in the same run where KUBEBUILDER_ASSETS names them.
"""

import argparse
import asyncio
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import Row, report
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import PODS

OBJECTS = 10_000
WRITERS = 32


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def start(folder: Path, port: int) -> tuple[subprocess.Popen[bytes], float]:
    """Start the API process and wait for /readyz; returns it and the seconds that took."""
    command = [sys.executable, "-m", "tensorfusion.embedded.api", "--data", str(folder), "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        try:
            connection = UnixConnection(folder / "run" / "api.sock")
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return process, time.perf_counter() - started
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"the API process ended with {process.returncode}") from None
        time.sleep(0.005)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(30)


async def fill(kubeconfig: Path, count: int) -> None:
    numbers = iter(range(count))

    async def writer(client: Client) -> None:
        for number in numbers:
            container = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
            body = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"pod-{number}", "labels": {"app": f"app-{number % 50}"}},
                "spec": {"containers": [container]},
            }
            await client.create(PODS, body, namespace="default")

    async with Client(load_kubeconfig(kubeconfig)) as client, asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(writer(client))


def real_start(root: Path) -> float | None:
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    if not (assets / "kube-apiserver").exists():
        return None
    from tensorfusion.testing.control_plane import control_plane

    started = time.perf_counter()
    with control_plane(assets, root):
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=OBJECTS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="tf-") as root:
        folder = Path(root) / "data"
        process, empty = start(folder, port)
        asyncio.run(fill(folder / "kubeconfig", arguments.objects))
        stop(process)
        times = []
        for _ in range(5):
            process, seconds = start(folder, port)
            stop(process)
            times.append(seconds)
        peer = real_start(Path(root) / "real")
    parameters = {"objects": arguments.objects, "runs": len(times), "empty_seconds": round(empty, 2)}
    report(
        [
            Row("startup", statistics.median(times), "s", "etcd + kube-apiserver, empty", peer, parameters),
            Row("startup_worst", max(times), "s", "goal", 2.0, parameters),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
