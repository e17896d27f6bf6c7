"""Health, version and the index of paths. Numbers 590 to 599."""

from asking import Answer, Api
from behaviours import behaviour

HEALTH = "Reference: Kubernetes API health endpoints"
OBSERVED = "observed on 1.34.2 and 1.36.3"
ENDPOINTS = ("/healthz", "/livez", "/readyz")
TEXT = "text/plain; charset=utf-8"


def lines(answer: Answer) -> list[str]:
    assert answer.status == 200
    return answer.raw.decode().splitlines()


@behaviour(590, "A healthy server says ok, to anybody", source=HEALTH)
def test_ok(api: Api) -> None:
    for client in (api, api.as_user("")):
        for path in ENDPOINTS:
            answer = client("GET", path)
            assert (answer.status, answer.raw) == (200, b"ok")
            assert answer.headers["Content-Type"] == TEXT
            assert answer.headers["Cache-Control"] == "no-cache, private"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        client.close()


@behaviour(591, "verbose lists every check and says that all passed", source=HEALTH)
def test_verbose(api: Api) -> None:
    for path in ENDPOINTS:
        found = lines(api("GET", f"{path}?verbose"))
        assert found[0] == "[+]ping ok"
        assert {"[+]log ok", "[+]etcd ok"} <= set(found)
        assert all(line.startswith("[+]") and line.endswith(" ok") for line in found[:-1])
        assert found[-1] == f"{path[1:]} check passed"


@behaviour(592, "Readiness checks more than life: informers, and that no shutdown is under way", source=HEALTH)
def test_readiness(api: Api) -> None:
    ready, alive = set(lines(api("GET", "/readyz?verbose"))), set(lines(api("GET", "/livez?verbose")))
    assert {"[+]informer-sync ok", "[+]shutdown ok"} <= ready
    assert not {"[+]informer-sync ok", "[+]shutdown ok"} & alive


@behaviour(593, "Excluded checks are listed as such", source=HEALTH)
def test_exclude(api: Api) -> None:
    found = lines(api("GET", "/livez?verbose&exclude=etcd&exclude=ping"))
    assert {"[+]etcd excluded: ok", "[+]ping excluded: ok", "[+]log ok"} <= set(found)
    assert found[-1] == "livez check passed"
    assert api("GET", "/livez?exclude=etcd").raw == b"ok"


@behaviour(594, "Excluding what is no check is a warning", source=OBSERVED)
def test_exclude_unknown(api: Api) -> None:
    found = lines(api("GET", "/livez?verbose&exclude=nonsense&exclude=foo"))
    assert found[-2] == 'warn: some health checks cannot be excluded: no matches for "foo","nonsense"'
    assert found[-1] == "livez check passed"
    assert api("GET", "/livez?exclude=nonsense").raw == b"ok"


@behaviour(595, "Each check has a path of its own; what is no check is no page", source=HEALTH)
def test_single_checks(api: Api) -> None:
    for path in ENDPOINTS:
        for check in ("ping", "etcd", "log"):
            answer = api("GET", f"{path}/{check}")
            assert (answer.status, answer.raw, answer.headers["Content-Type"]) == (200, b"ok", TEXT)
        assert api("GET", f"{path}/ping?verbose").raw == b"ok"
        for unknown in ("nonsense", "ping/x", ""):
            assert api("GET", f"{path}/{unknown}").raw == b"404 page not found\n"
    assert api("GET", "/readyz/informer-sync").status == 200
    assert api("GET", "/livez/informer-sync").status == 404


@behaviour(596, "Health does not depend on what is accepted, nor on the method", source=OBSERVED)
def test_any_request(api: Api) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert api(method, "/healthz").raw == b"ok"
    assert api("GET", "/readyz", accept="text/html").raw == b"ok"
    head = api("HEAD", "/livez")
    assert (head.status, head.raw) == (200, b"")


@behaviour(
    597, "/version says major, minor and the whole version, and what it was built with", source="API reference: version"
)
def test_version(api: Api) -> None:
    answer = api("GET", "/version")
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.body
    assert found["gitVersion"].startswith(f"v{found['major']}.{found['minor']}.")
    assert {"gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"} <= found.keys()
    assert (found["emulationMajor"], found["emulationMinor"]) == (found["major"], found["minor"])
    assert int(found["minCompatibilityMinor"]) == int(found["minor"]) - 1
    assert api.get("/version/") == found


@behaviour(598, "/version is JSON or 406; below it there is nothing", source=OBSERVED)
def test_version_forms(api: Api) -> None:
    api("GET", "/version", accept="text/html").refused(406, "NotAcceptable")
    assert api("GET", "/version", accept="application/yaml").status == 406
    api("GET", "/version/x").refused(404, "NotFound", "the server could not find the requested resource")


@behaviour(599, "/ lists the paths that there are", source=OBSERVED)
def test_paths(api: Api) -> None:
    answer = api("GET", "/", accept="text/html")
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.body["paths"]
    assert found == sorted(found)
    assert {"/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/version", "/metrics"} <= set(found)
    assert {"/healthz", "/livez", "/livez/ping", "/readyz", "/openapi/v2", "/openapi/v3"} <= set(found)
