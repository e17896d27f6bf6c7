"""Every example does what its first line says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, await_empty, eventually
from tensorfusion.errors import NotFound
from tensorfusion.model.resources import DEPLOYMENTS, JOBS, NAMESPACES, PODS

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNNING = {"urgent", "notebook", "training", "embedder", "first"}
DISPLACED = {"scavenger"}
WAITING = {"second": "quota exceeded in namespace", "too-big": "device"}


def scheduled_message(pod: dict[str, Any]) -> str:
    conditions = pod["status"].get("conditions", [])
    return next((c["message"] for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), "")


def is_displaced(cluster: Cluster, namespace: str, name: str) -> bool:
    """The pod was evicted, or never came to run."""
    try:
        pod = cluster.run(lambda client: client.get(PODS, dict, name, namespace=namespace))
    except NotFound:
        return True
    return "device" in scheduled_message(pod)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_works_as_it_is(cluster: Cluster, namespace: str, file: Path) -> None:
    documents = [document for document in yaml.safe_load_all(file.read_text()) if document]
    cluster.program("apply", "-f", str(file), "-n", namespace)
    for document in documents:
        name, where = document["metadata"]["name"], document["metadata"].get("namespace", namespace)
        if document["kind"] == "Deployment":
            wanted = document["spec"]["replicas"]
            eventually(
                lambda name=name, where=where: cluster.run(
                    lambda client: client.get(DEPLOYMENTS, dict, name, namespace=where)
                ),
                until=lambda found, wanted=wanted: found.get("status", {}).get("availableReplicas") == wanted,
            )
        elif document["kind"] == "Job":
            wanted = document["spec"]["parallelism"]
            eventually(
                lambda name=name, where=where: cluster.run(
                    lambda client: client.get(JOBS, dict, name, namespace=where)
                ),
                until=lambda found, wanted=wanted: found.get("status", {}).get("ready") == wanted,
            )
        elif name in DISPLACED:
            eventually(lambda name=name, where=where: is_displaced(cluster, where, name))
        elif document["kind"] == "Pod":
            assert name in RUNNING or name in WAITING

            def settled(pod: dict[str, Any], name: str = name) -> bool:
                if name in RUNNING:
                    return pod["status"].get("phase") == "Running"
                return WAITING[name] in scheduled_message(pod)

            eventually(
                lambda name=name, where=where: cluster.run(
                    lambda client: client.get(PODS, dict, name, namespace=where)
                ),
                until=settled,
            )
    if any(document["kind"] == "Namespace" for document in documents):
        cluster.run(lambda client: client.delete(NAMESPACES, "team-a"))
        await_empty(cluster, "team-a")
