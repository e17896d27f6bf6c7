"""A scattered pool is defragmented in its window: the guide's plan, the campaign, and whole devices afterwards."""

from pathlib import Path
from typing import Any

from checker import oversold
from cluster import Cluster, eventually
from tensorfusion.model.resources import DEPLOYMENTS, EVENTS, GPU_POOLS, GPUS, NODES, PODS
from test_readme import pattern, steps

ROOT = Path(__file__).parents[2]
WINDOW = 90.0
"""Seconds: the longest wait for a tick, a campaign, and its end."""


def nodes_of(cluster: Cluster, namespace: str, app: str) -> list[str]:
    """Nodes of the replicas that run and are not about to end."""
    found = cluster.run(lambda client: client.list(PODS, dict, namespace=namespace, labels=f"app={app}")).items
    live = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
    return sorted(pod["spec"].get("nodeName", "") for pod in live if pod["status"].get("phase") == "Running")


def configure(cluster: Cluster, defrag: dict[str, Any] | None) -> None:
    patch = {"spec": {"nodeManagerConfig": {"nodeCompaction": {"defrag": defrag}}}}
    cluster.run(lambda client: client.patch(GPU_POOLS, "default", patch))


def reasons(cluster: Cluster, name: str) -> set[str]:
    found = cluster.run(lambda client: client.list(EVENTS, dict)).items
    return {event["reason"] for event in found if event["involvedObject"]["name"] == name}


def test_the_guides_plan_is_carried_out_in_the_pools_window(cluster: Cluster, namespace: str) -> None:
    example = ROOT / "examples" / "more" / "scattered.yaml"
    guide = (ROOT / "docs" / "guides" / "defragmentation.md").read_text()
    apply, plan = steps(guide)
    assert apply.command == f"kubectl apply -f {example.relative_to(ROOT)}"
    cluster.program("apply", "-f", str(example), "-n", namespace)
    eventually(lambda: nodes_of(cluster, namespace, "trainer"), until=lambda nodes: nodes == ["a100-0"] * 2)
    eventually(lambda: nodes_of(cluster, namespace, "server"), until=lambda nodes: nodes == ["h100-0"])
    wanted = pattern(plan.expected)
    command = plan.command.removeprefix("tensorfusion ").split()
    eventually(lambda: wanted.fullmatch(cluster.program(*command, "--address", cluster.http).stdout))
    assert nodes_of(cluster, namespace, "server") == ["h100-0"]

    configure(cluster, {"enabled": True, "schedule": "* * * * *", "timezone": "UTC", "maxDuration": "15s"})
    try:
        eventually(
            lambda: nodes_of(cluster, namespace, "server"), until=lambda nodes: nodes == ["a100-0"], patience=WINDOW
        )
        eventually(lambda: "DefragFinished" in reasons(cluster, "default"), patience=WINDOW)
    finally:
        configure(cluster, None)
    eventually(lambda: "DefragStarted" in reasons(cluster, "default"))
    eventually(lambda: cluster.run(lambda client: client.get(GPU_POOLS, dict, "default"))["status"]["lastDefragTime"])
    labels = cluster.run(lambda client: client.get(NODES, dict, "h100-0"))["metadata"]["labels"]
    eventually(
        lambda: cluster.run(lambda client: client.get(NODES, dict, "h100-0"))["metadata"]["labels"],
        until=lambda labels: not any("defrag" in key for key in labels),
    )
    assert labels["kubernetes.io/hostname"] == "h100-0"
    eventually(
        lambda: cluster.run(lambda client: client.get(DEPLOYMENTS, dict, "server", namespace=namespace))["status"],
        until=lambda status: status["readyReplicas"] == 1,
    )
    pods = cluster.run(lambda client: client.list(PODS, dict)).items
    gpus = cluster.run(lambda client: client.list(GPUS, dict)).items
    assert oversold(gpus, pods) == []
