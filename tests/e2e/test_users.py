"""Tenants and users: one command each, a kubeconfig that works in kubectl, and nothing more than the role allows."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, await_empty, await_rights, eventually
from tensorfusion.errors import ApiError, NotFound
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model.resources import (
    CLUSTER_ROLE_BINDINGS,
    GPU_POOLS,
    GPU_RESOURCE_QUOTAS,
    NAMESPACES,
    PODS,
)
from test_road import gpu_pod, running, waiting


@pytest.fixture
def team(cluster: Cluster) -> Iterator[str]:
    """The name of a tenant that a test makes; gone afterwards."""
    name = f"team-{uuid.uuid4().hex[:8]}"
    yield name
    cluster.program("tenant", "delete", name, "--yes", check=False)
    await_empty(cluster, name)


def as_user(cluster: Cluster, kubeconfig: Path) -> Cluster:
    return replace(cluster, kubeconfig=kubeconfig)


def add(cluster: Cluster, folder: Path, name: str, namespace: str, role: str) -> Cluster:
    file = folder / f"{name}.kubeconfig"
    cluster.program("user", "add", name, "-n", namespace, "--role", role, "-o", str(file))
    assert (file.stat().st_mode & 0o777) == 0o600
    await_user(file, namespace)
    return as_user(cluster, file)


def await_user(kubeconfig: Path, namespace: str) -> None:
    """What it may do in its namespace, and over the cluster, is in force."""
    await_rights(load_kubeconfig(kubeconfig), (PODS, namespace), (GPU_POOLS, ""))


def can(user: Cluster, *question: str) -> bool:
    return user.kubectl("auth", "can-i", *question, check=False).stdout.strip() == "yes"


def test_a_tenant_with_quota_and_user_in_one_step_runs_a_pod(cluster: Cluster, team: str, tmp_path: Path) -> None:
    file = tmp_path / "ann.kubeconfig"
    words = ["tenant", "create", team, "--gpus", "2", "--tflops", "100", "--vram", "8Gi", "--user", "ann"]
    first = cluster.program(*words, "-o", str(file))
    for line in (f"namespace/{team} created", "gpuresourcequota/tenant created", "serviceaccount/ann created"):
        assert line in first.stderr
    assert "the token is good until 20" in first.stderr
    again = cluster.program(*words[:-2]).stderr.splitlines()
    assert again == [f"namespace/{team} unchanged", "gpuresourcequota/tenant unchanged"]
    await_user(file, team)
    ann = as_user(cluster, file)
    assert load_kubeconfig(file).namespace == team
    ann.run(
        lambda client: client.create(PODS, gpu_pod("mine", tflops_request="10", vram_request="1Gi"), namespace=team)
    )
    running(cluster, team, "mine")
    ann.run(lambda client: client.list(GPU_POOLS, dict))
    quota = ann.run(lambda client: client.get(GPU_RESOURCE_QUOTAS, dict, "tenant", namespace=team))
    assert quota["spec"]["total"]["maxGPUCount"] == 2
    over = gpu_pod("over", tflops_request="95", vram_request="1Gi")
    ann.run(lambda client: client.create(PODS, over, namespace=team))
    assert "quota exceeded" in waiting(cluster, team, "over")

    def row() -> dict[str, Any]:
        rows = json.loads(cluster.program("tenant", "list", "-o", "json").stdout)
        return next(entry for entry in rows if entry["name"] == team)

    held = eventually(row, until=lambda found: found["shares"] == "1 of 2")
    assert (held["tflops"], held["users"], held["pools"]) == ("10 of 100", "ann", "all")
    listed = ann.program("get", "pods").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["mine", "over"]
    assert "1 Pending, 1 Running" in ann.program("status").stdout
    explained = ann.program("explain", "pod", "over", "--namespace", team, "--address", cluster.http).stdout
    assert "quota" in explained
    other = ann.program("explain", "pod", "x", "--namespace", "default", "--address", cluster.http, check=False)
    assert 'cannot get pod "x" in the namespace "default"' in other.stderr
    waits = json.loads(ann.program("explain", "pending", "-o", "json", "--address", cluster.http).stdout)
    assert [(row["namespace"], row["reasons"]) for row in waits["byNamespace"]] == [(team, {"quota": 1})]
    words = ann.program("explain", "pending", "--address", cluster.http).stdout
    assert "over the namespace's quota" in words
    other = ann.program("explain", "pending", "-n", "default", "--address", cluster.http, check=False)
    assert 'cannot list pods in the namespace "default"' in other.stderr


def test_the_roles_allow_what_they_say(kubectl: Cluster, namespace: str, tmp_path: Path) -> None:
    viewer = add(kubectl, tmp_path, "vic", namespace, "view")
    editor = add(kubectl, tmp_path, "eve", namespace, "edit")
    admin = add(kubectl, tmp_path, "ada", namespace, "admin")
    for user in (viewer, editor, admin):
        assert can(user, "list", "pods")
        assert can(user, "list", "gpupools.tensor-fusion.ai")
        assert can(user, "get", "gpuresourcequotas.tensor-fusion.ai")
        assert can(user, "list", "workloadprofiles.tensor-fusion.ai")
        assert not can(user, "create", "gpuresourcequotas.tensor-fusion.ai")
        assert not can(user, "patch", "gpupools.tensor-fusion.ai")
        assert not can(user, "patch", "namespaces", namespace)
        assert not can(user, "list", "pods", "-n", "kube-system")
        assert not can(user, "list", "nodes")
    assert not can(viewer, "create", "pods")
    assert not can(viewer, "get", "secrets")
    assert can(editor, "create", "pods")
    assert can(editor, "create", "tensorfusionworkloads.tensor-fusion.ai")
    assert not can(editor, "create", "rolebindings")
    assert can(admin, "create", "rolebindings")
    annotation = f"{keys.ALLOWED_POOLS}=default"
    refused = admin.kubectl("annotate", "namespace", namespace, annotation, check=False)
    assert refused.returncode == 1
    assert "forbidden" in refused.stderr.lower()


def test_a_role_can_be_changed_and_a_user_removed_at_once(kubectl: Cluster, namespace: str, tmp_path: Path) -> None:
    user = add(kubectl, tmp_path, "sam", namespace, "edit")
    assert can(user, "create", "pods")
    changed = kubectl.program("user", "add", "sam", "-n", namespace, "--role", "view")
    assert "rolebinding/tensor-fusion-user-sam updated: view" in changed.stderr
    assert changed.stdout.startswith("apiVersion: v1\n")
    eventually(lambda: not can(user, "create", "pods"))
    listed = json.loads(kubectl.program("user", "list", "-n", namespace, "-o", "json").stdout)
    assert [(entry["name"], entry["role"]) for entry in listed] == [("sam", "view")]
    removed = kubectl.program("user", "remove", "sam", "-n", namespace).stdout
    assert "serviceaccount/sam deleted" in removed
    eventually(lambda: user.kubectl("get", "pods", check=False).returncode == 1)
    assert kubectl.program("user", "list", "-n", namespace).stdout.startswith("no users")
    gone = kubectl.program("user", "remove", "sam", "-n", namespace, check=False)
    assert gone.returncode == 1
    assert gone.stderr.count("\n") == 1


def test_a_user_needs_a_namespace_and_a_name_that_can_be_one(cluster: Cluster) -> None:
    nowhere = cluster.program("user", "add", "bob", "-n", "no-such-place", check=False)
    assert nowhere.stderr == (
        "error: namespace no-such-place: there is none: make it with `tensorfusion tenant create no-such-place`\n"
    )
    system = cluster.program("tenant", "create", "kube-system", check=False)
    assert "wanted a namespace of a team, found 'kube-system'" in system.stderr
    bad = cluster.program("user", "add", "Bob Smith", "-n", "default", check=False)
    assert "wanted at most 53 lower-case letters" in bad.stderr


def test_a_tenant_of_named_pools_uses_no_other(cluster: Cluster, team: str, tmp_path: Path) -> None:
    pool = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "GPUPool",
        "metadata": {"name": f"pool-{team}"},
        "spec": {"nodeManagerConfig": {"nodeSelector": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "no-such-label", "operator": "Exists"}]}]}}},
    }  # fmt: skip
    unknown = cluster.program("tenant", "create", team, "--pools", "nirvana", check=False)
    assert "--pools: wanted existing pools (" in unknown.stderr
    cluster.run(lambda client: client.create(GPU_POOLS, pool))
    try:
        cluster.program("tenant", "create", team, "--pools", f"pool-{team}")
        body = gpu_pod("astray", tflops_request="1", vram_request="1Gi", gpupool="default")
        with pytest.raises(ApiError) as refused:
            cluster.run(lambda client: client.create(PODS, body, namespace=team))
        assert refused.value.status_code == 403
        assert f"(pool-{team}), found 'default'" in str(refused.value)
        made = cluster.run(
            lambda client: client.create(PODS, gpu_pod("home", tflops_request="1", vram_request="1Gi"), namespace=team)
        )
        assert made["metadata"]["annotations"][keys.GPU_POOL] == f"pool-{team}"
        lifted = cluster.program("tenant", "create", team, "--pools", "all").stderr
        assert f"namespace/{team} updated" in lifted
        eventually(lambda: _pool_of(cluster, team) != f"pool-{team}")
    finally:
        cluster.run(lambda client: client.delete(GPU_POOLS, f"pool-{team}"))


def _pool_of(cluster: Cluster, team: str) -> str:
    """Where a pod goes now that names no pool."""
    body = gpu_pod(f"probe-{uuid.uuid4().hex[:6]}", tflops_request="1", vram_request="1Gi")
    made = cluster.run(lambda client: client.create(PODS, body, namespace=team))
    return str(made["metadata"]["annotations"][keys.GPU_POOL])


def test_deleting_a_tenant_takes_its_users_along_and_nobody_elses_namespace(cluster: Cluster, team: str) -> None:
    cluster.program("tenant", "create", team, "--user", "ann")
    asked = cluster.program("tenant", "delete", team, check=False)
    assert "add --yes" in asked.stderr
    cluster.program("tenant", "delete", team, "--yes")
    bindings = cluster.run(lambda client: client.list(CLUSTER_ROLE_BINDINGS, dict)).items
    assert not [binding for binding in bindings if team in binding["metadata"]["name"]]

    def gone() -> bool:
        try:
            cluster.run(lambda client: client.get(NAMESPACES, dict, team))
        except NotFound:
            return True
        return False

    eventually(gone)
    stranger = cluster.program("tenant", "delete", "default", "--yes", check=False)
    assert "is no tenant" in stranger.stderr
