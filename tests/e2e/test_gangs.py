"""Gangs on a whole cluster: from a Job's template to pods that start together, and what the workload says."""

from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.errors import ApiError
from tensorfusion.model import keys
from tensorfusion.model.resources import JOBS, PODS, TENSOR_FUSION_WORKLOADS


def job(name: str, members: int, *, vram: str = "70Gi", **wishes: str) -> dict[str, Any]:
    """Every member takes an A100 nearly to itself; the fleet has eight."""
    notes = {
        keys.GANG_ENABLED: "true",
        keys.TFLOPS_REQUEST: "200",
        keys.VRAM_REQUEST: vram,
        keys.GPU_MODEL: "A100",
        **{f"{keys.DOMAIN}/gang-{key.replace('_', '-')}": value for key, value in wishes.items()},
    }
    container = {"name": "main", "image": "busybox", "command": ["sleep", "600"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "parallelism": members,
            "completions": members,
            "template": {
                "metadata": {"labels": {keys.ENABLED: "true"}, "annotations": notes},
                "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


def pods_of(cluster: Cluster, namespace: str, name: str) -> list[dict[str, Any]]:
    found = cluster.run(lambda client: client.list(PODS, dict, namespace=namespace, labels=f"job-name={name}"))
    return found.items


def bound(cluster: Cluster, namespace: str, name: str) -> int:
    return sum(bool(pod["spec"].get("nodeName")) for pod in pods_of(cluster, namespace, name))


def gang_status(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    found = cluster.run(lambda client: client.list(TENSOR_FUSION_WORKLOADS, dict, namespace=namespace)).items
    status: dict[str, Any] = {one["metadata"]["name"]: one for one in found}[name]["status"]["gang"]
    return status


def test_a_gang_waits_as_a_whole_and_starts_as_a_whole(cluster: Cluster, namespace: str) -> None:
    cluster.run(lambda client: client.create(JOBS, job("first", 6), namespace=namespace))
    eventually(lambda: bound(cluster, namespace, "first"), until=lambda count: count == 6)
    running = eventually(
        lambda: gang_status(cluster, namespace, "first"),
        until=lambda status: (
            (status["desiredMembers"], status["readyMembers"], status["reason"]) == (6, 6, "GangReady")
        ),
    )
    assert running["phase"] == "Running"

    cluster.run(lambda client: client.create(JOBS, job("second", 4), namespace=namespace))
    waiting = eventually(
        lambda: gang_status(cluster, namespace, "second"),
        until=lambda status: (
            (status["reason"], status["waitingMembers"]) == ("GangUnschedulable", 4)
            and f"gang {namespace}/second: 2 of 4 fit; the 3rd: " in status["message"]
        ),
    )
    assert waiting["phase"] == "Waiting"
    assert bound(cluster, namespace, "second") == 0
    name = pods_of(cluster, namespace, "second")[0]["metadata"]["name"]
    told = cluster.program("explain", "pod", name, "-n", namespace, "--address", cluster.http).stdout
    assert "2 of 4 fit" in told

    cluster.run(lambda client: client.delete(JOBS, "first", namespace=namespace, propagation="Background"))
    eventually(lambda: bound(cluster, namespace, "second"), until=lambda count: count == 4)


def test_a_gang_that_cannot_be_is_refused_when_its_pods_are_made(cluster: Cluster, namespace: str) -> None:
    body = job("odd", 4, min_members="5")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "alone", **body["spec"]["template"]["metadata"]},
        "spec": body["spec"]["template"]["spec"],
    }
    with pytest.raises(ApiError, match=f"give all members the same label {keys.WORKLOAD}"):
        cluster.run(lambda client: client.create(PODS, pod, namespace=namespace))
