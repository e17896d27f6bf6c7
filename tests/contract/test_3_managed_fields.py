"""Managed fields of ordinary writes, and writes of managed fields. Numbers 358 to 367."""

from typing import Any

from asking import APPLY, JSON_PATCH, MERGE, Api, config_map, deployment
from behaviours import behaviour

FIELDS = "Server-Side Apply: Field management"
RESET = "Server-Side Apply: Clearing managedFields"
OBSERVED = "observed on 1.34.2"


def entries(obj: Any) -> list[Any]:
    found: list[Any] = obj["metadata"].get("managedFields", [])
    return found


def managers(obj: Any) -> list[tuple[str, str]]:
    return [(entry["manager"], entry["operation"]) for entry in entries(obj)]


def apply(api: Api, path: str, body: Any, *, by: str) -> Any:
    answer = api("PATCH", f"{path}?fieldManager={by}", body, content_type=APPLY)
    assert answer.status in (200, 201), answer.body
    return answer.body


@behaviour(358, "Who creates an object owns what it wrote, the containers of it included", source=FIELDS)
def test_creation(api: Api) -> None:
    made = api.create(f"{api.core('configmaps')}?fieldManager=me", config_map("a", labels={"l": "1"}, x="1"))
    assert managers(made) == [("me", "Update")]
    fields = {"f:data": {".": {}, "f:x": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}}
    assert entries(made)[0]["fieldsV1"] == fields


@behaviour(359, "A client that names no manager is known by its User-Agent, up to the slash", source=OBSERVED)
def test_user_agent(api: Api) -> None:
    path = api.core("configmaps")
    for agent, manager in (("tool/1.2 (linux) x", "tool"), ("just words", "just words"), ("", "unknown")):
        answer = api(
            "POST", path, {"metadata": {"generateName": "a"}, "data": {"x": "1"}}, headers={"User-Agent": agent}
        )
        assert managers(answer.body) == [(manager, "Update")]


@behaviour(360, "Defaults are owned by who created the object", source=OBSERVED)
def test_defaults(api: Api) -> None:
    made = api.create(f"{api.path('apps/v1', 'deployments')}?fieldManager=me", deployment("d", paused=True))
    fields = entries(made)[0]["fieldsV1"]["f:spec"]
    assert {"f:progressDeadlineSeconds", "f:revisionHistoryLimit", "f:strategy"} <= fields.keys()
    container = fields["f:template"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert {".", "f:image", "f:imagePullPolicy", "f:name"} <= container.keys()
    assert "f:status" not in entries(made)[0]["fieldsV1"]


@behaviour(361, "A field that goes loses its owner, and an entry without fields goes", source=FIELDS)
def test_removal(api: Api) -> None:
    path = api.core("configmaps", "a")
    api.create(f"{api.core('configmaps')}?fieldManager=me", config_map("a", x="1"))
    api.merge(f"{path}?fieldManager=you", {"data": {"y": "2"}})
    found = api.merge(f"{path}?fieldManager=other", {"data": {"y": None}})
    assert managers(found) == [("me", "Update")]


@behaviour(362, "A write through the status endpoint has an entry of its own, marked status", source=FIELDS)
def test_status(api: Api) -> None:
    api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    found = api.merge(f"{api.core('pods', 'p', 'status')}?fieldManager=me", {"status": {"message": "m"}})
    entry = next(entry for entry in entries(found) if entry["manager"] == "me")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:message": {}}})


@behaviour(363, "An entry of an empty object clears all managed fields", source=RESET)
def test_reset(api: Api) -> None:
    path = api.core("configmaps", "a")
    api.create(api.core("configmaps"), config_map("a", x="1"))
    assert entries(api.merge(path, {"metadata": {"managedFields": [{}]}})) == []
    assert entries(api.get(path)) == []


@behaviour(364, "An object without managed fields gets none by updates, and by apply all of them", source=OBSERVED)
def test_untracked(api: Api) -> None:
    path = api.core("configmaps", "a")
    api.create(api.core("configmaps"), config_map("a", x="1"))
    operation = {"op": "replace", "path": "/metadata/managedFields", "value": [{}]}
    assert api("PATCH", path, [operation], content_type=JSON_PATCH).status == 200
    assert entries(api.merge(path, {"data": {"y": "2"}})) == []
    found = apply(api, path, config_map("a", z="3"), by="me")
    assert managers(found) == [("me", "Apply"), ("before-first-apply", "Update")]
    assert entries(found)[1]["fieldsV1"] == {"f:data": {".": {}, "f:x": {}, "f:y": {}}}


@behaviour(365, "Managed fields may be rewritten, and broken ones are not taken over", source=OBSERVED)
def test_rewriting(api: Api) -> None:
    path = api.core("configmaps", "a")
    made = api.create(f"{api.core('configmaps')}?fieldManager=me", config_map("a", x="1"))
    operation = {"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "renamed"}
    answer = api("PATCH", path, [operation], content_type=JSON_PATCH)
    assert managers(answer.body) == [("renamed", "Update")]
    broken = {**entries(made)[0], "operation": "Bogus"}
    answer = api("PATCH", path, {"metadata": {"managedFields": [broken]}}, content_type=MERGE)
    assert (answer.status, managers(answer.body)) == (200, [("renamed", "Update")])


@behaviour(366, "The name of a manager is printable and at most 128 bytes long", source="API reference: fieldManager")
def test_manager_name(api: Api) -> None:
    for name, reason in (("x" * 129, "FieldValueTooLong"), ("a%0Ab", "FieldValueInvalid")):
        answer = api("POST", f"{api.core('configmaps')}?fieldManager={name}", config_map("a"))
        assert answer.refused(422, "Invalid", kind="CreateOptions").causes() == {("fieldManager", reason)}
    api.create(f"{api.core('configmaps')}?fieldManager={'x' * 128}", config_map("a"))


@behaviour(367, "More than ten update managers of other times become one: ancient-changes", source=FIELDS)
def test_cap(api: Api) -> None:
    path = api.core("configmaps", "a")
    api.create(f"{api.core('configmaps')}?fieldManager=u0", config_map("a", x0="1"))
    first = entries(api.get(path))[0]["time"]
    for number in range(1, 12):
        found = api.merge(f"{path}?fieldManager=u{number}", {"data": {f"x{number}": "1"}})
    names = [name for name, _ in managers(found)]
    assert len(names) <= 11
    assert "ancient-changes" in names
    assert first <= min(entry["time"] for entry in entries(found))
    merged = next(entry for entry in entries(found) if entry["manager"] == "ancient-changes")
    assert "f:x0" in merged["fieldsV1"]["f:data"]
