"""How often each reason occurs among the devices or nodes of a class, corrected with their codes."""

from itertools import compress
from typing import Generic, TypeVar

import numpy as np

from tensorfusion.scheduling.codes import FITS, Codes, Rows, counts
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason

_Reason = TypeVar("_Reason", DeviceReason, NodeReason)


class Tally(Generic[_Reason]):
    """Codes of devices or nodes, and how often each of them occurs."""

    __slots__ = ("_counts", "_end", "_first", "_named", "_removed", "codes")

    def __init__(self, codes: Codes, reasons: tuple[_Reason, ...], *, first: int = 0) -> None:
        self.codes = codes
        self._named: tuple[_Reason, ...] = reasons[first:]
        self._first, self._end = first, len(reasons)
        self._counts: list[int] = counts(codes).tolist()
        self._removed: tuple[tuple[_Reason, int], ...] | None = None

    @property
    def fitting(self) -> int:
        """How many no filter removes."""
        return self._counts[FITS]

    @property
    def removed(self) -> tuple[tuple[_Reason, int], ...]:
        """What each filter removed, in their order."""
        if self._removed is None:
            found = self._counts[self._first : self._end]
            self._removed = tuple(compress(zip(self._named, found, strict=True), found))
        return self._removed

    def put(self, at: Rows, codes: Codes) -> None:
        """New codes of these rows."""
        before = self.codes[..., at]
        change = counts(codes) - counts(before)
        for code in np.flatnonzero(change).tolist():
            self._counts[code] += int(change[code])
        self.codes[..., at] = codes
        self._removed = None

    def put_one(self, row: int, code: int) -> None:
        """The new code of a row that has one."""
        before = self.codes.item(row)
        if before != code:
            self.codes[row] = code
            self._swap(before, code)

    def put_slots(self, row: int, codes: list[int]) -> None:
        """The new codes of the first slots of a row."""
        here = self.codes[:, row]
        before = here.tolist()
        if before == codes:
            return
        found = self._counts
        for slot, code in enumerate(codes):
            known = before[slot]
            if code != known:
                here[slot] = code
                found[known] -= 1
                found[code] += 1
        self._removed = None

    def _swap(self, before: int, code: int) -> None:
        self._counts[before] -= 1
        self._counts[code] += 1
        self._removed = None
