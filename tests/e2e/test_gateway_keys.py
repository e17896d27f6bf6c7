"""Keys of the gateway as objects: made and ended by the command, guarded by roles and by their schema."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster import Cluster, await_rights, eventually
from tensorfusion.cli.gateway_keys import keys
from tensorfusion.cli.user import command as user
from tensorfusion.errors import ConfigError, Forbidden, Invalid
from tensorfusion.gateway.keys.secret import digest_of
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.resources import LLM_KEYS
from test_tenants import Tenant, tenant  # noqa: F401  a fixture


def body(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "tensor-fusion.ai/v1", "kind": "LLMKey", "metadata": {"name": name}, "spec": spec}


def run(cluster: Cluster, *arguments: str) -> str:
    done = CliRunner().invoke(keys, [*arguments, "--kubeconfig", str(cluster.kubeconfig)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_the_whole_life_of_a_key_that_is_an_object(cluster: Cluster, namespace: str) -> None:
    name = f"key-{uuid.uuid4().hex[:6]}"
    first = run(cluster, "create", name, "-n", namespace, "--model", "qwen3-*", "--rpm", "60", "--expires", "1h")

    def spec() -> dict[str, Any]:
        found = cluster.run(lambda client: client.get(LLM_KEYS, dict, name, namespace=namespace))
        return dict(found["spec"])

    assert (spec()["hash"], spec()["prefix"]) == (digest_of(first.encode()).hex(), first[:8])
    assert (spec()["scopes"], spec()["rateLimit"]["requestsPerMinute"]) == (["infer"], 60)
    second = run(cluster, "rotate", name, "-n", namespace, "--overlap", "10m")
    assert spec()["hash"] == digest_of(second.encode()).hex()
    assert [one["hash"] for one in spec()["previous"]] == [digest_of(first.encode()).hex()]
    assert spec()["rateLimit"]["requestsPerMinute"] == 60
    assert first[:9] not in str(spec())
    run(cluster, "revoke", name, "-n", namespace, "--previous")
    assert "previous" not in spec()
    run(cluster, "revoke", name, "-n", namespace)
    assert spec()["disabled"] is True
    assert "disabled" in run(cluster, "list", "-n", namespace)
    run(cluster, "revoke", name, "-n", namespace, "--delete")
    with pytest.raises(ConfigError, match="there is none"):
        run(cluster, "show", name, "-n", namespace)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "spec.hash: Required value"),
        ({"hash": "tf-3kQx9"}, "spec.hash"),
        ({"hash": "0" * 64, "prefix": "tf-much-too-much-of-the-key"}, "spec.prefix"),
        ({"hash": "0" * 64, "scopes": ["everything"]}, "spec.scopes"),
        ({"hash": "0" * 64, "expiresAt": "soon"}, "spec.expiresAt"),
        ({"hash": "0" * 64, "previous": [{"hash": "0" * 64, "until": "2030-01-01T00:00:00Z"}]}, "present hash"),
    ],
)
def test_what_is_no_key_is_refused(cluster: Cluster, namespace: str, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        cluster.run(lambda client: client.create(LLM_KEYS, body("x", **spec), namespace=namespace))


def test_who_may_edit_a_namespace_sees_its_keys_and_makes_none(
    cluster: Cluster,
    namespace: str,
    tenant: Tenant,  # noqa: F811
) -> None:
    cluster.run(lambda client: client.create(LLM_KEYS, body("x", hash="0" * 64), namespace=namespace))

    def seen() -> list[str]:
        items = tenant(lambda client: client.list(LLM_KEYS, dict, namespace=namespace)).items
        return [one["metadata"]["name"] for one in items]

    assert eventually(seen) == ["x"]
    with pytest.raises(Forbidden):
        tenant(lambda client: client.create(LLM_KEYS, body("y", hash="1" * 64), namespace=namespace))
    with pytest.raises(Forbidden):
        tenant(lambda client: client.patch(LLM_KEYS, "x", {"spec": {"rateLimit": None}}, namespace=namespace))
    with pytest.raises(Forbidden):
        tenant(lambda client: client.list(LLM_KEYS, dict))


def test_who_administers_a_namespace_makes_its_keys_and_no_others(
    cluster: Cluster, namespace: str, other_namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "ann.kubeconfig"
    made = CliRunner().invoke(
        user,
        ["add", "ann", "-n", namespace, "--role", "admin", "-o", str(file), "--kubeconfig", str(cluster.kubeconfig)],
        catch_exceptions=False,
    )
    assert made.exit_code == 0, made.output
    await_rights(load_kubeconfig(file), (LLM_KEYS, namespace))

    def create(place: str) -> str:
        done = CliRunner().invoke(
            keys, ["create", "app", "-n", place, "--kubeconfig", str(file)], catch_exceptions=False
        )
        return done.stdout.strip()

    assert create(namespace).startswith("tf-")
    with pytest.raises(Forbidden):
        create(other_namespace)
