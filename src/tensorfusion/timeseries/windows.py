"""The questions that alert rules, the autoscaler, cost reports and the console ask: about one column over a period, for
each combination of some tags.

Written in SQL that GreptimeDB and DuckDB read alike: window functions and no function of either. A row without a value
in the column does not count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tensorfusion.timeseries.points import TIME_COLUMN
from tensorfusion.timeseries.reader import Moment, Reader, identifier, literal
from tensorfusion.timeseries.results import Result


@dataclass(frozen=True, slots=True)
class Window:
    """``column`` of ``table`` from ``since`` up to but without ``until`` (ns), by the values of the tags ``by``.

    ``where`` lets in only rows with these values of tags. ``time_column`` is the table's (see ``tables.py``).

    Raises:
        ValueError: the period is empty.
    """

    table: str
    column: str
    since: int
    until: int
    by: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    time_column: str = TIME_COLUMN

    def __post_init__(self) -> None:
        if self.since >= self.until:
            raise ValueError(f"window of {self.table}: wanted a period, found {self.since} to {self.until}")

    @property
    def seconds(self) -> float:
        """The length of the period."""
        return (self.until - self.since) / 1e9


@dataclass(frozen=True, slots=True)
class Sample:
    """One number, and the tags that it belongs to, in the window's order; None where rows lack a tag."""

    tags: tuple[str | None, ...]
    value: float


async def last(reader: Reader, window: Window) -> list[Sample]:
    """The newest value."""
    place = f"row_number() OVER ({_partition(window)} ORDER BY {identifier(window.time_column)} DESC)"
    return await _ask(reader, window, f"{place} AS place", "min(value)", "place = 1")


async def average(reader: Reader, window: Window) -> list[Sample]:
    """The mean of the rows."""
    return await _ask(reader, window, "1 AS place", "avg(value)", "place = 1")


async def rate(reader: Reader, window: Window) -> list[Sample]:
    """What a counter grew by in a second, over the whole period. One that fell began anew at zero.

    A counter has a row a minute or so: a period shorter than a few of them sees no growth.
    """
    before = f"lag(value) OVER ({_partition(window)} ORDER BY {identifier(window.time_column)})"
    grown = "sum(CASE WHEN before IS NULL THEN 0 WHEN value < before THEN value ELSE value - before END)"
    found = await _ask(reader, window, f"{before} AS before", grown, "TRUE")
    return [Sample(sample.tags, sample.value / window.seconds) for sample in found]


async def percentile(reader: Reader, window: Window, part: float) -> list[Sample]:
    """The smallest value that at least ``part`` (above 0, up to 1) of the rows do not exceed (nearest rank).

    Raises:
        ValueError: there is no such part.
    """
    if not 0 < part <= 1:
        raise ValueError(f"percentile: wanted a part above 0 and up to 1, found {part}")
    place = f"row_number() OVER ({_partition(window)} ORDER BY value) AS place"
    total = f"count(*) OVER ({_partition(window)}) AS total"
    return await _ask(reader, window, f"{place}, {total}", "min(value)", f"place >= total * {literal(float(part))}")


async def _ask(reader: Reader, window: Window, computed: str, value: str, kept: str) -> list[Sample]:
    """``computed`` beside each row, then ``value`` of the rows that are ``kept``, for each combination of tags."""
    tags = [identifier(tag) for tag in window.by]
    time = identifier(window.time_column)
    conditions = [
        f"{identifier(window.column)} IS NOT NULL",
        f"{time} >= {literal(Moment(window.since))}",
        f"{time} < {literal(Moment(window.until))}",
        *(f"{identifier(tag)} = {literal(wanted)}" for tag, wanted in window.where.items()),
    ]
    # two steps: what is computed over windows may use the column's name "value"
    rows = f"SELECT {', '.join([*tags, time, f'{identifier(window.column)} AS value'])} FROM {identifier(window.table)}"
    rows += f" WHERE {' AND '.join(conditions)}"
    beside = f"SELECT {', '.join([*tags, 'value', computed])} FROM picked"
    group = f" GROUP BY {', '.join(tags)} ORDER BY {', '.join(tags)}" if tags else ""
    answer = f"SELECT {', '.join([*tags, f'{value} AS answer'])} FROM beside WHERE {kept}{group}"
    return _samples(await reader.query(f"WITH picked AS ({rows}), beside AS ({beside}) {answer}"))


def _partition(window: Window) -> str:
    return f"PARTITION BY {', '.join(identifier(tag) for tag in window.by)}" if window.by else ""


def _samples(result: Result) -> list[Sample]:
    return [Sample(tuple(row[:-1]), float(row[-1])) for row in result.rows if row[-1] is not None]
