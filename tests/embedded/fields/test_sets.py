"""Field sets: the laws of sets hold for them, and they are written as the wire wants them."""

import json

import pytest
from hypothesis import given
from strategies import field_sets

from tensorfusion.embedded.fields.sets import (
    Fields,
    difference,
    has,
    intersection,
    of_paths,
    parse_fields,
    path_text,
    paths,
    recursive_difference,
    union,
)


def members(fields: Fields) -> set[tuple[str, ...]]:
    return set(paths(fields))


@given(field_sets, field_sets)
def test_operations_are_those_of_the_sets_of_members(left: Fields, right: Fields) -> None:
    before = json.dumps([left, right])
    assert members(union(left, right)) == members(left) | members(right)
    assert members(intersection(left, right)) == members(left) & members(right)
    assert members(difference(left, right)) == members(left) - members(right)
    assert json.dumps([left, right]) == before


@given(field_sets, field_sets)
def test_a_recursive_difference_takes_what_is_under_a_member_too(left: Fields, right: Fields) -> None:
    gone = members(right)
    kept = {path for path in members(left) if not any(path[:length] in gone for length in range(1, len(path) + 1))}
    assert members(recursive_difference(left, right)) == kept


@given(field_sets)
def test_a_set_is_the_set_of_its_members(fields: Fields) -> None:
    assert members(of_paths(*paths(fields))) == members(fields)
    assert all(has(fields, path) for path in paths(fields))
    assert members(parse_fields(json.loads(json.dumps(fields)))) == members(fields)


@given(field_sets)
def test_nothing_is_left_of_a_set_without_itself(fields: Fields) -> None:
    assert not members(difference(fields, fields))
    assert difference(of_paths(*paths(fields)), fields) == {}


def test_keys_are_read_in_any_order_and_written_in_one() -> None:
    assert parse_fields({'k:{"port":80,"name" : "a"}': {}}) == {'k:{"name":"a","port":80}': {}}


@pytest.mark.parametrize(
    "broken", [1, [], {"x": {}}, {"q:x": {}}, {"k:x": {}}, {"k:1": {}}, {"i:x": {}}, {"v:": {}}, {"f:a": 1}]
)
def test_what_is_no_set_is_refused(broken: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_fields(broken)


def test_paths_are_written_as_conflicts_show_them() -> None:
    path = ("f:spec", 'k:{"a":"x","n":1}', 'v:"y"', "i:3", "f:z")
    assert path_text(path) == '.spec[a="x",n=1][="y"][3].z'
