"""The store on disk: one SQLite file in WAL mode, synchronous=FULL, with one opener at a time.

One row per slot. A live object owns a slot; deleting it leaves the row behind, empty, with the revision of the
deletion, until another object takes the slot. So every commit is the same statement, the newest revision in the table
is the last one committed, and the file holds the present only, whatever the churn. What rows no longer need goes back
to the file system between commits (``store_space``).

That commit is *one* multi-row statement on purpose. Each call into SQLite gives up the interpreter lock and may wait
up to a switch interval for a busy event loop to give it back; row by row, a batch of fifty would wait fifty times.

Revisions are reserved ahead in blocks (``reserved``) inside ordinary commits, and opening starts behind the
reservation: a number handed to a write that failed or died with the process is never handed out again.

A file that is too new, damaged or not ours is refused and left exactly as it is.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from tensorfusion.embedded.store_backup import backup_file
from tensorfusion.embedded.store_lock import StoreLock
from tensorfusion.embedded.store_mark import Mark
from tensorfusion.embedded.store_reading import NOTHING, Loaded, read_store
from tensorfusion.embedded.store_records import Record
from tensorfusion.embedded.store_rows import CHUNK, Row, parameters, statement
from tensorfusion.embedded.store_space import Space
from tensorfusion.embedded.store_sqlite import connect, refuse
from tensorfusion.errors import StoreUnwritable

__all__ = ["RESERVE", "Loaded", "Renew", "Row", "StoreFile"]

RESERVE: Final = 20_000
"""Revisions reserved ahead of the last one used."""


Renew: TypeAlias = Callable[[Record], Record]
"""What an older format's record is now, at the same key and revision; the same object where nothing changes."""


class StoreFile:
    """The opened file. ``commit`` and ``tidy`` run in the worker thread; nothing else touches the connection then."""

    def __init__(self, path: Path, lock: StoreLock, loaded: Loaded, renew: Renew) -> None:
        self.path = path
        self.reserved = 0  # durable; written by the worker, read by the event loop between commits
        self._lock = lock
        self._loaded = loaded
        self._connection = connect(path, lambda connection: _renew(connection, loaded, renew))
        try:
            self._reserve(loaded.revision)
            self._space = Space(path, self._connection, loaded)
            self._mark = Mark.open(path, loaded.floor)
        except sqlite3.Error as error:
            self._connection.close()
            refuse(path, error)
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def open(cls, path: Path, renew: Renew | None = None) -> "StoreFile":
        """Lock, check and open the file, creating it where it is missing; ``renew`` sees the records of older formats.

        Raises:
            StoreLocked, StoreTooNew, StoreCorrupt, ConfigError: each says which file and what to do.
        """
        lock = StoreLock.acquire(path)
        try:
            return cls(path, lock, read_store(path), renew or (lambda record: record))
        except BaseException:
            lock.release()
            raise

    def load(self) -> Loaded:
        """What was in the file when it was opened; hands it over, once."""
        loaded, self._loaded = self._loaded, NOTHING
        return loaded

    def commit(self, rows: Sequence[Row], last: int) -> None:
        """Make the rows durable; ``last`` is the highest revision handed out so far. All or nothing.

        Raises:
            StoreUnwritable: nothing of it was kept.
        """
        try:
            if len(rows) <= CHUNK and last + RESERVE // 2 <= self.reserved:
                self._connection.execute(statement(len(rows)), parameters(rows))
            else:
                self._commit_many(rows, last)
        except sqlite3.Error as error:
            self._roll_back()
            raise StoreUnwritable(
                f"{self.path}: the write could not be stored ({error}); nothing of it was kept; "
                "free space or make the folder writable, then retry"
            ) from error
        if rows:
            self._mark.set(max(row[1] for row in rows))
            self._space.note(rows)

    def _commit_many(self, rows: Sequence[Row], last: int) -> None:
        reserved = max(self.reserved, last + RESERVE)
        self._connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            self._connection.execute(statement(len(chunk)), parameters(chunk))
        self._connection.execute("UPDATE counters SET value = ? WHERE name = 'reserved'", (reserved,))
        self._connection.execute("COMMIT")
        self.reserved = reserved

    def _reserve(self, last: int) -> None:
        reserved = last + RESERVE
        self._connection.execute("UPDATE counters SET value = ? WHERE name = 'reserved'", (reserved,))
        self.reserved = reserved

    @property
    def due(self) -> bool:
        """Whether ``tidy`` has something to do."""
        return self._space.due

    def tidy(self) -> None:
        """A bounded step of giving space back, for when nobody waits for a commit. Failing to is no failure."""
        self._space.step()

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def backup(self, target: Path) -> None:
        """See ``backup_file``. Safe beside commits."""
        backup_file(self.path, target)

    def abandon(self) -> None:
        """Close a file that was opened but is not going to be used."""
        self._connection.close()
        self._mark.close()
        self._lock.release()

    def close(self, last: int) -> None:
        """Give the unused revisions back, fold the WAL into the file, release the lock."""
        with suppress(sqlite3.Error):  # a full disk must not keep the process from ending; all of it is optional
            self._connection.execute("UPDATE counters SET value = ? WHERE name = 'reserved'", (last,))
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.abandon()


def _renew(connection: sqlite3.Connection, loaded: Loaded, renew: Renew) -> None:
    """Write anew what changes, chunk by chunk, and what was loaded with it."""
    rows: list[Row] = []
    for index, record in enumerate(loaded.records):
        found = renew(record)
        if found is not record:
            loaded.records[index] = found
            rows.append((loaded.slots[found.key], found.revision, found, found.key))
            if len(rows) == CHUNK:
                connection.execute(statement(CHUNK), parameters(rows))
                rows.clear()
    if rows:
        connection.execute(statement(len(rows)), parameters(rows))
