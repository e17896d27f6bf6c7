"""OpenAPI v3: an index of documents, one for each version of a group. Numbers 540 to 552."""

from typing import Any

from asking import Api
from behaviours import behaviour
from customs import NUMBER, TEXT, served, thing, version

OPENAPI = "The Kubernetes API: OpenAPI V3"
KEP = "KEP-2896: OpenAPI v3"
OBSERVED = "observed on 1.34.2 and 1.36.3"
LEASES = "apis/coordination.k8s.io/v1"
LEASE = "io.k8s.api.coordination.v1.Lease"
META = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def index(api: Api) -> Any:
    return api.get("/openapi/v3")["paths"]


def document(api: Api, path: str = LEASES) -> Any:
    return api.get(f"/openapi/v3/{path}")


def schema(api: Api, name: str, path: str = "api/v1") -> Any:
    return document(api, path)["components"]["schemas"][name]


@behaviour(540, "The index names a document for each version of a group", source=OPENAPI)
def test_index(api: Api) -> None:
    found = index(api)
    assert {"api/v1", "apis/apps/v1", LEASES} <= found.keys()
    assert found[LEASES]["serverRelativeURL"].startswith(f"/openapi/v3/{LEASES}?hash=")


@behaviour(541, "A document by its URL with the hash may be kept for good", source=KEP)
def test_hash(api: Api) -> None:
    url = index(api)[LEASES]["serverRelativeURL"]
    answer = api("GET", url)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, immutable"
    assert answer.headers["Expires"]
    assert answer.headers["ETag"] == f'"{url.partition("?hash=")[2]}"'


@behaviour(542, "A document by an old hash is elsewhere: at the URL with the new one", source=KEP)
def test_old_hash(api: Api) -> None:
    answer = api("GET", f"/openapi/v3/{LEASES}?hash=ABC")
    assert answer.status == 301
    assert answer.headers["Location"] == index(api)[LEASES]["serverRelativeURL"]
    assert answer.raw == b""


@behaviour(543, "A document without a hash is there, is not to be kept, and has an ETag for 304", source=KEP)
def test_etag(api: Api) -> None:
    answer = api("GET", f"/openapi/v3/{LEASES}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Cache-Control"] == "no-cache, private"
    again = api("GET", f"/openapi/v3/{LEASES}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.raw) == (304, b"")


@behaviour(544, "A document of what is not served is 404 without a body", source=OBSERVED)
def test_unknown(api: Api) -> None:
    for path in ("apis/example.com/v1", "api/v9", "nonsense"):
        answer = api("GET", f"/openapi/v3/{path}")
        assert (answer.status, answer.raw) == (404, b"")


@behaviour(545, "A document is OpenAPI 3.0.0 and names the minor version of the server", source=OPENAPI)
def test_head(api: Api) -> None:
    found = document(api)
    assert found["openapi"] == "3.0.0"
    about = api.get("/version")
    assert found["info"] == {"title": "Kubernetes", "version": f"{about['major']}.{about['minor']}"}
    assert found.keys() >= {"paths", "components"}


@behaviour(546, "A kind's schema says its group, version and kind, and refers to the metadata's", source=OPENAPI)
def test_schema_of_kind(api: Api) -> None:
    found = schema(api, LEASE, LEASES)
    assert found["type"] == "object"
    assert found["x-kubernetes-group-version-kind"] == [
        {"group": "coordination.k8s.io", "kind": "Lease", "version": "v1"}
    ]
    assert META in str(found["properties"]["metadata"])
    assert "LeaseSpec" in str(found["properties"]["spec"])
    listed = schema(api, f"{LEASE}List", LEASES)
    assert listed["required"] == ["items"]
    assert listed["x-kubernetes-group-version-kind"][0]["kind"] == "LeaseList"


@behaviour(547, "Every reference of a document is answered in it", source="OpenAPI Specification 3.0: Reference Object")
def test_references(api: Api) -> None:
    for path in (LEASES, "apis/apps/v1", "api/v1"):
        found = document(api, path)
        known = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
        assert set(references(found)) <= known


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [one for inner in value.values() for one in references(inner)]
    return [one for inner in value for one in references(inner)] if isinstance(value, list) else []


@behaviour(548, "Paths have their operations, with action, kind and what they take", source=OPENAPI)
def test_operations(api: Api) -> None:
    found = document(api)["paths"]
    collection = found["/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"]
    assert {"get", "post", "delete"} <= collection.keys()
    one = found["/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"]
    assert {"get", "put", "patch", "delete"} <= one.keys()
    assert "get" in found["/apis/coordination.k8s.io/v1/leases"]
    posted = collection["post"]
    assert posted["x-kubernetes-action"] == "post"
    assert posted["x-kubernetes-group-version-kind"]["kind"] == "Lease"
    assert {"dryRun", "fieldManager", "fieldValidation"} <= {given["name"] for given in posted["parameters"]}
    assert {given["name"] for given in one["parameters"]} >= {"name", "namespace"}


@behaviour(549, "A patch operation lists the patch types of its kind; custom kinds have no strategic one", source=KEP)
def test_patch_types(api: Api) -> None:
    built_in = patch_types(document(api), "leases")
    assert {"application/json-patch+json", "application/merge-patch+json"} <= built_in
    assert "application/strategic-merge-patch+json" in built_in
    with served(api, version(thing(size=NUMBER))) as custom:
        path = f"apis/{custom.group}/v1"
        api.eventually(lambda: api("GET", f"/openapi/v3/{path}").status == 200)
        found = patch_types(document(api, path), "things")
        assert {"application/json-patch+json", "application/merge-patch+json"} <= found
        assert "application/strategic-merge-patch+json" not in found


def patch_types(found: Any, plural: str) -> set[str]:
    (path,) = (one for one in found["paths"] if one.endswith(f"/{plural}/{{name}}") and "/watch/" not in one)
    return set(found["paths"][path]["patch"]["requestBody"]["content"])


@behaviour(550, "Lists say how they merge: list type, map keys, patch strategy and merge key", source=OPENAPI)
def test_merge_keys(api: Api) -> None:
    found = schema(api, "io.k8s.api.core.v1.PodSpec")["properties"]["containers"]
    assert (found["x-kubernetes-list-type"], found["x-kubernetes-list-map-keys"]) == ("map", ["name"])
    assert (found["x-kubernetes-patch-strategy"], found["x-kubernetes-patch-merge-key"]) == ("merge", "name")


@behaviour(551, "Numbers or texts have a schema of either", source=KEP)
def test_either(api: Api) -> None:
    found = schema(api, "io.k8s.apimachinery.pkg.util.intstr.IntOrString")
    assert (found["format"], found["oneOf"]) == ("int-or-string", [{"type": "integer"}, {"type": "string"}])
    found = schema(api, "io.k8s.apimachinery.pkg.api.resource.Quantity")
    assert found["oneOf"] == [{"type": "string"}, {"type": "number"}]


@behaviour(552, "A definition's schema is published as its own document, descriptions and all", source=OPENAPI)
def test_custom_document(api: Api) -> None:
    described = {**TEXT, "description": "what it is called"}
    with served(api, version(thing(color=described))) as custom:
        path = f"apis/{custom.group}/v1"
        api.eventually(lambda: path in index(api))
        found = document(api, path)
        (things,) = (
            one
            for one in found["components"]["schemas"].values()
            if {"group": custom.group, "version": "v1", "kind": "Thing"}
            in one.get("x-kubernetes-group-version-kind", ())
        )
        assert things["properties"]["spec"]["properties"]["color"] == described
        assert META in str(things["properties"]["metadata"])
        assert f"/{path}/namespaces/{{namespace}}/things/{{name}}" in found["paths"]
