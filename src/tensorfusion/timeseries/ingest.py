"""Writes into DuckDB, many in one transaction: everything that the store's one writing thread does.

A request fails for itself: what is wrong with its text or its types takes it out of the transaction before that begins.
What fails in the transaction - a full disk - fails all of it, and nothing of it is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tensorfusion.errors import StoreUnwritable, TensorFusionError
from tensorfusion.timeseries.columns import (
    Column,
    Declared,
    Growth,
    Role,
    Rows,
    TableShape,
    as_array,
    gather,
    grown,
    merged,
    plan,
)
from tensorfusion.timeseries.engine import SCHEMA, duckdb, quote
from tensorfusion.timeseries.parser import parse
from tensorfusion.timeseries.points import Kind

_SQL_TYPES: Final[Mapping[Kind, str]] = {
    Kind.INT: "BIGINT",
    Kind.UNSIGNED: "UBIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "BOOLEAN",
    Kind.STRING: "VARCHAR",
    Kind.TIME: "TIMESTAMP_NS",
}
_KINDS: Final = {name: kind for kind, name in _SQL_TYPES.items()}
_BATCHES: Final = "main.batches"
_BATCH_SECONDS: Final = 3600
"""So long a batch that is sent again is known. A writer gives up far earlier."""


@dataclass(eq=False, slots=True)
class Write:
    """One request: ``text`` of line protocol, and what became of it: ``count`` rows kept now, or an error."""

    text: str
    precision: str = "ns"
    batch: str = ""
    count: int = 0
    error: Exception | None = None
    rows: list[Rows] = field(default_factory=list)


class Ingest:
    """Used from one thread at a time."""

    def __init__(
        self,
        file: Path,
        cursor: "duckdb.DuckDBPyConnection",
        *,
        declared: Declared,
        now: Callable[[], int],
    ) -> None:
        self._file = file
        self._cursor = cursor
        self._declared = declared
        self._now = now
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {_BATCHES} (id VARCHAR, time BIGINT)")
        self._batches = {str(row[0]) for row in cursor.execute(f"SELECT id FROM {_BATCHES}").fetchall()}
        self.failing = False
        """Whether the last transaction failed: the disk is full, or worse."""
        self.tables = _read_tables(cursor)
        """What there is, by name in lower case; replaced, never changed, so that other threads may read it."""

    def commit(self, writes: Sequence[Write]) -> None:
        """Keep all that can be kept of these; each says itself what became of it."""
        tables = self.tables
        growths: list[Growth] = []
        batches: set[str] = set()
        for write in writes:
            if write.batch and (write.batch in self._batches or write.batch in batches):
                continue
            after, needed = tables, []
            try:
                write.rows = gather(parse(write.text, precision=write.precision, now=self._now()))
                for rows in write.rows:
                    growth = plan(rows, after, self._declared)
                    if growth is not None:
                        after = grown(after, growth)
                        needed.append(growth)
            except (TensorFusionError, ValueError) as error:
                write.rows, write.error = [], error
                continue
            tables = after
            growths.extend(needed)
            write.count = sum(len(rows.times) for rows in write.rows)
            if write.batch:
                batches.add(write.batch)
        kept = [write for write in writes if write.rows]
        if not kept:
            return
        try:
            self._transact(growths, merged(rows for write in kept for rows in write.rows), tables, batches)
        except duckdb.Error as error:
            text = " ".join(str(error).split())
            for write in kept:
                failure = StoreUnwritable(f"metrics store {self._file}: nothing was kept: {text}")
                failure.__cause__ = error
                write.count, write.error = 0, failure
            self.failing = True
            return
        self.failing = False
        self.tables = tables
        self._batches |= batches

    def forget_batches(self) -> None:
        """Forget the ids of batches that nobody sends again."""
        oldest = self._now() - _BATCH_SECONDS * 1_000_000_000
        gone = self._cursor.execute(f"DELETE FROM {_BATCHES} WHERE time < ? RETURNING id", [oldest]).fetchall()
        self._batches -= {str(row[0]) for row in gone}

    def _transact(
        self,
        growths: Iterable[Growth],
        rows: Iterable[Rows],
        tables: Mapping[str, TableShape],
        batches: Iterable[str],
    ) -> None:
        cursor = self._cursor
        cursor.execute("BEGIN")
        try:
            for growth in growths:
                self._grow(growth)
            for part in rows:
                self._insert(part, tables[part.table.lower()].time_column)
            for batch in batches:
                cursor.execute(f"INSERT INTO {_BATCHES} VALUES (?, ?)", [batch, self._now()])
            cursor.execute("COMMIT")
        except BaseException:
            _roll_back(cursor)
            raise

    def _grow(self, growth: Growth) -> None:
        table = f"{SCHEMA}.{quote(growth.table)}"
        columns = [f"{quote(column.name)} {_SQL_TYPES[column.kind]}" for column in growth.columns]
        if growth.made:
            self._cursor.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        else:
            for named in columns:
                self._cursor.execute(f"ALTER TABLE {table} ADD COLUMN {named}")
        for column in growth.columns:
            self._cursor.execute(f"COMMENT ON COLUMN {table}.{quote(column.name)} IS '{column.role}'")

    def _insert(self, rows: Rows, time_column: str) -> None:
        """Append whole columns; about a microsecond a row, where values one by one take a millisecond."""
        names = [*rows.columns]
        batch = {f"c{place}": as_array(rows.found[name].kind, rows.columns[name]) for place, name in enumerate(names)}
        batch["t"] = as_array(Kind.TIME, [*rows.times])
        into = ", ".join(quote(name) for name in (time_column, *names))
        casts = (f"c{place}::{_SQL_TYPES[rows.found[name].kind]}" for place, name in enumerate(names))
        values = ", ".join(("make_timestamp_ns(t)", *casts))
        self._cursor.register("incoming", batch)
        try:
            self._cursor.execute(f"INSERT INTO {SCHEMA}.{quote(rows.table)} ({into}) SELECT {values} FROM incoming")
        finally:
            self._cursor.unregister("incoming")


def _roll_back(cursor: "duckdb.DuckDBPyConnection") -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        return  # the transaction has ended with the error


def _read_tables(cursor: "duckdb.DuckDBPyConnection") -> dict[str, TableShape]:
    found = cursor.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE schema_name = ? ORDER BY table_name, column_index",
        [SCHEMA],
    ).fetchall()
    tables: dict[str, TableShape] = {}
    for table, name, kind, role in found:
        shape = tables.setdefault(table.lower(), TableShape(table, {}))
        shape.columns[name.lower()] = Column(name, Role(role), _KINDS[kind])
    return tables
