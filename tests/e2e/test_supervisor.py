"""``kill -9`` of the supervisor: the next ``up`` takes over a folder whose processes were left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from tensorfusion.cli.folder import Folder
from tensorfusion.model.resources import CONFIG_MAPS

FLEET = {"nodes": [{"name": "small", "cpu": 4, "memory": "8Gi", "gpus": {"model": "L4", "count": 1}}]}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    if request.config.getoption("--real"):
        pytest.skip("kills the embedded cluster's processes")
    (tmp_path / "fleet.json").write_text(json.dumps(FLEET))
    made = Folder(tmp_path / "data")
    yield made
    down = subprocess.run(command(made, "down"), capture_output=True, timeout=90, check=False)
    assert down.returncode == 0
    assert made.processes() == {}
    assert made.orphans() == []


def command(folder: Folder, *words: str) -> list[str]:
    return [sys.executable, "-m", "tensorfusion", *words, "--data", str(folder.root)]


def up(folder: Folder) -> Cluster:
    fleet = str(folder.root.parent / "fleet.json")
    done = subprocess.run(
        [*command(folder, "up", "--detach"), "--fleet", fleet, "--port", "0", "--http-port", "0"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Cluster(folder.kubeconfig, json.loads(folder.ready_file.read_text())["http"], folder, real=False)


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: ended(pid))


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:  # nothing is left of it
        return True


def test_a_new_up_takes_over_what_a_killed_supervisor_left(folder: Folder) -> None:
    """One story, because each start of a cluster takes seconds."""
    first = up(folder)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"value": "1"}}
    first.run(lambda client: client.create(CONFIG_MAPS, body, namespace="default"))
    before = folder.processes()

    # a second one beside a running one changes nothing
    done = subprocess.run(command(folder, "up"), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    assert "runs from this folder already" in done.stderr
    assert folder.processes() == before
    assert folder.ready_file.exists()

    # a new one after a kill stops what is left, and serves what the store holds
    kill(before["up"])
    folder.pid_file("control").unlink()  # as if it had been killed before it wrote this down
    second = up(folder)
    after = folder.processes()
    assert set(after) == {"up", "api", "control"}
    assert not set(after.values()) & set(before.values())
    assert {name: pid for name, pid in before.items() if Path(f"/proc/{pid}").exists() and name != "up"} == {}
    kept = second.run(lambda client: client.get(CONFIG_MAPS, dict, "kept", namespace="default"))
    assert kept["data"] == {"value": "1"}
    log = (folder.logs / "up.log").read_text()
    assert f"api (pid {before['api']}) was left behind" in log
    assert f"control (pid {before['control']}) was left behind" in log

    # down after a kill leaves nothing
    kill(folder.pid("up"))
    stopped = subprocess.run(command(folder, "down"), capture_output=True, text=True, timeout=90, check=False)
    assert stopped.stdout.startswith("stopped")
    assert folder.orphans() == []
