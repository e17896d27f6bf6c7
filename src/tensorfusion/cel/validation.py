"""Checks beyond types: what an evaluation could only fail with, and literals that hold values of several types.

Source: the validators of Kubernetes' CEL environment.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tensorfusion.cel.checker import Checked, Problem
from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.library.formatting import FormatProblem, check_format
from tensorfusion.cel.moments import parse_duration, parse_timestamp, timestamp_of
from tensorfusion.cel.syntax import Call, Comprehension, CreateList, CreateMap, Literal, Node, Select
from tensorfusion.cel.types import Kind, Type, unwrapped
from tensorfusion.cel.values import SECOND
from tensorfusion.re2.patterns import compile_pattern

# Their lists may hold anything.
_EXEMPT = frozenset({"format"})


def invalid_literals(checked: Checked) -> list[Problem]:
    """What is wrong with the literals of a checked tree."""
    walk = _Walk(checked)
    walk.visit(checked.root, exempt=False)
    return walk.problems


class _Walk:
    def __init__(self, checked: Checked) -> None:
        self._types = checked.types
        self.problems: list[Problem] = []

    def visit(self, node: Node, *, exempt: bool) -> None:
        if isinstance(node, Call):
            exempt = exempt or node.function in _EXEMPT
            self.problems.extend(_wrong_arguments(node))
            self.problems.extend(self._wrong_format(node))
        elif isinstance(node, CreateList) and not exempt:
            elements = [(element, at in node.optional) for at, element in enumerate(node.elements)]
            self._same(elements, stop=True)
        elif isinstance(node, CreateMap) and not exempt:
            self._same([(entry.key, False) for entry in node.entries], stop=False)
            self._same([(entry.value, entry.optional) for entry in node.entries], stop=False)
        for child in children(node):
            self.visit(child, exempt=exempt)

    def _wrong_format(self, call: Call) -> Iterator[Problem]:
        """What is wrong with ``'text'.format([...])`` as written."""
        text = call.target
        if call.function != "format" or len(call.arguments) != 1 or not isinstance(text, Literal):
            return
        arguments = call.arguments[0]
        if isinstance(text.value, str) and isinstance(arguments, CreateList):
            try:
                check_format(text.value, arguments.elements, self._types.__getitem__)
            except FormatProblem as error:
                yield Problem(str(error), (error.node or call).at)

    def _same(self, nodes: Sequence[tuple[Node, bool]], *, stop: bool) -> None:
        """Every element is of the first one's type."""
        wanted: Type | None = None
        for node, optional in nodes:
            found = self._types[node]
            if optional:
                found = unwrapped(found) or found
            wanted = wanted or found
            if not _equivalent(wanted, found):
                self.problems.append(Problem(f"expected type '{wanted}' but found '{found}'", node.at))
                if stop:
                    return


def _equivalent(one: Type, other: Type) -> bool:
    """Types of the same shape; what a type's name is of does not matter."""
    if one.kind is not other.kind or one.name != other.name or len(one.parameters) != len(other.parameters):
        return False
    return one.kind is Kind.TYPE or all(map(_equivalent, one.parameters, other.parameters))


def children(node: Node) -> Iterator[Node]:
    """The nodes right below one."""
    if isinstance(node, Call):
        if node.target is not None:
            yield node.target
        yield from node.arguments
    elif isinstance(node, Select):
        yield node.operand
    elif isinstance(node, CreateList):
        yield from node.elements
    elif isinstance(node, CreateMap):
        for entry in node.entries:
            yield entry.key
            yield entry.value
    elif isinstance(node, Comprehension):
        yield from (node.range, node.start, node.condition, node.step, node.result)


def _wrong_arguments(call: Call) -> Iterator[Problem]:
    check = _CHECKS.get(call.function)
    if check is None or not call.arguments:
        return
    literal = call.arguments[0 if call.target is not None or call.function != "matches" else -1]
    if isinstance(literal, Literal) and not check(literal.value):
        yield Problem(f"invalid {call.function} argument", literal.at)


# Any: the value of a literal.
def _is_duration(value: Any) -> bool:
    return isinstance(value, str) and parse_duration(value) is not None


def _is_timestamp(value: Any) -> bool:
    try:
        if isinstance(value, str):
            return parse_timestamp(value) is not None
        return type(value) is int and timestamp_of(value * SECOND) is not None
    except EvaluationError:
        return False


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    try:
        compile_pattern(value)
    except re.error:
        return False
    return True


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "duration": _is_duration,
    "timestamp": _is_timestamp,
    "matches": _is_pattern,
}
