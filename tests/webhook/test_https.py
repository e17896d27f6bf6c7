"""The webhook as an API server meets it: HTTPS on loopback, AdmissionReviews in and out."""

import base64
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.runtime.serving import Listener
from tensorfusion.telemetry.metrics import metrics_response
from tensorfusion.webhook.certificates import ensure_certificates


@pytest.fixture
async def post(site: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """``await post(path, body)``: status and decoded answer."""
    made = ensure_certificates(tmp_path, ["127.0.0.1"], now=datetime.now(UTC))
    listener = Listener(site.webhook.app, host="127.0.0.1", port=0, tls=(made.certificate, made.key))
    port = await listener.start()
    trust = ssl.create_default_context(cadata=made.ca.decode())
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(path: str, body: bytes) -> tuple[int, Any]:
            async with session.post(f"https://127.0.0.1:{port}{path}", data=body) as answer:
                content = await answer.read()
                return answer.status, json.loads(content) if answer.status == 200 else content.decode()

        yield send
        await connector.close(abort_ssl=True)
    await listener.stop()


def review(**request: Any) -> bytes:
    asked = {"uid": "r-1", "operation": "CREATE", "namespace": "team", "userInfo": {"username": "tenant"}, **request}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}).encode()


def pod(**annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "w", "labels": {keys.ENABLED: "true"}, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }


async def test_a_pod_is_changed(site: Any, post: Any) -> None:
    site.put(r.GPU_POOLS, "main", metadata={"annotations": {keys.IS_DEFAULT_POOL: "true"}})
    status, answer = await post("/mutate-v1-pod", review(object=pod(**{keys.TFLOPS_LIMIT: "5"})))
    assert status == 200
    response = answer["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("r-1", True, "JSONPatch")
    ops = json.loads(base64.b64decode(response["patch"]))
    assert {"op": "add", "path": "/spec/schedulerName", "value": keys.SCHEDULER_NAME} in ops


async def test_a_mistake_is_answered_with_its_own_code_and_line(post: Any) -> None:
    _, answer = await post("/mutate-v1-pod", review(object=pod(**{keys.TFLOPS_LIMIT: "lots"})))
    assert answer["response"]["allowed"] is False
    assert answer["response"]["status"]["code"] == 400
    assert "'lots'" in answer["response"]["status"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": None},
        {"metadata": {"labels": {keys.ENABLED: "true"}}},
        {"metadata": {"labels": {keys.ENABLED: "true"}}, "spec": None},
        {"metadata": {"labels": {keys.ENABLED: "true"}}, "spec": {"containers": []}},
        {"metadata": {"labels": {keys.ENABLED: "true"}}, "spec": {"containers": [{}]}},
        {"metadata": {"labels": {keys.ENABLED: "true"}}, "spec": {"containers": [{"name": "a", "resources": None}]}},
        {
            "metadata": {"labels": {keys.ENABLED: "true"}, "ownerReferences": None},
            "spec": {"containers": [{"env": None}]},
        },
    ],
)
async def test_an_odd_pod_is_never_a_fault_of_ours(site: Any, post: Any, body: dict[str, Any]) -> None:
    site.put(r.GPU_POOLS, "main", metadata={"annotations": {keys.IS_DEFAULT_POOL: "true"}})
    if "spec" in body and body["spec"] and body["spec"]["containers"]:
        body["metadata"]["annotations"] = {keys.TFLOPS_LIMIT: "1"}
    status, answer = await post("/mutate-v1-pod", review(object=body))
    assert status == 200
    assert answer["response"].get("status", {}).get("code", 400) < 500


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"request": 1}', b"[" * 100_000])
@pytest.mark.parametrize("path", ["/mutate-v1-pod", "/validate-v1-pod", "/validate-v1-binding"])
async def test_nonsense_is_a_400(post: Any, path: str, body: bytes) -> None:
    status, text = await post(path, body)
    assert status == 400
    assert "Traceback" not in text


async def test_answers_are_counted(post: Any) -> None:
    def denied() -> float:
        line = 'tensorfusion_admissions_total{result="denied",webhook="mutate-pod"}'
        return sum(
            float(row.split()[-1]) for row in metrics_response()[0].decode().splitlines() if row.startswith(line)
        )

    before = denied()
    await post("/mutate-v1-pod", review(object=pod(**{keys.TFLOPS_LIMIT: "lots"})))
    assert denied() == before + 1
