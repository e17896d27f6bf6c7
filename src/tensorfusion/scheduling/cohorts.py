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
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Final

from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS, Amounts, Exchange, Node
from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts

_DEFAULT: Final = CohortFacts("")


class Cohorts:
    """The trees. ``usage_of`` answers what a namespace holds, of all three dimensions."""

    def __init__(self, usage_of: Callable[[str], Amounts]) -> None:
        self._usage_of = usage_of
        self.exchanges: Callable[[AbstractSet[str]], Iterable[Mapping[str, tuple[Amounts, Amounts]]]] = lambda _: ()
        """Asked for who waits for whom to leave: by namespace what comes and what goes, but for pods of these uids."""
        self._gone: AbstractSet[str] = frozenset()
        self._exchanged = True
        """The trees know of these."""
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
        node.note()
        if min(amounts) < 0:
            node.root.falls += 1

    def outdate_exchanges(self) -> None:
        """Others wait, or for others: it is asked for them when somebody asks for a node."""
        self._exchanged = False

    @contextmanager
    def without(self, uids: AbstractSet[str]) -> Iterator[None]:
        """In between these pods neither wait nor are waited for, as their amounts were taken out of the sums."""
        if not uids:
            yield
            return
        self._gone, self._exchanged = uids, False
        try:
            yield
        finally:
            self._gone, self._exchanged = frozenset(), False

    def member(self, namespace: str) -> Node | None:
        """The namespace in its tree; None where it is in no cohort."""
        if not self.active:
            return None
        self._follow()
        return self._members.get(namespace)

    def cohort(self, name: str) -> Node | None:
        """A cohort in its tree; None where there is no object of that name and no quota names it."""
        self._follow()
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
        self._follow()
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

    def _follow(self) -> None:
        """Bring the trees up to date."""
        if self._stale:
            self._build()
        if not self._exchanged:
            self._exchange()

    def _exchange(self) -> None:
        self._exchanged = True
        found: dict[Node, list[Exchange]] = {one: [] for one in self._cohorts.values() if one.parent is None}
        for told in self.exchanges(self._gone):
            parts: dict[Node, Exchange] = {}
            for namespace, (comes, goes) in told.items():
                node = self._members.get(namespace)
                if node is not None:
                    parts.setdefault(node.root, {})[node] = node.of_it(comes), node.of_it(goes)
            for root, one in parts.items():
                found[root].append(one)
        for root, exchanges in found.items():
            root.exchange(exchanges)

    def _build(self) -> None:
        self._stale = self._exchanged = False
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
            path = node.path
            node.root, node.depth = path[0], len(path) - 1
        for node in self._members.values():
            root, whole = node.root, node.root.whole
            for part in DIMENSIONS:
                whole[part] += node.quota[part]
            root.all_of_one = root.all_of_one and node.own[2] is not None and not any(one.kept[2] for one in node.path)
        for node in self._cohorts.values():
            _scale(node.children)
        for namespace, node in self._members.items():
            node.hold(node.of_it(self._usage_of(namespace)))
            node.note()


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
