"""Tables and values that are not those that a store has: told with the file, what was wanted, what was found, and what
to do, before anything is changed. Most of it SQLite reads without an error."""

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorfusion.embedded.store import Record, Store
from tensorfusion.embedded.store_backup import backup_file
from tensorfusion.errors import StoreCorrupt, StoreError
from tensorfusion.testing.records import pod, record_maker

PAGE = 4096


def opened(path: Path) -> list[Record]:
    async def read() -> list[Record]:
        async with Store.open(path) as store:
            return [*store.scan("pods")]

    return asyncio.run(read())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """A store of three pods and a place that a fourth one left empty, all of it in one file."""
    path = tmp_path_factory.mktemp("whole") / "store.db"

    async def fill() -> None:
        async with Store.open(path) as store:
            for name in "abcd":
                await store.put(pod(name), expected=0, make=record_maker(pod(name), "x" * 200))
            gone = store.get(pod("d"))
            assert gone is not None
            await store.remove(gone.key, expected=gone.revision, make=record_maker(gone.key))

    asyncio.run(fill())
    return path, opened(path)


@pytest.fixture
def path(whole: tuple[Path, list[Record]], tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copyfile(whole[0], tmp_path / "store.db"))


def replace(path: Path, wanted: bytes, found: bytes) -> None:
    """Other bytes in the first page, where the schema is."""
    content = path.read_bytes()
    assert content[:PAGE].count(wanted) == 1
    path.write_bytes(content.replace(wanted, found, 1))


def change(path: Path, *statements: str) -> None:
    """What another program may do to a store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def refusal(path: Path) -> str:
    """What opening the store is refused with, twice, with nothing changed."""
    before = path.read_bytes()
    for _ in range(2):  # the lock was given back
        with pytest.raises(StoreCorrupt) as refused:
            Store.open(path)
    assert path.read_bytes() == before
    message = str(refused.value)
    assert message.startswith(f"{path} is not a readable store: ")
    assert "it was left as it is; restore a backup over it, or move it" in message
    assert message.isprintable()
    return message


BYTES = [
    (b"slot INTEGER PRIMARY KEY", b"slot INTEGER QRIMARY KEY"),
    (b"slot INTEGER PRIMARY KEY", b"slot INTEGDR PRIMARY KEY"),
    (b"revision INTEGER NOT NULL", b"revision INTEGES NOT NULL"),
    (b"checksum INTEGER", b"checksun INTEGER"),
    (b"data BLOB", b"data CLOB"),
    (b"managed BLOB", b"managed BLNB"),
    (b"value INTEGER NOT NULL", b"value INTEGES NOT NULL"),
    (b"name TEXT PRIMARY KEY", b"name TEYT PRIMARY KEY"),
]


@pytest.mark.parametrize(("wanted", "found"), BYTES, ids=[found.decode() for _, found in BYTES])
def test_one_wrong_byte_in_the_schema_is_told_as_what_was_wanted_and_found(
    path: Path, wanted: bytes, found: bytes
) -> None:
    replace(path, wanted, found)
    told = re.search(r"wanted '(.*?)', found '(.*?)';", refusal(path))
    assert told is not None
    assert wanted.decode() in told[1]
    assert found.decode() in told[2]


UNREADABLE = [
    (b"uid TEXT", b"uid \xa9EXT"),
    (b"INTEGER PRIMARY KEY,", b"INTEGER PRIMARY KEY\xa9"),
    (b"data BLOB,", b'"ata BLOB,'),
    (b"data BLOB,", b"data BLOB\x1b"),
    (b"attributes", b"\x00ttributes"),
    (b"WITHOUT ROWID", b"WITHOUT SOWID"),
]


@pytest.mark.parametrize(("wanted", "found"), UNREADABLE, ids=[repr(found) for _, found in UNREADABLE])
def test_a_schema_that_sqlite_cannot_read_is_told_in_one_line(path: Path, wanted: bytes, found: bytes) -> None:
    replace(path, wanted, found)
    refusal(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_wrong_byte_among_the_tables_is_told_or_loses_nothing(
    whole: tuple[Path, list[Record]], data: st.DataObject
) -> None:
    content = bytearray(whole[0].read_bytes())
    first = content.index(b"CREATE TABLE counters") - 40  # what SQLite says of a table stands before its text
    content[data.draw(st.integers(first, PAGE - 1))] ^= data.draw(st.integers(1, 255))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        path.write_bytes(content)
        try:
            found = opened(path)
        except StoreError as error:
            assert str(path) in str(error)
            assert str(error).isprintable()
            assert path.read_bytes() == content
        else:
            assert found == whole[1]


TABLES = {
    "DROP TABLE objects": "wanted table counters, table objects, found table counters",
    "ALTER TABLE objects RENAME TO things": "found table counters, table things",
    "CREATE TABLE mine (a)": "found table counters, table mine, table objects",
    "CREATE UNIQUE INDEX fast ON objects (name)": "found index fast of objects, table counters",
    "CREATE TRIGGER t AFTER INSERT ON objects BEGIN DELETE FROM objects; END": "trigger t of objects",
    "ALTER TABLE objects ADD COLUMN more TEXT": "wanted 'managed BLOB )', found 'managed BLOB'",
    "ALTER TABLE objects DROP COLUMN managed": "wanted 'checksum INTEGER', found 'checksum INTEGER )'",
    "PRAGMA user_version = 1": "is not that of format 1: wanted 'checksum INTEGER )', found 'checksum INTEGER'",
    "PRAGMA user_version = 0": "wanted a format from 1 to 4, found 0",
    "PRAGMA user_version = -4": "wanted a format from 1 to 4, found -4",
}


@pytest.mark.parametrize(("statement", "told"), TABLES.items(), ids=TABLES)
def test_tables_that_are_not_those_of_the_format_are_told(path: Path, statement: str, told: str) -> None:
    change(path, statement)
    assert told in refusal(path)


def test_what_sqlite_keeps_for_itself_is_no_damage(path: Path, whole: tuple[Path, list[Record]]) -> None:
    change(path, "ANALYZE")
    assert opened(path) == whole[1]


HUGE = 2**63 - 1
VALUES = {
    "UPDATE objects SET revision = x'31' WHERE name = 'a'": "revision: wanted a whole number, found bytes",
    "UPDATE objects SET revision = 2.5 WHERE name = 'a'": "REAL value in objects.revision|wanted a whole number, found a",
    "UPDATE objects SET revision = 'two' WHERE data IS NULL": "TEXT value in objects.revision|found text",
    "UPDATE objects SET resource = x'31' WHERE name = 'a'": "resource: wanted text, found bytes",
    "UPDATE objects SET namespace = NULL WHERE name = 'a'": "namespace: wanted text, found nothing",
    "UPDATE objects SET name = NULL WHERE name = 'a'": "name: wanted text, found nothing",
    "UPDATE objects SET uid = x'31' WHERE name = 'a'": "uid: wanted text, found bytes",
    "UPDATE objects SET attributes = 'a' WHERE name = 'a'": "attributes: wanted bytes, found text",
    "UPDATE objects SET attributes = NULL WHERE name = 'a'": "attributes: wanted bytes, found nothing",
    "UPDATE objects SET data = 'a' WHERE name = 'a'": "data: wanted bytes, found text",
    "UPDATE objects SET data = NULL WHERE name = 'a'": "data: wanted bytes, found nothing",
    "UPDATE objects SET checksum = x'31' WHERE name = 'a'": "checksum: wanted a whole number, found bytes",
    "UPDATE objects SET checksum = NULL WHERE name = 'a'": "checksum: wanted a whole number, found nothing",
    "UPDATE objects SET managed = 5 WHERE name = 'a'": "managed: wanted bytes, found a whole number",
    "UPDATE objects SET managed = 0 WHERE name = 'a'": "managed: wanted bytes, found a whole number",
    "UPDATE objects SET managed = '' WHERE name = 'a'": "managed: wanted bytes, found text",
    "UPDATE objects SET managed = 'a' WHERE name = 'a'": "managed: wanted bytes, found text",
    "UPDATE objects SET uid = 'u' WHERE data IS NULL": "uid: wanted nothing in a row without data, found text",
    f"UPDATE objects SET revision = {HUGE} WHERE data IS NULL": f"revision: wanted 1 to {2**62}, found {HUGE}",
    "UPDATE objects SET revision = -1 WHERE data IS NULL": f"revision: wanted 1 to {2**62}, found -1",
    f"UPDATE objects SET slot = {HUGE} WHERE name = 'c'": f"slot: wanted 1 to {2**26}, found {HUGE}",
    "UPDATE objects SET slot = -1 WHERE name = 'c'": f"slot: wanted 1 to {2**26}, found -1",
    "UPDATE counters SET value = x'31' WHERE name = 'floor'": "counter floor: wanted a whole number, found bytes",
    "UPDATE counters SET value = 2.5 WHERE name = 'floor'": "value in counters|found a fraction",
    f"UPDATE counters SET value = {HUGE} WHERE name = 'reserved'": f"reserved: wanted 1 to {2**62}, found {HUGE}",
    "UPDATE counters SET value = 0 WHERE name = 'reserved'": f"counter reserved: wanted 1 to {2**62}, found 0",
    "UPDATE counters SET name = 'reserve' WHERE name = 'reserved'": "wanted the counters floor and reserved, found floor, "
    "reserve;",
    "DELETE FROM counters": "wanted the counters floor and reserved, found none",
}


@pytest.mark.parametrize(("statement", "told"), VALUES.items(), ids=VALUES)
def test_a_value_that_is_not_one_of_its_column_is_told(path: Path, statement: str, told: str) -> None:
    change(path, statement)
    assert re.search(told, refusal(path))


DAMAGE = [BYTES[0], *UNREADABLE[:3]]


@pytest.mark.parametrize(("wanted", "found"), DAMAGE, ids=[repr(found) for _, found in DAMAGE])
def test_a_backup_is_restored_over_a_store_with_a_damaged_schema(
    whole: tuple[Path, list[Record]], path: Path, wanted: bytes, found: bytes
) -> None:
    replace(path, wanted, found)
    Store.restore(path, whole[0])
    assert opened(path) == whole[1]


COUNTERS = [statement for statement in VALUES if "counters" in statement]


@pytest.mark.parametrize("statement", COUNTERS)
def test_a_backup_is_restored_over_a_store_with_damaged_counters(
    whole: tuple[Path, list[Record]], path: Path, statement: str
) -> None:
    change(path, statement)
    Store.restore(path, whole[0])
    assert opened(path) == whole[1]


def refuses_to_restore(path: Path, backup: Path, kept: list[Record]) -> None:
    with pytest.raises(StoreCorrupt, match=re.escape(f"{backup} is not a readable store: ")):
        Store.restore(path, backup)
    assert opened(path) == kept
    assert not path.with_name("store.db.replaced").exists()


@pytest.mark.parametrize(("wanted", "found"), DAMAGE, ids=[repr(found) for _, found in DAMAGE])
def test_a_backup_with_a_damaged_schema_is_refused_and_the_store_kept(
    whole: tuple[Path, list[Record]], path: Path, wanted: bytes, found: bytes
) -> None:
    backup = Path(shutil.copyfile(whole[0], path.with_name("backup.db")))
    replace(backup, wanted, found)
    refuses_to_restore(path, backup, whole[1])


@pytest.mark.parametrize("statement", list(VALUES)[::6])
def test_a_backup_with_damaged_values_is_refused_and_the_store_kept(
    whole: tuple[Path, list[Record]], path: Path, statement: str
) -> None:
    backup = Path(shutil.copyfile(whole[0], path.with_name("backup.db")))
    change(backup, statement)
    refuses_to_restore(path, backup, whole[1])


@pytest.mark.parametrize(("wanted", "found"), DAMAGE, ids=[repr(found) for _, found in DAMAGE])
def test_no_backup_is_made_of_a_store_with_a_damaged_schema(path: Path, wanted: bytes, found: bytes) -> None:
    """A store reads its file once, so that the damage may come to light here."""
    replace(path, wanted, found)
    target = path.with_name("backup.db")
    with pytest.raises(StoreCorrupt, match=re.escape(f"{path} is not a readable store: ")) as refused:
        backup_file(path, target)
    assert str(refused.value).isprintable()
    assert not target.exists()
