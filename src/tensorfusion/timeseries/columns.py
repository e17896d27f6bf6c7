"""Points as columns, and what their tables have to become to hold them: pure, the store carries it out.

A table is what was written to it: made with its first row, wider with every new name. What a column holds never
changes: a value of another type is refused with the whole request, as GreptimeDB refuses it. Two names that differ in
case only are refused too, because DuckDB takes them for one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.timeseries.encoder import Table
from tensorfusion.timeseries.errors import ColumnConflict
from tensorfusion.timeseries.points import KIND_OF, TIME_COLUMN, FieldValue, Kind, Point

MOST_TABLES: Final = 1_000
MOST_COLUMNS: Final = 500
MOST_NAME: Final = 128
"""Bounds on what names alone can do to a store, since whoever may write may make tables."""


class Role(StrEnum):
    """What a column is to its table."""

    TIME = "time"
    TAG = "tag"
    FIELD = "field"


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a table has it."""

    name: str
    role: Role
    kind: Kind

    def __str__(self) -> str:
        return f"{self.role} of type {self.kind}"


_TIME: Final = Column(TIME_COLUMN, Role.TIME, Kind.TIME)
_NONE: Final[Mapping[str, Column]] = {}


@dataclass(slots=True)
class TableShape:
    """A table as the store has it. ``columns`` by name in lower case, the time column first."""

    name: str
    columns: dict[str, Column]

    @property
    def time_column(self) -> str:
        return next(iter(self.columns.values())).name


@dataclass(frozen=True, slots=True)
class Growth:
    """What a table lacks for the rows of a request: ``made`` it is not there at all, else ``columns`` are."""

    table: str
    columns: tuple[Column, ...]
    made: bool


@dataclass(slots=True)
class Rows:
    """The rows of one table: every column as long as ``times`` (ns), None where a row has no value."""

    table: str
    times: list[int] = field(default_factory=list)
    columns: dict[str, list[FieldValue | None]] = field(default_factory=dict)
    found: dict[str, Column] = field(default_factory=dict)


def gather(points: Iterable[Point]) -> list[Rows]:
    """The points by table. Every point has a time.

    Raises:
        ColumnConflict: a name is given values of two types.
    """
    tables: dict[str, Rows] = {}
    for point in points:
        rows = tables.get(point.table)
        if rows is None:
            rows = tables[point.table] = Rows(point.table)
        count = len(rows.times)
        rows.times.append(point.time or 0)
        for name, value in point.tags.items():
            _add(rows, count, name, Role.TAG, Kind.STRING, value)
        for name, found in point.fields.items():
            _add(rows, count, name, Role.FIELD, KIND_OF[type(found)], found)
    for rows in tables.values():
        for values in rows.columns.values():
            values.extend([None] * (len(rows.times) - len(values)))
    return list(tables.values())


Declared: TypeAlias = Mapping[str, Mapping[str, Column]]
"""Columns that a table has from its first row on, by name in lower case, by the table's own name."""


def declared(tables: Iterable[Table]) -> Declared:
    """The columns of these tables: what is asked of them is there, whatever their first rows hold."""
    found: dict[str, dict[str, Column]] = {}
    for table in tables:
        columns = [Column(table.time_column, Role.TIME, Kind.TIME)]
        columns += [Column(tag, Role.TAG, Kind.STRING) for tag in table.tags]
        columns += [Column(one.name, Role.FIELD, one.kind) for one in table.fields]
        found[table.name] = {column.name.lower(): column for column in columns}
    return found


def plan(rows: Rows, known: Mapping[str, TableShape], declared: Declared) -> Growth | None:
    """What the tables that are ``known`` (by name in lower case) lack for these rows, if anything.

    Raises:
        ColumnConflict: the rows do not fit the table, or a bound is reached.
    """
    shape = known.get(rows.table.lower())
    if shape is None:
        _check_name(rows.table, "", rows.table)
        if len(known) >= MOST_TABLES:
            raise ColumnConflict(rows.table, "", wanted=f"at most {MOST_TABLES} tables", found="one more")
        held: Mapping[str, Column] = declared.get(rows.table) or {TIME_COLUMN: _TIME}
    elif shape.name != rows.table:
        _refuse_case(rows.table, "", shape.name, rows.table)
    else:
        held = shape.columns
    new = {key: column for key, column in declared.get(rows.table, _NONE).items() if key not in held}
    for column in rows.found.values():
        key = column.name.lower()
        there = held.get(key) or new.get(key)
        if there is None:
            _check_name(rows.table, column.name, column.name)
            new[key] = column
        elif there.name != column.name:
            _refuse_case(rows.table, column.name, there.name, column.name)
        elif there != column:
            raise ColumnConflict(rows.table, column.name, wanted=str(there), found=str(column))
    if len(held) + len(new) > MOST_COLUMNS:
        raise ColumnConflict(rows.table, "", wanted=f"at most {MOST_COLUMNS} columns", found="more")
    if shape is None:
        return Growth(rows.table, (*held.values(), *new.values()), made=True)
    return Growth(rows.table, tuple(new.values()), made=False) if new else None


def grown(known: Mapping[str, TableShape], growth: Growth) -> dict[str, TableShape]:
    """The tables after it; ``known`` is left as it is."""
    key = growth.table.lower()
    before = {} if growth.made else known[key].columns
    columns = {**before, **{column.name.lower(): column for column in growth.columns}}
    return {**known, key: TableShape(growth.table, columns)}


def merged(parts: Iterable[Rows]) -> list[Rows]:
    """The rows of several requests by table. They fit each other: every one was planned after the ones before it."""
    tables: dict[str, Rows] = {}
    for rows in parts:
        into = tables.setdefault(rows.table, rows)
        if into is rows:
            continue
        before, more = len(into.times), len(rows.times)
        into.times.extend(rows.times)
        for name, column in rows.found.items():
            if name not in into.found:
                into.found[name] = column
                into.columns[name] = [None] * before
            into.columns[name].extend(rows.columns[name])
        for values in into.columns.values():
            values.extend([None] * (before + more - len(values)))
    return list(tables.values())


def as_array(kind: Kind, values: list[FieldValue | None]) -> NDArray[Any]:  # Any: the type is the kind's
    """A column as DuckDB reads it at once: texts as objects, numbers masked where there is none."""
    if kind is Kind.STRING:
        return np.array(values, dtype=object)
    if None not in values:
        return np.array(values, dtype=_TYPES[kind])
    missing = [value is None for value in values]
    return np.ma.masked_array(np.array([0 if value is None else value for value in values], _TYPES[kind]), mask=missing)


_TYPES: Final[Mapping[Kind, type[np.generic]]] = {
    Kind.INT: np.int64,
    Kind.UNSIGNED: np.uint64,
    Kind.FLOAT: np.float64,
    Kind.BOOL: np.bool_,
    Kind.TIME: np.int64,
}


def _add(rows: Rows, count: int, name: str, role: Role, kind: Kind, value: FieldValue) -> None:
    column = rows.found.get(name)
    if column is None:
        rows.found[name] = Column(name, role, kind)
        rows.columns[name] = [None] * count
    elif column.kind is not kind or column.role is not role:
        raise ColumnConflict(rows.table, name, wanted=str(column), found=str(Column(name, role, kind)))
    values = rows.columns[name]
    if len(values) < count:
        values.extend([None] * (count - len(values)))
    values.append(value)


def _refuse_case(table: str, column: str, wanted: str, found: str) -> NoReturn:
    """DuckDB takes names that differ in case only for one."""
    raise ColumnConflict(table, column, wanted=f"the name {wanted}", found=f"{found}, which differs in case only")


def _check_name(table: str, column: str, name: str) -> None:
    if len(name) > MOST_NAME or not name.isprintable():
        raise ColumnConflict(
            table, column, wanted=f"a name of at most {MOST_NAME} printable characters", found=name[:40]
        )
