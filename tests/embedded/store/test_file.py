"""The file: one opener, format version, damage, read-only folders, growth, revisions over restarts."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.embedded.store_file import RESERVE
from tensorfusion.errors import ConfigError, StoreCorrupt, StoreLocked, StoreTooNew
from tensorfusion.testing.records import pod, record_maker, value_of


async def fill(path: Path, count: int, value: str = "x" * 500) -> None:
    async with Store.open(path) as store:
        for start in range(0, count, 500):
            keys = [pod(f"p{number:05}") for number in range(start, min(count, start + 500))]
            await asyncio.gather(*(store.put(key, expected=0, make=record_maker(key, value)) for key in keys))


def crash_copy(path: Path, target: Path) -> None:
    """What would be on disk had the process been killed now."""
    for suffix in ("", "-wal", ".mark"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copyfile(source, target.with_name(target.name + suffix))


async def test_everything_of_a_record_survives_a_restart(path: Path) -> None:
    key = ObjectKey("gpus.tensor-fusion.ai", "", "gpu-ü")
    async with Store.open(path) as store:
        record = await store.put(key, expected=0, make=record_maker(key, "v", labels={"a": "ü"}, owners=("u1", "u2")))
    async with Store.open(path) as store:
        assert store.get(key) == record
        assert store.by_owner("u2") == (key,)


async def test_a_second_opener_is_told_who_holds_the_store(path: Path) -> None:
    async with Store.open(path):
        with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}; stop it first"):
            Store.open(path)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys, pathlib, tensorfusion.embedded.store as s\n"
            "try: s.Store.open(pathlib.Path(sys.argv[1]))\n"
            "except s.StoreUnwritable.__mro__[1] as error: print(type(error).__name__, error)",
            str(path),
            stdout=subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert output.startswith(b"StoreLocked")
        assert f"process {os.getpid()};".encode() in output
    async with Store.open(path):
        pass


async def test_the_lock_file_of_a_dead_process_does_not_matter(path: Path) -> None:
    path.with_name("store.db.lock").write_text("12345\n")
    async with Store.open(path):
        assert path.with_name("store.db.lock").read_text() == f"{os.getpid()}\n"


async def test_a_newer_format_is_refused_and_left_alone(path: Path) -> None:
    await fill(path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    before = path.read_bytes()
    for _ in range(2):  # the lock was given back
        with pytest.raises(
            StoreTooNew, match="has format 7, this version reads up to 4; run the version that wrote it"
        ):
            Store.open(path)
    assert path.read_bytes() == before


def overwrite_with_noise(path: Path) -> None:
    path.write_bytes(b"no database at all " * 1000)


def zero_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    path.write_bytes(content)


def cut_off_the_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit_in_the_data(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"x" * 100)
    content[at] ^= 1
    path.write_bytes(content)


def drop_a_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE objects")
    connection.close()


def replace_by_another_program(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (a)")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        overwrite_with_noise,
        zero_the_middle,
        cut_off_the_end,
        flip_a_bit_in_the_data,
        drop_a_table,
        replace_by_another_program,
    ],
)
async def test_a_damaged_file_is_refused_by_name_and_left_as_it_is(path: Path, damage: Callable[[Path], None]) -> None:
    await fill(path, 200)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt) as caught:
        Store.open(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a readable store: ")
    assert "restore a backup" in message
    assert "\n" not in message
    assert path.read_bytes() == before


async def test_an_empty_file_and_one_abandoned_at_birth_become_stores(path: Path) -> None:
    path.touch()
    await fill(path, 1)
    half_made = path.with_name("half.db")
    connection = sqlite3.connect(half_made)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()
    await fill(half_made, 1)


READ_ONLY = """
import os, sys, pathlib
from tensorfusion.embedded.store import Store
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Store.open(pathlib.Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("existing", [True, False])
async def test_a_read_only_folder_is_named(tmp_path: Path, existing: bool) -> None:
    folder = tmp_path / "data"
    path = folder / "store.db"
    folder.mkdir()
    if existing:
        await fill(path, 1)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    folder.chmod(0o555)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", READ_ONLY, str(path), stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
    finally:
        folder.chmod(0o755)
    assert output.decode().startswith(f"ConfigError cannot write the store's folder {folder}: Permission denied; make")


async def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="cannot write the store's folder"):
        Store.open(tmp_path / "data" / "store.db")


async def test_revisions_go_on_behind_a_clean_restart_without_a_gap(path: Path) -> None:
    await fill(path, 10)
    async with Store.open(path) as store:
        assert store.revision == 11
        record = await store.put(pod("new"), expected=0, make=record_maker(pod("new")))
        assert record.revision == 12
        removed = await store.remove(pod("new"), expected=12, make=record_maker(pod("new")))
    async with Store.open(path) as store:
        assert store.revision == removed.revision == 13


async def test_after_a_crash_no_revision_that_may_have_been_handed_out_comes_again(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with Store.open(path) as store:
        last = await store.put(pod("a"), expected=0, make=record_maker(pod("a")))
        crash_copy(path, copy)
    async with Store.open(copy) as store:
        assert store.get(pod("a")) == last
        assert store.compacted == last.revision
        record = await store.put(pod("b"), expected=0, make=record_maker(pod("b")))
        assert record.revision > last.revision + RESERVE // 2


async def test_the_reservation_grows_with_the_writes(path: Path) -> None:
    async with Store.open(path) as store:
        record = await store.put(pod("a"), expected=0, make=record_maker(pod("a")))
        for _ in range(2 * RESERVE // 1000):
            store._allocated += 999  # as if so many writes had happened
            record = await store.put(pod("a"), expected=record.revision, make=record_maker(pod("a")))
    assert record.revision > 2 * RESERVE


async def test_neither_file_nor_wal_grows_with_the_number_of_writes(path: Path) -> None:
    wal = path.with_name("store.db-wal")
    async with Store.open(path) as store:
        largest = 0
        for round_ in range(40):
            keys = [pod(f"r{round_}-{number}") for number in range(50)]
            value = "x" * 10_000
            made = await asyncio.gather(*(store.put(k, expected=0, make=record_maker(k, value)) for k in keys))
            await asyncio.gather(*(store.remove(r.key, expected=r.revision, make=record_maker(r.key)) for r in made))
            largest = max(largest, wal.stat().st_size)
        assert largest < 20 << 20
        assert path.stat().st_size < 4 << 20  # 20 MB were written, 0.5 MB lived at a time


async def test_space_of_removed_objects_goes_back_to_the_file_system(path: Path) -> None:
    await fill(path, 2000, "x" * 3000)
    large = path.stat().st_size
    async with Store.open(path) as store:
        records = list(store.scan("pods"))
        await asyncio.gather(*(store.remove(r.key, expected=r.revision, make=record_maker(r.key)) for r in records))
        last = store.revision
    async with Store.open(path) as store:
        assert (store.revision, store.compacted, store.count("pods")) == (last, last, 0)
        for number in range(1200):
            current = store.get(pod("beat"))
            expected = current.revision if current else 0
            await store.put(pod("beat"), expected=expected, make=record_maker(pod("beat"), str(number)))
    assert path.stat().st_size < large / 3


async def test_a_backup_is_a_store_of_its_moment(path: Path, tmp_path: Path) -> None:
    async with Store.open(path) as store:
        await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "then"))
        await store.backup(tmp_path / "backup.db")
        current = store.get(pod("a"))
        assert current is not None
        await store.put(pod("a"), expected=current.revision, make=record_maker(pod("a"), "later"))
    async with Store.open(tmp_path / "backup.db") as copy:
        assert value_of(copy.get(pod("a"))) == "then"


async def test_a_backup_that_cannot_be_written_says_so_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    from tensorfusion.errors import StoreError

    with pytest.raises(StoreError, match=f"cannot write the backup {tmp_path}/missing/b.db"):
        await store.backup(tmp_path / "missing" / "b.db")


async def test_restoring_brings_objects_back_but_never_revisions(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    async with Store.open(path) as store:
        then = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "then"))
        await store.backup(backup)
        later = await store.put(pod("a"), expected=then.revision, make=record_maker(pod("a"), "later"))
        with pytest.raises(StoreLocked):
            Store.restore(path, backup)
    Store.restore(path, backup)
    async with Store.open(path) as store:
        assert store.get(pod("a")) == then
        assert store.revision > later.revision
        assert store.compacted > later.revision  # whoever watched from there must list again
        new = await store.put(pod("b"), expected=0, make=record_maker(pod("b")))
        assert new.revision > later.revision
    async with Store.open(path.with_name("store.db.replaced")) as replaced:
        assert value_of(replaced.get(pod("a"))) == "later"


async def test_restoring_replaces_a_damaged_store(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    async with Store.open(path) as store:
        await store.put(pod("a"), expected=0, make=record_maker(pod("a"), "then"))
        await store.backup(backup)
    overwrite_with_noise(path)
    Store.restore(path, backup)
    async with Store.open(path) as store:
        assert value_of(store.get(pod("a"))) == "then"


@pytest.mark.parametrize("damage", [overwrite_with_noise, zero_the_middle, replace_by_another_program])
async def test_a_bad_backup_is_refused_and_the_store_kept(
    path: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    backup = tmp_path / "backup.db"
    await fill(path, 50)
    shutil.copyfile(path, backup)
    damage(backup)
    with pytest.raises(StoreCorrupt, match=r"backup\.db"):
        Store.restore(path, backup)
    with pytest.raises(ConfigError, match="no backup at"):
        Store.restore(path, tmp_path / "none.db")
    async with Store.open(path) as store:
        assert store.count("pods") == 50
    assert not path.with_name("store.db.replaced").exists()
