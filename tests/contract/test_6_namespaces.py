"""Namespaces: their birth, what ends with them, and what holds them. Numbers 670 to 689."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asking import APPLY, MERGE, Api, config_map
from behaviours import behaviour

NAMESPACES = "/api/v1/namespaces"
CONCEPTS = "Concepts: Namespaces"
FINALIZERS = "API reference: NamespaceSpec, finalizers"
OBSERVED = "observed on 1.34.2"
HOLD = "example.com/hold"


@contextmanager
def another(api: Api, **metadata: Any) -> Iterator[str]:
    """The path of a namespace of the test's own, gone afterwards."""
    with api.made(NAMESPACES, {"metadata": {"name": api.other_name(), **metadata}}) as made:
        yield f"{NAMESPACES}/{made['metadata']['name']}"


@contextmanager
def ending(api: Api) -> Iterator[str]:
    """The path of a namespace that is ending, which a finalizer of the ConfigMap ``held`` in it holds."""
    held = config_map("held", x="y")
    held["metadata"]["finalizers"] = [HOLD]
    with another(api) as path:
        api.create(f"{path}/configmaps", held)
        try:
            api.delete(path)
            yield path
        finally:
            let_go(api, path)


def let_go(api: Api, path: str) -> None:
    api("PATCH", f"{path}/configmaps/held", {"metadata": {"finalizers": None}}, content_type=MERGE)


@behaviour(670, "A new namespace is active, held by its finalizer, and labelled with its name", source=CONCEPTS)
def test_birth(api: Api) -> None:
    with another(api) as path:
        made = api.get(path)
        assert (made["status"], made["spec"]) == ({"phase": "Active"}, {"finalizers": ["kubernetes"]})
        assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": made["metadata"]["name"]}


@behaviour(671, "The label of its name can be neither changed nor taken away", source=CONCEPTS)
def test_label(api: Api) -> None:
    with another(api) as path:
        name = path.rpartition("/")[2]
        for value in ("other", None):
            patch = {"metadata": {"labels": {"kubernetes.io/metadata.name": value}}}
            assert api.merge(path, patch)["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}


@behaviour(672, "A namespace is furnished with an account and the authority's certificate", source=CONCEPTS)
def test_furniture(api: Api) -> None:
    with another(api) as path:
        for furniture in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
            api.eventually(lambda item=furniture: api("GET", f"{path}/{item}").status == 200)
        assert "BEGIN CERTIFICATE" in api.get(f"{path}/configmaps/kube-root-ca.crt")["data"]["ca.crt"]
        api.delete(f"{path}/serviceaccounts/default")
        api.eventually(lambda: api("GET", f"{path}/serviceaccounts/default").status == 200)


@behaviour(673, "A namespace's name is a DNS label", source=f"{CONCEPTS}: DNS")
def test_names(api: Api) -> None:
    answer = api("POST", NAMESPACES, {"metadata": {"name": "a.b"}})
    why = 'Namespace "a.b" is invalid: metadata.name: Invalid value: "a.b": must not contain dots'
    answer.refused(422, "Invalid", why)
    for name in ("A", "-a"):
        answer = api("POST", NAMESPACES, {"metadata": {"name": name}}).refused(422, "Invalid")
        assert ("metadata.name", "FieldValueInvalid") in answer.causes()


@behaviour(674, "Nothing can be made in a namespace that is not there; reading finds nothing", source=OBSERVED)
def test_missing_namespace(api: Api) -> None:
    path = f"{NAMESPACES}/{api.other_name()}"
    answer = api("POST", f"{path}/configmaps", config_map("c"))
    answer.refused(404, "NotFound", kind="namespaces", name=path.rpartition("/")[2])
    api("GET", f"{path}/configmaps/c").refused(404, "NotFound", 'configmaps "c" not found')
    assert api.get(f"{path}/configmaps")["items"] == []


@behaviour(675, "A namespace that ends says so at once and takes its content along", source=f"{CONCEPTS}; observed")
def test_end(api: Api) -> None:
    with another(api) as path:
        api.create(f"{path}/configmaps", config_map("c"))
        api.create(f"{path}/secrets", {"metadata": {"name": "s"}})
        answer = api("DELETE", path)
        assert (answer.status, answer.body["kind"], answer.body["status"]["phase"]) == (200, "Namespace", "Terminating")
        assert answer.body["metadata"]["deletionTimestamp"]
        assert "deletionGracePeriodSeconds" not in answer.body["metadata"]
        api.eventually(lambda: api("GET", path).status == 404)
        assert api.get(f"{path}/secrets")["items"] == []


@behaviour(676, "Nothing new comes into a namespace that ends, not even in a dry run", source=OBSERVED)
def test_terminating_refuses(api: Api) -> None:
    with ending(api) as path:
        name = path.rpartition("/")[2]
        why = f"unable to create new content in namespace {name} because it is being terminated"
        late = config_map("late")
        for answer in (
            api("POST", f"{path}/configmaps", late),
            api("POST", f"{path}/configmaps?dryRun=All", late),
            api("PATCH", f"{path}/configmaps/late?fieldManager=m", late, content_type=APPLY),
        ):
            answer.refused(403, "Forbidden", f'configmaps "late" is forbidden: {why}', name="late", kind="configmaps")
            assert answer.causes() == {("metadata.namespace", "NamespaceTerminating")}


@behaviour(677, "What is in a namespace that ends can still be read and changed", source=OBSERVED)
def test_terminating_allows(api: Api) -> None:
    with ending(api) as path:
        assert api.merge(f"{path}/configmaps/held", {"data": {"x": "z"}})["data"] == {"x": "z"}
        assert api("DELETE", path).status == 200
        review = {"metadata": {"namespace": path.rpartition("/")[2]}, "spec": {"user": "jane"}}
        asked = {"namespace": path.rpartition("/")[2], "verb": "get", "resource": "pods"}
        review["spec"]["resourceAttributes"] = asked
        api.create(
            f"/apis/authorization.k8s.io/v1/namespaces/{path.rpartition('/')[2]}/localsubjectaccessreviews", review
        )


@behaviour(678, "What holds a namespace is said in its conditions", source="API reference: NamespaceCondition")
def test_conditions(api: Api) -> None:
    with ending(api) as path:

        def said(wanted: str) -> tuple[str, str, str]:
            conditions = {item["type"]: item for item in api.get(path)["status"].get("conditions", ())}
            found = conditions.get(wanted, {})
            return found.get("status", ""), found.get("reason", ""), found.get("message", "")

        held = ("True", "SomeFinalizersRemain")
        api.eventually(lambda: said("NamespaceFinalizersRemaining")[:2] == held)
        message = f"Some content in the namespace has finalizers remaining: {HOLD} in 1 resource instances"
        assert said("NamespaceFinalizersRemaining")[2] == message
        message = "Some resources are remaining: configmaps. has 1 resource instances"
        assert said("NamespaceContentRemaining") == ("True", "SomeResourcesRemain", message)
        assert said("NamespaceDeletionContentFailure")[:2] == ("False", "ContentDeleted")
        assert said("NamespaceDeletionDiscoveryFailure")[:2] == ("False", "ResourcesDiscovered")
        let_go(api, path)
        api.eventually(lambda: api("GET", path).status == 404)


@behaviour(679, "A namespace that ends keeps its name until it is gone", source=OBSERVED)
def test_name_of_an_ending_namespace(api: Api) -> None:
    with ending(api) as path:
        name = path.rpartition("/")[2]
        answer = api("POST", NAMESPACES, {"metadata": {"name": name}})
        why = f'object is being deleted: namespaces "{name}" already exists'
        answer.refused(409, "AlreadyExists", why, name=name)


@behaviour(680, "The finalizers of its spec are only written through finalize", source=FINALIZERS)
def test_finalizers_of_the_spec(api: Api) -> None:
    with another(api) as path:
        assert api.merge(path, {"spec": {"finalizers": [HOLD]}})["spec"] == {"finalizers": ["kubernetes"]}
        changed = {**api.get(path), "spec": {"finalizers": ["kubernetes", HOLD]}}
        assert api.put(f"{path}/finalize", changed)["spec"] == {"finalizers": ["kubernetes", HOLD]}
        api.put(f"{path}/finalize", {**api.get(path), "spec": {"finalizers": ["kubernetes"]}})


@behaviour(681, "Finalize refuses names that are neither known nor qualified, and old versions", source=FINALIZERS)
def test_malformed_finalizers(api: Api) -> None:
    with another(api) as path:
        found = api.get(path)
        answer = api("PUT", f"{path}/finalize", {**found, "spec": {"finalizers": ["short"]}}).refused(422, "Invalid")
        assert answer.causes() == {("spec.finalizers[0]", "FieldValueInvalid")}
        old = {**found, "metadata": {**found["metadata"], "resourceVersion": "1"}}
        api("PUT", f"{path}/finalize", old).refused(409, "Conflict", name=found["metadata"]["name"])
        api("GET", f"{path}/finalize").refused(405, "MethodNotAllowed")
        api("PATCH", f"{path}/finalize", {}, content_type=MERGE).refused(405, "MethodNotAllowed")


@behaviour(682, "Somebody's finalizer in its spec holds a namespace until finalize takes it away", source=FINALIZERS)
def test_held_by_its_spec(api: Api) -> None:
    with another(api) as path:
        api.put(f"{path}/finalize", {**api.get(path), "spec": {"finalizers": ["kubernetes", HOLD]}})
        api.delete(path)
        api.eventually(lambda: api.get(path)["spec"] == {"finalizers": [HOLD]})
        api.put(f"{path}/finalize", {**api.get(path), "spec": {"finalizers": []}})
        api("GET", path).refused(404, "NotFound")


@behaviour(683, "A finalizer of its metadata holds an empty namespace", source="Concepts: Finalizers")
def test_held_by_its_metadata(api: Api) -> None:
    with another(api, finalizers=[HOLD]) as path:
        api.delete(path)
        api.eventually(lambda: api.get(path)["spec"] == {})
        api.merge(path, {"metadata": {"finalizers": None}})
        api("GET", path).refused(404, "NotFound")


@behaviour(684, "The phase follows the deletion: its status cannot say another one", source=OBSERVED)
def test_phase(api: Api) -> None:
    with another(api) as path:
        for phase in ("Terminating", "Sleeping"):
            answer = api("PATCH", f"{path}/status", {"status": {"phase": phase}}, content_type=MERGE)
            answer.refused(422, "Invalid", kind="Namespace")
            assert answer.causes() == {("status.Phase", "FieldValueInvalid")}
        condition = {"type": "example.com/Seen", "status": "True", "reason": "R", "message": "m"}
        patch = {"status": {"conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}
        assert api.merge(f"{path}/status", patch)["status"]["phase"] == "Active"


@behaviour(685, "The namespaces of the system cannot be deleted", source=OBSERVED)
def test_system_namespaces(api: Api) -> None:
    for name in ("default", "kube-system", "kube-public"):
        answer = api("DELETE", f"{NAMESPACES}/{name}?dryRun=All")
        why = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        answer.refused(403, "Forbidden", why, name=name, kind="namespaces")
    assert api("DELETE", f"{NAMESPACES}/kube-node-lease?dryRun=All").status == 200


@behaviour(686, "Namespaces cannot be deleted as a collection", source="API concepts: deletecollection")
def test_collection_of_namespaces(api: Api) -> None:
    api("DELETE", f"{NAMESPACES}?labelSelector=nobody-has-this").refused(405, "MethodNotAllowed")


@behaviour(687, "A namespace's objects are found by their kind in all namespaces too", source=CONCEPTS)
def test_all_namespaces(api: Api) -> None:
    mark = api.other_name()
    with another(api) as path:
        for place in (path, f"{NAMESPACES}/{api.namespace}"):
            api.create(f"{place}/configmaps", config_map("c", labels={"mark": mark}))
        found = api.get(f"/api/v1/configmaps?labelSelector=mark%3D{mark}")["items"]
        assert {item["metadata"]["namespace"] for item in found} == {path.rpartition("/")[2], api.namespace}


@behaviour(688, "Objects of one name live beside each other in two namespaces", source=CONCEPTS)
def test_same_names(api: Api) -> None:
    with another(api) as path:
        api.create(f"{path}/configmaps", config_map("c", x="there"))
        api.create(api.core("configmaps"), config_map("c", x="here"))
        api.delete(f"{path}/configmaps/c")
        assert api.get(api.core("configmaps", "c"))["data"] == {"x": "here"}
