"""The guide of the gateway's keys: its commands run as they stand there, and its keys are keys."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tensorfusion.gateway.keys.file import parse_keys
from tensorfusion.gateway.keys.record import record_of
from tensorfusion.gateway.settings import RedisSource, Settings
from tensorfusion.model.llm_key import LLMKey
from tensorfusion.model.strict import convert

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "gateway-keys.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_commands_run_one_after_the_other(tmp_path: Path) -> None:
    (commands,) = blocks("bash")
    script = "set -eu\n" + commands + '\nprintf "%s\\n%s\\n" "$KEY" "$NEW"\n'
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    old, new = done.stdout.split()[-2:]
    assert len(old) == len(new) == 46
    kept = (tmp_path / "keys.yaml").read_text()
    assert old[:9] not in kept
    assert new[:9] not in kept
    assert old[:9] not in done.stderr


def test_the_keys_of_the_guide_are_keys() -> None:
    file, manifest, settings = (yaml.safe_load(block) for block in blocks("yaml"))
    assert convert(settings, Settings, "guide").limits_redis == RedisSource(env="REDIS_URL")
    records = parse_keys(file["keys"], at="guide", environ={"OLD_APP_KEY": "sk-made-elsewhere-0123456789"})
    assert [record.id for record in records] == ["team-red/chat-ui", "default/old-app"]
    key = convert(manifest, LLMKey, "guide")
    assert record_of(key.spec, name="chat-ui", namespace="team-red", at="spec").digests == records[0].digests
