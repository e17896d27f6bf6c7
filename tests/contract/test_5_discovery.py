"""Discovery: which groups, versions and resources there are, in both forms. Numbers 521 to 539."""

from typing import Any

from asking import Answer, Api
from behaviours import behaviour
from customs import NUMBER, served, thing, version

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
DISCOVERY = "The Kubernetes API: Discovery API"
AGGREGATION = "KEP-3352: Aggregated discovery"
OBSERVED = "observed on 1.34.2 and 1.36.3"
ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def named(found: Any, key: str, name: str) -> Any:
    (one,) = (item for item in found if item[key] == name)
    return one


def group_of(found: Any, name: str) -> Any:
    (one,) = (item for item in found["items"] if item["metadata"].get("name") == name)
    return one


def aggregated(api: Api, path: str = "/apis") -> Any:
    return api.get(path, accept=AGGREGATED)


def etag_of(answer: Answer) -> str:
    tag = answer.headers["ETag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    return str(tag)


@behaviour(521, "/api lists the versions of the core group and where the server is reached", source=DISCOVERY)
def test_core_versions(api: Api) -> None:
    found = api.get("/api")
    assert (found["kind"], found["versions"]) == ("APIVersions", ["v1"])
    (address,) = found["serverAddressByClientCIDRs"]
    assert address["clientCIDR"] == "0.0.0.0/0"
    assert address["serverAddress"] == api.address.netloc


@behaviour(522, "/apis lists the groups with their versions, the preferred one named", source=DISCOVERY)
def test_groups(api: Api) -> None:
    found = api.get("/apis")
    assert (found["kind"], found["apiVersion"]) == ("APIGroupList", "v1")
    apps = named(found["groups"], "name", "apps")
    only = {"groupVersion": "apps/v1", "version": "v1"}
    assert apps == {"name": "apps", "versions": [only], "preferredVersion": only}
    assert "" not in [group["name"] for group in found["groups"]]


@behaviour(523, "Groups come in the order in which clients are to look for a kind", source=OBSERVED)
def test_order_of_groups(api: Api) -> None:
    wanted = [
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
        "discovery.k8s.io",
        "resource.k8s.io",
    ]
    found = [group["name"] for group in api.get("/apis")["groups"]]
    assert [name for name in found if name in wanted] == wanted
    in_other_form = [item["metadata"]["name"] for item in aggregated(api)["items"]]
    assert [name for name in in_other_form if name in wanted] == wanted


@behaviour(524, "/apis/GROUP is one group", source=DISCOVERY)
def test_group(api: Api) -> None:
    found = api.get("/apis/batch")
    assert (found["kind"], found["apiVersion"], found["name"]) == ("APIGroup", "v1", "batch")
    assert found["preferredVersion"] == {"groupVersion": "batch/v1", "version": "v1"}
    assert api.get("/apis/batch/") == found


@behaviour(525, "A version lists its resources with kind, verbs, scope, short names, categories", source=DISCOVERY)
def test_resources(api: Api) -> None:
    found = api.get("/api/v1")
    assert (found["kind"], found["groupVersion"]) == ("APIResourceList", "v1")
    pods = named(found["resources"], "name", "pods")
    pods.pop("storageVersionHash", None)
    assert pods == {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ALL_VERBS,
        "shortNames": ["po"],
        "categories": ["all"],
    }
    nodes = named(found["resources"], "name", "nodes")
    assert (nodes["namespaced"], nodes["shortNames"]) == (False, ["no"])


@behaviour(526, "Subresources are resources of their own; one of another group names it", source=DISCOVERY)
def test_subresources(api: Api) -> None:
    found = api.get("/api/v1")["resources"]
    status = named(found, "name", "pods/status")
    assert (status["kind"], status["singularName"], status["verbs"]) == ("Pod", "", ["get", "patch", "update"])
    assert "group" not in status
    eviction = named(found, "name", "pods/eviction")
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")
    scale = named(api.get("/apis/apps/v1")["resources"], "name", "deployments/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


@behaviour(527, "Resources are in the order of their names, subresources behind theirs", source=OBSERVED)
def test_order_of_resources(api: Api) -> None:
    for path in ("/api/v1", "/apis/apps/v1", "/apis/authorization.k8s.io/v1"):
        found = [one["name"] for one in api.get(path)["resources"]]
        assert found == sorted(found)
    (core,) = aggregated(api, "/api")["items"]
    found = [one["resource"] for one in core["versions"][0]["resources"]]
    assert found == sorted(found)


@behaviour(528, "What can only be created has that verb alone", source=DISCOVERY)
def test_verbs_of_reviews(api: Api) -> None:
    found = api.get("/apis/authorization.k8s.io/v1")["resources"]
    assert {tuple(one["verbs"]) for one in found} == {("create",)}
    assert named(found, "name", "localsubjectaccessreviews")["namespaced"]


@behaviour(529, "A version that a group does not have is a Status, a group nobody has is no page", source=OBSERVED)
def test_unknown(api: Api) -> None:
    for path in ("/api/v2", "/apis/apps/v9"):
        answer = api("GET", path).refused(404, "NotFound", "the server could not find the requested resource")
        assert answer.body["details"] == {}
    for path in ("/apis/example.com", "/apis/example.com/v1", "/nonsense"):
        answer = api("GET", path)
        assert (answer.status, answer.raw) == (404, b"404 page not found\n")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@behaviour(530, "One answer has all groups with versions and resources, for those who accept it", source=AGGREGATION)
def test_aggregated(api: Api) -> None:
    answer = api("GET", "/apis", accept=f"{AGGREGATED},application/json")
    assert answer.headers["Content-Type"] == AGGREGATED
    assert answer.body["kind"] == "APIGroupDiscoveryList"
    assert answer.body["apiVersion"] == "apidiscovery.k8s.io/v2"
    (v1,) = group_of(answer.body, "apps")["versions"]
    assert (v1["version"], v1["freshness"]) == ("v1", "Current")
    found = named(v1["resources"], "resource", "deployments")
    assert (found["scope"], found["singularResource"], found["verbs"]) == ("Namespaced", "deployment", ALL_VERBS)
    assert (found["shortNames"], found["categories"]) == (["deploy"], ["all"])
    assert found["responseKind"]["kind"] == "Deployment"
    scale = named(found["subresources"], "subresource", "scale")
    assert scale["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


@behaviour(531, "Aggregated discovery of the core group is at /api, without a name", source=AGGREGATION)
def test_aggregated_core(api: Api) -> None:
    (core,) = aggregated(api, "/api")["items"]
    assert not core["metadata"].get("name")
    assert [one["version"] for one in core["versions"]] == ["v1"]
    nodes = named(core["versions"][0]["resources"], "resource", "nodes")
    assert nodes["scope"] == "Cluster"
    assert all(item["metadata"].get("name") for item in aggregated(api)["items"])


@behaviour(532, "The aggregated form is given to whoever accepts it at all, the old one to others", source=OBSERVED)
def test_choice(api: Api) -> None:
    assert api.get("/apis", accept=f"application/json,{AGGREGATED}")["kind"] == "APIGroupDiscoveryList"
    for accept in ("application/json", "*/*", f"{AGGREGATED.replace('v=v2', 'v=v9')},application/json"):
        assert api.get("/apis", accept=accept)["kind"] == "APIGroupList"


@behaviour(533, "A version of aggregated discovery that is not served, alone, is 406", source=OBSERVED)
def test_unknown_version(api: Api) -> None:
    for version_name in ("v2beta1", "v9"):
        accept = AGGREGATED.replace("v=v2", f"v={version_name}")
        api("GET", "/apis", accept=accept).refused(406, "NotAcceptable")
    api("GET", "/apis/apps", accept=AGGREGATED).refused(406, "NotAcceptable")


@behaviour(534, "Aggregated discovery has an ETag; whoever still has it gets 304 and nothing else", source=AGGREGATION)
def test_etag(api: Api) -> None:
    for path in ("/api", "/apis"):

        def unchanged(path: str = path) -> bool:
            """Definitions of others come and go in between."""
            first = api("GET", path, accept=AGGREGATED)
            assert first.headers["Cache-Control"] == "public"
            assert "Accept" in first.headers["Vary"]
            tag = etag_of(first)
            again = api("GET", path, accept=AGGREGATED, headers={"If-None-Match": tag})
            assert again.status in (200, 304)
            return again.status == 304 and again.raw == b"" and etag_of(again) == tag

        assert api.eventually(unchanged)
        other = api("GET", path, accept=AGGREGATED, headers={"If-None-Match": '"0"'})
        assert (other.status, other.body["kind"]) == (200, "APIGroupDiscoveryList")


@behaviour(535, "The older form of discovery is not to be cached", source=OBSERVED)
def test_no_cache(api: Api) -> None:
    for path in ("/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1"):
        answer = api("GET", path)
        assert answer.headers["Cache-Control"] == "no-cache, private"
        assert answer.headers["ETag"] is None


@behaviour(536, "A definition adds its group, version and resource, and takes them away again", source=DISCOVERY)
def test_custom_group(api: Api) -> None:
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "shortNames": ["th"], "categories": ["all"]}
    with served(api, version(thing(size=NUMBER)), names=names) as custom:
        group = f"/apis/{custom.group}"
        assert api.eventually(lambda: api("GET", group).status == 200)
        assert custom.group in [one["name"] for one in api.get("/apis")["groups"]]
        (found,) = api.get(f"{group}/v1")["resources"]
        assert (found["name"], found["singularName"], found["kind"]) == ("things", "thing", "Thing")
        assert (found["shortNames"], found["categories"], found["namespaced"]) == (["th"], ["all"], True)
        assert sorted(found["verbs"]) == ALL_VERBS
    assert api.eventually(lambda: api("GET", group).status == 404)


@behaviour(537, "Versions of a group go by their names: stable first, the highest first", source=DISCOVERY)
def test_order_of_versions(api: Api) -> None:
    schema = thing(size=NUMBER)
    found = ("v1alpha1", "v1beta2", "v1", "v2", "v1beta1")
    versions = [version(schema, name, storage=name == "v1") for name in found]
    with served(api, *versions) as custom:

        def listed() -> list[str]:
            answer = api("GET", f"/apis/{custom.group}")
            return [one["version"] for one in answer.body["versions"]] if answer.status == 200 else []

        assert api.eventually(lambda: listed() == ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1"])
        assert api.get(f"/apis/{custom.group}")["preferredVersion"]["version"] == "v2"


@behaviour(538, "A custom kind's subresources are discovered", source=DISCOVERY)
def test_custom_subresources(api: Api) -> None:
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    schema = thing(size=NUMBER)
    with served(api, version(schema, subresources={"status": {}, "scale": scale})) as custom:
        path = f"/apis/{custom.group}/v1"
        assert api.eventually(lambda: api("GET", path).status == 200 and len(api.get(path)["resources"]) == 3)
        found = {one["name"]: one for one in api.get(path)["resources"]}
        assert sorted(found["things/status"]["verbs"]) == ["get", "patch", "update"]
        assert (found["things/scale"]["group"], found["things/scale"]["kind"]) == ("autoscaling", "Scale")


@behaviour(539, "Discovery can be had as YAML", source=OBSERVED)
def test_yaml(api: Api) -> None:
    answer = api("GET", "/apis/apps", accept="application/yaml")
    assert answer.headers["Content-Type"] == "application/yaml"
    assert answer.raw.startswith(b"apiVersion: v1\nkind: APIGroup\nname: apps\n")
