"""The functions of lists that Kubernetes has of its own.

Each is declared once for each type of element it takes, so that a list of others is refused when it is compiled.

Source: apiserver pkg/cel/library/lists.go.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from tensorfusion.cel import costs
from tensorfusion.cel.comparison import compare, is_ordered, same
from tensorfusion.cel.declarations import Cost, Function, Implementation, Library, Overload
from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    parameter,
)
from tensorfusion.cel.values import LARGEST_INT, LARGEST_UINT, SMALLEST_INT, Duration, Uint, Value

_SUMMED: Sequence[tuple[Type, Value]] = ((INT, 0), (UINT, Uint(0)), (DOUBLE, 0.0), (DURATION, Duration(0)))
_ORDERED = (INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES)

_List = Sequence[Value]


def _order(left: Value, right: Value) -> int | None:
    """-1, 0, 1; None where the values have no order."""
    try:
        return compare(left, right)
    except EvaluationError:
        return None


def _is_sorted(items: _List) -> bool:
    _check_ordered(items)
    return all(_order(one, following) != 1 for one, following in pairwise(items))


def _check_ordered(items: _List) -> None:
    if not all(map(is_ordered, items)):
        raise NoSuchOverload


def _extreme(name: str, replaced_when: int) -> Implementation:
    def choose(items: _List) -> Value:
        _check_ordered(items)
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        best = items[0]
        for item in items:
            if _order(best, item) == replaced_when:
                best = item
        return best

    return choose


def _sum_from(zero: Value) -> Implementation:
    def total(items: _List) -> Value:
        if any(type(item) is not type(zero) for item in items):
            raise NoSuchOverload
        if type(zero) is float:
            found = zero
            for item in items:
                found += item
            return found
        if type(zero) is Duration:
            return Duration(_added((item.nanoseconds for item in items), SMALLEST_INT, LARGEST_INT, "integer"))
        if type(zero) is Uint:
            return Uint(_added(map(int, items), 0, LARGEST_UINT, "unsigned integer"))
        return _added(items, SMALLEST_INT, LARGEST_INT, "integer")

    return total


def _added(items: Iterable[int], smallest: int, largest: int, name: str) -> int:
    total = 0
    for item in items:
        total += item
        if not smallest <= total <= largest:
            raise EvaluationError(f"{name} overflow")
    return total


def _index_of(items: _List, wanted: Value) -> int:
    return next((index for index, item in enumerate(items) if same(item, wanted)), -1)


def _last_index_of(items: _List, wanted: Value) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if same(items[index], wanted)), -1)


_A = parameter("A")


def _member(
    identifier: str, parameters: tuple[Type, ...], result: Type, implementation: Implementation, cost: Cost
) -> Overload:
    return Overload(identifier, parameters, result, implementation, member=True, cost=cost)


def _for_each(make: Callable[[Type, str], Overload]) -> tuple[Overload, ...]:
    return tuple(make(element, element.kind.value) for element in _ORDERED)


LISTS: Library = (
    Function(
        "isSorted",
        _for_each(
            lambda element, name: _member(
                f"list_{name}_is_sorted_bool", (list_of(element),), BOOL, _is_sorted, costs.deep_first
            )
        ),
    ),
    Function(
        "sum",
        tuple(
            _member(f"list_{element}_sum_{element}", (list_of(element),), element, _sum_from(zero), costs.deep_first)
            for element, zero in _SUMMED
        ),
    ),
    *(
        Function(
            name,
            tuple(
                _member(
                    f"list_{element}_{name}_{element}",
                    (list_of(element),),
                    element,
                    _extreme(name, replaced_when),
                    costs.deep_first,
                )
                for element in _ORDERED
            ),
        )
        for name, replaced_when in (("max", -1), ("min", 1))
    ),
    Function("indexOf", (_member("list_a_index_of_int", (list_of(_A), _A), INT, _index_of, costs.deep_first),)),
    Function(
        "lastIndexOf",
        (_member("list_a_last_index_of_int", (list_of(_A), _A), INT, _last_index_of, costs.deep_first),),
    ),
)
