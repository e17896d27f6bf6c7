"""A fraction of a GPU from ``apply`` to Running, and everything a user sees on the way."""

import json
import time
from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.errors import ApiError
from tensorfusion.kube.client import Client
from tensorfusion.model import keys
from tensorfusion.model.resources import DEPLOYMENTS, EVENTS, GPU_RESOURCE_QUOTAS, GPUS, NODES, PODS, Resource

PREFIX = f"{keys.DOMAIN}/"


def gpu_pod(name: str, *, labels: dict[str, str] | None = None, **wishes: str) -> dict[str, Any]:
    """A pod that asks for a share: ``tflops_request="60"`` is the annotation ``tflops-request``."""
    annotations = {PREFIX + key.replace("_", "-"): value for key, value in wishes.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {keys.ENABLED: "true", **(labels or {})}, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "busybox"}], "terminationGracePeriodSeconds": 0},
    }


def create(cluster: Cluster, namespace: str, body: dict[str, Any], resource: Resource = PODS) -> dict[str, Any]:
    return cluster.run(lambda client: client.create(resource, body, namespace=namespace))


def get(cluster: Cluster, namespace: str, name: str, resource: Resource = PODS) -> dict[str, Any]:
    return cluster.run(lambda client: client.get(resource, dict, name, namespace=namespace))


def delete(cluster: Cluster, namespace: str, name: str, resource: Resource = PODS) -> None:
    cluster.run(lambda client: client.delete(resource, name, namespace=namespace))


def running(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    return eventually(lambda: get(cluster, namespace, name), until=lambda pod: pod["status"].get("phase") == "Running")


def waiting(cluster: Cluster, namespace: str, name: str) -> str:
    """The reason with which a pod is held back."""

    def message() -> str:
        pod = get(cluster, namespace, name)
        for condition in pod["status"].get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return str(condition["message"])
        return ""

    return eventually(message)


def takers(cluster: Cluster, pod: dict[str, Any]) -> int:
    """How many nodes could take such a pod, as the scheduler sees them."""
    status, answer = cluster.post("/api/simulate-schedule", json.dumps(pod))
    assert status == 200, answer
    return int(answer["scheduleResult"]["FeasibleNodes"])


def devices(cluster: Cluster, pod: dict[str, Any]) -> list[dict[str, Any]]:
    ids = pod["metadata"]["annotations"][keys.GPU_IDS].split(",")
    return [get(cluster, "", name, GPUS) for name in ids]


def test_a_quarter_of_an_a100_runs_on_an_a100_with_its_devices_in_the_annotations(
    cluster: Cluster, namespace: str
) -> None:
    create(cluster, namespace, gpu_pod("quarter", compute_percent_request="25", vram_request="20Gi", gpu_model="A100"))
    pod = running(cluster, namespace, "quarter")
    assert pod["spec"]["nodeName"] == "a100-0"
    assert pod["spec"]["schedulerName"] == keys.SCHEDULER_NAME
    (device,) = devices(cluster, pod)
    assert "A100" in device["status"]["gpuModel"]
    assert device["status"]["nodeSelector"]["kubernetes.io/hostname"] == "a100-0"


def test_the_devices_numbers_follow_a_pod_and_come_back_when_it_is_deleted(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("held", tflops_request="60", vram_request="6Gi", gpu_model="L4"))
    (device,) = devices(cluster, running(cluster, namespace, "held"))

    def apps(expected: bool) -> dict[str, Any]:
        def held(gpu: dict[str, Any]) -> bool:
            found = [
                pod["name"]
                for app in gpu["status"].get("runningApps") or []
                for pod in app["pods"]
                if pod["namespace"] == namespace
            ]
            return (found == ["held"]) is expected

        return eventually(lambda: get(cluster, "", device["metadata"]["name"], GPUS), until=held)

    assert apps(expected=True)["status"]["available"] != device["status"]["capacity"]
    delete(cluster, namespace, "held")
    apps(expected=False)


def test_several_devices_of_one_node_for_one_pod(cluster: Cluster, namespace: str) -> None:
    create(
        cluster, namespace, gpu_pod("two", gpu_count="2", tflops_request="900", vram_request="70Gi", gpu_model="H100")
    )
    found = devices(cluster, running(cluster, namespace, "two"))
    assert len({device["metadata"]["name"] for device in found}) == 2
    assert {device["status"]["nodeSelector"]["kubernetes.io/hostname"] for device in found} == {"h100-0"}


def test_a_pod_that_fits_nowhere_says_why_in_its_condition_its_event_and_explain(
    cluster: Cluster, namespace: str
) -> None:
    create(cluster, namespace, gpu_pod("big", tflops_request="100", vram_request="200Gi"))
    message = waiting(cluster, namespace, "big")
    assert "vram" in message
    explained = cluster.program("explain", "pod", "big", "-n", namespace, "--address", cluster.http).stdout
    assert "vram" in explained

    async def events(client: Client) -> list[dict[str, Any]]:
        return (await client.list(EVENTS, dict, namespace=namespace)).items

    def warned() -> bool:
        return any(
            event["type"] == "Warning" and event["involvedObject"]["name"] == "big" and "vram" in event["message"]
            for event in cluster.run(events)
        )

    eventually(warned)


def test_a_pod_waits_for_room_and_takes_it_when_another_leaves(cluster: Cluster, namespace: str) -> None:
    for name in ("one", "two"):
        create(cluster, namespace, gpu_pod(name, tflops_request="100", vram_request="20Gi", gpu_model="L4"))
        running(cluster, namespace, name)
    create(cluster, namespace, gpu_pod("late", tflops_request="100", vram_request="20Gi", gpu_model="L4"))
    waiting(cluster, namespace, "late")
    delete(cluster, namespace, "one")
    running(cluster, namespace, "late")


def test_a_quota_holds_a_pod_back_and_lets_it_go_when_usage_falls(cluster: Cluster, namespace: str) -> None:
    quota = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "GPUResourceQuota",
        "metadata": {"name": "team"},
        "spec": {"total": {"requests": {"tflops": "100"}}, "single": {"maxGPUCount": 1}},
    }
    create(cluster, namespace, quota, GPU_RESOURCE_QUOTAS)
    create(cluster, namespace, gpu_pod("first", tflops_request="80", vram_request="1Gi"))
    running(cluster, namespace, "first")

    def used() -> str:
        status = get(cluster, namespace, "team", GPU_RESOURCE_QUOTAS).get("status", {})
        return str(status.get("used", {}).get("requests", {}).get("tflops", ""))

    eventually(used, until=lambda value: value == "80")
    create(cluster, namespace, gpu_pod("second", tflops_request="40", vram_request="1Gi"))
    message = waiting(cluster, namespace, "second")
    assert f"quota exceeded in namespace {namespace} for total.max.tflops.request: requested" in message
    delete(cluster, namespace, "first")
    running(cluster, namespace, "second")


def test_an_ordinary_deployment_runs_and_keeps_off_the_gpu_nodes(cluster: Cluster, namespace: str) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {"name": "web", "image": "nginx", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
                    ]
                },
            },
        },
    }
    create(cluster, namespace, deployment, DEPLOYMENTS)
    eventually(
        lambda: get(cluster, namespace, "web", DEPLOYMENTS),
        until=lambda found: found.get("status", {}).get("availableReplicas") == 2,
    )
    pods = cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items
    assert {pod["spec"]["nodeName"] for pod in pods} == {"cpu-0"}


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"tflops_request": "many"}, ["tflops-request", "many"]),
        ({"tflops_request": "10", "vram_request": "-1Gi"}, ["vram-request", "-1Gi"]),
        ({"tflops_request": "10", "vram_request": "1Gi", "gpu_count": "200"}, ["gpu-count", "200", "128"]),
        ({"tflops_request": "10", "vram_request": "1Gi", "gpupool": "nowhere"}, ["nowhere"]),
        (
            {"tflops_request": "10", "vram_request": "1Gi", "isolation": "hard", "vendor": "AMD"},
            ["isolation", "hard", "AMD"],
        ),
        ({"tflops_request": "10", "vram_request": "1Gi", "isolation": "maybe"}, ["isolation", "maybe"]),
        ({"tflops_request": "10", "vram_request": "1Gi", "qos": "platinum"}, ["qos", "platinum"]),
        ({"tflops_request": "10", "vram_request": "1Gi", "workload_profile": "none"}, ["none"]),
        ({}, ["tflops-request"]),
    ],
)
def test_a_mistake_in_an_annotation_is_refused_with_one_clear_line(
    cluster: Cluster, namespace: str, wishes: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ApiError) as refused:
        create(cluster, namespace, gpu_pod("wrong", **wishes))
    assert 400 <= refused.value.status_code < 500
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_a_pod_that_ends_gives_its_share_back(cluster: Cluster, namespace: str) -> None:
    body = gpu_pod("ends", tflops_request="100", vram_request="20Gi", gpu_model="L4")
    body["metadata"]["annotations"]["simulated.tensor-fusion.ai/run-for"] = "1s"
    body["spec"]["restartPolicy"] = "Never"
    create(cluster, namespace, body)
    eventually(lambda: get(cluster, namespace, "ends")["status"].get("phase"), until=lambda phase: phase == "Succeeded")
    for name in ("next-0", "next-1"):
        create(cluster, namespace, gpu_pod(name, tflops_request="100", vram_request="20Gi", gpu_model="L4"))
        running(cluster, namespace, name)


def test_a_cordoned_node_gets_no_pods_until_it_is_uncordoned(cluster: Cluster, namespace: str) -> None:
    def cordon(value: bool) -> None:
        cluster.run(lambda client: client.patch(NODES, "l4-0", {"spec": {"unschedulable": value}}))

    l4 = gpu_pod("l4", tflops_request="10", vram_request="1Gi", gpu_model="L4")
    cordon(True)
    try:
        eventually(lambda: takers(cluster, l4) == 0)
        create(cluster, namespace, l4)
        waiting(cluster, namespace, "l4")
    finally:
        cordon(False)
    running(cluster, namespace, "l4")


def test_allocation_shows_what_is_held(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("seen", tflops_request="10", vram_request="1Gi"))
    pod = running(cluster, namespace, "seen")
    allocation = cluster.get("/api/allocation")
    assert pod["metadata"]["uid"] in allocation["allocation"]
    (device,) = pod["metadata"]["annotations"][keys.GPU_IDS].split(",")
    assert any(entry["podName"] == "seen" for entry in allocation["gpuToWorkerMap"][device])
    assert f"/{device}" in allocation["gpuStore"]


def test_the_pods_history_is_one_creation_one_binding_and_one_status_write(cluster: Cluster, namespace: str) -> None:
    """The write budget of a pod: the generation of writes is counted by a watch from before its creation."""

    async def history(client: Client) -> list[dict[str, Any]]:
        before = (await client.list(PODS, dict, namespace=namespace)).resource_version
        await client.create(PODS, gpu_pod("counted", tflops_request="10", vram_request="1Gi"), namespace=namespace)
        seen = []
        async for event in client.watch(PODS, dict, namespace=namespace, resource_version=before):
            if event.type in ("ADDED", "MODIFIED"):
                seen.append(event.object)
                if event.object["status"].get("phase") == "Running":
                    break
        return seen

    started = time.monotonic()
    states = cluster.run(history)
    assert [state["spec"].get("nodeName") is not None for state in states] == [False, True, True]
    assert keys.GPU_IDS in states[1]["metadata"]["annotations"]
    assert time.monotonic() - started < 20
