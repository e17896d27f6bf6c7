"""Lists as sets: the sets extension.

Source: cel-go ext/sets.go.
"""

from collections.abc import Sequence

from tensorfusion.cel.comparison import contains
from tensorfusion.cel.declarations import Cost, Function, Library, Overload
from tensorfusion.cel.types import BOOL, list_of, parameter
from tensorfusion.cel.values import Value

_List = Sequence[Value]


def _includes(items: _List, wanted: _List) -> bool:
    return all(contains(list(items), one) for one in wanted)


def _intersect(left: _List, right: _List) -> bool:
    return any(contains(list(right), one) for one in left)


def _cost_of_sets(factor: int) -> Cost:
    return lambda arguments, _: 1 + len(arguments[0]) * len(arguments[1]) * factor


_LIST = list_of(parameter("T"))

SETS: Library = tuple(
    Function(
        f"sets.{name}",
        (Overload(f"list_sets_{name}_list", (_LIST, _LIST), BOOL, implementation, cost=_cost_of_sets(factor)),),
    )
    for name, implementation, factor in (
        ("contains", _includes, 1),
        ("equivalent", lambda left, right: _includes(left, right) and _includes(right, left), 2),
        ("intersects", _intersect, 1),
    )
)
