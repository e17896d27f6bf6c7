"""The syntax tree of an expression. Nodes are compared by identity: what is learnt of them is kept beside the tree.

``at`` is the place in the source, in characters from its start, that errors about a node point to.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Node:
    at: int


@dataclass(slots=True, eq=False)
class Literal(Node):
    """None, bool, int, Uint, float, str or bytes."""

    # Any: a value of CEL.
    value: Any


@dataclass(slots=True, eq=False)
class Identifier(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """``operand.field``; ``test`` inside ``has()``; ``optional`` when written ``operand.?field``."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """``function(arguments)`` or ``target.function(arguments)``. Operators are functions named like ``_+_``."""

    function: str
    target: Node | None
    arguments: list[Node]


@dataclass(slots=True, eq=False)
class CreateList(Node):
    elements: list[Node]
    # Indices of the elements written ``?element``.
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Entry(Node):
    """``key: value`` of a map; ``optional`` when written ``?key: value``."""

    key: Node
    value: Node
    optional: bool = False


@dataclass(slots=True, eq=False)
class CreateMap(Node):
    entries: list[Entry]


@dataclass(slots=True, eq=False)
class CreateObject(Node):
    """``Name{field: value}``. Kubernetes declares no types that can be made so: always an error of the checker."""

    name: str


@dataclass(slots=True, eq=False)
class Comprehension(Node):
    """A loop: what ``all``, ``map``, ``cel.bind`` and their like are written out to.

    ``variable`` (and ``second``, if not empty) walk over ``range``; ``accumulator`` starts as ``start`` and becomes
    ``step`` while ``condition`` holds; the value is ``result``.
    """

    range: Node
    variable: str
    second: str
    accumulator: str
    start: Node
    condition: Node
    step: Node
    result: Node
