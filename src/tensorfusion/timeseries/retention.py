"""What the embedded store forgets: rows older than their table's bound, then the oldest of the largest table, until the
file fits. A small table, such as one of sums, does not pay for a large one.

Deleting makes room inside the file, which is used again by what comes; it shrinks where the room is at its end.
"""

from collections.abc import Mapping
from typing import Final

from tensorfusion.timeseries.columns import TableShape
from tensorfusion.timeseries.engine import SCHEMA, duckdb, quote
from tensorfusion.timeseries.retention_bounds import Retention

_PART: Final = 10
"""One in so many rows of a table goes at a time while the file is too large."""
_MOST_ROUNDS: Final = 50


def retain(
    cursor: "duckdb.DuckDBPyConnection", tables: Mapping[str, TableShape], retention: Retention, now: int
) -> int:
    """Delete what is to go at ``now`` (ns), and give its room free. Returns the rows that went."""
    gone = 0
    for shape in tables.values():
        seconds = retention.tables.get(shape.name, retention.seconds)
        gone += _delete(cursor, shape, now - seconds * 1_000_000_000)
    checkpoint(cursor)
    for _ in range(_MOST_ROUNDS):
        if used_bytes(cursor) <= retention.most_bytes:
            break
        lost = _delete_oldest(cursor, _largest(cursor, tables))
        checkpoint(cursor)
        gone += lost
        if not lost:
            break
    return gone


def used_bytes(cursor: "duckdb.DuckDBPyConnection") -> int:
    """Bytes of the file that hold something. Its log of writes goes into it at a checkpoint."""
    row = cursor.execute("SELECT block_size * used_blocks FROM pragma_database_size()").fetchone()
    return int(row[0]) if row else 0


def checkpoint(cursor: "duckdb.DuckDBPyConnection") -> bool:
    """Write the log into the file and free what was deleted; False while a reader still needs it as it was."""
    try:
        cursor.execute("CHECKPOINT")
    except duckdb.TransactionException:
        return False
    return True


def _delete(cursor: "duckdb.DuckDBPyConnection", shape: TableShape, before: int) -> int:
    """Delete the rows before a time in ns; their number."""
    query = f"DELETE FROM {SCHEMA}.{quote(shape.name)} WHERE {quote(shape.time_column)} < make_timestamp_ns(?)"
    row = cursor.execute(query, [before]).fetchone()
    return int(row[0]) if row else 0


def _largest(cursor: "duckdb.DuckDBPyConnection", tables: Mapping[str, TableShape]) -> TableShape | None:
    """The table with the most values."""
    query = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ? ORDER BY estimated_size * column_count DESC"
    row = cursor.execute(query, [SCHEMA]).fetchone()
    return tables.get(str(row[0]).lower()) if row else None


def _delete_oldest(cursor: "duckdb.DuckDBPyConnection", shape: TableShape | None) -> int:
    """Delete one in so many rows, from the old end."""
    if shape is None:
        return 0
    time, table = quote(shape.time_column), f"{SCHEMA}.{quote(shape.name)}"
    row = cursor.execute(f"SELECT epoch_ns(quantile_disc({time}, 1.0 / {_PART})), count(*) FROM {table}").fetchone()
    if row is None or row[0] is None:
        return 0
    return _delete(cursor, shape, int(row[0]) + 1)
