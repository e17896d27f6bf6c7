"""The real kubectl against the server, without any switches: 1.34, or a newer one. Skipped where there is none."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: "nginx:1", ports: [{containerPort: 80}], env: [{name: A, value: "1"}]}
"""
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gizmos.kubectl.example.com}
spec:
  group: kubectl.example.com
  scope: Namespaced
  names: {plural: gizmos, kind: Gizmo, shortNames: [gz]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, description: How large it is.}}}
"""
GIZMO = "apiVersion: kubectl.example.com/v1\nkind: Gizmo\nmetadata: {name: g}\nspec: {size: %d}\n"


def _program() -> str | None:
    built = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) / "kubectl"
    cached = (Path.home() / ".cache/tensorfusion/kube-assets").glob("1.34.*/kubectl")
    return next((str(found) for found in (built, *cached) if found.exists()), None) or shutil.which("kubectl")


PROGRAM = _program()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no kubectl: run make kube-assets")


@pytest.fixture
def kubectl(running, api, tmp_path: Path) -> Callable[..., str]:
    """Runs kubectl in the test's namespace and returns what it prints."""

    def run(*arguments: str, stdin: str | None = None, fails: bool = False) -> str:
        done = subprocess.run(
            [str(PROGRAM), "--namespace", api.namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={"KUBECONFIG": str(running.data / "kubeconfig"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_a_deployment_is_applied_changed_and_deleted(kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", stdin=DEPLOYMENT) == "deployment.apps/web unchanged\n"
    changed = (
        DEPLOYMENT.replace("nginx:1", "nginx:2")
        .replace('value: "1"', 'value: "2"')
        .replace("replicas: 1", "replicas: 2")
    )
    assert kubectl("apply", "-f", "-", stdin=changed) == "deployment.apps/web configured\n"
    container = "jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[0].value} {.spec.replicas}"
    assert kubectl("get", "deploy", "web", "-o", container) == "nginx:2 2 2"
    without_env = changed.replace(', env: [{name: A, value: "2"}]', "")
    kubectl("apply", "-f", "-", stdin=without_env)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}") == ""
    assert kubectl("scale", "deploy/web", "--replicas=5") == "deployment.apps/web scaled\n"
    assert kubectl("get", "deploy", "web", "--no-headers").split()[:2] == ["web", "0/5"]
    kubectl("set", "image", "deploy/web", "c=nginx:3")
    assert "nginx:3" in kubectl("get", "deploy", "web", "-o", "wide")
    assert "Replicas:" in kubectl("describe", "deploy", "web")
    assert kubectl("delete", "-f", "-", stdin=DEPLOYMENT).startswith('deployment.apps "web" deleted')
    assert "NotFound" in kubectl("get", "deploy", "web", fails=True)


def test_pods_are_created_labelled_patched_and_waited_for(kubectl, api, make_pod) -> None:
    assert kubectl("run", "p", "--image=busybox:1") == "pod/p created\n"
    assert kubectl("get", "pods", "-o", "wide").splitlines()[1].split()[:3] == ["p", "0/1", "Pending"]
    assert kubectl("label", "pod", "p", "tier=front") == "pod/p labeled\n"
    assert kubectl("annotate", "pod", "p", "note=x") == "pod/p annotated\n"
    assert kubectl("label", "pod", "p", "tier-") == "pod/p unlabeled\n"
    assert kubectl("patch", "pod", "p", "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}') == "pod/p patched\n"
    assert kubectl("patch", "pod", "p", "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/c","value":"d"}]')
    assert kubectl("patch", "pod", "p", "-p", '{"metadata":{"labels":{"e":"f"}}}') == "pod/p patched\n"
    assert (
        kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.labels.a}{.metadata.labels.c}{.metadata.labels.e}")
        == "bdf"
    )
    assert "QoS Class:        BestEffort" in kubectl("describe", "pod", "p")
    assert "phase: Pending" in kubectl("get", "pod", "p", "-o", "yaml")
    api.merge(api.core("pods", "p", "status"), {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=60s")
    assert kubectl("delete", "pod", "p").startswith('pod "p" deleted')
    kubectl("wait", "--for=delete", "pod/p", "--timeout=60s")


def test_changes_are_watched(kubectl, running, api, tmp_path, make_config_map) -> None:
    environment = {"KUBECONFIG": str(running.data / "kubeconfig"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [str(PROGRAM), "-n", api.namespace, "get", "configmaps", "-w", "--no-headers", "-l", "w", "-o", "name"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for name in ("one", "two"):
            obj = make_config_map(name)
            obj["metadata"]["labels"] = {"w": ""}
            api.create(api.core("configmaps"), obj)
            assert process.stdout.readline() == f"configmap/{name}\n"
        process.terminate()


def test_typed_creations_are_understood(kubectl) -> None:
    kubectl("create", "configmap", "cm", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=password=x")
    kubectl("create", "serviceaccount", "bob")
    kubectl("create", "deployment", "d", "--image=x", "--replicas=0")
    kubectl("create", "role", "r", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=x:bob")
    kubectl("expose", "deployment", "d", "--port=80")
    assert kubectl("get", "cm", "cm", "-o", "jsonpath={.data.a}") == "b"
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}") == "eA=="
    assert kubectl("get", "deploy", "d", "-o", "jsonpath={.spec.replicas}") == "0"
    assert kubectl("get", "role", "r", "-o", "jsonpath={.rules[0].verbs}") == '["get","list"]'
    assert kubectl("get", "svc", "d", "-o", "jsonpath={.spec.ports[0].targetPort}") == "80"
    assert len(kubectl("create", "token", "bob").split(".")) == 3


def test_rights_are_asked_for(kubectl, api) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    someone = f"--as=system:serviceaccount:{api.namespace}:default"
    assert kubectl("auth", "can-i", "create", "pods", someone, fails=True) == "no\n"
    kubectl("create", "rolebinding", "v", "--clusterrole=view", f"--serviceaccount={api.namespace}:default")
    assert kubectl("auth", "can-i", "list", "pods", someone) == "yes\n"
    assert "selfsubjectaccessreviews" in kubectl("auth", "can-i", "--list", someone)
    assert "admin" in kubectl("auth", "whoami")
    assert "Forbidden" in kubectl("get", "secrets", someone, fails=True)


def test_custom_kinds_are_full_citizens(kubectl) -> None:
    assert "created" in kubectl("apply", "-f", "-", stdin=CRD)
    assert "condition met" in kubectl(
        "wait", "--for=condition=Established", "crd/gizmos.kubectl.example.com", "--timeout=60s"
    )
    assert kubectl("apply", "-f", "-", stdin=GIZMO % 3) == "gizmo.kubectl.example.com/g created\n"
    assert kubectl("apply", "-f", "-", stdin=GIZMO % 4) == "gizmo.kubectl.example.com/g configured\n"
    assert kubectl("get", "gz").splitlines()[1].split() == ["g", "4"]
    assert kubectl("label", "gizmo", "g", "x=y") == "gizmo.kubectl.example.com/g labeled\n"
    assert "How large it is." in kubectl("explain", "gizmo.spec.size")
    assert "gizmos" in kubectl("api-resources", "--api-group=kubectl.example.com")
    assert 'unknown field "spec.sice"' in kubectl(
        "apply", "-f", "-", stdin=(GIZMO % 5).replace("size", "sice"), fails=True
    )
    kubectl("delete", "gizmo", "g")
    kubectl("delete", "crd", "gizmos.kubectl.example.com")


def test_the_api_describes_itself(kubectl) -> None:
    assert "Server Version: v1.34" in kubectl("version")
    assert {"pods", "deployments", "customresourcedefinitions"} <= {
        line.split()[0] for line in kubectl("api-resources").splitlines()[1:]
    }
    assert "apps/v1" in kubectl("api-versions").splitlines()
    assert "FIELD: image <string>" in kubectl("explain", "pod.spec.containers.image")
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_mistakes_are_explained(kubectl) -> None:
    wrong = DEPLOYMENT.replace("containerPort", "containerPrt")
    assert 'unknown field "spec.template.spec.containers[0].ports[0].containerPrt"' in kubectl(
        "apply", "-f", "-", stdin=wrong, fails=True
    )
    assert "selector" in kubectl(
        "apply", "-f", "-", stdin=DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: x}"), fails=True
    )
    assert 'namespaces "nope" not found' in kubectl("-n", "nope", "create", "sa", "x", fails=True)


def test_an_edited_object_is_written_back(kubectl, running, api, tmp_path) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/nginx:1/nginx:9/" "$1"\n')
    editor.chmod(0o700)
    environment = {
        "KUBECONFIG": str(running.data / "kubeconfig"),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "KUBE_EDITOR": str(editor),
    }
    command = [str(PROGRAM), "-n", api.namespace, "edit", "deploy", "web"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=90, check=False)
    assert done.stdout == "deployment.apps/web edited\n", done.stderr
    assert "nginx:9" in kubectl("get", "deploy", "web", "-o", "wide")


def test_deletion_follows_its_propagation(kubectl, api) -> None:
    owner = api.create(api.core("configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "ownerReferences": [reference]}}
    api.create(api.core("configmaps"), child)
    kubectl("delete", "cm", "owner", "--cascade=orphan")
    assert kubectl("get", "cm", "child", "-o", "jsonpath={.metadata.ownerReferences}") == ""


def test_jobs_quotas_and_budgets_are_created_and_described(kubectl) -> None:
    kubectl("create", "job", "j", "--image=busybox:1", "--", "echo", "hi")
    kubectl("create", "cronjob", "c", "--image=busybox:1", "--schedule=*/5 * * * *", "--", "echo", "hi")
    kubectl("create", "job", "manual", "--from=cronjob/c")
    kubectl("create", "quota", "q", "--hard=pods=5,requests.nvidia.com/gpu=1")
    kubectl("create", "poddisruptionbudget", "b", "--selector=app=a", "--min-available=1")
    kubectl("create", "ingress", "i", "--rule=a.b/path*=svc:80")
    kubectl("create", "deployment", "d", "--image=busybox:1", "--replicas=0")
    kubectl("autoscale", "deployment", "d", "--min=1", "--max=3", "--cpu=50%")
    assert [line.split()[:3] for line in kubectl("get", "jobs", "--no-headers").splitlines()] == [
        ["j", "Running", "0/1"],
        ["manual", "Running", "0/1"],
    ]
    assert "Backoff Limit:    6" in kubectl("describe", "job", "j")
    assert "Concurrency Policy:            Allow" in kubectl("describe", "cronjob", "c")
    assert "requests.nvidia.com/gpu  0" in kubectl("describe", "quota", "q")
    assert "cpu: <unknown>/50%" in kubectl("get", "hpa", "d", "--no-headers")
    assert "FIELD: backoffLimit <integer>" in kubectl("explain", "job.spec.backoffLimit")
    assert kubectl("delete", "jobs", "j", "manual").count("deleted") == 2


def test_a_drain_evicts_pods_within_their_budget(kubectl, api, make_pod) -> None:
    node = f"n-{api.namespace}"
    api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    for name, app in (("free", "x"), ("guarded", "a")):
        pod = make_pod(name, nodeName=node)
        pod["metadata"]["labels"] = {"app": app}
        api.create(api.core("pods"), pod)
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        assert api.merge(api.core("pods", name, "status"), ready).status == 200
    budgets = f"/apis/policy/v1/namespaces/{api.namespace}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    api.create(budgets, {"metadata": {"name": "b"}, "spec": spec})

    def allow(disruptions: int) -> None:
        status = {"observedGeneration": 1, "disruptionsAllowed": disruptions, "currentHealthy": 1, "desiredHealthy": 1}
        assert api.merge(f"{budgets}/b/status", {"status": status}).status == 200

    drain = ("drain", node, "--force", "--grace-period=0")
    allow(0)
    refused = kubectl(*drain, "--timeout=1s", fails=True)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused
    assert kubectl("get", "pods", "-o", "name") == "pod/guarded\n"
    allow(1)
    assert f"node/{node} drained" in kubectl(*drain, "--timeout=60s")
    assert api.get(f"/api/v1/nodes/{node}")["spec"]["unschedulable"] is True


def test_a_deployment_is_applied_server_side_after_it_was_applied_client_side(kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("replicas: 1", "replicas: 2")
    assert kubectl("apply", "--server-side", "-f", "-", stdin=changed) == "deployment.apps/web serverside-applied\n"
    shown = kubectl("get", "deploy", "web", "-o", "yaml", "--show-managed-fields")
    assert "manager: kubectl\n" in shown
    assert "manager: kubectl-client-side-apply" not in shown  # kubectl moved its fields over
    assert "managedFields" not in kubectl("get", "deploy", "web", "-o", "yaml")
    without_env = changed.replace(', env: [{name: A, value: "1"}]', "")
    kubectl("apply", "--server-side", "-f", "-", stdin=without_env)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}") == ""
    assert kubectl("apply", "-f", "-", stdin=without_env) == "deployment.apps/web configured\n"


def test_a_conflict_is_told_and_can_be_forced(kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    kubectl("scale", "deploy/web", "--replicas=5")
    told = kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT, fails=True)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in told
    assert "--force-conflicts" in told
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=DEPLOYMENT)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "1"


@pytest.mark.skipif(shutil.which("diff", path="/usr/bin:/bin") is None, reason="kubectl diff needs diff")
def test_differences_are_shown_before_they_are_applied_server_side(kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    assert kubectl("diff", "--server-side", "-f", "-", stdin=DEPLOYMENT) == ""
    shown = kubectl(
        "diff", "--server-side", "-f", "-", stdin=DEPLOYMENT.replace("replicas: 1", "replicas: 3"), fails=True
    )
    assert "-  replicas: 1\n+  replicas: 3\n" in shown


def test_custom_objects_are_applied_server_side(kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=CRD)
    kubectl("wait", "--for=condition=Established", "crd/gizmos.kubectl.example.com", "--timeout=60s")
    assert kubectl("apply", "--server-side", "-f", "-", stdin=GIZMO % 1).endswith("serverside-applied\n")
    kubectl("patch", "gizmo", "g", "--type=merge", "-p", '{"spec":{"size":2}}')
    told = kubectl("apply", "--server-side", "-f", "-", stdin=GIZMO % 1, fails=True)
    assert 'conflict with "kubectl-patch" using kubectl.example.com/v1: .spec.size' in told
    kubectl("delete", "crd", "gizmos.kubectl.example.com")
