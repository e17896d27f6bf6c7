"""What pods mean to one another: how many pods of each kind are on each node, and what they ask of newcomers.

Written by the ledger alone, as pods are charged and released; a decision reads counts and never walks pods. The ideas:

* A *crowd* is the placed pods of one namespace with the same labels. What selects one of them selects all of them.
* A *selection* is what some rule selects: the number of its pods by node row, and the terms of placed pods about it.
* A crowd knows the selections that it belongs to, so that a pod that comes or goes is a few additions.

Nothing of this is kept before the first pod with such a rule (or a question about one) appears: then the pods that are
there are counted once. Clusters without such rules pay one comparison for each pod.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.domains import Domains
from tensorfusion.scheduling.facts import NO_LABELS, PodFacts
from tensorfusion.scheduling.pod_rules import PodRules, PodSelector, PodTerm
from tensorfusion.scheduling.ports import HeldPorts

Ints: TypeAlias = NDArray[np.int64]
Wishes: TypeAlias = tuple[PodSelector, ...]
Labels: TypeAlias = frozenset[tuple[str, str]]

KEPT_SELECTIONS: Final = 4096
KEPT_BYTES: Final = 64 << 20
"""Memory for selections that no placed pod has terms about; the bound on their number is for small fleets."""
_KEPT_LEAST: Final = 16
"""So many of them are kept however large they are: one decision asks about several."""


class Terms(StrEnum):
    """What placed pods ask of pods that come, by weight: 1 for each required term, else the term's own weight."""

    KEEP_OFF = "required anti-affinity"
    REQUIRED = "required affinity"
    PREFERRED = "preferred"


class Selection:
    """The pods that satisfy all of some selectors, by node row."""

    def __init__(self, wishes: Wishes, rows: int) -> None:
        self.wishes = wishes
        self.pods: Ints = np.zeros(rows, np.int64)
        self.leaving: Ints = np.zeros(rows, np.int64)
        """Those of them that are being deleted: a spread no longer counts them."""
        self.terms: dict[tuple[Terms, str], Ints] = {}
        """By kind and node label: the summed weights of the terms that pods on each row have about these pods."""
        self.holders = 0
        """Terms that are held."""

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
        return all(wish.matches(namespace, labels, namespace_labels) for wish in self.wishes)

    def column(self, kind: Terms, key: str) -> Ints:
        column = self.terms.get((kind, key))
        if column is None:
            column = self.terms[kind, key] = np.zeros(len(self.pods), np.int64)
        return column

    def grow(self, rows: int) -> None:
        self.pods, self.leaving = _grown(self.pods, rows), _grown(self.leaving, rows)
        self.terms = {key: _grown(column, rows) for key, column in self.terms.items()}


class Crowd:
    """Placed pods with the same namespace and labels; pods by node row, the leaving ones once more."""

    __slots__ = ("labels", "leaving", "namespace", "pods", "selections")

    def __init__(self, namespace: str, labels: Mapping[str, str]) -> None:
        self.namespace = namespace
        self.labels = labels
        self.pods: dict[int, int] = {}
        self.leaving: dict[int, int] = {}
        self.selections: list[Selection] = []


class Neighbours:
    """All counts. ``placed`` tells every placed pod and its node row, the first time that it is needed."""

    def __init__(self) -> None:
        self.ports = HeldPorts()
        self.domains = Domains()
        self.active = False
        """Pods are counted from here on."""
        self.placed: Callable[[], Iterable[tuple[PodFacts, int]]] = tuple
        self._rows = 16
        self._crowds: dict[str, dict[Labels, Crowd]] = {}
        self._selections: dict[Wishes, Selection] = {}
        self._with_terms = 0
        """How many of them placed pods have terms about."""
        self._by_pair: dict[tuple[str, str], list[Selection]] = {}
        self._others: list[Selection] = []
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._leaving: set[str] = set()

    # --- what the ledger says ---

    def charge(self, row: int, pod: PodFacts, sign: int = 1) -> None:
        """A pod came to the node, or with ``sign`` -1 left it. Call it before ``placed`` knows a pod that comes."""
        rules = pod.rules
        if rules is not None and rules.ports:
            self.ports.charge(row, rules.ports, sign)
        if not self.active:
            if rules is None or not rules.counted:
                return
            self._activate()
        self._count(row, pod, sign)

    def _activate(self) -> None:
        self.active = True
        for pod, row in self.placed():
            self._count(row, pod, 1)

    def _count(self, row: int, pod: PodFacts, sign: int) -> None:
        self._require_rows(row + 1)
        crowd = self._crowd(pod.namespace, pod.labels)
        _add(crowd.pods, row, sign)
        for selection in crowd.selections:
            selection.pods[row] += sign
        if pod.uid in self._leaving:
            self._count_leaving(crowd, row, sign)
        if pod.rules is not None:
            for kind, weight, term in _terms(pod.rules):
                selection = self.selection((term.pods,))
                selection.column(kind, term.key)[row] += sign * weight
                self._with_terms -= bool(selection.holders)
                selection.holders += sign
                self._with_terms += bool(selection.holders)
                if not selection.holders:
                    selection.terms.clear()  # nothing but zeros
        if not crowd.pods:
            del self._crowds[pod.namespace][frozenset(pod.labels.items())]

    def leave(self, row: int, pod: PodFacts) -> None:
        """The placed pod is being deleted."""
        if pod.uid not in self._leaving:
            self._leaving.add(pod.uid)
            if self.active:
                self._count_leaving(self._crowd(pod.namespace, pod.labels), row, 1)

    @staticmethod
    def _count_leaving(crowd: Crowd, row: int, sign: int) -> None:
        _add(crowd.leaving, row, sign)
        for selection in crowd.selections:
            selection.leaving[row] += sign

    def forget(self, uid: str) -> None:
        """The pod is gone for good."""
        self._leaving.discard(uid)

    def namespaces(self) -> dict[str, Mapping[str, str]]:
        """The labels of every namespace that is known."""
        return dict(self._namespaces)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """A namespace came, changed or (None) went; answers whether that can matter to a decision."""
        if self._namespaces.get(name, NO_LABELS) == (labels or NO_LABELS):
            return False
        if labels:
            self._namespaces[name] = labels
        else:
            self._namespaces.pop(name, None)
        news = [one for one in self._selections.values() if any(w.namespace_labels is not None for w in one.wishes)]
        for crowd in self._crowds.get(name, {}).values() if news else ():
            for selection in news:
                self._rejoin(selection, crowd)
        return bool(news)

    # --- what decisions ask ---

    def selection(self, wishes: Wishes, rows: int = 0) -> Selection:
        """The pods that satisfy all of the selectors; ``rows``: the length that its columns have at least."""
        if not self.active:
            self._activate()
        self._require_rows(rows)
        selection = self._selections.pop(wishes, None)
        if selection is None:
            idle = len(self._selections) - self._with_terms
            room = KEPT_BYTES // (2 * self._rows * np.dtype(np.int64).itemsize)
            if idle >= min(KEPT_SELECTIONS, max(_KEPT_LEAST, room)):
                self._prune()
            selection = Selection(wishes, self._rows)
            pair = _pair(wishes)
            (self._others if pair is None else self._by_pair.setdefault(pair, [])).append(selection)
            for crowd in self._crowds_for(wishes):
                self._rejoin(selection, crowd)
        self._selections[wishes] = selection
        return selection

    def about(self, pod: PodFacts, rows: int) -> list[Selection]:
        """The selections that the pod belongs to and that placed pods have terms about."""
        if not self.active:
            return []
        self._require_rows(rows)
        crowd = self._crowds.get(pod.namespace, {}).get(frozenset(pod.labels.items()))
        found = crowd.selections if crowd is not None else self._selections_of(pod.namespace, pod.labels)
        return [selection for selection in found if selection.holders]

    def matches(self, wishes: Iterable[PodSelector], pod: PodFacts) -> bool:
        """Whether the pod itself satisfies all of the selectors."""
        namespace_labels = self._namespaces.get(pod.namespace, NO_LABELS)
        return all(wish.matches(pod.namespace, pod.labels, namespace_labels) for wish in wishes)

    # --- crowds and selections ---

    def _crowd(self, namespace: str, labels: Mapping[str, str]) -> Crowd:
        crowds = self._crowds.setdefault(namespace, {})
        key = frozenset(labels.items())
        crowd = crowds.get(key)
        if crowd is None:
            crowd = crowds[key] = Crowd(namespace, labels)
            crowd.selections = self._selections_of(namespace, labels)
        return crowd

    def _selections_of(self, namespace: str, labels: Mapping[str, str]) -> list[Selection]:
        namespace_labels = self._namespaces.get(namespace, NO_LABELS)
        likely = [*self._others]
        for pair in labels.items():
            likely += self._by_pair.get(pair, ())
        return [selection for selection in likely if selection.matches(namespace, labels, namespace_labels)]

    def _crowds_for(self, wishes: Wishes) -> Iterator[Crowd]:
        wish = wishes[0]
        named = self._crowds if wish.namespace_labels is not None else wish.namespaces
        for namespace in named:
            yield from self._crowds.get(namespace, {}).values()

    def _rejoin(self, selection: Selection, crowd: Crowd) -> None:
        """Let the crowd be counted in the selection if it belongs there now, and only then."""
        namespace_labels = self._namespaces.get(crowd.namespace, NO_LABELS)
        belongs = selection.matches(crowd.namespace, crowd.labels, namespace_labels)
        was = any(one is selection for one in crowd.selections)
        if belongs == was:
            return
        sign = 1 if belongs else -1
        if belongs:
            crowd.selections.append(selection)
        else:
            crowd.selections = [one for one in crowd.selections if one is not selection]
        for row, pods in crowd.pods.items():
            selection.pods[row] += sign * pods
        for row, pods in crowd.leaving.items():
            selection.leaving[row] += sign * pods

    def _prune(self) -> None:
        """Forget the half of the selections that was not asked about for longest; never one with terms."""
        idle = [selection for selection in self._selections.values() if not selection.holders]
        gone = {id(selection) for selection in idle[: max(1, len(idle) // 2)]}
        self._selections = {wishes: one for wishes, one in self._selections.items() if id(one) not in gone}
        self._others = [one for one in self._others if id(one) not in gone]
        kept = {pair: [one for one in found if id(one) not in gone] for pair, found in self._by_pair.items()}
        self._by_pair = {pair: found for pair, found in kept.items() if found}
        for crowds in self._crowds.values():
            for crowd in crowds.values():
                crowd.selections = [one for one in crowd.selections if id(one) not in gone]

    def _require_rows(self, rows: int) -> None:
        if rows > self._rows:
            self._rows = rows + rows // 2
            for selection in self._selections.values():
                selection.grow(self._rows)


def _terms(rules: PodRules) -> Iterator[tuple[Terms, int, PodTerm]]:
    """What a placed pod asks of pods that come."""
    for term in rules.anti_affinity:
        yield Terms.KEEP_OFF, 1, term
    for term in rules.affinity:
        yield Terms.REQUIRED, 1, term
    for weight, term in rules.preferred:
        yield Terms.PREFERRED, weight, term


def _pair(wishes: Wishes) -> tuple[str, str] | None:
    """A label that every pod of the selection has, if its selectors name one."""
    for wish in wishes:
        for one in wish.labels or ():
            if one.operator == "In" and len(one.values) == 1:
                return one.key, one.values[0]
    return None


def _add(counts: dict[int, int], row: int, sign: int) -> None:
    left = counts.get(row, 0) + sign
    if left:
        counts[row] = left
    else:
        counts.pop(row, None)


def _grown(column: Ints, rows: int) -> Ints:
    grown = np.zeros(rows, np.int64)
    grown[: len(column)] = column
    return grown
