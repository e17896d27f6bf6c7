"""Shares beside a device plugin (progressive migration), and native pods that are given shares by rules."""

from collections.abc import Iterator
from typing import Any

import pytest

from cluster import Cluster, embedded_cluster, eventually, real_cluster
from tensorfusion.errors import NotFound
from tensorfusion.model import keys
from tensorfusion.model.resources import CONFIG_MAPS, DEPLOYMENTS, EVENTS, GPUS, NAMESPACES, NODES, PODS

Json = dict[str, Any]
GPU = "nvidia.com/gpu"
PLUGIN = "nvidia-device-plugin"
FLEET = {"nodes": [{"name": "l4-{i}", "count": 2, "cpu": 16, "memory": "64Gi", "gpus": {"model": "L4", "count": 2}}]}


@pytest.fixture(scope="module")
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose nodes also have a device plugin."""
    make = real_cluster if request.config.getoption("--real") else embedded_cluster
    with make(tmp_path_factory.mktemp("both"), fleet=FLEET, options=("--progressive-migration",)) as running:
        yield running


@pytest.fixture
def team(both: Cluster) -> Iterator[str]:
    """A namespace, and no pods anywhere once the test is over."""
    both.run(lambda client: client.create(NAMESPACES, {"metadata": {"name": "team"}}))
    yield "team"
    both.run(lambda client: client.delete_collection(DEPLOYMENTS, namespace="team"))
    both.run(lambda client: client.delete_collection(PODS, namespace="team", grace_seconds=0))
    both.run(lambda client: client.delete(NAMESPACES, "team"))

    def gone() -> bool:
        try:
            both.run(lambda client: client.get(NAMESPACES, dict, "team"))
        except NotFound:
            return True
        return False

    eventually(gone, patience=60)
    eventually(lambda: taken(both), until=lambda found: found == set())


def pod(name: str, *, native: int = 0, labels: Json | None = None, **wishes: str) -> Json:
    annotations = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()}
    container: Json = {"name": "main", "image": "busybox"}
    if native:
        container["resources"] = {"limits": {GPU: str(native)}}
    enabled = {} if native else {keys.ENABLED: "true"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {**enabled, **(labels or {})}, "annotations": annotations},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


def create(cluster: Cluster, body: Json) -> Json:
    return cluster.run(lambda client: client.create(PODS, body, namespace="team"))


def get(cluster: Cluster, name: str) -> Json:
    return cluster.run(lambda client: client.get(PODS, dict, name, namespace="team"))


def delete(cluster: Cluster, name: str) -> None:
    cluster.run(lambda client: client.delete(PODS, name, namespace="team", grace_seconds=0))


def running(cluster: Cluster, name: str) -> Json:
    return eventually(lambda: get(cluster, name), until=lambda found: found["status"].get("phase") == "Running")


def waits(cluster: Cluster, name: str) -> str:
    def message() -> str:
        conditions = get(cluster, name)["status"].get("conditions", [])
        return " ".join(one.get("message", "") for one in conditions if one["status"] == "False")

    return eventually(message)


def taken(cluster: Cluster) -> set[str]:
    """The devices that the device plugin has handed out."""
    found = cluster.run(lambda client: client.list(GPUS, dict)).items
    return {gpu["metadata"]["name"] for gpu in found if gpu["status"].get("usedBy") == PLUGIN}


def taints(cluster: Cluster, node: str) -> list[str]:
    found = cluster.run(lambda client: client.get(NODES, dict, node))["spec"].get("taints") or []
    return [taint["effect"] for taint in found if taint["key"] == f"{keys.DOMAIN}/used-by"]


def test_native_pods_and_shares_never_meet_on_a_device(both: Cluster, team: str) -> None:
    create(both, pod("share", tflops_request="10", vram_request="1Gi"))
    share = running(both, "share")["spec"]["nodeName"]
    eventually(lambda: taints(both, share), until=lambda seen: seen == ["PreferNoSchedule"])

    made = create(both, pod("native", native=1))
    assert made["spec"]["schedulerName"] == keys.SCHEDULER_NAME
    assert set(made["metadata"].get("labels", {})) == set()
    other = running(both, "native")["spec"]["nodeName"]
    assert other != share
    eventually(lambda: len(taken(both)), until=lambda count: count == 1)
    eventually(
        lambda: [one["reason"] for one in both.run(lambda c: c.list(EVENTS, dict, namespace="team")).items],
        until=lambda reasons: "ScheduleWithNativeGPU" in reasons,
    )

    for number in range(3):  # whole devices for all that are left: one beside the native pod, one beside the share
        create(both, pod(f"whole-{number}", isolation="shared"))
    held = set()
    for number in range(2):
        held |= set(running(both, f"whole-{number}")["metadata"]["annotations"][keys.GPU_IDS].split(","))
    assert len(held) == 2
    assert not held & taken(both)
    assert "not wholly free" in waits(both, "whole-2") or "another system" in waits(both, "whole-2")
    create(both, pod("second", native=1))
    assert "holding shares of devices" in waits(both, "second")

    delete(both, "native")
    third = running(both, "whole-2")["metadata"]["annotations"][keys.GPU_IDS]
    assert third not in held
    eventually(lambda: taken(both), until=lambda found: found == set())


def test_the_rest_of_a_canary_runs_on_the_device_plugin_and_comes_back_after_a_rollback(
    both: Cluster, team: str
) -> None:
    annotations = {f"{keys.DOMAIN}/{key}": value for key, value in (("enabled-replicas", "1"), ("tflops-request", "5"))}
    container = {"name": "main", "image": "busybox", "resources": {"limits": {GPU: "1"}}}
    template = {
        "metadata": {"labels": {"app": "web", keys.ENABLED: "true"}, "annotations": annotations},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
        },
    }
    both.run(lambda client: client.create(DEPLOYMENTS, body, namespace="team"))

    def found() -> tuple[list[str], int]:
        pods = both.run(lambda client: client.list(PODS, dict, namespace="team")).items
        live = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
        phases = sorted(str(one["status"].get("phase")) for one in live)
        return phases, sum(one["metadata"]["labels"].get(keys.COMPONENT) == "worker" for one in live)

    eventually(found, until=lambda seen: seen == (["Running"] * 3, 1))
    eventually(lambda: len(taken(both)), until=lambda count: count == 2)
    off = {"spec": {"template": {"metadata": {"annotations": {f"{keys.DOMAIN}/enabled-replicas": "0"}}}}}
    both.run(lambda client: client.patch(DEPLOYMENTS, "web", off, namespace="team"))
    eventually(found, until=lambda seen: seen == (["Running"] * 3, 0))
    eventually(lambda: len(taken(both)), until=lambda count: count == 3)


def test_rules_give_native_pods_shares_and_are_changed_while_everything_runs(both: Cluster, team: str) -> None:
    name, namespace = "tensor-fusion-sys-config", keys.SYSTEM_NAMESPACE

    def configure(text: str) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"config.yaml": text}}
        try:
            both.run(lambda client: client.patch(CONFIG_MAPS, name, {"data": body["data"]}, namespace=namespace))
        except NotFound:
            both.run(lambda client: client.create(CONFIG_MAPS, body, namespace=namespace))

    def becomes(**labels: str) -> str:
        body = pod("probe", native=1, labels=labels)
        made = both.run(lambda client: client.create(PODS, body, namespace="team", dry_run=True))
        return str(made["metadata"].get("labels", {}).get(keys.COMPONENT, "native"))

    assert becomes(app="a") == "native"
    configure("autoMigration: {enable: true, scope: {includes: {podSelector: {matchLabels: {app: a}}}}}")
    eventually(lambda: becomes(app="a"), until=lambda seen: seen == "worker")
    assert becomes(app="b") == "native"
    configure("autoMigration: {enable: perhaps}")
    eventually(
        lambda: [one["reason"] for one in both.run(lambda c: c.list(EVENTS, dict, namespace=namespace)).items],
        until=lambda reasons: "InvalidConfig" in reasons,
    )
    assert becomes(app="a") == "worker"
    create(both, pod("moved", native=1, labels={"app": "a"}))
    assert running(both, "moved")["metadata"]["annotations"][keys.ISOLATION] == "shared"
    assert taken(both) == set()
    both.run(lambda client: client.delete(CONFIG_MAPS, name, namespace=namespace))
    eventually(lambda: becomes(app="a"), until=lambda seen: seen == "native")
