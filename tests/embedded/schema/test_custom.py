"""Custom objects: ratcheting, CEL with predecessors, status writes, pruning as an invariant."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.facts import load_facts
from tensorfusion.embedded.fields.types import Types
from tensorfusion.embedded.schema.decode import DEEPEST, compile_decoder
from tensorfusion.embedded.schema.keywords import check_keywords
from tensorfusion.embedded.schema.path import Problem
from tensorfusion.embedded.schema.schema import OBJECT_META, CustomSchema, FieldValidation
from tensorfusion.embedded.schema.structure import check_structure
from tensorfusion.errors import BadRequest, Invalid
from tensorfusion.model.resources import Resource

FOOS = Resource("x.io", "v1", "foos", "Foo", namespaced=False)
DECODE = compile_decoder(load_facts().definitions, OBJECT_META)
TYPES = Types(load_facts().definitions)


def schema_of(spec: dict[str, Any], status: dict[str, Any] | None = None) -> CustomSchema:
    properties = {"spec": spec, **({"status": status} if status else {})}
    return CustomSchema(FOOS, {"type": "object", "properties": properties}, DECODE, TYPES)


def foo(spec: Any, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "x"}, "spec": spec, **more}


def fields(error: Invalid) -> list[str]:
    return [cause.field for cause in error.causes]


def test_an_update_may_keep_a_value_that_a_newer_schema_refuses() -> None:
    schema = schema_of(
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "string"}}}
    )
    old = foo({"a": "long", "b": "x"})
    schema.validate(foo({"a": "long", "b": "y"}), old)
    with pytest.raises(Invalid) as caught:
        schema.validate(foo({"a": "longer"}), old)
    assert fields(caught.value) == ["spec.a"]
    with pytest.raises(Invalid):
        schema.validate(foo({"a": "long"}))


class Counted(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)  # type: ignore[arg-type]  # both are names here

    __hash__ = str.__hash__


def test_the_keys_of_a_list_are_looked_at_once_each() -> None:
    """Thousands of them fit into a definition."""
    keys = [Counted(f"key{number}") for number in range(500)]
    item = {"type": "object", "properties": {str(key): {"type": "string"} for key in keys}, "required": keys[::-1]}
    items = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, "items": item}
    problems: list[Problem] = []
    check_keywords(items, None, problems)
    assert not problems
    assert Counted.compared < 10 * len(keys)


def test_rules_are_still_asked_when_the_rest_of_the_object_is_forgiven() -> None:
    rules = [{"rule": "self.n > 0", "message": "positive"}]
    properties = {"a": {"type": "string", "maxLength": 1}, "n": {"type": "integer"}}
    schema = schema_of({"type": "object", "properties": properties, "x-kubernetes-validations": rules})
    with pytest.raises(Invalid) as caught:
        schema.validate(foo({"a": "long", "n": 0}), foo({"a": "long", "n": 1}))
    assert fields(caught.value) == ["spec"]


def test_list_items_meet_their_predecessors_by_map_key() -> None:
    items = {
        "type": "object",
        "required": ["k"],
        "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "must not shrink"}],
    }
    listed = {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    schema = schema_of({"type": "object", "properties": {"l": listed}})
    old = foo({"l": [{"k": "a", "v": 1}, {"k": "b", "v": 5}]})
    schema.validate(foo({"l": [{"k": "b", "v": 6}, {"k": "new", "v": 0}, {"k": "a", "v": 1}]}), old)
    with pytest.raises(Invalid) as caught:
        schema.validate(foo({"l": [{"k": "b", "v": 4}]}), old)
    assert fields(caught.value) == ["spec.l[0]"]


def test_a_transition_rule_is_not_forgiven_because_the_value_stands() -> None:
    rules = [{"rule": "self == oldSelf + 1", "message": "count up"}]
    schema = schema_of({"type": "object", "properties": {"n": {"type": "integer", "x-kubernetes-validations": rules}}})
    schema.validate(foo({"n": 5}))
    schema.validate(foo({"n": 6}), foo({"n": 5}))
    with pytest.raises(Invalid, match="count up"):
        schema.validate(foo({"n": 5}), foo({"n": 5}))


def test_optional_old_self_also_runs_on_creation() -> None:
    rule = "oldSelf.hasValue() ? self >= oldSelf.value() : self == 1"
    rules = [{"rule": rule, "optionalOldSelf": True, "message": "start at 1"}]
    schema = schema_of({"type": "object", "properties": {"n": {"type": "integer", "x-kubernetes-validations": rules}}})
    schema.validate(foo({"n": 1}))
    schema.validate(foo({"n": 3}), foo({"n": 2}))
    with pytest.raises(Invalid, match="start at 1"):
        schema.validate(foo({"n": 2}))


def test_number_fields_are_floating_point_to_rules_however_they_are_written() -> None:
    rules = [{"rule": "self.n * 2.0 > 1.0"}]
    schema = schema_of({"type": "object", "properties": {"n": {"type": "number"}}, "x-kubernetes-validations": rules})
    schema.validate(foo({"n": 1}))
    with pytest.raises(Invalid, match="failed rule"):
        schema.validate(foo({"n": 0}))


def test_odd_field_names_are_escaped_in_rules() -> None:
    properties = {"a-b": {"type": "string"}, "namespace": {"type": "string"}}
    rules = [{"rule": "self.a__dash__b == self.__namespace__"}]
    schema = schema_of({"type": "object", "properties": properties, "x-kubernetes-validations": rules})
    schema.validate(foo({"a-b": "x", "namespace": "x"}))
    with pytest.raises(Invalid):
        schema.validate(foo({"a-b": "x", "namespace": "y"}))


def test_quantities_can_be_compared_in_rules() -> None:
    rules = [{"rule": "quantity(self.a).isLessThan(quantity(self.b))", "message": "a below b"}]
    properties = {"a": {"type": "string"}, "b": {"type": "string"}}
    schema = schema_of({"type": "object", "properties": properties, "x-kubernetes-validations": rules})
    schema.validate(foo({"a": "900Mi", "b": "1Gi"}))
    with pytest.raises(Invalid, match="a below b"):
        schema.validate(foo({"a": "1Gi", "b": "1024Mi"}))


def test_a_status_write_checks_the_status_only() -> None:
    spec = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}
    schema = schema_of(spec, {"type": "object", "properties": {"n": {"type": "integer"}}})
    broken = foo({}, status={"n": 1})
    schema.validate(broken, copy.deepcopy(broken), subresource="status")
    with pytest.raises(Invalid) as caught:
        schema.validate(foo({}, status={"n": "x"}), broken, subresource="status")
    assert fields(caught.value) == ["status.n"]


def test_free_json_may_not_be_absurdly_deep() -> None:
    schema = schema_of({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    value: dict[str, Any] = {}
    for _ in range(DEEPEST + 1):
        value = {"a": value}
    with pytest.raises(BadRequest, match="nested deeper"):
        schema.prepare(foo(value))


def test_strict_names_every_unknown_field_at_once() -> None:
    schema = schema_of({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "object"}}}})
    with pytest.raises(BadRequest, match=r'unknown field "spec.l\[1\].z", unknown field "top"$'):
        schema.prepare(foo({"l": [{}, {"z": 1}]}, top=1), strict=FieldValidation.STRICT)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("duration", "1h30m", "soon"),
        ("byte", "AA==", "A"),
        ("ipv4", "10.0.0.1", "10.0.0.300"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/99"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("hostname", "a.example", "a b"),
        ("date-time", "2024-01-01T00:00:00.5+01:00", "2024-01-01"),
        ("made-up", "anything", None),
    ],
)
def test_string_formats(form: str, good: str, bad: str | None) -> None:
    schema = schema_of({"type": "object", "properties": {"f": {"type": "string", "format": form}}})
    schema.validate(foo({"f": good}))
    if bad is not None:
        with pytest.raises(Invalid, match=f"must be of type {form}"):
            schema.validate(foo({"f": bad}))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("form", "text"), [("duration", "1" * 1_000_000), ("email", " " * 1_000_000 + "!")])
def test_a_format_reads_a_long_text_once(form: str, text: str) -> None:
    schema = schema_of({"type": "object", "properties": {"f": {"type": "string", "format": form}}})
    with pytest.raises(Invalid, match=f"must be of type {form}"):
        schema.validate(foo({"f": text}))


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [("^a$", "a", "a\n"), (r"^[$\]]+$", "$]", "a"), (r"\.$", "x.", "x.y"), (r"^a\z", "a", "a\n"), ("^[]a]$", "]", "b")],
)
def test_patterns_mean_what_they_mean_to_kubernetes(pattern: str, good: str, bad: str) -> None:
    schema = schema_of({"type": "object", "properties": {"p": {"type": "string", "pattern": pattern}}})
    schema.validate(foo({"p": good}))
    with pytest.raises(Invalid, match="should match"):
        schema.validate(foo({"p": bad}))


SPEC = {
    "type": "object",
    "required": ["r"],
    "properties": {
        "r": {"type": "string", "default": "d", "enum": ["d", "e"]},
        "n": {"type": "integer", "minimum": 0},
        "l": {
            "type": "array",
            "maxItems": 3,
            "items": {"type": "object", "properties": {"x": {"type": "string", "default": "y"}}},
        },
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        "o": {"type": "object", "default": {}, "properties": {"z": {"type": "boolean", "default": True}}},
    },
    "x-kubernetes-validations": [{"rule": "!has(self.n) || self.n < 1000"}],
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xzqr"), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["r", "n", "l", "m", "o", "unknown"]), values, max_size=6))
def test_whatever_is_sent_is_accepted_or_refused_and_preparing_is_idempotent(spec: dict[str, Any]) -> None:
    schema = schema_of(SPEC)
    obj = foo(spec)
    try:
        schema.prepare(obj)
    except BadRequest as error:
        assert "\n" not in str(error)
        return
    again = copy.deepcopy(obj)
    assert schema.prepare(again) == []
    assert again == obj
    assert "unknown" not in obj["spec"]
    try:
        schema.validate(obj)
    except Invalid as error:
        assert error.causes


def test_a_rule_at_the_root_may_speak_of_the_name() -> None:
    rule = {"rule": "size(self.metadata.name) <= 3 && self.kind == 'Foo'", "message": "too long"}
    root = {"type": "object", "properties": {"metadata": {"type": "object"}}, "x-kubernetes-validations": [rule]}
    problems: list[Any] = []
    check_structure(root, None, problems)
    assert problems == []
    schema = CustomSchema(FOOS, root, DECODE, TYPES)
    schema.validate({"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "abc"}})
    with pytest.raises(Invalid, match="too long"):
        schema.validate({"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "abcd"}})


def test_a_new_item_without_a_required_field_is_refused_in_an_update() -> None:
    item = {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}}
    schema = schema_of({"type": "object", "properties": {"k": {"type": "array", "items": item}}})
    old = {"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": {"k": [{"n": "x"}]}}
    new = copy.deepcopy(old)
    new["spec"]["k"].append({"v": 1})
    with pytest.raises(Invalid, match=r"spec.k\[1\].n: Required value"):
        schema.validate(new, old)
    schema.validate(new, new)


def test_a_broken_owner_reference_is_never_forgiven() -> None:
    schema = schema_of({"type": "object"})
    old = {"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "a", "ownerReferences": []}}
    new = copy.deepcopy(old)
    new["metadata"]["ownerReferences"] = [{}]
    with pytest.raises(Invalid, match="uid"):
        schema.validate(new, old)
