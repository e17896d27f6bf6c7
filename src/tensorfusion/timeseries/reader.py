"""Questions to a metrics database, with what a caller has put in as values and never as SQL.

``:name`` in a query stands for a value; texts, remarks and ``::`` casts are left alone. GreptimeDB's HTTP API takes no
parameters, so values are written as literals here, in the one form that both databases read alike: quotes are doubled,
backslashes mean nothing, times are texts in UTC.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias

from tensorfusion.timeseries.results import Result


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as a parameter: ns since 1970, as answers give it."""

    ns: int


Scalar: TypeAlias = bool | int | float | str | datetime | Moment | None
Value: TypeAlias = Scalar | Sequence[Scalar]
"""A sequence becomes a list in brackets, for IN; an empty one holds nothing."""

_PLACES: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|::|:([a-z_][a-z0-9_]*)""", re.DOTALL)


class Asked(Protocol):
    """Who answers SQL: a ``client.Database``, or anything that does the same."""

    async def sql(self, text: str, *, seconds: float | None = None) -> Result:
        """Raises DatabaseRefused or DatabaseFailed."""
        ...


class Reader:
    """Queries with parameters. ``windows`` has the questions that are asked most."""

    def __init__(self, database: Asked) -> None:
        self._database = database

    async def query(
        self, sql: str, params: Mapping[str, Value] | None = None, *, seconds: float | None = None
    ) -> Result:
        """Answer one SELECT, within so many seconds.

        Raises:
            DatabaseRefused, DatabaseFailed: see ``client``.
            ValueError: a parameter is missing, not used, or no value.
        """
        return await self._database.sql(bound(sql, params or {}), seconds=seconds)


def bound(sql: str, params: Mapping[str, Value]) -> str:
    """The query with its values written in.

    Raises:
        ValueError: a parameter is missing, not used, or no value.
    """
    used: set[str] = set()

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0]
        if name not in params:
            raise ValueError(f"query: wanted a value for :{name}, found none")
        used.add(name)
        return literal(params[name])

    text = _PLACES.sub(value, sql)
    if unused := sorted(set(params) - used):
        raise ValueError(f"query: wanted a place for every value, found none for {', '.join(unused)}")
    return text


def literal(value: Value) -> str:
    """A value in SQL.

    Raises:
        ValueError: it has no literal: a float that is not finite, a text with a NUL, a time without a zone.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(int(value))
        case float():
            if not math.isfinite(value):
                raise ValueError(f"query: wanted a finite number, found {value}")
            return repr(float(value))
        case str():
            if "\0" in value:
                raise ValueError("query: wanted a text without NUL, found one")
            return "'" + value.replace("'", "''") + "'"
        case datetime():
            if value.tzinfo is None:
                raise ValueError(f"query: wanted a time with its zone, found {value}")
            return f"'{value.astimezone(UTC).strftime('%Y-%m-%d %H:%M:%S.%f')}'"
        case Moment():
            seconds, ns = divmod(value.ns, 1_000_000_000)
            return f"'{datetime.fromtimestamp(seconds, UTC).strftime('%Y-%m-%d %H:%M:%S')}.{ns:09d}'"
        case _:
            return f"({', '.join(map(literal, value)) or 'NULL'})"


def identifier(name: str) -> str:
    """A name of a table or a column, in SQL.

    Raises:
        ValueError: it holds a NUL.
    """
    if "\0" in name:
        raise ValueError("query: wanted a name without NUL, found one")
    return '"' + name.replace('"', '""') + '"'
