"""The rows that rank highest, known without looking at all of them again each time one changes.

Some more rows are kept than are asked for, best first, under one promise: no other row ranks above the last of them. So
a row that changes is taken out, and put in where it still ranks above that last one; only when too few are left are all
rows looked at. Ties go to the lower row.
"""

from bisect import bisect_left
from typing import Final

from tensorfusion.scheduling.codes import LOWEST, Ints

ASKED: Final = 4
"""Rows that a decision names: the one it takes, and its alternatives."""
KEPT: Final = 12


class Front:
    """The best rows of some ranking keys, which their owner changes and tells of."""

    __slots__ = ("_all", "_negatives", "_order")

    def __init__(self, keys: Ints) -> None:
        found = best_of(keys, KEPT)
        self._order: list[tuple[int, int]] = [(-key, row) for row, key in found]
        """Negative keys and rows, ascending, so that the best is first."""
        self._negatives = {row: -key for row, key in found}
        self._all = len(found) < KEPT
        """Every row that fits is in it."""

    def put(self, row: int, key: int) -> None:
        """The row has this key now."""
        order, rank = self._order, (-key, row)
        among = key != LOWEST and (self._all or (bool(order) and rank <= order[-1]))
        known = self._negatives.pop(row, None)
        if known is not None:
            del order[bisect_left(order, (known, row))]
        if among:
            order.insert(bisect_left(order, rank), rank)
            self._negatives[row] = -key
            if len(order) > KEPT:
                del self._negatives[order.pop()[1]]
                self._all = False

    def best(self) -> list[tuple[int, int]] | None:
        """The best rows and their keys, best first: all that fit, or as many as are asked for. None: look anew."""
        if len(self._order) < ASKED and not self._all:
            return None
        return [(row, -negative) for negative, row in self._order[:ASKED]]


def best_of(keys: Ints, count: int) -> list[tuple[int, int]]:
    """The fitting rows with the highest keys, and these, best first. Leaves the keys as they are."""
    found = []
    for _ in range(min(count, len(keys))):
        row = int(keys.argmax())
        key = keys.item(row)
        if key == LOWEST:
            break
        found.append((row, key))
        keys[row] = LOWEST
    for row, key in found:
        keys[row] = key
    return found
