"""CustomResourceDefinitions through the API: served at once, validated, versioned, cleaned up."""

import time

import pytest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def group(api) -> str:
    return f"{api.namespace}.example.com"


@pytest.fixture
def crd(api, group):
    """A definition of Widgets, removed after the test."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "color": {"type": "string", "default": "red"},
                    "replicas": {"type": "integer"},
                },
                "x-kubernetes-validations": [{"rule": "self.size < 100", "message": "size must be below 100"}],
            },
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        },
    }

    def version(name: str, *, storage: bool):
        return {
            "name": name,
            "served": True,
            "storage": storage,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {
                "status": {},
                "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
            },
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            "selectableFields": [{"jsonPath": ".spec.color"}],
        }

    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version("v1", storage=True), version("v2", storage=False)],
        },
    }
    yield api.create(CRDS, definition)
    api("DELETE", f"{CRDS}/widgets.{group}")


@pytest.fixture
def widgets(api, crd, group) -> str:
    return f"/apis/{group}/v1/namespaces/{api.namespace}/widgets"


def widget(group: str, name: str = "w", version: str = "v1", **spec):
    return {
        "apiVersion": f"{group}/{version}",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 1, **spec},
    }


def test_a_definition_is_established_in_its_reply(crd) -> None:
    conditions = {item["type"]: item["status"] for item in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert crd["status"]["storedVersions"] == ["v1"]
    assert crd["status"]["acceptedNames"]["plural"] == "widgets"


def test_custom_objects_are_defaulted_pruned_and_validated(api, widgets, group) -> None:
    created = api.create(widgets, widget(group, extra=1))
    assert created["spec"] == {"size": 1, "color": "red"}
    assert created["metadata"]["generation"] == 1
    for spec, message in (
        ({"size": 0}, "spec.size"),
        ({"size": 100}, "size must be below 100"),
        ({"size": None}, "spec.size"),
    ):
        answer = api("POST", widgets, {**widget(group, "bad"), "spec": spec})
        assert answer.status == 422
        assert message in answer.message
        assert answer.body["details"]["group"] == group


def test_an_update_of_a_custom_object_names_its_version(api, widgets, group) -> None:
    created = api.create(widgets, widget(group))
    answer = api("PUT", f"{widgets}/w", widget(group, size=2))
    assert answer.status == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in answer.message
    created["spec"]["size"] = 2
    assert api("PUT", f"{widgets}/w", created).body["metadata"]["generation"] == 2


def test_status_and_scale_of_custom_objects(api, widgets, group) -> None:
    api.create(widgets, {**widget(group), "status": {"replicas": 9}})
    assert "status" not in api.get(f"{widgets}/w")
    patch = {"status": {"replicas": 2}, "spec": {"size": 9}, "metadata": {"labels": {"a": "b"}}}
    changed = api.merge(f"{widgets}/w/status", patch).body
    assert changed["status"] == {"replicas": 2}
    assert changed["spec"]["size"] == 1
    assert "labels" not in changed["metadata"]
    assert changed["metadata"]["generation"] == 1
    assert api.merge(f"{widgets}/w/scale", {"spec": {"replicas": 4}}).body["status"] == {"replicas": 2}
    assert api.get(f"{widgets}/w")["spec"]["replicas"] == 4


def test_every_version_shows_the_same_objects(api, widgets, group) -> None:
    api.create(widgets, widget(group))
    second = widgets.replace("/v1/", "/v2/")
    found = api.get(f"{second}/w")
    assert found["apiVersion"] == f"{group}/v2"
    assert [item["apiVersion"] for item in api.get(second)["items"]] == [f"{group}/v2"]
    stream = api.watch(second)
    assert stream.next()["object"]["apiVersion"] == f"{group}/v2"
    stream.close()
    api.create(second, widget(group, "x", "v2"))
    assert api.get(f"{widgets}/x")["apiVersion"] == f"{group}/v1"
    assert api.merge(f"{second}/w", {"spec": {"size": 3}}).body["apiVersion"] == f"{group}/v2"
    assert api.get(f"{widgets}/w")["spec"]["size"] == 3


def test_selectable_fields_and_columns(api, widgets, group) -> None:
    api.create(widgets, widget(group, "a", color="blue"))
    api.create(widgets, widget(group, "b"))
    found = api.get(f"{widgets}?fieldSelector=spec.color%3Dblue")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
    table = api("GET", widgets, accept="application/json;as=Table;v=v1;g=meta.k8s.io").body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["a", 1]


def test_a_field_that_becomes_selectable_selects_the_objects_that_are_there(api, widgets, group) -> None:
    api.create(widgets, widget(group, "a"))
    api.create(widgets, widget(group, "b", size=2))
    path = f"{CRDS}/widgets.{group}"
    definition = api.get(path)
    for version in definition["spec"]["versions"]:
        version["selectableFields"].append({"jsonPath": ".spec.size"})
    assert api("PUT", path, definition).status == 200
    found = api.get(f"{widgets}?fieldSelector=spec.size%3D2")
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    assert api("DELETE", f"{widgets}?fieldSelector=spec.size!%3D1").status == 200
    assert [item["metadata"]["name"] for item in api.get(widgets)["items"]] == ["a"]


def test_strategic_merge_is_not_for_custom_kinds(api, widgets, group) -> None:
    api.create(widgets, widget(group))
    answer = api("PATCH", f"{widgets}/w", {}, content_type="application/strategic-merge-patch+json")
    assert answer.status == 415
    assert "accepted media types include: application/json-patch+json, application/merge-patch+json" in answer.message


def test_a_deprecated_version_says_so(api, crd, group) -> None:
    crd["spec"]["versions"][1] |= {"deprecated": True, "deprecationWarning": "use v1"}
    assert api("PUT", f"{CRDS}/widgets.{group}", crd).status == 200
    assert api("GET", f"/apis/{group}/v2/widgets").warnings == ['299 - "use v1"']
    assert api("GET", f"/apis/{group}/v1/widgets").warnings == []


def test_discovery_follows_definitions(api, crd, group) -> None:
    found = api.get(f"/apis/{group}/v1")
    assert {item["name"] for item in found["resources"]} == {"widgets", "widgets/status", "widgets/scale"}
    assert f"apis/{group}/v1" in api.get("/openapi/v3")["paths"]


def test_a_broken_definition_is_refused_whole(api, crd, group) -> None:
    broken = {
        **crd,
        "metadata": {"name": f"gadgets.{group}"},
        "spec": {
            **crd["spec"],
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": True, "storage": True}],
        },
    }
    answer = api("POST", CRDS, broken)
    assert answer.status == 422
    assert api("GET", f"/apis/{group}/v1/gadgets").status == 404
    assert api("GET", f"{CRDS}/gadgets.{group}").status == 404


def test_a_definition_goes_after_its_objects(api, widgets, group) -> None:
    held = widget(group, "held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    api.create(widgets, held)
    api.create(widgets, widget(group, "free"))
    marked = api("DELETE", f"{CRDS}/widgets.{group}").body
    assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    late = api("POST", widgets, widget(group, "late"))
    why = "create not allowed while custom resource definition is terminating"
    assert (late.status, late.message) == (403, f'widgets.{group} "late" is forbidden: {why}')
    deadline = time.monotonic() + 60
    while (
        "deletionTimestamp" not in api.get(f"{widgets}/held")["metadata"] or api("GET", f"{widgets}/free").status != 404
    ):
        assert time.monotonic() < deadline
    api.merge(f"{widgets}/held", {"metadata": {"finalizers": None}})
    while api("GET", f"{CRDS}/widgets.{group}").status != 404:
        assert time.monotonic() < deadline
    assert api("GET", widgets).status == 404


def test_definitions_and_objects_survive_a_restart(start_server, make_config_map, tmp_path, group, crd) -> None:
    first = start_server(tmp_path / "again")
    client = first.client
    client.create(
        CRDS,
        {
            "apiVersion": crd["apiVersion"],
            "kind": crd["kind"],
            "metadata": {"name": crd["metadata"]["name"]},
            "spec": crd["spec"],
        },
    )
    path = f"/apis/{group}/v1/namespaces/default/widgets"
    created = client.create(path, widget(group))
    first.stop()
    second = start_server(tmp_path / "again")
    assert second.token == first.token
    assert second.client.get(f"{path}/w") == created
    assert int(second.client.create(path, widget(group, "x"))["metadata"]["resourceVersion"]) > int(
        created["metadata"]["resourceVersion"]
    )
