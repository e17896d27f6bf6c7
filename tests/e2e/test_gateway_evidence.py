"""What a gateway of a cluster's objects leaves of a request: a record, a row of the store, spans, metrics."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, eventually
from gateways import gateway, make_key, make_route, model_server, program, request, target

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.spans: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str | None]] = []


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.server.spans += [
            span for one in body["resourceSpans"] for scope in one["scopeSpans"] for span in scope["spans"]
        ]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_a_request_leaves_a_record_a_row_spans_and_metrics(
    cluster: Cluster, namespace: str, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_TOKEN", "Bearer of-the-collector")
    log = tmp_path / "requests.jsonl"
    settings = tmp_path / "settings.yaml"
    with (
        model_server() as one,
        program("metrics", "serve", "--data", str(tmp_path / "metrics"), "--port", "0") as store,
    ):
        url = store.said("listening on").split(" ")[3]
        settings.write_text(
            yaml.safe_dump(
                {
                    "log": {"file": str(log)},
                    "metrics": {"url": url, "file": "metrics/token"},
                    "traces": {
                        "url": f"http://127.0.0.1:{collector.server_port}",
                        "ratio": 0.0,
                        "env": "COLLECTOR_TOKEN",
                    },
                }
            )
        )
        key = make_key(cluster, namespace)
        make_route(cluster, namespace, target("first", one.url, costPer1MInput="1000000", costPer1MOutput="0"))
        with gateway(cluster, "--settings", str(settings)) as serving:
            serving.soon(key)
            fields = {
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/json",
                "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
                "x-request-id": "traced-1",
            }
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a-word-of-mine"}]})
            status, _, answered = request(serving.port, "POST", "/v1/chat/completions", body, fields)
            assert status == 200
            used = json.loads(answered)["usage"]
            assert request(serving.port, "POST", "/v1/chat/completions", body)[0] == 401

            def records() -> list[dict[str, Any]]:
                return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

            kept = eventually(records, until=lambda found: any(record["status"] == 401 for record in found))
            (traced,) = (record for record in kept if record["request_id"] == "traced-1")
            assert (traced["namespace"], traced["key_id"], traced["route"], traced["target"], traced["status"]) == (
                namespace,
                f"{namespace}/app",
                f"{namespace}/chat",
                "first",
                200,
            )
            assert traced["cost_microusd"] == used["prompt_tokens"] * 10**6
            spans = eventually(lambda: [*collector.spans], until=lambda found: len(found) >= 2)
            assert {span["traceId"] for span in spans} == {TRACE}
            assert [span["name"] for span in spans] == [f"chat {namespace}/chat", "attempt first"]
            assert spans[1]["parentSpanId"] == spans[0]["spanId"]
            assert set(collector.asked) == {("/v1/traces", "Bearer of-the-collector")}
            metrics = request(serving.port, "GET", "/metrics")[2].decode()
            answers = sum(record["status"] == 200 for record in kept)
            assert f'requests_total{{route="{namespace}/chat",status="200"}} {answers}.0' in metrics
            assert 'tensorfusion_gateway_requests_total{route="",status="401"} 1.0' in metrics

            def usage() -> dict[str, Any]:
                found: dict[str, Any] = json.loads(request(serving.port, "GET", "/v1/usage", None, fields)[2])
                return found

            told = eventually(usage, until=lambda found: found.get("successful_requests") == answers)
            assert told["total_tokens"] == sum(one["prompt_tokens"] + one["completion_tokens"] for one in kept)
            logs = json.loads(request(serving.port, "GET", "/v1/logs?request_id=traced-1", None, fields)[2])
            assert [record["target"] for record in logs["data"]] == ["first"]
    with program("gateway", "explain", "traced-1", "--log", str(log)) as explained:
        explained.process.wait(30)
    assert f"route     {namespace}/chat" in explained.told
    everything = log.read_text() + json.dumps(collector.spans) + metrics + "\n".join(serving.running.told)
    assert "a-word-of-mine" not in everything
    assert key[:12] not in everything
