"""The rows that rank highest, known without looking at all of them again each time one changes.

Some more rows are kept than are asked for, under one promise: all that rank at least as high as a floor are among them.
So a row that changes is put in or taken out by one comparison; only when too few are left are all rows looked at. Ties
go to the lower row.
"""

from typing import Final, TypeAlias

from tensorfusion.scheduling.codes import LOWEST, Ints, elements

Rank: TypeAlias = tuple[int, int]
"""Negative key and row: the lower the better."""

ASKED: Final = 4
"""Rows that a decision names: the one it takes, and its alternatives."""
KEPT: Final = 12
_ALL: Final = (-LOWEST, -1)
"""The floor that every row that fits is above."""


class Front:
    """The best rows of some ranking keys, which their owner changes and tells of."""

    __slots__ = ("_floor", "_ranks")

    def __init__(self, keys: Ints) -> None:
        self._ranks: dict[int, Rank] = {}
        """Of each row that is kept."""
        self._floor: Rank = _ALL
        found = [(-key, row) for row, key in best_of(keys, KEPT)]
        self._keep(found, every=len(found) < KEPT)

    def put(self, row: int, key: int) -> None:
        """The row has this key now."""
        rank = (-key, row)
        if rank > self._floor:
            self._ranks.pop(row, None)
            return
        self._ranks[row] = rank
        if len(self._ranks) > 2 * KEPT:
            self._keep(sorted(self._ranks.values())[:KEPT], every=False)

    def best(self) -> list[tuple[int, int]] | None:
        """The best rows and their keys, best first: all that fit, or as many as are asked for. None: look anew."""
        if len(self._ranks) < ASKED and self._floor is not _ALL:
            return None
        return [(row, -negative) for negative, row in sorted(self._ranks.values())[:ASKED]]

    def _keep(self, best: list[Rank], *, every: bool) -> None:
        self._ranks = {rank[1]: rank for rank in best}
        self._floor = _ALL if every else best[-1]


def best_of(keys: Ints, count: int) -> list[tuple[int, int]]:
    """The fitting rows with the highest keys, and these, best first. Leaves the keys as they are."""
    single = elements(keys)
    found = []
    for _ in range(min(count, len(keys))):
        row = int(keys.argmax())
        key = single[row]
        if key == LOWEST:
            break
        found.append((row, key))
        single[row] = LOWEST
    for row, key in found:
        single[row] = key
    return found
