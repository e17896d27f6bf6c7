"""The tables of a store in each format that this version reads, and telling tables that are others.

SQLite takes nearly any words for a column's type: with one wrong byte in ``INTEGER PRIMARY KEY`` it reads a table
without an error, the rows whole but for their slots, which are gone. So the text that SQLite keeps of each table is
compared. That takes microseconds; asking SQLite for the columns would miss the constraints.
"""

import sqlite3
from itertools import zip_longest
from typing import Final

FORMAT: Final = 4
"""2 added ``managed``; a store of format 1 gets the column when it is opened. In 3, built-in objects have no zeros of
fields that are no pointers, in 4 they have the nulls that are shown; those of older formats are written anew then."""

WITH_MANAGED: Final = 2

APPLICATION_ID: Final = 0x7466_7331  # "tfs1": tells our files from other SQLite files

_OBJECTS: Final = """
CREATE TABLE objects (
    slot INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    resource TEXT,
    namespace TEXT,
    name TEXT,
    uid TEXT,
    attributes BLOB,
    data BLOB,
    checksum INTEGER,
    managed BLOB
)"""
_COUNTERS: Final = "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"

SCHEMA: Final = (
    _OBJECTS,
    _COUNTERS,
    "INSERT INTO counters VALUES ('reserved', 1), ('floor', 1)",
    f"PRAGMA user_version = {FORMAT}",
    f"PRAGMA application_id = {APPLICATION_ID}",
)
ADD_MANAGED: Final = "ALTER TABLE objects ADD COLUMN managed BLOB"

_ENTRIES: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT GLOB 'sqlite_*'"
"""Without what SQLite keeps for itself, as statistics."""


def schema_fault(connection: sqlite3.Connection, version: int) -> str:
    """What a store of a format has for tables other than that format's; empty where they are right."""
    wanted = _tables(version)
    found = {_title(kind, name, table): _parts(str(sql)) for kind, name, table, sql in connection.execute(_ENTRIES)}
    if found.keys() != wanted.keys():
        return f"wanted {', '.join(sorted(wanted))}, found {', '.join(sorted(found)) or 'none'}"
    for title, parts in wanted.items():
        for part, instead in zip_longest(parts, found[title], fillvalue="nothing"):
            if part != instead:
                return f"its {title} is not that of format {version}: wanted {part!a}, found {instead!a}"
    return ""


def _tables(version: int) -> dict[str, tuple[str, ...]]:
    objects = _parts(_OBJECTS)
    if version < WITH_MANAGED:
        objects = (*objects[:-2], f"{objects[-2]} )")
    return {_title("table", "objects", "objects"): objects, _title("table", "counters", "counters"): _parts(_COUNTERS)}


def _title(kind: object, name: object, table: object) -> str:
    """Of an entry of the schema. Any object: it may be damaged."""
    return f"{kind} {name}" if name == table else f"{kind} {name} of {table}"


def _parts(sql: str) -> tuple[str, ...]:
    """The columns of a table's text, whatever stands between them: it is not the same where one was added later."""
    spaced = sql.replace("(", " ( ").replace(")", " ) ")
    return tuple(" ".join(part.split()) for part in spaced.split(","))
