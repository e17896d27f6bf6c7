"""The one place where a decision asks for the rules between pods: what they leave of the nodes, and what they add.

Apart from the search because nearly every pod has none of them: ``extra_rules`` answers None, and the decision is the
plain one. Filters are columns over node rows; a pool's decision gathers them through its own rows (``at``), a plain
pod's uses them as they are (``at`` None).
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.reasons import NodeReason
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

    def advice(self, removed: Sequence[tuple[NodeReason, int]]) -> tuple[str, ...]:
        """What would help where these reasons left no node."""


def extra_rules(state: State, pod: PodFacts) -> ExtraRules | None:
    """The rules that this decision has to ask; None for nearly every pod."""
    if pod.rules is None:
        return None
    return _Rules(state, pod)


class _Rules:
    """Filters as columns over the node rows, in their order."""

    def __init__(self, state: State, pod: PodFacts) -> None:
        self._pod = pod
        self._filters: list[tuple[NodeReason, Bools]] = []
        rules = pod.rules
        if rules is not None and rules.ports:
            passes = np.ones(state.fleet.nodes.size, np.bool_)
            for port in rules.ports:
                passes[list(state.fleet.neighbours.ports.holders(port))] = False
            self._filters.append((NodeReason.PORTS, passes))

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
        return None

    def refusal(self, row: int) -> NodeReason | None:
        return next((reason for reason, passes in self._filters if not passes[row]), None)

    def advice(self, removed: Sequence[tuple[NodeReason, int]]) -> tuple[str, ...]:
        found = {reason for reason, _ in removed}
        rules = self._pod.rules
        if rules is None or NodeReason.PORTS not in found:
            return ()
        ports = ", ".join(map(str, rules.ports))
        return (f"Host port {ports}: wait for the pod that has it, ask for another port, or leave out hostPort",)
