"""Whatever is sent, the answer is a 2xx or 4xx Status in one line, and nothing is half-written."""

import json
import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from example_counts import part_of

JSON = "application/json"
PATCH_TYPES = ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    ["metadata", "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "spec", "status", "containers",
     "tolerations", "nodeName", "priority", "data", "kind", "apiVersion", "uid", "resourceVersion", "$patch", "$retainKeys",
     "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "image", "resources", "limits", "cpu", "env"]
)  # fmt: skip
SHAPED = st.recursive(
    VALUES, lambda inner: st.dictionaries(FIELDS, inner, max_size=4) | st.lists(inner, max_size=3), max_leaves=12
)
POINTERS = st.lists(FIELDS | st.sampled_from(["0", "-", "~1"]), max_size=4).map(
    lambda parts: "".join(f"/{p}" for p in parts)
)
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": POINTERS},
        optional={"value": SHAPED, "from": POINTERS},
    ),
    max_size=4,
)

quick = settings(max_examples=part_of(120), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def fuzzed(running):
    """A client whose namespace all examples share."""
    client = type(running.client)(running.client.path, running.token, "fuzzed")
    client("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fuzzed"}})
    return client


def check(answer) -> None:
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        assert answer.body["kind"] == "Status"
        assert answer.body["code"] == answer.status
        assert answer.message
        assert "\n" not in answer.message
        assert "Traceback" not in answer.message


@quick
@given(st.binary(max_size=200))
def test_any_bytes_as_an_object(fuzzed, body: bytes) -> None:
    for content_type in (JSON, "application/yaml", "application/vnd.kubernetes.protobuf"):
        check(fuzzed("POST", fuzzed.core("pods"), body, content_type=content_type))
    check(fuzzed("POST", fuzzed.core("pods"), b"k8s\x00" + body, content_type="application/vnd.kubernetes.protobuf"))


@quick
@given(SHAPED)
def test_any_json_as_an_object(fuzzed, value: Any) -> None:
    check(fuzzed("POST", f"{fuzzed.core('pods')}?dryRun=All", json.dumps(value)))
    wrapped = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    if isinstance(value, dict):
        check(fuzzed("POST", f"{fuzzed.core('pods')}?dryRun=All", {**wrapped, **value}))
        check(fuzzed("POST", f"{fuzzed.core('pods')}?dryRun=All", {**wrapped, "metadata": {"name": "p", **value}}))
        check(fuzzed("POST", f"{fuzzed.core('pods')}?dryRun=All", {**wrapped, "spec": {**wrapped["spec"], **value}}))


@quick
@given(SHAPED, st.sampled_from(PATCH_TYPES))
def test_any_json_as_a_patch(fuzzed, make_deployment, patch: Any, content_type: str) -> None:
    path = fuzzed.apps("deployments", "d")
    fuzzed("POST", fuzzed.apps("deployments"), make_deployment())
    for suffix in ("", "/status", "/scale"):
        check(fuzzed("PATCH", f"{path}{suffix}?dryRun=All", json.dumps(patch), content_type=content_type))
        check(fuzzed("PATCH", f"{path}{suffix}?dryRun=All", {"spec": patch}, content_type=content_type))


@quick
@given(OPERATIONS)
def test_any_json_patch(fuzzed, make_pod, operations: list[dict[str, Any]]) -> None:
    fuzzed("POST", fuzzed.core("pods"), make_pod())
    check(fuzzed("PATCH", f"{fuzzed.core('pods', 'p')}?dryRun=All", operations, content_type=PATCH_TYPES[0]))


@quick
@given(SHAPED)
def test_any_json_as_a_subresource(fuzzed, make_pod, value: Any) -> None:
    fuzzed("POST", fuzzed.core("pods"), make_pod())
    check(fuzzed("POST", f"{fuzzed.core('pods', 'p', 'binding')}?dryRun=All", json.dumps(value)))
    check(fuzzed("POST", fuzzed.core("serviceaccounts", "default", "token"), json.dumps(value)))
    check(fuzzed("PUT", f"{fuzzed.apps('deployments', 'd', 'scale')}?dryRun=All", json.dumps(value)))
    check(fuzzed("PUT", "/api/v1/namespaces/fuzzed/finalize?dryRun=All", json.dumps(value)))
    check(fuzzed("DELETE", f"{fuzzed.core('pods', 'p')}?dryRun=All", json.dumps(value)))
    for kind in ("selfsubjectaccessreview", "subjectaccessreview", "selfsubjectrulesreview"):
        check(fuzzed("POST", f"/apis/authorization.k8s.io/v1/{kind}s", json.dumps(value)))
        check(fuzzed("POST", f"/apis/authorization.k8s.io/v1/{kind}s", {"spec": value}))
    check(fuzzed("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": value}))


CONFIGURED = st.fixed_dictionaries(
    {"metadata": st.just({"name": "fuzzed"})},
    optional={
        "spec": SHAPED,
        "webhooks": SHAPED,
        "rules": SHAPED,
        "roleRef": SHAPED,
        "subjects": SHAPED,
        "value": SHAPED,
    },
)


@quick
@given(CONFIGURED)
def test_any_json_as_configuration_of_the_server(fuzzed, obj: dict[str, Any]) -> None:
    """What the server itself reads back and indexes: it must refuse what it could not use."""
    for path in (
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        fuzzed.core("services"),
    ):
        answer = fuzzed("POST", path, obj)
        check(answer)
        if answer.status == 201:
            check(fuzzed("DELETE", f"{path}/fuzzed"))


PARAMETERS = st.sampled_from(
    ["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "timeoutSeconds",
     "sendInitialEvents", "allowWatchBookmarks", "dryRun", "fieldValidation", "gracePeriodSeconds", "propagationPolicy", "x"]
)  # fmt: skip


@quick
@given(
    st.dictionaries(
        PARAMETERS, st.text(max_size=12) | st.sampled_from(["a in (b)", "-1", "9" * 30, "e30", "Exact"]), max_size=4
    )
)
def test_any_query(fuzzed, query: dict[str, str]) -> None:
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    answer = fuzzed("GET", f"{fuzzed.core('configmaps')}?{text}")
    assert answer.status < 500 or answer.status == 504  # a version from the future
    check(fuzzed("DELETE", f"{fuzzed.core('secrets')}?{text}"))


@quick
@given(st.text(string.printable, max_size=30))
def test_any_path_and_raw_query(fuzzed, text: str) -> None:
    safe = quote(text, safe="/%?&=+:,;@")
    for prefix in ("/", "/api/v1/", "/apis/apps/v1/", "/api/v1/namespaces/", "/openapi/v3/"):
        try:
            answer = fuzzed("GET", prefix + safe)
        except (ValueError, ConnectionError):
            continue
        assert answer.status < 500 or answer.status == 504


@quick
@given(
    st.dictionaries(
        st.sampled_from(["Accept", "Content-Type", "Accept-Encoding", "Authorization", "Impersonate-User"]),
        st.text(string.printable.strip() + " ", max_size=30),
    )
)
def test_any_header(fuzzed, headers: dict[str, str]) -> None:
    clean = {name: value.strip() for name, value in headers.items()}
    client = type(fuzzed)(fuzzed.path, fuzzed.token, "fuzzed", headers=clean)
    assert client("GET", client.core("configmaps")).status < 500


@pytest.mark.parametrize("content_type", [JSON, "application/yaml"])
@pytest.mark.parametrize("depth", [200, 5_000, 100_000])
def test_deep_nesting_is_refused(api, content_type: str, depth: int) -> None:
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":' + "[" * depth + "]" * depth + "}"
    answer = api("POST", api.core("configmaps"), body, content_type=content_type)
    assert answer.status == 400
    check(answer)


def test_deep_nesting_inside_a_patch_is_refused(api, make_config_map) -> None:
    api.create(api.core("configmaps"), make_config_map())
    body = '{"a":' * 5_000 + "1" + "}" * 5_000
    for content_type in PATCH_TYPES:
        answer = api("PATCH", api.core("configmaps", "c"), body, content_type=content_type)
        assert answer.status == 400
        check(answer)


def test_more_than_three_mebibytes_are_too_much(api) -> None:
    body = json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "x" * (3 << 20)}}
    )
    answer = api("POST", api.core("configmaps"), body)
    assert (answer.status, answer.message) == (413, "Request entity too large: limit is 3145728")


@pytest.mark.parametrize(
    "body",
    [
        "a: &x [1]\nb: *x\n",
        "a: 1\na: 2\n",
        "? [1]\n: 2\n",
        "a: !!python/object:os.system x\n",
        "a: [\n",
        "--- 1\n--- 2\n",
        "a: \t- b\n",
        "a: .nan\n",
        "a: 0x" + "f" * 40 + "\n",
    ],
)
def test_yaml_that_is_more_than_data_is_refused(api, body: str) -> None:
    answer = api("POST", api.core("configmaps"), body, content_type="application/yaml")
    assert answer.status in (400, 422)
    check(answer)


@pytest.mark.parametrize("number", ["1e400", "99999999999999999999999", "-99999999999999999999999", "NaN", "Infinity"])
def test_numbers_beyond_64_bits_are_refused_or_dropped(api, number: str) -> None:
    body = f'{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"priority":{number},"containers":[{{"name":"c","image":"i"}}]}}}}'
    answer = api("POST", api.core("pods"), body)
    assert 400 <= answer.status < 500
    check(answer)


@pytest.mark.parametrize(
    "body", [b'"\\ud800"', b'{"metadata":{"name":"\\ud800"}}', b'{"a":"\xff"}', b"", b"{", b"[]", b"null", b"1"]
)
def test_broken_text_is_refused(api, body: bytes) -> None:
    answer = api("POST", api.core("configmaps"), body)
    assert answer.status in (400, 422)
    check(answer)


def test_unknown_media_types_are_named_with_what_is_read(api) -> None:
    answer = api("POST", api.core("configmaps"), "x", content_type="text/plain")
    assert answer.status == 415
    assert "application/json, application/yaml" in answer.message
