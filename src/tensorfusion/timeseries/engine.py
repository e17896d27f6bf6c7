"""DuckDB as the embedded store opens it: one file, no other file, no network, nothing to load.

Apart because it is the only part that an installation without the extra lacks. Whoever may query may send any SELECT;
what stands between that and the machine is set here, once, and locked.
"""

from pathlib import Path
from typing import Final

from tensorfusion.errors import ConfigError, StoreCorrupt, StoreError, StoreLocked, StoreTooNew, StoreUnwritable

try:
    import duckdb
except ModuleNotFoundError as error:
    raise ConfigError(
        "the embedded metrics store needs DuckDB: install it with pip install 'tensorfusion[timeseries]', "
        "or name a GreptimeDB instead"
    ) from error

__all__ = ["MACROS", "SCHEMA", "connect", "duckdb", "quote"]

SCHEMA: Final = "public"
"""GreptimeDB's default database; queries may name tables with or without it."""

_UNWRITABLE: Final = ("Cannot open file", "Permission denied", "No space left", "Read-only file system")

MACROS: Final = (
    "now() AS get_current_timestamp()::TIMESTAMP_NS",
    "date_bin(width, moment) AS time_bucket(width, moment)::TIMESTAMP_NS",
    "approx_percentile_cont(value, part) AS quantile_cont(value, part)",
)
"""Functions that GreptimeDB's SQL has and DuckDB names or types otherwise. Source: GreptimeDB, SQL functions."""


def connect(file: Path, *, memory: int, threads: int, spill: int) -> "duckdb.DuckDBPyConnection":
    """Open or make the file. ``memory`` and ``spill`` (files of a query that needs more memory) in bytes.

    Raises:
        StoreLocked: another process has it open.
        StoreCorrupt: it is no DuckDB file, or not whole; it is left as it is.
        StoreTooNew: its format is not known here.
        StoreUnwritable: the folder cannot be written to.
    """
    beside = file.with_suffix(".spill")
    try:
        connection = duckdb.connect(
            str(file),
            config={
                "memory_limit": f"{memory}B",
                "threads": threads,
                "temp_directory": str(beside),
                "max_temp_directory_size": f"{spill}B",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "python_enable_replacements": False,
                "home_directory": str(beside),
                "extension_directory": str(beside),
            },
        )
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        for macro in MACROS:
            connection.execute(f"CREATE OR REPLACE MACRO {SCHEMA}.{macro}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise _refusal(file, " ".join(str(error).split())) from error
    return connection


def _refusal(file: Path, text: str) -> StoreError:
    """DuckDB has one error for all that can be wrong with a file; its text tells."""
    if "Could not set lock" in text:
        return StoreLocked(f"metrics store {file}: another process has it open: end that first")
    if "not a valid DuckDB" in text:
        return StoreCorrupt(f"metrics store {file}: wanted a DuckDB file, found another: it is left as it is")
    if "version number" in text:
        return StoreTooNew(f"metrics store {file}: it was written by another version of DuckDB: {text}")
    if any(word in text for word in _UNWRITABLE):
        return StoreUnwritable(f"metrics store {file}: cannot be opened: {text}")
    return StoreCorrupt(f"metrics store {file}: cannot be read: {text}: it is left as it is")


def quote(name: str) -> str:
    """A name of a table or a column, in SQL."""
    return '"' + name.replace('"', '""') + '"'
