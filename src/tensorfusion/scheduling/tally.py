"""How often each reason occurs among the devices or nodes of a class, corrected with their codes."""

from typing import Generic, TypeVar

from tensorfusion.scheduling.codes import FITS, Codes, Ints, Rows, counts, elements
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason

_Reason = TypeVar("_Reason", DeviceReason, NodeReason)


class Tally(Generic[_Reason]):
    """Codes of devices or nodes, and how often each of them occurs."""

    __slots__ = ("_end", "_first", "_reasons", "_rows", "_single", "_single_counts", "codes", "counts", "told")

    def __init__(self, codes: Codes, reasons: tuple[_Reason, ...], *, first: int = 0) -> None:
        self.codes = codes
        self._single, self._rows = elements(codes), codes.shape[-1]
        self._reasons: tuple[_Reason, ...] = reasons[first:]
        self._first, self._end = first, len(reasons)
        self.counts: Ints = counts(codes)
        """How often each code occurs. Shape (256,)."""
        self._single_counts = elements(self.counts)
        self.told: tuple[tuple[_Reason, int], ...] | None = None
        """``removed``, while nothing has changed; whoever changes counts has to forget it."""

    @property
    def fitting(self) -> int:
        """How many no filter removes."""
        return self._single_counts[FITS]

    @property
    def removed(self) -> tuple[tuple[_Reason, int], ...]:
        """What each filter removed, in their order."""
        if self.told is None:
            found = self._single_counts[self._first : self._end].tolist()
            self.told = tuple([entry for entry in zip(self._reasons, found, strict=True) if entry[1]])
        return self.told

    def put(self, at: Rows, codes: Codes) -> None:
        """New codes of these rows."""
        self.counts += counts(codes) - counts(self.codes[..., at])
        self.codes[..., at] = codes
        self.told = None

    def put_one(self, row: int, code: int) -> None:
        """The new code of a row that has one."""
        before = self._single[row]
        if before != code:
            self._single[row] = code
            self._single_counts[before] -= 1
            self._single_counts[code] += 1
            if before < self._end or code < self._end:  # the others are no reasons
                self.told = None

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
        found = self._single_counts
        for slot, code in enumerate(codes):
            known = before[slot]
            if code != known:
                here[slot] = code
                found[known] -= 1
                found[code] += 1
        self.told = None
        return True
