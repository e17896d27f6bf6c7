"""Looking at a store without touching it: is it one, is it whole, and what is in it.

All of it goes through a connection that cannot write. With any other, SQLite folds a damaged WAL into the file, or
throws a WAL away whose file was emptied, before anybody had a word; a file that is refused has to stay as it is.

Whole means five things, since no one of them sees every damage: the tables are those of its format, the pages
hang together (SQLite's own check, which is cheap without indexes), every row has its checksum, the rows reach up to
the newest acknowledged revision (``store_mark``), and a WAL has the file it belongs to.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tensorfusion.embedded.store_mark import mark_path, read_mark
from tensorfusion.embedded.store_records import ObjectKey, Record
from tensorfusion.embedded.store_rows import ALL_COLUMNS, COLUMNS, LAST_REVISION, RowReader, type_name
from tensorfusion.embedded.store_schema import WITH_MANAGED
from tensorfusion.embedded.store_sqlite import UNREADABLE, beside, corrupt, is_store, reading_connection, refuse
from tensorfusion.errors import StoreCorrupt


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was in the file when it was opened."""

    records: list[Record]
    slots: dict[ObjectKey, int]
    free: list[int]  # every number up to the highest slot that is not taken
    revision: int  # every revision up to this one is taken
    floor: int  # the oldest revision that a watch may start from


NOTHING = Loaded([], {}, [], 1, 1)


def read_store(path: Path) -> Loaded:
    """Everything in a store, checked; ``NOTHING`` where there is none yet.

    Raises:
        StoreTooNew, StoreCorrupt, StoreLocked, ConfigError: the file is as it was.
    """
    if not has_content(path):
        return NOTHING
    try:
        with closing(reading_connection(path)) as connection:
            if not is_store(path, connection):
                return NOTHING
            loaded = load(path, connection)
    except UNREADABLE as error:
        refuse(path, error)
    acknowledged = read_mark(path)
    if loaded.floor < acknowledged:
        raise StoreCorrupt(
            f"{path} misses writes: it ends at revision {loaded.floor}, but {acknowledged} was acknowledged; its -wal "
            "file is damaged, cut off or gone, or the file is an older copy; all was left as it is; restore a backup "
            f"over it, or remove {mark_path(path)} to go on without these writes"
        )
    return loaded


def has_content(path: Path) -> bool:
    """Whether there is anything to read. Asked before SQLite is, which removes the WAL of an empty file.

    Raises:
        StoreCorrupt: there was something, and it is gone.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = -1
    if size > 0:
        return True
    wal = beside(path, "-wal")
    if wal.exists() and wal.stat().st_size:
        found = "is empty" if size == 0 else "is missing"
        raise StoreCorrupt(
            f"{path} {found}, but {wal} holds writes of it; nothing was changed; put the file back or restore a backup "
            "over it, or move the -wal file away too to start empty"
        )
    if size == 0 and read_mark(path) > 1:
        raise StoreCorrupt(corrupt(path, "it is empty, and was not"))
    return False


def load(path: Path, connection: sqlite3.Connection) -> Loaded:
    """Everything in a file that is a store, checked; ``path`` is what the messages name.

    Raises:
        StoreCorrupt, sqlite3.Error: something in it is damaged.
    """
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StoreCorrupt(corrupt(path, str(verdict)))
    reserved, floor = read_counters(path, connection)
    records: list[Record] = []
    slots: dict[ObjectKey, int] = {}
    newest, top = floor, 0
    reader = RowReader()
    for row in connection.execute(_query(connection)):
        try:
            slot, revision, record = reader.read(row)
        except ValueError as error:  # MsgspecError is one
            raise StoreCorrupt(corrupt(path, f"row {row[0]} is damaged ({error})")) from error
        newest, top = max(newest, revision), max(top, slot)
        if record is not None:
            records.append(record)
            slots[record.key] = slot
    if len(slots) != len(records):
        raise StoreCorrupt(corrupt(path, "an object is in it twice"))
    free = sorted(set(range(1, top + 1)).difference(slots.values()), reverse=True)
    return Loaded(records, slots, free, max(newest, reserved), newest)


def read_counters(path: Path, connection: sqlite3.Connection) -> tuple[int, int]:
    """The revision up to which all are reserved, and the oldest one that a watch may start from.

    Raises:
        StoreCorrupt: they are not there, or are no revisions.
    """
    counters = dict(connection.execute("SELECT name, value FROM counters"))
    if counters.keys() != {"reserved", "floor"}:
        found = ", ".join(sorted(map(str, counters))) or "none"
        raise StoreCorrupt(corrupt(path, f"wanted the counters floor and reserved, found {found}"))
    for name, value in counters.items():
        if type(value) is not int:
            raise StoreCorrupt(corrupt(path, f"counter {name}: wanted a whole number, found {type_name(value)}"))
        if not 0 < value <= LAST_REVISION:
            raise StoreCorrupt(corrupt(path, f"counter {name}: wanted 1 to {LAST_REVISION}, found {value}"))
    return counters["reserved"], counters["floor"]


def _query(connection: sqlite3.Connection) -> str:
    """What reads all rows; those of the first format get an empty column."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    columns = ALL_COLUMNS if version >= WITH_MANAGED else f"{', '.join(COLUMNS)}, NULL"
    return f"SELECT {columns} FROM objects"  # noqa: S608 - constants
