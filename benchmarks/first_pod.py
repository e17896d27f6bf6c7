"""From ``tensorfusion up`` to a first fractional pod Running, from an empty folder. Goal: at most 4 s.

Peer, in the same run where KUBEBUILDER_ASSETS names one: a real etcd and kube-apiserver until they are ready, with no
scheduler, no node and no pod yet.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import Row, report

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "first",
        "namespace": "default",
        "labels": {"tensor-fusion.ai/enabled": "true"},
        "annotations": {"tensor-fusion.ai/tflops-request": "10", "tensor-fusion.ai/vram-request": "1Gi"},
    },
    "spec": {"containers": [{"name": "main", "image": "app"}]},
}
PATIENCE = 60.0


def program(folder: Path, *arguments: str, text: str | None = None) -> str:
    command = [sys.executable, "-m", "tensorfusion", *arguments, "--data", str(folder)]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def run(folder: Path) -> tuple[float, float]:
    """Seconds until the cluster is ready, and until the pod runs."""
    manifest = folder.parent / "pod.json"
    manifest.write_text(json.dumps(POD))
    started = time.perf_counter()
    program(folder, "up", "--detach", "--port", "0", "--http-port", "0")
    ready = time.perf_counter() - started
    try:
        program(folder, "apply", "-f", str(manifest))
        while time.perf_counter() - started < PATIENCE:
            pod = json.loads(program(folder, "get", "pod", "first", "-o", "json"))
            if pod["status"].get("phase") == "Running":
                return ready, time.perf_counter() - started
            time.sleep(0.02)
        raise SystemExit(f"the pod does not run after {PATIENCE:.0f} s")
    finally:
        program(folder, "down")


def peer(root: Path) -> float | None:
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    if not (assets / "kube-apiserver").exists():
        return None
    from tensorfusion.testing.control_plane import control_plane

    started = time.perf_counter()
    with control_plane(assets, root):
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    times = []
    with tempfile.TemporaryDirectory(prefix="first-") as root:
        for number in range(arguments.runs):
            folder = Path(root) / str(number)
            folder.mkdir()
            times.append(run(folder / "data"))
        real = peer(Path(root) / "real")
    ready, running = (statistics.median(column) for column in zip(*times, strict=True))
    parameters = {"runs": arguments.runs, "worst": round(max(time for _, time in times), 2)}
    report(
        [
            Row("up_ready", ready, "s", "etcd + kube-apiserver, nothing else", real, parameters),
            Row("first_pod_running", running, "s", "goal", 4.0, parameters),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
