"""A more important pod gets the place of a less important one, unless a budget forbids it."""

from typing import Any

from checker import oversold
from cluster import Cluster, eventually
from tensorfusion.errors import NotFound
from tensorfusion.model.resources import EVENTS, GPUS, POD_DISRUPTION_BUDGETS, PODS
from test_road import create, get, gpu_pod, running, waiting

WHOLE_NODE = {"gpu_count": "2", "tflops_request": "100", "vram_request": "20Gi", "gpu_model": "L4"}


def gone(cluster: Cluster, namespace: str, name: str) -> bool:
    try:
        get(cluster, namespace, name)
    except NotFound:
        return True
    return False


def reasons(cluster: Cluster, namespace: str, name: str) -> set[str]:
    found = cluster.run(lambda client: client.list(EVENTS, dict, namespace=namespace)).items
    return {event["reason"] for event in found if event["involvedObject"]["name"] == name}


def explained(cluster: Cluster, namespace: str, name: str) -> str:
    return cluster.program("explain", "pod", name, "-n", namespace, "--address", cluster.http).stdout


def test_a_share_of_higher_quality_of_service_displaces_a_lower_one(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, gpu_pod("low", qos="low", **WHOLE_NODE))
    running(cluster, namespace, "low")
    create(cluster, namespace, gpu_pod("high", qos="critical", **WHOLE_NODE))
    pod = running(cluster, namespace, "high")
    assert pod["spec"]["nodeName"] == "l4-0"
    eventually(lambda: gone(cluster, namespace, "low"))
    told = explained(cluster, namespace, "high")
    assert f"victims {namespace}/low" in told, told
    eventually(lambda: "Preempted" in reasons(cluster, namespace, "low"))
    eventually(lambda: "Nominated" in reasons(cluster, namespace, "high"))
    gpus = cluster.run(lambda client: client.list(GPUS, dict)).items
    pods = cluster.run(lambda client: client.list(PODS, dict)).items
    assert oversold(gpus, pods) == []


def test_a_budget_keeps_the_less_important_pod(cluster: Cluster, namespace: str) -> None:
    budget: dict[str, Any] = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"keep": "me"}}},
    }
    create(cluster, namespace, budget, POD_DISRUPTION_BUDGETS)
    create(cluster, namespace, gpu_pod("low", labels={"keep": "me"}, **WHOLE_NODE))
    running(cluster, namespace, "low")
    create(cluster, namespace, gpu_pod("high", qos="critical", **WHOLE_NODE))
    waiting(cluster, namespace, "high")
    told = eventually(lambda: explained(cluster, namespace, "high"), until=lambda text: "keptByBudgets" in text)
    assert f"triedOut {namespace}/low" in told, told
    assert f"keptByBudgets {namespace}/keep" in told, told
    assert get(cluster, namespace, "low")["status"]["phase"] == "Running"
    cluster.run(lambda client: client.delete(POD_DISRUPTION_BUDGETS, "keep", namespace=namespace))
    running(cluster, namespace, "high")
    eventually(lambda: gone(cluster, namespace, "low"))
