"""From a checked tree to nested Python functions that evaluate it.

Each takes a frame: a list whose first element is the cost that may still be spent and whose others are the variables,
those of loops included. An evaluation is thus free of lookups by name, and a plan may be used from any thread.

Errors are exceptions. ``&&``, ``||``, ``all`` and ``exists`` go on past one, as a later value may settle the answer.

Costs are what Kubernetes counts: 1 for a name, a field, an index; 10 for a list, 30 for a map; calls as declared.

Source: CEL language definition, "Evaluation"; cel-go's runtime cost.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tensorfusion.cel.calls import TOO_COSTLY, Calling, Frame, Step
from tensorfusion.cel.checker import Checked, qualified_name
from tensorfusion.cel.comparison import contains
from tensorfusion.cel.errors import CompileError, CostExceeded, EvaluationError, NoSuchOverload
from tensorfusion.cel.loops import UNSET, plan_loop
from tensorfusion.cel.operators import index, key_text, position
from tensorfusion.cel.syntax import (
    Call,
    Comprehension,
    CreateList,
    CreateMap,
    Identifier,
    Literal,
    Node,
    Select,
)
from tensorfusion.cel.values import NOTHING, Some, Value, key_of
from tensorfusion.re2.patterns import compile_pattern

_LIST_COST, _MAP_COST = 10, 30
_MATCHING = frozenset({"matches", "find", "findAll"})
_READS = frozenset({"_[_]", "_[?_]", "_?_:_"})
_CONVERSIONS = frozenset({"bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"})


class Plan:
    """An expression ready to be evaluated."""

    __slots__ = ("_names", "_size", "_step")

    def __init__(self, checked: Checked, variables: Sequence[str]) -> None:
        planner = Planner(checked, variables)
        self._step = planner.plan(checked.root)
        self._names = tuple(variables)
        self._size = planner.size

    def evaluate(self, variables: Mapping[str, Value], limit: int) -> tuple[Value, int]:
        """The value and what it cost.

        Raises:
            EvaluationError: with the first thing that failed.
            CostExceeded: it would cost more than ``limit``.
        """
        frame: Frame = [limit]
        frame += [variables.get(name) for name in self._names]
        frame += [None] * (self._size - len(frame))
        try:
            value = self._step(frame)
        except EvaluationError as error:
            error.cost = limit - frame[0]
            raise
        except (AttributeError, TypeError):
            raise NoSuchOverload from None  # a value that is not of the type it was declared to be
        if frame[0] < 0:
            raise CostExceeded(TOO_COSTLY)
        return value, limit - frame[0]


class Planner:
    """Makes steps of nodes, and places in the frame of variables."""

    def __init__(self, checked: Checked, variables: Sequence[str]) -> None:
        self._checked = checked
        self._scopes: list[dict[str, int]] = [{name: at for at, name in enumerate(variables, 1)}]
        self.size = len(variables) + 1
        # Places whose values are evaluated when they are first needed.
        self.lazy: dict[int, Step] = {}

    def plan(self, node: Node) -> Step:
        return _PLANS[type(node)](self, node)

    def enter(self, *names: str) -> list[int]:
        """New places for the variables of a loop, which hide outer ones of the same names until ``leave``."""
        places = list(range(self.size, self.size + len(names)))
        self.size += len(names)
        self._scopes.append(dict(zip(names, places, strict=True)))
        return places

    def leave(self) -> None:
        self._scopes.pop()

    @staticmethod
    def is_constant(step: Step) -> bool:
        """Whether a step is one value, whatever the variables are."""
        return is_constant(step)

    def literal(self, node: Literal) -> Step:
        return constant(node.value)

    def identifier(self, node: Identifier) -> Step:
        if node in self._checked.constants:
            return constant(self._checked.constants[node])
        name = node.name.removeprefix(".")
        scopes = self._scopes[:1] if name != node.name else self._scopes[::-1]
        place = next(scope[name] for scope in scopes if name in scope)

        if place in self.lazy:
            return self._bound(place)

        def read(frame: Frame) -> Value:
            frame[0] -= 1
            return frame[place]

        return read

    def _bound(self, place: int) -> Step:
        """A name for a value that is evaluated when it is first needed."""
        start = self.lazy[place]

        def read(frame: Frame) -> Value:
            frame[0] -= 1
            if frame[place] is UNSET:
                frame[place] = start(frame)
            return frame[place]

        return read

    def is_attribute(self, node: Node) -> bool:
        """Whether a node reads from a variable, in any number of steps: the first of them has been paid for."""
        if isinstance(node, Identifier | Select):
            return node not in self._checked.constants and not (isinstance(node, Select) and node.test)
        return isinstance(node, Call) and node.function in _READS

    def _container(self, node: Node) -> Step:
        """What is read from. Where it is not read itself, it costs 1 to begin."""
        step = self.plan(node)
        if self.is_attribute(node):
            return step

        def begin(frame: Frame) -> Value:
            frame[0] -= 1
            return step(frame)

        return begin

    def _unpaid(self, node: Node) -> Step:
        """What is read for another reading: its first step costs nothing."""
        step = self.plan(node)
        if not self.is_attribute(node) or (isinstance(node, Call) and node.function == "_?_:_"):
            return step

        def read(frame: Frame) -> Value:
            frame[0] += 1
            return step(frame)

        return read

    def select(self, node: Select) -> Step:
        if node in self._checked.constants:
            return constant(self._checked.constants[node])
        operand, field = self._container(node.operand), node.field
        if node.test:

            def test(frame: Frame) -> bool:
                return has_field(operand(frame), field)

            return test
        if node.optional:

            def look(frame: Frame) -> Value:
                return optional_element(frame, operand(frame), field)

            return look

        def read(frame: Frame) -> Value:
            found = operand(frame)
            if type(found) is dict:
                frame[0] -= 1
                try:
                    return found[field]
                except KeyError:
                    raise EvaluationError(f"no such key: {field}") from None
            return element(frame, found, field)

        return read

    def create_list(self, node: CreateList) -> Step:
        elements = [self.plan(element) for element in node.elements]
        if not node.optional:
            if all(is_constant(step) for step in elements):
                return constant([step([0]) for step in elements])

            def make(frame: Frame) -> Value:
                found = [element(frame) for element in elements]
                frame[0] -= _LIST_COST
                return found

            return make

        def collect(frame: Frame) -> Value:
            found: list[Value] = []
            for at, element in enumerate(elements):
                value = element(frame)
                if at in node.optional:
                    if value is NOTHING:
                        continue
                    if type(value) is not Some:
                        raise EvaluationError(
                            f"cannot initialize optional list element from non-optional value {key_text(value)}"
                        )
                    value = value.value
                found.append(value)
            frame[0] -= _LIST_COST
            return found

        return collect

    def create_map(self, node: CreateMap) -> Step:
        entries = [(self.plan(entry.key), self.plan(entry.value), entry.optional) for entry in node.entries]

        def make(frame: Frame) -> Value:
            found: dict[Value, Value] = {}
            for key_step, value_step, optional in entries:
                key = key_of(key_step(frame))
                value = value_step(frame)
                if optional:
                    if value is NOTHING:
                        continue
                    if type(value) is not Some:
                        wanted = f"cannot initialize optional entry '{key_text(key)}' from non-optional value"
                        raise EvaluationError(f"{wanted} {key_text(value)}")
                    value = value.value
                found[key] = value
            frame[0] -= _MAP_COST
            return found

        if all(is_constant(key) and is_constant(value) and not optional for key, value, optional in entries):
            with suppress(EvaluationError):
                return constant(make([0]))
        return make

    def comprehension(self, node: Comprehension) -> Step:
        return plan_loop(self, node)

    def call(self, node: Call) -> Step:
        special = _SPECIAL.get((node.function, node.target is not None))
        if special is not None:
            return special(self, node)
        if node.function == "@in":
            membership = self._constant_membership(node)
            if membership is not None:
                return membership
        nodes = list(node.arguments)
        if node.target is not None and node not in self._checked.namespaced:
            nodes.insert(0, node.target)
        arguments = [self.plan(argument) for argument in nodes]
        if node.function in _MATCHING:
            _check_pattern(arguments[-1])
        overloads = self._checked.overloads[node]
        types = [self._checked.types[argument] for argument in nodes]
        name = node.function.removeprefix(".")
        if node in self._checked.namespaced:
            name = f"{qualified_name(node.target)}.{name}"
        step = Calling(name, overloads, types, unguarded=node in self._checked.unguarded).step(arguments)
        if name in _CONVERSIONS and len(arguments) == 1 and is_constant(arguments[0]):
            return _folded(step)
        return step

    def _constant_membership(self, node: Call) -> Step | None:
        """``x in [1, 2]`` with a constant list costs nothing."""
        wanted, items = (self.plan(argument) for argument in node.arguments)
        if not is_constant(items) or not isinstance(node.arguments[1], CreateList):
            return None
        found = items([0])
        if not found:
            return constant(False)
        if any(one is None or isinstance(one, list | dict) for one in found):
            return None
        return lambda frame: contains(found, wanted(frame))

    def conditional(self, node: Call) -> Step:
        condition = self.plan(node.arguments[0])
        chosen, other = (self._unpaid(argument) for argument in node.arguments[1:])

        def choose(frame: Frame) -> Value:
            found = condition(frame)
            if found is True:
                return chosen(frame)
            if found is False:
                return other(frame)
            raise NoSuchOverload

        return choose

    def conjunction(self, node: Call) -> Step:
        return self._logic(node, settled=False)

    def disjunction(self, node: Call) -> Step:
        return self._logic(node, settled=True)

    def _logic(self, node: Call, *, settled: bool) -> Step:
        """``&&`` and ``||``: one of the values settles the answer, whatever the other side is or fails with."""
        left, right = (self.plan(argument) for argument in node.arguments)

        def decide(frame: Frame) -> Value:
            try:
                found = left(frame)
            except EvaluationError as failed:
                try:
                    decided = right(frame) is settled
                except EvaluationError:
                    decided = False
                if decided:
                    return settled
                raise failed from None
            if found is settled:
                return settled
            try:
                other = right(frame)
            except EvaluationError:
                if type(found) is bool:
                    raise
                raise NoSuchOverload from None
            if other is settled or (type(found) is bool and type(other) is bool):
                return other
            raise NoSuchOverload

        return decide

    def index(self, node: Call) -> Step:
        container, place = self._container(node.arguments[0]), self._unpaid(node.arguments[1])

        def read(frame: Frame) -> Value:
            found = container(frame)
            return element(frame, found, place(frame))

        return read

    def optional_index(self, node: Call) -> Step:
        container, place = self._container(node.arguments[0]), self._unpaid(node.arguments[1])

        def read(frame: Frame) -> Value:
            found = container(frame)
            return optional_element(frame, found, place(frame))

        return read

    def alternative(self, node: Call) -> Step:
        """``or`` and ``orValue`` of optionals: the second argument is needed only where the first has no value.

        What is no optional at all is passed on.
        """
        target, other = (self.plan(one) for one in (node.target, *node.arguments) if one is not None)
        unwrap = node.function == "orValue"

        def choose(frame: Frame) -> Value:
            found = target(frame)
            if type(found) is Some:
                return found.value if unwrap else found
            return other(frame) if found is NOTHING else found

        return choose


class _Constant:
    """A step that always gives one value; loops and folding ask for it."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    def __call__(self, _: Frame) -> Value:
        return self.value


def constant(value: Value) -> Step:
    return _Constant(value)


def is_constant(step: Step) -> bool:
    return type(step) is _Constant


def _check_pattern(step: Step) -> None:
    """Raises: CompileError for a constant that is no regular expression."""
    pattern = step([0]) if is_constant(step) else ""
    if isinstance(pattern, str):
        try:
            compile_pattern(pattern)
        except re.error as error:
            raise CompileError(f"program instantiation failed: {error}") from None


def _folded(step: Step) -> Step:
    """A conversion of a constant, done once.

    Raises:
        CompileError: it cannot be converted.
    """
    try:
        return constant(step([1 << 60]))
    except EvaluationError as error:
        raise CompileError(f"program instantiation failed: {error}") from None


def element(frame: Frame, found: Value, at: Value) -> Value:
    """What is at a place of a list or map; an optional where it is an optional that holds one."""
    if type(found) is Some or found is NOTHING:
        return optional_element(frame, found, at)
    frame[0] -= 1
    return index(found, at)


def optional_element(frame: Frame, found: Value, at: Value) -> Value:
    """What is at a place, as an optional: nothing where the place, or an outer one, is not there. Absence is free."""
    if type(found) is Some:
        found = found.value
    held = NOTHING
    if isinstance(found, dict):
        held = found.get(key_of(at), NOTHING)
    elif isinstance(found, list):
        try:
            held = found[position(found, at)]
        except EvaluationError as error:
            if not str(error).startswith("index out of bounds"):
                raise
    if held is NOTHING:
        return NOTHING
    frame[0] -= 1
    return Some(held)


def has_field(found: Value, field: str) -> bool:
    """``has(found.field)``."""
    if isinstance(found, dict):
        return field in found
    if type(found) is Some:
        return has_field(found.value, field)
    if isinstance(found, list):
        position(found, field)
    return False


# Any: each plan takes the nodes of its key only.
_PLANS: Mapping[type[Node], Callable[[Planner, Any], Step]] = {
    Literal: Planner.literal,
    Identifier: Planner.identifier,
    Select: Planner.select,
    Call: Planner.call,
    CreateList: Planner.create_list,
    CreateMap: Planner.create_map,
    Comprehension: Planner.comprehension,
}
_SPECIAL: Mapping[tuple[str, bool], Callable[[Planner, Call], Step]] = {
    ("_?_:_", False): Planner.conditional,
    ("_&&_", False): Planner.conjunction,
    ("_||_", False): Planner.disjunction,
    ("_[_]", False): Planner.index,
    ("_[?_]", False): Planner.optional_index,
    ("or", True): Planner.alternative,
    ("orValue", True): Planner.alternative,
}
