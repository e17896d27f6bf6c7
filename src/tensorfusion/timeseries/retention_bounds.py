"""How long rows are kept. Apart from ``retention``, which needs DuckDB: a GreptimeDB is told the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DAY: Final = 86_400
LEAST_DAYS: Final = 2
"""That requests are kept at least: their hours are added up when they are a day old."""
SUMS_DAYS: Final = 400
"""That hourly sums are kept at least: a bill of last year's month can be asked for."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds that rows are kept, by table and otherwise, and the bytes that the file may use.

    Source: metricsTTL of TensorFusion's dynamic configuration, 30 days by default.
    """

    seconds: int = 30 * DAY
    tables: Mapping[str, int] = field(default_factory=dict)
    most_bytes: int = 10 << 30
