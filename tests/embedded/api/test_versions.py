"""Several versions of a custom kind: conversion ``None``, what is stored, and which versions may go.

The same story was played on a real API server; what differs there is named where it does.
"""

import copy

import pytest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def version(name: str, *, storage: bool = False, served: bool = True):
    """A version with a field of its own besides the shared one."""
    fields = {"a": {"type": "string"}, f"of-{name}": {"type": "string", "default": name}}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    return {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema}}


class Definition:
    """One definition and its objects."""

    def __init__(self, api, *versions) -> None:
        self._api = api
        self.group = f"{api.namespace}.example.com"
        names = {"plural": "bars", "kind": "Bar"}
        spec = {"group": self.group, "scope": "Namespaced", "names": names, "versions": list(versions)}
        self.path = f"{CRDS}/bars.{self.group}"
        metadata = {"name": f"bars.{self.group}"}
        api.create(
            CRDS,
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": metadata,
                "spec": spec,
            },
        )

    def change(self, *versions):
        current = self._api.get(self.path)
        current["spec"]["versions"] = list(versions)
        return self._api("PUT", self.path, current)

    def say_stored(self, *names: str):
        current = self._api.get(self.path)
        current["status"]["storedVersions"] = list(names)
        return self._api("PUT", f"{self.path}/status", current)

    @property
    def stored(self):
        return self._api.get(self.path)["status"]["storedVersions"]

    def objects(self, name: str, obj: str = "") -> str:
        return f"/apis/{self.group}/{name}/namespaces/{self._api.namespace}/bars/{obj}".rstrip("/")

    def bar(self, name: str, **spec: str):
        return {"apiVersion": f"{self.group}/{name}", "kind": "Bar", "metadata": {"name": "o"}, "spec": spec}


@pytest.fixture
def bars(api):
    found = Definition(api, version("v1", storage=True))
    yield found
    api("DELETE", found.path)


def test_stored_versions_only_grow_by_themselves(bars) -> None:
    assert bars.stored == ["v1"]
    assert bars.change(version("v1"), version("v2", storage=True)).status == 200
    assert bars.stored == ["v1", "v2"]
    assert bars.change(version("v1", storage=True), version("v2")).status == 200
    assert bars.stored == ["v1", "v2"]


def test_a_version_that_was_stored_stays_until_its_objects_are_migrated(bars) -> None:
    bars.change(version("v1"), version("v2", storage=True))
    refused = bars.change(version("v2", storage=True))
    assert refused.status == 422
    assert refused.body["details"]["causes"][0]["field"] == "status.storedVersions[0]"
    assert "v1 was previously a storage version, and must remain in spec.versions until" in refused.message
    assert bars.say_stored("v2").status == 200
    assert bars.stored == ["v2"]
    assert bars.change(version("v2", storage=True)).status == 200


def test_stored_versions_can_be_said_but_never_be_none(bars) -> None:
    bars.change(version("v1"), version("v2", storage=True))
    bars.say_stored("v1")
    assert bars.stored == ["v1"]
    bars.say_stored()
    assert bars.stored == ["v2"]


def test_each_version_shows_what_it_knows_of_an_object(api, bars) -> None:
    api.create(bars.objects("v1"), bars.bar("v1", a="x"))
    bars.change(version("v1"), version("v2", storage=True))
    assert api.get(bars.objects("v1", "o"))["spec"] == {"a": "x", "of-v1": "v1"}
    assert api.get(bars.objects("v2", "o"))["spec"] == {"a": "x"}
    assert api.get(bars.objects("v2"))["items"][0]["spec"] == {"a": "x"}
    assert api.get(bars.objects("v2", "o"))["apiVersion"] == f"{bars.group}/v2"


def test_an_object_is_stored_as_the_storage_version_has_it(api, bars) -> None:
    bars.change(version("v1"), version("v2", storage=True))
    api.create(bars.objects("v1"), bars.bar("v1", a="x"))
    assert api.get(bars.objects("v1", "o"))["spec"] == {"a": "x"}
    changed = api.merge(bars.objects("v2", "o"), {"spec": {"a": "y"}})
    assert changed.body["spec"] == {"a": "y", "of-v2": "v2"}
    assert api.get(bars.objects("v1", "o"))["spec"] == {"a": "y"}
    watched = api.watch(f"{bars.objects('v1')}?resourceVersion=0")
    event = watched.next()
    watched.close()
    assert (event["object"]["apiVersion"], event["object"]["spec"]) == (f"{bars.group}/v1", {"a": "y"})


def test_an_object_outlives_the_version_it_was_stored_in(api, bars) -> None:
    api.create(bars.objects("v1"), bars.bar("v1", a="x"))
    bars.change(version("v1", served=False), version("v2", storage=True))
    assert api("GET", bars.objects("v1", "o")).status == 404
    bars.say_stored("v2")
    bars.change(version("v2", storage=True))
    assert api.get(bars.objects("v2", "o"))["spec"] == {"a": "x"}
    applied = api(
        "PATCH",
        f"{bars.objects('v2', 'o')}?fieldManager=me",
        bars.bar("v2", a="y"),
        content_type="application/apply-patch+yaml",
    )
    assert applied.status == 200  # nobody owns anything in a version that is gone
    assert [entry["manager"] for entry in applied.body["metadata"]["managedFields"]] == ["me"]


def test_an_object_of_another_version_is_refused(api, bars) -> None:
    bars.change(version("v1"), version("v2", storage=True))
    answer = api("POST", bars.objects("v2"), bars.bar("v1", a="x"))
    assert answer.status == 400
    assert "does not match the expected API version" in answer.message


def test_creating_by_apply_needs_the_right_to_create(api) -> None:
    path = api.core("configmaps", "c")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}]
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{api.namespace}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": rules}
    api.create(f"{roles}/roles", role)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "someone"}],
    }
    api.create(f"{roles}/rolebindings", binding)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    someone = copy.copy(api)
    someone.headers = {"Impersonate-User": "someone"}
    kind = "application/apply-patch+yaml"
    refused = someone("PATCH", f"{path}?fieldManager=me", config, content_type=kind)
    assert refused.status == 403
    assert 'User "someone" cannot create resource "configmaps"' in refused.message
    assert api("PATCH", f"{path}?fieldManager=me", config, content_type=kind).status == 201
    assert someone("PATCH", f"{path}?fieldManager=me", config, content_type=kind).status == 200
