"""How much of what workers counted is in the status of routes already: what makes each request count once.

Before totals are added to a status, a line is put down here: how far each worker's are counted with it, and by which
mark in the status (``lastUpdated``, to the microsecond) to see that the write took place. Whoever lost the answer of a
write, or takes over from a writer that was killed, looks for the mark: it is there, and the line holds; or it is not,
and the line is struck out. Kept in the folder of the reports, so both are lost together when the machine starts anew.
"""

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from tensorfusion.gateway.objects.reports import replace
from tensorfusion.policy.routing.route_stats import Totals

_FILE = "ledger.json"

Counted = Mapping[str, Totals]
"""What each worker has counted of one route, since it began."""


class _Line(msgspec.Struct, frozen=True):
    """A write that is under way: its mark, and what is counted once it has taken place."""

    mark: str
    counted: dict[str, Totals]


class _Book(msgspec.Struct):
    """By uid of the route."""

    counted: dict[str, dict[str, Totals]] = {}
    open: dict[str, _Line] = {}


class Ledger:
    """Of one host. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._book = _Book()
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._book = msgspec.json.decode(self._path.read_bytes(), type=_Book)

    @property
    def open_lines(self) -> Collection[str]:
        """The uids of routes whose last write may have taken place or not."""
        return list(self._book.open)

    def fresh(self, uid: str, counted: Counted) -> Totals:
        """What is not in the route's status yet."""
        known = self._book.counted.get(uid, {})
        return sum((totals - known.get(worker, _NOTHING) for worker, totals in counted.items()), _NOTHING)

    def unwritten(self, uid: str, counted: Counted) -> Collection[str]:
        """The workers of whom something is fresh."""
        known = self._book.counted.get(uid, {})
        return [worker for worker, totals in counted.items() if totals != known.get(worker, _NOTHING)]

    def open(self, uid: str, mark: str, counted: Counted) -> None:
        """A write with this mark is about to add what is fresh. ``keep`` before it is made."""
        self._book.open[uid] = _Line(mark, dict(counted))

    def settle(self, uid: str, mark: str | None) -> None:
        """The status has this mark now: the open line of the route holds, or it is struck out."""
        line = self._book.open.pop(uid, None)
        if line is not None and line.mark == mark:
            self._book.counted.setdefault(uid, {}).update(line.counted)

    def keep(self) -> None:
        """Put down what it says now. Raises OSError."""
        replace(self._path, msgspec.json.encode(self._book))

    def forget(self, *, routes: Collection[str], workers: Collection[str]) -> None:
        """Keep only what is about these routes, and these workers."""
        book = self._book
        book.open = {uid: line for uid, line in book.open.items() if uid in routes}
        book.counted = {
            uid: {worker: totals for worker, totals in counted.items() if worker in workers}
            for uid, counted in book.counted.items()
            if uid in routes
        }


_NOTHING = Totals()
