"""Costs before any value is known: never too low for what a schema allows. ``test_agreement.py`` has the figures."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorfusion.cel import DYN, INT, NEW, STRING, Environment, Program, Range, list_of, map_of, object_of
from tensorfusion.cel.ranges import LARGEST, UNKNOWN, exactly

MOST = {"note": 40, "name": 8, "tags": 6, "@tag": 12, "numbers": 9, "labels": 4, "@label": 7, "rows": 3, "row": 5}
SELF = object_of(
    "self",
    {
        "note": STRING,
        "name": STRING,
        "tags": list_of(STRING),
        "numbers": list_of(INT),
        "labels": map_of(STRING, STRING),
        "rows": list_of(list_of(STRING)),
        "port": DYN,
    },
)
PLACES = {
    ("note",): MOST["note"],
    ("name",): MOST["name"],
    ("tags",): MOST["tags"],
    ("tags", "@items"): MOST["@tag"],
    ("numbers",): MOST["numbers"],
    ("labels",): MOST["labels"],
    ("labels", "@keys"): MOST["@label"],
    ("labels", "@values"): MOST["@label"],
    ("rows",): MOST["rows"],
    ("rows", "@items"): MOST["row"],
    ("rows", "@items", "@items"): MOST["@tag"],
    ("port",): 5,
}


def text(most: int) -> st.SearchStrategy[str]:
    return st.text("aäz.-, ", max_size=most)


VALUES = st.fixed_dictionaries(
    {
        "note": text(MOST["note"]),
        "name": text(MOST["name"]),
        "tags": st.lists(text(MOST["@tag"]), max_size=MOST["tags"]),
        "numbers": st.lists(st.integers(-9, 9), max_size=MOST["numbers"]),
        "labels": st.dictionaries(text(MOST["@label"]), text(MOST["@label"]), max_size=MOST["labels"]),
        "rows": st.lists(st.lists(text(MOST["@tag"]), max_size=MOST["row"]), max_size=MOST["rows"]),
        "port": st.one_of(st.integers(0, 99999), text(5)),
    }
)
EXPRESSIONS = (
    "self.note == self.name || self.note < self.name",
    "self.note.contains(self.name) && self.note.startsWith(self.name)",
    "(self.note + self.name).size() > 3",
    "self.note.matches('a+') || self.note.find('[a-z]+') != ''",
    "self.note.replace('a', self.name).lowerAscii() == self.name",
    "self.note.split(',').all(part, part.trim() != 'x')",
    "self.tags.all(tag, tag == self.name || tag.endsWith(self.note))",
    "self.tags.exists(one, self.tags.exists(other, one == other))",
    "self.tags.map(tag, tag + self.name).exists_one(tag, tag == 'a')",
    "self.tags.filter(tag, tag != self.name).size() > 2",
    "self.name in self.tags",
    "self.tags.isSorted() || self.tags.join(self.name) == self.note",
    "self.numbers.sum() > 3 && self.numbers.map(n, n * 2).exists(n, n == 4)",
    "self.labels.all(key, self.labels[key] != self.name)",
    "self.labels.exists(key, value, key == value)",
    "self.rows.all(row, row.all(cell, cell != self.name))",
    "self.rows.exists(row, row.exists(cell, self.tags.exists(tag, tag == cell)))",
    "sets.contains(self.tags, [self.name, self.note]) ? self.note == '' : self.tags.size() > 1",
    "type(self.port) == int ? self.port > 5 : self.port.matches('^[0-9]+$')",
    "has(self.note) && self.?name.orValue('none') != self.note",
)


def size_of(path: Sequence[str]) -> Range | None:
    most = PLACES.get(tuple(path[1:]))
    return None if most is None else Range(0, most)


def compiled(expression: str) -> Program:
    return Environment({"self": SELF}, dialect=NEW).compile(expression)


PROGRAMS = {expression: compiled(expression) for expression in EXPRESSIONS}


@pytest.mark.parametrize("expression", EXPRESSIONS)
@settings(max_examples=30)
@given(value=VALUES)
def test_no_value_within_the_sizes_costs_more_than_was_estimated(expression: str, value: dict[str, Any]) -> None:
    program = PROGRAMS[expression]
    _, cost = program.measured({"self": value})
    assert cost <= program.estimated(size_of).most


def test_larger_sizes_never_cost_less() -> None:
    def twice(path: Sequence[str]) -> Range | None:
        found = size_of(path)
        return None if found is None else Range(0, found.most * 2)

    for program in PROGRAMS.values():
        assert program.estimated(size_of).most <= program.estimated(twice).most


def test_nobody_knows_what_costs_without_sizes_and_costs_end_at_the_largest_number() -> None:
    loops = compiled("self.tags.all(a, self.tags.all(b, self.tags.all(c, a == b && b == c)))")
    assert loops.estimated(lambda _: None) == Range(3, LARGEST)


def test_a_presence_test_is_free() -> None:
    with_test, without = compiled("has(self.note)"), compiled("self.note == ''")
    assert with_test.estimated(size_of) == exactly(1)
    assert without.estimated(size_of).most > 1


def test_the_cheaper_side_is_the_least_and_both_are_the_most() -> None:
    either = compiled("true ? self.note.contains(self.note) : false")
    assert either.estimated(size_of) == Range(0, 20)
    assert compiled("false && self.note.contains(self.note)").estimated(size_of) == Range(0, 20)


sizes = st.one_of(st.integers(0, 100), st.integers(LARGEST - 100, LARGEST))
ranges = st.builds(lambda one, other: Range(min(one, other), max(one, other)), sizes, sizes)


@settings(max_examples=200)
@given(ranges, ranges, st.sampled_from([0.1, 0.25, 1, 2.1, 32]))
def test_ranges_stay_ranges_and_never_pass_the_largest_number(one: Range, other: Range, factor: float) -> None:
    for found in (one.plus(other), one.times(other), one.scaled(factor), one.joined(other)):
        assert 0 <= found.least <= found.most <= LARGEST
    assert UNKNOWN.plus(one).most == UNKNOWN.scaled(2).most == LARGEST
