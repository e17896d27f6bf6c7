"""``tensorfusion convert``: objects on standard output, what was rewritten on standard error, errors with a place."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tensorfusion.cli.convert import command
from tensorfusion.errors import ConfigError

SEED = """apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  template:
    metadata:
      annotations:
        tensor-fusion.ai/enabled-replicas: "3"  // [!code highlight]
  replicas: 10
---
apiVersion: tensor-fusion.ai/v1
kind: AzureGPUSource
metadata: {name: s, namespace: x}
spec: {sourceType: foundry, location: eastus, subscriptionID: s, foundryEndpoint: "https://f"}
"""


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(command, [*arguments], input=text, catch_exceptions=False)


def test_objects_go_to_standard_output_and_rewrites_to_standard_error(tmp_path: Path) -> None:
    file = tmp_path / "seed.yaml"
    file.write_text(SEED)
    done = run("-f", str(file))
    assert done.exit_code == 0
    deployment, source = yaml.safe_load_all(done.stdout)
    assert deployment["spec"]["template"]["metadata"]["annotations"] == {"tensor-fusion.ai/enabled-replicas": "3"}
    assert source["spec"]["region"] == "eastus"
    assert "namespace" not in source["metadata"]
    assert done.stderr.splitlines() == [
        f"{file} (document 1): Deployment d: line 8: '// [!code highlight]' -> removed: a documentation marker",
        f"{file} (document 2): AzureGPUSource s: spec.location: eastus -> spec.region: eastus",
        (
            f"{file} (document 2): AzureGPUSource s: warning: metadata.namespace: x is ignored: "
            "AzureGPUSource is cluster-scoped"
        ),
    ]


def test_what_came_out_goes_in_without_a_word() -> None:
    once = run("-f", "-", text=SEED)
    twice = run("-f", "-", text=once.stdout)
    assert (twice.stdout, twice.stderr) == (once.stdout, "")


def test_json_is_one_object_or_one_list() -> None:
    one = run("-f", "-", "-o", "json", text="{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}")
    assert json.loads(one.stdout)["kind"] == "ConfigMap"
    both = json.loads(run("-f", "-", "-o", "json", text=SEED).stdout)
    assert [item["kind"] for item in both["items"]] == ["Deployment", "AzureGPUSource"]
    assert json.loads(run("-f", "-", "-o", "json", text=json.dumps(both)).stdout) == both


def test_nothing_is_printed_when_something_cannot_be_said() -> None:
    done = run(
        "-f", "-", text="{apiVersion: tensor-fusion.ai/v1, kind: LLMRoute, metadata: {name: r}, spec: {tragets: []}}"
    )
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: standard input: LLMRoute r: spec.tragets: wanted targets (did you mean it?), found an unknown field\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a: "x" // why\n', "line 1 has // in it, which starts no comment in YAML: write #"),
        ("a: [1\n", "is not YAML"),
        ("a: 2026-99-99\n", "is not YAML"),
    ],
)
def test_what_is_not_yaml_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="standard input: is not YAML") as caught:
        run("-f", "-", text=text)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "null", "---\n---\n", "[]", "3", "{kind: 5}", "{kind: List, items: null}"])
def test_anything_that_is_yaml_is_answered(text: str) -> None:
    assert run("-f", "-", text=text).exit_code == 0
