"""The guide of what requests leave behind: its settings are settings, and its commands of records run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import yaml

from tensorfusion.gateway.evidence import Record, TriedTarget
from tensorfusion.gateway.settings import MetricsSource, Settings, TraceCollector
from tensorfusion.model.strict import convert

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "gateway-evidence.md").read_text()
ROUTE = """
kind: LLMRoute
apiVersion: tensor-fusion.ai/v1
metadata: {name: chat}
spec:
  strategy: priority
  targets:
  - {name: a, provider: vllm, model: m, endpoint: "http://127.0.0.1:1", costPer1MInput: "1", costPer1MOutput: "1"}
  - {name: b, provider: vllm, model: m, endpoint: "http://127.0.0.1:2"}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_settings_of_the_guide_are_settings() -> None:
    (written,) = blocks("yaml")
    found = convert(yaml.safe_load(written), Settings, "guide")
    assert found.metrics == MetricsSource(url="http://127.0.0.1:4000", file="metrics/token")
    assert found.traces == TraceCollector(url="http://127.0.0.1:4318", ratio=0.1)


def test_the_commands_of_records_run(tmp_path: Path) -> None:
    tried = (TriedTarget("a", "answered", 200, 9.0),)
    record = Record(
        "req-1", "req-1", 1_767_225_600.0, "chat/completions", 200, 9.0, 0.1,
        model="x", route="default/chat", target="a", namespace="default", key_id="anyone", attempts=tried,
    )  # fmt: skip
    (tmp_path / "requests.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    (tmp_path / "new.yaml").write_text(ROUTE)
    (tmp_path / "routes.yaml").write_text(f"{ROUTE}---\nlog: {{file: requests.jsonl}}\n")
    script = "set -eu\n" + "".join(block for block in blocks("bash") if "tensorfusion gateway" in block)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "default/chat: takes the request" in done.stdout
    assert "1 requests: 1 stay where they were, 0 go elsewhere" in done.stdout
