"""Which nodes a pod's own rules allow: readiness, cordon, taints, node selector and node affinity.

Many pods share few shapes of rules, and labels change rarely, so the answer of each shape is kept as columns over the
node rows and corrected row by row when a node changes. A decision then costs one lookup, never a loop over nodes.

Source: Kubernetes' NodeUnschedulable, TaintToleration and NodeAffinity plugins.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.model.core import Affinity, NodeSelector, NodeSelectorTerm, Taint, Toleration
from tensorfusion.model.meta import requirement_matches
from tensorfusion.scheduling.codes import FITS, Bools, Codes, Ints
from tensorfusion.scheduling.facts import NodeFacts, Off, PodFacts
from tensorfusion.scheduling.reasons import NODE_ORDER, NodeReason

Selector: TypeAlias = tuple[tuple[str, str], ...]
Wanted: TypeAlias = tuple[Selector, Affinity | None]
"""A node selector in order, and the affinity."""
Rules: TypeAlias = tuple[Selector, Affinity | None, tuple[Toleration, ...], frozenset[Off], Selector]
"""The last are the labels that the pod's gang keeps to."""

KEPT_SHAPES = 128
_KEPT_LABELS = 16
ALLOWED = FITS
"""Code of a node that the rules allow; every other code is the place of a reason in ``NODE_REASONS``."""
PREFERENCE = 64
"""One point of score in units of preference: untolerated soft taints count below a point."""
_CORDON = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
_HARD = ("NoSchedule", "NoExecute")
_SOFT = "PreferNoSchedule"


class Shape:
    """The answer of one set of rules for every node row. ``preference`` is None while it is zero everywhere."""

    __slots__ = ("codes", "kept", "preference", "rules", "used")

    def __init__(self, rules: Rules, rows: int) -> None:
        self.rules = rules
        self.codes: Codes = np.full(rows, NODE_ORDER[NodeReason.ABSENT], np.uint8)
        self.preference: Ints | None = None
        self.kept = True
        """Follows the nodes. Who holds a shape that is not kept any more asks for a new one."""
        self.used = True
        """Somebody has used it since it was last considered for being forgotten."""

    def set(self, row: int, node: NodeFacts | None) -> None:
        """Decide one row again; None is a node that does not exist."""
        if node is None:
            self._put(row, NODE_ORDER[NodeReason.ABSENT], 0)
            return
        reason = refusal(self.rules, node)
        self._put(row, ALLOWED if reason is None else NODE_ORDER[reason], preference(self.rules, node))

    def _put(self, row: int, code: int, points: int) -> None:
        self.codes[row] = code
        if self.preference is None:
            if points == 0:
                return
            self.preference = np.zeros(len(self.codes), np.int64)
        self.preference[row] = points


class LabelColumn:
    """The value of one label of every node row, as a small integer: a place in ``values``, or -1 without the label."""

    __slots__ = ("_ids", "codes", "key")

    def __init__(self, key: str, rows: int) -> None:
        self.key = key
        self.codes: NDArray[np.int32] = np.full(rows, -1, np.int32)
        self._ids: dict[str, int] = {}

    @property
    def values(self) -> list[str]:
        """Every value that was seen, in the order of its first appearance."""
        return list(self._ids)

    def set(self, row: int, node: NodeFacts | None) -> None:
        value = node.labels.get(self.key) if node is not None else None
        self.codes[row] = -1 if value is None else self._ids.setdefault(value, len(self._ids))


class Shapes:
    """The newest shapes seen, and their answers; and the labels that somebody groups nodes by."""

    def __init__(self, limit: int = KEPT_SHAPES) -> None:
        self._limit = limit
        self._shapes: dict[Rules, Shape] = {}
        self._labels: dict[str, LabelColumn] = {}

    def labels(self, key: str, nodes: Sequence[NodeFacts | None], rows: int) -> LabelColumn:
        """The values of a node label. Arguments as those of ``of``."""
        column = self._labels.pop(key, None)
        if column is None:
            column = LabelColumn(key, rows)
            for row, node in enumerate(nodes):
                column.set(row, node)
            if len(self._labels) >= _KEPT_LABELS:
                del self._labels[next(iter(self._labels))]
        self._labels[key] = column
        return column

    def narrow(self, pod: PodFacts, inside: PodFacts, within: Bools, *, base: Shape) -> None:
        """Keep the shape of ``inside``: the pod kept on nodes with some labels, which ``within`` answers.

        Asking every node for it again would cost a loop over the fleet for each rack that is tried.
        """
        rules = rules_of(inside)
        if rules == rules_of(pod) or rules in self._shapes:
            return
        shape = Shape(rules, len(base.codes))
        np.copyto(shape.codes, base.codes)
        outside = ~within & ((base.codes == ALLOWED) | (base.codes == NODE_ORDER[NodeReason.AFFINITY]))
        shape.codes[outside] = NODE_ORDER[NodeReason.SELECTOR]
        shape.preference = None if base.preference is None else base.preference.copy()
        self._make_room()
        self._shapes[rules] = shape

    def of(self, pod: PodFacts, nodes: Sequence[NodeFacts | None], rows: int) -> Shape:
        """The shape of a pod's rules. ``nodes`` holds each row's node; ``rows`` is the length of its columns."""
        rules = rules_of(pod)
        shape = self._shapes.pop(rules, None)
        if shape is None:
            shape = Shape(rules, rows)
            for row, node in enumerate(nodes):
                if node is not None:
                    shape.set(row, node)
            self._make_room()
        self._shapes[rules] = shape
        return shape

    def _make_room(self) -> None:
        """Forget the oldest shape that nobody used for a while."""
        while len(self._shapes) >= self._limit:
            rules = next(iter(self._shapes))
            shape = self._shapes.pop(rules)
            if shape.used:
                shape.used = False
                self._shapes[rules] = shape
            else:
                shape.kept = False

    def set(self, row: int, node: NodeFacts | None) -> None:
        """A node changed: every kept shape decides its row again."""
        for shape in self._shapes.values():
            shape.set(row, node)
        for column in self._labels.values():
            column.set(row, node)

    def clear(self) -> None:
        """The rows were moved."""
        for shape in self._shapes.values():
            shape.kept = False
        self._shapes.clear()
        self._labels.clear()


def rules_of(pod: PodFacts) -> Rules:
    """The pod's rules as the key of its shape."""
    selector = pod.node_selector
    return (tuple(sorted(selector.items())) if selector else (), pod.affinity, pod.tolerations, pod.off, pod.within)


def refusal(rules: Rules, node: NodeFacts) -> NodeReason | None:
    """The first rule that keeps the pod off the node."""
    selector, affinity, tolerations, off, within = rules
    if not node.ready:
        return NodeReason.NOT_READY
    if node.unschedulable and Off.CORDON not in off and not tolerated(_CORDON, tolerations):
        return NodeReason.CORDONED
    if Off.TAINTS not in off and any(
        taint.effect in _HARD and not tolerated(taint, tolerations) for taint in _taints(node)
    ):
        return NodeReason.TAINT
    if any(node.labels.get(key) != value for key, value in within):
        return NodeReason.SELECTOR
    if Off.OWN_NODES in off:
        return None
    if any(node.labels.get(key) != value for key, value in selector):
        return NodeReason.SELECTOR
    return None if _affine(affinity, node) else NodeReason.AFFINITY


def matches_own_rules(wanted: Wanted, node: NodeFacts) -> bool:
    """Whether a node selector and the required node affinity allow the node, whatever else it is."""
    selector, affinity = wanted
    return all(node.labels.get(key) == value for key, value in selector) and _affine(affinity, node)


def hard_taints_tolerated(node: NodeFacts, tolerations: Sequence[Toleration]) -> bool:
    """Whether no taint of the node keeps pods with these tolerations off it."""
    return all(taint.effect not in _HARD or tolerated(taint, tolerations) for taint in node.taints)


def hard_taints(node: NodeFacts) -> frozenset[tuple[str, str, str]]:
    """Key, value and effect of what keeps everybody off the node who does not tolerate it; not a cordon's own taint."""
    return frozenset([(taint.key, taint.value, taint.effect) for taint in _taints(node) if taint.effect in _HARD])


def _affine(affinity: Affinity | None, node: NodeFacts) -> bool:
    required = affinity.node_affinity.required if affinity is not None and affinity.node_affinity is not None else None
    return required is None or selected(required, node)


def _taints(node: NodeFacts) -> Iterator[Taint]:
    """A cordon's own taint is already counted as the cordon."""
    return (taint for taint in node.taints if not (node.unschedulable and taint.key == _CORDON.key))


def preference(rules: Rules, node: NodeFacts) -> int:
    """Weights of the preferred terms that match, less a little for every soft taint that is not tolerated."""
    _, affinity, tolerations, off, _ = rules
    soft = 0
    if Off.SOFT_TAINTS not in off:
        soft = sum(taint.effect == _SOFT and not tolerated(taint, tolerations) for taint in node.taints)
    points = -min(soft, PREFERENCE - 1)
    if affinity is not None and affinity.node_affinity is not None and Off.PREFERRED_NODES not in off:
        preferred = affinity.node_affinity.preferred
        points += PREFERENCE * sum(term.weight for term in preferred if term_matches(term.preference, node))
    return points


def tolerated(taint: Taint, tolerations: Sequence[Toleration]) -> bool:
    """Whether one of the tolerations covers the taint."""
    return any(
        (not wish.effect or wish.effect == taint.effect)
        and (not wish.key or wish.key == taint.key)
        and (wish.operator == "Exists" or (bool(wish.key) and wish.value == taint.value))
        for wish in tolerations
    )


def selected(selector: NodeSelector, node: NodeFacts) -> bool:
    """Whether one of the terms holds."""
    return any(term_matches(term, node) for term in selector.terms)


def term_matches(term: NodeSelectorTerm, node: NodeFacts) -> bool:
    """Whether every expression of the term holds; an empty term matches nothing."""
    if not (term.match_expressions or term.match_fields):
        return False
    name = {"metadata.name": node.name}
    return all(requirement_matches(wish, node.labels) for wish in term.match_expressions) and all(
        wish.key in name and requirement_matches(wish, name) for wish in term.match_fields
    )
