"""Backup and restore of a running cluster, and of one on another machine: all of it is back, no revision comes twice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, await_fleet, embedded_cluster, eventually
from tensorfusion.cli.folder import Folder
from tensorfusion.errors import Gone
from tensorfusion.kube.client import Client
from tensorfusion.model.resources import CONFIG_MAPS, NAMESPACES, PODS
from test_road import gpu_pod

FLEET = {"nodes": [{"name": "small", "cpu": 4, "memory": "8Gi", "gpus": {"model": "L4", "count": 2}}]}


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.config.getoption("--real"):
        pytest.skip("restores the embedded cluster's store")
    with embedded_cluster(tmp_path_factory.mktemp("backup"), fleet=FLEET) as running:
        yield running


def program(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tensorfusion", *words], capture_output=True, text=True, timeout=180, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def write(cluster: Cluster, name: str, value: str) -> int:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}
    made = cluster.run(lambda client: client.create(CONFIG_MAPS, body, namespace="default"))
    return int(made["metadata"]["resourceVersion"])


def pod(cluster: Cluster, name: str) -> None:
    body = gpu_pod(name, tflops_request="10", vram_request="1Gi")
    cluster.run(lambda client: client.create(PODS, body, namespace="default"))
    eventually(lambda: phase(cluster, name), until=lambda seen: seen == "Running", patience=60)


def phase(cluster: Cluster, name: str) -> str:
    found = cluster.run(lambda client: client.get(PODS, dict, name, namespace="default"))
    return str(found["status"].get("phase"))


def names(cluster: Cluster) -> set[str]:
    maps = cluster.run(lambda client: client.list(CONFIG_MAPS, dict, namespace="default")).items
    pods = cluster.run(lambda client: client.list(PODS, dict, namespace="default")).items
    return {entry["metadata"]["name"] for entry in (*maps, *pods)} - {"kube-root-ca.crt"}


async def watch_from(client: Client, version: int) -> None:
    async for _ in client.watch(CONFIG_MAPS, dict, namespace="default", resource_version=str(version)):
        return


def test_a_running_cluster_goes_back_to_the_backup_and_on_from_there(own: Cluster, tmp_path: Path) -> None:
    data = str(own.folder.root)
    write(own, "before", "1")
    pod(own, "first")
    file = tmp_path / "backup.tar.gz"
    program("backup", str(file), "--data", data)
    assert (file.stat().st_mode & 0o777) == 0o600
    newest = write(own, "after", "2")
    pod(own, "second")
    refused = program("restore", str(file), "--data", data, check=False)
    assert "add --yes" in refused.stderr
    before = own.folder.processes()
    restored = program("restore", str(file), "--data", data, "--yes").stdout
    assert "the cluster runs again" in restored
    now = own.folder.processes()
    assert now["up"] == before["up"]
    assert now["api"] != before["api"]
    assert names(own) == {"before", "first"}
    assert phase(own, "first") == "Running"
    with pytest.raises(Gone):
        own.run(lambda client: watch_from(client, newest))
    assert write(own, "again", "3") > newest
    pod(own, "third")
    first, third = (placement(own, name) for name in ("first", "third"))
    assert first["metadata"]["uid"] != third["metadata"]["uid"]
    assert (own.folder.root / "store.db.replaced").exists()


def placement(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.run(lambda client: client.get(PODS, dict, name, namespace="default"))


def test_a_backup_starts_on_another_machine_and_knows_its_users(own: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "moved"}}
    own.run(lambda client: client.create(NAMESPACES, team))
    own.program("user", "add", "ann", "-n", "moved", "-o", str(tmp_path / "ann.kubeconfig"))
    token = (tmp_path / "ann.kubeconfig").read_text()
    program("backup", str(file), "--data", str(own.folder.root))
    there = Folder(tmp_path / "there")
    program("restore", str(file), "--data", str(there.root))
    program("up", "--detach", "--data", str(there.root), "--port", "0", "--http-port", "0")
    try:
        ready = json.loads(there.ready_file.read_text())
        moved = Cluster(there.kubeconfig, ready["http"], there, real=False)
        await_fleet(moved, FLEET)
        assert names(moved) == names(own)
        port = ready["server"].rpartition(":")[2]
        old_port = json.loads(own.folder.ready_file.read_text())["server"].rpartition(":")[2]
        (tmp_path / "ann.kubeconfig").write_text(token.replace(f":{old_port}", f":{port}"))
        ann = Cluster(tmp_path / "ann.kubeconfig", moved.http, there, real=False)
        assert ann.run(lambda client: client.list(PODS, dict, namespace="moved")).items == []
    finally:
        program("down", "--data", str(there.root))


def test_what_is_no_backup_changes_nothing(own: Cluster, tmp_path: Path) -> None:
    data = str(own.folder.root)
    before = own.folder.processes()
    nothing = program("restore", str(tmp_path / "none"), "--data", data, "--yes", check=False)
    assert "no backup at" in nothing.stderr
    wrong = tmp_path / "wrong"
    wrong.write_bytes(os.urandom(2000))
    assert "is no backup of a cluster" in program("restore", str(wrong), "--data", data, "--yes", check=False).stderr
    cut = tmp_path / "cut.tar.gz"
    program("backup", str(cut), "--data", data)
    cut.write_bytes(cut.read_bytes()[:-2000])
    done = program("restore", str(cut), "--data", data, "--yes", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "is damaged" in done.stderr
    assert own.folder.processes() == before  # not even interrupted
