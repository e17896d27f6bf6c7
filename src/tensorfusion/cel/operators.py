"""What the operators compute. The checker leaves only values they are defined for, except where types are dynamic.

Source: CEL language definition, "Operators"; error texts as Kubernetes gives them.
"""

import math
from collections.abc import Callable

from tensorfusion.cel.comparison import compare, contains, is_ordered
from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.moments import duration_of, timestamp_of
from tensorfusion.cel.numbers import double_text
from tensorfusion.cel.values import (
    LARGEST_INT,
    LARGEST_UINT,
    SMALLEST_INT,
    ComparedList,
    Duration,
    Timestamp,
    Uint,
    Value,
    key_of,
    type_of_value,
)

_ADDED = frozenset({int, Uint, float, str, bytes, list, Duration, Timestamp})
_SUBTRACTED = frozenset({int, Uint, float, Duration, Timestamp})
_NUMBERS = frozenset({int, Uint, float})
_WHOLE = frozenset({int, Uint})
# Types that answer for operators which they do not have.
_ANSWERING = frozenset({str, Duration, Timestamp})
_NEGATED = frozenset({bool, int, float, str, Duration, Timestamp})


def _unmatched(name: str, value: Value, kinds: frozenset[type]) -> EvaluationError:
    """The error for an operator whose first operand has it for other second operands, or not at all."""
    kind = list if isinstance(value, list) else type(value)
    unnamed = kind in kinds or kind in _ANSWERING
    return NoSuchOverload() if unnamed else EvaluationError(f"no such overload: {name}")


def whole(value: int) -> int:
    """Raises: EvaluationError beyond 64 bits."""
    if SMALLEST_INT <= value <= LARGEST_INT:
        return value
    raise EvaluationError("integer overflow")


def unsigned(value: int) -> Uint:
    """Raises: EvaluationError below zero and beyond 64 bits."""
    if 0 <= value <= LARGEST_UINT:
        return Uint(value)
    raise EvaluationError("unsigned integer overflow")


def add(one: Value, other: Value) -> Value:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return whole(one + other)
        if kind is str or kind is float or kind is bytes:
            return one + other
        if kind is Uint:
            return unsigned(int(one) + int(other))
        if kind is Duration:
            return duration_of(one.nanoseconds + other.nanoseconds)
    if isinstance(one, list) and isinstance(other, list):
        return joined(one, other)
    if {kind, type(other)} == {Timestamp, Duration}:
        moment = one if kind is Timestamp else other
        return timestamp_of(one.nanoseconds + other.nanoseconds, moment.offset)
    raise _unmatched("_+_", one, _ADDED)


def joined(one: list[Value], other: list[Value]) -> list[Value]:
    return one.merged(other) if isinstance(one, ComparedList) else [*one, *other]


def subtract(one: Value, other: Value) -> Value:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return whole(one - other)
        if kind is float:
            return one - other
        if kind is Uint:
            return unsigned(int(one) - int(other))
        if kind is Duration or kind is Timestamp:
            return duration_of(one.nanoseconds - other.nanoseconds)
    if kind is Timestamp and type(other) is Duration:
        return timestamp_of(one.nanoseconds - other.nanoseconds, one.offset)
    raise _unmatched("_-_", one, _SUBTRACTED)


def multiply(one: Value, other: Value) -> Value:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return whole(one * other)
        if kind is float:
            return one * other
        if kind is Uint:
            return unsigned(int(one) * int(other))
    raise _unmatched("_*_", one, _NUMBERS)


def divide(one: Value, other: Value) -> Value:
    kind = type(one)
    if kind is type(other):
        if kind is float:
            return _float_quotient(one, other)
        if kind is int or kind is Uint:
            if other == 0:
                raise EvaluationError("division by zero")
            quotient = abs(int(one)) // abs(int(other))
            return Uint(quotient) if kind is Uint else whole(quotient if (one < 0) == (other < 0) else -quotient)
    raise _unmatched("_/_", one, _NUMBERS)


def _float_quotient(one: float, other: float) -> float:
    if other != 0:
        return one / other
    if one == 0 or math.isnan(one):
        return math.nan
    return math.inf if (math.copysign(1, one) > 0) == (math.copysign(1, other) > 0) else -math.inf


def modulo(one: Value, other: Value) -> Value:
    """The remainder has the sign of what is divided."""
    kind = type(one)
    if kind is not type(other) or (kind is not int and kind is not Uint):
        raise _unmatched("_%_", one, _WHOLE)
    if other == 0:
        raise EvaluationError("modulus by zero")
    if one == SMALLEST_INT and other == -1:
        raise EvaluationError("integer overflow")
    rest = abs(int(one)) % abs(int(other))
    return Uint(rest) if kind is Uint else (-rest if one < 0 else rest)


def negate(value: Value) -> Value:
    if type(value) is int:
        return whole(-value)
    if type(value) is float:
        return -value
    if type(value) is Duration:
        return duration_of(-value.nanoseconds)
    raise _unmatched("-_", value, _NEGATED)


def invert(value: Value) -> bool:
    if type(value) is bool:
        return not value
    raise NoSuchOverload


def ordered(name: str, test: Callable[[int], bool]) -> Callable[[Value, Value], bool]:
    """A comparison, from what ``compare`` must give."""

    def decide(one: Value, other: Value) -> bool:
        if not is_ordered(one):
            raise EvaluationError(f"no such overload: {name}")
        return test(compare(one, other))

    return decide


def contained(value: Value, container: Value) -> bool:
    if isinstance(container, dict):
        try:
            return key_of(value) in container
        except EvaluationError:
            return False
    if isinstance(container, list):
        return contains(container, value)
    raise NoSuchOverload


def index(container: Value, place: Value) -> Value:
    """An element of a list or map; anything else has no elements."""
    if isinstance(container, dict):
        found = container.get(key_of(place), container)
        if found is container:
            raise EvaluationError(f"no such key: {key_text(place)}")
        return found
    if isinstance(container, list):
        return container[position(container, place)]
    raise EvaluationError(f"no such key: {key_text(place)}")


def position(container: list[Value], place: Value) -> int:
    """An index that is within a list.

    Raises:
        EvaluationError: out of bounds, or no whole number.
    """
    if type(place) is float and place.is_integer():
        place = int(place)
    if type(place) is float:
        raise EvaluationError(f"unsupported index value {double_text(place)} in list")
    if type(place) is not int and type(place) is not Uint:
        raise EvaluationError(f"unsupported index type '{type_of_value(place)}' in list")
    if not 0 <= place < len(container):
        raise EvaluationError(f"index out of bounds: {int(place)}")
    return int(place)


def key_text(value: Value) -> str:
    if type(value) is bool:
        return str(value).lower()
    return str(value)
