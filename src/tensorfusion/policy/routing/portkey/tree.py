"""The modes of a configuration as a tree, and one request's walk through it.

A leaf is a target. ``fallback`` goes to its next child when one failed with a status that it names (without naming any:
with any error); the others choose one child and keep to it, and what it fails with is theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorfusion.policy.routing.portkey.queries import Facts, Query
from tensorfusion.policy.routing.rotation import Rotation


@dataclass(frozen=True, slots=True)
class Leaf:
    """The target of this index."""

    index: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """Its children in order. ``statuses`` empty: whatever the error is."""

    children: "tuple[Node, ...]"
    statuses: frozenset[int] = frozenset()

    def goes_on(self, status: int) -> bool:
        """``status`` 0 is a failure without an answer: as good as any server error."""
        if not self.statuses:
            return True
        return status in self.statuses if status else any(one >= 500 for one in self.statuses)


@dataclass(frozen=True, slots=True)
class Balance:
    """One of its children, by weight: exact, as strategy weighted is."""

    children: "tuple[Node, ...]"
    turns: Rotation


@dataclass(frozen=True, slots=True)
class Conditional:
    """The child of the first query that holds, else the default (None: nobody)."""

    children: "tuple[Node, ...]"
    conditions: tuple[tuple[Query, int], ...]
    default: int | None = None


Node = Leaf | Fallback | Balance | Conditional


@dataclass(slots=True)
class TreeWalk:
    """One request's way. Choices are made once, where the walk first comes to them."""

    root: Node
    facts: Facts
    reason: str = ""
    """Why there is nobody to ask, where there is nobody."""
    _chosen: dict[int, int | None] = field(default_factory=dict)

    def first(self) -> int | None:
        """The first target."""
        return self._first(self.root)

    def after(self, index: int, status: int) -> int | None:
        """The target after one that failed with the status; 0 where it did not even answer."""
        return self._after(self.root, index, status)

    def _first(self, node: Node) -> int | None:
        match node:
            case Leaf(index):
                return index
            case Fallback(children):
                return self._first_of(children)
            case Balance(children) | Conditional(children):
                child = self._choice(node)
                return None if child is None else self._first(children[child])

    def _first_of(self, children: Sequence[Node]) -> int | None:
        """Of children in order, the first that has somebody to ask."""
        for child in children:
            found = self._first(child)
            if found is not None:
                return found
        return None

    def _after(self, node: Node, index: int, status: int) -> int | None:
        match node:
            case Leaf():
                return None
            case Fallback(children):
                place = next(at for at, child in enumerate(children) if index in leaves(child))
                found = self._after(children[place], index, status)
                if found is None and node.goes_on(status):
                    found = self._first_of(children[place + 1 :])
                return found
            case Balance(children) | Conditional(children):
                child = self._choice(node)
                return None if child is None else self._after(children[child], index, status)

    def _choice(self, node: Balance | Conditional) -> int | None:
        key = id(node)
        if key not in self._chosen:
            if isinstance(node, Balance):
                self._chosen[key] = node.turns.turn((1 << len(node.children)) - 1)
            else:
                holds = (child for query, child in node.conditions if query(self.facts))
                self._chosen[key] = next(holds, node.default)
                if self._chosen[key] is None:
                    self.reason = "no condition of the configuration holds, and it has no default"
        return self._chosen[key]


def leaves(node: Node) -> frozenset[int]:
    """The indices of all targets under a node."""
    if isinstance(node, Leaf):
        return frozenset((node.index,))
    return frozenset().union(*(leaves(child) for child in node.children))
