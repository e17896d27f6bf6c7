"""The smallest value that a schema takes."""

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.testing.llm.instance import NoInstance, instance

SCALARS = st.one_of(
    st.just({"type": "string"}),
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    st.builds(lambda least: {"type": "string", "minLength": least}, st.integers(0, 5)),
    st.sampled_from([{"type": "string", "format": name} for name in ("date", "date-time", "email", "uuid", "ipv4")]),
    st.builds(lambda low: {"type": "integer", "minimum": low}, st.integers(-5, 5)),
    st.builds(lambda low: {"type": "integer", "exclusiveMinimum": low}, st.integers(-5, 5)),
    st.builds(lambda high: {"type": "number", "exclusiveMaximum": high}, st.integers(-5, 5)),
    st.builds(
        lambda low, step: {"type": "integer", "minimum": low, "multipleOf": step}, st.integers(0, 9), st.integers(1, 7)
    ),
    st.builds(lambda values: {"enum": values}, st.lists(st.integers() | st.text(), min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, st.integers() | st.text()),
)


def objects(inner: st.SearchStrategy[dict]) -> st.SearchStrategy[dict]:
    names = st.sampled_from("abcd")
    properties = st.dictionaries(names, inner, max_size=4)
    return st.one_of(
        st.builds(
            lambda properties, required: {"type": "object", "properties": properties, "required": sorted(required)},
            properties,
            st.sets(names),
        ),
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3)),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"$ref": "#/$defs/x", "$defs": {"x": one}}, st.just({"type": "string"})),
    )


@given(st.recursive(SCALARS, objects, max_leaves=8).filter(lambda schema: "$ref" not in str(schema)))
def test_the_schema_takes_it(schema: dict) -> None:
    assert jsonschema_rs.is_valid(schema, instance(schema))


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 0}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": ["integer", "null"], "minimum": 3}}}, 3),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"required": ["a"]}], "type": "object"}, {"a": 1}),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}, None),
        (
            {
                "$ref": "#/$defs/node",
                "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
            },
            {},
        ),
        ({"type": "array", "prefixItems": [{"const": 1}], "minItems": 2}, [1, None]),
        ({"type": "number", "exclusiveMinimum": 0}, 0.5),
        ({"type": "integer", "maximum": -4, "multipleOf": 3}, -6),
        (True, None),
        ({}, None),
    ],
)
def test_what_is_chosen(schema: object, wanted: object) -> None:
    assert instance(schema) == wanted


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("string", "found str"),
        (False, "found bool"),
        ({"type": "colour"}, "type 'colour'"),
        ({"$ref": "#/$defs/x"}, "leads nowhere"),
        ({"$ref": "https://example.com/x"}, "leads nowhere"),
        ({"$ref": "#"}, "refers to itself"),
        ({"type": "array", "minItems": 1 << 40}, "wanted at most"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/a"}}}},
            },
            "without an end",
        ),
    ],
)
def test_a_schema_without_an_instance_says_why(schema: object, why: str) -> None:
    with pytest.raises(NoInstance, match=why):
        instance(schema)
