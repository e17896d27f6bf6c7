"""Which rows of some columns changed, for readers who come by when they need to know.

Apart from the columns because many readers read one log, each at its own pace: whoever has kept something that was
computed from the columns remembers how far it has read, and next time computes anew only the rows that came since.

Each row is written down once, at its last change, in the order of these: a reader goes back from the newest until it
meets what it has read, so it pays for the rows that changed, however often they did and however long it was away.
"""


class ChangeLog:
    """Numbers of changed rows. A *position* counts every change there has ever been."""

    __slots__ = ("_at", "_marked", "_newest", "_void", "count")

    def __init__(self) -> None:
        self._at: dict[int, int] = {}
        """The position after the last change of each row, oldest first."""
        self.count = 0
        """The position after the last change; whoever reads the log to remember how far asks ``mark`` for it."""
        self._void = 0
        """Positions before it are older than what is written down."""
        self._newest = -1
        """The row that changed last, which is the last one in ``_at`` then."""
        self._marked = True
        """Somebody may have read that change."""

    def mark(self) -> int:
        """The position of a reader that has seen everything so far."""
        self._marked = True
        return self.count

    def add(self, row: int) -> None:
        """The row changed."""
        if row != self._newest:
            self._newest = row
            self._at.pop(row, None)
        elif not self._marked:
            return
        self._marked = False
        self.count += 1
        self._at[row] = self.count

    def reset(self) -> None:
        """Every row changed, or the rows are other ones now."""
        self.count += 1
        self._void = self.count
        self._at.clear()
        self._newest = -1

    def since(self, position: int) -> list[int] | None:
        """The rows that changed since then, each once, the newest first; None where all of them may have."""
        if position < self._void:
            return None
        news: list[int] = []
        for row, at in reversed(self._at.items()):
            if at <= position:
                break
            news.append(row)
        return news
