"""The API process on a disk of its own that fills up, is read-only, and comes back: a real small file system.

The disk is a tmpfs in a mount namespace that the test makes for itself; no rights are needed where user namespaces are
allowed. The test looks into it through ``/proc``.
"""

import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

PATIENCE = 60.0
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


class Disk:
    """A small file system, and what is done on it from within."""

    def __init__(self, holder: subprocess.Popen[bytes], mount: Path) -> None:
        self.holder, self.mount = holder, mount
        self.seen = Path(f"/proc/{holder.pid}/root{mount}")
        """The same place, seen from here."""
        self.inside = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(holder.pid), "--"]

    def remount(self, options: str) -> None:
        subprocess.run([*self.inside, "mount", "-o", f"remount,{options}", str(self.mount)], check=True)

    def fill(self) -> None:
        """Leave no byte."""
        with (self.seen / "ballast").open("ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError:
                    pass

    def clear(self) -> None:
        (self.seen / "ballast").unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A place with a short name: the path of a socket has room for little more than a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="disk") as folder:
        yield from mounted(Path(folder))


def mounted(mount: Path) -> Iterator[Disk]:
    command = f"mount -t tmpfs -o size=16m tmpfs {mount} && echo mounted && exec cat"
    with subprocess.Popen(
        ["unshare", "-Urm", "sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip("no namespaces to mount in here")
        yield Disk(holder, mount)
        holder.stdin.close()


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Api:
    """The API process on a disk."""

    def __init__(self, disk: Disk, log: BinaryIO | None = None) -> None:
        self.data = disk.seen / "data"
        command = [sys.executable, "-m", "tensorfusion.embedded.api", "--data", str(disk.mount / "data"), "--port", "0"]
        self.process = subprocess.Popen(
            [*disk.inside, *command], stderr=log or subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    def said(self) -> str:
        """What a process that could not start leaves behind."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return errors.splitlines()[-1]

    def wait(self) -> "Api":
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            assert self.process.poll() is None, self.process.communicate()[1]
            try:
                if self("GET", "/readyz")[0] == 200:
                    return self
            except OSError:
                time.sleep(0.02)
        raise AssertionError("not ready")

    def open(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        connection = Connection(self.data / "run" / "api.sock")
        token = (self.data / "tokens.csv").read_text().split(",")[0]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse()

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self.open(method, path, body)
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else text

    def create(self, name: str, size: int = 50_000) -> tuple[int, Any]:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": name * (size // 6)}}
        return self("POST", CONFIG_MAPS, body)

    def names(self) -> list[str]:
        status, found = self("GET", CONFIG_MAPS)
        assert status == 200
        return sorted(item["metadata"]["name"] for item in found["items"] if item["metadata"]["name"].startswith("map"))

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def start(disk: Disk) -> Iterator[Any]:
    started: list[Api] = []

    def begin(log: BinaryIO | None = None) -> Api:
        started.append(Api(disk, log))
        return started[-1]

    yield begin
    for api in started:
        if api.process.poll() is None:
            api.process.kill()
            api.process.communicate()


def test_a_disk_that_fills_up_refuses_writes_with_the_reason_and_takes_them_again_when_there_is_space(
    disk: Disk, start: Any
) -> None:
    with (disk.seen / "log").open("ab") as log:  # it says what is wrong where there is no room for it either
        api = start(log).wait()
    assert api.create("map000")[0] == 201
    watch = api.open("GET", f"{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name=map999")
    disk.fill()
    kept, refused = ["map000"], 0
    for number in range(1, 150):
        status, answer = api.create(f"map{number:03}")
        if status == 201:
            kept.append(f"map{number:03}")
            continue
        refused += 1
        assert (status, answer["kind"], answer["reason"]) == (500, "Status", "InternalError")
        assert f"{disk.mount}/data/store.db: the write could not be stored" in answer["message"]
        assert "free space" in answer["message"]
        if refused == 20:
            break
    assert refused == 20
    assert api.names() == kept
    assert api("GET", "/readyz")[0] == 200
    disk.clear()
    assert api.create("map999")[0] == 201
    assert json.loads(watch.readline())["object"]["metadata"]["name"] == "map999"
    kept.append("map999")
    assert api.names() == kept
    api.end(signal.SIGKILL)
    again = start().wait()
    assert again.names() == kept
    again.end()


def test_a_process_that_is_killed_on_a_full_disk_keeps_what_it_acknowledged(disk: Disk, start: Any) -> None:
    api = start().wait()
    disk.fill()
    kept = [f"map{number:03}" for number in range(150) if api.create(f"map{number:03}", 20_000)[0] == 201]
    api.end(signal.SIGKILL)
    said = start().said()  # no room to begin with either
    assert said.startswith("error: "), said
    assert str(disk.mount) in said
    assert "space" in said
    disk.clear()
    again = start().wait()
    assert again.names() == kept
    again.end()


def test_a_full_disk_is_named_when_a_new_cluster_starts_and_it_starts_once_there_is_space(
    disk: Disk, start: Any
) -> None:
    disk.fill()
    said = start().said()
    assert said.startswith("error: ")
    assert str(disk.mount) in said
    disk.clear()
    api = start().wait()
    assert api.create("map000")[0] == 201
    api.end()


def test_a_read_only_disk_is_named_and_nothing_is_lost_by_it(disk: Disk, start: Any) -> None:
    api = start().wait()
    assert api.create("map000")[0] == 201
    api.end(signal.SIGKILL)
    before = {path.name: path.read_bytes() for path in api.data.glob("store.db*") if not path.name.endswith("-shm")}
    disk.remount("ro")
    said = start().said()
    assert said.startswith("error: ")
    assert f"{disk.mount}/data" in said
    assert "make it writable" in said
    disk.remount("rw,size=16m")
    after = {path.name: path.read_bytes() for path in api.data.glob("store.db*") if not path.name.endswith("-shm")}
    assert after == before
    again = start().wait()
    assert again.names() == ["map000"]
    again.end()


def test_a_second_process_is_told_the_number_of_the_first(disk: Disk, start: Any) -> None:
    first = start().wait()
    said = start().said()
    holder = int((first.data / "store.db.lock").read_text())
    assert b"tensorfusion.embedded.api" in Path(f"/proc/{holder}/cmdline").read_bytes()
    assert f"store.db is in use by process {holder}; stop it first" in said
    first.end()
