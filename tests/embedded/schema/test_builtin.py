"""What built-in objects become when they are decoded, beyond the recorded answers."""

import base64
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.facts import load_facts
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.schema.builtin.pods import qos_class
from tensorfusion.embedded.schema.computed import ANSWERED
from tensorfusion.embedded.schema.decode import DEEPEST, compile_decoder
from tensorfusion.embedded.schema.scalars import Mismatch, canonical_quantity
from tensorfusion.embedded.schema.settling import compile_settling
from tensorfusion.errors import BadRequest, Invalid
from tensorfusion.units import parse_quantity

KINDS = Kinds.builtin()
PODS = KINDS.find("", "v1", "pods").schema


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "namespace": "d"},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def test_every_default_that_the_facts_call_computed_has_a_function() -> None:
    definitions = load_facts().definitions
    named = {
        (name.rsplit(".", 1)[-1], field) for name, schema in definitions.items() for field in schema.get("computed", ())
    }
    assert named <= ANSWERED


DEFINITIONS = load_facts().definitions
SHOWN = [
    (name, field, schema["properties"][field].get("type") == "array", blank)
    for name, schema in DEFINITIONS.items()
    for field, blank in schema.get("shown", {}).items()
]


@pytest.mark.parametrize(("name", "field", "is_list", "blank"), SHOWN)
def test_what_is_always_shown_is_empty_as_soon_as_it_is_stored(
    name: str, field: str, is_list: bool, blank: str | int | None
) -> None:
    decode = compile_decoder(DEFINITIONS, name)
    settle = compile_settling(DEFINITIONS, name) or (lambda _: None)
    for written in ({}, {field: None}, {field: []}) if is_list else ({}, {field: None}):
        found = decode(dict(written), None, [])
        assert found[field] == ([] if written.get(field) == [] else blank)  # its writer owns an empty list
        settle(found)
        assert found[field] == blank
        assert decode(copy.deepcopy(found), None, []) == found


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("i", "Always"),
        ("i:latest", "Always"),
        ("i:1", "IfNotPresent"),
        ("r:5000/i", "Always"),
        ("r:5000/i:1", "IfNotPresent"),
        ("i@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_image(image: str, policy: str) -> None:
    obj = pod(containers=[{"name": "c", "image": image}])
    PODS.prepare(obj)
    assert obj["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_an_override_of_the_host_name_belongs_to_a_feature_that_is_off() -> None:
    obj = pod(hostnameOverride="h")
    assert not PODS.prepare(obj)
    assert "hostnameOverride" not in obj["spec"]


def test_requests_follow_limits_in_pods_but_not_in_templates() -> None:
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}
    obj = pod(containers=[copy.deepcopy(container)])
    PODS.prepare(obj)
    assert obj["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    deployment = {"spec": {"template": {"spec": {"containers": [copy.deepcopy(container)]}}}}
    KINDS.find("apps", "v1", "deployments").schema.prepare(deployment)
    inner = deployment["spec"]["template"]["spec"]
    assert "requests" not in inner["containers"][0]["resources"]
    assert "enableServiceLinks" not in inner


def test_defaults_are_not_shared_between_objects() -> None:
    first, second = pod(), pod()
    PODS.prepare(first)
    PODS.prepare(second)
    first["spec"]["securityContext"]["runAsUser"] = 1
    assert second["spec"]["securityContext"] == {}


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS.all() if "list" in kind.verbs], ids=lambda kind: kind.resource.id
)
def test_preparing_twice_changes_nothing_more(kind: Any) -> None:
    obj: dict[str, Any] = {"metadata": {"name": "x"}, "spec": {}, "status": {}}
    kind.schema.prepare(obj)
    again = copy.deepcopy(obj)
    assert kind.schema.prepare(again) == []
    assert again == obj


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000", "1k"),
        ("1e3", "1e3"),
        ("0.5Ki", "512"),
        ("0Gi", "0"),
        ("-1", "-1"),
        ("0.1n", "1n"),
        ("2.5Mi", "2560Ki"),
        ("123456789123", "123456789123"),
    ],
)
def test_quantities_take_the_form_that_a_real_server_gives_them(written: str, canonical: str) -> None:
    assert canonical_quantity(written) == canonical


@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3", "u", "n"]))
def test_the_canonical_form_of_a_quantity_is_the_same_amount_and_stable(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    canonical = canonical_quantity(text)
    assert parse_quantity(canonical) == parse_quantity(text)
    assert canonical_quantity(canonical) == canonical


@pytest.mark.parametrize("text", ["", "1 ", "1\n", "\u0661", "Gi", "1Q", "--1", "1e", "NaN"])
def test_nonsense_is_no_quantity(text: str) -> None:
    with pytest.raises(Mismatch):
        canonical_quantity(text)


def test_an_endless_number_is_no_quantity() -> None:
    resources = {"limits": {"cpu": "9" * 100}}
    with pytest.raises(BadRequest, match="quantities must match"):
        PODS.prepare(pod(containers=[{"name": "c", "image": "i", "resources": resources}]))


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1", "memory": "1"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1"}}, {}], "Burstable"),
        ([{"limits": {"nvidia.com/gpu": "1"}}], "BestEffort"),
    ],
)
def test_the_quality_of_service_follows_requests_and_limits(resources: list[dict[str, Any]], wanted: str) -> None:
    assert qos_class({"containers": [{"resources": item} for item in resources]}) == wanted


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_free_json_may_not_be_absurdly_deep() -> None:
    managed = {"manager": "m", "fieldsV1": nested(DEEPEST + 1)}
    obj = pod()
    obj["metadata"]["managedFields"] = [managed]
    with pytest.raises(BadRequest, match="nested deeper than"):
        PODS.prepare(obj)


def test_a_schema_inside_a_schema_has_an_end() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}}
    crd = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}
    with pytest.raises(BadRequest, match="nested deeper than"):
        KINDS.find("apiextensions.k8s.io", "v1", "customresourcedefinitions").schema.prepare(crd)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(["metadata", "spec", "status", "containers", "name", "resources", "ports", "labels", "x"])
objects = st.dictionaries(field_names, json_values | st.dictionaries(field_names, json_values, max_size=4), max_size=5)


@given(st.sampled_from([kind for kind in KINDS.all() if "list" in kind.verbs]), objects)
def test_any_json_is_accepted_or_refused_never_a_crash(kind: Any, obj: dict[str, Any]) -> None:
    try:
        kind.schema.prepare(obj)
        kind.schema.validate(obj)
    except (BadRequest, Invalid) as error:
        assert "\n" not in str(error)


def test_a_status_write_is_not_held_up_by_a_broken_spec() -> None:
    obj = pod(containers=[])
    PODS.prepare(obj)
    PODS.validate(obj, copy.deepcopy(obj), subresource="status")
    with pytest.raises(Invalid):
        PODS.validate(obj)


def test_only_the_two_system_priority_classes_may_lie_above_the_users_range() -> None:
    schema = KINDS.by_id("priorityclasses.scheduling.k8s.io").schema
    schema.validate({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000})
    schema.validate({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_000})
    with pytest.raises(Invalid, match="maximum allowed value"):
        schema.validate({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_001})


def test_merge_keys_come_with_the_schema() -> None:
    shape = PODS.patch_shape
    assert shape is not None
    containers = shape.child("spec").child("containers")  # type: ignore[union-attr]
    assert containers is not None
    assert (containers.merge_key, containers.strategies) == ("name", {"merge"})
    assert containers.items is not None
    ports = containers.items.child("ports")
    assert ports is not None
    assert ports.merge_key == "containerPort"
    strategy = KINDS.find("apps", "v1", "deployments").schema.patch_shape.child("spec").child("strategy")  # type: ignore[union-attr]
    assert strategy is not None
    assert strategy.strategies == {"retainKeys"}
    assert shape.child("nothing") is None


def test_a_null_amount_counts_as_nothing() -> None:
    schema = Kinds.builtin().find("", "v1", "pods").schema
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": None}}}
    pod: dict[str, Any] = {"metadata": {"name": "x", "namespace": "d"}, "spec": {"containers": [container]}}
    schema.prepare(pod)
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "0"}
    schema.validate(pod)


@pytest.mark.parametrize("address", ["010.0.0.1", "::ffff:010.0.0.1"])
def test_addresses_may_be_written_with_zeros_in_front(address: str) -> None:
    service = {"metadata": {"name": "x", "namespace": "d"}, "spec": {"ports": [{"port": 80}], "externalIPs": [address]}}
    endpoints = {"metadata": {"name": "x", "namespace": "d"}, "subsets": [{"addresses": [{"ip": address}]}]}
    for plural, obj in (("services", service), ("endpoints", endpoints)):
        schema = KINDS.find("", "v1", plural).schema
        schema.prepare(obj)
        schema.validate(obj)


@pytest.mark.parametrize("url", ["https://[x", "https://[x]/", "https://a\u2100b/"])
def test_a_url_that_cannot_be_taken_apart_is_refused(url: str) -> None:
    schema = KINDS.by_id("mutatingwebhookconfigurations.admissionregistration.k8s.io").schema
    hook = {"name": "a.b.c", "clientConfig": {"url": url}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    obj: dict[str, Any] = {"metadata": {"name": "x"}, "webhooks": [hook]}
    schema.prepare(obj)
    with pytest.raises(Invalid, match=r"clientConfig\.url: Required value: url must be a valid URL: parse"):
        schema.validate(obj)


@pytest.mark.timeout(30)
def test_a_long_field_path_is_read_once() -> None:
    reference = {"fieldRef": {"fieldPath": "['" * 500_000}}
    obj = pod(containers=[{"name": "c", "image": "i", "env": [{"name": "A", "valueFrom": reference}]}])
    PODS.prepare(obj)
    with pytest.raises(Invalid, match="field label not supported"):
        PODS.validate(obj)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b"[" * 600 + b"]" * 600, "cannot unmarshal array"),  # deep, which is no fault
        (b'{"auths": tru}', "invalid character '}' in literal true"),
        (b'{"auths": {}} ' + b" " * (64 << 10) + b"x", "JSON is malformed"),  # too long to be read twice
    ],
)
def test_what_is_wrong_with_a_registrys_configuration_is_said(config: bytes, why: str) -> None:
    schema = KINDS.find("", "v1", "secrets").schema
    data = {".dockerconfigjson": base64.b64encode(config).decode()}
    secret = {"metadata": {"name": "x", "namespace": "d"}, "type": "kubernetes.io/dockerconfigjson", "data": data}
    schema.prepare(secret)
    with pytest.raises(Invalid, match=why):
        schema.validate(secret)


@pytest.mark.parametrize("config", [b"{}", b"null", b'{"a":"\xff"}', b'{"a":' * 600 + b"1" + b"}" * 600])
def test_a_registrys_configuration_is_any_object(config: bytes) -> None:
    schema = KINDS.find("", "v1", "secrets").schema
    data = {".dockerconfigjson": base64.b64encode(config).decode()}
    secret = {"metadata": {"name": "x", "namespace": "d"}, "type": "kubernetes.io/dockerconfigjson", "data": data}
    schema.prepare(secret)
    schema.validate(secret)
