"""One namespace or cohort in its tree: what it has, what it holds, and how much more it may hold.

Apart from the trees (``cohorts``) because this is arithmetic along one path, and they are who belongs where.

``held`` is what everybody holds who is charged: pods that run, and pods that are nominated and wait for some of these
to leave. The same place is in it twice then. So what is *counted*, which is all that admission, shares and debts go by,
has each *exchange* in it once: nominated pods add only what they take beyond that which those still hold who leave for
them. The invariant: whichever exchanges are made, in whatever order, no node comes to hold more than is counted for it.
So what is admitted while pods are on their way out is right before they have left and after. Nobody waits because of a
sum that will never be, but for two cases in which it errs upwards: of those who leave for several, what they hold is
taken from one of them alone, and several exchanges below a limit on lending are each counted at their worst.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final, TypeAlias

from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts

Amounts: TypeAlias = tuple[int, int, int]
"""GFLOPS, bytes and devices."""
Limits: TypeAlias = tuple[int | None, int | None, int | None]

DIMENSIONS: Final = range(3)
Exchange: TypeAlias = dict["Node", tuple[Amounts, Amounts]]
"""By namespace of one tree what pods take that are nominated together, and what those hold who leave for them.

Only what it shares counts.
"""


class Sums:
    """What nodes hold in another world than the books': amounts by node where they differ from those ``below``."""

    __slots__ = ("_below", "_held")

    def __init__(self, below: "Sums | None" = None) -> None:
        self._below = below
        self._held: dict[Node, list[int]] = {}

    def of(self, node: "Node") -> list[int]:
        """By dimension; not to be written to."""
        found = self._held.get(node)
        if found is None:
            found = node.held if self._below is None else self._below.of(node)
        return found

    def own(self, node: "Node") -> list[int]:
        """The same, to be written to: from now on it is another amount than below."""
        found = self._held.get(node)
        if found is None:
            found = self._held[node] = list(self.of(node))
        return found

    def release(self, node: "Node", amounts: Amounts, sign: int = 1) -> None:
        """A namespace holds so much less (or, with -1, more), of what it shares."""
        for part in DIMENSIONS:
            less, at = sign * amounts[part], node
            while less:
                held, kept = self.own(at), at.kept[part]
                before = held[part]
                held[part] = after = before - less
                if at.parent is None:
                    break
                less = max(0, before - kept) - max(0, after - kept)
                at = at.parent

    @property
    def nodes(self) -> "Iterable[Node]":
        """Those that hold another amount than below."""
        return self._held.keys()


class Node:
    """A namespace or a cohort in its tree. Lists are by dimension."""

    __slots__ = (
        "_borrowers",
        "_touched",
        "all_of_one",
        "children",
        "depth",
        "exchanges",
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
        "sag",
        "scale",
        "twice",
        "unsettled",
        "weight",
        "whole",
    )

    def __init__(self, name: str, facts: QuotaFacts | CohortFacts) -> None:
        self.name = name
        self.facts = facts
        self.parent: Node | None = None
        self.root = self
        self.depth = 0
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
        """What it holds, nominated pods included; of a cohort what its members hold above what they keep."""
        self.twice = [0, 0, 0]
        """What of that is both in pods that are nominated and in those that leave for them; see ``counted``."""
        self.sag: list[int] | None = None
        """How far what is held can fall as exchanges are made; None where none concerns the node."""
        self.whole = [0, 0, 0]
        """Of a root: what all namespaces of the tree have of their own."""
        self.scale = [0, 0, 0]
        """What an amount above its own counts for beside its siblings: whole numbers in the proportions of shares."""
        self.all_of_one = True
        """Of a root: every namespace shares its devices and keeps none: without room here nobody has any."""
        self.falls = 0
        """Of a root: how often a namespace of the tree came to hold less."""
        self.exchanges: list[Exchange] = []
        """Of a root: who waits for whom to leave."""
        self.unsettled = False
        """Of a root: ``twice`` is not up to date in the tree."""
        self._touched: list[Node] = []
        """Of a root: the nodes of which something is held by pods that wait, or that go for them."""
        self._borrowers: set[str] = set()

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

    @property
    def counted(self) -> list[int]:
        """The most that it holds, whoever has left by then and whoever has come for those; not to be written to."""
        root = self.root
        if not root.exchanges:
            return self.held
        if root.unsettled:
            root.settle_exchanges()
        return [held - twice for held, twice in zip(self.held, self.twice, strict=True)]

    @property
    def borrowers(self) -> set[str]:
        """Of a root: the namespaces for which more than their own of something is counted."""
        if self.unsettled:
            self.settle_exchanges()
        return self._borrowers

    def above(self, dimension: int) -> int:
        """How much is counted for it above its own."""
        return max(0, self.counted[dimension] - self.quota[dimension])

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
                sag = node.sag
                if sag is not None and min(before, after) - sag[part] < kept < max(before, after):
                    node.root.unsettled = True  # else as much passes of those who wait or go as before
                more = max(0, after - kept) - max(0, before - kept)
                node = node.parent

    def note(self) -> None:
        """Take down with the root whether the namespace is one of those that hold more than their own."""
        held, twice, quota = self.held, self.twice, self.quota
        borrows = any(held[part] - twice[part] > quota[part] for part in DIMENSIONS)
        (self.root._borrowers.add if borrows else self.root._borrowers.discard)(self.name)

    def exchange(self, exchanges: list[Exchange]) -> None:
        """Of a root: from now on these wait for those to leave."""
        if exchanges or self.exchanges:
            self._forget_twice()
            self.exchanges, self.unsettled = exchanges, True
            self.falls += 1

    def settle_exchanges(self) -> None:
        """Of a root: work out what of each node counts twice."""
        self._forget_twice()
        self.unsettled = False
        live = Sums()
        for one in self.exchanges:
            for node, (comes, _) in one.items():
                live.release(node, comes)
        high, low = Sums(live), Sums(live)
        for one in self.exchanges:
            _exchanged(one, high, low)
        self._touched = [*dict.fromkeys((*live.nodes, *high.nodes, *low.nodes))]
        for node in self._touched:
            node.twice = [held - most for held, most in zip(node.held, high.of(node), strict=True)]
            node.sag = [held - least for held, least in zip(node.held, low.of(node), strict=True)]
            if not node.is_cohort:
                node.note()

    def _forget_twice(self) -> None:
        for node in self._touched:
            node.twice, node.sag = [0, 0, 0], None
            if not node.is_cohort:
                node.note()
        self._touched = []

    def room(self, dimension: int) -> int:
        """How much more it may hold; what it keeps is its own whatever the others hold. A root's may be below zero."""
        quota, held = self.quota[dimension], self.counted[dimension]
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
        """Its share with more than ``held``, or than is counted, as a whole number: to be compared among siblings."""
        now, quota, scale, largest = self.counted if held is None else held, self.quota, self.scale, 0
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
        held, kept = self.counted, self.kept
        compute, vram, devices = [
            max(0, held[part] + added[part] - kept[part]) - max(0, held[part] - kept[part]) for part in DIMENSIONS
        ]
        return (*parent.standings_with((compute, vram, devices)), self.standing(added))

    @property
    def share(self) -> Fraction:
        """The dominant share of what it holds above its own, by its weight."""
        return max(Fraction(self.above(part), max(1, self.root.whole[part]) * self.weight) for part in DIMENSIONS)


def _exchanged(exchange: Exchange, high: Sums, low: Sums) -> None:
    """Add to ``high`` what nodes hold more once this exchange is made, to ``low`` what they hold less.

    What passes a node that keeps some is more the more it holds. So gains are taken on top of all others and losses
    below all others: neither is then better than it turns out to be, whichever exchanges are made.
    """
    nets: dict[Node, list[int]] = {}
    for node, (comes, goes) in exchange.items():
        nets[node] = [to - off for to, off in zip(comes, goes, strict=True)]
    while nets:
        node = max(nets, key=lambda one: one.depth)  # members before their cohort, which sums up what they pass on
        above = [0, 0, 0]
        for part, net in enumerate(nets.pop(node)):
            if net:
                held, kept = (high if net > 0 else low).own(node), node.kept[part]
                before = held[part]
                held[part] = after = before + net
                above[part] = max(0, after - kept) - max(0, before - kept)
        if node.parent is not None and any(above):
            known = nets.setdefault(node.parent, [0, 0, 0])
            for part in DIMENSIONS:
                known[part] += above[part]
