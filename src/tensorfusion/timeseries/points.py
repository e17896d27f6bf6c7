"""A point: one row of one table at one moment. And the types that its columns can have.

Tags say whose number it is: strings of few different values, which rows are grouped by. Fields are the numbers and
texts themselves. Everything that is different in every row (a request's id) is a field.

Source: InfluxDB line protocol; GreptimeDB's data model (measurement = table, tag = primary key column, field = column).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

TIME_COLUMN: Final = "greptime_timestamp"
"""The time column of a table that the line protocol made. Source: GreptimeDB 1.0 and newer; before it was ``ts``."""

LEAST_INT: Final = -(1 << 63)
MOST_INT: Final = (1 << 63) - 1
MOST_UNSIGNED: Final = (1 << 64) - 1


class Kind(StrEnum):
    """The type of a column, in the words that GreptimeDB answers queries with."""

    INT = "Int64"
    UNSIGNED = "UInt64"
    FLOAT = "Float64"
    BOOL = "Boolean"
    STRING = "String"
    TIME = "TimestampNanosecond"


class Unsigned(int):
    """A number that was written with ``u``: its column is another one than that of ``i``."""


FieldValue: TypeAlias = bool | int | float | str
KIND_OF: Final[Mapping[type, Kind]] = {
    bool: Kind.BOOL,
    int: Kind.INT,
    Unsigned: Kind.UNSIGNED,
    float: Kind.FLOAT,
    str: Kind.STRING,
}


@dataclass(frozen=True, slots=True)
class Point:
    """``time`` is ns since 1970, UTC; None is the moment of its arrival in the store."""

    table: str
    tags: Mapping[str, str]
    fields: Mapping[str, FieldValue]
    time: int | None = None
