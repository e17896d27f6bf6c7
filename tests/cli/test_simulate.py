"""`tensorfusion simulate` reads manifests: ordinary ones are asked about, malformed ones end in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tensorfusion.cli import simulate
from tensorfusion.errors import ConfigError

POD = "apiVersion: v1\nkind: Pod\n"
SPEC = "spec: {containers: [{name: a}]}\n"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    bodies: list[Any] = []

    def post(_: str, *, token: str | None, body: bytes) -> dict[str, Any]:
        bodies.append(json.loads(body))
        return {"scheduleResult": {}}

    monkeypatch.setattr(simulate, "http_get", post)
    monkeypatch.setattr(simulate, "http_address", lambda *_: "http://nowhere")
    monkeypatch.setattr(simulate, "bearer_token", lambda *_: None)
    monkeypatch.setattr(simulate, "default_namespace", lambda *_: "team")
    return bodies


def run(folder: Path, text: str) -> None:
    file = folder / "pod.yaml"
    file.write_text(text)
    CliRunner().invoke(simulate.command, ["-f", str(file), "-o", "json"], catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize(
    ("value", "read"), [("2026-01-01", "2026-01-01"), ("!!binary aGVsbG8=", "aGVsbG8="), ("12:30:00", 45_000)]
)
def test_values_that_yaml_gives_a_type_of_its_own_are_sent_as_json(tmp_path, sent, value: str, read: object) -> None:
    run(tmp_path, f"{POD}metadata: {{name: a, annotations: {{since: {value}}}}}\n{SPEC}")
    assert sent[0]["metadata"]["annotations"] == {"since": read}
    assert sent[0]["metadata"]["namespace"] == "team"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{POD}metadata: foo\n{SPEC}", "Pod ?: metadata: wanted an object, found str"),
        (f"{POD}metadata: {{name: a, annotations: {{x: &a [*a]}}}}\n{SPEC}", "Pod a: cannot be sent as JSON"),
        (f"{POD}metadata: {{name: a, annotations: {{x: !!set {{a}}}}}}\n{SPEC}", ""),
        (
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: [1]}}\n",
            "CronJob c: spec.jobTemplate.spec: wanted an object, found list",
        ),
        (
            (
                "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n"
                "spec: {template: {metadata: [1], spec: {containers: []}}}\n"
            ),
            "Job j: spec.template.metadata: wanted an object, found list",
        ),
        (
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: 5}}\n",
            "Job j: spec.template.spec: wanted an object, found int",
        ),
        (
            "apiVersion: batch/v1\nkind: Job\nmetadata: [j]\nspec: {template: {spec: {containers: []}}}\n",
            "Job ?: metadata: wanted an object, found list",
        ),
    ],
)
def test_a_manifest_of_another_form_is_refused_with_the_field(tmp_path, sent, text: str, said: str) -> None:
    if not said:  # a set is a list in JSON
        run(tmp_path, text)
        assert sent[0]["metadata"]["annotations"] == {"x": ["a"]}
        return
    with pytest.raises(ConfigError) as refused:
        run(tmp_path, text)
    assert said in str(refused.value)
    assert not sent
