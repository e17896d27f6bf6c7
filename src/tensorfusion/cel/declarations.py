"""How functions are declared: names, overloads with types, what computes them and what they cost.

A library is a list of functions. The checker picks the overloads whose parameter types fit; where several are left
(the types are dynamic) the first that fits the values is called.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorfusion.cel.types import Type

# Any: CEL values in and out; raises EvaluationError.
Implementation = Callable[..., Any]
# The cost of one call beyond its arguments, from the arguments and the result.
Cost = Callable[[Sequence[Any], Any], int]


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function. ``parameters`` begins with the receiver when it is a member (``text.size()``)."""

    identifier: str
    parameters: tuple[Type, ...]
    result: Type
    implementation: Implementation
    member: bool = False
    # None: 1 for a call.
    cost: Cost | None = None
    # The cost counts only where the checker left no other overload.
    by_overload: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function with its overloads, which are all tried in order."""

    name: str
    overloads: tuple[Overload, ...]
    # Where no overload fits the values, the first with so many parameters is called all the same: it checks them.
    unguarded: bool = False


Library = Sequence[Function]


def merged(libraries: Iterable[Library]) -> Mapping[str, Function]:
    """All functions by name; overloads of one name in several libraries are joined."""
    found: dict[str, Function] = {}
    for library in libraries:
        for function in library:
            before = found.get(function.name)
            overloads = (before.overloads if before else ()) + function.overloads
            found[function.name] = Function(function.name, overloads, function.unguarded)
    return found
