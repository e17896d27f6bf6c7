"""Requests that are unusual, but right, or wrong in a way of their own. Numbers 975 to 999."""

import base64
import json

from asking import STRATEGIC, Api, config_map, deployment, query
from behaviours import behaviour

OBSERVED = "observed on 1.34.2"


@behaviour(
    975,
    "A list in chunks that states a version is that version's, one without a limit any later one's",
    source="API concepts: Semantics for get and list",
)
def test_chunks_of_a_version(api: Api) -> None:
    first = api.create(api.core("configmaps"), config_map("a", labels={"n": "a"}, v="1"))
    version = first["metadata"]["resourceVersion"]
    api.merge(api.core("configmaps", "a"), {"data": {"v": "2"}})
    api.create(api.core("configmaps"), config_map("b", labels={"n": "b"}))
    for parameters, wanted in (
        ({"limit": 500}, [{"v": "1"}]),
        ({"limit": 1}, [{"v": "1"}]),
        ({}, [{"v": "2"}, None]),
        ({"limit": 500, "resourceVersionMatch": "NotOlderThan"}, [{"v": "2"}, None]),
    ):
        asked = query(labelSelector="n", resourceVersion=version, **parameters)
        found = api.get(f"{api.core('configmaps')}?{asked}")
        assert [item.get("data") for item in found["items"]] == wanted, parameters
        assert (found["metadata"]["resourceVersion"] == version) is (len(wanted) == 1)


@behaviour(
    976,
    "A watch that begins with the state says where that ends to those who take bookmarks, asked for or not",
    source="API concepts: Streaming lists",
)
def test_end_of_state(api: Api) -> None:
    made = api.create(api.core("configmaps"), config_map("a", labels={"n": "a"}))
    for version in ("", "0"):
        asked = query(labelSelector="n", allowWatchBookmarks="true", timeoutSeconds=10, resourceVersion=version)
        with api.watch(api.core("configmaps"), asked) as stream:
            assert stream.take(1) == [("ADDED", "a")]
            end = stream.next()
            assert end["type"] == "BOOKMARK"
            assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert int(end["object"]["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])


@behaviour(977, "A body of null is an empty object", source=OBSERVED)
def test_null(api: Api) -> None:
    path = api.core("configmaps")
    for content_type in ("application/json", "application/yaml"):
        answer = api("POST", path, "null", content_type=content_type).refused(422, "Invalid", kind="ConfigMap")
        assert answer.causes() == {("metadata.name", "FieldValueRequired")}
    why = "the name of the object (a based on URL) was undeterminable: name must be provided"
    api("PUT", f"{path}/a", "null").refused(400, "BadRequest", why)
    api("POST", api.core("pods"), "null").refused(422, "Invalid", kind="Pod")


@behaviour(978, "A client that takes nothing served is told so with empty details", source=OBSERVED)
def test_not_acceptable(api: Api) -> None:
    for accept in ("text/plain", "application/*", "image/png"):
        for path in (api.core("configmaps", "a"), "/api/v1", "/version"):
            answer = api("GET", path, accept=accept).refused(406, "NotAcceptable")
            assert answer.body["details"] == {}
            assert answer.body["message"].startswith("406: Not Acceptable\n\nAvailable representations: application/j")
    answer = api("GET", "/apis/apps", accept="text/plain").refused(406, "NotAcceptable")
    assert answer.body["message"].startswith("only the following media types are accepted: application/json")
    assert api("GET", "/apis/apps", accept="application/*").status == 200


@behaviour(979, "A patch of a media type that is no patch's is 415", source=OBSERVED)
def test_no_patch(api: Api) -> None:
    for content_type in ("application/json", "text/plain"):
        answer = api("PATCH", api.core("configmaps", "a"), "{}", content_type=content_type)
        answer.refused(415, "UnsupportedMediaType", "415: Unsupported Media Type")
        assert answer.body["details"] == {}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/none.example.com"
    assert api("PATCH", path, {}, content_type=STRATEGIC).status == 404


@behaviour(980, "An owner that is named twice is kept once, with a warning", source=OBSERVED)
def test_owner_twice(api: Api) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "5b4c0c1e-0000-4000-8000-000000000000"}
    obj = config_map("a")
    obj["metadata"]["ownerReferences"] = [owner, {**owner, "name": "p"}, owner]
    answer = api("POST", f"{api.core('configmaps')}?dryRun=All", obj)
    assert answer.status == 201
    assert answer.body["metadata"]["ownerReferences"] == [owner, {**owner, "name": "p"}]
    (warning,) = answer.warnings
    assert warning.startswith(".metadata.ownerReferences contains duplicate entries; ")
    assert warning.endswith(f"duplicate UID(s) observed: {owner['uid']}")


@behaviour(
    981,
    "The version of an owner's kind is a group and a version at most",
    source="API reference: ObjectMeta: ownerReferences",
)
def test_owner_version(api: Api) -> None:
    for version, good in (("a/b/c", False), ("a/", False), ("", False), ("/v1", True), ("a/v1", True)):
        obj = config_map("a")
        obj["metadata"]["ownerReferences"] = [{"apiVersion": version, "kind": "K", "name": "o", "uid": "u"}]
        answer = api("POST", f"{api.core('configmaps')}?dryRun=All", obj)
        if good:
            assert answer.status == 201, version
            continue
        answer.refused(422, "Invalid")
        assert answer.causes() == {("metadata.ownerReferences.apiVersion", "FieldValueInvalid")}
        assert answer.body["message"].endswith(f'Invalid value: "{version}": version must not be empty')


@behaviour(982, "A name with a per cent sign is none", source="Concepts: Object names, path segment names")
def test_per_cent(api: Api) -> None:
    why = "Name parameter invalid: \"a%b\": may not contain '%'"
    api("GET", api.core("configmaps", "a%25b")).refused(400, "BadRequest", why)


@behaviour(983, "An object is not exported any more", source=OBSERVED)
def test_export(api: Api) -> None:
    why = "the export parameter, deprecated since v1.14, is no longer supported"
    api("GET", f"{api.core('configmaps', 'a')}?export=true").refused(400, "BadRequest", why)


@behaviour(984, "A parameter with an escape that is none counts as not there", source=OBSERVED)
def test_bad_escape(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", labels={"n": "a"}))
    found = api.get(f"{api.core('configmaps')}?labelSelector=%zz&fieldSelector=metadata.name%3Da")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]


@behaviour(
    985, "Kinds with selectable fields of their own know no others, and say so in words of their own", source=OBSERVED
)
def test_unknown_fields(api: Api) -> None:
    other = '"x" is not a known field selector: only "metadata.name", "metadata.namespace"'
    for path, field, why in (
        ("/api/v1/nodes", "metadata.namespace", "field label not supported: metadata.namespace"),
        ("/api/v1/namespaces", "metadata.namespace", "field label not supported: metadata.namespace"),
        ("/apis/batch/v1/jobs", "x", 'field label "x" not supported for Job'),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", "x", other),
    ):
        api("GET", f"{path}?fieldSelector={field}%3Da").refused(400, "BadRequest", why)
    assert (
        api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles?fieldSelector=metadata.namespace%3Da")["items"] == []
    )


@behaviour(986, "Jobs are selected by how many of their pods have succeeded", source="Concepts: Field selectors")
def test_successful_jobs(api: Api) -> None:
    job = {
        "metadata": {"name": "j"},
        "spec": {"suspend": True, "template": {**deployment()["spec"]["template"]}},
    }
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    api.create(api.path("batch/v1", "jobs"), job)
    for value, wanted in (("0", 1), ("1", 0)):
        asked = query(fieldSelector=f"status.successful={value}")
        assert len(api.get(f"{api.path('batch/v1', 'jobs')}?{asked}")["items"]) == wanted


@behaviour(987, "Every answer names its request, by the client's own name for it if it has one", source="Auditing")
def test_audit_id(api: Api) -> None:
    found = [api("GET", path).headers["Audit-Id"] for path in ("/version", api.core("configmaps", "a"), "/healthz")]
    assert len(set(found)) == 3
    assert api("GET", "/version", headers={"Audit-ID": "mine"}).headers["Audit-Id"] == "mine"


@behaviour(
    988,
    "Who checks tokens by himself finds the issuer's documents and keys",
    source="Configure service accounts: Service account issuer discovery",
)
def test_issuer(api: Api) -> None:
    found = api("GET", "/.well-known/openid-configuration")
    assert (found.status, found.headers["Cache-Control"]) == (200, "public, max-age=3600")
    document = found.body
    keys_path = document["jwks_uri"].removeprefix("https://").partition("/")[2]
    answer = api("GET", f"/{keys_path}", accept="*/*")
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    api("GET", f"/{keys_path}").refused(406, "NotAcceptable")

    api.furnished()
    path = api.core("serviceaccounts", "default", "token")
    token = api.create(path, {"spec": {}})["status"]["token"]
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    assert claims["iss"] == document["issuer"]
    assert header["alg"] in document["id_token_signing_alg_values_supported"]
    (key,) = [found for found in answer.body["keys"] if found["kid"] == header["kid"]]
    assert (key["use"], key["alg"]) == ("sig", header["alg"])
    assert Api(api.address, token=token, _namespace=api.namespace)("GET", f"/{keys_path}", accept="*/*").status == 200
    assert api.as_user(Impersonate_User="nobody")("GET", f"/{keys_path}", accept="*/*").status == 403


@behaviour(989, "The resources of the core group are listed without the list's own version", source=OBSERVED)
def test_core_resources(api: Api) -> None:
    assert "apiVersion" not in api.get("/api/v1")
    assert api.get("/apis/apps/v1")["apiVersion"] == "v1"


@behaviour(990, "The index of OpenAPI v3 says of itself that it is text", source=OBSERVED)
def test_index_type(api: Api) -> None:
    found = api("GET", "/openapi/v3")
    assert (found.headers["Content-Type"], set(found.body)) == ("text/plain; charset=utf-8", {"paths"})
