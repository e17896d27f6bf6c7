"""What bodies may be, and what answers are: JSON, YAML, pretty or not. Numbers 555 to 571."""

import json

import yaml

from asking import MERGE, Answer, Api, config_map
from behaviours import behaviour

NEGOTIATION = "API concepts: Alternate representations of resources"
STATUSES = "API conventions: HTTP status codes"
OBSERVED = "observed on 1.34.2 and 1.36.3"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def post(
    api: Api, body: str | bytes, content_type: str = "application/json", accept: str = "application/json"
) -> Answer:
    return api("POST", api.core("configmaps"), body, content_type=content_type, accept=accept)


def unrecognized(answer: Answer) -> None:
    answer.refused(400, "BadRequest")
    wanted = "the object provided is unrecognized (must be of type ConfigMap): "
    assert answer.body["message"].startswith(wanted), answer.body


@behaviour(555, "Objects may be sent as YAML", source=NEGOTIATION)
def test_yaml_body(api: Api) -> None:
    answer = post(api, "metadata:\n  name: a\ndata:\n  x: '1'\n", YAML)
    assert (answer.status, answer.body["data"]) == (201, {"x": "1"})


@behaviour(556, "Objects may be had as YAML, whatever they were sent as", source=NEGOTIATION)
def test_yaml_answer(api: Api) -> None:
    answer = post(api, json.dumps(config_map("a", x="1")), accept=YAML)
    assert (answer.status, answer.headers["Content-Type"]) == (201, YAML)
    found = yaml.safe_load(answer.raw)
    assert found == yaml.safe_load(api("GET", api.core("configmaps", "a"), accept=YAML).raw)
    assert (found["kind"], found["data"]) == ("ConfigMap", {"x": "1"})


@behaviour(557, "Refusals come in the form that was asked for", source=NEGOTIATION)
def test_yaml_refusals(api: Api) -> None:
    refusals = (
        (api("GET", api.core("configmaps", "a"), accept=YAML), 404),
        (api("POST", api.core("configmaps"), {}, accept=YAML), 422),
        (api("DELETE", "/api/v1/namespaces", accept=YAML), 405),
        (api("GET", "/api/v1/nonsense", accept=YAML), 404),
        (api.as_user("nobody")("GET", "/api/v1/pods", accept=YAML), 401),
    )
    for answer, code in refusals:
        assert (answer.status, answer.headers["Content-Type"]) == (code, YAML)
        found = yaml.safe_load(answer.raw)
        assert (found["kind"], found["code"]) == ("Status", code)


@behaviour(558, "The first of the accepted types that is known is given, by quality", source=NEGOTIATION)
def test_quality(api: Api) -> None:
    for accept, given in (
        ("application/json;q=0.1, application/yaml", YAML),
        ("application/yaml;q=0.2, application/json;q=0.3", "application/json"),
        ("application/yaml;q=0.9, */*;q=0.1", YAML),
        ("text/html, application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
    ):
        assert api("GET", api.core("configmaps"), accept=accept).headers["Content-Type"] == given, accept


@behaviour(559, "No known type among the accepted ones is 406, which lists those that are", source=STATUSES)
def test_not_acceptable(api: Api) -> None:
    for accept in ("text/html", "application/xml, text/plain", "nonsense", "text/*", "text/yaml", "application/x-yaml"):
        answer = api("GET", api.core("configmaps"), accept=accept).refused(406, "NotAcceptable")
        assert answer.body["message"].startswith("406: Not Acceptable\n\nAvailable representations: application/json")
        assert YAML in answer.body["message"]


@behaviour(560, "What cannot be answered is not done", source=OBSERVED)
def test_not_acceptable_write(api: Api) -> None:
    post(api, json.dumps(config_map("a")), accept="text/html").refused(406, "NotAcceptable")
    api("GET", api.core("configmaps", "a")).refused(404, "NotFound")


@behaviour(561, "A body of another type is 415, which lists those that are known", source=STATUSES)
def test_unsupported(api: Api) -> None:
    body = json.dumps(config_map("a"))
    for content_type in ("text/plain", "application/xml", "nonsense", "*/*", "text/yaml", "application/x-yaml", MERGE):
        answer = post(api, body, content_type).refused(415, "UnsupportedMediaType")
        assert "accepted media types include: application/json, application/yaml" in answer.body["message"]


@behaviour(562, "A body without a type is JSON; parameters of a type do not matter", source=OBSERVED)
def test_default_type(api: Api) -> None:
    for number, content_type in enumerate(("", "application/json; charset=utf-8", "application/json;x=y")):
        assert post(api, json.dumps(config_map(f"c{number}")), content_type).status == 201


@behaviour(563, "A patch of a type that is no patch is 415", source=STATUSES)
def test_patch_types(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    for content_type in ("application/json", YAML, "text/plain", ""):
        answer = api("PATCH", api.core("configmaps", "a"), "{}", content_type=content_type)
        answer.refused(415, "UnsupportedMediaType")
    answer = api("PATCH", api.core("configmaps", "a"), "{}", content_type=f"{MERGE}; charset=utf-8")
    assert answer.status == 200


@behaviour(564, "A body that does not parse is 400 and says which kind was wanted", source=STATUSES)
def test_broken(api: Api) -> None:
    for body in ('{"metadata":', "", "metadata: {}", "[]", "3", '{"metadata":{"name":"a"}}x', "[" * 20000):
        unrecognized(post(api, body))
    for body in ("- a\n", "a: [", "a: b: c"):
        unrecognized(post(api, body, YAML))


@behaviour(565, "A body of protocol buffers begins with the magic number, or is 400", source="API concepts: Protobuf")
def test_magic_number(api: Api) -> None:
    for body in (b"abc", b"{}", b"k8s"):
        unrecognized(post(api, body, PROTOBUF))


@behaviour(566, "A body of another kind, version or group than the URL's is 400", source=OBSERVED)
def test_other_kind(api: Api) -> None:
    for kind, version in (("Secret", "v1"), ("ConfigMap", "v2"), ("ConfigMap", "apps/v1")):
        answer = post(api, json.dumps({**config_map("a"), "kind": kind, "apiVersion": version}))
        answer.refused(400, "BadRequest")
        assert f'{kind} in version "{version.rpartition("/")[2]}" cannot be handled as a ConfigMap' in str(answer.body)


@behaviour(567, "pretty=true gives JSON with a line for each field", source="API reference: Common parameters, pretty")
def test_pretty(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a", x="1"))
    plain = api("GET", api.core("configmaps", "a"))
    for asked in ("true", "1"):
        answer = api("GET", f"{api.core('configmaps', 'a')}?pretty={asked}")
        assert answer.body == plain.body
        assert b'\n  "metadata": {\n    "' in answer.raw
    for asked in ("false", "0", "nonsense"):
        assert b"\n  " not in api("GET", f"{api.core('configmaps', 'a')}?pretty={asked}").raw
    assert b"\n  " not in plain.raw
    answer = api("GET", f"{api.core('configmaps', 'b')}?pretty=true").refused(404, "NotFound")
    assert b'\n  "kind": "Status",\n' in answer.raw


@behaviour(
    568, "Browsers, curl and wget get pretty JSON without asking", source="API reference: Common parameters, pretty"
)
def test_pretty_for_people(api: Api) -> None:
    for agent, pretty in (
        ("curl/8.5.0", True),
        ("Wget/1.21", True),
        ("Mozilla/5.0 (X11)", True),
        ("kubectl/v1", False),
    ):
        answer = api("GET", api.core("secrets"), headers={"User-Agent": agent})
        assert (b"\n  " in answer.raw) is pretty, agent
    answer = api("GET", f"{api.core('secrets')}?pretty=false", headers={"User-Agent": "curl/8.5.0"})
    assert b"\n  " not in answer.raw


@behaviour(569, "A watch is a stream of JSON, never of YAML", source="API concepts: Efficient detection of changes")
def test_watch_types(api: Api) -> None:
    path = api.core("configmaps")
    with api.watch(path, "timeoutSeconds=1", accept="application/json;stream=watch") as stream:
        assert (stream.status, stream.headers["Transfer-Encoding"]) == (200, "chunked")
        assert stream.headers["Content-Type"] == "application/json"
    for accept in (YAML, "text/html"):
        with api.watch(path, "timeoutSeconds=1", accept=accept) as stream:
            assert stream.status == 406


@behaviour(570, "Options of a deletion may be YAML", source=OBSERVED)
def test_yaml_options(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path, options = api.core("configmaps", "a"), "kind: DeleteOptions\napiVersion: v1\ndryRun: [All]\n"
    assert api("DELETE", path, options, content_type=YAML).status == 200
    assert api("GET", path).status == 200
    api("DELETE", path, options, content_type="text/plain").refused(415, "UnsupportedMediaType")


@behaviour(571, "Answers about objects are not to be cached", source=OBSERVED)
def test_no_cache(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    for answer in (
        api("GET", api.core("configmaps", "a")),
        api("GET", api.core("configmaps")),
        api("GET", api.core("configmaps", "b")),
    ):
        assert answer.headers["Cache-Control"] == "no-cache, private"
        assert answer.headers["ETag"] is None
