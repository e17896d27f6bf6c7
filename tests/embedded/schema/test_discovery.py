"""Discovery and OpenAPI documents: complete, consistent, and current when kinds come and go."""

import json
from typing import Any

import pytest

from tensorfusion.embedded.discovery import Discovery
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.errors import NotFound
from tensorfusion.model.crd import all_crds


@pytest.fixture
def kinds() -> Kinds:
    registry = Kinds.builtin()
    schema = registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions").schema
    for raw in json.loads(json.dumps(all_crds())):
        schema.prepare(raw)
        registry.install_crd(raw)
    return registry


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


def test_every_kind_is_in_legacy_and_in_aggregated_discovery(kinds: Kinds) -> None:
    discovery = Discovery(kinds)
    aggregated = json.loads(discovery.aggregated_core())["items"] + json.loads(discovery.aggregated_groups())["items"]
    listed = {
        (group["metadata"].get("name", ""), version["version"], resource["resource"], tuple(resource["verbs"]))
        for group in aggregated
        for version in group["versions"]
        for resource in version["resources"]
    }
    wanted = {(kind.resource.group, kind.resource.version, kind.resource.plural, kind.verbs) for kind in kinds.all()}
    assert listed == wanted
    for kind in kinds.all():
        legacy = json.loads(discovery.resources(kind.resource.group, kind.resource.version))["resources"]
        names = {entry["name"] for entry in legacy}
        plural = kind.resource.plural
        assert {plural, *(f"{plural}/{sub}" for sub in kind.subresources)} <= names


def test_groups_name_their_preferred_version(kinds: Kinds) -> None:
    groups = {group["name"]: group for group in json.loads(Discovery(kinds).groups())["groups"]}
    assert groups["tensor-fusion.ai"]["preferredVersion"]["groupVersion"] == "tensor-fusion.ai/v1"
    assert "" not in groups
    assert json.loads(Discovery(kinds).group("apps"))["name"] == "apps"


def test_subresources_of_another_kind_say_so(kinds: Kinds) -> None:
    entries = {entry["name"]: entry for entry in json.loads(Discovery(kinds).resources("apps", "v1"))["resources"]}
    scale = entries["deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    assert "group" not in entries["deployments/status"]


def test_what_is_not_there_is_not_found(kinds: Kinds) -> None:
    discovery = Discovery(kinds)
    for ask in (
        lambda: discovery.resources("nothing", "v1"),
        lambda: discovery.group("nothing"),
        lambda: discovery.openapi_v3("apps", "v9"),
    ):
        with pytest.raises(NotFound):
            ask()


def test_openapi_documents_refer_only_to_what_is_in_them(kinds: Kinds) -> None:
    discovery = Discovery(kinds)
    for group, versions in kinds.groups().items():
        for version in versions:
            document = json.loads(discovery.openapi_v3(group, version))
            inside = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
            assert references(document) <= inside
    whole = json.loads(discovery.openapi_v2())
    assert references(whole) <= {f"#/definitions/{name}" for name in whole["definitions"]}


def test_explain_finds_a_schema_through_a_path_and_apply_finds_field_validation(kinds: Kinds) -> None:
    document = json.loads(Discovery(kinds).openapi_v3("tensor-fusion.ai", "v1"))
    operations = document["paths"]["/apis/tensor-fusion.ai/v1/gpupools/{name}"]
    wanted = {"group": "tensor-fusion.ai", "version": "v1", "kind": "GPUPool"}
    assert operations["patch"]["x-kubernetes-group-version-kind"] == wanted
    assert "fieldValidation" in {parameter["name"] for parameter in operations["patch"]["parameters"]}
    schema = next(
        schema
        for schema in document["components"]["schemas"].values()
        if wanted in schema.get("x-kubernetes-group-version-kind", ())
    )
    assert schema["properties"]["spec"]["description"]
    assert {"apiVersion", "kind", "metadata"} <= schema["properties"].keys()


def test_merge_keys_are_in_the_documents_and_our_own_keywords_are_not(kinds: Kinds) -> None:
    text = Discovery(kinds).openapi_v3("", "v1")
    document = json.loads(text)
    containers = document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    for schema in document["components"]["schemas"].values():
        assert not {"checks", "computed", "defaultBy", "defaultAlone", "defaultIn", "inline"} & schema.keys()


def test_the_index_changes_with_the_content_and_only_there(kinds: Kinds) -> None:
    discovery = Discovery(kinds)
    before = json.loads(discovery.openapi_v3_index())["paths"]
    kinds.remove_crd("gpus.tensor-fusion.ai")
    after = json.loads(discovery.openapi_v3_index())["paths"]
    changed = {path for path in before if before[path] != after.get(path)}
    assert changed == {"apis/tensor-fusion.ai/v1"}
    assert b'"gpus"' not in discovery.aggregated_groups()


def test_the_version_is_that_of_the_facts_with_our_mark(kinds: Kinds) -> None:
    version = json.loads(Discovery(kinds).version())
    assert (version["major"], version["minor"]) == ("1", "34")
    assert version["gitVersion"].endswith("+tensorfusion")
