"""Connections get a worker or a reason; kinds that nobody acts on yet say so, once."""

from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.crd import KINDS
from tensorfusion.policy.not_served import NOT_SERVED

CONNECTIONS = r.TENSOR_FUSION_CONNECTIONS


def connect(cluster: Any, name: str, workload: str = "llm") -> None:
    spec = {"workloadName": workload, "clientPod": f"client-{name}"}
    cluster.api.seed(CONNECTIONS, {"metadata": {"name": name}, "spec": spec}, namespace="team")


def workload(cluster: Any, name: str = "llm", **spec: Any) -> None:
    cluster.api.seed(r.TENSOR_FUSION_WORKLOADS, {"metadata": {"name": name}, "spec": spec}, namespace="team")


def worker(cluster: Any, name: str, *, of: str = "llm", namespace: str = "team", **annotations: str) -> None:
    cluster.pod(name, workload=of, namespace=namespace, **annotations)
    cluster.phase(name, "Running", namespace=namespace, podIP=f"10.0.0.{len(name)}")


def status(cluster: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.status(CONNECTIONS, name, namespace="team")
    return found


def reason(cluster: Any, name: str) -> str:
    return next(str(one["reason"]) for one in status(cluster, name)["conditions"] if one["type"] == "ConnectionReady")


async def test_connections_are_spread_over_the_workers_of_their_workload(cluster) -> None:
    workload(cluster, replicas=2)
    worker(cluster, "w1")
    worker(cluster, "w22")
    for name in ("a", "b", "c", "d"):
        connect(cluster, name)
        await cluster.passes(2)
    workers = [status(cluster, name)["workerName"] for name in ("a", "b", "c", "d")]
    assert workers == ["w1", "w22", "w1", "w22"]
    found = cluster.api.object(CONNECTIONS, "a", namespace="team")
    assert found["metadata"]["labels"] == {keys.WORKLOAD: "llm", keys.WORKER_NAME: "w1"}
    assert found["status"]["phase"] == "Running"
    assert found["status"]["connectionURL"].startswith("native+10.0.0.2+8000+w1-")


async def test_connections_that_come_all_at_once_are_spread_too(cluster) -> None:
    workload(cluster, replicas=2)
    worker(cluster, "w1")
    worker(cluster, "w22")
    await cluster.passes(1)
    names = [f"c{number}" for number in range(10)]
    for name in names:
        connect(cluster, name)
    await cluster.passes(4)
    workers = [status(cluster, name)["workerName"] for name in names]
    assert (workers.count("w1"), workers.count("w22")) == (5, 5)


async def test_a_connection_waits_with_a_reason_until_a_worker_runs(cluster) -> None:
    connect(cluster, "a")
    await cluster.passes(2)
    assert (status(cluster, "a")["phase"], reason(cluster, "a")) == ("Pending", "WorkloadNotFound")
    assert status(cluster, "a")["connectionURL"] == ""
    workload(cluster, replicas=1)
    await cluster.passes(2)
    assert reason(cluster, "a") == "WorkerSelectionFailed"
    worker(cluster, "w1")
    await cluster.passes(8)
    assert (status(cluster, "a")["phase"], reason(cluster, "a")) == ("Running", "ConnectionReady")


async def test_events_say_which_worker_was_chosen_or_why_none(cluster) -> None:
    connect(cluster, "a")
    await cluster.passes(20)
    workload(cluster, replicas=1)
    worker(cluster, "w1")
    await cluster.passes(8)
    about = [one for one in cluster.api.objects(r.EVENTS) if one["involvedObject"]["kind"] == "TensorFusionConnection"]
    told = {one["reason"]: (one["type"], one.get("count", 1)) for one in about}
    assert told["WorkerSelected"] == ("Normal", 1)
    assert told["ConnectionReady"] == ("Normal", 1)
    assert told["WorkerSelectionFailed"][0] == "Warning"
    assert told["WorkerSelectionFailed"][1] <= 2, "once for each reason, not once for each look"


async def test_a_workload_without_fixed_replicas_says_that_nobody_makes_its_workers(cluster) -> None:
    workload(cluster)
    connect(cluster, "a")
    await cluster.passes(2)
    assert (status(cluster, "a")["phase"], reason(cluster, "a")) == ("Pending", "NotServedYet")


async def test_pods_with_a_device_of_their_own_and_other_namespaces_serve_nobody(cluster) -> None:
    workload(cluster, replicas=1)
    worker(cluster, "own", embedded_worker="true")
    worker(cluster, "other", namespace="elsewhere")
    connect(cluster, "a")
    await cluster.passes(3)
    assert reason(cluster, "a") == "WorkerSelectionFailed"


async def test_a_worker_that_its_workload_made_serves_although_admission_took_it_for_an_ordinary_pod(cluster) -> None:
    workload(cluster, replicas=0)
    owner = {"apiVersion": "tensor-fusion.ai/v1", "kind": "TensorFusionWorkload", "name": "llm", "uid": "u"}
    cluster.pod("made", workload="llm", owner=owner, embedded_worker="true")
    cluster.phase("made", "Running", podIP="10.0.0.1")
    connect(cluster, "a")
    await cluster.passes(1)
    assert status(cluster, "a")["workerName"] == "made"


async def test_a_connection_keeps_its_worker_and_gets_another_when_it_ends(cluster) -> None:
    workload(cluster, replicas=2)
    worker(cluster, "w1")
    connect(cluster, "a")
    await cluster.passes(2)
    url = status(cluster, "a")["connectionURL"]
    worker(cluster, "w22")
    await cluster.passes(8)
    assert status(cluster, "a")["connectionURL"] == url
    cluster.phase("w1", "Failed")
    cluster.phase("w22", "Pending")
    await cluster.passes(2)
    assert status(cluster, "a")["phase"] == "Failed"
    cluster.phase("w22", "Running", podIP="10.0.0.9")
    await cluster.passes(8)
    assert (status(cluster, "a")["phase"], status(cluster, "a")["workerName"]) == ("Running", "w22")


@pytest.mark.parametrize("kind", sorted(NOT_SERVED))
async def test_a_kind_that_is_not_served_says_so_once(cluster, kind: str) -> None:
    resource = KINDS[kind].resource
    namespace = "team" if resource.namespaced else ""
    cluster.api.seed(resource, {"metadata": {"name": "x"}, "spec": {}}, namespace=namespace)
    cluster.writes()
    await cluster.passes(30)
    (said,) = cluster.status(resource, "x", namespace=namespace)["conditions"]
    assert (said["type"], said["status"]) == (NOT_SERVED[kind].condition, "False")
    assert said["reason"] == "NotServedYet"
    assert said["message"] == NOT_SERVED[kind].message
    assert len([call for call in cluster.writes() if call.resource == resource.id]) == 1


async def test_conditions_of_others_stay(cluster) -> None:
    other = {
        "type": "Other",
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    body = {"metadata": {"name": "x"}, "spec": {}, "status": {"conditions": [other]}}
    cluster.api.seed(r.AZURE_GPU_SOURCES, body)
    await cluster.passes(3)
    types = [one["type"] for one in cluster.status(r.AZURE_GPU_SOURCES, "x")["conditions"]]
    assert types == ["Other", "Ready"]
