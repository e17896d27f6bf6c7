"""What the functions of libraries cost when they are called.

Source: CallCost of apiserver pkg/cel/library/cost.go and the cost trackers of cel-go's extensions.
"""

import math
from collections.abc import Sequence

from tensorfusion.cel.declarations import Cost
from tensorfusion.cel.values import Opaque, Value

# A list is dearer than what it holds, and a call costs one.
_LIST = 10
_CALL = 1
_LETTER = 0.1
_PATTERN_LETTER = 0.25


def size_of(value: Value) -> int:
    """Characters, bytes, elements or entries; 1 for all that has no size."""
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    return value.size if isinstance(value, Opaque) else 1


def letters(size: float) -> int:
    """The cost of going over so many characters."""
    return math.ceil(size * _LETTER)


def over_first(factor: int = 1) -> Cost:
    """The first argument is gone over so many times."""
    return lambda arguments, _result: letters(size_of(arguments[0]) * factor)


def over_result(factor: int = 1) -> Cost:
    """The result is gone over so many times."""
    return lambda _arguments, result: letters(size_of(result) * factor)


def matching(text: int, pattern: int) -> int:
    """The cost of matching a text of one size with a pattern of another."""
    return letters(1 + text) * math.ceil(pattern * _PATTERN_LETTER)


def deep(value: Value) -> int:
    """The cost of visiting everything that a value holds."""
    if isinstance(value, str):
        return int(len(value.encode("utf-8", "surrogatepass")) * _LETTER)
    if isinstance(value, bytes):
        return int(len(value) * _LETTER)
    if isinstance(value, list):
        return sum(map(deep, value))
    if isinstance(value, dict):
        return sum(deep(key) + deep(held) for key, held in value.items())
    return 1


def deep_first(arguments: Sequence[Value], _result: Value) -> int:
    """Everything that the first argument holds is visited."""
    return deep(arguments[0])


def making_list(size: float) -> int:
    """The cost of a call that goes over so many elements and makes a list."""
    return int(size) + _CALL + _LIST


def comparing_all(items: Sequence[Value]) -> int:
    """The cost of comparing each element with each other one."""
    factor = 2 + _LETTER if items and isinstance(items[0], str | bytes) else 2
    return making_list(len(items) ** 2 * factor)
