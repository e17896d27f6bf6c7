"""kubectl: to make, show, change and delete objects. Numbers 800 to 832."""

import json
import re

from asking import Api, Kubectl, config_map, deployment, failure, given
from behaviours import behaviour

REFERENCE = "kubectl reference"
MANAGEMENT = "Declarative Management of Kubernetes Objects"
OBSERVED = "observed on 1.34.2"


@behaviour(800, "kubectl create says what it made, and of a taken name that it is", source=f"{REFERENCE}: create")
def test_create(kubectl: Kubectl) -> None:
    assert kubectl("create", "-f", "-", stdin=given(config_map("a"))).stdout == "configmap/a created\n"
    said = failure(kubectl, "create", "-f", "-", stdin=given(config_map("a")))
    assert said == 'Error from server (AlreadyExists): error when creating "STDIN": configmaps "a" already exists'


@behaviour(801, "kubectl apply creates, leaves and changes, and says which", source=f"{REFERENCE}: apply")
def test_apply(kubectl: Kubectl) -> None:
    for value, word in (("1", "created"), ("1", "unchanged"), ("2", "configured")):
        done = kubectl("apply", "-f", "-", stdin=given(config_map("a", x=value)))
        assert done.stdout == f"configmap/a {word}\n"


@behaviour(802, "kubectl apply removes what it applied before and what others set stays", source=MANAGEMENT)
def test_apply_removes(api: Api, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=given(config_map("a", x="1", y="1")))
    api.merge(api.core("configmaps", "a"), {"data": {"z": "1"}})
    kubectl("apply", "-f", "-", stdin=given(config_map("a", x="1")))
    assert api.get(api.core("configmaps", "a"))["data"] == {"x": "1", "z": "1"}


@behaviour(803, "kubectl apply of a deployment merges its containers by name", source=MANAGEMENT)
def test_apply_of_a_deployment(api: Api, kubectl: Kubectl) -> None:
    obj = deployment("d", paused=True)
    kubectl("apply", "-f", "-", stdin=given(obj))
    path = api.path("apps/v1", "deployments", "d")
    operation = {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "s", "image": "s:1"}}
    assert api("PATCH", path, [operation], content_type="application/json-patch+json").status == 200
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "i:2"
    kubectl("apply", "-f", "-", stdin=given(obj))
    containers = api.get(path)["spec"]["template"]["spec"]["containers"]
    assert {item["name"]: item["image"] for item in containers} == {"c": "i:2", "s": "s:1"}


@behaviour(
    804, "kubectl apply --server-side shows conflicts, and takes over when it is forced", source="Server-Side Apply"
)
def test_server_side(api: Api, kubectl: Kubectl) -> None:
    applying = ("apply", "--server-side", "-f", "-")
    done = kubectl(*applying, stdin=given(config_map("a", x="1")))
    assert done.stdout == "configmap/a serverside-applied\n"
    said = failure(kubectl, *applying, "--field-manager=two", stdin=given(config_map("a", x="2")))
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.x' in said
    kubectl(*applying, "--field-manager=two", "--force-conflicts", stdin=given(config_map("a", x="2")))
    assert api.get(api.core("configmaps", "a"))["data"] == {"x": "2"}


@behaviour(
    805, "kubectl apply --server-side takes over what kubectl apply has applied before", source="Server-Side Apply"
)
def test_upgrade(api: Api, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=given(config_map("a", x="1", y="1")))
    kubectl("apply", "--server-side", "-f", "-", stdin=given(config_map("a", x="2")))
    found = api.get(api.core("configmaps", "a"))
    assert found["data"] == {"x": "2"}
    managers = {(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]}
    assert ("kubectl", "Apply") in managers
    assert "kubectl-client-side-apply" not in {name for name, _ in managers}


@behaviour(806, "kubectl apply --dry-run=server tells what would be, and nothing is", source=f"{REFERENCE}: apply")
def test_dry_run(kubectl: Kubectl) -> None:
    done = kubectl("apply", "--dry-run=server", "-f", "-", stdin=given(config_map("a")))
    assert done.stdout == "configmap/a created (server dry run)\n"
    assert kubectl("get", "configmap", "a", "--ignore-not-found").stdout == ""


@behaviour(
    807, "kubectl refuses unknown fields unless it is told to warn or to ignore them", source=f"{REFERENCE}: validate"
)
def test_validation(kubectl: Kubectl) -> None:
    obj = given({**config_map("a"), "dota": 1})
    said = failure(kubectl, "apply", "-f", "-", stdin=obj)
    assert 'strict decoding error: unknown field "dota"' in said
    done = kubectl("apply", "--validate=warn", "-f", "-", stdin=obj)
    assert 'Warning: unknown field "dota"' in done.stderr
    assert kubectl("apply", "--validate=ignore", "-f", "-", stdin=obj).stderr == ""


@behaviour(
    808, "kubectl get shows the columns that the server has for a kind", source="API concepts: Resources as tables"
)
def test_table(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(config_map("a", x="1", y="2")))
    kubectl("create", "-f", "-", stdin=given(deployment("d", paused=True)))
    header, row = kubectl("get", "configmap", "a").stdout.splitlines()
    assert header.split() == ["NAME", "DATA", "AGE"]
    assert row.split()[:2] == ["a", "2"]
    header, row = kubectl("get", "deployment", "d").stdout.splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["d", "0/0", "0", "0"]


@behaviour(
    809, "kubectl get -o wide shows more columns of pods, --show-labels their labels", source=f"{REFERENCE}: get"
)
def test_wide(api: Api, kubectl: Kubectl) -> None:
    api.create_pod(metadata={"labels": {"a": "b"}})
    header, row = kubectl("get", "pods", "-o", "wide", "--show-labels").stdout.splitlines()
    wanted = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES LABELS"
    assert header.split() == wanted.split()
    assert row.split()[:4] == ["p", "0/1", "Pending", "0"]
    assert row.split()[-1] == "a=b"


@behaviour(810, "kubectl get prints names, JSON, YAML, paths and columns of one's own", source=f"{REFERENCE}: get -o")
def test_outputs(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(config_map("a", x="1")))
    assert kubectl("get", "configmap/a", "-o", "name").stdout == "configmap/a\n"
    assert kubectl("get", "configmap/a", "-o", "jsonpath={.data.x}").stdout == "1"
    assert json.loads(kubectl("get", "configmap/a", "-o", "json").stdout)["data"] == {"x": "1"}
    assert '\n  x: "1"\n' in kubectl("get", "configmap/a", "-o", "yaml").stdout
    columns = "custom-columns=N:.metadata.name,X:.data.x"
    assert kubectl("get", "configmap/a", "-o", columns).stdout.split() == ["N", "X", "a", "1"]


@behaviour(811, "kubectl get selects by labels and fields, and sorts", source=f"{REFERENCE}: get")
def test_selection(kubectl: Kubectl) -> None:
    for name, order in (("a", "3"), ("b", "1"), ("c", "2")):
        kubectl("create", "-f", "-", stdin=given(config_map(name, labels={"x": "y", name: "1"}, order=order)))
    assert kubectl("get", "configmaps", "-l", "x=y,b", "-o", "name").stdout == "configmap/b\n"
    assert kubectl("get", "configmaps", "--field-selector=metadata.name=c", "-o", "name").stdout == "configmap/c\n"
    done = kubectl("get", "configmaps", "-l", "x", "--sort-by={.data.order}", "-o", "name")
    assert done.stdout.split() == ["configmap/b", "configmap/c", "configmap/a"]


@behaviour(
    812, "kubectl get of nothing says so, of a missing object too, and fails only for the latter", source=OBSERVED
)
def test_nothing(api: Api, kubectl: Kubectl) -> None:
    done = kubectl("get", "secrets")
    assert (done.stdout, done.stderr) == ("", f"No resources found in {api.namespace} namespace.\n")
    said = failure(kubectl, "get", "configmap", "missing")
    assert said == 'Error from server (NotFound): configmaps "missing" not found'
    said = failure(kubectl, "get", "nonsense")
    assert said == 'error: the server doesn\'t have a resource type "nonsense"'


@behaviour(813, "kubectl get of several kinds puts the kind before each name", source=f"{REFERENCE}: get")
def test_several_kinds(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(config_map("a", labels={"x": "y"})))
    kubectl("create", "secret", "generic", "s")
    kubectl("label", "secret", "s", "x=y")
    found = kubectl("get", "configmaps,secrets", "-l", "x=y", "--no-headers").stdout
    assert [line.split()[0] for line in found.splitlines() if line] == ["configmap/a", "secret/s"]


@behaviour(814, "kubectl get all shows workloads and services", source=f"{REFERENCE}: get; discovery, categories")
def test_all(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(deployment("d", paused=True)))
    kubectl("create", "service", "clusterip", "s", "--tcp=80:80")
    kubectl("create", "-f", "-", stdin=given(config_map("a")))
    found = kubectl("get", "all", "-o", "name").stdout.split()
    assert {"deployment.apps/d", "service/s"} <= set(found)
    assert not any(name.startswith("configmap/") for name in found)


@behaviour(815, "kubectl get hides managed fields unless it is asked for them", source=f"{REFERENCE}: get")
def test_managed_fields(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(config_map("a", x="1")))
    assert "managedFields" not in kubectl("get", "configmap/a", "-o", "yaml").stdout
    assert "manager: kubectl-create" in kubectl("get", "configmap/a", "-o", "yaml", "--show-managed-fields").stdout


@behaviour(816, "kubectl get reads lists in chunks, and shows all of them", source=f"{REFERENCE}: get --chunk-size")
def test_chunks(api: Api, kubectl: Kubectl) -> None:
    for number in range(5):
        api.create(api.core("configmaps"), config_map(f"c{number}", labels={"x": "y"}))
    found = kubectl("get", "configmaps", "-l", "x", "--chunk-size=2", "--no-headers").stdout
    assert [line.split()[0] for line in found.splitlines()] == [f"c{number}" for number in range(5)]


@behaviour(817, "kubectl get --raw shows what the server says", source=f"{REFERENCE}: get --raw")
def test_raw(api: Api, kubectl: Kubectl) -> None:
    assert kubectl("get", "--raw", "/readyz").stdout == "ok"
    kubectl("create", "-f", "-", stdin=given(config_map("a", x="1")))
    assert json.loads(kubectl("get", "--raw", api.core("configmaps", "a")).stdout)["data"] == {"x": "1"}


@behaviour(818, "kubectl describe shows an object's fields and its events", source=f"{REFERENCE}: describe")
def test_describe(api: Api, kubectl: Kubectl) -> None:
    made = api.create(api.core("configmaps"), config_map("a", labels={"l": "1"}, x="one"))
    involved = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "namespace": api.namespace}
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {**involved, "uid": made["metadata"]["uid"]},
        "reason": "Tried",
        "message": "it was tried",
        "type": "Normal",
        "source": {"component": "me"},
    }
    api.create(api.core("events"), event)
    found = kubectl("describe", "configmap", "a").stdout
    assert re.search(r"^Labels: +l=1$", found, re.MULTILINE)
    assert "\nx:\n----\none\n" in found
    assert re.search(r"Normal +Tried +.*me +it was tried", found)


@behaviour(819, "kubectl describe of pods and deployments reads all that it needs", source=f"{REFERENCE}: describe")
def test_describe_workloads(api: Api, kubectl: Kubectl) -> None:
    api.create_pod(metadata={"labels": {"a": "b"}})
    found = kubectl("describe", "pod", "p").stdout
    for line in (r"Status: +Pending", r"Node: +<none>", r"QoS Class: +BestEffort", r"    Image: +busybox:1"):
        assert re.search(f"^{line}$", found, re.MULTILINE), (line, found)
    kubectl("create", "-f", "-", stdin=given(deployment("d")))
    found = kubectl("describe", "deployment", "d").stdout
    for line in (r"Selector: +a=b", r"StrategyType: +RollingUpdate", r"RollingUpdateStrategy: .*25% max surge"):
        assert re.search(f"^{line}$", found, re.MULTILINE), (line, found)


@behaviour(820, "kubectl delete says what it deleted, and fails for what is not there", source=f"{REFERENCE}: delete")
def test_delete(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(config_map("a")))
    assert kubectl("delete", "configmap", "a").stdout.startswith('configmap "a" deleted')
    said = failure(kubectl, "delete", "configmap", "a")
    assert said == 'Error from server (NotFound): configmaps "a" not found'
    assert kubectl("delete", "configmap", "a", "--ignore-not-found").stdout == ""


@behaviour(821, "kubectl delete takes selectors, files and everything of a kind", source=f"{REFERENCE}: delete")
def test_delete_many(api: Api, kubectl: Kubectl) -> None:
    for name in ("a", "b", "c", "d"):
        api.create(api.core("configmaps"), config_map(name, labels={"x": name}))
    assert kubectl("delete", "configmap", "-l", "x in (a,b)", "-o", "name").stdout.split() == [
        "configmap/a",
        "configmap/b",
    ]
    kubectl("delete", "-f", "-", stdin=given(config_map("c")))
    assert 'configmap "d" deleted' in kubectl("delete", "configmaps", "--all").stdout


@behaviour(
    822,
    "kubectl delete waits until finalizers are done, for as long as it is told",
    source=f"{REFERENCE}: delete --wait",
)
def test_delete_waits(api: Api, kubectl: Kubectl) -> None:
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    path = api.core("configmaps", "a")
    api.create(api.core("configmaps"), obj)
    said = failure(kubectl, "delete", "configmap", "a", "--timeout=300ms")
    assert "timed out waiting for the condition" in said
    kubectl("delete", "configmap", "a", "--wait=false")
    assert "deletionTimestamp" in api.get(path)["metadata"]
    api.merge(path, {"metadata": {"finalizers": None}})
    kubectl("wait", "--for=delete", "configmap/a", "--timeout=20s")


@behaviour(823, "kubectl delete --cascade=orphan leaves dependents", source="Garbage Collection: Cascading deletion")
def test_orphans(api: Api, kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(deployment("d")))
    sets = api.path("apps/v1", "replicasets")
    api.eventually(lambda: api.get(sets)["items"])
    kubectl("delete", "deployment", "d", "--cascade=orphan")
    (left,) = api.get(sets)["items"]
    assert "ownerReferences" not in left["metadata"]


@behaviour(824, "kubectl delete --force removes a pod at once", source=f"{REFERENCE}: delete --force")
def test_force(api: Api, kubectl: Kubectl) -> None:
    api.create_pod()
    done = kubectl("delete", "pod", "p", "--force", "--grace-period=0")
    assert done.stdout.startswith('pod "p" force deleted')
    assert "Immediate deletion does not wait" in done.stderr
    api("GET", api.core("pods", "p")).refused(404, "NotFound")


@behaviour(
    825,
    "kubectl patch patches by strategy, merge and operations, and says if nothing changed",
    source=f"{REFERENCE}: patch",
)
def test_patch(api: Api, kubectl: Kubectl) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    patch = ("patch", "configmap", "a")
    assert kubectl(*patch, "-p", '{"data":{"y":"2"}}').stdout == "configmap/a patched\n"
    assert kubectl(*patch, "-p", '{"data":{"y":"2"}}').stdout == "configmap/a patched (no change)\n"
    kubectl(*patch, "--type=merge", "-p", '{"data":{"x":null}}')
    kubectl(*patch, "--type=json", "-p", '[{"op":"add","path":"/data/z","value":"3"}]')
    assert api.get(api.core("configmaps", "a"))["data"] == {"y": "2", "z": "3"}
    said = failure(kubectl, *patch, "--type=json", "-p", '[{"op":"remove","path":"/data/no"}]')
    assert said.startswith("The request is invalid: the server rejected our request due to an error in our request")


@behaviour(826, "kubectl patch --subresource writes status and scale", source="KEP-2590: kubectl subresource support")
def test_subresource(api: Api, kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(deployment("d", paused=True)))
    patch = ("patch", "deployment", "d", "--type=merge")
    kubectl(*patch, "--subresource=status", "-p", '{"status":{"collisionCount":3}}')
    kubectl(*patch, "--subresource=scale", "-p", '{"spec":{"replicas":0}}')
    found = kubectl("get", "deployment", "d", "--subresource=status", "-o", "jsonpath={.status.collisionCount}")
    assert found.stdout == "3"


@behaviour(827, "kubectl edit sends what the editor changed", source=f"{REFERENCE}: edit")
def test_edit(api: Api, kubectl: Kubectl) -> None:
    api.create(api.core("configmaps"), config_map("a", x="before"))
    done = kubectl("edit", "configmap", "a", env={"KUBE_EDITOR": "sed -i s/before/after/"})
    assert done.stdout == "configmap/a edited\n"
    assert api.get(api.core("configmaps", "a"))["data"] == {"x": "after"}
    done = kubectl("edit", "configmap", "a", env={"KUBE_EDITOR": "true"})
    assert done.stderr == "Edit cancelled, no changes made.\n"


@behaviour(
    828,
    "kubectl replace replaces, of a missing object it says so, and --force makes it anew",
    source=f"{REFERENCE}: replace",
)
def test_replace(api: Api, kubectl: Kubectl) -> None:
    made = api.create(api.core("configmaps"), config_map("a", x="1"))
    assert kubectl("replace", "-f", "-", stdin=given(config_map("a", y="2"))).stdout == "configmap/a replaced\n"
    said = failure(kubectl, "replace", "-f", "-", stdin=given(config_map("b")))
    assert said == 'Error from server (NotFound): error when replacing "STDIN": configmaps "b" not found'
    kubectl("replace", "--force", "-f", "-", stdin=given(config_map("a", z="3")))
    found = api.get(api.core("configmaps", "a"))
    assert found["data"] == {"z": "3"}
    assert found["metadata"]["uid"] != made["metadata"]["uid"]


@behaviour(829, "kubectl label adds and removes, and overwrites only when it is told to", source=f"{REFERENCE}: label")
def test_label(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(config_map("a")))
    assert kubectl("label", "configmap", "a", "x=1").stdout == "configmap/a labeled\n"
    said = failure(kubectl, "label", "configmap", "a", "x=2")
    assert said == "error: 'x' already has a value (1), and --overwrite is false"
    kubectl("label", "configmap", "a", "x=2", "--overwrite")
    assert kubectl("get", "configmap", "a", "-L", "x", "--no-headers").stdout.split()[-1] == "2"
    assert kubectl("label", "configmap", "a", "x-").stdout == "configmap/a unlabeled\n"


@behaviour(830, "kubectl annotate adds and removes", source=f"{REFERENCE}: annotate")
def test_annotate(api: Api, kubectl: Kubectl) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path = api.core("configmaps", "a")
    assert kubectl("annotate", "configmap", "a", "example.com/x=1").stdout == "configmap/a annotated\n"
    assert api.get(path)["metadata"]["annotations"] == {"example.com/x": "1"}
    kubectl("annotate", "configmap", "a", "example.com/x-")
    assert "annotations" not in api.get(path)["metadata"]


@behaviour(
    831,
    "kubectl diff shows what apply would change, and says by its exit code if there is something",
    source=f"{REFERENCE}: diff",
)
def test_diff(api: Api, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=given(config_map("a", x="1")))
    done = kubectl("diff", "-f", "-", stdin=given(config_map("a", x="2")), check=False)
    assert done.returncode == 1
    assert {'-  x: "1"', '+  x: "2"'} <= set(done.stdout.splitlines())
    assert kubectl("diff", "-f", "-", stdin=given(config_map("a", x="1"))).stdout == ""
    assert api.get(api.core("configmaps", "a"))["data"] == {"x": "1"}


@behaviour(
    832,
    "kubectl wait waits for conditions, values, creations and deletions, and not for ever",
    source=f"{REFERENCE}: wait",
)
def test_wait(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=given(deployment("d")))
    done = kubectl("wait", "--for=condition=Available", "deployment/d", "--timeout=25s")
    assert done.stdout == "deployment.apps/d condition met\n"
    kubectl("wait", "--for=jsonpath={.spec.replicas}=0", "deployment/d", "--timeout=25s")
    kubectl("wait", "--for=create", "deployment/d", "--timeout=25s")
    said = failure(kubectl, "wait", "--for=condition=Never", "deployment/d", "--timeout=100ms")
    assert said == "error: timed out waiting for the condition on deployments/d"
