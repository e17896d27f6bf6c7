"""The functions of lists, and lists as sets: values and errors as Kubernetes has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_calls import problem_of, value_of

from tensorfusion.cel import CostExceeded
from tensorfusion.cel.values import Duration, Uint

VALUES = [
    ("[3, 1, 2].isSorted()", False),
    ("[dyn(1), dyn(2.5)].isSorted()", True),
    ("[dyn(3), dyn(2.5)].isSorted()", False),
    ("[dyn(3), dyn('a')].isSorted()", True),
    ("[1.0, double('nan'), 0.5].isSorted()", True),
    ("[1.0, double('nan'), 0.5].min()", 0.5),
    ("[1.0, double('nan'), 5.5].max()", 5.5),
    ("['a', 'b'].max()", "b"),
    ("[].sum()", 0),
    ("[1, 2].sum()", 3),
    ("[1.5, 2.0].sum()", 3.5),
    ("[1u, 2u].sum()", Uint(3)),
    ("[duration('1s'), duration('2s')].sum()", Duration(3000000000)),
    ("[true, false].min()", False),
    ("[b'a', b'b'].max()", b"b"),
    ("[1, 2, 3, 2].indexOf(2)", 1),
    ("[1, 2, 3, 2].lastIndexOf(2)", 3),
    ("[1, 2].indexOf(5)", -1),
    ("[dyn(1), dyn(2)].indexOf(2.0)", 1),
    ("[[1], [2]].indexOf([2])", 1),
    ("[1, 2, 3].slice(1, 2)", [2]),
    ("[[1], [2, 3]].flatten()", [1, 2, 3]),
    ("dyn([1, 2]).flatten()", [1, 2]),
    ("[[1]].flatten(0)", [[1]]),
    ("[1, 2, 2, 1].distinct()", [1, 2]),
    ("[dyn(1), dyn(1.0), dyn(1u), dyn('1')].distinct()", [1, "1"]),
    ("[].distinct()", []),
    ("[3, 1, 2].sort()", [1, 2, 3]),
    ("['b', 'a'].sort()", ["a", "b"]),
    ("[].sort()", []),
    ("[{'a': 3}, {'a': 1}].sortBy(e, e.a)", [{"a": 1}, {"a": 3}]),
    ("['bb', 'a'].sortBy(e, size(e))", ["a", "bb"]),
    ("lists.range(3)", [0, 1, 2]),
    ("lists.range(-1)", []),
    ("lists.range(0)", []),
    ("[[1], [2]].reverse()", [[2], [1]]),
    ("sets.contains([1, 2], [2])", True),
    ("sets.contains([1], [2])", False),
    ("sets.contains([], [])", True),
    ("sets.equivalent([1, 1], [1])", True),
    ("sets.intersects([1, 2], [2, 3])", True),
    ("sets.intersects([], [])", False),
    ("sets.contains([[1]], [[1]])", True),
    ("sets.contains([null], [null])", True),
    ("sets.contains([dyn(null), dyn(1)], [dyn(1)])", True),
    ("['aaaaaaaaaaaaaaaaaaaaa', 'b'].max()", "b"),
    ("[{'a': 'aaaaaaaaaaaaaaaaaaaaa'}].indexOf({'b': 'c'})", -1),
    ("['a', 'b', 'c', 'd', 'e', 'f'].sort()", ["a", "b", "c", "d", "e", "f"]),
    ("['a', 'b', 'c', 'd', 'e', 'f'].distinct()", ["a", "b", "c", "d", "e", "f"]),
    ("[1, 2, 3].map(x, x).sum()", 6),
    ("[1, 2, 3].sortBy(e, -e).sum()", 6),
]
PROBLEMS = [
    ("[dyn('x'), dyn(1.5)].join()", "join: invalid input: 1.5"),
    ("[dyn('x'), dyn(1e21)].join()", "join: invalid input: 1e+21"),
    ("[dyn('x'), dyn(b'ab')].join()", "join: invalid input: [97 98]"),
    ("[dyn('x'), dyn(null)].join()", "join: invalid input: 0"),
    ("[dyn('x'), dyn([1, 2])].join()", "join: invalid input: [1, 2]"),
    ("[dyn('x'), dyn(['a', 'b'])].join()", "join: invalid input: [a, b]"),
    ("[dyn('x'), dyn(true)].join()", "join: invalid input: true"),
    ("[dyn('x'), dyn(2u)].join()", "join: invalid input: 2"),
    ("[dyn([1])].isSorted()", "no such overload: isSorted(list)"),
    ("[].max()", "max called on empty list"),
    ("[].min()", "min called on empty list"),
    ("[9223372036854775807, 1].sum()", "integer overflow"),
    ("[18446744073709551615u, 1u].sum()", "unsigned integer overflow"),
    ("[duration('2562047h'), duration('2562047h')].sum()", "integer overflow"),
    ("[dyn(1), dyn(2.5)].sum()", "no such overload"),
    ("[dyn(1.5), dyn(2)].sum()", "no such overload"),
    ("[dyn('a')].sum()", "no such overload: sum(list)"),
    ("[1, 2, 3].slice(-1, 2)", "cannot slice(-1, 2), negative indexes not supported"),
    ("[1, 2, 3].slice(2, 1)", "cannot slice(2, 1), start index must be less than or equal to end index"),
    ("[1, 2, 3].slice(1, 4)", "cannot slice(1, 4), list is length 3"),
    ("[[1]].flatten(-1)", "level must be non-negative"),
    ("dyn(1).flatten()", "no such overload: int.flatten()"),
    ("[dyn(1), dyn('a')].sort()", "list elements must have the same type"),
    ("[dyn(1), dyn(0.5)].sort()", "list elements must have the same type"),
    ("[dyn([1]), dyn([0])].sort()", "list elements must be comparable"),
    ("[dyn({}), dyn({})].sort()", "list elements must be comparable"),
    ("[{'a': 3}, {'a': 1}].sortBy(e, dyn([e.a]))", "list elements must be comparable"),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem


def test_a_range_that_costs_more_than_any_expression_may_is_never_made() -> None:
    with pytest.raises(CostExceeded, match="actual cost limit exceeded"):
        value_of("lists.range(9000000000000000000)")


@given(st.lists(st.integers(-100, 100), max_size=40))
def test_sorting_by_itself_sorts_and_is_sorted(numbers: list[int]) -> None:
    assert value_of(f"{numbers}.sort()") == sorted(numbers)
    assert value_of(f"{numbers}.sort().isSorted()") is True
    assert value_of(f"{numbers}.sortBy(number, -number)") == sorted(numbers, reverse=True)
