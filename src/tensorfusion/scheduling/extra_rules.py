"""The one place where a decision asks for the rules between pods: what they leave of the nodes, and what they add.

Apart from the search because nearly every pod has none of them: ``extra_rules`` answers None, and the decision is the
plain one. Filters are columns over node rows; a pool's decision gathers them through its own rows (``at``), a plain
pod's uses them as they are (``at`` None).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling import node_scores, pod_affinity, rule_advice, spread
from tensorfusion.scheduling.facts import Off, PodFacts
from tensorfusion.scheduling.neighbours import Selection
from tensorfusion.scheduling.nodes import GPU_FREE
from tensorfusion.scheduling.profile import Profile
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.score_parts import ScorePart
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.state import State

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
At: TypeAlias = NDArray[np.intp] | None
"""The node row of each row of the columns at hand; None where they are the same."""
Removed: TypeAlias = list[tuple[NodeReason, int]]


class ExtraRules(Protocol):
    """The rules of one pod against the world of now."""

    def narrow(self, rows: Bools, at: At, removed: Removed) -> int:
        """Leave in ``rows`` the nodes that the rules allow, count the others; answers how many are left."""

    def points(self, rows: Bools, at: At) -> Ints | None:
        """What to add to the key of each of the rows, in units of preference; None for nothing."""

    def refusal(self, row: int) -> NodeReason | None:
        """The first rule that keeps the pod off the node of this row."""

    def parts(self, row: int) -> Sequence[tuple[ScorePart, int]]:
        """What ``points`` were made of when they were asked for last, of one node row."""

    def advice(self, removed: Sequence[tuple[NodeReason, int]]) -> tuple[str, ...]:
        """What would help where these reasons left no node."""


def extra_rules(state: State, pod: PodFacts) -> ExtraRules | None:
    """The rules that this decision has to ask; None for nearly every pod."""
    if pod.rules is None and state.domain is None and not (state.fleet.neighbours.active or state.profiles.by_name):
        return None
    profile = state.profiles.of(pod.scheduler)
    about = state.fleet.neighbours.about(pod, state.fleet.nodes.size)
    limited = state.domain is not None and state.domain.limits(state.fleet, pod)
    if pod.rules is None and not about and profile.scoring is None and not limited:
        return None
    return _Rules(state, pod, profile, about)


class _Rules:
    """Filters in their order, each a column over the node rows, made when it is first asked for."""

    def __init__(self, state: State, pod: PodFacts, profile: Profile, about: list[Selection]) -> None:
        self._fleet = state.fleet
        self._pod = pod
        self._profile = profile
        self._about = about
        self._domain = state.domain
        self._made: list[tuple[NodeReason, Bools]] | None = None
        self._parts: list[tuple[ScorePart, Ints]] = []

    @property
    def _filters(self) -> list[tuple[NodeReason, Bools]]:
        if self._made is None:
            self._made = list(self._stages())
        return self._made

    def _stages(self) -> Iterator[tuple[NodeReason, Bools]]:
        pod, rules, fleet = self._pod, self._pod.rules, self._fleet
        if rules is not None and rules.ports and Off.PORTS not in pod.off:
            passes = np.ones(fleet.nodes.size, np.bool_)
            for port in rules.ports:
                passes[list(fleet.neighbours.ports.holders(port))] = False
            yield NodeReason.PORTS, passes
        if rules is not None and Off.SPREAD not in pod.off:
            required = [rule for rule in rules.spread if rule.required]
            if required:
                yield from spread.filters(fleet, pod, required)
        if Off.NEIGHBOURS not in pod.off:
            yield from pod_affinity.filters(fleet, pod, rules, self._about)
        if self._domain is not None:
            yield NodeReason.OTHER_OWNER, self._domain.rows(fleet)

    def narrow(self, rows: Bools, at: At, removed: Removed) -> int:
        left = int(np.count_nonzero(rows))
        for reason, passes in self._filters:
            np.logical_and(rows, passes if at is None else passes.take(at, mode="clip"), out=rows)
            now = int(np.count_nonzero(rows))
            if now != left:
                removed.append((reason, left - now))
                left = now
        return left

    def points(self, rows: Bools, at: At) -> Ints | None:
        feasible = rows
        if at is not None:
            feasible = np.zeros(self._fleet.nodes.size, np.bool_)
            feasible[at[rows]] = True
        points = self._node_points(feasible)
        return points if points is None or at is None else points.take(at, mode="clip")

    def _node_points(self, feasible: Bools) -> Ints | None:
        """The parts' points by node row, each by its weight over that of the base score."""
        pod, rules, fleet, profile = self._pod, self._pod.rules, self._fleet, self._profile
        parts: list[tuple[ScorePart, Ints | None, int]] = []
        if rules is not None and profile.spread:
            preferred = [rule for rule in rules.spread if not rule.required]
            if preferred:
                parts.append((ScorePart.SPREAD, spread.points(fleet, pod, preferred, feasible), profile.spread))
        if profile.affinity and (self._about or (rules is not None and rules.preferred)):
            near = pod_affinity.points(
                fleet,
                rules,
                self._about if profile.placed_preferences else [],
                feasible,
                hard_weight=profile.hard_affinity_weight,
            )
            parts.append((ScorePart.NEIGHBOURS, near, profile.affinity))
        base = 1 if pod.request is None else profile.shares
        if profile.scoring is not None and profile.resources:
            fit = node_scores.points(fleet, pod, profile.scoring)
            if pod.request is None:  # instead of the packing by CPU and memory, not beside it
                packed = fleet.nodes.plain_score // PREFERENCE % GPU_FREE
                parts.append((ScorePart.PLACEMENT, -packed, 1))
            parts.append((ScorePart.RESOURCES, fit, profile.resources))
        self._parts = [
            (part, points * (PREFERENCE * weight) // base) for part, points, weight in parts if points is not None
        ]
        total: Ints | None = None
        for _, weighted in self._parts:
            total = weighted if total is None else total + weighted
        return total

    def parts(self, row: int) -> Sequence[tuple[ScorePart, int]]:
        return [(part, int(points[row])) for part, points in self._parts]

    def refusal(self, row: int) -> NodeReason | None:
        return next((reason for reason, passes in self._filters if not passes[row]), None)

    def advice(self, removed: Sequence[tuple[NodeReason, int]]) -> tuple[str, ...]:
        reasons = {reason for reason, _ in removed}
        return tuple(rule_advice.advice(self._fleet, self._pod, reasons, self._about))
