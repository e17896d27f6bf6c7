"""The first hour with the real kubectl, without switches."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from cluster import Cluster, eventually, kubectl_program

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "01-quarter-of-an-a100.yaml"
INFERENCE = EXAMPLES / "02-inference.yaml"


@pytest.fixture
def notebook(kubectl: Cluster, namespace: str) -> str:
    """A running pod with a share, in a namespace of its own."""
    kubectl.kubectl("apply", "-n", namespace, "-f", str(NOTEBOOK))
    kubectl.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/notebook", "--timeout=60s")
    return namespace


def test_apply_twice_says_created_then_unchanged(kubectl: Cluster, namespace: str) -> None:
    first = kubectl.kubectl("apply", "-n", namespace, "-f", str(INFERENCE)).stdout
    second = kubectl.kubectl("apply", "-n", namespace, "-f", str(INFERENCE)).stdout
    assert first == "deployment.apps/inference created\n"
    assert second == "deployment.apps/inference unchanged\n"


def test_apply_of_a_changed_file_changes_only_that(kubectl: Cluster, namespace: str) -> None:
    kubectl.kubectl("apply", "-n", namespace, "-f", str(INFERENCE))
    text = (
        INFERENCE.read_text().replace("replicas: 3", "replicas: 1").replace("vllm/vllm-openai", "vllm/vllm-openai:v2")
    )
    assert "configured" in kubectl.kubectl("apply", "-n", namespace, "-f", "-", stdin=text).stdout
    found = json.loads(kubectl.kubectl("get", "deployment", "inference", "-n", namespace, "-o", "json").stdout)
    assert found["spec"]["replicas"] == 1
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "vllm/vllm-openai:v2"
    assert container["resources"]["requests"] == {"cpu": "2", "memory": "8Gi"}


def test_get_wide_yaml_and_jsonpath(kubectl: Cluster, notebook: str) -> None:
    header, row = kubectl.kubectl("get", "pods", "-n", notebook, "-o", "wide").stdout.splitlines()
    columns = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"
    assert header.split() == columns.split()
    assert row.split()[:4] == ["notebook", "1/1", "Running", "0"]
    assert "a100-0" in row
    document = yaml.safe_load(kubectl.kubectl("get", "pod", "notebook", "-n", notebook, "-o", "yaml").stdout)
    assert document["metadata"]["name"] == "notebook"
    path = "jsonpath={.spec.nodeName}"
    assert kubectl.kubectl("get", "pod", "notebook", "-n", notebook, "-o", path).stdout == "a100-0"


def test_get_gpus_shows_the_kinds_own_columns(kubectl: Cluster) -> None:
    header, *rows = kubectl.kubectl("get", "gpus").stdout.splitlines()
    assert header.startswith("NAME")
    assert "TOTAL TFLOPS" in header
    assert "AVAILABLE VRAM" in header
    assert len(rows) == 14


def test_describe_shows_the_share_and_the_events(kubectl: Cluster, notebook: str) -> None:
    text = kubectl.kubectl("describe", "pod", "notebook", "-n", notebook).stdout
    assert re.search(r"Node:\s+a100-0", text)
    assert "tensor-fusion.ai/gpu-ids" in text
    assert "Status:" in text
    kubectl.kubectl("describe", "node", "a100-0")
    kubectl.kubectl("describe", "gpupool")
    kubectl.kubectl("describe", "namespace", notebook)


def test_create_label_annotate_patch_and_delete(kubectl: Cluster, notebook: str) -> None:
    kubectl.kubectl("create", "configmap", "settings", "-n", notebook, "--from-literal=a=1")
    kubectl.kubectl("label", "pod", "notebook", "-n", notebook, "team=blue")
    kubectl.kubectl("annotate", "pod", "notebook", "-n", notebook, "note=hello")
    kubectl.kubectl("patch", "configmap", "settings", "-n", notebook, "--type=merge", "-p", '{"data":{"b":"2"}}')
    operations = '[{"op":"replace","path":"/data/a","value":"3"}]'
    kubectl.kubectl("patch", "configmap", "settings", "-n", notebook, "--type=json", "-p", operations)
    settings = json.loads(kubectl.kubectl("get", "cm", "settings", "-n", notebook, "-o", "json").stdout)
    assert settings["data"] == {"a": "3", "b": "2"}
    assert "notebook" in kubectl.kubectl("get", "pods", "-n", notebook, "-l", "team=blue").stdout
    kubectl.kubectl("delete", "pod", "notebook", "-n", notebook, "--timeout=60s")
    assert "NotFound" in kubectl.kubectl("get", "pod", "notebook", "-n", notebook, check=False).stderr


def test_scale_wait_and_rollout_status(kubectl: Cluster, namespace: str) -> None:
    kubectl.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "07-web.yaml"))
    kubectl.kubectl("scale", "deployment", "web", "-n", namespace, "--replicas=3")
    kubectl.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    kubectl.kubectl("wait", "--for=condition=Available", "deployment/web", "-n", namespace, "--timeout=60s")
    assert "3/3" in kubectl.kubectl("get", "deployment", "web", "-n", namespace).stdout


def test_get_watch_streams_changes(kubectl: Cluster, namespace: str) -> None:
    program = kubectl_program()
    assert program is not None
    command = [
        program,
        "--kubeconfig",
        str(kubectl.kubeconfig),
        "get",
        "configmaps",
        "-n",
        namespace,
        "-w",
        "-o",
        "name",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        try:
            assert watcher.stdout is not None
            deadline = time.monotonic() + 20
            kubectl.kubectl("create", "configmap", "late", "-n", namespace)
            lines = []
            while time.monotonic() < deadline and not any("late" in line for line in lines):
                lines.append(watcher.stdout.readline())
            assert any("configmap/late" in line for line in lines)
        finally:
            watcher.terminate()


def test_api_resources_and_explain_know_our_kinds(kubectl: Cluster) -> None:
    text = kubectl.kubectl("api-resources").stdout
    for kind in ("GPUPool", "GPUResourceQuota", "WorkloadProfile", "Deployment", "CustomResourceDefinition"):
        assert kind in text
    explained = kubectl.kubectl("explain", "gpupool.spec").stdout
    assert "capacityConfig" in explained
    assert "schedulingConfigTemplate" in explained
    assert "containers" in kubectl.kubectl("explain", "pod.spec").stdout


def test_auth_can_i(kubectl: Cluster) -> None:
    assert kubectl.kubectl("auth", "can-i", "create", "gpupools").stdout.strip() == "yes"


def test_a_field_that_does_not_exist_is_refused_by_name(kubectl: Cluster, namespace: str) -> None:
    text = NOTEBOOK.read_text().replace("spec:", "spec:\n  flavour: strawberry")
    done = kubectl.kubectl("apply", "-n", namespace, "-f", "-", stdin=text, check=False)
    assert done.returncode != 0
    assert 'unknown field "spec.flavour"' in done.stderr


def test_server_dry_run_stores_nothing(kubectl: Cluster, namespace: str) -> None:
    kubectl.kubectl("apply", "-n", namespace, "--dry-run=server", "-f", str(NOTEBOOK))
    assert "NotFound" in kubectl.kubectl("get", "pod", "notebook", "-n", namespace, check=False).stderr


def test_deleting_a_deployment_takes_its_pods_along(kubectl: Cluster, namespace: str) -> None:
    kubectl.kubectl("apply", "-n", namespace, "-f", str(INFERENCE))
    kubectl.kubectl("rollout", "status", "deployment/inference", "-n", namespace, "--timeout=60s")
    kubectl.kubectl("delete", "deployment", "inference", "-n", namespace, "--timeout=60s")
    eventually(lambda: kubectl.kubectl("get", "pods", "-n", namespace, "-o", "name").stdout == "")
