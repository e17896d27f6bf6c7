"""What rules see of custom resources: names, types, values."""

from typing import Any

import pytest

from tensorfusion.cel import Environment
from tensorfusion.embedded.schema.typed import converter, declared, escaped

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["key"],
            "items": {"type": "object", "properties": {"key": {"type": "string"}, "n": {"type": "integer"}}},
        },
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "span": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "number": {"type": "number"},
        "a-b": {"type": "integer"},
        "maybe": {"type": "string", "nullable": True},
        "hidden": {"x-kubernetes-preserve-unknown-fields": True},
    },
}
VALUE: dict[str, Any] = {
    "set": ["a", "b"],
    "keyed": [{"key": "x", "n": 1}, {"key": "y", "n": 2}],
    "when": "2024-01-02T03:04:05Z",
    "day": "2024-01-02",
    "span": "90m",
    "raw": "aGk=",
    "number": 3,
    "a-b": 4,
    "maybe": None,
}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", "plain"),
        ("a-b", "a__dash__b"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("for", "__for__"),
        ("a__b", "a__underscores__b"),
        ("0digit", ""),
        ("sp ace", ""),
        ("", ""),
    ],
)
def test_field_names_that_cel_cannot_write_are_escaped_or_left_out(name: str, written: str) -> None:
    assert escaped(name) == written


@pytest.mark.parametrize(
    "source",
    [
        "self.set == ['b', 'a'] && self.set != ['a']",
        "self.set + ['b', 'c'] == ['a', 'b', 'c'] && size(self.set + ['a']) == 2",
        "self.keyed == [self.keyed[1], self.keyed[0]]",
        "(self.keyed + self.keyed).size() == 2",
        "self.when < timestamp('2024-01-02T03:04:06Z') && self.when.getFullYear() == 2024",
        "self.day == timestamp('2024-01-02T00:00:00Z')",
        "self.span == duration('1h30m')",
        "self.raw == b'hi'",
        "self.number / 2.0 == 1.5",
        "self.a__dash__b == 4",
        "!has(self.maybe) && self.?maybe.orValue('none') == 'none'",
    ],
)
def test_values_are_of_the_types_that_the_schema_declares(source: str) -> None:
    kind, convert = declared(SCHEMA, "thing"), converter(SCHEMA)
    assert kind is not None
    assert convert is not None
    assert Environment({"self": kind}).compile(source).evaluate({"self": convert(VALUE)}) is True


def test_fields_without_a_usable_schema_are_not_declared() -> None:
    kind = declared(SCHEMA, "thing")
    assert kind is not None
    assert "hidden" not in kind.fields


def test_values_that_need_no_change_are_not_copied() -> None:
    assert converter({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}) is None
