"""Compression, limits, methods, and what browsers are told. Numbers 572 to 588."""

import gzip
import json

from asking import JSON_PATCH, MERGE, Api, config_map
from behaviours import behaviour

COMPRESSION = "API concepts: Response compression"
STATUSES = "API conventions: HTTP status codes"
OBSERVED = "observed on 1.34.2 and 1.36.3"
LARGE = 200_000
MOST = 3 << 20
NOT_ALLOWED = "the server does not allow this method on the requested resource"


def large(api: Api, name: str = "large") -> str:
    """The path of an object whose answer is worth compressing."""
    api.create(api.core("configmaps"), config_map(name, x="x" * LARGE))
    return api.core("configmaps", name)


@behaviour(572, "Large answers are compressed for those who accept gzip", source=COMPRESSION)
def test_compressed(api: Api) -> None:
    path = large(api)
    for accepted in ("gzip", "br, gzip, deflate"):
        answer = api("GET", path, headers={"Accept-Encoding": accepted})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "accept-encoding" in answer.headers["Vary"].lower()
        assert len(answer.raw) < LARGE
        assert json.loads(gzip.decompress(answer.raw))["data"] == {"x": "x" * LARGE}


@behaviour(573, "Small answers are never compressed", source=COMPRESSION)
def test_small(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    for path in (api.core("configmaps", "a"), api.core("configmaps"), "/version", "/apis"):
        answer = api("GET", path, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] is None
        assert answer.body


@behaviour(574, "No answer is compressed for those who do not name gzip as it is", source=OBSERVED)
def test_not_compressed(api: Api) -> None:
    path = large(api)
    assert api("GET", path).headers["Content-Encoding"] is None
    for accepted in ("identity", "deflate", "*", "gzip;q=0", "x-gzip"):
        answer = api("GET", path, headers={"Accept-Encoding": accepted})
        assert answer.headers["Content-Encoding"] is None, accepted
        assert answer.body["metadata"]["name"] == "large"


@behaviour(575, "Lists, YAML and answers to writes are compressed like objects", source=COMPRESSION)
def test_what_is_compressed(api: Api) -> None:
    path = large(api)
    wanted = {"Accept-Encoding": "gzip"}
    for answer in (
        api("GET", api.core("configmaps"), headers=wanted),
        api("GET", path, headers=wanted, accept="application/yaml"),
        api("PATCH", path, {"data": {"y": "1"}}, content_type=MERGE, headers=wanted),
    ):
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len(gzip.decompress(answer.raw)) > LARGE


@behaviour(576, "Bodies are not decompressed", source=OBSERVED)
def test_compressed_body(api: Api) -> None:
    body = gzip.compress(json.dumps(config_map("a")).encode())
    api("POST", api.core("configmaps"), body, headers={"Content-Encoding": "gzip"}).refused(400, "BadRequest")


@behaviour(577, "A watch is not compressed", source=OBSERVED)
def test_watch_is_not_compressed(api: Api) -> None:
    large(api)
    path = f"{api.core('configmaps')}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dlarge"
    answer = api("GET", path, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] is None
    assert json.loads(answer.raw.splitlines()[0])["type"] == "ADDED"


@behaviour(578, "A body of up to 3 MiB is read, a larger one is 413", source=OBSERVED)
def test_body_limit(api: Api) -> None:
    body = json.dumps(config_map("a"))
    assert api("POST", api.core("configmaps"), body.ljust(MOST)).status == 201
    words = "Request entity too large: limit is 3145728"
    api("POST", api.core("configmaps"), body.ljust(MOST + 1)).refused(413, "RequestEntityTooLarge", words)
    path = api.core("configmaps", "a")
    answer = api("PATCH", path, "{}".ljust(MOST + 1), content_type=MERGE)
    answer.refused(413, "RequestEntityTooLarge", words)
    api("DELETE", path, "{}".ljust(MOST + 1)).refused(413, "RequestEntityTooLarge", words)
    assert api("GET", path).status == 200


@behaviour(579, "The data of a config map are at most 1 MiB", source="Concepts: ConfigMaps, Motivation")
def test_data_limit(api: Api) -> None:
    assert api("POST", api.core("configmaps"), config_map("a", x="x" * (1 << 20))).status == 201
    answer = api("POST", api.core("configmaps"), config_map("b", x="x" * (1 << 20), y="y"))
    answer.refused(422, "Invalid", name="b", kind="ConfigMap")
    assert "Too long: may not be more than 1048576 bytes" in answer.body["message"]


@behaviour(580, "The annotations of an object are at most 256 KiB, keys and values together", source=OBSERVED)
def test_annotations_limit(api: Api) -> None:
    most = 256 << 10
    for name, length, status in (("a", most - 1, 201), ("b", most, 422)):
        obj = {"metadata": {"name": name, "annotations": {"k": "x" * length}}}
        assert api("POST", api.core("configmaps"), obj).status == status
    answer = api("POST", api.core("configmaps"), {"metadata": {"name": "c", "annotations": {"k": "x" * most}}})
    assert answer.causes() == {("metadata.annotations", "FieldValueTooLong")}


@behaviour(581, "A JSON patch has at most 10,000 operations", source=OBSERVED)
def test_patch_limit(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path, one = api.core("configmaps", "a"), {"op": "test", "path": "/metadata/name", "value": "a"}
    assert api("PATCH", path, [one] * 10_000, content_type=JSON_PATCH).status == 200
    answer = api("PATCH", path, [one] * 10_001, content_type=JSON_PATCH)
    answer.refused(413, "RequestEntityTooLarge")
    assert "The allowed maximum operations in a JSON patch is 10000, got 10001" in answer.body["message"]


@behaviour(582, "URLs of 60 kB and headers of 500 kB are taken, 2 MB of headers are 431", source=OBSERVED)
def test_head_limits(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path = api.core("configmaps", "a")
    assert api("GET", f"{path}?x={'y' * 60_000}").status == 200
    assert api("GET", path, headers={"X-Long": "y" * 500_000}).status == 200
    assert api("GET", path, headers={"X-Long": "y" * 2_000_000}).status == 431
    api.close()
    assert api("GET", path).status == 200


@behaviour(583, "Methods are 405 for collections, objects and reviews that do not have them", source=STATUSES)
def test_methods(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    for method, path in (
        ("POST", api.core("configmaps", "a")),
        ("PUT", api.core("configmaps")),
        ("PATCH", api.core("configmaps")),
        ("POST", "/api/v1/configmaps"),
        ("DELETE", "/api/v1/configmaps"),
        ("DELETE", "/api/v1/namespaces"),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("OPTIONS", api.core("configmaps")),
        ("TRACE", api.core("configmaps", "a")),
    ):
        answer = api(method, path, "{}" if method in ("POST", "PUT", "PATCH") else None)
        answer.refused(405, "MethodNotAllowed", NOT_ALLOWED)
        assert answer.body["details"] == {}


@behaviour(
    584, "A method that a subresource does not have is 405, whether there is such an object or not", source=STATUSES
)
def test_methods_of_subresources(api: Api) -> None:
    for method, path in (
        ("GET", api.core("pods", "x", "binding")),
        ("PUT", api.core("pods", "x", "binding")),
        ("GET", api.core("pods", "x", "eviction")),
        ("POST", api.core("pods", "x", "status")),
        ("DELETE", api.core("pods", "x", "status")),
        ("POST", api.path("apps/v1", "deployments", "x", "scale")),
        ("GET", api.core("serviceaccounts", "x", "token")),
    ):
        api(method, path, "{}" if method in ("POST", "PUT") else None).refused(405, "MethodNotAllowed", NOT_ALLOWED)


@behaviour(585, "HEAD is no method of resources", source=OBSERVED)
def test_head(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    for path in (api.core("configmaps"), api.core("configmaps", "a"), "/api/v1", "/version"):
        answer = api("HEAD", path)
        assert (answer.status, answer.raw) == (405, b"")


@behaviour(586, "Discovery of one version is read only; so is the version", source=OBSERVED)
def test_methods_of_discovery(api: Api) -> None:
    for path in ("/version", "/api/v1", "/apis/apps/v1"):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            api(method, path).refused(405, "MethodNotAllowed", NOT_ALLOWED)


@behaviour(587, "A resource, subresource or scope that is not there is 404, naming nothing", source=STATUSES)
def test_no_such_path(api: Api) -> None:
    for path in (
        api.core("nonsense"),
        api.core("configmaps", "a", "status"),
        api.core("configmaps", "a", "scale"),
        api.core("nodes"),
        api.core("pods", "x", "log/y"),
        "/apis/apps/v1/nonsense",
    ):
        answer = api("GET", path).refused(404, "NotFound", "the server could not find the requested resource")
        assert answer.body["details"] == {}


@behaviour(588, "Pages of other origins are told nothing: there is no CORS unless it is configured", source=OBSERVED)
def test_no_cors(api: Api) -> None:
    asked = {"Origin": "https://example.com", "Access-Control-Request-Method": "GET"}
    for method, path in (("GET", "/version"), ("GET", api.core("configmaps")), ("OPTIONS", api.core("configmaps"))):
        answer = api(method, path, headers=asked)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
