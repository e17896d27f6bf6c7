"""Host ports of the cluster's range: one for each pod, and over HTTP for whoever has the operator's token."""

import urllib.error
import urllib.request
from typing import Any

from cluster import Cluster, eventually
from tensorfusion.model import keys
from tensorfusion.model.resources import DEPLOYMENTS, PODS


def test_every_replica_gets_a_host_port_of_its_own(cluster: Cluster, namespace: str) -> None:
    labels = {"app": "web", keys.ENABLED: "true", keys.HOST_PORT: "auto", keys.PORT_NAME: "web"}
    annotations = {keys.TFLOPS_REQUEST: "1", keys.VRAM_REQUEST: "1Gi"}
    container = {"name": "main", "image": "busybox", "ports": [{"name": "web", "containerPort": 80}]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }
    cluster.run(lambda client: client.create(DEPLOYMENTS, body, namespace=namespace))

    def ports() -> list[int]:
        found = cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items
        return [pod["spec"]["containers"][0]["ports"][0]["hostPort"] for pod in found]

    found = eventually(ports, until=lambda seen: len(seen) == 4)
    assert len(set(found)) == 4
    assert all(42000 <= port < 62000 for port in found)


def test_the_operators_token_gets_a_port_and_an_index_and_nobody_else_does(cluster: Cluster) -> None:
    account = keys.CONTROLLER_ACCOUNT
    token = cluster.run(lambda client: client.token_request(keys.SYSTEM_NAMESPACE, account, seconds=600))

    def ask(path: str, method: str, bearer: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        request = urllib.request.Request(f"{cluster.http}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    first: Any = ask("/api/assign-host-port?podName=one", "POST", token)
    assert first[0] == 200, first
    assert 42000 <= int(first[1]) < 62000
    assert ask("/api/assign-host-port?podName=one", "POST", token) == first
    status, index = ask("/api/assign-index?podName=one", "GET", token)
    assert (status, 1 <= int(index) <= 128) == (200, True)
    assert ask("/api/assign-host-port?podName=one", "POST", "")[0] == 401
    assert ask("/api/assign-host-port?podName=one", "POST", "wrong")[0] == 401
