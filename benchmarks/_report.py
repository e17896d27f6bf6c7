"""How every benchmark reports: a table for people, and ``--json FILE`` for machines.

A row is one figure beside its peer: what somebody else needs for the same work, or the goal. ``ratio`` is value over
peer value; whether small or large is good follows from the unit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``peer`` says whose value stands beside it; empty where there is none."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float | None
    parameters: Mapping[str, object]

    @property
    def ratio(self) -> float | None:
        return self.value / self.peer_value if self.peer_value else None


def report(rows: Sequence[Row], file: Path | None) -> None:
    """Print the table; write the file where one is named."""
    header = ("NAME", "VALUE", "UNIT", "PEER", "PEER VALUE", "RATIO", "PARAMETERS")
    lines = [header, *(_words(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    if file is not None:
        file.write_text(json.dumps([_values(row) for row in rows], indent=2) + "\n")


def _words(row: Row) -> tuple[str, ...]:
    digits = 2 if row.unit == "%" else 1
    parameters = " ".join(f"{key}={value}" for key, value in row.parameters.items())
    peer = "" if row.peer_value is None else f"{row.peer_value:,.{digits}f}"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    return row.name, f"{row.value:,.{digits}f}", row.unit, row.peer, peer, ratio, parameters


def _values(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "value": row.value,
        "unit": row.unit,
        "peer": row.peer,
        "peer_value": row.peer_value,
        "ratio": row.ratio,
        "parameters": dict(row.parameters),
    }
