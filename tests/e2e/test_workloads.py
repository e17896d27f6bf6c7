"""Jobs, stateful sets, cron jobs and services, as kubectl users see them; embedded and real alike."""

import json
from typing import Any

import yaml

from cluster import Cluster, eventually

GPU = {
    "tensor-fusion.ai/tflops-request": "10",
    "tensor-fusion.ai/tflops-limit": "20",
    "tensor-fusion.ai/vram-request": "2Gi",
    "tensor-fusion.ai/vram-limit": "4Gi",
}
RUN_FOR, EXIT_CODE = "simulated.tensor-fusion.ai/run-for", "simulated.tensor-fusion.ai/exit-code"


def template(labels: dict[str, str] | None = None, *, restart: str = "Never", **annotations: str) -> dict[str, Any]:
    enabled = {"tensor-fusion.ai/enabled": "true", **(labels or {})}
    container = {"name": "main", "image": "trainer", "ports": [{"name": "http", "containerPort": 8080}]}
    return {
        "metadata": {"labels": enabled, "annotations": {**GPU, **annotations}},
        "spec": {"restartPolicy": restart, "containers": [container]},
    }


def apply(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(objects))


def get(cluster: Cluster, namespace: str, *what: str) -> Any:
    return json.loads(cluster.kubectl("get", "-n", namespace, *what, "-o", "json").stdout)


def job(name: str, pod: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": pod, **spec}}


def test_a_job_of_gpu_pods_runs_to_completion(kubectl: Cluster, namespace: str) -> None:
    pod = template(**{RUN_FOR: "1s"})
    apply(kubectl, namespace, job("train", pod, completions=4, parallelism=2, completionMode="Indexed"))
    kubectl.kubectl("wait", "-n", namespace, "--for=condition=Complete", "job/train", "--timeout=60s")
    status = get(kubectl, namespace, "job", "train")["status"]
    assert (status["succeeded"], status["completedIndexes"]) == (4, "0-3")
    pods = get(kubectl, namespace, "pods", "-l", "job-name=train")["items"]
    assert len(pods) == 4
    assert all(pod["metadata"]["annotations"]["tensor-fusion.ai/gpu-ids"] for pod in pods)
    header, row = kubectl.kubectl("get", "-n", namespace, "job", "train").stdout.splitlines()
    assert header.split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert row.split()[:3] == ["train", "Complete", "4/4"]
    assert "Completed" in kubectl.kubectl("describe", "-n", namespace, "job", "train").stdout
    kubectl.kubectl("delete", "-n", namespace, "job", "train", "--timeout=60s")
    eventually(lambda: get(kubectl, namespace, "pods", "-l", "job-name=train")["items"], until=lambda left: left == [])


def test_a_finished_job_is_deleted_with_its_pods_when_its_time_is_over(kubectl: Cluster, namespace: str) -> None:
    brief = yaml.safe_dump(job("brief", template(**{RUN_FOR: "0s"}), ttlSecondsAfterFinished=1))
    assert kubectl.kubectl("apply", "-n", namespace, "-f", "-", stdin=brief).stdout == "job.batch/brief created\n"
    kubectl.kubectl("wait", "-n", namespace, "--for=delete", "job/brief", "--timeout=60s")
    assert get(kubectl, namespace, "pods")["items"] == []


def test_a_job_whose_pods_fail_says_so(kubectl: Cluster, namespace: str) -> None:
    apply(kubectl, namespace, job("broken", template(**{RUN_FOR: "0s", EXIT_CODE: "2"}), backoffLimit=0))
    kubectl.kubectl("wait", "-n", namespace, "--for=condition=Failed", "job/broken", "--timeout=60s")
    described = eventually(
        lambda: kubectl.kubectl("describe", "-n", namespace, "job", "broken").stdout,
        until=lambda text: "BackoffLimitExceeded" in text,
    )
    assert "Job has reached the specified backoff limit" in described


def test_a_job_made_from_a_cron_job_runs(kubectl: Cluster, namespace: str) -> None:
    spec = {
        "schedule": "0 4 1 1 *",
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"template": template(**{RUN_FOR: "0s"})}},
    }
    cron = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": spec}
    apply(kubectl, namespace, cron)
    kubectl.kubectl("create", "-n", namespace, "job", "tonight", "--from=cronjob/nightly")
    kubectl.kubectl("wait", "-n", namespace, "--for=condition=Complete", "job/tonight", "--timeout=60s")
    eventually(lambda: get(kubectl, namespace, "cronjob", "nightly")["status"].get("lastSuccessfulTime"))
    assert "0 4 1 1 *" in kubectl.kubectl("describe", "-n", namespace, "cronjob", "nightly").stdout


def stateful_set(replicas: int) -> list[dict[str, Any]]:
    service = {"clusterIP": "None", "selector": {"app": "store"}, "ports": [{"port": 80, "targetPort": "http"}]}
    pod = template({"app": "store"}, restart="Always")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    spec = {
        "serviceName": "store",
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "store"}},
        "template": pod,
    }
    if replicas:
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "store"}, "spec": service},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "store"}, "spec": spec},
    ]


def test_a_stateful_set_starts_in_order_rolls_and_rolls_back(kubectl: Cluster, namespace: str) -> None:
    service, workload = stateful_set(2)
    if kubectl.real:  # nothing provisions volumes there
        workload["spec"].pop("volumeClaimTemplates")
    apply(kubectl, namespace, service, workload)
    kubectl.kubectl("rollout", "status", "-n", namespace, "sts/store", "--timeout=60s")
    pods = get(kubectl, namespace, "pods", "-l", "app=store")["items"]
    assert [pod["metadata"]["name"] for pod in pods] == ["store-0", "store-1"]
    if not kubectl.real:
        claims = get(kubectl, namespace, "pvc")["items"]
        assert [(claim["metadata"]["name"], claim["status"]["phase"]) for claim in claims] == [
            ("data-store-0", "Bound"),
            ("data-store-1", "Bound"),
        ]

    def ready_addresses() -> int:
        slices = get(kubectl, namespace, "endpointslices", "-l", "kubernetes.io/service-name=store")["items"]
        endpoints = [each for found in slices for each in found.get("endpoints") or ()]
        return sum(each["conditions"]["ready"] for each in endpoints)

    eventually(ready_addresses, until=lambda count: count == 2)
    assert ":8080" in kubectl.kubectl("describe", "-n", namespace, "service", "store").stdout
    kubectl.kubectl("set", "image", "-n", namespace, "sts/store", "main=trainer:2")
    kubectl.kubectl("rollout", "status", "-n", namespace, "sts/store", "--timeout=60s")
    kubectl.kubectl("rollout", "undo", "-n", namespace, "sts/store")
    kubectl.kubectl("rollout", "status", "-n", namespace, "sts/store", "--timeout=60s")
    pods = get(kubectl, namespace, "pods", "-l", "app=store")["items"]
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"trainer"}
    history = kubectl.kubectl("rollout", "history", "-n", namespace, "sts/store").stdout
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["2", "3"]


def test_a_daemon_set_runs_on_every_node_also_on_cordoned_ones(kubectl: Cluster, namespace: str) -> None:
    pod = {
        "metadata": {"labels": {"app": "agent"}},
        "spec": {"containers": [{"name": "agent", "image": "agent"}]},
    }
    spec = {"selector": {"matchLabels": {"app": "agent"}}, "template": pod}
    kubectl.kubectl("cordon", "cpu-0")
    try:
        agent = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec}
        apply(kubectl, namespace, agent)
        kubectl.kubectl("rollout", "status", "-n", namespace, "ds/agent", "--timeout=60s")
        pods = get(kubectl, namespace, "pods", "-l", "app=agent")["items"]
        nodes = [node["metadata"]["name"] for node in get(kubectl, namespace, "nodes")["items"]]
        assert sorted(pod["spec"]["nodeName"] for pod in pods) == sorted(nodes)
        (taint,) = eventually(lambda: get(kubectl, namespace, "node", "cpu-0")["spec"].get("taints"))
        assert (taint["key"], taint["effect"]) == ("node.kubernetes.io/unschedulable", "NoSchedule")
    finally:
        kubectl.kubectl("uncordon", "cpu-0")
    eventually(lambda: get(kubectl, namespace, "node", "cpu-0")["spec"].get("taints"), until=lambda left: not left)


def test_a_drain_moves_pods_as_their_budget_allows_and_leaves_daemons(kubectl: Cluster, namespace: str) -> None:
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    web = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}
    agent = {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "agent", "image": "agent"}]}}
    deployment = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": web}
    daemons = {"selector": {"matchLabels": {"app": "agent"}}, "template": agent}
    apply(
        kubectl,
        namespace,
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": budget},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": deployment},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": daemons},
    )
    kubectl.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=60s")
    kubectl.kubectl("rollout", "status", "-n", namespace, "ds/agent", "--timeout=60s")
    selected = ["--pod-selector", "app in (web,agent)"]
    try:
        kubectl.kubectl("drain", "cpu-0", "--ignore-daemonsets", "--timeout=60s", *selected)
        kubectl.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=60s")
        pods = get(kubectl, namespace, "pods")["items"]
        here = {pod["metadata"]["labels"]["app"] for pod in pods if pod["spec"]["nodeName"] == "cpu-0"}
        assert here == {"agent"}
    finally:
        kubectl.kubectl("uncordon", "cpu-0")


def test_a_disruption_budget_follows_its_deployment(kubectl: Cluster, namespace: str) -> None:
    budget = {"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "web"}}}
    pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": pod}
    apply(
        kubectl,
        namespace,
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": budget},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec},
    )
    eventually(
        lambda: get(kubectl, namespace, "pdb", "web").get("status", {}).get("disruptionsAllowed"),
        until=lambda allowed: allowed == 1,
    )
