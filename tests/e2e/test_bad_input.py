"""Whatever is thrown at the API: a 4xx with one clear line, nothing stored, never a 500 or a traceback."""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

import pytest

from cluster import Cluster
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import GPU_POOLS, GPU_RESOURCE_QUOTAS, PODS
from test_road import gpu_pod

JSON = "application/json"
MERGE = "application/merge-patch+json"
OPERATIONS = "application/json-patch+json"


def send(cluster: Cluster, method: str, path: str, body: bytes, content_type: str) -> tuple[int, dict[str, Any]]:
    connection = load_kubeconfig(cluster.kubeconfig)
    context = ssl.create_default_context(cadata=(connection.ca_data or b"").decode())
    if connection.client_cert is not None and not connection.token:
        context.load_cert_chain(str(connection.client_cert), str(connection.client_key))
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {connection.token}"}
    request = urllib.request.Request(f"{connection.server}{path}", data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def refused(cluster: Cluster, method: str, path: str, body: bytes, content_type: str = JSON) -> dict[str, Any]:
    code, status = send(cluster, method, path, body, content_type)
    assert 400 <= code < 500, status
    assert status["kind"] == "Status"
    assert status["code"] == code
    assert status["message"]
    assert "Traceback" not in status["message"]
    return status


def pod_body(**changes: Any) -> dict[str, Any]:
    return {**gpu_pod("bad", tflops_request="1", vram_request="1Gi"), **changes}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"},"spec":{"containers":"none"}}',
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"},"spec":{"containers":[]}}',
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"Bad_Name"},"spec":{"containers":[{"name":"a","image":"b"}]}}',
        b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"bad"}}',
        b'{"apiVersion":"v2","kind":"Pod","metadata":{"name":"bad"}}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000,
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad","labels":{"a":1}},"spec":{"containers":[{"name":"a","image":"b"}]}}',
    ],
    ids=lambda body: body[:24].decode(errors="replace") + f"..{len(body)}",
)
def test_a_malformed_pod_is_refused(cluster: Cluster, namespace: str, body: bytes) -> None:
    refused(cluster, "POST", f"/api/v1/namespaces/{namespace}/pods", body)
    assert cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items == []


def test_a_body_over_3_mib_is_refused(cluster: Cluster, namespace: str) -> None:
    body = pod_body()
    body["metadata"]["annotations"]["big"] = "x" * (4 << 20)
    code, _ = send(cluster, "POST", f"/api/v1/namespaces/{namespace}/pods", json.dumps(body).encode(), JSON)
    assert code in (400, 413, 422)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (OPERATIONS, b'[{"op":"fly","path":"/a"}]'),
        (OPERATIONS, b'{"op":"add"}'),
        (OPERATIONS, b'[{"op":"remove","path":"/spec/nothing"}]'),
        (OPERATIONS, b'[{"op":"test","path":"/metadata/name","value":"other"}]'),
        (OPERATIONS, b"[1]"),
        (MERGE, b"[]"),
        (MERGE, b"{"),
        (MERGE, b'{"spec":{"capacityConfig":{"oversubscription":{"tflopsOversellRatio":"many"}}}}'),
        (MERGE, b'{"spec":{"capacityConfig":{"oversubscription":{"tflopsOversellRatio":1}}}}'),
        (MERGE, b'{"metadata":{"name":"other"}}'),
        ("text/plain", b"{}"),
    ],
)
def test_a_malformed_patch_is_refused_and_changes_nothing(cluster: Cluster, content_type: str, body: bytes) -> None:
    before = cluster.run(lambda client: client.get(GPU_POOLS, dict, "default"))["spec"]
    refused(cluster, "PATCH", "/apis/tensor-fusion.ai/v1/gpupools/default", body, content_type)
    assert cluster.run(lambda client: client.get(GPU_POOLS, dict, "default"))["spec"] == before


@pytest.mark.parametrize(
    "spec",
    [
        {"total": {"requests": {"tflops": "lots"}}},
        {"total": {"alertThresholdPercent": 101}},
        {"total": {"maxWorkers": "ten"}},
        {"total": "none"},
        {"single": {"maxGPUCount": 1.5}},
    ],
)
def test_a_wrong_quota_is_refused_by_its_schema(cluster: Cluster, namespace: str, spec: Any) -> None:
    quota = {"apiVersion": "tensor-fusion.ai/v1", "kind": "GPUResourceQuota", "metadata": {"name": "bad"}, "spec": spec}
    path = f"/apis/tensor-fusion.ai/v1/namespaces/{namespace}/gpuresourcequotas"
    refused(cluster, "POST", path, json.dumps(quota).encode())
    assert cluster.run(lambda client: client.list(GPU_RESOURCE_QUOTAS, dict, namespace=namespace)).items == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pods?labelSelector=a%20b%20c",
        "/api/v1/pods?fieldSelector=spec.wrong%3D1",
        "/api/v1/pods?limit=x",
        "/api/v1/pods?continue=nonsense",
        "/api/v1/nothing",
        "/api/v1/namespaces/none/pods/none",
    ],
)
def test_a_wrong_query_is_refused(cluster: Cluster, path: str) -> None:
    refused(cluster, "GET", path, b"")


@pytest.mark.parametrize("body", ["", "[", "kind: Pod", "just text", "{}", "- 1", "a: &a [*a]", "\x00"])
def test_a_wrong_simulation_is_refused(cluster: Cluster, body: str) -> None:
    code, answer = cluster.post("/api/simulate-schedule", body)
    assert code == 400
    assert "Traceback" not in json.dumps(answer)
    assert answer["error"]


def test_a_pool_or_quota_that_could_never_be_used_is_refused(cluster: Cluster, namespace: str) -> None:
    pool = {"apiVersion": "tensor-fusion.ai/v1", "kind": "GPUPool", "metadata": {"name": "p" * 64}, "spec": {}}
    refused(cluster, "POST", "/apis/tensor-fusion.ai/v1/gpupools", json.dumps(pool).encode())
    spec = {"total": {"requests": {"vram": "2Gi"}, "limits": {"vram": "1024Mi"}}}
    quota = {"apiVersion": "tensor-fusion.ai/v1", "kind": "GPUResourceQuota", "metadata": {"name": "bad"}, "spec": spec}
    path = f"/apis/tensor-fusion.ai/v1/namespaces/{namespace}/gpuresourcequotas"
    refused(cluster, "POST", path, json.dumps(quota).encode())
