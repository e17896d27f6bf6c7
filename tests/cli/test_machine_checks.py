"""What the doctor says of a machine: every trouble by name, with what to do."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tensorfusion.cli import machine_checks
from tensorfusion.cli.findings import Finding, Level
from tensorfusion.cli.folder import Folder
from tensorfusion.scheduling import rollout


def findings(folder: Folder) -> dict[str, Finding]:
    return {finding.subject: finding for finding in machine_checks.machine_findings(folder)}


def test_a_machine_without_a_cluster_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "not" / "there")
    found = findings(folder)
    assert found["python"].level is Level.OK
    assert found["disk sync"].found.endswith("ms for a durable write")
    assert found["clock"].level is Level.OK
    assert (found["processes"].level, found["processes"].advice) == (
        Level.INFO,
        "`tensorfusion up --detach` starts one",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("compiled", "said"), [(True, "compiled"), (False, "numpy")])
def test_it_is_said_whether_the_placement_kernel_was_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool, said: str
) -> None:
    monkeypatch.setattr(rollout, "COMPILED", compiled)
    found = findings(Folder(tmp_path))["placement kernel"]
    assert found.found == said
    assert ("C compiler" in found.advice) is not compiled


def test_a_taken_port_is_named_with_the_option_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(machine_checks, "_PORTS", {port: "--port"})
        found = findings(Folder(tmp_path))[f"port {port}"]
    assert found.level is Level.WARN
    assert found.advice == "`tensorfusion up --port 0` chooses another"


def test_a_clock_behind_the_clusters_own_files_is_a_failure(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.store.write_text("")
    ahead = time.time() + 3600
    os.utime(folder.store, (ahead, ahead))
    found = findings(folder)["clock"]
    assert found.level is Level.FAIL
    assert "behind the newest file" in found.found


def test_a_folder_that_cannot_be_written_and_a_path_that_is_too_long_are_failures(tmp_path: Path) -> None:
    assert findings(Folder(tmp_path / ("x" * 120)))["folder"].level is Level.FAIL
    if os.geteuid() != 0:  # root writes everywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        assert findings(Folder(locked))["disk sync"].level is Level.FAIL


def test_processes_without_a_supervisor_are_a_failure_with_their_numbers(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    folder.prepare()
    code = tmp_path / "tensorfusion" / "embedded"
    code.mkdir(parents=True)
    for file in (code / "__init__.py", code.parent / "__init__.py"):
        file.write_text("")
    (code / "api.py").write_text("import time; print('up', flush=True); time.sleep(60)")
    command = [sys.executable, "-m", "tensorfusion.embedded.api", "--data", str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(tmp_path)}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = findings(folder)["processes"]
        process.kill()
    assert found.level is Level.FAIL
    assert f"api {process.pid}" in found.found
    assert "takes over" in found.advice


def test_a_finding_is_one_line() -> None:
    assert str(Finding(Level.WARN, "disk", "0.5 GiB free", "free some")) == "warn  disk: 0.5 GiB free: free some"
