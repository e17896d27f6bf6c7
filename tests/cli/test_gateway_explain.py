"""``tensorfusion gateway explain`` and ``replay``: what became of requests, from the file of their records."""

import json
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from tensorfusion.cli.gateway import command
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.evidence import Record, TriedTarget


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


def record(name: str, **fields: object) -> Record:
    values: dict[str, object] = {
        "id": name,
        "request_id": name,
        "timestamp": 1_767_225_600.25,
        "api": "chat/completions",
        "status": 200,
        "latency_ms": 93.5,
        "overhead_ms": 0.2,
        "model": "chat",
        "route": "red/r",
        "target": "spare",
        "target_model": "large",
        "provider": "vllm",
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "cost_microusd": 2500,
        "finish_reason": "stop",
        "namespace": "red",
        "key_id": "red/a",
        "attempts": (
            TriedTarget("main", "status 500: HTTP 500: no", 500, 3.5),
            TriedTarget("spare", "answered 200", 200, 90.0, 12.0),
        ),
    }
    return Record(**{**values, **fields})  # type: ignore[arg-type] # as the test says


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    records = [record("req-1", status=500), record("req-1"), record("req-2", target="main"), record("req-3", model="n")]
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in records) + b'{"id": "half')
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    targets = [
        {"name": "main", "provider": "vllm", "model": "large", "endpoint": "http://127.0.0.1:1", "priority": 1},
        {"name": "spare", "provider": "vllm", "model": "large", "endpoint": "http://127.0.0.1:2", "priority": 2},
    ]
    for one in targets:
        one.update(costPer1MInput="1", costPer1MOutput="2")
    spec = {"strategy": "priority", "selector": {"modelPattern": "^chat$", "namespaces": ["red"]}, "targets": targets}
    metadata = {"name": "r", "namespace": "red"}
    route = {"apiVersion": "tensor-fusion.ai/v1", "kind": "LLMRoute", "metadata": metadata, "spec": spec}
    path.write_text(yaml.safe_dump_all([route, {"log": {"file": str(tmp_path / "requests.jsonl")}}]))
    return path


def test_a_request_is_told_with_each_attempt(log: Path) -> None:
    done = run("explain", "req-1", "--log", log)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "2 requests had this id (clients may choose it); this is the newest",
        "request   req-1 at 2026-01-01T00:00:00.250Z",
        "asked     chat/completions of model chat",
        "caller    red/a of namespace red",
        "route     red/r",
        "answer    200 by spare (large of vllm), finished by stop",
        "time      93.5 ms; of it the gateway's own 0.2 ms",
        "used      1000 + 50 tokens: $0.0025",
        "",
        "ATTEMPT   TARGET   OUTCOME                    TIME     FIRST WORD",
        "1         main     status 500: HTTP 500: no   3.5 ms   -",
        "2         spare    answered 200               90 ms    12 ms",
    ]


def test_with_the_configuration_it_is_told_why_the_route_took_it(log: Path, config: Path) -> None:
    done = run("explain", "req-2", "--config", config)
    assert done.exit_code == 0
    assert "  red/r: takes the request" in done.stdout
    assert "  targets of red/r (priority), in this turn:" in done.stdout
    refused = run("explain", "req-3", "--config", config, "--log", log, "-o", "json")
    found = json.loads(refused.stdout)
    assert found["record"]["attempts"][0]["status"] == 500
    assert found["now"]["refusal"] == "namespace red has no route for model 'n'"


def refused(name: str, status: int, kind: str, **fields: object) -> Record:
    nothing = {"target": "", "target_model": "", "provider": "", "attempts": (), "prompt_tokens": 0, "cost_microusd": 0}
    used = {"completion_tokens": 0, "finish_reason": "", "latency_ms": 0.3}
    return record(name, **{**nothing, **used, "status": status, "error_type": kind, "error_message": "why", **fields})


def test_a_request_that_was_refused_is_told_with_the_reason(log: Path, config: Path) -> None:
    stranger = refused("req-7", 401, "authentication_error", key_id="", namespace="", model="", route="")
    log.write_bytes(msgspec.json.encode(stranger) + b"\n")
    assert run("explain", "req-7", "--config", config).stdout.splitlines() == [
        "request   req-7 at 2026-01-01T00:00:00.250Z",
        "asked     chat/completions",
        "caller    nobody: no good key came",
        "route     none",
        "answer    401 without a target",
        "error     authentication_error: why",
        "time      0.3 ms; of it the gateway's own 0.2 ms",
        "used      0 + 0 tokens: $0",
    ]


def test_a_replay_takes_up_what_no_route_took_and_nothing_else_that_was_refused(log: Path, config: Path) -> None:
    records = [
        refused("a", 404, "model_not_found", route=""),
        refused("b", 404, "model_not_found", route="", model="", requests=7),
        refused("c", 429, "rate_limit_error"),
        refused("d", 400, "invalid_request_error", route="", model=""),
        refused("e", 401, "authentication_error", route="", model="", key_id="", namespace=""),
        refused("f", 503, "no_healthy_target"),
    ]
    log.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in records))
    done = json.loads(run("replay", log, "--config", config, "-o", "json").stdout)
    assert (done["requests"], done["refusals"]) == (2, [])
    assert [(one["from"], one["to"]) for one in done["moves"]] == [("nobody", "red/r main"), ("red/r", "red/r main")]


def test_an_unknown_request_is_an_error(log: Path) -> None:
    done = run("explain", "req-9", "--log", log)
    assert isinstance(done.exception, ConfigError)
    assert "no record of request 'req-9'" in str(done.exception)
    assert run("explain", "req-1").exit_code == 2


def test_a_line_that_is_no_record_is_an_error(log: Path) -> None:
    log.write_bytes(b'{"id": 1}\n')
    done = run("explain", "a", "--log", log)
    assert f"{log}: line 1: is no record" in str(done.exception)


def test_a_replay_counts_by_route_and_target(log: Path, config: Path) -> None:
    done = run("replay", log, "--config", config)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "ROUTE      TARGET   BEFORE   AFTER",
        "(nobody)   -        0        1",
        "red/r      main     1        3",
        "red/r      spare    3        0",
        "",
        "4 requests: 1 stay where they were, 3 go elsewhere",
        "       2  red/r spare -> red/r main",
        "       1  red/r spare -> nobody",
        "       1  refused: namespace red has no route for model 'n'",
        "cost: $0.01 before, $0.0033 after, -0.0067",
    ]
    again = [run("replay", log, "--config", config, "-o", "json").stdout for _ in range(2)]
    assert again[0] == again[1]
    assert json.loads(again[0])["cost_difference"] == "-0.0067"
