"""Types of an expression: what every node gives, which overloads each call may mean, and what cannot work.

All problems are found in one walk; after one, types go on as errors that fit anything.

Source: CEL language definition, "Gradual Type Checking"; texts as Kubernetes gives them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorfusion.cel.declarations import Function, Overload
from tensorfusion.cel.syntax import (
    Call,
    Comprehension,
    CreateList,
    CreateMap,
    CreateObject,
    Identifier,
    Literal,
    Node,
    Select,
)
from tensorfusion.cel.types import (
    BOOL,
    DYN,
    ERROR,
    INT,
    Kind,
    Type,
    list_of,
    map_of,
    optional_of,
    parameter,
    unwrapped,
)
from tensorfusion.cel.unify import Bindings, assignable, most_general, substituted
from tensorfusion.cel.values import type_of_value


@dataclass(frozen=True, slots=True)
class Problem:
    message: str
    at: int


@dataclass(slots=True)
class Checked:
    """What the checker learnt of a tree."""

    root: Node
    types: dict[Node, Type] = field(default_factory=dict)
    overloads: dict[Node, tuple[Overload, ...]] = field(default_factory=dict)
    # Names of types, which are values: ``int``, ``net.IP``. Any: a value of CEL.
    constants: dict[Node, Any] = field(default_factory=dict)
    # Calls of functions with a dotted name: their target is no value.
    namespaced: set[Node] = field(default_factory=set)
    # Calls of functions that check the values themselves.
    unguarded: set[Node] = field(default_factory=set)
    # The environment's variables that are used.
    variables: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def check(
    root: Node, variables: Mapping[str, Type], constants: Mapping[str, Type], functions: Mapping[str, Function]
) -> Checked:
    """Find the types of a tree. ``constants`` are the names of types."""
    walk = _Checker(root, variables, constants, functions)
    walk.check(root)
    found = walk.found
    for node, inferred in found.types.items():
        found.types[node] = substituted(walk.bindings, inferred, open_as_dyn=True)
    return found


def qualified_name(node: Node | None) -> str:
    """``a.b.c`` as written; empty for anything that is not only names and dots."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.test and not node.optional:
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Identifier):
        return ""
    parts.append(node.name)
    return ".".join(reversed(parts))


class _Checker:
    def __init__(
        self,
        root: Node,
        variables: Mapping[str, Type],
        constants: Mapping[str, Type],
        functions: Mapping[str, Function],
    ) -> None:
        self.found = Checked(root)
        self.bindings: Bindings = {}
        self._scopes: list[dict[str, Type]] = [dict(variables)]
        self._constants = constants
        self._functions = functions
        self._open = 0

    def check(self, node: Node) -> Type:
        """The type of a node, which is recorded."""
        found = _VISITS[type(node)](self, node)
        self.found.types[node] = found
        return found

    def _problem(self, node: Node, message: str) -> Type:
        self.found.problems.append(Problem(message, node.at))
        return ERROR

    def _undeclared(self, node: Node, name: str) -> Type:
        return self._problem(node, f"undeclared reference to '{name}' (in container '')")

    def _fits(self, one: Type, other: Type) -> bool:
        bindings = assignable(self.bindings, [(one, other)])
        if bindings is None:
            return False
        self.bindings = bindings
        return True

    def _mismatch(self, node: Node, wanted: Type, found: Type) -> Type:
        return self._problem(node, f"expected type '{self._shown(wanted)}' but found '{self._shown(found)}'")

    def _shown(self, found: Type) -> Type:
        return substituted(self.bindings, found, open_as_dyn=True)

    def _free(self) -> Type:
        self._open += 1
        return parameter(f"_var{self._open}")

    def literal(self, node: Literal) -> Type:
        return type_of_value(node.value)

    def identifier(self, node: Identifier) -> Type:
        name = node.name.removeprefix(".")
        return self._named(node, name, outermost=name != node.name) or self._undeclared(node, node.name)

    def _named(self, node: Node, name: str, *, outermost: bool = False) -> Type | None:
        for scope in self._scopes[:1] if outermost else reversed(self._scopes):
            if name in scope:
                if scope is self._scopes[0]:
                    self.found.variables.add(name)
                return scope[name]
        constant = self._constants.get(name)
        if constant is not None:
            self.found.constants[node] = constant.parameters[0]
        return constant

    def select(self, node: Select) -> Type:
        name = qualified_name(node)
        if name:
            found = self._named(node, name)
            if found is not None:
                return found
        found = self._field(node, node.operand, node.field, optional=node.optional)
        return BOOL if node.test else substituted(self.bindings, found)

    def _field(self, node: Node, operand: Node, name: str, *, optional: bool = False) -> Type:
        target = substituted(self.bindings, self.check(operand))
        inner = unwrapped(target)
        target = target if inner is None else inner
        result = DYN
        if target.kind is Kind.MAP:
            result = target.parameters[1]
        elif target.kind is Kind.OBJECT:
            result = target.fields.get(name) or self._problem(node, f"undefined field '{name}'")
        elif target.kind is Kind.PARAMETER:
            self._fits(DYN, target)
        elif not target.is_dynamic:
            self._problem(node, f"type '{self._shown(target)}' does not support field selection")
        return optional_of(result) if optional or inner is not None else result

    def call(self, node: Call) -> Type:
        arguments = [self.check(argument) for argument in node.arguments]
        if node.target is None:
            function = self._functions.get(node.function.removeprefix("."))
            if function is None:
                return self._undeclared(node, node.function)
            return self._resolve(node, function, arguments, member=False)
        prefix = qualified_name(node.target)
        function = self._functions.get(f"{prefix}.{node.function}") if prefix else None
        if function is not None:
            self.found.namespaced.add(node)
            return self._resolve(node, function, arguments, member=False)
        arguments.insert(0, self.check(node.target))
        function = self._functions.get(node.function)
        if function is None:
            return self._undeclared(node, node.function)
        return self._resolve(node, function, arguments, member=True)

    def _resolve(self, node: Call, function: Function, arguments: Sequence[Type], *, member: bool) -> Type:
        """All overloads that the arguments fit; the type is theirs, or dyn where they differ."""
        if function.name in ("_&&_", "_||_"):
            return self._logic(node, function, arguments)
        chosen: list[Overload] = []
        result: Type | None = None
        for overload in function.overloads:
            if overload.member is not member or len(overload.parameters) != len(arguments):
                continue
            fresh: Bindings = {}
            wanted = [self._instantiated(one, fresh) for one in overload.parameters]
            bindings = assignable(self.bindings, list(zip(arguments, wanted, strict=True)))
            if bindings is None:
                continue
            self.bindings = bindings
            chosen.append(overload)
            given = substituted(self.bindings, self._instantiated(overload.result, fresh))
            if result is None:
                result = given
            elif result.kind is not Kind.DYN and given != result:
                result = DYN
        if result is None:
            signature = self._signature(arguments, member=member)
            return self._problem(node, f"found no matching overload for '{function.name}' applied to '{signature}'")
        self.found.overloads[node] = tuple(chosen)
        if function.unguarded:
            self.found.unguarded.add(node)
        return result

    def _logic(self, node: Call, function: Function, arguments: Sequence[Type]) -> Type:
        self.found.overloads[node] = function.overloads
        wrong = [pair for pair in zip(node.arguments, arguments, strict=True) if not self._fits(pair[1], BOOL)]
        for argument, found in wrong:
            self._mismatch(argument, BOOL, found)
        return ERROR if wrong else BOOL

    def _instantiated(self, found: Type, fresh: Bindings) -> Type:
        """A declared type with parameters of this call's own."""
        if found.kind is Kind.PARAMETER:
            if found not in fresh:
                fresh[found] = self._free()
            return fresh[found]
        if not found.parameters:
            return found
        inner = tuple(self._instantiated(one, fresh) for one in found.parameters)
        return Type(found.kind, found.name, inner, found.fields)

    def _signature(self, arguments: Sequence[Type], *, member: bool) -> str:
        shown = [str(self._shown(one)) for one in arguments]
        return f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"

    def create_list(self, node: CreateList) -> Type:
        joined: Type | None = None
        for index, element in enumerate(node.elements):
            found = self.check(element)
            if index in node.optional:
                found = self._unwrapped(element, found)
            joined = self._joined(joined, found)
        return list_of(joined or self._free())

    def _unwrapped(self, node: Node, found: Type) -> Type:
        inner = unwrapped(found)
        if inner is not None:
            return inner
        if found.kind is not Kind.DYN:
            self._mismatch(node, optional_of(found), found)
        return found

    def _joined(self, before: Type | None, found: Type) -> Type:
        if before is None:
            return found
        return most_general(before, found) if self._fits(before, found) else DYN

    def create_map(self, node: CreateMap) -> Type:
        keys: Type | None = None
        values: Type | None = None
        for entry in node.entries:
            keys = self._joined(keys, self.check(entry.key))
            value = self.check(entry.value)
            if entry.optional:
                value = self._unwrapped(entry.value, value)
            values = self._joined(values, value)
        return map_of(keys or self._free(), values or self._free())

    def create_object(self, node: CreateObject) -> Type:
        found = self._named(node, node.name)
        if found is None:
            return self._undeclared(node, node.name)
        if found.kind is not Kind.TYPE:
            return self._problem(node, f"'{self._shown(found)}' is not a type")
        (inner,) = found.parameters or (found,)
        return self._problem(node, f"'{self._shown(inner)}' is not a message type")

    def comprehension(self, node: Comprehension) -> Type:
        walked = self.check(node.range)
        start = self.check(node.start)
        walked = substituted(self.bindings, walked)
        first, second = self._loop_variables(node, walked)
        self._scopes.append({node.accumulator: start})
        self._scopes.append({node.variable: first, **({node.second: second} if node.second else {})})
        self._must_be(node.condition, BOOL)
        self._must_be(node.step, start)
        self._scopes.pop()
        result = self.check(node.result)
        self._scopes.pop()
        return substituted(self.bindings, result)

    def _must_be(self, node: Node, wanted: Type) -> None:
        found = self.check(node)
        if not self._fits(wanted, found):
            self._mismatch(node, wanted, found)

    def _loop_variables(self, node: Comprehension, walked: Type) -> tuple[Type, Type]:
        if walked.kind is Kind.LIST:
            (element,) = walked.parameters
            return (INT, element) if node.second else (element, element)
        if walked.kind is Kind.MAP:
            return walked.parameters[0], walked.parameters[1]
        if walked.is_dynamic or walked.kind is Kind.PARAMETER:
            self._fits(DYN, walked)
            return DYN, DYN
        self._problem(
            node.range,
            f"expression of type '{self._shown(walked)}' cannot be range of a comprehension"
            " (must be list, map, or dynamic)",
        )
        return ERROR, ERROR


# Any: each visit takes the nodes of its key only.
_VISITS: Mapping[type[Node], Callable[[_Checker, Any], Type]] = {
    Literal: _Checker.literal,
    Identifier: _Checker.identifier,
    Select: _Checker.select,
    Call: _Checker.call,
    CreateList: _Checker.create_list,
    CreateMap: _Checker.create_map,
    CreateObject: _Checker.create_object,
    Comprehension: _Checker.comprehension,
}
