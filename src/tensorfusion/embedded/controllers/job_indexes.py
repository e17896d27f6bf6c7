"""Sets of completion indexes as a Job's status writes them: ``1,3-5,7``. Pure.

Source: batch/v1 JobStatus.completedIndexes.
"""

from collections.abc import Iterable
from itertools import pairwise


def parse_indexes(text: str) -> set[int]:
    """The indexes of a list of numbers and ranges; parts that are neither are left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first.isdigit() and (last.isdigit() if dash else True):
            found.update(range(int(first), int(last if dash else first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Ascending; two or more in a row become a range, but for two, which stay apart as Kubernetes writes them."""
    ordered = sorted(indexes)
    if not ordered:
        return ""
    breaks = [0, *(at for at, (one, two) in enumerate(pairwise(ordered), start=1) if two != one + 1), len(ordered)]
    parts = []
    for start, stop in pairwise(breaks):
        first, last = ordered[start], ordered[stop - 1]
        parts.append(str(first) if first == last else f"{first},{last}" if last == first + 1 else f"{first}-{last}")
    return ",".join(parts)
