"""Other people's software, unmodified, against the cluster: it must not be able to tell the embedded API from a real one.

A program that this machine does not have skips its test by name.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, eventually
from tensorfusion.model import keys
from tensorfusion.model.resources import CONFIG_MAPS, DEPLOYMENTS, PODS
from test_road import gpu_pod

ANSWER = 60


def python(cluster: Cluster, source: str, *arguments: str) -> Any:
    """Run a script of a user's own in a process of its own, with the cluster's kubeconfig; what it prints is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        timeout=ANSWER * 2,
        check=False,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment}) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


# --- the official Python client ---

OFFICIAL = """
import json, sys
from kubernetes import client, config, watch

namespace, manifest = sys.argv[1], json.loads(sys.argv[2])
config.load_kube_config()
core, custom = client.CoreV1Api(), client.CustomObjectsApi()
core.create_namespaced_pod(namespace, manifest)
for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=60):
    if event["object"].metadata.name == "official" and event["object"].status.phase == "Running":
        break
core.patch_namespaced_pod("official", namespace, {"metadata": {"labels": {"seen": "yes"}}})
labelled = core.list_namespaced_pod(namespace, label_selector="seen=yes", limit=1).items
pod = core.read_namespaced_pod("official", namespace)
pools = custom.list_cluster_custom_object("tensor-fusion.ai", "v1", "gpupools")["items"]
apps = client.AppsV1Api()
container = client.V1Container(name="web", image="nginx", resources=client.V1ResourceRequirements(requests={"cpu": "10m"}))
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=client.V1PodSpec(containers=[container])
)
spec = client.V1DeploymentSpec(replicas=1, selector=client.V1LabelSelector(match_labels={"app": "web"}), template=template)
apps.create_namespaced_deployment(namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=60):
    if event["object"].status.ready_replicas == 2:
        break
try:
    core.read_namespaced_pod("nobody", namespace)
    missing = 0
except client.ApiException as error:
    missing = error.status
reviews = client.AuthorizationV1Api()
attributes = client.V1ResourceAttributes(namespace=namespace, verb="create", resource="pods")
review = reviews.create_self_subject_access_review(
    client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
)
core.delete_namespaced_pod("official", namespace, grace_period_seconds=0)
print(json.dumps({
    "labelled": len(labelled),
    "node": pod.spec.node_name,
    "devices": pod.metadata.annotations["tensor-fusion.ai/gpu-ids"],
    "pools": len(pools),
    "missing": missing,
    "allowed": review.status.allowed,
    "version": client.VersionApi().get_code().git_version,
    "groups": [group.name for group in client.ApisApi().get_api_versions().groups],
}))
"""


def test_the_official_python_client(cluster: Cluster, namespace: str) -> None:
    pytest.importorskip("kubernetes")
    manifest = gpu_pod("official", tflops_request="10", vram_request="1Gi")
    seen = python(cluster, OFFICIAL, namespace, json.dumps(manifest))
    assert seen["labelled"] == 1
    assert seen["node"]
    assert seen["devices"]
    assert seen["pools"] >= 1
    assert seen["missing"] == 404
    assert seen["allowed"] is True
    assert seen["version"].startswith("v1.")
    assert keys.DOMAIN in seen["groups"]


# --- lightkube ---

LIGHTKUBE = """
import json, sys
from lightkube import ApiError, Client
from lightkube.generic_resource import create_global_resource
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Pod

namespace = sys.argv[1]
client = Client(namespace=namespace, field_manager="lightkube-test")
annotations = {"tensor-fusion.ai/tflops-request": "10", "tensor-fusion.ai/vram-request": "1Gi"}
metadata = ObjectMeta(name="light", labels={"tensor-fusion.ai/enabled": "true"}, annotations=annotations)
client.create(Pod(metadata=metadata, spec=PodSpec(containers=[Container(name="main", image="app")])))
pod = client.wait(Pod, "light", for_conditions=["Ready"])
applied = client.apply(ConfigMap(metadata=ObjectMeta(name="settings"), data={"a": "1"}))
again = client.apply(ConfigMap(metadata=ObjectMeta(name="settings"), data={"b": "2"}))
pools = create_global_resource("tensor-fusion.ai", "v1", "GPUPool", "gpupools")
try:
    client.create(ConfigMap(metadata=ObjectMeta(name="settings")))
    refused = ""
except ApiError as error:
    refused = error.status.reason
client.delete(Pod, "light")
print(json.dumps({
    "node": pod.spec.nodeName,
    "data": again.data,
    "managers": [entry.manager for entry in again.metadata.managedFields],
    "pools": len(list(client.list(pools))),
    "refused": refused,
}))
"""


def test_lightkube(cluster: Cluster, namespace: str) -> None:
    pytest.importorskip("lightkube")
    seen = python(cluster, LIGHTKUBE, namespace)
    assert seen["node"]
    assert seen["data"] == {"b": "2"}, "what is no longer applied goes away"
    assert seen["managers"] == ["lightkube-test"]
    assert seen["pools"] >= 1
    assert seen["refused"] == "AlreadyExists"


# --- a kopf operator ---

OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.posting.level = 20
    settings.persistence.finalizer = "example.com/kopf"

@kopf.on.create("configmaps", labels={"greeted": "please"})
def greet(body, patch, **_):
    patch.metadata.annotations["example.com/greeting"] = f"hello {body['data']['name']}"

@kopf.on.field("configmaps", field="data.name", labels={"greeted": "please"})
def renamed(old, new, patch, **_):
    if old:
        patch.metadata.annotations["example.com/greeting"] = f"goodbye {old}, hello {new}"

@kopf.on.delete("configmaps", labels={"greeted": "please"})
def leave(**_):
    pass
"""


def test_a_kopf_operator(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    pytest.importorskip("kopf")
    handlers = tmp_path / "operator.py"
    handlers.write_text(OPERATOR)
    command = [sys.executable, "-m", "kopf", "run", str(handlers), "--standalone", "--namespace", namespace]

    def greeting() -> str:
        found = cluster.run(lambda client: client.get(CONFIG_MAPS, dict, "greeted", namespace=namespace))
        return str((found["metadata"].get("annotations") or {}).get("example.com/greeting", ""))

    with running(command, tmp_path / "operator.log", KUBECONFIG=str(cluster.kubeconfig)) as operator:
        metadata = {"name": "greeted", "labels": {"greeted": "please"}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"name": "ada"}}
        cluster.run(lambda client: client.create(CONFIG_MAPS, body, namespace=namespace))
        eventually(greeting, until=lambda text: text == "hello ada", patience=ANSWER)
        patch = {"data": {"name": "grace"}}
        cluster.run(lambda client: client.patch(CONFIG_MAPS, "greeted", patch, namespace=namespace))
        eventually(greeting, until=lambda text: text == "goodbye ada, hello grace", patience=ANSWER)
        cluster.run(lambda client: client.delete(CONFIG_MAPS, "greeted", namespace=namespace))
        eventually(
            lambda: cluster.run(lambda client: client.list(CONFIG_MAPS, dict, namespace=namespace)).items,
            until=lambda items: all(item["metadata"]["name"] != "greeted" for item in items),
            patience=ANSWER,
        )
        assert operator.poll() is None, (tmp_path / "operator.log").read_text()[-2000:]


# --- Prometheus ---


def test_prometheus_scrapes_our_metrics(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = urllib.parse.urlsplit(cluster.http).netloc
    jobs = [{"job_name": "tensorfusion", "static_configs": [{"targets": [address]}]}]
    file = tmp_path / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]

    def query(expression: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(expression)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
        except OSError:
            return []
        return found

    pod = gpu_pod("measured", tflops_request="10", vram_request="1Gi")
    with running(command, tmp_path / "prometheus.log"):
        cluster.run(lambda client: client.create(PODS, pod, namespace=namespace))
        eventually(lambda: query('up{job="tensorfusion"} == 1'), patience=ANSWER)
        eventually(lambda: query('tensorfusion_admissions_total{result="changed"} > 0'), patience=ANSWER)
        targets = f"http://127.0.0.1:{port}/api/v1/targets"
        with urllib.request.urlopen(targets, timeout=10) as answer:
            active = json.loads(answer.read())["data"]["activeTargets"]
        assert [target["lastError"] for target in active] == [""]


# --- Helm, through its own SDK ---

CHART = {
    "Chart.yaml": "{apiVersion: v2, name: small, version: 0.1.0, appVersion: '1'}",
    "values.yaml": "{replicas: 1, greeting: hello}",
    "templates/settings.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-settings}
data: {greeting: {{ .Values.greeting | quote }}}
""",
    "templates/deployment.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {app: small}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: small}}
  template:
    metadata:
      labels: {app: small, tensor-fusion.ai/enabled: "true"}
      annotations: {tensor-fusion.ai/tflops-request: "5", tensor-fusion.ai/vram-request: 1Gi}
    spec:
      containers:
      - {name: main, image: app, resources: {requests: {cpu: 10m}}}
""",
    "templates/hook.yaml": """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-prepare
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  template:
    metadata: {annotations: {simulated.tensor-fusion.ai/run-for: 100ms}}
    spec:
      restartPolicy: Never
      containers: [{name: main, image: app}]
""",
}

HELM = """
import json, sys
import helm_python

kubeconfig, namespace, chart = sys.argv[1:]
config = helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace)
config.check_reachable()
first = config.install(chart, "demo", {"replicas": 2}, namespace=namespace, wait="watcher", timeout=60)
second = config.upgrade(chart, "demo", {"replicas": 3, "greeting": "again"}, namespace=namespace, wait="watcher", timeout=60)
history = config.history("demo")
print(json.dumps({"first": first, "second": second, "history": history}, default=str))
"""


def test_helm_installs_upgrades_and_removes_a_chart_with_hooks(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    pytest.importorskip("helm_python")
    chart = tmp_path / "small"
    for name, text in CHART.items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text)
    python(cluster, HELM, str(cluster.kubeconfig), namespace, str(chart))
    found = cluster.run(lambda client: client.get(DEPLOYMENTS, dict, "demo", namespace=namespace))
    assert found["spec"]["replicas"] == found["status"]["readyReplicas"] == 3
    settings = cluster.run(lambda client: client.get(CONFIG_MAPS, dict, "demo-settings", namespace=namespace))
    assert settings["data"] == {"greeting": "again"}
    remove = """
    import sys, helm_python
    helm_python.Config(kubeconfig_path=sys.argv[1], namespace=sys.argv[2]).uninstall("demo", wait="watcher", timeout=60)
    print("{}")
    """
    python(cluster, remove, str(cluster.kubeconfig), namespace)
    assert cluster.run(lambda client: client.list(DEPLOYMENTS, dict, namespace=namespace)).items == []
