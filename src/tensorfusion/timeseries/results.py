"""The answer to a query, the same from the embedded store and over the wire."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Named:
    """A column of an answer; ``kind`` in GreptimeDB's words, as ``TimestampNanosecond``."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Result:
    """An answer: times are integers of their kind's unit since 1970."""

    columns: tuple[Named, ...]
    rows: list[tuple[Any, ...]]  # Any: what the columns' kinds say

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by the names of their columns."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]
