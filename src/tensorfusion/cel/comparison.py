"""Which values are equal, and which comes first.

Numbers are compared by value whatever their type; values of other types that differ are not equal, and have no order.

Source: the ``Equal`` and ``Compare`` methods of cel-go's values.
"""

import math

from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.texts import type_name
from tensorfusion.cel.types import Type
from tensorfusion.cel.values import NOTHING, ComparedList, Duration, Opaque, Some, Timestamp, Uint, Value

_NUMBERS = frozenset((int, Uint, float))
_ORDERED = frozenset((str, bytes, bool, Duration, Timestamp))


def equal(left: Value, right: Value) -> bool:
    """Whether two values are equal, as ``==`` has it.

    Raises:
        NoSuchOverload: a value that a library added is compared with one of another type.
    """
    kind, other = type(left), type(right)
    if kind in _NUMBERS and other in _NUMBERS:
        return _equal_numbers(left, right)
    if isinstance(left, ComparedList) and isinstance(right, list):
        return left.equals(right)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(_equal_inside, left, right))
    if isinstance(left, dict):
        return isinstance(right, dict) and _equal_maps(left, right)
    if isinstance(left, Opaque) and right is not None:
        return left.equals(right)
    if kind is Some:
        return other is Some and equal(left.value, right.value)
    if left is NOTHING or right is NOTHING:
        return left is right
    if kind is Type:
        return other is Type and type_name(left) == type_name(right)
    return bool(kind is other and left == right)


def compare(left: Value, right: Value) -> int:
    """-1, 0 or 1: which of two values of an ordered type comes first.

    Raises:
        NoSuchOverload: the values have no common order.
        EvaluationError: one of them is not a number.
    """
    kind, other = type(left), type(right)
    if kind in _NUMBERS:
        if kind is float and math.isnan(left):
            raise EvaluationError("NaN values cannot be ordered")
        if other not in _NUMBERS:
            raise NoSuchOverload
        if other is float and math.isnan(right):
            raise EvaluationError("NaN values cannot be ordered")
        if kind is not other and float in (kind, other):
            left, right = float(left), float(right)
    elif kind not in _ORDERED or kind is not other:
        raise NoSuchOverload
    return int(left > right) - int(left < right)


def is_ordered(value: Value) -> bool:
    """Whether values of this type can be compared with ``<`` at all."""
    return type(value) in _ORDERED or type(value) in _NUMBERS


def contains(items: list[Value], wanted: Value) -> bool:
    """Whether an equal value is in a list. What cannot be compared is not the one that is looked for."""
    return any(same(wanted, item) for item in items)


def same(left: Value, right: Value) -> bool:
    """Equality for a search: values that cannot be compared are not the same."""
    try:
        return equal(left, right)
    except NoSuchOverload:
        return False


def _equal_numbers(left: Value, right: Value) -> bool:
    if type(left) is not type(right) and float in (type(left), type(right)):
        return float(left) == float(right)
    return int(left) == int(right) if type(left) is not float else bool(left == right)


def _equal_inside(left: Value, right: Value) -> bool:
    """Equality of what lists and maps hold, where values that cannot be compared do not make them differ."""
    try:
        return equal(left, right)
    except NoSuchOverload:
        return True


def _equal_maps(left: dict[Value, Value], right: dict[Value, Value]) -> bool:
    if len(left) != len(right):
        return False
    return all(key in right and _equal_inside(value, right[key]) for key, value in left.items())
