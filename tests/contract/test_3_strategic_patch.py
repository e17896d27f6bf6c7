"""Strategic merge patch. Numbers 322 to 336."""

from typing import Any

from asking import STRATEGIC, Answer, Api, config_map, deployment
from behaviours import behaviour

STRATEGY = "API conventions: Strategic Merge Patch"
TASKS = "Update API Objects in Place Using kubectl patch"
POD_SPEC = "API reference: PodSpec"
OBSERVED = "observed on 1.34.2"


def patch(api: Api, path: str, body: Any) -> Answer:
    return api("PATCH", path, body, content_type=STRATEGIC)


def patched(api: Api, path: str, body: Any) -> Any:
    answer = patch(api, path, body)
    assert answer.status == 200, answer.body
    return answer.body


def workload(api: Api, **spec: Any) -> str:
    """The path of a new deployment with a container ``c``."""
    made = deployment("d", paused=True)
    made["spec"]["template"]["spec"] |= spec
    api.create(api.path("apps/v1", "deployments"), made)
    return api.path("apps/v1", "deployments", "d")


def template(**pod: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": pod}}}


def pod_of(obj: Any) -> Any:
    return obj["spec"]["template"]["spec"]


def names_of(obj: Any) -> list[str]:
    return [container["name"] for container in pod_of(obj)["containers"]]


@behaviour(322, "Strategic patch: containers are merged by name, new ones come first", source=TASKS)
def test_containers(api: Api) -> None:
    path = workload(api)
    assert names_of(patched(api, path, template(containers=[{"name": "s", "image": "s:1"}]))) == ["s", "c"]
    changed = patched(api, path, template(containers=[{"name": "c", "image": "i:2"}]))
    assert {item["name"]: item["image"] for item in pod_of(changed)["containers"]} == {"s": "s:1", "c": "i:2"}


@behaviour(323, "Strategic patch: environment variables are merged by name inside of a container", source=POD_SPEC)
def test_environment(api: Api) -> None:
    path = workload(api)
    for name, value in (("A", "1"), ("B", "2"), ("A", "3")):
        body = template(containers=[{"name": "c", "env": [{"name": name, "value": value}]}])
        changed = patched(api, path, body)
    found = pod_of(changed)["containers"][0]["env"]
    assert {item["name"]: item["value"] for item in found} == {"A": "3", "B": "2"}


@behaviour(324, "Strategic patch: a list without a merge strategy is replaced", source=TASKS)
def test_atomic_lists(api: Api) -> None:
    path = workload(api, tolerations=[{"key": "a", "operator": "Exists"}])
    changed = patched(api, path, template(tolerations=[{"key": "b", "operator": "Exists"}]))
    assert [item["key"] for item in pod_of(changed)["tolerations"]] == ["b"]
    for command in (["a", "b"], ["c"]):
        changed = patched(api, path, template(containers=[{"name": "c", "command": command}]))
    assert pod_of(changed)["containers"][0]["command"] == ["c"]


@behaviour(325, "Strategic patch: $patch delete takes an element out of a list, if it is there", source=STRATEGY)
def test_delete_an_element(api: Api) -> None:
    path = workload(api)
    patched(api, path, template(containers=[{"name": "s", "image": "s:1"}]))
    assert names_of(patched(api, path, template(containers=[{"name": "c", "$patch": "delete"}]))) == ["s"]
    assert names_of(patched(api, path, template(containers=[{"name": "nobody", "$patch": "delete"}]))) == ["s"]


@behaviour(326, "Strategic patch: $patch replace in a list or a map puts the patch in its place", source=STRATEGY)
def test_replace(api: Api) -> None:
    path = workload(api, nodeSelector={"a": "b"})
    body = template(containers=[{"$patch": "replace"}, {"name": "q", "image": "q:1"}])
    assert names_of(patched(api, path, body)) == ["q"]
    changed = patched(api, path, template(nodeSelector={"$patch": "replace", "c": "d"}))
    assert pod_of(changed)["nodeSelector"] == {"c": "d"}


@behaviour(327, "Strategic patch: $patch delete in a map empties it", source=STRATEGY)
def test_delete_a_map(api: Api) -> None:
    path = workload(api, nodeSelector={"a": "b"})
    assert "nodeSelector" not in pod_of(patched(api, path, template(nodeSelector={"$patch": "delete"})))


@behaviour(328, "Strategic patch: maps are merged, null takes a key or the whole map away", source=STRATEGY)
def test_maps(api: Api) -> None:
    path = workload(api, nodeSelector={"a": "b", "x": "y"})
    changed = patched(api, path, template(nodeSelector={"c": "d", "x": None}))
    assert pod_of(changed)["nodeSelector"] == {"a": "b", "c": "d"}
    assert "nodeSelector" not in pod_of(patched(api, path, template(nodeSelector=None)))


@behaviour(329, "Strategic patch: plain values of a merged list are added, never twice", source=f"{STRATEGY}, merge")
def test_plain_lists(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path = api.core("configmaps", "a")
    for name in ("a", "b", "a"):
        changed = patched(api, path, {"metadata": {"finalizers": [f"example.com/{name}"]}})
    assert sorted(changed["metadata"]["finalizers"]) == ["example.com/a", "example.com/b"]
    body = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a", "example.com/b"]}}
    assert "finalizers" not in patched(api, path, body)["metadata"]


@behaviour(330, "Strategic patch: $setElementOrder puts a merged list in order", source=f"{STRATEGY}, setElementOrder")
def test_order(api: Api) -> None:
    path = workload(api)
    patched(api, path, template(containers=[{"name": "s", "image": "s:1"}]))
    order = [{"name": "c"}, {"name": "s"}]
    assert names_of(patched(api, path, template(**{"$setElementOrder/containers": order}))) == ["c", "s"]
    order = [{"name": "c"}, {"name": "t"}, {"name": "s"}]
    body = template(**{"$setElementOrder/containers": order, "containers": [{"name": "t", "image": "t:1"}]})
    assert names_of(patched(api, path, body)) == ["c", "t", "s"]


@behaviour(331, "Strategic patch: an order of a list that is nowhere is nothing", source=OBSERVED)
def test_order_of_nothing(api: Api) -> None:
    path = workload(api)
    body = template(**{"$setElementOrder/imagePullSecrets": [{"name": "x"}], "$setElementOrder/tolerations": []})
    assert names_of(patched(api, path, body)) == ["c"]


@behaviour(332, "Strategic patch: $retainKeys drops the fields that it does not list", source=f"{STRATEGY}, retainKeys")
def test_retain_keys(api: Api) -> None:
    path = workload(api, volumes=[{"name": "v", "emptyDir": {}}])
    volume = {"name": "v", "configMap": {"name": "m"}}
    answer = patch(api, path, template(volumes=[volume]))
    assert answer.refused(422, "Invalid").causes()
    changed = patched(api, path, template(volumes=[{**volume, "$retainKeys": ["name", "configMap"]}]))
    assert pod_of(changed)["volumes"][0].keys() == {"name", "configMap"}
    strategy = {"$retainKeys": ["type"], "type": "Recreate"}
    assert patched(api, path, {"spec": {"strategy": strategy}})["spec"]["strategy"] == {"type": "Recreate"}


@behaviour(333, "Strategic patch: a field that $retainKeys does not list must not be set", source=OBSERVED)
def test_broken_retain_keys(api: Api) -> None:
    path = workload(api, volumes=[{"name": "v", "emptyDir": {}}])
    body = template(volumes=[{"name": "v", "$retainKeys": ["name"], "emptyDir": {"medium": "Memory"}}])
    patch(api, path, body).refused(400, "BadRequest")


@behaviour(334, "Strategic patch: a wrong type in the patch is 422, quoting the patch", source=OBSERVED)
def test_wrong_type(api: Api) -> None:
    path = workload(api)
    answer = patch(api, path, {"spec": {"replicas": "x"}}).refused(422, "Invalid")
    assert answer.causes() == {("patch", "FieldValueInvalid")}
    assert '"map[spec:map[replicas:x]]"' in answer.body["message"]


@behaviour(335, "Strategic patch: null is a patch that changes nothing, a list is none", source=OBSERVED)
def test_null(api: Api) -> None:
    path = workload(api)
    before = api.get(path)["spec"]
    assert patched(api, path, b"null")["spec"] == before
    patch(api, path, [1]).refused(400, "BadRequest")
    patch(api, path, "{").refused(400, "BadRequest")


@behaviour(336, "Strategic patch: ports of a container are merged by their number alone", source=POD_SPEC)
def test_ports(api: Api) -> None:
    path = workload(api)

    def ports(*wanted: dict[str, Any]) -> list[tuple[int, str, str]]:
        found = pod_of(patched(api, path, template(containers=[{"name": "c", "ports": list(wanted)}])))
        return [(p["containerPort"], p["protocol"], p.get("name", "")) for p in found["containers"][0]["ports"]]

    assert ports({"containerPort": 80, "name": "web"}) == [(80, "TCP", "web")]
    assert ports({"containerPort": 80, "protocol": "UDP"}) == [(80, "UDP", "web")]
    assert set(ports({"containerPort": 81})) == {(80, "UDP", "web"), (81, "TCP", "")}
