"""Long lists in objects: what is looked at for each item is found at once, however many items there are.

Each of these took minutes when every item was compared with every other.
"""

import copy
from typing import Any

import pytest

from tensorfusion.embedded.facts import load_facts
from tensorfusion.embedded.fields.types import Types
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.responses import _warning_headers
from tensorfusion.embedded.schema.decode import compile_decoder
from tensorfusion.embedded.schema.schema import OBJECT_META, CustomSchema
from tensorfusion.errors import Invalid
from tensorfusion.model.resources import Resource

pytestmark = pytest.mark.timeout(30)
MANY = 25_000
KINDS = Kinds.builtin()
FOOS = Resource("x.io", "v1", "foos", "Foo", namespaced=False)


def schema_of(**properties: Any) -> CustomSchema:
    definitions = load_facts().definitions
    spec = {"type": "object", "properties": properties}
    root = {"type": "object", "properties": {"spec": spec}}
    return CustomSchema(FOOS, root, compile_decoder(definitions, OBJECT_META), Types(definitions))


def foo(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "x"}, "spec": spec}


def problems_of(plural: str, obj: dict[str, Any]) -> list[str]:
    schema = KINDS.by_id(plural).schema
    schema.prepare(obj)
    with pytest.raises(Invalid) as caught:
        schema.validate(obj)
    return [cause.field for cause in caught.value.causes]


def owner(number: int) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": str(number)}


def test_owners() -> None:
    owners = [owner(number) for number in range(MANY)]
    obj: dict[str, Any] = {"metadata": {"name": "x", "namespace": "d", "ownerReferences": [*owners, *owners[:2]]}}
    (warning,) = KINDS.by_id("configmaps").schema.prepare(obj)
    assert obj["metadata"]["ownerReferences"] == owners
    assert warning.endswith("duplicate UID(s) observed: 0, 1")


def test_a_warning_of_many_owners_is_cut() -> None:
    owners = [owner(0)] * MANY
    warnings = KINDS.by_id("configmaps").schema.prepare({"metadata": {"name": "x", "ownerReferences": owners}})
    ((_, text),) = _warning_headers(warnings)
    assert len(text) <= len('299 - ""') + 256
    assert _warning_headers(["a" * 4096]) == [(b"warning", b'299 - "' + b"a" * 4096 + b'"')]


def test_readiness_gates() -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "readinessGates": [{"conditionType": "a b"}] * MANY}
    found = problems_of("pods", {"metadata": {"name": "x", "namespace": "d"}, "spec": spec})
    assert found == [f"spec.readinessGates[{index}].conditionType" for index in range(MANY)]


def test_subjects_of_a_binding() -> None:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
    obj = {"metadata": {"name": "x"}, "roleRef": reference, "subjects": [{"kind": "Nobody", "name": "n"}] * MANY}
    found = problems_of("clusterrolebindings.rbac.authorization.k8s.io", obj)
    assert found == [f"subjects[{index}].kind" for index in range(MANY)]


def test_wildcards_of_an_ingress() -> None:
    paths = [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]
    rules = [{"host": "*"}] * (MANY - 1) + [{"host": "*.example.com", "http": {"paths": paths}}]
    obj = {"metadata": {"name": "x", "namespace": "d"}, "spec": {"rules": rules}}
    found = problems_of("ingresses.networking.k8s.io", obj)
    assert found == [f"spec.rules[{index}].host" for index in range(MANY - 1)]


def test_items_that_an_update_leaves_as_they_were() -> None:
    item = {"type": "object", "properties": {"k": {"type": "integer"}, "v": {"type": "string", "maxLength": 1}}}
    keyed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    schema = schema_of(l=keyed)
    old = foo(l=[{"k": number, "v": "long"} for number in range(MANY)])
    new = copy.deepcopy(old)
    new["spec"]["l"].reverse()
    schema.validate(new, old)
    new["spec"]["l"][5]["v"] = "longer"
    with pytest.raises(Invalid) as caught:
        schema.validate(new, old)
    assert [cause.field for cause in caught.value.causes] == ["spec.l[5].v"]


def test_items_whose_keys_are_no_plain_values() -> None:
    item = {"type": "object", "properties": {"k": {"type": "integer"}}}
    keyed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    schema = schema_of(l=keyed)
    old = foo(l=[{"k": {"a": [number]}} for number in range(MANY)])
    schema.validate(copy.deepcopy(old), old)


def test_items_without_keys_that_an_update_leaves_as_they_were() -> None:
    schema = schema_of(l={"type": "array", "items": {"type": "string", "maxLength": 1}})
    old = foo(l=["long"] * MANY)
    schema.validate(copy.deepcopy(old), old)


def test_rules_of_items_that_an_update_leaves_as_they_were() -> None:
    item = {
        "type": "object",
        "properties": {"k": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.k < 0"}],
    }
    keyed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    schema = schema_of(l=keyed)
    old = foo(l=[{"k": number} for number in range(MANY)])
    new = copy.deepcopy(old)
    assert len(schema.validate(new, old)) == MANY
