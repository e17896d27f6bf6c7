"""The embedded cluster with a gateway: one of its processes, at an address of its own, started again when it ends."""

import json
import os
import signal
from pathlib import Path

import pytest

from cluster import embedded_cluster, eventually
from gateways import make_key, make_route, model_server, ready, request, target
from tensorfusion.model.resources import PODS


def test_a_cluster_with_a_gateway_serves_its_routes_also_when_that_was_killed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--real"):
        pytest.skip("the embedded cluster's own")
    with embedded_cluster(tmp_path, options=("--gateway-port", "0")) as cluster, model_server() as model:
        address = str(json.loads(cluster.folder.ready_file.read_text())["gateway"])
        port = int(address.rpartition(":")[2])
        shown = json.loads(cluster.program("status", "-o", "json", "--data", str(cluster.folder.root)).stdout)
        assert shown["addresses"]["gateway"] == address
        key = make_key(cluster, "default")
        make_route(cluster, "default", target("model", model.url))
        soon(port, key)
        pod = {
            "metadata": {"name": "p", "annotations": {"tensor-fusion.ai/llm-route": "chat"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }
        made = cluster.run(lambda client: client.create(PODS, pod, namespace="default"))
        url = f"{address}/routes/chat/v1"
        assert made["spec"]["containers"][0]["env"][0] == {"name": "OPENAI_BASE_URL", "value": url}
        pid = cluster.folder.pid("gateway")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: cluster.folder.pid("gateway") not in (None, pid) and ready(port))
        soon(port, key)


def soon(port: int, key: str) -> None:
    """A request is answered."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    fields = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    eventually(lambda: request(port, "POST", "/v1/chat/completions", body, fields)[0] == 200)
