"""The data folder: which processes count as running, and paths that cannot work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tensorfusion.cli.folder import Folder, stop_process
from tensorfusion.errors import ConfigError

SLEEPER = "import sys, time; print('up', flush=True); time.sleep(60)"
NAMED = f"import ctypes; ctypes.CDLL(None).prctl(15, b') Z \\xff\\xc3', 0, 0, 0); {SLEEPER}"
"""Gives itself a name that is no text and looks like the end of one, as any user's process can."""


def test_a_pid_counts_only_while_its_command_names_the_folder(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.prepare()
    folder.pid_file("other").write_text(str(os.getpid()))
    folder.pid_file("gone").write_text("999999999")
    folder.pid_file("broken").write_text("x")
    with subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        folder.pid_file("ours").write_text(str(process.pid))
        assert folder.processes() == {"ours": process.pid}
        assert stop_process(process.pid, timeout=10, reap=process.poll)
    assert folder.processes() == {}


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not stop_process(process.pid, timeout=0.2, reap=process.poll)
        assert process.wait(10) == -9


def test_a_process_that_nobody_collects_has_ended_all_the_same(tmp_path: Path) -> None:
    """As in a container whose first process collects no orphans: their pids stay."""
    folder = Folder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert stop_process(process.pid, timeout=10)
        assert Path(f"/proc/{process.pid}").exists()
        folder.prepare()
        folder.pid_file("ended").write_text(str(process.pid))
        assert folder.processes() == {}


def test_names_of_processes_may_be_any_bytes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.prepare()
    command = [sys.executable, "-c", NAMED, str(tmp_path), "-m", "tensorfusion.embedded.api"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/comm").read_bytes() == b") Z \xff\xc3\n"
        folder.pid_file("ours").write_text(str(process.pid))
        try:
            assert folder.processes() == {"ours": process.pid}
            assert folder.orphans() == [("api", process.pid)]
        finally:
            assert stop_process(process.pid, timeout=10, reap=process.poll)
    assert folder.processes() == {}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=r"file.*cannot be written"):
        Folder(blocked / "data").prepare()


def test_a_path_too_long_for_a_socket_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long for a Unix socket"):
        Folder(tmp_path / ("x" * 120)).prepare()


def test_secrets_folders_are_the_owners_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    folder.prepare()
    assert (folder.run.stat().st_mode & 0o777) == 0o700


def test_a_process_file_of_another_process_is_never_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.prepare()
    folder.pid_file("api").write_text("4711")
    folder.drop_pid("api", 4712)
    assert folder.pid_file("api").read_text() == "4711"
    folder.drop_pid("api", 4711)
    assert not folder.pid_file("api").exists()


def test_orphans_are_found_without_process_files_and_strangers_are_not_taken_for_them(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    folder.prepare()
    package = tmp_path / "code" / "tensorfusion"
    (package / "embedded").mkdir(parents=True)
    for module in (package / "__init__.py", package / "embedded" / "__init__.py"):
        module.write_text("")
    for module in (package / "__main__.py", package / "embedded" / "api.py", package / "embedded" / "processes.py"):
        module.write_text(SLEEPER)
    environment = {"PYTHONPATH": str(tmp_path / "code")}

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    root, other = str(folder.root), str(tmp_path / "other")
    api = start("-m", "tensorfusion.embedded.api", "--data", root)
    control = start("-m", "tensorfusion", "control", "--data", root)
    node = start("-m", "tensorfusion.embedded.processes", "--data", root)
    strangers = [
        start("-m", "tensorfusion", "up", "--data", root),
        start("-m", "tensorfusion", "control", "--data", other),
        start("-c", SLEEPER, root),
    ]
    try:
        assert folder.orphans() == [("node", node.pid), ("control", control.pid), ("api", api.pid)]
    finally:
        for process in (api, control, node, *strangers):
            process.kill()
            process.communicate()


def test_whoever_holds_the_folder_is_seen_until_it_lets_go(tmp_path: Path) -> None:
    import fcntl

    folder = Folder(tmp_path)
    folder.prepare()
    assert not folder.held()
    with folder.hold_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert folder.held()
    assert not folder.held()
