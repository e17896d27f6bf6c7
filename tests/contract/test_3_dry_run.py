"""Dry run of every verb: the answer is the real one, and nothing is stored. Numbers 368 to 381."""

from typing import Any

from asking import JSON_PATCH, MERGE, STRATEGIC, Api, config_map, deployment, named, pod
from behaviours import behaviour

DRY_RUN = "API concepts: Dry-run"
OBSERVED = "observed on 1.34.2"
DRY = "dryRun=All"


@behaviour(368, "A dry run of a create answers with the whole object and stores nothing", source=DRY_RUN)
def test_create(api: Api) -> None:
    made = api.create(f"{api.core('configmaps')}?{DRY}", config_map("a", x="1"))
    assert made["data"] == {"x": "1"}
    assert {"uid", "creationTimestamp", "managedFields"} <= made["metadata"].keys()
    assert "resourceVersion" not in made["metadata"]
    api("GET", api.core("configmaps", "a")).refused(404, "NotFound")


@behaviour(369, "A dry run of a create applies defaults and generates a name", source=f"{DRY_RUN}, generated values")
def test_create_with_defaults(api: Api) -> None:
    made = api.create(f"{api.path('apps/v1', 'deployments')}?{DRY}", deployment("d"))
    assert (made["metadata"]["generation"], made["spec"]["revisionHistoryLimit"]) == (1, 10)
    made = api.create(f"{api.core('configmaps')}?{DRY}", {"metadata": {"generateName": "a-"}})
    assert made["metadata"]["name"].startswith("a-")
    assert len(made["metadata"]["name"]) == 7


@behaviour(370, "A dry run of a create is refused as the create would be", source=DRY_RUN)
def test_refused_create(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path = f"{api.core('configmaps')}?{DRY}"
    api("POST", path, config_map("a")).refused(409, "AlreadyExists", 'configmaps "a" already exists')
    api("POST", path, config_map("B_")).refused(422, "Invalid", kind="ConfigMap")
    nowhere = f"/api/v1/namespaces/nowhere-at-all/configmaps?{DRY}"
    api("POST", nowhere, config_map("a")).refused(404, "NotFound", name="nowhere-at-all")


@behaviour(371, "A dry run of a replacement keeps the version, and checks the one that is stated", source=DRY_RUN)
def test_update(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    found = api.put(f"{path}?{DRY}", config_map("a", x="2"))
    assert found["data"] == {"x": "2"}
    assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert api.get(path) == made
    stale = config_map("a")
    stale["metadata"]["resourceVersion"] = "1"
    api("PUT", f"{path}?{DRY}", stale).refused(409, "Conflict", name="a")


@behaviour(372, "A dry run of a patch of each type shows the patched object and stores nothing", source=DRY_RUN)
def test_patch(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", x="1"))
    path = api.core("configmaps", "a")
    operation = {"op": "replace", "path": "/data/x", "value": "2"}
    for content_type, body in (
        (MERGE, {"data": {"x": "2"}}),
        (STRATEGIC, {"data": {"x": "2"}}),
        (JSON_PATCH, [operation]),
    ):
        answer = api("PATCH", f"{path}?{DRY}", body, content_type=content_type)
        assert (answer.status, answer.body["data"]) == (200, {"x": "2"})
    assert api.get(path) == made


@behaviour(373, "A dry run of a patch raises the generation in its answer only", source=OBSERVED)
def test_generation(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    path = api.path("apps/v1", "deployments", "d")
    assert api.merge(f"{path}?{DRY}", {"spec": {"minReadySeconds": 3}})["metadata"]["generation"] == 2
    assert api.get(path)["metadata"]["generation"] == 1


@behaviour(374, "A dry run of a delete, in the query or in the body, leaves the object", source=DRY_RUN)
def test_delete(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a"))
    path = api.core("configmaps", "a")
    for asked, options in ((f"{path}?{DRY}", None), (path, {"dryRun": ["All"]})):
        answer = api.delete(asked, options)
        assert (answer["status"], answer["details"]["uid"]) == ("Success", made["metadata"]["uid"])
    assert api.get(path) == made
    api("DELETE", f"{api.core('configmaps', 'b')}?{DRY}").refused(404, "NotFound")
    answer = api("DELETE", path, {"dryRun": ["All"], "preconditions": {"uid": "x"}})
    answer.refused(409, "Conflict", name="a")


@behaviour(375, "A dry run of a delete of a held object shows it as being deleted, and it is not", source=OBSERVED)
def test_delete_of_a_held_object(api: Api) -> None:
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/a"]
    made = api.create(api.core("configmaps"), obj)
    path = api.core("configmaps", "a")
    api.delete(f"{path}?{DRY}")
    assert api.get(path) == made
    api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    api.delete(f"{api.core('pods', 'p')}?{DRY}")
    assert "deletionTimestamp" not in api.get(api.core("pods", "p"))["metadata"]
    api.merge(path, {"metadata": {"finalizers": None}})


@behaviour(376, "A dry run of a collection's delete lists what would go", source=DRY_RUN)
def test_delete_collection(api: Api) -> None:
    for name in ("a", "b"):
        api.create(api.core("configmaps"), config_map(name, labels={"x": "y"}))
    api.create(api.core("configmaps"), config_map("c"))
    found = api.delete(f"{api.core('configmaps')}?labelSelector=x&{DRY}")
    assert {item["metadata"]["name"] for item in found["items"]} == {"a", "b"}
    assert {"a", "b", "c"} <= {item["metadata"]["name"] for item in api.get(api.core("configmaps"))["items"]}


@behaviour(377, "The only value of dryRun is All", source="API reference: CreateOptions, dryRun")
def test_value(api: Api) -> None:
    path = api.core("configmaps")
    for query in ("dryRun=all", "dryRun=None", "dryRun=", "dryRun=All&dryRun=Nope"):
        answer = api("POST", f"{path}?{query}", config_map("a"))
        answer.refused(422, "Invalid", kind="CreateOptions", group="meta.k8s.io")
        assert answer.causes() == {("dryRun", "FieldValueNotSupported")}
    api("GET", api.core("configmaps", "a")).refused(404, "NotFound")


@behaviour(378, "Status and scale are tried without being stored", source=DRY_RUN)
def test_subresources(api: Api) -> None:
    api.create(api.path("apps/v1", "deployments"), deployment("d", paused=True))
    path = api.path("apps/v1", "deployments", "d")
    assert api.put(f"{path}/scale?{DRY}", {"metadata": {"name": "d"}, "spec": {"replicas": 4}})["spec"]["replicas"] == 4
    assert api.get(f"{path}/scale")["spec"] == {}
    found = api.merge(f"{path}/status?{DRY}", {"status": {"collisionCount": 4}})
    assert found["status"]["collisionCount"] == 4
    assert "collisionCount" not in api.get(path)["status"]


@behaviour(379, "A binding and an eviction are tried without being done", source=DRY_RUN)
def test_pod_subresources(api: Api) -> None:
    api.create_pod()
    binding = {"metadata": {"name": "p"}, "target": {"name": "nowhere"}}
    assert api("POST", f"{api.core('pods', 'p', 'binding')}?{DRY}", binding).status == 201
    assert "nodeName" not in api.get(api.core("pods", "p"))["spec"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert api("POST", f"{api.core('pods', 'p', 'eviction')}?{DRY}", eviction).status == 201
    assert (
        api("POST", api.core("pods", "p", "eviction"), {**eviction, "deleteOptions": {"dryRun": ["All"]}}).status == 201
    )
    assert "deletionTimestamp" not in api.get(api.core("pods", "p"))["metadata"]


@behaviour(380, "Nobody who watches hears of a dry run", source=DRY_RUN)
def test_watch(api: Api) -> None:
    path, labels = api.core("configmaps"), {"x": "y"}
    api.create(path, config_map("a", labels=labels, x="1"))
    version = api.get(path)["metadata"]["resourceVersion"]
    with api.watch(path, f"labelSelector=x&resourceVersion={version}") as stream:
        api.create(f"{path}?{DRY}", config_map("b", labels=labels))
        api.merge(f"{path}/a?{DRY}", {"data": {"x": "2"}})
        api.delete(f"{path}/a?{DRY}")
        api.create(path, config_map("last", labels=labels))
        assert named(stream.next()) == ("ADDED", "last")


@behaviour(381, "A dry run is admitted as the write would be: quotas refuse it, accounts are filled in", source=DRY_RUN)
def test_admission(api: Api) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"secrets": "0"}}}
    api.create(api.core("resourcequotas"), quota)

    def counted() -> Any:
        return (api.get(api.core("resourcequotas", "q")).get("status") or {}).get("used")

    api.eventually(counted)
    answer = api("POST", f"{api.core('secrets')}?{DRY}", {"metadata": {"name": "s"}})
    answer.refused(403, "Forbidden", name="s", kind="secrets")
    assert "exceeded quota: q" in answer.body["message"]
    api.eventually(lambda: api("GET", api.core("serviceaccounts", "default")).status == 200)
    assert api.create(f"{api.core('pods')}?{DRY}", pod())["spec"]["serviceAccountName"] == "default"
