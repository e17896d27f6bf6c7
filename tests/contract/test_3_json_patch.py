"""JSON patch and merge patch. Numbers 300 to 321."""

from typing import Any

from asking import JSON_PATCH, MERGE, Answer, Api, config_map, deployment
from behaviours import behaviour

CONCEPTS = "API concepts: Updates to existing resources"
OBSERVED = "observed on 1.34.2"
POINTER = "RFC 6901"
JSON = "RFC 6902"
RFC_MERGE = "RFC 7386"


def patch(api: Api, path: str, *operations: dict[str, Any]) -> Answer:
    return api("PATCH", path, list(operations), content_type=JSON_PATCH)


def patched(api: Api, path: str, *operations: dict[str, Any]) -> Any:
    answer = patch(api, path, *operations)
    assert answer.status == 200, answer.body
    return answer.body


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def names_of(obj: dict[str, Any]) -> list[str]:
    return [container["name"] for container in obj["spec"]["template"]["spec"]["containers"]]


@behaviour(300, "JSON patch: add sets a field that is not there and replaces one that is", source=f"{JSON} 4.1")
def test_add(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    assert patched(api, path, add("/data/y", "2"), add("/data/x", "3"))["data"] == {"x": "3", "y": "2"}


@behaviour(301, "JSON patch: what cannot be removed is 422 and nothing is written", source=f"{JSON} 4.2, 5")
def test_remove(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    removal = {"op": "remove", "path": "/data/nobody"}
    answer = patch(api, path, add("/data/y", "2"), removal)
    answer.refused(422, "Invalid")
    assert answer.body["message"].startswith("the server rejected our request due to an error in our request")
    assert api.get(path) == made
    assert "data" not in patched(api, path, {"op": "remove", "path": "/data"})


@behaviour(302, "JSON patch: replace of a field that is not there sets it", source=OBSERVED)
def test_replace(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    found = patched(api, api.core("configmaps", "a"), {"op": "replace", "path": "/data/y", "value": "2"})
    assert found["data"] == {"x": "1", "y": "2"}


@behaviour(303, "JSON patch: a test that does not hold is 422 and stops the whole patch", source=f"{JSON} 4.6")
def test_test(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    holds = {"op": "test", "path": "/data/x", "value": "1"}
    patch(api, path, add("/data/y", "2"), {**holds, "value": "2"}).refused(422, "Invalid")
    assert patched(api, path, holds, add("/data/z", "3"))["data"] == {"x": "1", "z": "3"}


@behaviour(304, "JSON patch: a test for null holds where the field is missing", source=OBSERVED)
def test_test_of_null(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    test = {"op": "test", "path": "/data/missing", "value": None}
    assert patched(api, api.core("configmaps", "a"), test, add("/data/y", "2"))["data"] == {"x": "1", "y": "2"}
    patch(api, api.core("configmaps", "a"), {**test, "path": "/data/x"}).refused(422, "Invalid")


@behaviour(305, "JSON patch: values are moved and copied", source=f"{JSON} 4.4, 4.5")
def test_move_and_copy(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    copy = {"op": "copy", "from": "/data/x", "path": "/data/y"}
    move = {"op": "move", "from": "/data/x", "path": "/data/z"}
    assert patched(api, path, copy, move)["data"] == {"y": "1", "z": "1"}
    patch(api, path, move).refused(422, "Invalid")


@behaviour(306, "JSON patch: ~1 and ~0 in a path stand for / and ~", source=f"{POINTER} 3")
def test_escapes(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["annotations"] = {"example.com/x": "1"}
    api.create(api.core("configmaps"), obj)
    changed = patched(api, api.core("configmaps", "a"), add("/metadata/annotations/example.com~1x", "2"))
    assert changed["metadata"]["annotations"] == {"example.com/x": "2"}
    patch(api, api.core("configmaps", "a"), add("/data/a~1b", "1")).refused(422, "Invalid")


@behaviour(307, "JSON patch: lists are added to by index and at the end, not beyond it", source=f"{JSON} 4.1")
def test_indexes(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    path = api.path("apps/v1", "deployments", "d")
    at = "/spec/template/spec/containers"
    one, two = ({"name": name, "image": "i:1"} for name in ("one", "two"))
    assert names_of(patched(api, path, add(f"{at}/0", one), add(f"{at}/-", two))) == ["one", "c", "two"]
    patch(api, path, add(f"{at}/9", {"name": "nine", "image": "i:1"})).refused(422, "Invalid")
    assert names_of(patched(api, path, {"op": "remove", "path": f"{at}/1"})) == ["one", "two"]


@behaviour(308, "JSON patch: a negative index counts from the end of a list", source=OBSERVED)
def test_negative_index(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    path = api.path("apps/v1", "deployments", "d")
    at = "/spec/template/spec/containers"
    patched(api, path, add(f"{at}/-", {"name": "e", "image": "i:1"}))
    changed = patched(api, path, {"op": "replace", "path": f"{at}/-1/image", "value": "i:2"})
    assert [item["image"] for item in changed["spec"]["template"]["spec"]["containers"]] == ["i:1", "i:2"]
    assert names_of(patched(api, path, {"op": "remove", "path": f"{at}/-1"})) == ["c"]
    patch(api, path, {"op": "remove", "path": f"{at}/-2"}).refused(422, "Invalid")


@behaviour(309, "JSON patch: an operation that is none is 422, a document that is no list 400", source=f"{JSON} 3")
def test_malformed(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    patch(api, path, {"op": "bogus", "path": "/data/x"}).refused(422, "Invalid")
    patch(api, path, {"op": "add", "value": "x"}).refused(422, "Invalid")
    for body in (add("/data/x", "2"), "[{", "nonsense", b""):
        answer = api("PATCH", path, body, content_type=JSON_PATCH)
        answer.refused(400, "BadRequest")
        assert answer.body["message"].startswith("error decoding patch: ")


@behaviour(310, "JSON patch: a whole object may be replaced, and keeps its uid and its time", source=OBSERVED)
def test_replace_of_everything(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", labels={"l": "1"}, x="1"))
    path = api.core("configmaps", "a")
    changed = patched(api, path, {"op": "replace", "path": "", "value": config_map("a", y="2")})
    assert changed["data"] == {"y": "2"}
    assert "labels" not in changed["metadata"]
    for field in ("uid", "creationTimestamp"):
        assert changed["metadata"][field] == made["metadata"][field]


@behaviour(311, "A patch that leaves a status endpoint changes the status only", source=CONCEPTS)
def test_status(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    path = api.path("apps/v1", "deployments", "d", "status")
    changed = patched(api, path, add("/status/collisionCount", 3), add("/spec/minReadySeconds", 5))
    assert changed["status"]["collisionCount"] == 3
    assert "minReadySeconds" not in changed["spec"]


@behaviour(312, "A patch that a value of the wrong type comes from is 422, quoting what became of it", source=OBSERVED)
def test_wrong_type(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    for body, content_type in (([add("/data/n", 5)], JSON_PATCH), ({"data": {"n": 5}}, MERGE)):
        answer = api("PATCH", path, body, content_type=content_type)
        answer.refused(422, "Invalid")
        assert answer.causes() == {("patch", "FieldValueInvalid")}
        why = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        assert answer.body["message"].endswith(why)


@behaviour(313, "A patch of a type that is not served is 415", source=CONCEPTS)
def test_unknown_type(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    for content_type in ("application/json", "text/plain", "application/yaml"):
        answer = api("PATCH", api.core("configmaps", "a"), {}, content_type=content_type)
        answer.refused(415, "UnsupportedMediaType")


@behaviour(314, "A patch may not change whose name, uid or kind it is", source="API conventions: Metadata")
def test_identity(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    answer = api("PATCH", path, {"metadata": {"name": "b"}}, content_type=MERGE)
    answer.refused(400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)")
    answer = api("PATCH", path, {"metadata": {"uid": "1"}}, content_type=MERGE)
    answer.refused(422, "Invalid", name="a")
    assert answer.causes() == {("metadata.uid", "FieldValueInvalid")}
    for change in ({"kind": "Secret"}, {"apiVersion": "v2"}):
        answer = api("PATCH", path, change, content_type=MERGE)
        answer.refused(422, "Invalid")
        assert answer.causes() == {("patch", "FieldValueInvalid")}


@behaviour(315, "A patch that takes the name away is 400", source=OBSERVED)
def test_no_name(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    why = "the name of the object (a based on URL) was undeterminable: name must be provided"
    patch(api, path, {"op": "remove", "path": "/metadata"}).refused(400, "BadRequest", why)
    api("PATCH", path, {"metadata": None}, content_type=MERGE).refused(400, "BadRequest", why)
    api("PATCH", path, {"metadata": {"name": None}}, content_type=MERGE).refused(400, "BadRequest", why)


@behaviour(316, "A patch that names an old version is 409, one without a version is not", source=CONCEPTS)
def test_version(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    version = api.get(path)["metadata"]["resourceVersion"]
    api.merge(path, {"metadata": {"resourceVersion": version}, "data": {"x": "2"}})
    stale = {"metadata": {"resourceVersion": version}, "data": {"x": "3"}}
    api("PATCH", path, stale, content_type=MERGE).refused(409, "Conflict", name="a", kind="configmaps")
    patch(api, path, {"op": "replace", "path": "/metadata/resourceVersion", "value": version}).refused(409, "Conflict")
    assert api.merge(path, {"metadata": {"resourceVersion": ""}, "data": {"x": "4"}})["data"] == {"x": "4"}


@behaviour(317, "Merge patch: objects merge, and null takes a field away", source=RFC_MERGE)
def test_merge(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", labels={"l": "1"}, x="1", y="2"))
    changed = api.merge(api.core("configmaps", "a"), {"data": {"x": None, "z": "3"}})
    assert changed["data"] == {"y": "2", "z": "3"}
    assert changed["metadata"]["labels"] == {"l": "1"}
    assert "data" not in api.merge(api.core("configmaps", "a"), {"data": None})


@behaviour(318, "Merge patch: a list is replaced as a whole", source=RFC_MERGE)
def test_merge_of_lists(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    containers = [{"name": "e", "image": "e:1"}]
    changed = api.merge(
        api.path("apps/v1", "deployments", "d"), {"spec": {"template": {"spec": {"containers": containers}}}}
    )
    assert names_of(changed) == ["e"]


@behaviour(319, "A field that is taken away gets its default again", source="API conventions: Defaulting")
def test_default_again(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True, replicas=0))
    path = api.path("apps/v1", "deployments", "d")
    assert api.merge(path, {"spec": {"replicas": None}})["spec"]["replicas"] == 1
    recreate = {"type": "Recreate"}
    answer = api("PATCH", path, {"spec": {"strategy": recreate}}, content_type=MERGE)
    assert answer.refused(422, "Invalid").causes() == {("spec.strategy.rollingUpdate", "FieldValueForbidden")}
    changed = api.merge(path, {"spec": {"strategy": {**recreate, "rollingUpdate": None}}})
    assert changed["spec"]["strategy"] == recreate
    assert api.merge(path, {"spec": {"strategy": None}})["spec"]["strategy"]["type"] == "RollingUpdate"


@behaviour(320, "Merge patch: the body has to be a JSON object", source=OBSERVED)
def test_merge_of_no_object(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    for body in ("[1]", "3", "{", "", "data: {x: y}"):
        answer = api("PATCH", path, body.encode(), content_type=MERGE)
        answer.refused(400, "BadRequest")
        assert answer.body["message"].startswith("error decoding patch: ")
    api("PATCH", path, b"null", content_type=MERGE).refused(400, "BadRequest")
    assert api.get(path)["data"] == {"x": "1"}


@behaviour(321, "An empty map of an optional field is not kept", source="API conventions: Optional vs. Required")
def test_empty_maps(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", labels={"l": "1"}, x="1"))
    path = api.core("configmaps", "a")
    changed = api.merge(path, {"metadata": {"labels": {"l": None}}, "data": {"x": None}})
    assert "labels" not in changed["metadata"]
    assert "data" not in changed
    obj = config_map("b")
    obj["metadata"] |= {"annotations": {}, "finalizers": []}
    made = api.create(api.core("configmaps"), obj)
    assert not {"annotations", "finalizers"} & made["metadata"].keys()
