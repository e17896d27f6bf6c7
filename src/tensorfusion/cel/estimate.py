"""What a checked expression costs at least and at most, before any value is known.

A walk over the tree in the order of a real server. What it knows of a node is kept by node: the path by which the node
is reached from a variable, its size, and the sizes of what it holds.

Source: cel-go checker/cost.go.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorfusion.cel.call_estimates import Invocation, Operand, Outcome, outcome_of
from tensorfusion.cel.checker import Checked, qualified_name
from tensorfusion.cel.ranges import FREE, NOTHING_YET, ONE, UNKNOWN, Range, exactly
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
from tensorfusion.cel.types import Kind, Type, unwrapped

# The size of what lies at a path that begins with a variable: ``("self", "list", "@items")``; None if nobody knows.
Sizes = Callable[[Sequence[str]], Range | None]

_LIST_COST, _MAP_COST, _OBJECT_COST = exactly(10), exactly(30), exactly(40)
_SCALARS = frozenset({Kind.BOOL, Kind.DOUBLE, Kind.DURATION, Kind.INT, Kind.TIMESTAMP, Kind.UINT})
# Types whose fields cost a step to reach.
_WITH_FIELDS = frozenset({Kind.MAP, Kind.OBJECT})
_JOINED = frozenset({Kind.STRING, Kind.BYTES, Kind.LIST})


def estimate(checked: Checked, sizes: Sizes) -> Range:
    """The least and the most that evaluating a tree without problems costs."""
    return _Estimator(checked, sizes).cost(checked.root)


class _Path:
    """Steps from a variable to a place.

    A path that is lengthened twice from the same place shares its memory with both: on a real server the second
    overwrites the last step of the first. Sizes that are asked for late are then those of the wrong place, and limits
    of definitions follow from them; so it is done here as well.
    """

    __slots__ = ("_length", "_slots")

    def __init__(self, slots: list[str], length: int) -> None:
        self._slots, self._length = slots, length

    def step(self, name: str) -> "_Path":
        slots = self._slots
        if self._length == len(slots):
            slots = slots + [""] * max(len(slots), 1)
        slots[self._length] = name
        return _Path(slots, self._length + 1)

    def steps(self) -> Sequence[str]:
        return self._slots[: self._length]


_NOWHERE = _Path([], 0)


@dataclass(frozen=True, slots=True)
class _Entries:
    """The sizes of what a list or map holds."""

    kind: Kind
    keys: Range
    values: Range

    def joined(self, other: "_Entries | None") -> "_Entries | None":
        if other is None:
            return None
        return _Entries(self.kind, self.keys.joined(other.keys), self.values.joined(other.values))


@dataclass(frozen=True, slots=True)
class _Local:
    """A variable of a loop, or a name that is bound."""

    path: _Path
    size: Range | None = None
    entries: _Entries | None = None


class _Estimator:
    def __init__(self, checked: Checked, sizes: Sizes) -> None:
        self._checked = checked
        self._sizes_at = sizes
        self._paths: dict[Node, _Path] = {}
        self._sizes: dict[Node, Range] = {}
        self._entries: dict[Node, _Entries] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Range:
        return _VISITS[type(node)](self, node)

    def literal(self, _: Literal) -> Range:
        return FREE

    def create_object(self, _: CreateObject) -> Range:
        return _OBJECT_COST

    def identifier(self, node: Identifier) -> Range:
        return self._name(node, node.name)

    def _name(self, node: Node, name: str) -> Range:
        local = self._local(name)
        self._paths[node] = local.path if local else _Path([name.removeprefix(".")], 1)
        return ONE

    def select(self, node: Select) -> Range:
        if node in self._checked.constants:
            return self._name(node, qualified_name(node))
        cost = self.cost(node.operand)
        if node.test:
            return cost
        if node.optional:
            self._size(node.operand)  # what is known of it now stays so
            self._keep_size(node, self._size(node))
            return cost.plus(ONE)
        if self._checked.types[node.operand].kind in _WITH_FIELDS:
            cost = cost.plus(ONE)
        self._paths[node] = self._path(node.operand).step(node.field)
        return cost

    def create_list(self, node: CreateList) -> Range:
        cost = _LIST_COST
        held = NOTHING_YET if node.elements else FREE
        for element in node.elements:
            cost = cost.plus(self.cost(element))
            held = held.joined(self._known_size(element))
        self._entries[node] = _Entries(Kind.LIST, ONE, held)
        return cost

    def create_map(self, node: CreateMap) -> Range:
        cost = _MAP_COST
        keys = values = NOTHING_YET if node.entries else FREE
        for entry in node.entries:
            cost = cost.plus(self.cost(entry.key)).plus(self.cost(entry.value))
            keys = keys.joined(self._known_size(entry.key))
            values = values.joined(self._known_size(entry.value))
        self._entries[node] = _Entries(Kind.MAP, keys, values)
        return cost

    def comprehension(self, node: Comprehension) -> Range:
        cost = self.cost(node.range).plus(self.cost(node.start))
        self._enter(node.accumulator, self._bound(node.start))
        if _is_binding(node):
            cost = cost.plus(self.cost(node.result))
            self._leave(node.accumulator)
            self._same_size(node, node.result)
            return cost
        for name, variable in self._walking(node):
            self._enter(name, variable)
        condition, step = self.cost(node.condition), self.cost(node.step)
        for name in filter(None, (node.variable, node.second)):
            self._leave(name)
        cost = cost.plus(self.cost(node.result))
        self._leave(node.accumulator)
        rounds = self._known_size(node.range)
        if isinstance(node.start, Literal):
            self._keep_size(node, self._size(node.start))
        elif isinstance(node.start, CreateList | CreateMap):
            self._sizes[node] = rounds
            self._keep_entries(node, self._entries_of(node.step))
        return cost.plus(rounds.times(step.plus(condition)))

    def _walking(self, node: Comprehension) -> Sequence[tuple[str, _Local]]:
        """The variables of a loop. One alone is a list's element or a map's key."""
        entries = self._entries_of(node.range)
        kind = entries.kind if entries else self._checked.types[node.range].kind
        path = self._path(node.range)
        key = _Local(path.step("@indices" if kind is Kind.LIST else "@keys"), entries.keys if entries else None)
        value_step = "@items" if kind is Kind.LIST else "@values"
        if not node.second and kind is not Kind.LIST:
            return [(node.variable, key)]
        value = _Local(path.step(value_step), entries.values if entries else None)
        return [(node.variable, key), (node.second, value)] if node.second else [(node.variable, value)]

    def call(self, node: Call) -> Range:
        if node.function == "dyn":
            (only,) = node.arguments
            cost = self.cost(only)
            self._same_size(node, only)
            return cost.plus(ONE)
        costs: list[Range] = []
        operands: list[Operand] = []
        for argument in node.arguments:
            costs.append(self.cost(argument))
            operands.append(self._operand(argument))
        function, target, target_cost = node.function.removeprefix("."), None, FREE
        if node.target is not None:
            if node in self._checked.namespaced:
                function = f"{qualified_name(node.target).removeprefix('.')}.{function}"
            else:
                target_cost = self.cost(node.target)
                target = self._operand(node.target)
        cost, size = NOTHING_YET, None
        for overload in self._checked.overloads[node]:
            invocation = Invocation(function, overload, target, operands, self._sizes_at)
            found, size = self._overload(node, invocation, costs, size)
            cost = cost.joined(found)
        self._keep_size(node, size)
        return target_cost.plus(cost)

    def _overload(
        self, node: Call, invocation: Invocation, costs: Sequence[Range], size: Range | None
    ) -> tuple[Range, Range | None]:
        """What one overload costs with its arguments, and the size of the result as it is known after it."""
        outcome = self._operator(node, invocation, costs)
        if outcome is None:
            found = outcome_of(invocation)
            outcome = Outcome(sum_of(costs).plus(found.cost), found.size)
        if outcome.size is not None:
            size = outcome.size if size is None else size.joined(outcome.size)
        container = invocation.overload.parameters[0].kind if invocation.overload.parameters else None
        if node.function == "_[_]" and container in (Kind.LIST, Kind.MAP):
            held = self._entries_of(node.arguments[0])
            size = held.values if held else None
            step = "@items" if container is Kind.LIST else "@values"
            self._paths[node] = self._path(node.arguments[0]).step(step)
        return outcome.cost, self._size(node) if size is None else size

    def _operator(self, node: Call, invocation: Invocation, costs: Sequence[Range]) -> Outcome | None:
        """Operators whose cost depends on those of their arguments, or that keep what their arguments hold."""
        if node.function in ("_&&_", "_||_"):
            left, right = costs
            return Outcome(Range(left.least, left.plus(right).most))
        if node.function == "_?_:_":
            _, chosen, other = invocation.arguments
            self._join_entries(node, node.arguments[1:])
            return Outcome(costs[0].plus(costs[1].joined(costs[2])), chosen.known.joined(other.known))
        if node.function == "_+_" and invocation.overload.parameters[0].kind in _JOINED:
            self._join_entries(node, node.arguments)
        return None

    def _join_entries(self, node: Node, parts: Sequence[Node]) -> None:
        first, second = map(self._entries_of, parts)
        self._keep_entries(node, first.joined(second) if first else None)

    def _operand(self, node: Node) -> Operand:
        return Operand(node, self._checked.types[node], self._path(node).steps(), self._size(node))

    def _path(self, node: Node) -> _Path:
        if isinstance(node, Identifier):
            local = self._local(node.name)
            if local is not None:
                return local.path
        return self._paths.get(node, _NOWHERE)

    def _size(self, node: Node) -> Range | None:
        known = self._sizes.get(node)
        if known is None:
            known = _written_size(node)
        if known is not None:
            return known
        path = self._path(node).steps()
        found = self._sizes_at(path) if path else None
        if found is not None:
            self._sizes[node] = found
            return found
        if _is_scalar(self._checked.types[node]):
            return ONE
        local = self._local(node.name) if isinstance(node, Identifier) else None
        return local.size if local else None

    def _known_size(self, node: Node) -> Range:
        found = self._size(node)
        return UNKNOWN if found is None else found

    def _entries_of(self, node: Node) -> _Entries | None:
        found = self._entries.get(node)
        if found is None and isinstance(node, Identifier):
            local = self._local(node.name)
            found = local.entries if local else None
        return found

    def _keep_size(self, node: Node, size: Range | None) -> None:
        if size is not None:
            self._sizes[node] = size

    def _keep_entries(self, node: Node, entries: _Entries | None) -> None:
        if entries is not None:
            self._entries[node] = entries

    def _same_size(self, node: Node, other: Node) -> None:
        self._keep_size(node, self._size(other))
        self._keep_entries(node, self._entries_of(other))

    def _bound(self, value: Node) -> _Local:
        return _Local(self._path(value), self._size(value), self._entries_of(value))

    def _local(self, name: str) -> _Local | None:
        found = self._locals.get(name.removeprefix("."))
        return found[-1] if found else None

    def _enter(self, name: str, variable: _Local) -> None:
        self._locals.setdefault(name, []).append(variable)

    def _leave(self, name: str) -> None:
        self._locals[name].pop()


def sum_of(costs: Sequence[Range]) -> Range:
    total = FREE
    for cost in costs:
        total = total.plus(cost)
    return total


def _is_binding(node: Comprehension) -> bool:
    """Whether a loop only gives a name to a value."""
    return (
        isinstance(node.range, CreateList)
        and not node.range.elements
        and isinstance(node.condition, Literal)
        and node.condition.value is False
    )


def _written_size(node: Node) -> Range | None:
    """The size of what stands in the expression itself."""
    if isinstance(node, Literal):
        return exactly(len(node.value) if isinstance(node.value, str | bytes) else 1)
    if isinstance(node, CreateList):
        return exactly(len(node.elements))
    return exactly(len(node.entries)) if isinstance(node, CreateMap) else None


def _is_scalar(found: Type) -> bool:
    inner = unwrapped(found)
    return found.kind in _SCALARS if inner is None else _is_scalar(inner)


# Any: each visit takes the nodes of its key only.
_VISITS: Mapping[type[Node], Callable[[_Estimator, Any], Range]] = {
    Literal: _Estimator.literal,
    Identifier: _Estimator.identifier,
    Select: _Estimator.select,
    Call: _Estimator.call,
    CreateList: _Estimator.create_list,
    CreateMap: _Estimator.create_map,
    CreateObject: _Estimator.create_object,
    Comprehension: _Estimator.comprehension,
}
