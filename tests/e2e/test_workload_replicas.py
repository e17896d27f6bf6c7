"""A TensorFusionWorkload with replicas: its worker pods run, scale, are replaced on a change, and go with it."""

from typing import Any

from cluster import Cluster, eventually
from tensorfusion.errors import NotFound
from tensorfusion.model import keys
from tensorfusion.model.resources import PODS, TENSOR_FUSION_WORKLOADS

Json = dict[str, Any]


def workers(cluster: Cluster, namespace: str) -> list[Json]:
    found = cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def running(cluster: Cluster, namespace: str, count: int) -> list[Json]:
    def phases() -> list[Any]:
        return [pod["status"].get("phase") for pod in workers(cluster, namespace)]

    eventually(phases, until=lambda seen: seen == ["Running"] * count)
    return workers(cluster, namespace)


def change(cluster: Cluster, namespace: str, patch: Json, *, subresource: str = "") -> None:
    cluster.run(
        lambda client: client.patch(
            TENSOR_FUSION_WORKLOADS, "model", patch, namespace=namespace, subresource=subresource
        )
    )


def workload(cluster: Cluster, namespace: str) -> Json:
    return cluster.run(lambda client: client.get(TENSOR_FUSION_WORKLOADS, dict, "model", namespace=namespace))


def test_replicas_run_scale_are_replaced_and_go_with_their_workload(cluster: Cluster, namespace: str) -> None:
    amounts = {"tflops": "5", "vram": "1Gi"}
    spec = {"spec": {"terminationGracePeriodSeconds": 0}}
    body = {
        "apiVersion": TENSOR_FUSION_WORKLOADS.api_version,
        "kind": "TensorFusionWorkload",
        "metadata": {"name": "model"},
        "spec": {"replicas": 2, "resources": {"requests": amounts, "limits": amounts}, "workerPodTemplate": spec},
    }
    cluster.run(lambda client: client.create(TENSOR_FUSION_WORKLOADS, body, namespace=namespace))
    for pod in running(cluster, namespace, 2):
        assert pod["metadata"]["name"].startswith("model-tf-worker-")
        assert pod["metadata"]["annotations"][keys.GPU_IDS]
        assert pod["metadata"]["labels"][keys.WORKLOAD] == "model"
    eventually(lambda: workload(cluster, namespace)["status"].get("phase"), until=lambda seen: seen == "Running")

    change(cluster, namespace, {"spec": {"replicas": 3}}, subresource="scale")
    before = {pod["metadata"]["name"] for pod in running(cluster, namespace, 3)}
    change(cluster, namespace, {"spec": {"gpuCount": 2}})

    def replaced() -> bool:
        found = workers(cluster, namespace)
        return not before & {pod["metadata"]["name"] for pod in found} and len(found) == 3

    eventually(replaced)
    for pod in running(cluster, namespace, 3):
        assert len(pod["metadata"]["annotations"][keys.GPU_IDS].split(",")) == 2
    hashes = {pod["metadata"]["labels"][keys.POD_TEMPLATE_HASH] for pod in workers(cluster, namespace)}
    eventually(lambda: {workload(cluster, namespace)["status"]["podTemplateHash"]}, until=lambda seen: seen == hashes)

    change(cluster, namespace, {"spec": {"replicas": 0}})
    eventually(lambda: cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items == [])
    change(cluster, namespace, {"spec": {"replicas": 1}})
    running(cluster, namespace, 1)
    cluster.run(lambda client: client.delete(TENSOR_FUSION_WORKLOADS, "model", namespace=namespace))

    def gone() -> bool:
        try:
            workload(cluster, namespace)
        except NotFound:
            return cluster.run(lambda client: client.list(PODS, dict, namespace=namespace)).items == []
        return False

    eventually(gone, patience=120)  # a real garbage collector learns of new kinds every 30 seconds


def test_what_admission_refuses_is_told_in_the_workloads_condition(cluster: Cluster, namespace: str) -> None:
    body = {
        "apiVersion": TENSOR_FUSION_WORKLOADS.api_version,
        "kind": "TensorFusionWorkload",
        "metadata": {"name": "model"},
        "spec": {"replicas": 1, "poolName": "nowhere"},
    }
    cluster.run(lambda client: client.create(TENSOR_FUSION_WORKLOADS, body, namespace=namespace))

    def message() -> str:
        conditions = workload(cluster, namespace).get("status", {}).get("conditions", [])
        return " ".join(str(one["message"]) for one in conditions)

    eventually(message, until=lambda seen: "gpu pool(nowhere) does not exist" in seen)
