"""A cluster's folder outlives the program that wrote it.

``stores/first-release.db.gz`` is the store of a cluster of the first release's code with the demo's fleet and examples:
9 pods placed, 2 waiting.
"""

import gzip
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, embedded_cluster, eventually
from tensorfusion.model import keys
from tensorfusion.model.crd import KINDS
from tensorfusion.model.resources import CUSTOM_RESOURCE_DEFINITIONS, PODS
from test_road import create, gpu_pod, running

STORE = Path(__file__).with_name("stores") / "first-release.db.gz"
NODES = ({"name": "a100-0", "model": "A100_SXM_80G", "count": 4}, {"name": "h100-0", "model": "H100_SXM", "count": 4})
FLEET = {
    "nodes": [
        *(
            {
                "name": node["name"],
                "cpu": 64,
                "memory": "512Gi",
                "gpus": {"model": node["model"], "count": node["count"]},
            }
            for node in NODES
        ),
        {"name": "l4-0", "cpu": 32, "memory": "128Gi", "gpus": {"model": "L4", "count": 2}},
    ]
}


@pytest.fixture
def old_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.config.getoption("--real"):
        pytest.skip("the store is the embedded cluster's")
    data = tmp_path / "data"
    data.mkdir()
    (data / "store.db").write_bytes(gzip.decompress(STORE.read_bytes()))
    return tmp_path


def placements(pods: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {
        pod["metadata"]["uid"]: (pod["spec"]["nodeName"], pod["metadata"]["annotations"].get(keys.GPU_IDS, ""))
        for pod in pods
        if pod["spec"].get("nodeName")
    }


def stored(file: Path, resource: str) -> list[dict[str, Any]]:
    """Objects as they lie in the file, read without the product."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT data FROM objects WHERE resource = ? AND data IS NOT NULL", (resource,))
        return [json.loads(row[0]) for row in rows]


def test_a_store_of_the_first_release_opens_and_serves(old_folder: Path) -> None:
    file = old_folder / "data" / "store.db"
    before = stored(file, PODS.id)
    newest = max(int(pod["metadata"].get("resourceVersion", 0)) for pod in before)
    assert len(placements(before)) == 9
    with embedded_cluster(old_folder, fleet=FLEET) as cluster:
        pods = cluster.run(lambda client: client.list(PODS, dict)).items
        assert placements(pods) == placements(before)
        assert {crd["metadata"]["name"] for crd in served(cluster)} >= {kind.resource.id for kind in KINDS.values()}
        made = create(cluster, "default", gpu_pod("later", tflops_request="10", vram_request="1Gi"))
        assert int(made["metadata"]["resourceVersion"]) > newest
        running(cluster, "default", "later")
        eventually(lambda: waiting(cluster), until=lambda names: names == {"second", "too-big"})


def served(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.run(lambda client: client.list(CUSTOM_RESOURCE_DEFINITIONS, dict)).items


def waiting(cluster: Cluster) -> set[str]:
    pods = cluster.run(lambda client: client.list(PODS, dict)).items
    return {pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Pending"}


def test_a_store_of_a_newer_release_is_refused_with_the_way_out_and_left_alone(old_folder: Path) -> None:
    file = old_folder / "data" / "store.db"
    with sqlite3.connect(file) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1000}")
    connection.close()
    content = file.read_bytes()
    up = [sys.executable, "-m", "tensorfusion", "up", "--detach", "--data", str(old_folder / "data")]
    done = subprocess.run(
        [*up, "--port", "0", "--http-port", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"format {version + 1000}" in done.stderr
    assert "newer" in done.stderr
    assert file.read_bytes() == content
