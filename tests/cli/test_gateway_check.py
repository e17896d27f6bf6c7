"""``tensorfusion gateway check``: what is wrong is told, and the exit status says whether it matters."""

import json
from pathlib import Path

import yaml
from click.testing import CliRunner, Result

from tensorfusion.cli.gateway import command


def check(path: Path, *documents: object) -> Result:
    path.write_text(yaml.safe_dump_all(documents))
    return CliRunner().invoke(command, ["check", "--config", str(path)], catch_exceptions=False)


def route(name: str, *targets: dict[str, object], **spec: object) -> dict[str, object]:
    written = [{"name": f"t{at}", "provider": "vllm", "model": "m", **target} for at, target in enumerate(targets)]
    return {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "LLMRoute",
        "metadata": {"name": name},
        "spec": {"strategy": "priority", "targets": written, **spec},
    }


HERE = {"endpoint": "http://10.0.0.1:8000/v1"}
THERE = {"endpoint": "http://10.0.0.2:8000/v1"}


def test_nothing_wrong(tmp_path: Path) -> None:
    done = check(tmp_path / "r.yaml", route("a", HERE, THERE))
    assert (done.exit_code, done.output) == (0, "1 routes with 2 targets, 0 keys: 0 errors, 0 warnings\n")


def test_a_target_without_an_address_and_a_credential_that_is_not_there(tmp_path: Path) -> None:
    secret = {"apiKeySecret": {"name": "s", "namespace": "default", "key": "k"}}
    done = check(tmp_path / "r.yaml", route("a", {"gpuPool": "gone"}, {**HERE, **secret}, THERE))
    assert done.exit_code == 1
    assert (
        "error: LLMRoute default/a: target t0: GPUPool gone is looked up on Kubernetes only: name its URLs under pools in the settings"
        in done.output
    )
    assert "error: LLMRoute default/a: target t1: Secret default/s key k does not exist" in done.output


def test_a_route_that_no_request_can_reach(tmp_path: Path) -> None:
    done = check(tmp_path / "r.yaml", route("a", HERE, THERE), route("b", HERE, THERE))
    assert "LLMRoute default/b" in done.output
    assert done.exit_code == 1


def test_findings_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(route("a", {"gpuPool": "gone"}, HERE)))
    done = CliRunner().invoke(command, ["check", "--config", str(path), "-o", "json"], catch_exceptions=False)
    assert done.exit_code == 1
    (found,) = (one for one in json.loads(done.output) if one["severity"] == "error")
    assert found == {
        "severity": "error",
        "route": "default/a",
        "target": "t0",
        "message": "GPUPool gone is looked up on Kubernetes only: name its URLs under pools in the settings",
    }
