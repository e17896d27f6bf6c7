"""Plans of calls: which overload is meant, whether the values fit it, what it costs.

Source: CEL language definition, "Evaluation"; cel-go's dispatch and runtime cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorfusion.cel.declarations import Overload
from tensorfusion.cel.errors import CostExceeded, EvaluationError
from tensorfusion.cel.texts import type_name
from tensorfusion.cel.types import Kind, Type
from tensorfusion.cel.values import Value, fits, type_of_value

# Any: the cost left, then the values of variables.
Frame = list[Any]
Step = Callable[[Frame], Value]

TOO_COSTLY = "operation cancelled: actual cost limit exceeded"
_OPEN = frozenset({Kind.DYN, Kind.PARAMETER})
# Their errors do not say what they were called with.
_TERSE = frozenset({"contains", "endsWith", "startsWith", "matches", "find", "findAll"})


def spend(frame: Frame, cost: int) -> None:
    """Raises: CostExceeded."""
    frame[0] -= cost
    if frame[0] < 0:
        raise CostExceeded(TOO_COSTLY)


@dataclass(frozen=True, slots=True)
class Calling:
    """A call: its function, the overloads that the checker left, and the checked types of its arguments."""

    function: str
    overloads: Sequence[Overload]
    types: Sequence[Type]
    # It checks the values itself where no overload fits them.
    unguarded: bool = False

    def step(self, arguments: Sequence[Step]) -> Step:
        """The plan of the call."""
        first = self.overloads[0]
        if not self.function[0].isalpha() and all(one.implementation == first.implementation for one in self.overloads):
            return _direct(first if len(self.overloads) == 1 else _costing_one(first), arguments)
        if len(self.overloads) == 1 and not self._uncertain(first):
            return _direct(first, arguments)
        return self._dispatched(arguments)

    def _uncertain(self, overload: Overload) -> bool:
        """Whether only the values show that they fit."""
        return any(map(_may_not_fit, self.types, overload.parameters))

    def _dispatched(self, arguments: Sequence[Step]) -> Step:
        unsure = len(self.overloads) > 1

        def choose(frame: Frame) -> Value:
            values = [argument(frame) for argument in arguments]
            for overload in self.overloads:
                if all(map(fits, values, overload.parameters)):
                    found = overload.implementation(*values)
                    cost = overload.cost
                    spend(frame, 1 if cost is None or (unsure and overload.by_overload) else cost(values, found))
                    return found
            if not self.unguarded:
                raise self._unmatched(values)
            first = self.overloads[0]
            found = first.implementation(*values)
            spend(frame, 1 if first.cost is None or unsure else first.cost(values, found))
            return found

        return choose

    def _unmatched(self, values: Sequence[Value]) -> EvaluationError:
        if self.function in _TERSE:
            return EvaluationError("no such overload")
        if self.function == "size":
            return EvaluationError("no such overload: size")
        shown = ", ".join(type_name(type_of_value(value)) for value in values)
        return EvaluationError(f"no such overload: {self.function}({shown})")


def _may_not_fit(found: Type, wanted: Type) -> bool:
    if wanted.kind in _OPEN:
        return False
    if found.is_dynamic:
        return True
    return any(map(_may_not_fit, found.parameters, wanted.parameters))


def _costing_one(overload: Overload) -> Overload:
    return Overload("", overload.parameters, overload.result, overload.implementation)


def _direct(overload: Overload, arguments: Sequence[Step]) -> Step:
    """A call whose arguments are known to fit."""
    implementation, cost = overload.implementation, overload.cost
    if cost is not None:
        price = cost

        def priced(frame: Frame) -> Value:
            values = [argument(frame) for argument in arguments]
            found = implementation(*values)
            spend(frame, price(values, found))
            return found

        return priced
    if len(arguments) == 1:
        only = arguments[0]

        def one(frame: Frame) -> Value:
            found = implementation(only(frame))
            frame[0] -= 1
            return found

        return one
    if len(arguments) == 2:
        first, second = arguments

        def two(frame: Frame) -> Value:
            found = implementation(first(frame), second(frame))
            spend(frame, 1)
            return found

        return two

    def several(frame: Frame) -> Value:
        found = implementation(*[argument(frame) for argument in arguments])
        spend(frame, 1)
        return found

    return several
