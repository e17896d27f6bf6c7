"""Which rows of some columns changed, in order, for readers who come by when they need to know.

Apart from the columns because many readers read one log, each at its own pace: whoever has kept something that was
computed from the columns remembers how far it has read, and next time computes anew only the rows that came since.
"""

from typing import Final

KEPT: Final = 4096
"""Entries that are kept at least; a reader that is further behind computes everything anew."""


class ChangeLog:
    """Numbers of changed rows. A *position* counts every change there has ever been."""

    __slots__ = ("_dropped", "_last", "_rows")

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._dropped = 0
        self._last = -1

    def mark(self) -> int:
        """The position of a reader that has seen everything so far."""
        self._last = -1
        return self._dropped + len(self._rows)

    def add(self, row: int) -> None:
        """The row changed."""
        if row == self._last:
            return  # nobody has marked a position since it was written down
        self._last = row
        self._rows.append(row)
        if len(self._rows) >= 2 * KEPT:
            del self._rows[:KEPT]
            self._dropped += KEPT

    def reset(self) -> None:
        """Every row changed, or the rows are other ones now."""
        self._dropped += len(self._rows) + 1
        self._rows.clear()
        self._last = -1

    def since(self, position: int) -> list[int] | None:
        """The rows that changed since then, each once; None where that is too long ago to say."""
        if position < self._dropped:
            return None
        news = self._rows[position - self._dropped :]
        return news if len(news) < 2 else list(dict.fromkeys(news))
