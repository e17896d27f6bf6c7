"""Two teams lend each other what they do not use, and get it back at once."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.errors import Invalid
from tensorfusion.model.resources import GPU_COHORTS, GPU_RESOURCE_QUOTAS
from test_preemption import explained, gone, reasons
from test_road import create, get, gpu_pod, running, waiting

DEVICE = {"gpu_count": "1", "tflops_request": "100", "vram_request": "20Gi", "gpu_model": "L4"}


@pytest.fixture
def cohort(cluster: Cluster) -> Iterator[str]:
    name = f"cohort-{uuid.uuid4().hex[:8]}"
    cluster.run(lambda client: client.create(GPU_COHORTS, object_of("GPUCohort", name, reclaim={})))
    yield name
    cluster.run(lambda client: client.delete(GPU_COHORTS, name))


def object_of(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "tensor-fusion.ai/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def share(cluster: Cluster, cohort: str, *namespaces: str) -> None:
    for namespace in namespaces:
        quota = object_of("GPUResourceQuota", "quota", total={"maxGPUCount": 1}, cohort=cohort)
        create(cluster, namespace, quota, GPU_RESOURCE_QUOTAS)


def test_what_one_team_borrows_the_other_gets_back(
    cluster: Cluster, namespace: str, other_namespace: str, cohort: str
) -> None:
    other = other_namespace
    share(cluster, cohort, namespace, other)
    for name in ("one", "two"):
        create(cluster, namespace, gpu_pod(name, **DEVICE))
        running(cluster, namespace, name)
    create(cluster, namespace, gpu_pod("three", **DEVICE))
    said = waiting(cluster, namespace, "three")
    assert f"1 is its own, cohort {cohort} has 0 left for it" in said

    def borrowed() -> dict[str, Any]:
        status = cluster.run(lambda client: client.get(GPU_COHORTS, dict, cohort)).get("status", {})
        return {one["name"]: one["borrowed"]["gpuCount"] for one in status.get("members", [])}

    eventually(borrowed, until=lambda found: found == {namespace: 1, other: 0})
    create(cluster, other, gpu_pod("mine", **DEVICE))
    running(cluster, other, "mine")
    (victim,) = [name for name in ("one", "two") if gone(cluster, namespace, name)]
    eventually(lambda: "Reclaimed" in reasons(cluster, namespace, victim))
    assert "a pod of another namespace" in explained(cluster, other, "mine")
    eventually(borrowed, until=lambda found: found == {namespace: 0, other: 0})
    assert get(cluster, namespace, "three")["spec"].get("nodeName") is None


@pytest.mark.parametrize(
    ("resource", "spec", "said"),
    [
        (GPU_RESOURCE_QUOTAS, {"cohort": "Not_A_Label"}, "spec.cohort"),
        (GPU_RESOURCE_QUOTAS, {"cohort": "x", "fairWeight": 0}, "spec.fairWeight"),
        (GPU_RESOURCE_QUOTAS, {"cohort": "x", "lending": {"limit": {"gpuCount": -1}}}, "spec.lending.limit.gpuCount"),
        (GPU_RESOURCE_QUOTAS, {"cohort": "x", "borrowing": {"limit": {"vram": "-1Gi"}}}, "spec.borrowing.limit.vram"),
        (GPU_RESOURCE_QUOTAS, {"borrowing": {}}, "borrowing needs a cohort to share with"),
        (GPU_COHORTS, {"reclaim": {"policy": "Sometimes"}}, "spec.reclaim.policy"),
        (GPU_COHORTS, {"parent": "-x"}, "spec.parent"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cluster: Cluster, namespace: str, resource: Any, spec: dict[str, Any], said: str
) -> None:
    body = object_of(resource.kind, "odd", **spec)
    place = namespace if resource.namespaced else None
    with pytest.raises(Invalid) as caught:
        cluster.run(lambda client: client.create(resource, body, **({"namespace": place} if place else {})))
    assert said in str(caught.value)
