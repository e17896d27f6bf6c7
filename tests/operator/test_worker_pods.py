"""Workers of a workload with a fixed number of replicas: made, replaced, given up, and told about in its status."""

from typing import Any

from tensorfusion.errors import BadRequest, ServerError
from tensorfusion.model import keys
from tensorfusion.model import resources as r

Json = dict[str, Any]


def workload(cluster: Any, *, replicas: int = 3, **spec: Any) -> Json:
    body = {"metadata": {"name": "model"}, "spec": {"replicas": replicas, "poolName": "default", **spec}}
    return cluster.api.seed(r.TENSOR_FUSION_WORKLOADS, body, namespace="team")


def change(cluster: Any, **spec: Any) -> None:
    cluster.api.change(r.TENSOR_FUSION_WORKLOADS, "model", {"spec": spec}, namespace="team")


def workers(cluster: Any) -> list[Json]:
    return [pod for pod in cluster.api.objects(r.PODS) if "deletionTimestamp" not in pod["metadata"]]


def admit(cluster: Any, *, ready: bool = True) -> None:
    """What admission, scheduler and kubelet do to new workers."""
    for pod in workers(cluster):
        name = pod["metadata"]["name"]
        if keys.COMPONENT not in pod["metadata"]["labels"]:
            labels = {"metadata": {"labels": {keys.COMPONENT: "worker"}}}
            cluster.api.change(r.PODS, name, labels, namespace="team")
        if ready and pod.get("status", {}).get("phase") != "Running":
            cluster.api.change(r.PODS, name, {"spec": {"nodeName": "m1"}}, namespace="team")
            since = "2026-01-01T00:00:00Z"
            conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
            cluster.phase(name, "Running", conditions=conditions)


def status(cluster: Any) -> Json:
    return cluster.status(r.TENSOR_FUSION_WORKLOADS, "model", namespace="team")


def ready_condition(cluster: Any) -> Json:
    (condition,) = status(cluster)["conditions"]
    return condition


async def test_the_workers_are_made_and_the_status_follows_them(cluster) -> None:
    owner = workload(cluster)
    await cluster.passes(3)
    made = workers(cluster)
    assert len(made) == 3
    for pod in made:
        (reference,) = pod["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["uid"]) == ("TensorFusionWorkload", owner["metadata"]["uid"])
        assert pod["metadata"]["name"].startswith("model-tf-worker-")
    assert (status(cluster)["workerCount"], status(cluster).get("phase", "Pending")) == (3, "Pending")
    assert ready_condition(cluster)["reason"] == "WaitingForWorkers"
    admit(cluster)
    await cluster.passes(3)
    assert (status(cluster)["readyWorkers"], status(cluster)["phase"]) == (3, "Running")
    assert status(cluster)["podTemplateHash"] == made[0]["metadata"]["labels"][keys.POD_TEMPLATE_HASH]
    assert cluster.names(r.TENSOR_FUSION_WORKLOADS) == ["model"]


async def test_a_lagging_cache_and_lost_replies_make_no_worker_too_many(cluster) -> None:
    cluster.api.lag(r.PODS)
    cluster.api.fail("create", r.PODS, reply_lost=True, error=ServerError("timed out", code=504), times=2)
    workload(cluster)
    await cluster.passes(40)
    assert len(workers(cluster)) == 3
    cluster.api.catch_up()
    await cluster.passes(3)
    assert len(workers(cluster)) == 3


async def test_scaling_down_gives_up_the_least_useful_and_zero_gives_up_all(cluster) -> None:
    workload(cluster)
    await cluster.passes(3)
    kept = workers(cluster)[1]["metadata"]["name"]
    cluster.api.change(r.PODS, kept, {"spec": {"nodeName": "m1"}}, namespace="team")
    cluster.phase(kept, "Running", conditions=[{"type": "Ready", "status": "True"}])
    change(cluster, replicas=1)
    await cluster.passes(3)
    admit(cluster)
    assert [pod["metadata"]["name"] for pod in workers(cluster)] == [kept]
    change(cluster, replicas=0)
    await cluster.passes(3)
    assert workers(cluster) == []
    assert ready_condition(cluster)["reason"] == "ScaledToZero"


async def test_a_changed_template_replaces_the_workers_step_by_step(cluster) -> None:
    workload(cluster, replicas=4)
    await cluster.passes(3)
    admit(cluster)
    await cluster.passes(3)
    old = {pod["metadata"]["name"] for pod in workers(cluster)}
    change(cluster, gpuCount=2)
    for step in range(1, 5):
        await cluster.passes(3)
        left = old & {pod["metadata"]["name"] for pod in workers(cluster)}
        assert len(left) == 4 - step
        admit(cluster)
    await cluster.passes(3)
    assert {pod["metadata"]["annotations"][keys.GPU_COUNT] for pod in workers(cluster)} == {"2"}
    assert status(cluster)["phase"] == "Running"


async def test_a_worker_that_fails_is_seen_and_then_replaced(cluster) -> None:
    workload(cluster, replicas=1)
    await cluster.passes(3)
    admit(cluster)
    (first,) = [pod["metadata"]["name"] for pod in workers(cluster)]
    cluster.phase(first, "Failed")
    await cluster.passes(3)
    assert status(cluster)["phase"] == "Failed"
    assert [pod["metadata"]["name"] for pod in workers(cluster)] == [first]
    await cluster.passes(12)
    (second,) = [pod["metadata"]["name"] for pod in workers(cluster)]
    assert second != first


async def test_a_deleted_worker_is_released_and_replaced(cluster) -> None:
    workload(cluster, replicas=1)
    await cluster.passes(3)
    admit(cluster)
    await cluster.passes(3)
    (pod,) = workers(cluster)
    assert pod["metadata"]["finalizers"] == [keys.FINALIZER]
    await cluster.api.delete(r.PODS, pod["metadata"]["name"], namespace="team", grace_seconds=0)
    await cluster.passes(3)
    assert pod["metadata"]["name"] not in cluster.names(r.PODS)
    assert len(workers(cluster)) == 1


async def test_a_refusal_is_told_and_tried_again_with_patience(cluster) -> None:
    cluster.api.fail("create", r.PODS, error=BadRequest("annotation gpupool: no such pool"), times=-1)
    workload(cluster)
    await cluster.passes(60)
    assert "no such pool" in ready_condition(cluster)["message"]
    assert cluster.api.count("create", r.PODS) < 10
    cluster.api.recover()
    await cluster.passes(61)
    assert len(workers(cluster)) == 3


async def test_a_workload_that_cannot_be_read_says_so(cluster) -> None:
    workload(cluster, workerPodTemplate={"spec": {"containers": "one"}})
    await cluster.passes(3)
    assert "workerPodTemplate: wanted spec.containers" in ready_condition(cluster)["message"]
    assert workers(cluster) == []


async def test_workers_of_a_workload_that_is_gone_make_no_new_one(cluster) -> None:
    workload(cluster, replicas=1)
    await cluster.passes(3)
    admit(cluster)
    cluster.api.remove(r.TENSOR_FUSION_WORKLOADS, "model", namespace="team")
    await cluster.passes(3)
    assert cluster.names(r.TENSOR_FUSION_WORKLOADS) == []


async def test_a_new_leader_goes_on_and_changes_nothing_that_is_right(cluster) -> None:
    workload(cluster)
    await cluster.passes(3)
    admit(cluster)
    await cluster.passes(3)
    before = {pod["metadata"]["name"] for pod in workers(cluster)}
    cluster.leading = False
    await cluster.passes(2)
    cluster.leading = True
    await cluster.passes(3)
    assert {pod["metadata"]["name"] for pod in workers(cluster)} == before


async def test_a_worker_that_is_taken_out_of_its_workload_is_replaced_and_left_alone(cluster) -> None:
    workload(cluster, replicas=1)
    await cluster.passes(3)
    admit(cluster)
    (first,) = [pod["metadata"]["name"] for pod in workers(cluster)]
    cluster.api.change(r.PODS, first, {"metadata": {"ownerReferences": None}}, namespace="team")
    await cluster.passes(3)
    names = {pod["metadata"]["name"] for pod in workers(cluster)}
    assert len(names) == 2
    assert first in names
    change(cluster, replicas=0)
    await cluster.passes(3)
    assert [pod["metadata"]["name"] for pod in workers(cluster)] == [first]
