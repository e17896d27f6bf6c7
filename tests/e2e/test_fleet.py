"""Changing the fleet of a running cluster: machines join, leave, break and heal."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.model.resources import NODES, PODS
from test_road import create, gpu_pod, running

pytestmark = pytest.mark.usefixtures("embedded")


@pytest.fixture
def embedded(cluster: Cluster) -> None:
    if cluster.real:
        pytest.skip("changes the fleet file of an embedded cluster")


def rows(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {row["node"]: row for row in json.loads(cluster.program("fleet", "list", "-o", "json").stdout)}


def control_is_back(cluster: Cluster, before: int) -> bool:
    """Another process than before, and it has said that it is ready."""
    try:
        ready = json.loads((cluster.folder.run / "control.json").read_text())["pid"]
    except (OSError, ValueError):
        return False
    return ready != before and ready == cluster.folder.pid("control")


def test_a_machine_joins_takes_work_and_leaves(cluster: Cluster, namespace: str) -> None:
    before = cluster.folder.fleet_file.read_text()
    added = cluster.program("fleet", "add", "new-{i}", "--count", "2", "--gpus", "RTX4090:2").stdout
    assert "new-0, new-1" in added
    assert "ready: 2 nodes, 4 devices" in added
    pid = cluster.folder.pid("control")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)  # who simulates the machines comes back with those that were added
    eventually(lambda: control_is_back(cluster, pid), patience=60)
    try:
        create(cluster, namespace, gpu_pod("guest", tflops_request="10", vram_request="1Gi", gpu_model="RTX4090"))
        place = running(cluster, namespace, "guest")["spec"]["nodeName"]
        assert place in ("new-0", "new-1")
        removed = cluster.program("fleet", "remove", place).stdout
        assert f"pod {namespace}/guest deleted" in removed
        assert place not in rows(cluster)
    finally:
        for name in ("new-0", "new-1"):
            cluster.program("fleet", "remove", name, check=False)
    assert sorted(rows(cluster)) == ["a100-0", "cpu-0", "h100-0", "l4-0"]
    assert "new-" not in cluster.folder.fleet_file.read_text()

    cluster.folder.fleet_file.write_text(before)


def test_a_device_breaks_and_heals(cluster: Cluster) -> None:
    cluster.program("fleet", "break", "l4-0", "--devices", "1")
    try:
        eventually(lambda: rows(cluster)["l4-0"], until=lambda row: row["gpus"] == "1 of 1")
        assert rows(cluster)["l4-0"]["trouble"] == "devices 1 lost"
        unknown = cluster.program("fleet", "break", "l4-0", "--devices", "7", check=False)
        assert "--devices: wanted devices of l4-0 (0), found 7" in unknown.stderr
    finally:
        cluster.program("fleet", "heal", "l4-0")
    eventually(lambda: rows(cluster)["l4-0"], until=lambda row: row["gpus"] == "2 of 2" and row["trouble"] == "-")


def test_a_machine_that_is_cut_off_and_drained_is_whole_again_after_healing(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("tenant", tflops_request="10", vram_request="1Gi", gpu_model="L4"))
    running(cluster, namespace, "tenant")
    drained = cluster.program("fleet", "drain", "l4-0").stdout
    try:
        assert f"pod {namespace}/tenant deleted" in drained
        assert cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items == []
        assert rows(cluster)["l4-0"]["state"] == "Ready,drained"
        cluster.program("fleet", "break", "l4-0")
        eventually(lambda: rows(cluster)["l4-0"]["state"], until=lambda state: state == "NotReady,drained")
    finally:
        cluster.program("fleet", "heal", "l4-0")
    eventually(lambda: rows(cluster)["l4-0"]["state"], until=lambda state: state == "Ready")
    node = cluster.run(lambda client: client.get(NODES, dict, "l4-0"))
    assert "unschedulable" not in node["spec"]


def test_an_editor_changes_the_fleet_and_a_wrong_text_is_never_saved(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.folder.fleet_file.read_text()
    editor = tmp_path / "editor"

    def edit(change: str, answer: str = "") -> str:
        import os
        import subprocess
        import sys

        editor.write_text(f"#!/bin/sh\n{change}\n")
        editor.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-m", "tensorfusion", "fleet", "edit"],
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "EDITOR": str(editor)},
        )
        return done.stdout + done.stderr

    wrong = edit("sleep 0.01; echo 'nodes: [{name: x}]' > \"$1\"", answer="n\n")
    assert "your text: " in wrong
    assert "is as it was" in wrong
    assert cluster.folder.fleet_file.read_text() == before
    fleet = json.loads(before)
    fleet["nodes"].append({"name": "edited", "cpu": 4, "memory": "8Gi"})
    (tmp_path / "new.json").write_text(json.dumps(fleet))
    try:
        assert "saved: 5 machines" in edit(f'sleep 0.01; cat {tmp_path / "new.json"} > "$1"')
        eventually(lambda: "edited" in rows(cluster))
    finally:
        cluster.program("fleet", "remove", "edited")
        cluster.folder.fleet_file.write_text(before)


def test_a_wrong_name_is_answered_with_the_likely_one(cluster: Cluster) -> None:
    done = cluster.program("fleet", "break", "a10-0", check=False)
    assert done.returncode == 1
    assert "node a10-0: there is none: did you mean a100-0" in done.stderr
