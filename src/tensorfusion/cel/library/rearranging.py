"""Functions that make lists of lists: the lists extension, version 3.

``sortBy`` is a macro; what it is written out to calls ``@sortByAssociatedKeys``.

Source: cel-go ext/lists.go.
"""

from collections.abc import Callable, Sequence
from functools import cmp_to_key

from tensorfusion.cel import costs
from tensorfusion.cel.comparison import compare, contains, is_ordered
from tensorfusion.cel.declarations import Cost, Function, Implementation, Library, Overload
from tensorfusion.cel.errors import CostExceeded, EvaluationError, NoSuchOverload
from tensorfusion.cel.texts import type_name
from tensorfusion.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    parameter,
)
from tensorfusion.cel.values import Value, type_of_value

ORDERED = (INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES)
# Making a longer list costs more than any expression may.
_LONGEST_RANGE = 1_000_000

_List = Sequence[Value]


def _slice(items: _List, start: int, end: int) -> list[Value]:
    problem = f"cannot slice({start}, {end}), "
    if start < 0 or end < 0:
        raise EvaluationError(problem + "negative indexes not supported")
    if start > end:
        raise EvaluationError(problem + "start index must be less than or equal to end index")
    if len(items) < end:
        raise EvaluationError(f"{problem}list is length {len(items)}")
    return list(items[start:end])


def _flatten(items: Value, depth: Value = None) -> list[Value]:
    if not isinstance(items, list):
        shown = "" if depth is None else type_name(type_of_value(depth))
        raise EvaluationError(f"no such overload: {type_name(type_of_value(items))}.flatten({shown})")
    return _flattened(items, 1 if depth is None else depth)


def _flattened(items: _List, depth: int) -> list[Value]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    found: list[Value] = []
    for item in items:
        if depth and isinstance(item, list):
            found += _flattened(item, depth - 1)
        else:
            found.append(item)
    return found


def _distinct(items: _List) -> list[Value]:
    found: list[Value] = []
    for item in items:
        if not contains(found, item):
            found.append(item)
    return found


def _sort(items: _List) -> list[Value]:
    if not isinstance(items, list):
        raise EvaluationError("no such overload: sort")
    return _sort_by(items, items)


def _sort_by(items: _List, keys: _List) -> list[Value]:
    if not isinstance(items, list) or not isinstance(keys, list):
        raise NoSuchOverload
    if len(items) != len(keys):
        raise EvaluationError(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, "
            f"but got {len(items)} and {len(keys)} elements respectively"
        )
    if keys and not is_ordered(keys[0]):
        raise EvaluationError("list elements must be comparable")
    if any(type(key) is not type(keys[0]) for key in keys):
        raise EvaluationError("list elements must have the same type")
    by_key = cmp_to_key(_order)
    return [items[index] for index in sorted(range(len(items)), key=lambda index: by_key(keys[index]))]


def _range(size: int) -> list[Value]:
    if size > _LONGEST_RANGE:
        raise CostExceeded("operation cancelled: actual cost limit exceeded")
    return list(range(size))


def _order(left: Value, right: Value) -> int:
    """What is not a number stays where it is."""
    try:
        return compare(left, right)
    except EvaluationError:
        return 0


def _cost_of_result(_: _List, result: Value) -> int:
    return costs.making_list(costs.size_of(result))


def _cost_of_flatten(arguments: _List, _: Value) -> int:
    depth = arguments[1] if len(arguments) > 1 else 1
    return costs.making_list(float(len(arguments[0])) * depth)


def _cost_of_comparing(place: int) -> Cost:
    return lambda arguments, _: costs.comparing_all(arguments[place])


def _member(
    identifier: str, parameters: tuple[Type, ...], result: Type, implementation: Implementation, cost: Cost
) -> Overload:
    return Overload(identifier, parameters, result, implementation, member=True, cost=cost, by_overload=True)


def _for_each(make: Callable[[Type, str], Overload]) -> tuple[Overload, ...]:
    return tuple(make(element, element.kind.value) for element in ORDERED)


_LIST = list_of(parameter("T"))

REARRANGING: Library = (
    Function("slice", (_member("list_slice", (_LIST, INT, INT), _LIST, _slice, _cost_of_result),)),
    Function(
        "flatten",
        (
            _member("list_flatten", (list_of(_LIST),), _LIST, _flatten, _cost_of_flatten),
            _member("list_flatten_int", (list_of(DYN), INT), list_of(DYN), _flatten, _cost_of_flatten),
        ),
        unguarded=True,
    ),
    Function(
        "sort",
        _for_each(
            lambda element, _: _member(
                f"list_{type_name(element)}_sort",
                (list_of(element),),
                list_of(element),
                _sort,
                _cost_of_comparing(0),
            )
        ),
        unguarded=True,
    ),
    Function(
        "@sortByAssociatedKeys",
        _for_each(
            lambda element, _: _member(
                f"list_{type_name(element)}_sortByAssociatedKeys",
                (_LIST, list_of(element)),
                _LIST,
                _sort_by,
                _cost_of_comparing(1),
            )
        ),
        unguarded=True,
    ),
    Function("lists.range", (Overload("lists_range", (INT,), list_of(INT), _range, cost=_cost_of_result),)),
    Function(
        "reverse", (_member("list_reverse", (_LIST,), _LIST, lambda items: list(reversed(items)), _cost_of_result),)
    ),
    Function("distinct", (_member("list_distinct", (_LIST,), _LIST, _distinct, _cost_of_comparing(0)),)),
)
