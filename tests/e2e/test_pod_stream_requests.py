"""What the API says about logs and streams before any node is asked: the same on the embedded API and on a real one."""

import json
from urllib.parse import quote

import pytest

from cluster import Cluster

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "free"},
    "spec": {
        "schedulerName": "nobody",
        "containers": [{"name": "a", "image": "busybox"}, {"name": "b", "image": "busybox"}],
    },
}
EITHER = "choose one of: [a b]"


@pytest.fixture
def free(kubectl: Cluster, namespace: str) -> str:
    """The path of a pod that no scheduler places."""
    kubectl.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(POD))
    return f"/api/v1/namespaces/{namespace}/pods/free"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", f"a container name must be specified for pod free, {EITHER}"),
        ("container=c", "container c is not valid for pod free"),
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=1&sinceTime=" + quote("2026-01-01T00:00:00Z"), "[]: Forbidden: at most one of `sinceTime` or"),
        ("stream=Stdout", "stream: Forbidden: may not be specified"),
    ],
)
def test_logs_that_cannot_be(kubectl: Cluster, free: str, query: str, text: str) -> None:
    done = kubectl.kubectl("get", "--raw", f"{free}/log?{query}", check=False)
    assert done.returncode != 0
    assert text in done.stderr


def test_the_log_of_a_pod_without_a_node_is_empty(kubectl: Cluster, free: str) -> None:
    assert kubectl.kubectl("get", "--raw", f"{free}/log?container=a").stdout == ""


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ("exec?command=id&stdout=1", f"a container name must be specified for pod free, {EITHER}"),
        ("exec?command=id&stdout=1&container=c", "container c is not valid for pod free"),
        ("exec?command=id&stdout=1&container=a", "pod free does not have a host assigned"),
        ("attach?stdout=1&container=a", "pod free does not have a host assigned"),
        ("portforward", "pod free does not have a host assigned"),
    ],
)
def test_streams_that_cannot_be(kubectl: Cluster, free: str, request_: str, text: str) -> None:
    done = kubectl.kubectl("create", "--raw", f"{free}/{request_}", "-f", "-", stdin="{}", check=False)
    assert done.returncode != 0
    assert text in done.stderr


def test_discovery_names_the_streams(kubectl: Cluster) -> None:
    found = json.loads(kubectl.kubectl("get", "--raw", "/api/v1").stdout)["resources"]
    entries = {entry["name"]: entry for entry in found}
    assert entries["pods/log"]["verbs"] == ["get"]
    for name, kind in (
        ("exec", "PodExecOptions"),
        ("attach", "PodAttachOptions"),
        ("portforward", "PodPortForwardOptions"),
    ):
        assert entries[f"pods/{name}"]["kind"] == kind
        assert entries[f"pods/{name}"]["verbs"] == ["create", "get"]
