"""Moving a workload to shares step by step, and back: canaries by ``enabled-replicas``."""

from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.errors import BadRequest, NotFound
from tensorfusion.model import keys
from tensorfusion.model.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS

Json = dict[str, Any]


def deployment(replicas: int, *, enabled: str = "true", **wishes: str) -> Json:
    annotations = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()}
    container = {"name": "main", "image": "busybox", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web", keys.ENABLED: enabled}, "annotations": annotations},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }


def pods(cluster: Cluster, namespace: str) -> list[Json]:
    found = cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def split(found: list[Json]) -> tuple[int, int]:
    """How many pods have a share, and how many kept the native GPU."""
    enabled = [pod for pod in found if pod["metadata"]["labels"].get(keys.COMPONENT) == "worker"]
    native = [pod for pod in found if "nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"].get("limits", {})]
    assert len(enabled) + len(native) == len(found)
    return len(enabled), len(native)


def counts(cluster: Cluster, namespace: str) -> list[str]:
    """The counters on all ReplicaSets."""
    found = cluster.run(lambda client: client.list(REPLICA_SETS, dict, namespace=namespace)).items
    return [
        value
        for one in found
        for key, value in one["metadata"].get("annotations", {}).items()
        if key.startswith(keys.COUNTER_PREFIX)
    ]


def await_split(cluster: Cluster, namespace: str, wanted: tuple[int, int]) -> list[Json]:
    eventually(lambda: split(pods(cluster, namespace)), until=lambda found: found == wanted)
    return pods(cluster, namespace)


def test_a_canary_enables_exactly_its_number_heals_and_rolls_back(cluster: Cluster, namespace: str) -> None:
    body = deployment(7, enabled_replicas="3", tflops_request="10", vram_request="1Gi")
    cluster.run(lambda client: client.create(DEPLOYMENTS, body, namespace=namespace))
    found = await_split(cluster, namespace, (3, 4))
    eventually(lambda: counts(cluster, namespace), until=lambda seen: seen == ["3"])
    one = next(pod for pod in found if pod["metadata"]["labels"].get(keys.COMPONENT) == "worker")
    name = one["metadata"]["name"]
    cluster.run(lambda client: client.delete(PODS, name, namespace=namespace))
    eventually(lambda: name not in [pod["metadata"]["name"] for pod in pods(cluster, namespace)])
    await_split(cluster, namespace, (3, 4))

    for change in (
        {"annotations": {f"{keys.DOMAIN}/enabled-replicas": "0"}},
        {"labels": {keys.ENABLED: "false"}, "annotations": {f"{keys.DOMAIN}/enabled-replicas": "3"}},
    ):
        patch = {"spec": {"template": {"metadata": change}}}
        cluster.run(lambda client, patch=patch: client.patch(DEPLOYMENTS, "web", patch, namespace=namespace))
        await_split(cluster, namespace, (0, 7))
        eventually(lambda: counts(cluster, namespace), until=lambda seen: seen == [])
    kept = cluster.run(lambda client: client.get(DEPLOYMENTS, dict, "web", namespace=namespace))
    (container,) = kept["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_a_canary_without_a_controller_is_refused(cluster: Cluster, namespace: str) -> None:
    template = deployment(1, enabled_replicas="3", tflops_request="10")["spec"]["template"]
    body = {"apiVersion": "v1", "kind": "Pod", **template}
    body["metadata"]["name"] = "alone"
    with pytest.raises(BadRequest, match="found a pod without a controller"):
        cluster.run(lambda client: client.create(PODS, body, namespace=namespace))


def test_native_pods_come_to_admission_only_while_rules_ask_for_them(cluster: Cluster, namespace: str) -> None:
    name, system = "tensor-fusion-sys-config", keys.SYSTEM_NAMESPACE
    rules = f"autoMigration: {{enable: true, scope: {{includes: {{namespaceNames: [{namespace}]}}}}}}"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"config.yaml": rules}}
    template = deployment(1)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": template["spec"]}

    def becomes() -> str:
        made = cluster.run(lambda client: client.create(PODS, pod, namespace=namespace, dry_run=True))
        return str(made["metadata"].get("labels", {}).get(keys.COMPONENT, "native"))

    assert becomes() == "native"
    cluster.run(lambda client: client.create(CONFIG_MAPS, body, namespace=system))
    try:
        eventually(becomes, until=lambda seen: seen == "worker")
    finally:
        cluster.run(lambda client: client.delete(CONFIG_MAPS, name, namespace=system))
    eventually(becomes, until=lambda seen: seen == "native")
    with pytest.raises(NotFound):
        cluster.run(lambda client: client.get(PODS, dict, "probe", namespace=namespace))
