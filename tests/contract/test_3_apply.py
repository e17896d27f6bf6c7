"""Server-side apply: who owns what, conflicts, force, removal. Numbers 337 to 357."""

from typing import Any

from asking import APPLY, MERGE, Answer, Api, config_map, deployment
from behaviours import behaviour

APPLYING = "Server-Side Apply"
MERGING = f"{APPLYING}: Merge strategy"
CONFLICTS = f"{APPLYING}: Conflicts"
OBSERVED = "observed on 1.34.2"


def apply(api: Api, path: str, body: Any, *, by: str = "one", query: str = "") -> Answer:
    """Apply as a manager."""
    return api("PATCH", f"{path}?fieldManager={by}" + (f"&{query}" if query else ""), body, content_type=APPLY)


def applied(api: Api, path: str, body: Any, *, by: str = "one", query: str = "") -> Any:
    answer = apply(api, path, body, by=by, query=query)
    assert answer.status in (200, 201), answer.body
    return answer.body


def owned(obj: Any) -> dict[tuple[str, str, str], Any]:
    """What each manager owns: by its name, operation and subresource."""
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", ())
    }


def deployed(api: Api, *, by: str = "one") -> str:
    """The path of a deployment that was applied."""
    path = api.path("apps/v1", "deployments", "d")
    applied(api, path, deployment("d", paused=True), by=by)
    return path


def of_template(**pod: Any) -> dict[str, Any]:
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    return {**obj, "spec": {"template": {"spec": pod}}}


def containers_of(obj: Any) -> dict[str, Any]:
    return {item["name"]: item for item in obj["spec"]["template"]["spec"]["containers"]}


@behaviour(337, "Apply makes an object that is not there, with 201, and changes one that is", source=APPLYING)
def test_creation(api: Api) -> None:
    path = api.core("configmaps", "a")
    answer = apply(api, path, config_map("a", x="1"))
    assert (answer.status, answer.body["data"]) == (201, {"x": "1"})
    answer = apply(api, path, config_map("a", x="2"))
    assert (answer.status, answer.body["data"]) == (200, {"x": "2"})


@behaviour(338, "The fields of an applied object are its manager's", source=f"{APPLYING}: Field management")
def test_ownership(api: Api) -> None:
    obj = config_map("a", labels={"l": "1"}, x="1")
    made = applied(api, api.core("configmaps", "a"), obj)
    fields = {"f:data": {"f:x": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}
    assert owned(made) == {("one", "Apply", ""): fields}
    entry = made["metadata"]["managedFields"][0]
    assert (entry["apiVersion"], entry["fieldsType"]) == ("v1", "FieldsV1")
    assert entry["time"] == made["metadata"]["creationTimestamp"]


@behaviour(339, "A value that another manager owns cannot be changed: 409, naming owner and field", source=CONFLICTS)
def test_conflict(api: Api) -> None:
    path = api.core("configmaps", "a")
    made = applied(api, path, config_map("a", x="1"))
    answer = apply(api, path, config_map("a", x="2", y="3"), by="two")
    answer.refused(
        409, "Conflict", 'Apply failed with 1 conflict: conflict with "one": .data.x', name="", kind="", group=""
    )
    assert answer.causes() == {(".data.x", "FieldManagerConflict")}
    assert [cause["message"] for cause in answer.body["details"]["causes"]] == ['conflict with "one"']
    assert api.get(path) == made


@behaviour(340, "Force takes a field over from its owner", source=f"{CONFLICTS}, Overwrite value")
def test_force(api: Api) -> None:
    path = api.core("configmaps", "a")
    applied(api, path, config_map("a", x="1", y="1"))
    found = applied(api, path, config_map("a", x="2"), by="two", query="force=true")
    assert found["data"] == {"x": "2", "y": "1"}
    assert owned(found) == {
        ("one", "Apply", ""): {"f:data": {"f:y": {}}},
        ("two", "Apply", ""): {"f:data": {"f:x": {}}},
    }


@behaviour(341, "Managers that apply the same value share the field", source=f"{CONFLICTS}, shared manager")
def test_sharing(api: Api) -> None:
    path = api.core("configmaps", "a")
    applied(api, path, config_map("a", x="1"))
    found = applied(api, path, config_map("a", x="1"), by="two")
    x = {"f:data": {"f:x": {}}}
    assert owned(found) == {("one", "Apply", ""): x, ("two", "Apply", ""): x}
    answer = apply(api, path, config_map("a", x="2"), by="two")
    answer.refused(409, "Conflict", 'Apply failed with 1 conflict: conflict with "one": .data.x')


@behaviour(342, "What a manager no longer applies goes, if nobody else owns it", source=MERGING)
def test_removal(api: Api) -> None:
    path = api.core("configmaps", "a")
    applied(api, path, config_map("a", x="1", y="1"))
    applied(api, path, config_map("a", x="1"), by="two")
    found = applied(api, path, config_map("a"))
    assert found["data"] == {"x": "1"}
    assert owned(found).keys() == {("two", "Apply", "")}
    assert "data" not in applied(api, path, config_map("a"), by="two")


@behaviour(343, "An update takes a field away from those who applied it", source=f"{APPLYING}: Field management")
def test_update_takes_over(api: Api) -> None:
    path = api.core("configmaps", "a")
    applied(api, path, config_map("a", x="1", y="1"))
    found = api.merge(f"{path}?fieldManager=editor", {"data": {"x": "2"}})
    assert owned(found) == {
        ("one", "Apply", ""): {"f:data": {"f:y": {}}},
        ("editor", "Update", ""): {"f:data": {"f:x": {}}},
    }
    answer = apply(api, path, config_map("a", x="1", y="1"))
    owner = answer.refused(409, "Conflict").body["details"]["causes"][0]["message"]
    assert owner.startswith('conflict with "editor" using v1')


@behaviour(344, "Apply and update under one name are two managers", source=f"{APPLYING}: Managers")
def test_apply_and_update_of_one_name(api: Api) -> None:
    path = api.core("configmaps", "a")
    applied(api, path, config_map("a", x="1"))
    found = api.merge(f"{path}?fieldManager=one", {"data": {"y": "2"}})
    assert owned(found) == {
        ("one", "Apply", ""): {"f:data": {"f:x": {}}},
        ("one", "Update", ""): {"f:data": {"f:y": {}}},
    }
    assert applied(api, path, config_map("a", z="1"))["data"] == {"y": "2", "z": "1"}


@behaviour(345, "Apply needs a manager, and only apply may be forced", source="API reference: PatchOptions")
def test_options(api: Api) -> None:
    path = api.core("configmaps", "a")
    answer = api("PATCH", path, config_map("a"), content_type=APPLY)
    answer.refused(422, "Invalid", kind="PatchOptions", group="meta.k8s.io")
    assert answer.causes() == {("fieldManager", "FieldValueRequired")}
    applied(api, path, config_map("a"))
    answer = api("PATCH", f"{path}?force=true", {"data": {"x": "1"}}, content_type=MERGE)
    assert answer.refused(422, "Invalid").causes() == {("force", "FieldValueForbidden")}


@behaviour(346, "A configuration must say its kind and version, and name the object of the URL", source=OBSERVED)
def test_other_object(api: Api) -> None:
    path = api.core("configmaps", "a")
    applied(api, path, config_map("a", x="1"))
    for body, found in (
        ({"kind": "ConfigMap"}, "/, Kind=ConfigMap"),
        ({**config_map("a"), "kind": "Secret"}, "Secret"),
    ):
        answer = apply(api, path, body)
        answer.refused(400, "BadRequest")
        assert answer.body["message"].startswith("invalid object type: ")
        assert answer.body["message"].endswith(found)
    why = "the name of the object (b) does not match the name on the URL (a)"
    apply(api, path, config_map("b", x="1")).refused(400, "BadRequest", why)
    answer = apply(api, path, {**config_map("a"), "metadata": {"name": "a", "managedFields": []}})
    answer.refused(400, "BadRequest", "metadata.managedFields must be nil")


@behaviour(347, "A configuration may be YAML, and may leave the name to the URL", source=f"{APPLYING}: Serialization")
def test_yaml(api: Api) -> None:
    path = api.core("configmaps", "a")
    applied(api, path, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: 'yes'\n")
    found = applied(api, path, "apiVersion: v1\nkind: ConfigMap\ndata: {x: 'no'}")
    assert found["data"] == {"x": "no"}
    answer = apply(api, path, "a: [")
    answer.refused(400, "BadRequest")
    assert answer.body["message"].startswith("error decoding YAML: ")


@behaviour(348, "A configuration with an old version is 409, with a uid for a new object too", source=APPLYING)
def test_preconditions(api: Api) -> None:
    path = api.core("configmaps", "a")
    made = applied(api, path, config_map("a", x="1"))
    applied(api, path, config_map("a", x="2"))
    obj = config_map("a", x="3")
    obj["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    apply(api, path, obj).refused(409, "Conflict", name="a", kind="configmaps")
    other = config_map("b", x="1")
    other["metadata"]["uid"] = "u-1"
    answer = apply(api, api.core("configmaps", "b"), other)
    answer.refused(409, "Conflict")
    assert "uid mismatch: the provided object specified uid u-1" in answer.body["message"]


@behaviour(
    349, "What is applied to a field that the schema does not know or of another type is refused", source=OBSERVED
)
def test_not_of_the_schema(api: Api) -> None:
    path = api.core("configmaps", "a")
    for wrong, why in (({"dota": {}}, ".dota: field not declared in schema"), ({"data": {"x": 1}}, "expected string")):
        answer = apply(api, path, {**config_map("a"), **wrong})
        assert answer.status in (400, 500)
        assert answer.body["message"].startswith("failed to create typed patch object (")
        assert why in answer.body["message"]
    api("GET", path).refused(404, "NotFound")


@behaviour(350, "Containers are applied by name, each field of them has its own owner", source=MERGING)
def test_associative_lists(api: Api) -> None:
    path = deployed(api)
    body = of_template(containers=[{"name": "s", "image": "s:1"}, {"name": "c", "env": [{"name": "A", "value": "1"}]}])
    found = containers_of(applied(api, path, body, by="two"))
    assert (found["c"]["image"], found["c"]["env"]) == ("i:1", [{"name": "A", "value": "1"}])
    found = containers_of(applied(api, path, of_template(containers=[{"name": "c"}]), by="two"))
    assert found.keys() == {"c"}
    assert "env" not in found["c"]
    answer = apply(api, path, of_template(containers=[{"name": "c", "image": "i:2"}]), by="two")
    answer.refused(409, "Conflict")
    assert answer.causes() == {('.spec.template.spec.containers[name="c"].image', "FieldManagerConflict")}


@behaviour(351, "Elements of an applied list without their key, or twice with one, are refused", source=MERGING)
def test_broken_lists(api: Api) -> None:
    path = deployed(api)
    answer = apply(api, path, of_template(containers=[{"name": "c"}, {"name": "c"}]), by="two")
    assert answer.status in (400, 500)
    why = 'duplicate entries for key [name="c"]'
    where = "(/d; apps/v1, Kind=Deployment): .spec.template.spec.containers"
    assert answer.body["message"] == f"failed to create typed patch object {where}: {why}"
    answer = apply(api, path, of_template(containers=[{"image": "i:2"}]), by="two")
    answer.refused(422, "Invalid", name="d")
    assert answer.causes() == {("spec.template.spec.containers[1].name", "FieldValueRequired")}


@behaviour(352, "Atomic lists and maps have one owner as a whole", source=MERGING)
def test_atomic(api: Api) -> None:
    path = deployed(api)
    selected = {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "a", "operator": "Exists"}]}
    applied(api, path, of_template(**selected), by="two")
    for field, value in (("nodeSelector", {"c": "d"}), ("tolerations", [{"key": "b", "operator": "Exists"}])):
        answer = apply(api, path, of_template(**{field: value}), by="three")
        answer.refused(409, "Conflict")
        assert answer.causes() == {(f".spec.template.spec.{field}", "FieldManagerConflict")}
    found = applied(api, path, of_template(nodeSelector={"c": "d"}), by="three", query="force=true")
    assert found["spec"]["template"]["spec"]["nodeSelector"] == {"c": "d"}


@behaviour(353, "Finalizers are applied as a set: each manager adds and removes its own", source=MERGING)
def test_sets(api: Api) -> None:
    def finalizers(name: str, *wanted: str) -> Any:
        obj = config_map("a")
        obj["metadata"]["finalizers"] = [f"example.com/{item}" for item in wanted]
        found = applied(api, api.core("configmaps", "a"), obj, by=name)
        return [item.removeprefix("example.com/") for item in found["metadata"].get("finalizers", ())]

    assert finalizers("one", "a") == ["a"]
    assert finalizers("two", "b") == ["a", "b"]
    assert finalizers("one") == ["b"]
    assert finalizers("two") == []


@behaviour(354, "An apply that changes nothing changes neither version nor time", source=OBSERVED)
def test_apply_of_nothing(api: Api) -> None:
    path = api.core("configmaps", "a")
    made = applied(api, path, config_map("a", x="1"))
    assert applied(api, path, config_map("a", x="1")) == made


@behaviour(355, "A dry run of an apply says what would be, and finds the conflicts", source=f"{APPLYING}: dry run")
def test_dry_run(api: Api) -> None:
    path = api.core("configmaps", "a")
    made = applied(api, path, config_map("a", x="1"))
    assert applied(api, path, config_map("a", y="2"), query="dryRun=All")["data"] == {"y": "2"}
    apply(api, path, config_map("a", x="2"), by="two", query="dryRun=All").refused(409, "Conflict")
    assert api.get(path) == made
    assert apply(api, api.core("configmaps", "b"), config_map("b"), query="dryRun=All").status == 201
    api("GET", api.core("configmaps", "b")).refused(404, "NotFound")


@behaviour(356, "What is applied to the status endpoint owns the status alone", source=f"{APPLYING}: subresources")
def test_status(api: Api) -> None:
    path = deployed(api)
    condition = {"type": "Tried", "status": "True", "reason": "r", "message": "m"}
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"replicas": 9},
        "status": {"conditions": [condition]},
    }
    found = applied(api, f"{path}/status", obj, by="two")
    assert found["spec"]["replicas"] == 0
    assert "Tried" in {item["type"] for item in found["status"]["conditions"]}
    assert owned(found)["two", "Apply", "status"].keys() == {"f:status"}
    found = applied(api, f"{path}/status", {"apiVersion": "apps/v1", "kind": "Deployment"}, by="two")
    assert "Tried" not in {item["type"] for item in found["status"].get("conditions", ())}
    gone = api.path("apps/v1", "deployments", "gone")
    apply(api, f"{gone}/status", {"apiVersion": "apps/v1", "kind": "Deployment"}).refused(404, "NotFound")


@behaviour(357, "Who scales an object owns its replicas, and who applied them before meets a conflict", source=APPLYING)
def test_scale(api: Api) -> None:
    path = deployed(api)
    api.put(f"{path}/scale?fieldManager=scaler", {"metadata": {"name": "d"}, "spec": {"replicas": 1}})
    found = owned(api.get(path))
    assert found["scaler", "Update", "scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found["one", "Apply", ""]["f:spec"]
    answer = apply(api, path, deployment("d", paused=True))
    answer.refused(409, "Conflict")
    assert answer.causes() == {(".spec.replicas", "FieldManagerConflict")}
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 0}}
    applied(api, f"{path}/scale", scale, query="force=true")
    assert owned(api.get(path))["one", "Apply", "scale"] == {"f:spec": {"f:replicas": {}}}
