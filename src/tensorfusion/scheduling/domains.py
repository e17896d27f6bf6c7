"""Node labels and node rules as columns over the node rows: which domain a node is in, and which nodes count.

Many rules name few labels, and labels change rarely: each column is made once and corrected row by row when a node
changes, as the shapes of node rules are. A domain is a value of a label; a node without the label is in domain -1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.facts import NodeFacts, PodFacts
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.shapes import hard_taints_tolerated, matches_own_rules, rules_of

Bools: TypeAlias = NDArray[np.bool_]
Ids: TypeAlias = NDArray[np.intp]
Ints: TypeAlias = NDArray[np.int64]

KEPT_TESTS = 128
KEPT_DOMAINS = 256


class Domain:
    """The domain of every node row by one label."""

    def __init__(self, key: str, rows: int) -> None:
        self.key = key
        self.ids: Ids = np.full(rows, -1, np.intp)
        self._known: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many values the label ever had, at least one: the length of columns by domain."""
        return max(1, len(self._known))

    def set(self, row: int, node: NodeFacts | None) -> None:
        value = node.labels.get(self.key) if node is not None else None
        self.ids[row] = -1 if value is None else self._known.setdefault(value, len(self._known))
        if len(self._known) > 64 + 2 * len(self.ids):  # values of nodes that went long ago
            self.ids = self.ids[:0]

    def sums(self, amounts: Ints, of: Bools) -> Ints:
        """The amounts (by node row) added up by domain, over the rows ``of`` that have one."""
        ids, inside = self.ids, of & (self.ids >= 0)
        # exact: a float holds every whole number up to 2 ** 53
        return np.bincount(ids[inside], weights=amounts[inside], minlength=self.count).astype(np.int64)

    def spread(self, by_domain: Ints) -> Ints:
        """Each row's value of a column by domain; what rows without a domain get means nothing."""
        return by_domain.take(self.ids, mode="clip")


@dataclass(slots=True)
class _Test:
    passes: Callable[[NodeFacts], bool]
    rows: Bools


class Domains:
    """The columns that were asked for; of labels and tests, those that were asked for last."""

    def __init__(self) -> None:
        self._by_key: dict[str, Domain] = {}
        self._tests: dict[object, _Test] = {}
        self._capacities: dict[str, Ints] = {}

    def set(self, row: int, node: NodeFacts | None) -> None:
        """A node came, changed, or (None) went."""
        for domain in self._by_key.values():
            if row < len(domain.ids):  # else the rows were moved, and the next question makes the column anew
                domain.set(row, node)
        for test in self._tests.values():
            if row < len(test.rows):
                test.rows[row] = node is not None and test.passes(node)
        for name, column in self._capacities.items():
            if row < len(column):
                column[row] = _amount(node, name)

    def of(self, key: str, nodes: NodeColumns) -> Domain:
        """The domains by one label."""
        domain = self._by_key.pop(key, None)
        if domain is None or len(domain.ids) < nodes.size:
            domain = Domain(key, nodes.size)
            _fill(nodes.with_facts, domain.set)
            if len(self._by_key) >= KEPT_DOMAINS:
                del self._by_key[next(iter(self._by_key))]
        self._by_key[key] = domain
        return domain

    def chosen(self, pod: PodFacts, nodes: NodeColumns) -> Bools:
        """The nodes that the pod's own node selector and required node affinity allow."""
        selector, affinity, *_ = rules_of(pod)
        wanted = selector, affinity
        return self._rows("chosen", wanted, nodes, lambda node: matches_own_rules(wanted, node))

    def capacity(self, name: str, nodes: NodeColumns) -> Ints:
        """What each node has of a resource, whoever holds it."""
        column = self._capacities.get(name)
        if column is None or len(column) < nodes.size:
            column = self._capacities[name] = np.zeros(nodes.size, np.int64)
            for row, node in enumerate(nodes.with_facts):
                column[row] = _amount(node, name)
        return column

    def untainted(self, pod: PodFacts, nodes: NodeColumns) -> Bools:
        """The nodes whose hard taints the pod tolerates."""
        tolerations = pod.tolerations
        return self._rows("untainted", tolerations, nodes, lambda node: hard_taints_tolerated(node, tolerations))

    def _rows(self, kind: str, key: object, nodes: NodeColumns, passes: Callable[[NodeFacts], bool]) -> Bools:
        test = self._tests.pop((kind, key), None)
        if test is None or len(test.rows) < nodes.size:
            test = _Test(passes, np.zeros(nodes.size, np.bool_))
            for row, node in enumerate(nodes.with_facts):
                test.rows[row] = node is not None and passes(node)
            if len(self._tests) >= KEPT_TESTS:
                del self._tests[next(iter(self._tests))]
        self._tests[kind, key] = test
        return test.rows


def _amount(node: NodeFacts | None, name: str) -> int:
    if node is None:
        return 0
    return {"cpu": node.cpu, "memory": node.memory}.get(name, node.extended.get(name, 0))


def _fill(nodes: Sequence[NodeFacts | None], put: Callable[[int, NodeFacts | None], None]) -> None:
    for row, node in enumerate(nodes):
        put(row, node)
