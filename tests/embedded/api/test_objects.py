"""Create, get, update, patch and delete, through HTTP. Wordings are those of a real 1.34 API server."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def test_a_new_object_gets_its_system_metadata(api, make_config_map) -> None:
    created = api.create(api.core("configmaps"), make_config_map("c", a="b"))
    metadata = created["metadata"]
    assert metadata["namespace"] == api.namespace
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert int(metadata["resourceVersion"]) > 0
    assert api.get(api.core("configmaps", "c")) == created


def test_what_a_client_says_of_system_metadata_is_ignored(api, make_config_map) -> None:
    obj = make_config_map("c")
    obj["metadata"] |= {
        "uid": "mine",
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
    }
    metadata = api.create(api.core("configmaps"), obj)["metadata"]
    assert metadata["uid"] != "mine"
    assert not metadata["creationTimestamp"].startswith("2001")
    assert "deletionTimestamp" not in metadata


def test_a_generated_name_has_the_prefix_and_five_letters(api, make_config_map) -> None:
    obj = make_config_map()
    obj["metadata"] = {"generateName": "g-"}
    names = {api.create(api.core("configmaps"), obj)["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("g-") and len(name) == 7 for name in names)


def test_creating_twice_is_a_conflict(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map())
    answer = api("POST", api.core("configmaps"), make_config_map())
    assert answer.status == 409
    assert answer.body["reason"] == "AlreadyExists"
    assert answer.message == 'configmaps "c" already exists'
    assert answer.body["details"] == {"name": "c", "kind": "configmaps"}


@pytest.mark.parametrize(
    ("metadata", "status", "message"),
    [
        (
            {"name": "c", "namespace": "other"},
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ({"name": "c", "resourceVersion": "5"}, 400, "resourceVersion should not be set on objects to be created"),
        ({}, 422, "name or generateName is required"),
        ({"name": "Bad_Name"}, 422, "RFC 1123"),
        ({"name": 5}, 400, "metadata"),
        ("x", 400, "metadata"),
    ],
)
def test_objects_that_cannot_be_created(api, make_config_map, metadata, status: int, message: str) -> None:
    answer = api("POST", api.core("configmaps"), {**make_config_map(), "metadata": metadata})
    assert answer.status == status
    assert message in answer.message
    assert "\n" not in answer.message


def test_a_missing_namespace_takes_nothing(api, make_config_map) -> None:
    answer = api("POST", "/api/v1/namespaces/nope/configmaps", make_config_map())
    assert (answer.status, answer.message) == (404, 'namespaces "nope" not found')


def test_a_terminating_namespace_takes_nothing_new(api, make_config_map) -> None:
    held = make_config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    api.create(api.core("configmaps"), held)
    assert api("DELETE", f"/api/v1/namespaces/{api.namespace}").body["status"]["phase"] == "Terminating"
    answer = api("POST", api.core("configmaps"), make_config_map("late"))
    assert answer.status == 403
    assert f"unable to create new content in namespace {api.namespace} because it is being terminated" in answer.message
    assert answer.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    api.merge(api.core("configmaps", "held"), {"metadata": {"finalizers": None}})


def test_system_namespaces_cannot_be_deleted(api) -> None:
    answer = api("DELETE", "/api/v1/namespaces/default")
    assert (answer.status, answer.message) == (
        403,
        'namespaces "default" is forbidden: this namespace may not be deleted',
    )


def test_a_missing_object_is_not_found(api) -> None:
    answer = api("GET", api.core("pods", "nope"))
    assert answer.status == 404
    assert answer.body["details"] == {"name": "nope", "kind": "pods"}
    assert api("DELETE", api.apps("deployments", "d")).message == 'deployments.apps "d" not found'


# --- update ---


def test_an_update_with_an_old_version_is_a_conflict(api, make_config_map) -> None:
    first = api.create(api.core("configmaps"), make_config_map("c", a="1"))
    api.merge(api.core("configmaps", "c"), {"data": {"a": "2"}})
    answer = api("PUT", api.core("configmaps", "c"), {**first, "data": {"a": "3"}})
    assert answer.status == 409
    assert answer.message == (
        'Operation cannot be fulfilled on configmaps "c": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_an_update_without_a_version_replaces(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map("c", a="1", b="2"))
    answer = api("PUT", api.core("configmaps", "c"), make_config_map("c", a="3"))
    assert answer.status == 200
    assert answer.body["data"] == {"a": "3"}


def test_an_update_that_changes_nothing_keeps_the_version(api, make_config_map) -> None:
    created = api.create(api.core("configmaps"), make_config_map("c", a="1"))
    assert api("PUT", api.core("configmaps", "c"), created).body == created
    assert api.merge(api.core("configmaps", "c"), {"data": {"a": "1"}}).body == created


@pytest.mark.parametrize(
    ("metadata", "status", "message"),
    [
        ({"name": "d"}, 400, "the name of the object (d) does not match the name on the URL (c)"),
        ({"name": "c", "namespace": "x"}, 400, "does not match the namespace sent on the request"),
        ({"name": "c", "uid": "x"}, 409, "Precondition failed: UID in precondition: x"),
        ({"name": "c", "resourceVersion": "abc"}, 422, "metadata.resourceVersion"),
    ],
)
def test_updates_of_another_object_are_refused(api, make_config_map, metadata, status: int, message: str) -> None:
    api.create(api.core("configmaps"), make_config_map())
    answer = api("PUT", api.core("configmaps", "c"), {**make_config_map(), "metadata": metadata})
    assert answer.status == status
    assert message in answer.message


def test_identity_and_birth_cannot_be_changed(api, make_config_map) -> None:
    created = api.create(api.core("configmaps"), make_config_map())
    changed = api.merge(
        api.core("configmaps", "c"), {"metadata": {"creationTimestamp": None, "labels": {"a": "b"}}}
    ).body
    assert changed["metadata"]["creationTimestamp"] == created["metadata"]["creationTimestamp"]
    answer = api.merge(api.core("configmaps", "c"), {"metadata": {"uid": "x"}})
    assert answer.status == 422
    assert "field is immutable" in answer.message


def test_the_generation_grows_with_the_spec_only(api, make_deployment) -> None:
    path = api.apps("deployments", "d")
    assert api.create(api.apps("deployments"), make_deployment())["metadata"]["generation"] == 1
    assert api.merge(path, {"metadata": {"labels": {"a": "b"}}}).body["metadata"]["generation"] == 1
    assert api.merge(f"{path}/status", {"status": {"replicas": 1}}).body["metadata"]["generation"] == 1
    assert api.merge(path, {"spec": {"replicas": 3}}).body["metadata"]["generation"] == 2


def test_status_and_spec_are_written_through_different_doors(api, make_deployment) -> None:
    path = api.apps("deployments", "d")
    obj = {**make_deployment(), "status": {"replicas": 9}}
    assert api.create(api.apps("deployments"), obj)["status"] == {}
    assert api.merge(path, {"status": {"replicas": 9}}).body["status"] == {}
    patched = api.merge(
        f"{path}/status", {"status": {"replicas": 2}, "spec": {"replicas": 7}, "metadata": {"labels": {"x": "y"}}}
    ).body
    assert patched["status"] == {"replicas": 2}
    assert patched["spec"]["replicas"] == 1
    assert "labels" not in patched["metadata"]


def test_a_node_keeps_the_status_it_is_made_with(api) -> None:
    name = f"n-{api.namespace}"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"capacity": {"cpu": "4"}}}
    assert api.create("/api/v1/nodes", node)["status"]["capacity"] == {"cpu": "4"}
    assert api.merge(f"/api/v1/nodes/{name}", {"status": {"capacity": {"cpu": "5"}}}).body["status"]["capacity"] == {
        "cpu": "4"
    }
    changed = api.merge(f"/api/v1/nodes/{name}/status", {"status": {"capacity": {"cpu": "5"}}})
    assert changed.body["status"]["capacity"] == {"cpu": "5"}
    api("DELETE", f"/api/v1/nodes/{name}")


# --- patches ---


def test_a_json_patch_is_applied_in_order(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map("c", a="1"))
    patch = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]
    answer = api("PATCH", api.core("configmaps", "c"), patch, content_type=JSON_PATCH)
    assert answer.body["data"] == {"a": "1", "b": "2"}


def test_a_failed_test_leaves_the_object_alone(api, make_config_map) -> None:
    created = api.create(api.core("configmaps"), make_config_map("c", a="1"))
    patch = [{"op": "add", "path": "/data/b", "value": "2"}, {"op": "test", "path": "/data/a", "value": "9"}]
    answer = api("PATCH", api.core("configmaps", "c"), patch, content_type=JSON_PATCH)
    assert answer.status == 422
    assert "operation 1" in answer.message
    assert api.get(api.core("configmaps", "c")) == created


def test_a_strategic_merge_patch_merges_containers_by_name(api, make_deployment) -> None:
    api.create(api.apps("deployments"), make_deployment())
    patch = {
        "spec": {
            "template": {"spec": {"containers": [{"name": "side", "image": "s:1"}, {"name": "c", "image": "i:2"}]}}
        }
    }
    answer = api("PATCH", api.apps("deployments", "d"), patch, content_type=STRATEGIC)
    assert answer.status == 200
    containers = {item["name"]: item["image"] for item in answer.body["spec"]["template"]["spec"]["containers"]}
    assert containers == {"c": "i:2", "side": "s:1"}


@pytest.mark.parametrize("content_type", ["application/apply-patch+cbor", "application/json", "text/plain", ""])
def test_other_patch_types_are_refused(api, make_config_map, content_type: str) -> None:
    api.create(api.core("configmaps"), make_config_map())
    answer = api("PATCH", api.core("configmaps", "c"), {"data": {}}, content_type=content_type)
    assert (answer.status, answer.message) == (415, "415: Unsupported Media Type")


def test_a_patch_with_a_stale_version_is_a_conflict(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map())
    answer = api.merge(api.core("configmaps", "c"), {"metadata": {"resourceVersion": "1"}, "data": {"a": "b"}})
    assert answer.status == 409


def test_patches_at_the_same_time_all_count(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: api.merge(api.core("configmaps", "c"), {"data": {f"k{n}": "v"}}), range(24)))
    assert {answer.status for answer in answers} == {200}
    assert len(api.get(api.core("configmaps", "c"))["data"]) == 24


# --- delete ---


def test_deleting_answers_with_what_was_deleted(api, make_config_map) -> None:
    created = api.create(api.core("configmaps"), make_config_map())
    answer = api("DELETE", api.core("configmaps", "c"))
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "c", "kind": "configmaps", "uid": created["metadata"]["uid"]},
    }
    assert api("GET", api.core("configmaps", "c")).status == 404


def test_finalizers_hold_an_object_until_the_last_is_gone(api, make_config_map) -> None:
    obj = make_config_map()
    obj["metadata"]["finalizers"] = ["example.com/a", "example.com/b"]
    api.create(api.core("configmaps"), obj)
    path = api.core("configmaps", "c")
    marked = api("DELETE", path).body["metadata"]
    assert marked["deletionTimestamp"]
    assert marked["deletionGracePeriodSeconds"] == 0
    assert api("DELETE", path).body["metadata"] == marked
    answer = api.merge(path, {"metadata": {"finalizers": ["example.com/a", "example.com/new"]}})
    assert answer.status == 422
    assert 'found new finalizers []string{"example.com/new"}' in answer.message
    assert api.merge(path, {"metadata": {"finalizers": ["example.com/a"]}}).status == 200
    assert api.merge(path, {"metadata": {"finalizers": None}}).status == 200
    assert api("GET", path).status == 404


@pytest.mark.parametrize(
    ("preconditions", "message"),
    [
        ({"uid": "x"}, "the UID in the precondition (x)"),
        ({"resourceVersion": "1"}, "the ResourceVersion in the precondition (1)"),
    ],
)
def test_a_precondition_that_does_not_hold_stops_a_deletion(api, make_config_map, preconditions, message: str) -> None:
    api.create(api.core("configmaps"), make_config_map())
    answer = api("DELETE", api.core("configmaps", "c"), {"preconditions": preconditions})
    assert answer.status == 409
    assert message in answer.message
    assert api("GET", api.core("configmaps", "c")).status == 200


def test_foreground_deletion_waits_for_dependents(api, make_config_map) -> None:
    owner = api.create(api.core("configmaps"), make_config_map("owner"))
    dependent = make_config_map("dependent")
    dependent["metadata"] |= {
        "finalizers": ["example.com/hold"],
        "ownerReferences": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": "owner",
                "uid": owner["metadata"]["uid"],
                "blockOwnerDeletion": True,
            }
        ],
    }
    api.create(api.core("configmaps"), dependent)
    answer = api("DELETE", api.core("configmaps", "owner"), {"propagationPolicy": "Foreground"})
    assert answer.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    deadline = time.monotonic() + 60
    while "deletionTimestamp" not in api.get(api.core("configmaps", "dependent"))["metadata"]:
        assert time.monotonic() < deadline
    assert api("GET", api.core("configmaps", "owner")).status == 200
    api.merge(api.core("configmaps", "dependent"), {"metadata": {"finalizers": None}})
    while api("GET", api.core("configmaps", "owner")).status != 404:
        assert time.monotonic() < deadline


def test_a_collection_is_deleted_by_selector(api, make_config_map) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        obj = make_config_map(name)
        obj["metadata"]["labels"] = {"color": color}
        api.create(api.core("configmaps"), obj)
    answer = api("DELETE", f"{api.core('configmaps')}?labelSelector=color%3Dred")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["a", "c"]
    left = api.get(f"{api.core('configmaps')}?labelSelector=color")
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


# --- dry run, field validation ---


def test_a_dry_run_says_what_would_happen_and_changes_nothing(api, make_config_map) -> None:
    path = api.core("configmaps", "c")
    answer = api("POST", f"{api.core('configmaps')}?dryRun=All", make_config_map())
    assert answer.status == 201
    assert answer.body["metadata"]["uid"]
    assert api("GET", path).status == 404
    created = api.create(api.core("configmaps"), make_config_map("c", a="1"))
    assert api("POST", f"{api.core('configmaps')}?dryRun=All", make_config_map()).status == 409
    assert api.merge(f"{path}?dryRun=All", {"data": {"a": "2"}}).body["data"] == {"a": "2"}
    assert api("DELETE", f"{path}?dryRun=All").status == 200
    assert api("DELETE", path, {"dryRun": ["All"]}).status == 200
    assert api.get(path) == created


@pytest.mark.parametrize("parameter", ["dryRun=x", "fieldValidation=x", f"fieldManager={'m' * 200}"])
def test_malformed_options_are_refused(api, make_config_map, parameter: str) -> None:
    answer = api("POST", f"{api.core('configmaps')}?{parameter}", make_config_map())
    assert answer.status == 422
    assert answer.message.startswith('CreateOptions.meta.k8s.io "" is invalid: ')


def test_unknown_fields_warn_or_refuse_as_asked(api, make_config_map) -> None:
    obj = {**make_config_map(), "dta": {}}
    path = f"{api.core('configmaps')}?dryRun=All"
    warned = api("POST", path, obj)
    assert warned.warnings == ['299 - "unknown field \\"dta\\""']
    assert "dta" not in warned.body
    assert api("POST", f"{path}&fieldValidation=Ignore", obj).warnings == []
    refused = api("POST", f"{path}&fieldValidation=Strict", obj)
    assert refused.status == 400
    assert 'unknown field "dta"' in refused.message


def test_a_key_that_comes_twice_is_refused_when_strict(api) -> None:
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","name":"d"}}'
    answer = api("POST", f"{api.core('configmaps')}?fieldValidation=Strict", body)
    assert answer.status == 400
    assert 'duplicate field "metadata.name"' in answer.message


def test_yaml_is_read_and_written(api) -> None:
    body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {day: 2001-01-01}\n"
    answer = api("POST", api.core("configmaps"), body, content_type="application/yaml", accept="application/yaml")
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/yaml"
    assert b"\ndata:\n  day: '2001-01-01'\n" in answer.raw


def test_methods_that_make_no_sense_are_refused(api, make_config_map) -> None:
    assert api("POST", api.core("configmaps", "c"), make_config_map()).status == 405
    assert api("PUT", api.core("configmaps"), make_config_map()).status == 405
    assert api("POST", "/api/v1/configmaps", make_config_map()).status == 405
    assert api("DELETE", "/api/v1/namespaces").status == 405
    assert api("OPTIONS", api.core("configmaps")).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/foos",
        "/apis/apps/v9/deployments",
        "/apis/nope/v1",
        "/nope",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/nodes/x/foo",
    ],
)
def test_paths_that_do_not_exist(api, path: str) -> None:
    assert api("GET", path).status == 404
