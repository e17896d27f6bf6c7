"""Whose turn it is, by weight: after any number of turns each has had its exact share, give or take less than one.

The quota method (Balinski and Young): at the n-th turn only those take part who would not come above their share of n,
rounded up; of them the one with the fewest turns for its weight, the next one counted in. All in integers.

Not every target can be chosen at every turn. What is promised then: each *set* of targets keeps turns of its own, so
the turns at which the same set could be chosen are within one of exact, after any number of them, however the sets
alternate; over all turns a target is within one for each set that occurred. Rejected: one count for all sets, in which
a target that comes back would be flooded with all it missed; and starting anew whenever the set changes, in which the
heaviest target would get every turn if two sets alternate.
"""

from collections.abc import Sequence
from functools import lru_cache

MOST_SETS = 256
"""Sets that are remembered. Of more, the one that was made first starts anew."""


@lru_cache(maxsize=4096)
def members(mask: int) -> tuple[int, ...]:
    """The indices in a mask, ascending."""
    return tuple(index for index in range(mask.bit_length()) if mask >> index & 1)


class Rotation:
    """Turns of targets with the given weights. A weight of 0 is chosen only where nothing else can be."""

    def __init__(self, weights: Sequence[int]) -> None:
        self.weights = tuple(weights)
        self._sets: dict[int, _Turns] = {}

    def turn(self, mask: int) -> int:
        """The index whose turn it is among those in the mask, which is not empty. Counts the turn."""
        turns = self._sets.get(mask)
        if turns is None:
            if len(self._sets) >= MOST_SETS:
                del self._sets[next(iter(self._sets))]
            turns = self._sets[mask] = _Turns(mask, self.weights)
        return turns.take()

    def peek(self, mask: int) -> int:
        """The index whose turn it would be. Counts nothing."""
        return (self._sets.get(mask) or _Turns(mask, self.weights)).next()


class Preview:
    """A rotation that can be asked and does not move."""

    def __init__(self, rotation: Rotation) -> None:
        self.weights = rotation.weights
        self.turn = rotation.peek


class _Turns:
    """The turns of one set."""

    __slots__ = ("_count", "_had", "_members", "_sum", "_weights")

    def __init__(self, mask: int, weights: Sequence[int]) -> None:
        self._members = members(mask)
        found = [weights[index] for index in self._members]
        if any(found):
            self._members = tuple(index for index, weight in zip(self._members, found, strict=True) if weight)
            self._weights = [weight for weight in found if weight]
        else:
            self._weights = [1] * len(self._members)
        self._sum = sum(self._weights)
        self._had = [0] * len(self._members)
        self._count = 0

    def take(self) -> int:
        place = self._place()
        self._had[place] += 1
        self._count += 1
        if self._count == self._sum:  # everybody has had exactly its weight: the numbers stay small
            self._had = [0] * len(self._members)
            self._count = 0
        return self._members[place]

    def next(self) -> int:
        return self._members[self._place()]

    def _place(self) -> int:
        number, total = self._count + 1, self._sum
        best, best_had, best_weight = -1, 0, 1
        for place, had in enumerate(self._had):
            weight = self._weights[place]
            if had * total < weight * number and (best < 0 or (had + 1) * best_weight < (best_had + 1) * weight):
                best, best_had, best_weight = place, had, weight
        return best
