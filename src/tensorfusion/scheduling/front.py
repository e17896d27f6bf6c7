"""The rows that rank highest, known without looking at all of them again each time one changes.

Some more rows are kept than are asked for, under one promise: all that rank at least as high as a floor are among them.
So a row that changes is put in or taken out by one comparison; only when too few are left are all rows looked at. Ties
go to the lower row.
"""

from typing import Final

from tensorfusion.scheduling.codes import LOWEST, Ints, elements

ASKED: Final = 4
"""Rows that a decision names: the one it takes, and its alternatives."""
KEPT: Final = 12
_ROW_BITS: Final = 32
_ROW: Final = (1 << _ROW_BITS) - 1
_ALL: Final = (-LOWEST << _ROW_BITS) - 1
"""The floor that every row that fits is above."""


class Front:
    """The best rows of some ranking keys, which their owner changes and tells of.

    A *rank* is the negative key before the row, in one integer, as pairs take longer to sort: the lower the better.
    """

    __slots__ = ("_floor", "_ranks")

    def __init__(self, keys: Ints) -> None:
        self._ranks: dict[int, int] = {}
        """Of each row that is kept."""
        self._floor = _ALL
        found = [row - (key << _ROW_BITS) for row, key in best_of(keys, KEPT)]
        self._keep(found, every=len(found) < KEPT)

    def put(self, row: int, key: int) -> None:
        """The row has this key now."""
        rank = row - (key << _ROW_BITS)
        if rank > self._floor:
            self._ranks.pop(row, None)
            return
        self._ranks[row] = rank
        if len(self._ranks) > 2 * KEPT:
            self._keep(sorted(self._ranks.values())[:KEPT], every=False)

    def best(self) -> list[tuple[int, int]] | None:
        """The best rows and their keys, best first: all that fit, or as many as are asked for. None: look anew."""
        if len(self._ranks) < ASKED and self._floor != _ALL:
            return None
        return [(rank & _ROW, -(rank >> _ROW_BITS)) for rank in sorted(self._ranks.values())[:ASKED]]

    def _keep(self, best: list[int], *, every: bool) -> None:
        self._ranks = {rank & _ROW: rank for rank in best}
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
