"""What the requests of each hour came to, kept when their records are gone: a bill is asked for after its month.

An hour is added up once, when it is a day old: by then every record that is still to come has come, however long the
store was away (a writer keeps lines for 15 minutes, and what waits behind them for a few hours at most). Any number of
gateways may do it at the same time. The embedded store takes the rows of an hour once, by the name of their batch; a
GreptimeDB replaces rows of equal tags and time, and these are equal.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from tensorfusion.timeseries.encoder import compiled
from tensorfusion.timeseries.errors import DatabaseRefused
from tensorfusion.timeseries.reader import Moment, Reader
from tensorfusion.timeseries.tables import LLM_REQUESTS, LLM_USAGE
from tensorfusion.timeseries.wire_codes import Code

HOUR: Final = 3_600_000_000_000
"""In ns, like all times here."""
AGE: Final = 24 * HOUR
"""At which an hour is added up."""
LATENCY: Final = "CASE WHEN attempts > 0 THEN latency_ms END"
"""Of requests for which a target was asked: refusals take no time, and would make any service look fast."""
NOT_THERE: Final = (Code.TABLE_NOT_FOUND, Code.COLUMN_NOT_FOUND)
"""No row was ever written, or none with a value in a column that is asked for."""
_AT_ONCE: Final = 5_000
"""Rows of an answer."""
_MODEL: Final = "CASE WHEN route IS NULL OR route = '' THEN NULL ELSE model END"
_TAGS: Final = "namespace, route, asked, provider, target, key_id"
_SQL: Final = (
    f"SELECT namespace, route, {_MODEL} AS asked, provider, target, key_id, sum(requests) AS requests, "
    "sum(CASE WHEN status >= 200 AND status < 400 THEN 0 ELSE requests END) AS failed_requests, "
    "sum(CASE WHEN usage_estimated THEN 1 ELSE 0 END) AS estimated_requests, "
    "sum(CASE WHEN attempts > 0 THEN 1 ELSE 0 END) AS timed_requests, "
    "sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, "
    "sum(cost_micro_usd) AS cost_micro_usd, sum(CASE WHEN cache_hit THEN 1 ELSE 0 END) AS cache_hits, "
    f"sum({LATENCY}) AS latency_ms FROM {LLM_REQUESTS.name} WHERE ts >= :start AND ts < :end "
    f"GROUP BY namespace, route, {_MODEL}, provider, target, key_id ORDER BY {_TAGS} "
)
_row: Final = compiled(LLM_USAGE)
Json = Any  # Any: what becomes JSON


class Written(Protocol):
    """Where rows go: a ``timeseries.client.Database``."""

    async def write(self, lines: bytes, *, batch: str = "") -> None:
        """Raises DatabaseRefused or DatabaseFailed."""
        ...


async def add_up(database: Written, reader: Reader, now: int) -> int:
    """Add up the hours that are old enough and were not yet; how many had requests.

    Raises:
        DatabaseRefused, DatabaseFailed: see ``timeseries.client``; what was done is not done again.
    """
    last = await edge(reader, f"SELECT max(ts) AS at FROM {LLM_USAGE.name}")
    begin, end = 0 if last is None else last + HOUR, (now - AGE) // HOUR * HOUR
    count = 0
    while begin < end:
        first = await edge(reader, f"SELECT min(ts) AS at FROM {LLM_REQUESTS.name} WHERE ts >= :start", start=begin)
        if first is None or first >= end:
            break
        hour = first // HOUR * HOUR
        await database.write(await _lines(reader, hour), batch=f"{LLM_USAGE.name}-{hour}")
        begin = hour + HOUR
        count += 1
    return count


async def edge(reader: Reader, sql: str, **moments: int) -> int | None:
    """The one time that a query answers; None where there is none. Raises as the reader does."""
    try:
        rows = (await reader.query(sql, {name: Moment(at) for name, at in moments.items()})).rows
    except DatabaseRefused as error:
        if error.code in NOT_THERE:
            return None
        raise
    return int(rows[0][0]) if rows and rows[0][0] is not None else None


async def _lines(reader: Reader, hour: int) -> bytes:
    """The rows of an hour."""
    lines: list[bytes] = []
    period = {"start": Moment(hour), "end": Moment(hour + HOUR)}
    while True:
        found = (await reader.query(f"{_SQL}LIMIT {_AT_ONCE} OFFSET {len(lines)}", period)).dicts()
        lines += [_line(row, hour) for row in found]
        if len(found) < _AT_ONCE:
            return b"".join(lines)


def _line(row: Mapping[str, Json], hour: int) -> bytes:
    tags = (row["namespace"], row["route"], row["asked"], row["provider"], row["target"], row["key_id"])
    counts = {one.name: int(row[one.name] or 0) for one in LLM_USAGE.fields if one.name != "latency_ms"}
    return _row(*tags, **counts, latency_ms=float(row["latency_ms"] or 0.0), time=hour)
