"""What is asked of the table of requests, and whose rows a caller may see of it.

Namespaces are hard borders: a ``View`` is made of the caller's own key and stands in every query as a value; nothing
that a caller sends can widen it. All that comes from callers goes into queries as values (``timeseries/reader``).

A store has only the columns that some row had: queries name those that every row has, and take the others as they come.

Source: the platform's contract, 3.8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tensorfusion.gateway.keys.errors import KeyRefused, ScopeMissing
from tensorfusion.gateway.seams import Key
from tensorfusion.gateway.usage.sums import AGE, HOUR, LATENCY, NOT_THERE, edge
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.policy.routing.money import PICO_PER_MICRO, format_usd
from tensorfusion.timeseries.encoder import Table
from tensorfusion.timeseries.errors import DatabaseRefused
from tensorfusion.timeseries.reader import Moment, Reader, Value
from tensorfusion.timeseries.tables import LLM_REQUESTS, LLM_USAGE

MOST_GROUPS: Final = 500
_NS: Final = 1_000_000_000
_NS_OF_MS: Final = 1_000_000
_TABLE: Final = LLM_REQUESTS.name
_MOST_PARTS: Final = 5_000
"""Rows of which the parts of an answer are put together."""
_PARTS: Final = ("namespace", "route", "model")
_SUMS: Final = (
    "sum(requests) AS total, sum(CASE WHEN status >= 200 AND status < 400 THEN requests ELSE 0 END) AS good, "
    "sum(cost_micro_usd) AS cost, sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion, "
    "sum(CASE WHEN usage_estimated THEN 1 ELSE 0 END) AS estimated, "
    "sum(CASE WHEN cache_hit THEN 1 ELSE 0 END) AS hits, "
    f"sum(CASE WHEN attempts > 0 THEN 1 ELSE 0 END) AS timed, sum({LATENCY}) AS latency, "
    f"approx_percentile_cont({LATENCY}, 0.95) AS p95, approx_percentile_cont({LATENCY}, 0.99) AS p99"
)
_SUMS_OF_HOURS: Final = (
    "sum(requests) AS total, sum(requests) - sum(failed_requests) AS good, sum(cost_micro_usd) AS cost, "
    "sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion, sum(estimated_requests) AS estimated, "
    "sum(cache_hits) AS hits, sum(timed_requests) AS timed, sum(latency_ms) AS latency"
)
_ADDED: Final = ("total", "good", "cost", "prompt", "completion", "estimated", "hits", "timed", "latency")
Json = Any  # Any: what becomes JSON


@dataclass(frozen=True, slots=True)
class View:
    """Whose rows: of one key, of one namespace, or, with both empty, all."""

    namespace: str = ""
    key_id: str = ""

    def of_key(self, name: str) -> "View":
        """Of one key in here, by its name or ``namespace/name``.

        Raises:
            ScopeMissing: it is not in here, whether there is one or not.
        """
        key_id = name if "/" in name or not self.namespace else f"{self.namespace}/{name}"
        namespace = key_id.partition("/")[0]
        if (self.key_id and key_id != self.key_id) or (self.namespace and namespace != self.namespace):
            raise ScopeMissing(
                f"api_key: this key may not see the requests of another one: wanted scope {KeyScope.LOGS} of its "
                f"namespace, or a key of whoever runs the gateway with scope {KeyScope.ADMIN}"
            )
        return View(self.namespace or (namespace if "/" in key_id else ""), key_id)


def view_of(key: Key) -> View:
    """What a key may see: its own requests; with scope ``logs`` or ``admin`` those of its namespace; and all of them
    with ``admin`` where it is the operator's."""
    if key.operator and _has(key, KeyScope.ADMIN):
        return View()
    if _has(key, KeyScope.LOGS) or _has(key, KeyScope.ADMIN):
        return View(namespace=key.namespace)
    return View(namespace=key.namespace, key_id=key.id)


def _has(key: Key, scope: KeyScope) -> bool:
    try:
        key.require_scope(scope)
    except KeyRefused:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Period:
    """From ``start`` up to but without ``end``, in ns since 1970."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests; ``statuses`` from the first to the last, both included."""

    model: str = ""
    statuses: tuple[int, int] | None = None
    request_id: str = ""


EVERY: Final = Wanted()


async def usage(reader: Reader, view: View, period: Period, *, now: int) -> dict[str, Json]:
    """Sums over a period, and apart for each namespace, route and model: the dearest first, up to a bound.

    Where records are gone, the sums of their hours stand in: then whole hours are told of, and percentiles are of the
    records that are left.

    Raises:
        DatabaseRefused, DatabaseFailed: see ``timeseries.client``.
    """
    parts: dict[tuple[str, ...], dict[str, Json]] = {}
    total, found = await _sum(reader, view, period, now, parts)
    dearest = sorted(parts.items(), key=lambda one: (-(one[1]["cost"] or 0), -(one[1]["total"] or 0), one[0]))
    return {
        "object": "usage",
        "start": found.start / _NS,
        "end": found.end / _NS,
        **_usage(total),
        "data": [{**dict(zip(_PARTS, tags, strict=True)), **_usage(row)} for tags, row in dearest[:MOST_GROUPS]],
    }


@dataclass(frozen=True, slots=True)
class Spent:
    """Of a period; ``cost`` in micro-dollars."""

    cost: int = 0
    tokens: int = 0
    requests: int = 0


async def spent(reader: Reader, view: View, period: Period, *, now: int) -> Spent:
    """What was used in a period, as ``usage`` tells it.

    Raises:
        DatabaseRefused, DatabaseFailed: see ``timeseries.client``.
    """
    total, _ = await _sum(reader, view, period, now, None)
    cost, tokens = int(total.get("cost") or 0), int(total.get("prompt") or 0) + int(total.get("completion") or 0)
    return Spent(cost, tokens, int(total.get("total") or 0))


async def _sum(
    reader: Reader, view: View, period: Period, now: int, parts: dict[tuple[str, ...], dict[str, Json]] | None
) -> tuple[dict[str, Json], Period]:
    """Sums over a period, and which it is: whole hours, where records are gone. ``parts`` are added to, if wanted."""
    split = await _split(reader, period, now)
    total: dict[str, Json] = {}
    start, end = period.start, period.end
    if start < split:
        start, end = start // HOUR * HOUR, end if end > split else -(-end // HOUR) * HOUR
        old = Period(start, min(split, end))
        await _add(reader, LLM_USAGE, _SUMS_OF_HOURS, _where(view, old, EVERY), total, parts)
    if split < end:
        left = Period(max(start, split), end)
        await _add(reader, LLM_REQUESTS, _SUMS, _where(view, left, EVERY), total, parts)
    return total, Period(start, end)


async def _split(reader: Reader, period: Period, now: int) -> int:
    """Before this, sums of hours are asked, and from then on records. 0 where no record of the period is gone."""
    if period.start >= now - AGE:
        return 0
    summed = await edge(reader, f"SELECT max(ts) AS at FROM {LLM_USAGE.name}")
    if summed is None:
        return 0
    oldest = await edge(reader, f"SELECT min(ts) AS at FROM {_TABLE}")
    whole = summed + HOUR if oldest is None else -(-oldest // HOUR) * HOUR
    split = min(whole, summed + HOUR)
    return split if period.start < split else 0


async def _add(
    reader: Reader,
    table: Table,
    sums: str,
    where: tuple[str, dict[str, Value]],
    total: dict[str, Json],
    parts: dict[tuple[str, ...], dict[str, Json]] | None,
) -> None:
    """Add what a table says to ``total`` and, if they are wanted, ``parts``."""
    condition, params = where
    tags = ", ".join(_PARTS)
    for row in await _rows(reader, f"SELECT {sums} FROM {table.name} WHERE {condition}", params):
        _join(total, row)
    if parts is None:
        return
    grouped = (
        f"SELECT {tags}, {sums} FROM {table.name} WHERE {condition} GROUP BY {tags} "
        f"ORDER BY cost DESC, total DESC, {tags} LIMIT {_MOST_PARTS}"
    )
    for row in await _rows(reader, grouped, params):
        _join(parts.setdefault(tuple(row[tag] or "" for tag in _PARTS), {}), row)


def _join(into: dict[str, Json], row: Mapping[str, Json]) -> None:
    for name in _ADDED:
        into[name] = (into.get(name) or 0) + (row[name] or 0)
    for name in ("p95", "p99"):
        into[name] = row.get(name, into.get(name))


async def records(reader: Reader, view: View, period: Period, wanted: Wanted, *, limit: int) -> list[dict[str, Json]]:
    """Records of requests, the newest first.

    Raises:
        DatabaseRefused, DatabaseFailed: see ``timeseries.client``.
    """
    where, params = _where(view, period, wanted)
    sql = f"SELECT * FROM {_TABLE} WHERE {where} ORDER BY {LLM_REQUESTS.time_column} DESC LIMIT {int(limit)}"
    return [_record(row) for row in await _rows(reader, sql, params)]


async def _rows(reader: Reader, sql: str, params: Mapping[str, Value]) -> list[dict[str, Json]]:
    try:
        return (await reader.query(sql, params)).dicts()
    except DatabaseRefused as error:
        if error.code in NOT_THERE:
            return []
        raise


def _where(view: View, period: Period, wanted: Wanted) -> tuple[str, dict[str, Value]]:
    time = LLM_REQUESTS.time_column
    conditions = [f"{time} >= :start", f"{time} < :end"]
    params: dict[str, Value] = {"start": Moment(period.start), "end": Moment(period.end)}
    for column, value in (
        ("namespace", view.namespace),
        ("key_id", view.key_id),
        ("model", wanted.model),
        ("request_id", wanted.request_id),
    ):
        if value:
            conditions.append(f"{column} = :{column}")
            params[column] = value
    if wanted.statuses is not None:
        conditions.append("status >= :least AND status <= :most")
        params["least"], params["most"] = wanted.statuses
    return " AND ".join(conditions), params


def _usage(row: Mapping[str, Json]) -> dict[str, Json]:
    """A usage record. There is no cache yet: nothing was asked of one, and nothing missed in it."""
    total, good, timed = (int(row.get(name) or 0) for name in ("total", "good", "timed"))
    prompt, completion = int(row.get("prompt") or 0), int(row.get("completion") or 0)
    return {
        "total_requests": total,
        "successful_requests": good,
        "failed_requests": total - good,
        "total_cost": format_usd(int(row.get("cost") or 0) * PICO_PER_MICRO),
        "total_tokens": prompt + completion,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "requests_with_estimated_usage": int(row.get("estimated") or 0),
        "average_latency_ms": _rounded(row["latency"] / timed) if timed else None,
        "p95_latency_ms": _rounded(row.get("p95")),
        "p99_latency_ms": _rounded(row.get("p99")),
        "cache_hits": int(row.get("hits") or 0),
        "cache_misses": 0,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 3)


def _record(row: Mapping[str, Json]) -> dict[str, Json]:
    """A record of a request in the contract's names. Money as text, in dollars, and whole micro-dollars."""
    micro = int(row["cost_micro_usd"])
    found = {
        "id": row["request_id"],
        "request_id": row["request_id"],
        "timestamp": int(row[LLM_REQUESTS.time_column]) // _NS_OF_MS / 1000,
        "cost": format_usd(micro * PICO_PER_MICRO),
        "cost_microusd": micro,
        "user": row.get("user_id") or "",
        "attempts": _attempts(row),
    }
    for name in ("model", "route", "target", "provider", "key_id", "namespace"):
        found[name] = row.get(name) or ""
    for name in ("api", "target_model", "finish_reason", "error_type", "error_message"):
        found[name] = row.get(name) or ""
    for name in ("requests", "status", "latency_ms", "overhead_ms", "queue_ms", "prompt_tokens", "completion_tokens"):
        found[name] = row[name]
    for name in ("usage_estimated", "stream", "cache_hit", "bytes_in", "bytes_out"):
        found[name] = row[name]
    for name in ("ttft_ms", "tpot_ms"):
        found[name] = row.get(name)
    return found


def _attempts(row: Mapping[str, Json]) -> list[dict[str, Json]]:
    """What was tried; of a request that the first target answered it says no more than the record itself."""
    told = row.get("attempt_log")
    if told:
        found: list[dict[str, Json]] = msgspec.json.decode(told)
        return found
    if not row.get("attempts"):
        return []
    one = {"target": row.get("target") or "", "outcome": "answered", "latency_ms": row["latency_ms"]}
    if row.get("ttft_ms") is not None:
        one["ttft_ms"] = row["ttft_ms"]
    return [one]
