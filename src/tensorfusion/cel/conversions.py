"""Conversions between types: ``int('5')``, ``string(1.5)``, ``timestamp('2024-01-01T00:00:00Z')``.

Source: CEL language definition, "Standard definitions"; error texts as Kubernetes gives them.
"""

import math
import re
from collections.abc import Callable

from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.moments import parse_duration, parse_timestamp, timestamp_of
from tensorfusion.cel.numbers import parse_double
from tensorfusion.cel.operators import unsigned
from tensorfusion.cel.types import Type
from tensorfusion.cel.values import LARGEST_INT, LARGEST_UINT, SECOND, SMALLEST_INT, Duration, Timestamp, Uint, Value

_WHOLE = re.compile(r"[+-]?[0-9]+")
_UNSIGNED = re.compile(r"[0-9]+")
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def _refused(wanted: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{wanted}'")


def text_to_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _refused("bool")


def text_to_int(text: str) -> int:
    if _WHOLE.fullmatch(text) and SMALLEST_INT <= int(text) <= LARGEST_INT:
        return int(text)
    raise _refused("int")


def text_to_uint(text: str) -> Uint:
    if _UNSIGNED.fullmatch(text) and int(text) <= LARGEST_UINT:
        return Uint(int(text))
    raise _refused("uint")


def text_to_double(text: str) -> float:
    found = parse_double(text)
    if found is None:
        raise _refused("double")
    return found


def text_to_duration(text: str) -> Duration:
    found = parse_duration(text)
    if found is None:
        raise _refused("google.protobuf.Duration")
    return found


def text_to_timestamp(text: str) -> Timestamp:
    found = parse_timestamp(text)
    if found is None:
        raise _refused("google.protobuf.Timestamp")
    return found


def bytes_to_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def double_to_int(value: float) -> int:
    """Towards zero; the two ends of the range are out of it, as they are not exact."""
    if not math.isfinite(value) or not SMALLEST_INT < value < LARGEST_INT:
        raise EvaluationError("integer overflow")
    return int(value)


def double_to_uint(value: float) -> Uint:
    if not math.isfinite(value) or not 0 <= value < LARGEST_UINT:
        raise EvaluationError("unsigned integer overflow")
    return Uint(int(value))


def uint_to_int(value: Uint) -> int:
    if value > LARGEST_INT:
        raise EvaluationError("integer overflow")
    return int(value)


def int_to_uint(value: int) -> Uint:
    return unsigned(value)


def int_to_timestamp(value: int) -> Timestamp:
    return timestamp_of(value * SECOND)


def int_to_duration(_: int) -> Duration:
    """The checker lets it pass; there is no such conversion."""
    raise EvaluationError("type conversion error from 'int' to 'google.protobuf.Duration'")


def same(value: Value) -> Value:
    return value


# A conversion and the types it is between.
Conversion = tuple[Type, Type, Callable[..., Value]]
