"""How often each reason occurs among the devices or nodes of a class, corrected with their codes."""

from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np

from tensorfusion.scheduling.codes import FITS, Codes, Rows, counts, elements
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason

_Reason = TypeVar("_Reason", DeviceReason, NodeReason)


class Tally(Generic[_Reason]):
    """Codes of devices or nodes, and how often each of them occurs."""

    __slots__ = ("_counts", "_end", "_first", "_met", "_named", "_reasons", "_removed", "_rows", "_single", "codes")

    def __init__(self, codes: Codes, reasons: tuple[_Reason, ...], *, first: int = 0) -> None:
        self.codes = codes
        self._single, self._rows = elements(codes), codes.shape[-1]
        self._reasons: tuple[_Reason, ...] = reasons
        self._first, self._end = first, len(reasons)
        found = counts(codes)
        self._counts: list[int] = found.tolist()
        self._removed: tuple[tuple[_Reason, int], ...] | None = None
        self._met: set[int] = set()
        """Every code that has ever occurred: few do, and only these are looked at."""
        self._named: list[tuple[int, _Reason]] = []
        """Those of them that are reasons to be told, in their order."""
        self._meet(np.flatnonzero(found).tolist())

    @property
    def fitting(self) -> int:
        """How many no filter removes."""
        return self._counts[FITS]

    @property
    def removed(self) -> tuple[tuple[_Reason, int], ...]:
        """What each filter removed, in their order."""
        if self._removed is None:
            found = self._counts
            self._removed = tuple([(reason, found[code]) for code, reason in self._named if found[code]])
        return self._removed

    def put(self, at: Rows, codes: Codes) -> None:
        """New codes of these rows."""
        before = self.codes[..., at]
        change = counts(codes) - counts(before)
        changed: list[int] = np.flatnonzero(change).tolist()
        for code in changed:
            self._counts[code] += int(change[code])
        if not self._met.issuperset(changed):
            self._meet(changed)
        self.codes[..., at] = codes
        self._removed = None

    def put_one(self, row: int, code: int) -> None:
        """The new code of a row that has one."""
        before = self._single[row]
        if before != code:
            self._single[row] = code
            self._counts[before] -= 1
            self._counts[code] += 1
            if code not in self._met:
                self._meet((code,))
            if before < self._end or code < self._end:  # the others are no reasons
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
        if not self._met.issuperset(codes):
            self._meet(codes)
        self._removed = None
        return True

    def _meet(self, codes: Iterable[int]) -> None:
        """These codes occur."""
        self._met.update(codes)
        self._named = [(code, self._reasons[code]) for code in sorted(self._met) if self._first <= code < self._end]
