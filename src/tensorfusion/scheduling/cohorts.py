"""What the members of a cohort may hold together, and who holds how much above its own: trees of running sums.

Apart from the quota book because a namespace without a cohort knows nothing of it. Three dimensions are shared:
requested compute and memory, and devices. A tree is a cohort, perhaps with cohorts below it, and namespaces as leaves;
each knows what is its own (``quota``), how much of that it never lends (``kept``), and what is held. What a node holds
above what it keeps is held of its parent, so a charge changes one sum on each level, and room is a sum along that path.

Sums are exact integers, and shares are exact: fractions, or among siblings whole numbers in their proportions. A change
of who belongs where only marks the trees as stale: they are made anew when somebody asks. Whoever holds more than there
is (a quota shrank, a cohort lost a member) keeps it, and nothing more is admitted until there is room.

Source: the rules are those of Kueue's hierarchical cohorts; the share is that of dominant resource fairness (Ghodsi et
al., 2011), of what is borrowed.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Final, TypeAlias

from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts

Amounts: TypeAlias = tuple[int, int, int]
"""GFLOPS, bytes and devices."""
Limits: TypeAlias = tuple[int | None, int | None, int | None]

DIMENSIONS: Final = range(3)
_DEFAULT: Final = CohortFacts("")


class Node:
    """A namespace or a cohort in its tree. Lists are by dimension."""

    __slots__ = (
        "all_of_one",
        "borrowers",
        "children",
        "facts",
        "falls",
        "held",
        "kept",
        "most",
        "name",
        "own",
        "parent",
        "quota",
        "root",
        "scale",
        "weight",
        "whole",
    )

    def __init__(self, name: str, facts: QuotaFacts | CohortFacts) -> None:
        self.name = name
        self.facts = facts
        self.parent: Node | None = None
        self.root = self
        self.weight = max(1, facts.fair_weight)
        self.children: list[Node] = []
        self.quota = [0, 0, 0]
        """Its own: of a namespace its total, of a cohort what its members lend."""
        self.own: Limits = (0, 0, 0)
        """What a namespace states; None where it does not: there it counts for nothing, and nothing counts for it."""
        if isinstance(facts, QuotaFacts):
            self.own = (facts.total_compute, facts.total_vram, facts.total_devices)
        self.kept = [0, 0, 0]
        """The part of it that it never lends."""
        self.most: Limits = (facts.borrow_compute, facts.borrow_vram, facts.borrow_devices)
        """How far it may go above its own."""
        self.held = [0, 0, 0]
        """What it holds; of a cohort what its members hold above what they keep."""
        self.whole = [0, 0, 0]
        """Of a root: what all namespaces of the tree have of their own."""
        self.scale = [0, 0, 0]
        """What an amount above its own counts for beside its siblings: whole numbers in the proportions of shares."""
        self.all_of_one = True
        """Of a root: every namespace shares its devices and keeps none: without room here nobody has any."""
        self.falls = 0
        """Of a root: how often a namespace of the tree came to hold less."""
        self.borrowers: set[str] = set()
        """Of a root: the namespaces that hold more than their own of something."""

    @property
    def is_cohort(self) -> bool:
        return isinstance(self.facts, CohortFacts)

    @property
    def path(self) -> "list[Node]":
        """From the root to the node itself."""
        nodes, node = [self], self.parent
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def above(self, dimension: int) -> int:
        """How much it holds above its own."""
        return max(0, self.held[dimension] - self.quota[dimension])

    def settle(self) -> None:
        """Take over what the children have, and work out what is kept."""
        facts = self.facts
        for child in self.children:
            for part in DIMENSIONS:
                self.quota[part] += child.quota[part] - child.kept[part]
        if self.parent is not None:
            for part, lent in enumerate((facts.lend_compute, facts.lend_vram, facts.lend_devices)):
                if lent is not None:
                    self.kept[part] = max(0, self.quota[part] - lent)

    def hold(self, amounts: Amounts | tuple[int, ...]) -> None:
        """Count more (or less) as held, here and as far up as it counts."""
        for part in DIMENSIONS:
            more, node = amounts[part], self
            while more:
                before, kept = node.held[part], node.kept[part]
                node.held[part] = after = before + more
                if node.parent is None:
                    break
                more = max(0, after - kept) - max(0, before - kept)
                node = node.parent

    def room(self, dimension: int) -> int:
        """How much more it may hold; what it keeps is its own whatever the others hold. A root's may be below zero."""
        quota, held = self.quota[dimension], self.held[dimension]
        if self.parent is None:
            return quota - held
        return self._room(self.parent.room(dimension), dimension, held)

    def reach(self, dimension: int) -> int:
        """How much it could hold if nobody held anything."""
        if self.parent is None:
            return self.quota[dimension]
        return self._room(self.parent.reach(dimension), dimension, 0)

    def _room(self, above: int, dimension: int, held: int) -> int:
        quota, kept, most = self.quota[dimension], self.kept[dimension], self.most[dimension]
        if most is not None:
            above = min(above, quota + most - max(held, kept))
        return max(0, kept - held) + max(0, above)

    def of_it(self, amounts: Amounts) -> Amounts:
        """What of these amounts counts: of a namespace nothing in dimensions that it does not share."""
        own = self.own
        if None not in own:
            return amounts
        compute, vram, devices = [amount if mine is not None else 0 for amount, mine in zip(amounts, own, strict=True)]
        return compute, vram, devices

    def standing(self, more: Amounts = (0, 0, 0), held: list[int] | None = None) -> int:
        """Its share with more held than ``held``, or than now, as a whole number: to be compared among siblings."""
        now, quota, scale, largest = self.held if held is None else held, self.quota, self.scale, 0
        for part in DIMENSIONS:
            above = now[part] + more[part] - quota[part]
            if above > 0 and above * scale[part] > largest:
                largest = above * scale[part]
        return largest

    def standings_with(self, more: Amounts) -> tuple[int, ...]:
        """From below the root down to the node: how it would stand at each level if it held more."""
        added = self.of_it(more)
        parent = self.parent
        if parent is None:
            return ()
        if parent.parent is None:
            return (self.standing(added),)
        held, kept = self.held, self.kept
        compute, vram, devices = [
            max(0, held[part] + added[part] - kept[part]) - max(0, held[part] - kept[part]) for part in DIMENSIONS
        ]
        return (*parent.standings_with((compute, vram, devices)), self.standing(added))

    @property
    def share(self) -> Fraction:
        """The dominant share of what it holds above its own, by its weight."""
        return max(Fraction(self.above(part), max(1, self.root.whole[part]) * self.weight) for part in DIMENSIONS)


class Cohorts:
    """The trees. ``usage_of`` answers what a namespace holds, of all three dimensions."""

    def __init__(self, usage_of: Callable[[str], Amounts]) -> None:
        self._usage_of = usage_of
        self._quotas: dict[str, QuotaFacts] = {}
        self._objects: dict[str, CohortFacts] = {}
        self._members: dict[str, Node] = {}
        self._cohorts: dict[str, Node] = {}
        self._stale = False
        self.active = False
        """Whether any namespace is in a cohort; asked with every placement, so not worked out each time."""
        self.version = 0
        """Grows whenever trees, what they have, or weights may be others."""

    @property
    def objects(self) -> Iterable[CohortFacts]:
        """The cohorts that were told of."""
        return self._objects.values()

    def set_quota(self, namespace: str, quota: QuotaFacts | None) -> bool:
        """Take over a namespace's quota, or that it has none; answers whether that concerns any tree."""
        before, now = self._quotas.get(namespace), quota if quota is not None and quota.cohort else None
        if before == now:
            return False
        if now is None:
            del self._quotas[namespace]
        else:
            self._quotas[namespace] = now
        self.active = bool(self._quotas)
        self._outdate()
        return True

    def set_cohort(self, facts: CohortFacts) -> bool:
        """Answers whether anything changed."""
        if self._objects.get(facts.name) == facts:
            return False
        self._objects[facts.name] = facts
        self._outdate()
        return True

    def remove_cohort(self, name: str) -> bool:
        """The object is gone: where quotas name the cohort, it goes on with the defaults."""
        if self._objects.pop(name, None) is None:
            return False
        self._outdate()
        return True

    def hold(self, namespace: str, amounts: Amounts) -> None:
        """A member holds so much more (or less)."""
        if self._stale or namespace not in self._members:
            return  # what is stale is summed up anew
        node = self._members[namespace]
        node.hold(node.of_it(amounts))
        self._note(node)
        if min(amounts) < 0:
            node.root.falls += 1

    def member(self, namespace: str) -> Node | None:
        """The namespace in its tree; None where it is in no cohort."""
        if not self.active:
            return None
        if self._stale:
            self._build()
        return self._members.get(namespace)

    def cohort(self, name: str) -> Node | None:
        """A cohort in its tree; None where there is no object of that name and no quota names it."""
        if self._stale:
            self._build()
        return self._cohorts.get(name)

    def root(self, namespace: str) -> Node | None:
        """The root of the namespace's tree."""
        node = self.member(namespace)
        return None if node is None else node.root

    def tree_of(self, namespace: str) -> str:
        """The name of the root of the namespace's tree; empty where it is in none."""
        root = self.root(namespace)
        return "" if root is None else root.name

    def together(self, namespace: str) -> Iterator[str]:
        """The namespaces of its tree, itself among them; itself alone where it is in none."""
        root = self.root(namespace)
        if root is None:
            yield namespace
            return
        nodes = [root]
        while nodes:
            node = nodes.pop()
            if node.is_cohort:
                nodes += node.children
            else:
                yield node.name

    def every(self) -> list[Node]:
        """The cohorts, by name."""
        if self._stale:
            self._build()
        return sorted(self._cohorts.values(), key=lambda node: node.name)

    def borrowers(self) -> set[str]:
        """The namespaces that hold more than their own, of all trees."""
        return set().union(*(node.borrowers for node in self.every()))

    def parent_of(self, facts: CohortFacts) -> CohortFacts | None:
        """The parent that counts: one that exists, is another one, and has no parent itself."""
        parent = self._objects.get(facts.parent)
        return None if parent is None or parent.parent or parent.name == facts.name else parent

    # --- making the trees ---

    def _outdate(self) -> None:
        self._stale = True
        self.version += 1

    def _build(self) -> None:
        self._stale = False
        self._members.clear()
        self._cohorts.clear()
        for facts in self._objects.values():
            self._cohorts[facts.name] = Node(facts.name, facts)
        for namespace, quota in self._quotas.items():
            node = self._members[namespace] = Node(namespace, quota)
            node.quota = [amount or 0 for amount in node.own]
            cohort = self._cohorts.get(quota.cohort)
            if cohort is None:
                cohort = self._cohorts[quota.cohort] = Node(quota.cohort, _DEFAULT)
            _adopt(cohort, node)
        for facts in self._objects.values():
            parent = self.parent_of(facts)
            if parent is not None:
                _adopt(self._cohorts[parent.name], self._cohorts[facts.name])
        for node in self._members.values():
            node.settle()
        for node in sorted(self._cohorts.values(), key=lambda node: node.parent is None):
            node.settle()
        for node in (*self._cohorts.values(), *self._members.values()):
            node.root = node.path[0]
        for node in self._members.values():
            root, whole = node.root, node.root.whole
            for part in DIMENSIONS:
                whole[part] += node.quota[part]
            root.all_of_one = root.all_of_one and node.own[2] is not None and not any(one.kept[2] for one in node.path)
        for node in self._cohorts.values():
            _scale(node.children)
        for namespace, node in self._members.items():
            node.hold(node.of_it(self._usage_of(namespace)))
            self._note(node)

    @staticmethod
    def _note(node: Node) -> None:
        """Whether the namespace is one of those that hold more than their own."""
        held, quota = node.held, node.quota
        borrows = held[0] > quota[0] or held[1] > quota[1] or held[2] > quota[2]
        (node.root.borrowers.add if borrows else node.root.borrowers.discard)(node.name)


def policy_between(one: Node, other: Node) -> tuple[Node, ReclaimPolicy]:
    """The cohort in which two namespaces of one tree meet, and how it lets them reclaim from each other."""
    mine = set(map(id, one.path))
    meeting = next(node for node in reversed(other.path) if id(node) in mine)
    facts = meeting.facts
    return meeting, facts.reclaim if isinstance(facts, CohortFacts) else ReclaimPolicy.NEVER


def _scale(siblings: list[Node]) -> None:
    """Bring what siblings hold above their own to one denominator in all dimensions: then whole numbers compare."""
    if not siblings:
        return
    whole = [max(1, amount) for amount in siblings[0].root.whole]
    weights = math.lcm(*(node.weight for node in siblings))
    for node in siblings:
        node.scale = [math.prod(whole) // whole[part] * (weights // node.weight) for part in DIMENSIONS]


def _adopt(parent: Node, child: Node) -> None:
    child.parent = parent
    parent.children.append(child)
