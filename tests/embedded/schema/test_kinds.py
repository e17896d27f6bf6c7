"""The registry: built-in kinds, custom kinds coming and going, what a Kind says."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tensorfusion.embedded.kind_making import version_rank
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.errors import Invalid, NotFound
from tensorfusion.model.crd import all_crds

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def crd(**changes: Any) -> dict[str, Any]:
    spec = {
        "group": "x.io",
        "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo", "shortNames": ["f"], "categories": ["all"]},
        "versions": [version("v1", storage=True)],
        **changes,
    }
    made = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{spec['names']['plural']}.x.io"},
        "spec": spec,
    }
    Kinds.builtin().find("apiextensions.k8s.io", "v1", "customresourcedefinitions").schema.prepare(made)
    return made


def version(name: str, *, storage: bool = False, served: bool = True, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    return {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def test_built_in_kinds_are_found_by_address_id_and_kind() -> None:
    kinds = Kinds.builtin()
    pods = kinds.find("", "v1", "pods")
    assert kinds.by_id("pods") is pods is kinds.of_kind("v1", "Pod")
    assert (pods.singular, pods.short_names, pods.list_kind, pods.has_status) == ("pod", ("po",), "PodList", True)
    assert pods.subresources["binding"].kind == "Binding"
    assert kinds.by_id("deployments.apps").scale is not None
    with pytest.raises(NotFound):
        kinds.find("", "v1", "nothing")
    with pytest.raises(NotFound):
        kinds.by_id("nothing.x.io")


def test_selectable_fields_have_values_even_where_nothing_is_written() -> None:
    pods = Kinds.builtin().by_id("pods")
    found = pods.fields({"metadata": {"name": "x", "namespace": "d"}, "spec": {"nodeName": "n"}})
    assert found["spec.nodeName"] == "n"
    assert found["status.phase"] == ""
    assert found["spec.hostNetwork"] == "false"
    assert (found["metadata.name"], found["metadata.namespace"]) == ("x", "d")


def test_a_new_object_of_a_kind_starts_with_what_the_server_gives_it() -> None:
    kinds = Kinds.builtin()
    assert kinds.by_id("pods").initial_status == {"phase": "Pending"}
    assert kinds.by_id("namespaces").initial_status == {"phase": "Active"}
    assert kinds.by_id("nodes").keeps_status
    assert not kinds.by_id("pods").keeps_status
    assert kinds.by_id("deployments.apps").generation
    assert not kinds.by_id("configmaps").generation


def test_a_custom_kind_is_served_until_its_definition_goes() -> None:
    kinds = Kinds.builtin()
    changes: list[int] = []
    kinds.on_change(lambda: changes.append(1))
    kinds.install_crd(crd())
    foo = kinds.find("x.io", "v1", "foos")
    assert foo.is_custom
    assert (foo.singular, foo.short_names, foo.categories, foo.list_kind) == ("foo", ("f",), ("all",), "FooList")
    kinds.remove_crd("foos.x.io")
    with pytest.raises(NotFound):
        kinds.find("x.io", "v1", "foos")
    kinds.remove_crd("foos.x.io")
    assert len(changes) == 2


def test_only_served_versions_have_an_address_and_the_stored_one_has_the_id() -> None:
    kinds = Kinds.builtin()
    versions = [version("v1alpha1", served=False), version("v1beta1"), version("v1", storage=True), version("v2")]
    kinds.install_crd(crd(versions=versions))
    assert kinds.groups()["x.io"] == ["v2", "v1", "v1beta1"]
    assert kinds.by_id("foos.x.io").resource.version == "v1"
    with pytest.raises(NotFound):
        kinds.find("x.io", "v1alpha1", "foos")


def test_a_stored_version_that_is_not_served_still_has_the_id() -> None:
    kinds = Kinds.builtin()
    kinds.install_crd(crd(versions=[version("v1", storage=True, served=False), version("v2")]))
    assert kinds.by_id("foos.x.io").resource.version == "v1"
    kinds.remove_crd("foos.x.io")
    with pytest.raises(NotFound):
        kinds.by_id("foos.x.io")


def test_replacing_a_definition_replaces_its_schema_and_versions() -> None:
    kinds = Kinds.builtin()
    kinds.install_crd(crd(versions=[version("v1", storage=True), version("v2")]))
    kinds.install_crd(crd())
    with pytest.raises(NotFound):
        kinds.find("x.io", "v2", "foos")


def test_a_broken_definition_changes_nothing() -> None:
    kinds = Kinds.builtin()
    kinds.install_crd(crd())
    broken = crd()
    broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "string"}
    with pytest.raises(Invalid, match="must be object at the root"):
        kinds.install_crd(broken)
    assert kinds.find("x.io", "v1", "foos").is_custom


def test_names_of_another_kind_are_not_served_twice() -> None:
    kinds = Kinds.builtin()
    kinds.install_crd(crd())
    rival = crd(names={"plural": "bars", "kind": "Foo"})
    kinds.install_crd(rival)
    with pytest.raises(NotFound):
        kinds.find("x.io", "v1", "bars")
    conditions = {item["type"]: item for item in kinds.crd_status(rival, NOW)["conditions"]}
    assert conditions["NamesAccepted"]["status"] == "False"
    assert conditions["Established"]["reason"] == "NotAccepted"
    assert conditions["NamesAccepted"]["message"] == '"FooList" is already in use'


def test_the_status_of_a_definition_is_stable_while_nothing_changes() -> None:
    kinds = Kinds.builtin()
    definition = crd()
    first = kinds.crd_status(definition, NOW)
    assert [item["status"] for item in first["conditions"]] == ["True", "True"]
    assert first["storedVersions"] == ["v1"]
    assert first["acceptedNames"]["singular"] == "foo"
    definition["status"] = first
    assert kinds.crd_status(definition, NOW + timedelta(days=1)) == first


def test_scale_and_status_of_a_custom_kind_come_from_its_definition() -> None:
    kinds = Kinds.builtin()
    scale = {"specReplicasPath": ".spec.n.m", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.s"}
    kinds.install_crd(crd(versions=[version("v1", storage=True, subresources={"status": {}, "scale": scale})]))
    foo = kinds.by_id("foos.x.io")
    assert foo.has_status
    assert foo.scale is not None
    assert (foo.scale.spec, foo.scale.status, foo.scale.selector) == (
        ("spec", "n", "m"),
        ("status", "n"),
        ("status", "s"),
    )


def test_the_products_own_definitions_are_accepted_and_prune_what_they_do_not_know() -> None:
    kinds = Kinds.builtin()
    schema = kinds.find("apiextensions.k8s.io", "v1", "customresourcedefinitions").schema
    for raw in all_crds():
        definition = copy.deepcopy(raw)
        assert schema.prepare(definition, strict=FieldValidation.STRICT) == []
        schema.validate(definition)
        kinds.install_crd(definition)
    pool = {"apiVersion": "tensor-fusion.ai/v1", "kind": "GPUPool", "metadata": {"name": "p"}, "spec": {"typo": 1}}
    assert kinds.by_id("gpupools.tensor-fusion.ai").schema.prepare(pool) == ['unknown field "spec.typo"']
    assert pool["spec"] == {}


def test_versions_are_preferred_as_kubernetes_prefers_them() -> None:
    names = ["foo1", "v1alpha1", "v10", "v2beta1", "v2", "v1beta2", "v1"]
    assert sorted(names, key=version_rank, reverse=True) == [
        "v10",
        "v2",
        "v1",
        "v2beta1",
        "v1beta2",
        "v1alpha1",
        "foo1",
    ]
