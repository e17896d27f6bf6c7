"""The strategies weighted, priority and round-robin said a second time, slow and obvious.

All turns are kept in lists, one for each set of targets that occurred. Whose turn it is, is found by trying each:
first whom a turn would not bring above its share rounded up, then who would first fall below its share rounded down.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil


class ReferenceChooser:
    """Targets are numbers from 0; ``weights`` and ``priorities`` are theirs."""

    def __init__(self, weights: Sequence[int], priorities: Sequence[int]) -> None:
        self.weights = weights
        self.priorities = priorities
        self.history: dict[frozenset[int], list[int]] = {}

    def weighted(self, available: frozenset[int]) -> int:
        history = self.history.setdefault(available, [])
        turn = len(history) + 1
        total = sum(self.weights[one] for one in available)

        def share(target: int, turns: int) -> Fraction:
            return Fraction(self.weights[target] * turns, total)

        def would_have(target: int) -> int:
            return history.count(target) + 1

        def runs_out(target: int) -> Fraction:
            """The turn by which it has to have had one more."""
            return would_have(target) / share(target, 1)

        allowed = [one for one in sorted(available) if would_have(one) <= ceil(share(one, turn))]
        chosen = min(allowed, key=runs_out)
        history.append(chosen)
        return chosen

    def round_robin(self, available: frozenset[int]) -> int:
        history = self.history.setdefault(available, [])
        chosen = sorted(available)[len(history) % len(available)]
        history.append(chosen)
        return chosen

    def priority(self, available: frozenset[int]) -> int:
        best = min(self.priorities[one] for one in available)
        return self.weighted(frozenset(one for one in available if self.priorities[one] == best))
