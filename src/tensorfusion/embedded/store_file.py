"""The store on disk: one SQLite file in WAL mode, synchronous=FULL, with one opener at a time.

One row per slot. A live object owns a slot; deleting it leaves the row behind, empty, with the revision of the
deletion, until another object takes the slot. So every commit is the same statement, the newest revision in the table
is the last one committed, and the file holds the present only, whatever the churn. Opening removes the rows of empty
slots when there are many, and later commits give their pages back to the file system.

That commit is *one* multi-row statement on purpose. Each call into SQLite gives up the interpreter lock and may wait
up to a switch interval for a busy event loop to give it back; row by row, a batch of fifty would wait fifty times.

Revisions are reserved ahead in blocks (``reserved``) inside ordinary commits, and opening starts behind the
reservation: a number handed to a write that failed or died with the process is never handed out again.

A file that is too new, damaged or not ours is refused and left exactly as it is.
"""

import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from tensorfusion.embedded.store_backup import backup_file
from tensorfusion.embedded.store_lock import StoreLock
from tensorfusion.embedded.store_records import ObjectKey, Record
from tensorfusion.embedded.store_sqlite import connect, corrupt, refuse
from tensorfusion.errors import StoreCorrupt, StoreUnwritable

RESERVE: Final = 20_000
"""Revisions reserved ahead of the last one used."""

_CHUNK: Final = 64
_COLUMNS: Final = "slot, revision, resource, namespace, name, uid, attributes, data, checksum, managed"
_MANY_EMPTY: Final = 1_000
_SHRINK_EVERY: Final = 256
_SHRINK_PAGES: Final = 512

Row: TypeAlias = tuple[int, int, Record | None, ObjectKey]
"""Slot, revision, what it holds from now on (None leaves it empty), and whose it is or was."""

_Parameters: TypeAlias = tuple[int | str | bytes | None, ...]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[dict[str, str], dict[str, str], tuple[str, ...]])


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was in the file when it was opened."""

    records: list[Record]
    slots: dict[ObjectKey, int]
    free: list[int]  # every number up to the highest slot that is not taken
    revision: int  # every revision up to this one is taken
    floor: int  # the oldest revision that a watch may start from


class StoreFile:
    """The opened file. ``commit`` runs in the worker thread; nothing else touches the connection meanwhile."""

    def __init__(self, path: Path, lock: StoreLock, connection: sqlite3.Connection) -> None:
        self.path = path
        self.reserved = 0  # durable; written by the worker, read by the event loop between commits
        self._lock = lock
        self._connection = connection
        self._commits = 0

    @classmethod
    def open(cls, path: Path) -> "StoreFile":
        """Lock, check and open the file, creating it where it is missing.

        Raises:
            StoreLocked, StoreTooNew, StoreCorrupt, ConfigError: each says which file and what to do.
        """
        lock = StoreLock.acquire(path)
        try:
            return cls(path, lock, connect(path))
        except BaseException:
            lock.release()
            raise

    def load(self) -> Loaded:
        """Read everything and reserve the first block of revisions."""
        try:
            loaded = self._load()
            self._reserve(loaded.revision)
        except sqlite3.Error as error:
            refuse(self.path, error)
        return loaded

    def _load(self) -> Loaded:
        counters = dict(self._connection.execute("SELECT name, value FROM counters"))
        if counters.keys() != {"reserved", "floor"}:
            raise StoreCorrupt(corrupt(self.path, "its counters are missing"))
        records: list[Record] = []
        slots: dict[ObjectKey, int] = {}
        newest, top, empty = counters["floor"], 0, 0
        names: dict[str, str] = {}  # one string object per resource and namespace: less memory, faster comparison
        entries: dict[bytes, bytes] = {}  # one for equal managed fields, likewise
        for row in self._connection.execute(f"SELECT {_COLUMNS} FROM objects"):  # noqa: S608 - a constant
            try:
                slot, revision, record = _read(row, names, entries)
            except (TypeError, ValueError, AttributeError) as error:  # MsgspecError is a ValueError
                raise StoreCorrupt(corrupt(self.path, f"row {row[0]} is damaged ({error})")) from error
            newest, top = max(newest, revision), max(top, slot)
            if record is None:
                empty += 1
            else:
                records.append(record)
                slots[record.key] = slot
        if empty > _MANY_EMPTY:
            self._connection.execute("DELETE FROM objects WHERE data IS NULL AND revision < ?", (newest,))
        free = sorted(set(range(1, top + 1)).difference(slots.values()), reverse=True)
        return Loaded(records, slots, free, max(newest, counters["reserved"]), newest)

    def commit(self, rows: Sequence[Row], last: int) -> None:
        """Make the rows durable; ``last`` is the highest revision handed out so far. All or nothing.

        Raises:
            StoreUnwritable: nothing of it was kept.
        """
        try:
            if len(rows) <= _CHUNK and last + RESERVE // 2 <= self.reserved:
                self._connection.execute(_statement(len(rows)), _parameters(rows))
            else:
                self._commit_many(rows, last)
            self._commits += 1
            if self._commits % _SHRINK_EVERY == 0:
                self._shrink()
        except sqlite3.Error as error:
            self._roll_back()
            raise StoreUnwritable(
                f"{self.path}: the write could not be stored ({error}); nothing of it was kept; "
                "free space or make the folder writable, then retry"
            ) from error

    def _commit_many(self, rows: Sequence[Row], last: int) -> None:
        reserved = max(self.reserved, last + RESERVE)
        self._connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            self._connection.execute(_statement(len(chunk)), _parameters(chunk))
        self._connection.execute("UPDATE counters SET value = ? WHERE name = 'reserved'", (reserved,))
        self._connection.execute("COMMIT")
        self.reserved = reserved

    def _reserve(self, last: int) -> None:
        reserved = last + RESERVE
        self._connection.execute("UPDATE counters SET value = ? WHERE name = 'reserved'", (reserved,))
        self.reserved = reserved

    def _shrink(self) -> None:
        """Give a bounded part of the unused pages back to the file system; failing to is no failure."""
        with suppress(sqlite3.Error):
            (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
            if free * 4 > pages:
                # a script, because execute() would step it once and give back one page
                self._connection.executescript(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})")

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
        self._lock.release()

    def close(self, last: int) -> None:
        """Give the unused revisions back, fold the WAL into the file, release the lock."""
        with suppress(sqlite3.Error):  # a full disk must not keep the process from ending; all of it is optional
            self._connection.execute("UPDATE counters SET value = ? WHERE name = 'reserved'", (last,))
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.abandon()


def _read(row: tuple[Any, ...], names: dict[str, str], entries: dict[bytes, bytes]) -> tuple[int, int, Record | None]:
    """Slot, revision and record of a row. Any: SQLite columns hold any type once the file is damaged."""
    slot, revision, resource, namespace, name, uid, attributes, data, checksum, managed = row
    managed = entries.setdefault(managed, managed) if managed else b""
    if data is None:
        return slot, int(revision), None
    key = ObjectKey(names.setdefault(resource, resource), names.setdefault(namespace, namespace), name)
    if checksum != _checksum(key, revision, uid, attributes, data, managed):
        raise ValueError(f"{key} does not match its checksum")
    labels, fields, owners = _decoder.decode(attributes)
    return slot, revision, Record(key, revision, uid, data, labels, fields, owners, managed)


def _checksum(key: ObjectKey, revision: int, uid: str, attributes: bytes, data: bytes, managed: bytes) -> int:
    """Of everything in a row; without managed fields it is the one that format 1 wrote."""
    return zlib.crc32(managed, zlib.crc32(data, zlib.crc32(attributes, zlib.crc32(f"{key} {revision} {uid}".encode()))))


@lru_cache(maxsize=_CHUNK)
def _statement(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT OR REPLACE INTO objects ({_COLUMNS}) VALUES {values}"  # noqa: S608 - only placeholders


def _parameters(rows: Sequence[Row]) -> _Parameters:
    parameters: list[int | str | bytes | None] = []
    for slot, revision, record, _ in rows:
        if record is None:
            parameters += (slot, revision, None, None, None, None, None, None, None, None)
        else:
            resource, namespace, name = record.key
            attributes = _encoder.encode((record.labels, record.fields, record.owners))
            data, managed = record.data, record.managed
            checksum = _checksum(record.key, revision, record.uid, attributes, data, managed)
            parameters += (slot, revision, resource, namespace, name, record.uid, attributes, data, checksum, managed)
    return tuple(parameters)
