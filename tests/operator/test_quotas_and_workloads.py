"""Quota status and workload objects, from the pods of a namespace."""

from typing import Any

from tensorfusion.model import keys
from tensorfusion.model import resources as r

HASH = {keys.POD_TEMPLATE_HASH: "abc"}


def workload(cluster: Any, name: str) -> Any:
    return cluster.find(r.TENSOR_FUSION_WORKLOADS, name, namespace="team")


async def test_a_quota_tells_what_is_used_and_left(cluster) -> None:
    await cluster.ready_machine("m1")
    spec = {"total": {"requests": {"tflops": "100"}, "maxWorkers": 2, "alertThresholdPercent": 60}}
    cluster.api.seed(r.GPU_RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": spec}, namespace="team")
    cluster.api.seed(r.GPU_RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": spec}, namespace="other")
    cluster.pod("w", tflops_request="20", gpu_count="2")
    cluster.place("w", "gpu-m1-0", "gpu-m1-1")
    await cluster.passes(3)
    status = cluster.status(r.GPU_RESOURCE_QUOTAS, "q", namespace="team")
    assert status["used"] == {
        "requests": {"tflops": "40", "vram": "2Gi"},
        "limits": {"tflops": "0", "vram": "0"},
        "workers": 1,
        "gpuCount": 2,
    }
    assert status["availablePercent"]["requests.tflops"] == "60.00"
    assert status["availablePercent"]["workers"] == "50.00"
    assert status["conditions"][0]["reason"] == "CapacitySufficient"
    assert cluster.status(r.GPU_RESOURCE_QUOTAS, "q", namespace="other")["used"]["workers"] == 0
    cluster.pod("v")
    cluster.place("v", "gpu-m1-0")
    await cluster.passes(3)
    status = cluster.status(r.GPU_RESOURCE_QUOTAS, "q", namespace="team")
    assert status["conditions"][0]["reason"] == "AlertThresholdReached"
    cluster.api.remove(r.PODS, "w", namespace="team")
    cluster.api.remove(r.PODS, "v", namespace="team")
    await cluster.passes(3)
    status = cluster.status(r.GPU_RESOURCE_QUOTAS, "q", namespace="team")
    assert (status["used"]["workers"], status["used"]["requests"]["tflops"]) == (0, "0")


async def test_a_bare_pod_owns_its_workload(cluster) -> None:
    cluster.pod("w", labels=HASH, tflops_limit="20")
    await cluster.passes(3)
    made = workload(cluster, "w")
    assert made["metadata"]["annotations"] == {keys.WORKLOAD_MODE: "dynamic"}
    assert made["metadata"]["labels"] == {keys.GPU_POOL: "default"}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Pod", "w")
    assert owner["uid"] == cluster.api.object(r.PODS, "w", namespace="team")["metadata"]["uid"]
    assert made["spec"]["resources"]["limits"]["tflops"] == "20"
    status = made["status"]
    assert (status["workerCount"], status["podTemplateHash"]) == (1, "abc")
    assert status["conditions"][0]["reason"] == "WaitingForWorkers"


async def test_a_deployments_pods_share_one_workload_that_the_deployment_owns(cluster) -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d-1", "controller": True}
    body = {"metadata": {"name": "web-1", "ownerReferences": [deployment]}}
    cluster.api.seed(r.REPLICA_SETS, body, namespace="team")
    await cluster.ready_machine("m1")
    for number in range(3):
        cluster.pod(f"web-1-{number}", workload="web", owner={"kind": "ReplicaSet", "name": "web-1", "uid": "r-1"})
    cluster.place("web-1-0", "gpu-m1-0")
    await cluster.passes(4)
    made = workload(cluster, "web")
    assert [(owner["kind"], owner["uid"]) for owner in made["metadata"]["ownerReferences"]] == [("Deployment", "d-1")]
    assert (made["status"]["workerCount"], made["status"]["readyWorkers"]) == (3, 1)
    assert cluster.names(r.TENSOR_FUSION_WORKLOADS) == ["web"]
    for number in (1, 2):
        cluster.place(f"web-1-{number}", "gpu-m1-1")
    await cluster.passes(3)
    assert workload(cluster, "web")["status"]["phase"] == "Running"
    cluster.phase("web-1-0", "Failed")
    await cluster.passes(3)
    status = workload(cluster, "web")["status"]
    assert (status["phase"], status["workerCount"]) == ("Failed", 2)


async def test_another_controller_owns_its_workload_itself(cluster) -> None:
    cluster.pod("db-0", workload="db", owner={"kind": "StatefulSet", "name": "db", "uid": "s-1"})
    await cluster.passes(2)
    assert workload(cluster, "db")["metadata"]["ownerReferences"][0]["uid"] == "s-1"


async def test_a_workload_follows_its_newest_pod(cluster) -> None:
    cluster.pod("a", workload="web", tflops_request="10")
    await cluster.passes(3)
    cluster.pod("b", workload="web", tflops_request="25")
    await cluster.passes(3)
    assert workload(cluster, "web")["spec"]["resources"]["requests"]["tflops"] == "25"
    cluster.api.remove(r.PODS, "b", namespace="team")
    await cluster.passes(3)
    assert workload(cluster, "web")["spec"]["resources"]["requests"]["tflops"] == "10"


async def test_a_workload_of_the_users_own_keeps_its_spec_and_gets_a_status(cluster) -> None:
    body = {
        "metadata": {"name": "fixed"},
        "spec": {"qos": "low"},
    }
    cluster.api.seed(r.TENSOR_FUSION_WORKLOADS, body, namespace="team")
    cluster.pod("w", workload="fixed")
    await cluster.passes(3)
    found = workload(cluster, "fixed")
    assert found["spec"] == body["spec"]
    assert found["status"]["workerCount"] == 1
    assert found["status"]["conditions"][0]["message"] == "0 of 1 workers are ready"


async def test_a_workload_that_was_deleted_comes_back_while_it_has_pods(cluster) -> None:
    cluster.pod("w")
    await cluster.passes(3)
    cluster.api.remove(r.TENSOR_FUSION_WORKLOADS, "w", namespace="team")
    await cluster.passes(3)
    assert workload(cluster, "w") is not None
    cluster.api.remove(r.PODS, "w", namespace="team")
    cluster.api.remove(r.TENSOR_FUSION_WORKLOADS, "w", namespace="team")
    await cluster.passes(3)
    assert workload(cluster, "w") is None


async def test_many_new_workloads_are_made_within_a_budget(cluster) -> None:
    cluster.writes()
    for number in range(100):
        cluster.pod(f"w{number}")
    await cluster.passes(2)
    made = sum(call.verb == "create" for call in cluster.writes())
    assert 20 <= made <= 70
    await cluster.passes(6)
    assert len(cluster.names(r.TENSOR_FUSION_WORKLOADS)) == 100


async def test_plain_pods_make_no_workload(cluster) -> None:
    body = {"metadata": {"name": "plain", "labels": {keys.WORKLOAD: "x"}}, "spec": {}}
    cluster.api.seed(r.PODS, body, namespace="team")
    await cluster.passes(2)
    assert cluster.names(r.TENSOR_FUSION_WORKLOADS) == []


async def test_a_workloads_status_follows_its_gang_until_it_runs_or_its_time_is_over(cluster) -> None:
    await cluster.ready_machine("m1")
    stamps = {"gang_required_members": "2", "gang_desired_members": "2", "gang_group_key": "team/ring"}
    cluster.pod("r0", workload="ring", gang_timeout="1m", **stamps)
    await cluster.passes(3)

    def gang() -> Any:
        status = workload(cluster, "ring")["status"]["gang"]
        return status["phase"], status["reason"], status["message"]

    assert gang() == ("Waiting", "GangWaitingForMembers", "1 of 2 members are known")
    ready = workload(cluster, "ring")["status"]["conditions"][0]
    assert (ready["reason"], ready["message"]) == ("GangWaitingForMembers", "1 of 2 members are known")
    await cluster.passes(62)
    assert gang() == ("TimedOut", "GangTimedOut", "not started after 1m: 1 of 2 members are known")
    cluster.pod("r1", workload="ring", gang_timeout="1m", **stamps)
    cluster.place("r0", "gpu-m1-0", ready=False)
    await cluster.passes(3)
    assert gang() == ("Scheduling", "GangScheduling", "1 of 2 members have a place, 0 are ready")
    cluster.place("r0", "gpu-m1-0")
    cluster.place("r1", "gpu-m1-1")
    await cluster.passes(6)
    assert gang() == ("Running", "GangReady", "2 of 2 members are ready")
    assert workload(cluster, "ring")["status"]["conditions"][0]["reason"] == "WorkloadReady"
    cluster.writes()
    await cluster.passes(20)
    assert [call for call in cluster.writes() if call.resource == r.TENSOR_FUSION_WORKLOADS.id] == []


async def test_a_cohort_tells_what_its_members_hold(cluster) -> None:
    await cluster.ready_machine("m1")
    for namespace, gpus in (("team", 1), ("other", 3)):
        spec = {"total": {"maxGPUCount": gpus}, "cohort": "both"}
        cluster.api.seed(r.GPU_RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": spec}, namespace=namespace)
    cluster.api.seed(r.GPU_COHORTS, {"metadata": {"name": "both"}, "spec": {"parent": "all"}})
    await cluster.passes(3)
    assert cluster.status(r.GPU_COHORTS, "both")["conditions"][0]["reason"] == "ParentUnknown"
    cluster.api.seed(r.GPU_COHORTS, {"metadata": {"name": "all"}, "spec": {}})
    cluster.pod("w", gpu_count="2")
    cluster.place("w", "gpu-m1-0", "gpu-m1-1")
    await cluster.passes(5)
    status = cluster.status(r.GPU_COHORTS, "both")
    assert (status["nominal"]["gpuCount"], status["used"]["gpuCount"], status["memberCount"]) == (4, 2, 2)
    assert [(one["name"], one["borrowed"]["gpuCount"], one["share"]) for one in status["members"]] == [
        ("team", 1, "25.00"),
        ("other", 0, "0.00"),
    ]
    assert status["conditions"][0]["reason"] == "Sharing"
    assert cluster.status(r.GPU_COHORTS, "all")["members"][0]["kind"] == "GPUCohort"
    cluster.api.remove(r.PODS, "w", namespace="team")
    await cluster.passes(5)
    assert cluster.status(r.GPU_COHORTS, "both")["used"]["gpuCount"] == 0
