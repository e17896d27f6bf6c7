"""The guide of the gateway: its quick start runs as it stands there, and its settings are settings."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from tensorfusion.gateway.configuring import read_configuration
from tensorfusion.gateway.settings import Settings
from tensorfusion.model.strict import convert

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "gateway.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_quick_start_answers(tmp_path: Path) -> None:
    routes, _ = blocks("yaml")
    (commands,) = blocks("bash")
    gateway, model = free_port(), free_port()

    def placed(text: str) -> str:
        return text.replace("8787", gateway).replace("8001", model)

    routes = placed(routes).replace("keyFile:", f"limitsFile: {tmp_path / 'limits'}\nkeyFile:")
    (tmp_path / "routes.yaml").write_text(routes)
    done = subprocess.run(
        ["bash", "-c", "set -eum\n" + placed(commands) + "\nwait\n"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    answer = json.loads(done.stdout[done.stdout.index('{"id"') :].splitlines()[0])
    assert answer["choices"][0]["finish_reason"] == "stop", done.stderr
    (line,) = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert json.loads(line)["target"] == "local"


def test_the_settings_of_the_guide_are_settings(tmp_path: Path) -> None:
    routes, settings = blocks("yaml")
    assert convert(yaml.safe_load(settings), Settings, "guide").workers == 2
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    (tmp_path / "routes.yaml").write_text(routes)
    found = read_configuration(tmp_path / "routes.yaml", {"OPENAI_API_KEY": "sk-yours"})
    assert [str(route.key) for route in found.routes] == ["default/chat"]
