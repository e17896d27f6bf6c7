"""A gang of higher priority gets its devices from less important pods, for all of its members or not at all."""

from pathlib import Path
from typing import Any

from checker import oversold
from cluster import Cluster, eventually
from tensorfusion.model.resources import EVENTS, GPUS, JOBS, POD_DISRUPTION_BUDGETS, PODS
from test_road import create

MORE = Path(__file__).parents[2] / "examples" / "more"


def pods_of(cluster: Cluster, namespace: str, job: str) -> list[dict[str, Any]]:
    return cluster.run(lambda client: client.list(PODS, dict, namespace=namespace, labels=f"job-name={job}")).items


def ready(cluster: Cluster, namespace: str, job: str) -> int:
    found = cluster.run(lambda client: client.get(JOBS, dict, job, namespace=namespace))
    return int(found.get("status", {}).get("ready") or 0)


def names_of_events(cluster: Cluster, namespace: str, reason: str) -> set[str]:
    found = cluster.run(lambda client: client.list(EVENTS, dict, namespace=namespace)).items
    return {event["involvedObject"]["name"] for event in found if event["reason"] == reason}


def test_the_guides_training_evicts_three_trials_of_the_sweep(cluster: Cluster, namespace: str) -> None:
    cluster.program("apply", "-f", str(MORE / "sweep.yaml"), "-n", namespace)
    eventually(lambda: ready(cluster, namespace, "sweep"), until=lambda count: count == 4)
    trials = {pod["metadata"]["name"] for pod in pods_of(cluster, namespace, "sweep")}
    cluster.program("apply", "-f", str(MORE / "training.yaml"), "-n", namespace)
    eventually(lambda: ready(cluster, namespace, "training"), until=lambda count: count == 3)
    evicted = eventually(
        lambda: names_of_events(cluster, namespace, "Preempted"), until=lambda names: len(names & trials) >= 3
    )
    assert len(evicted & trials) == 3
    workers = pods_of(cluster, namespace, "training")
    assert all(pod["spec"]["nodeName"] == "h100-0" for pod in workers)  # since 1.35 a bound pod is nominated no more
    eventually(lambda: len(names_of_events(cluster, namespace, "Nominated")), until=lambda count: count == 3)
    left = [pod for pod in pods_of(cluster, namespace, "sweep") if pod["metadata"]["name"] in trials]
    assert [pod["status"]["phase"] for pod in left if not pod["metadata"].get("deletionTimestamp")] == ["Running"]
    gpus = cluster.run(lambda client: client.list(GPUS, dict)).items
    assert oversold(gpus, cluster.run(lambda client: client.list(PODS, dict)).items) == []


def test_a_budget_that_lets_too_few_go_keeps_all_of_them(cluster: Cluster, namespace: str) -> None:
    selector = {"matchLabels": {"batch.kubernetes.io/job-name": "sweep"}}
    budget: dict[str, Any] = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "most"},
        "spec": {"maxUnavailable": 1, "selector": selector},
    }
    create(cluster, namespace, budget, POD_DISRUPTION_BUDGETS)
    cluster.program("apply", "-f", str(MORE / "sweep.yaml"), "-n", namespace)
    eventually(lambda: ready(cluster, namespace, "sweep"), until=lambda count: count == 4)
    cluster.program("apply", "-f", str(MORE / "training.yaml"), "-n", namespace)

    def told() -> str:
        pods = pods_of(cluster, namespace, "training")
        if not pods:
            return ""
        name = pods[0]["metadata"]["name"]
        return cluster.program("explain", "pod", name, "-n", namespace, "--address", cluster.http).stdout

    eventually(told, until=lambda text: f"keptByBudgets {namespace}/most" in text)
    assert names_of_events(cluster, namespace, "Preempted") == set()
    assert ready(cluster, namespace, "sweep") == 4
    cluster.run(lambda client: client.delete(POD_DISRUPTION_BUDGETS, "most", namespace=namespace))
    eventually(lambda: ready(cluster, namespace, "training"), until=lambda count: count == 3)
