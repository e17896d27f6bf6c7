"""Opening the store's SQLite file: what marks it as ours, and what each SQLite error means to a user.

Apart from ``StoreFile`` because backup and restore need the same answers without an opened store.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from tensorfusion.embedded.store_schema import (
    ADD_MANAGED,
    APPLICATION_ID,
    FORMAT,
    SCHEMA,
    WITH_MANAGED,
    schema_fault,
)
from tensorfusion.errors import ConfigError, StoreCorrupt, StoreLocked, StoreTooNew

UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged file makes SQLite raise: its messages quote the schema, and Python cannot decode all that may stand
there."""

BUSY_TIMEOUT: Final = 5.0
"""Seconds that a connection waits for another one's lock."""

_WRITING_FAILED: Final = ("SQLITE_READONLY", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")


def raw_connection(path: Path) -> sqlite3.Connection:
    """A connection without implicit transactions, for use from whichever thread is at work."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT)


def reading_connection(path: Path) -> sqlite3.Connection:
    """A connection that changes neither the file nor its WAL, also when it is closed."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)


def connect(path: Path, renew: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open a store for writing, creating its tables in an empty file. ``renew`` writes what an older format holds
    otherwise, inside the step that brings the store up to this one.

    Raises:
        StoreTooNew, StoreCorrupt, StoreLocked, ConfigError: the file is as it was.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = raw_connection(path)
        connection.execute("PRAGMA synchronous = FULL")
        if not is_store(path, connection):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        _migrate(connection, renew)
        connection.execute("PRAGMA cache_size = -8192")
        return connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, UNREADABLE):
            refuse(path, error)
        raise


def _migrate(connection: sqlite3.Connection, renew: Callable[[sqlite3.Connection], None]) -> None:
    """Bring a store of an older format up to this one, in one step or not at all."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < FORMAT:
        connection.execute("BEGIN IMMEDIATE")
        if version < WITH_MANAGED:
            connection.execute(ADD_MANAGED)
        renew(connection)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")


def is_store(path: Path, connection: sqlite3.Connection) -> bool:
    """Whether this is a store that this version reads; False for an empty file. Changes nothing.

    Raises:
        StoreTooNew, StoreCorrupt: it is something else.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and tables == 0:
        return False
    if application != APPLICATION_ID:
        raise StoreCorrupt(corrupt(path, "it is an SQLite file of some other program"))
    if version > FORMAT:
        raise StoreTooNew(
            f"{path} has format {version}, this version reads up to {FORMAT}; "
            "run the version that wrote it, or restore a backup made by this one"
        )
    if version < 1:
        raise StoreCorrupt(corrupt(path, f"wanted a format from 1 to {FORMAT}, found {version}"))
    fault = schema_fault(connection, version)
    if fault:
        raise StoreCorrupt(corrupt(path, fault))
    return True


def corrupt(path: Path, why: str) -> str:
    """The message for a file that cannot be read as a store."""
    return (
        f"{path} is not a readable store: {printable(why)}; it was left as it is; "
        "restore a backup over it, or move it and its -wal away to start empty"
    )


def printable(text: str) -> str:
    """One line, whatever pieces of a damaged file are in it."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in " ".join(text.split()))


def refuse(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> NoReturn:
    """Say whether the folder, another program or the content is to blame."""
    if isinstance(error, UnicodeDecodeError):
        raise StoreCorrupt(corrupt(path, f"it has bytes that are no text in its schema ({error})")) from error
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_BUSY"):
        raise StoreLocked(f"{path} is in use by another program ({error}); close it and retry") from error
    if name.startswith(_WRITING_FAILED) and name != "SQLITE_IOERR_SHORT_READ":
        raise ConfigError(
            f"cannot write the store {path}: {error}; make the folder writable and free space, or choose another"
        ) from error
    raise StoreCorrupt(corrupt(path, str(error))) from error


def beside(path: Path, suffix: str) -> Path:
    """A file that belongs to a store, by its suffix."""
    return path.with_name(path.name + suffix)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
