"""A store that an earlier version wrote opens, serves and is brought up to date."""

import sqlite3
import zlib
from pathlib import Path

import msgspec
import pytest

from tensorfusion.embedded.store import Store
from tensorfusion.embedded.store_schema import FORMAT
from tensorfusion.errors import StoreTooNew
from tensorfusion.testing.records import pod, record_maker, value_of

FIRST = (
    """CREATE TABLE objects (slot INTEGER PRIMARY KEY, revision INTEGER NOT NULL, resource TEXT, namespace TEXT,
    name TEXT, uid TEXT, attributes BLOB, data BLOB, checksum INTEGER)""",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counters VALUES ('reserved', 30), ('floor', 1)",
    "PRAGMA user_version = 1",
    f"PRAGMA application_id = {0x7466_7331}",
)


def write_first_format(path: Path, names: list[str]) -> None:
    """A store as the first format has it."""
    with sqlite3.connect(path) as connection:
        for statement in FIRST:
            connection.execute(statement)
        for number, name in enumerate(names, 1):
            record = record_maker(pod(name), f"value of {name}")(number + 1)
            attributes = msgspec.msgpack.encode((record.labels, record.fields, record.owners))
            checksum = zlib.crc32(f"{record.key} {record.revision} {record.uid}".encode())
            checksum = zlib.crc32(record.data, zlib.crc32(attributes, checksum))
            row = (number, record.revision, *record.key, record.uid, attributes, record.data, checksum)
            connection.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.close()


async def test_a_store_of_the_first_format_opens_and_takes_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    write_first_format(path, ["a", "b"])
    async with Store.open(path) as store:
        assert [value_of(store.get(pod(name))) for name in ("a", "b")] == ["value of a", "value of b"]
        assert store.get(pod("a")).managed == b""
        old = store.get(pod("b"))
        await store.put(pod("b"), expected=old.revision, make=record_maker(pod("b"), "new"))
        await store.put(pod("c"), expected=0, make=record_maker(pod("c"), "c"))
    async with Store.open(path) as store:
        assert [value_of(store.get(pod(name))) for name in ("a", "b", "c")] == ["value of a", "new", "c"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    connection.close()


async def test_a_backup_of_the_first_format_can_be_restored(tmp_path: Path) -> None:
    write_first_format(tmp_path / "backup.db", ["a"])
    Store.restore(tmp_path / "store.db", tmp_path / "backup.db")
    async with Store.open(tmp_path / "store.db") as store:
        assert value_of(store.get(pod("a"))) == "value of a"


async def test_managed_fields_survive_a_restart_and_are_guarded_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Store.open(path) as store:
        make = record_maker(pod("a"), "x")
        await store.put(pod("a"), expected=0, make=lambda at: msgspec.structs.replace(make(at), managed=b"[1]"))
    async with Store.open(path) as store:
        assert store.get(pod("a")).managed == b"[1]"


async def test_a_store_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    write_first_format(path, ["a"])
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(StoreTooNew, match=f"format {FORMAT + 1}, this version reads up to {FORMAT}"):
        Store.open(path)
