"""kubectl: workloads, generators, access and what it asks servers about themselves. Numbers 833 to 856."""

import json
from typing import Any

from asking import Api, Kubectl, deployment, failure, given, kubectl_program
from behaviours import behaviour
from tensorfusion.testing.control_plane import kubernetes_version

REFERENCE = "kubectl reference"
OBSERVED = "observed on 1.34.2"


def container_of(api: Api, name: str = "d") -> Any:
    return api.get(api.path("apps/v1", "deployments", name))["spec"]["template"]["spec"]["containers"][0]


@behaviour(833, "kubectl scale sets replicas, on a condition if one is stated", source=f"{REFERENCE}: scale")
def test_scale(api: Api, kubectl: Kubectl) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    assert kubectl("scale", "deployment/d", "--replicas=2").stdout == "deployment.apps/d scaled\n"
    assert api.get(api.path("apps/v1", "deployments", "d", "scale"))["spec"] == {"replicas": 2}
    said = failure(kubectl, "scale", "deployment/d", "--current-replicas=5", "--replicas=1")
    assert "Expected replicas to be 5, was 2" in said
    kubectl("scale", "deployment/d", "--replicas=0")


@behaviour(834, "kubectl rollout tells of a finished rollout and of its revisions", source=f"{REFERENCE}: rollout")
def test_rollout(api: Api, kubectl: Kubectl) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d"))
    done = kubectl("rollout", "status", "deployment/d", "--timeout=25s")
    assert done.stdout.splitlines()[-1] == 'deployment "d" successfully rolled out'
    found = kubectl("rollout", "history", "deployment/d").stdout
    assert found.splitlines()[:2] == ["deployment.apps/d ", "REVISION  CHANGE-CAUSE"]
    assert "1         <none>" in found


@behaviour(
    835, "kubectl rollout undo goes back to the template before, or to a revision", source=f"{REFERENCE}: rollout undo"
)
def test_undo(api: Api, kubectl: Kubectl) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d"))
    kubectl("rollout", "status", "deployment/d", "--timeout=25s")
    kubectl("set", "image", "deployment/d", "c=i:2")
    kubectl("rollout", "status", "deployment/d", "--timeout=25s")
    assert kubectl("rollout", "undo", "deployment/d").stdout == "deployment.apps/d rolled back\n"
    assert container_of(api)["image"] == "i:1"
    said = failure(kubectl, "rollout", "undo", "deployment/d", "--to-revision=99")
    assert said == "error: unable to find specified revision 99 in history"


@behaviour(836, "kubectl rollout pauses, resumes and restarts", source=f"{REFERENCE}: rollout")
def test_pause(api: Api, kubectl: Kubectl) -> None:
    path = api.path("apps/v1", "deployments", "d")
    api.create(api.path("apps/v1", "deployments"), deployment("d"))
    assert kubectl("rollout", "pause", "deployment/d").stdout == "deployment.apps/d paused\n"
    assert api.get(path)["spec"]["paused"] is True
    assert failure(kubectl, "rollout", "pause", "deployment/d") == 'error: deployments.apps "d" is already paused'
    kubectl("rollout", "resume", "deployment/d")
    kubectl("rollout", "restart", "deployment/d")
    found = api.get(path)["spec"]
    assert "paused" not in found
    assert "kubectl.kubernetes.io/restartedAt" in found["template"]["metadata"]["annotations"]


@behaviour(837, "kubectl set changes image, environment and resources of a template", source=f"{REFERENCE}: set")
def test_set(api: Api, kubectl: Kubectl) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    assert kubectl("set", "image", "deployment/d", "c=i:2").stdout == "deployment.apps/d image updated\n"
    kubectl("set", "env", "deployment/d", "A=1")
    kubectl("set", "resources", "deployment/d", "--limits=cpu=1")
    found = container_of(api)
    assert (found["image"], found["env"], found["resources"]) == (
        "i:2",
        [{"name": "A", "value": "1"}],
        {"limits": {"cpu": "1"}},
    )


@behaviour(838, "kubectl expose makes a service with the selector of a deployment", source=f"{REFERENCE}: expose")
def test_expose(api: Api, kubectl: Kubectl) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    assert kubectl("expose", "deployment", "d", "--port=80", "--name=s").stdout == "service/s exposed\n"
    spec = api.get(api.core("services", "s"))["spec"]
    assert (spec["selector"], spec["ports"][0]["port"], spec["type"]) == ({"a": "b"}, 80, "ClusterIP")


@behaviour(839, "kubectl autoscale makes an autoscaler of a deployment", source=f"{REFERENCE}: autoscale")
def test_autoscale(api: Api, kubectl: Kubectl) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    kubectl("autoscale", "deployment", "d", "--max=3")
    spec = api.get(api.path("autoscaling/v2", "horizontalpodautoscalers", "d"))["spec"]
    assert (spec["maxReplicas"], spec["scaleTargetRef"]["name"]) == (3, "d")


@behaviour(840, "kubectl run makes a pod, labelled with its name", source=f"{REFERENCE}: run")
def test_run(api: Api, kubectl: Kubectl) -> None:
    api.eventually(lambda: api("GET", api.core("serviceaccounts", "default")).status == 200)
    override = '{"spec":{"schedulingGates":[{"name":"example.com/wait"}]}}'
    assert kubectl("run", "p", "--image=i:1", f"--overrides={override}").stdout == "pod/p created\n"
    found = api.get(api.core("pods", "p"))
    assert found["metadata"]["labels"] == {"run": "p"}
    assert [(item["name"], item["image"]) for item in found["spec"]["containers"]] == [("p", "i:1")]


@behaviour(841, "kubectl create makes objects of many kinds from arguments", source=f"{REFERENCE}: create")
def test_generators(api: Api, kubectl: Kubectl) -> None:
    for arguments in (
        ("configmap", "a", "--from-literal=x=1"),
        ("secret", "generic", "a", "--from-literal=x=1"),
        ("deployment", "a", "--image=i:1", "--replicas=0"),
        ("quota", "a", "--hard=secrets=100"),
        ("pdb", "a", "--selector=a=b", "--min-available=1"),
        ("ingress", "a", "--rule=a.example.com/x=svc:80"),
        ("cronjob", "a", "--image=i:1", "--schedule=0 0 1 1 *"),
    ):
        assert kubectl("create", *arguments).stdout.endswith("/a created\n")
    assert api.get(api.core("secrets", "a"))["data"] == {"x": "MQ=="}
    assert api.get(api.path("batch/v1", "cronjobs", "a"))["spec"]["schedule"] == "0 0 1 1 *"


@behaviour(842, "kubectl create job --from makes a job of a cron job", source=f"{REFERENCE}: create job")
def test_job_from(api: Api, kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "c", "--image=i:1", "--schedule=0 0 1 1 *")
    kubectl("create", "job", "j", "--from=cronjob/c")
    found = api.get(api.path("batch/v1", "jobs", "j"))["metadata"]
    assert found["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    assert found["ownerReferences"][0]["name"] == "c"
    kubectl("delete", "job", "j")


@behaviour(843, "kubectl create token gives a token that the server knows", source=f"{REFERENCE}: create token")
def test_token(api: Api, kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "a")
    token = kubectl("create", "token", "a").stdout.strip()
    review = {"spec": {"token": token}}
    status = api.create("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert (status["authenticated"], status["user"]["username"]) == (
        True,
        f"system:serviceaccount:{api.namespace}:a",
    )


@behaviour(
    844,
    "kubectl auth can-i answers yes or no, also for others, and by its exit code",
    source=f"{REFERENCE}: auth can-i",
)
def test_can_i(api: Api, kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "a")
    kubectl("create", "role", "reader", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "b", "--role=reader", f"--serviceaccount={api.namespace}:a")
    assert kubectl("auth", "can-i", "create", "pods").stdout == "yes\n"
    account = f"--as=system:serviceaccount:{api.namespace}:a"
    api.eventually(lambda: kubectl("auth", "can-i", "get", "pods", account, check=False).stdout == "yes\n")
    done = kubectl("auth", "can-i", "delete", "pods", account, check=False)
    assert (done.returncode, done.stdout) == (1, "no\n")
    assert "pods" in kubectl("auth", "can-i", "--list", account).stdout


@behaviour(845, "kubectl says who may not do what", source="Authorization: determine the request verb")
def test_forbidden(api: Api, kubectl: Kubectl) -> None:
    said = failure(kubectl, "get", "configmaps", "--as=jane")
    assert said == (
        'Error from server (Forbidden): configmaps is forbidden: User "jane" cannot list resource "configmaps" in API '
        f'group "" in the namespace "{api.namespace}"'
    )


@behaviour(846, "kubectl auth whoami shows name and groups", source=f"{REFERENCE}: auth whoami")
def test_whoami(kubectl: Kubectl) -> None:
    found = json.loads(kubectl("auth", "whoami", "-o", "json", "--as=jane", "--as-group=staff").stdout)
    assert (found["kind"], found["apiVersion"]) == ("SelfSubjectReview", "authentication.k8s.io/v1")
    user = found["status"]["userInfo"]
    assert user["username"] == "jane"
    assert {"staff", "system:authenticated"} <= set(user["groups"])


@behaviour(
    847,
    "kubectl api-resources lists short names, versions, scope, kinds, verbs and categories",
    source=f"{REFERENCE}: api-resources",
)
def test_api_resources(kubectl: Kubectl) -> None:
    found = kubectl("api-resources", "-o", "wide", "--no-headers").stdout.splitlines()
    pods = next(line.split() for line in found if line.split()[:2] == ["pods", "po"])
    assert pods[1:5] == ["po", "v1", "true", "Pod"]
    assert pods[5:] == ["create,delete,deletecollection,get,list,patch,update,watch", "all"]
    names = kubectl("api-resources", "-o", "name", "--namespaced=false").stdout.split()
    assert {"namespaces", "nodes", "clusterroles.rbac.authorization.k8s.io"} <= set(names)
    assert "pods" not in names


@behaviour(848, "kubectl api-versions lists groups with their versions", source=f"{REFERENCE}: api-versions")
def test_api_versions(kubectl: Kubectl) -> None:
    found = kubectl("api-versions").stdout.split()
    assert {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "apiextensions.k8s.io/v1"} <= set(found)
    assert found == sorted(found)


@behaviour(
    849, "kubectl explain shows fields with their types, and not those that are none", source=f"{REFERENCE}: explain"
)
def test_explain(kubectl: Kubectl) -> None:
    found = kubectl("explain", "pods.spec.containers").stdout
    assert "KIND:       Pod\nVERSION:    v1\n" in found
    assert "FIELD: containers <[]Container>" in found
    fields = {tuple(line.split()[:2]) for line in found.splitlines() if line.startswith("  ")}
    assert {("image", "<string>"), ("env", "<[]EnvVar>"), ("resources", "<ResourceRequirements>")} <= fields
    assert "-required-" in next(line for line in found.splitlines() if line.startswith("  name\t"))
    said = failure(kubectl, "explain", "pods.spec.nonsense")
    assert said == 'error: field "nonsense" does not exist'


@behaviour(850, "kubectl explain --recursive shows the whole tree of fields", source=f"{REFERENCE}: explain")
def test_explain_recursively(kubectl: Kubectl) -> None:
    found = kubectl("explain", "deployment.spec", "--recursive").stdout
    assert "GROUP:      apps" in found
    assert {"replicas", "template", "containers", "livenessProbe"} <= {
        line.split()[0] for line in found.splitlines() if line.startswith("  ") and line.split()
    }


@behaviour(851, "kubectl exec and port-forward need a pod that runs; it has no logs before", source=OBSERVED)
def test_pending_pod(api: Api, kubectl: Kubectl) -> None:
    api.create_pod()
    assert kubectl("logs", "p").stdout == ""
    said = failure(kubectl, "exec", "p", "--", "ls")
    newer = kubernetes_version(kubectl_program().parent) >= (1, 36)  # the server answers alike, its client says it so
    start = "error: unable to upgrade connection" if newer else "Error from server (BadRequest)"
    assert said == f"{start}: pod p does not have a host assigned"
    said = failure(kubectl, "port-forward", "p", "8080:80")
    assert said == "error: unable to forward port because pod is not running. Current status=Pending"


@behaviour(852, "kubectl events shows the events of an object", source=f"{REFERENCE}: events")
def test_events(api: Api, kubectl: Kubectl) -> None:
    involved = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "namespace": api.namespace}
    event = {"metadata": {"name": "e"}, "involvedObject": involved, "reason": "Tried", "message": "m", "type": "Normal"}
    api.create(api.core("events"), {**event, "lastTimestamp": "2026-01-01T00:00:00Z"})
    header, row = kubectl("events", "--for=configmap/a").stdout.splitlines()
    assert header.split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert row.split()[-4:] == ["Normal", "Tried", "ConfigMap/a", "m"]


@behaviour(853, "kubectl cordon, taint and uncordon change a node", source=f"{REFERENCE}: cordon, taint")
def test_node(api: Api, kubectl: Kubectl) -> None:
    name = api.other_name("node")
    with api.made("/api/v1/nodes", {"metadata": {"name": name}}):
        path = f"/api/v1/nodes/{name}"
        assert kubectl("cordon", name).stdout == f"node/{name} cordoned\n"
        assert api.get(path)["spec"]["unschedulable"] is True
        assert kubectl("taint", "node", name, "x=y:NoSchedule").stdout == f"node/{name} tainted\n"
        taints = api.get(path)["spec"]["taints"]
        assert ("x", "y", "NoSchedule") in [(item["key"], item.get("value"), item["effect"]) for item in taints]
        kubectl("uncordon", name)
        assert "unschedulable" not in api.get(path)["spec"]


@behaviour(
    854,
    "kubectl applies several documents at once, and goes on after one that is refused",
    source=f"{REFERENCE}: apply",
)
def test_several_documents(api: Api, kubectl: Kubectl) -> None:
    documents = [
        given({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}) for name in ("a", "B_", "c")
    ]
    done = kubectl("apply", "-f", "-", stdin="\n---\n".join(documents), check=False)
    assert done.returncode == 1
    assert done.stdout.split("\n") == ["configmap/a created", "configmap/c created", ""]
    assert 'The ConfigMap "B_" is invalid: metadata.name: Invalid value: "B_"' in done.stderr


@behaviour(855, "kubectl apply of a kind that is not served says which", source=OBSERVED)
def test_unknown_kind(kubectl: Kubectl) -> None:
    obj = {"apiVersion": "nowhere.example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}
    said = failure(kubectl, "apply", "-f", "-", stdin=given(obj))
    assert 'no matches for kind "Thing" in version "nowhere.example.com/v1"' in said
    assert "ensure CRDs are installed first" in said


@behaviour(
    856, "kubectl apply --prune deletes what is labelled and no longer applied", source=f"{REFERENCE}: apply --prune"
)
def test_prune(api: Api, kubectl: Kubectl) -> None:
    label = api.other_name("set")

    def applied(*names: str) -> str:
        objects = "\n---\n".join(
            given({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"set": label}}})
            for name in names
        )
        allowed = "--prune-allowlist=core/v1/ConfigMap"
        return kubectl("apply", "-f", "-", "--prune", f"--selector=set={label}", allowed, stdin=objects).stdout

    applied("a", "b")
    assert "configmap/b pruned" in applied("a")
    assert {item["metadata"]["name"] for item in api.get(f"{api.core('configmaps')}?labelSelector=set")["items"]} == {
        "a"
    }
