"""Equality and order of values, apart from the operators that use them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.cel.comparison import compare, contains, equal
from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.library.quantities import parse
from tensorfusion.cel.values import NOTHING, Duration, Some, Timestamp, Uint, Value

NUMBERS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, (1 << 64) - 1).map(Uint),
    st.floats(allow_nan=False),
)
SIMPLE = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=3), st.binary(max_size=3))
VALUES = st.recursive(
    SIMPLE,
    lambda held: st.one_of(st.lists(held, max_size=3), st.dictionaries(st.text(max_size=2), held, max_size=3)),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_equality_is_the_same_from_both_sides_and_holds_for_the_value_itself(left: Value, right: Value) -> None:
    assert equal(left, left)
    assert equal(left, right) == equal(right, left)


@given(NUMBERS, NUMBERS)
def test_numbers_are_equal_where_neither_comes_first(left: Value, right: Value) -> None:
    assert compare(left, right) == -compare(right, left)
    assert equal(left, right) == (compare(left, right) == 0)


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (1, 1.0, True),
        (Uint(1), 1, True),
        (1, True, False),
        (math.nan, math.nan, False),
        ("1", 1, False),
        ("a", b"a", False),
        ([1, 2.0], [Uint(1), 2], True),
        ({"a": [math.nan]}, {"a": [math.nan]}, False),
        (Some(1), Some(1.0), True),
        (Some(1), NOTHING, False),
        (NOTHING, NOTHING, True),
        (Duration(1), Timestamp(1), False),
        (None, parse("1"), False),
        (1, parse("1"), False),
    ],
)
def test_which_values_are_equal(left: Value, right: Value, *, wanted: bool) -> None:
    assert equal(left, right) is wanted


def test_a_quantity_cannot_be_compared_with_a_number_but_a_search_goes_on() -> None:
    with pytest.raises(NoSuchOverload):
        equal(parse("1"), 1)
    assert contains([parse("2"), 1], 1)
    assert not contains([1, 2], parse("1"))


@pytest.mark.parametrize(
    ("left", "right"), [(1, "1"), ([1], [2]), (None, None), (True, 1), (Duration(1), Timestamp(1))]
)
def test_values_without_a_common_order_are_not_compared(left: Value, right: Value) -> None:
    with pytest.raises(NoSuchOverload):
        compare(left, right)


def test_what_is_not_a_number_has_no_order() -> None:
    with pytest.raises(EvaluationError, match="NaN values cannot be ordered"):
        compare(1, math.nan)
