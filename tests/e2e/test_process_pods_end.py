"""A cluster with a process node, taken down and up again. Apart from the others: there is one such node on a machine."""

import json
import shutil
from pathlib import Path

import pytest

from cluster import embedded_cluster, kubectl_program
from tensorfusion.embedded.processes.leftovers import marked
from tensorfusion.embedded.processes.machine import node_name
from tensorfusion.model.keys import SIMULATED_TAINT

pytestmark = pytest.mark.xdist_group("process-node")  # one node on the machine at a time

FLEET = {"nodes": [{"name": "sim-0", "cpu": 64, "memory": "256Gi", "gpus": {"model": "L4", "count": 1}}]}


def test_down_ends_workloads_and_up_without_the_option_says_so(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if request.config.getoption("--real"):
        pytest.skip("process nodes are a part of the embedded cluster")
    if kubectl_program() is None:
        pytest.skip("no kubectl: run make kube-assets")
    with embedded_cluster(tmp_path, fleet=FLEET, options=("--run-processes",)) as first:
        first.kubectl("run", "web", "--image=busybox", "--command", "--", "sleep", "600")
        first.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        uid = first.kubectl("get", "pod", "web", "-o", "jsonpath={.metadata.uid}").stdout
        assert marked(uid)
        spaces = Path((first.folder.root / "node" / "spaces.path").read_text())
    shutil.rmtree(spaces)
    assert marked(uid) == []
    with embedded_cluster(tmp_path, fleet=FLEET) as second:
        nodes = json.loads(second.kubectl("get", "nodes", "-o", "json").stdout)["items"]
        ready = {
            node["metadata"]["name"]: next(
                entry["status"] for entry in node["status"]["conditions"] if entry["type"] == "Ready"
            )
            for node in nodes
        }
        assert ready == {"sim-0": "True", node_name(): "False"}
        done = second.kubectl("exec", "web", "--", "true", check=False)
        assert f"node {node_name()} does not answer" in done.stderr
        taints = {node["metadata"]["name"]: node["spec"].get("taints") for node in nodes}
        assert not any(taint["key"] == SIMULATED_TAINT for taint in taints["sim-0"] or ())
