"""How often each reason occurs among the devices or nodes of a class, corrected with their codes."""

from itertools import compress
from typing import Generic, TypeVar

import numpy as np

from tensorfusion.scheduling.codes import FITS, Codes, Rows, counts, elements
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason

_Reason = TypeVar("_Reason", DeviceReason, NodeReason)


class Tally(Generic[_Reason]):
    """Codes of devices or nodes, and how often each of them occurs."""

    __slots__ = ("_counts", "_end", "_first", "_named", "_removed", "_rows", "_single", "codes")

    def __init__(self, codes: Codes, reasons: tuple[_Reason, ...], *, first: int = 0) -> None:
        self.codes = codes
        self._single, self._rows = elements(codes), codes.shape[-1]
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
            self._removed = tuple(zip(compress(self._named, found), filter(None, found), strict=True))
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
        before = self._single[row]
        if before != code:
            self._single[row] = code
            self._counts[before] -= 1
            self._counts[code] += 1
            self._removed = None

    def slots(self, row: int) -> list[int]:
        """The codes of a row's slots; a new list."""
        found: list[int] = self._single[row :: self._rows].tolist()
        return found

    def put_slots(self, row: int, codes: list[int]) -> bool:
        """The new codes of a row's slots; answers whether any is another one."""
        here = self._single[row :: self._rows]
        before: list[int] = here.tolist()
        if before == codes:
            return False
        found = self._counts
        for slot, code in enumerate(codes):
            known = before[slot]
            if code != known:
                here[slot] = code
                found[known] -= 1
                found[code] += 1
        self._removed = None
        return True
