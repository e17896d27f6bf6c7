"""Damage of every kind: a store opens with all that was acknowledged, or it is refused and left as it is."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.embedded.store import Record, Store
from tensorfusion.embedded.store_backup import backup_file
from tensorfusion.errors import StoreCorrupt, StoreError, TensorFusionError
from tensorfusion.testing.records import pod, record_maker

FILES = ("store.db", "store.db-wal", "store.db.mark")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Record]]]:
    """What a killed process leaves: pages of two sizes in the file, removed rows, and the newest writes in the WAL."""
    folder = tmp_path_factory.mktemp("crashed")

    async def work() -> list[Record]:
        path = folder / "open" / "store.db"
        async with Store.open(path) as store:
            for number in range(60):
                key = pod(f"p{number}")
                await store.put(key, expected=0, make=record_maker(key, "x" * (200 + 97 * number)))
            for record in [*store.scan("pods")][::7]:
                await store.remove(record.key, expected=record.revision, make=record_maker(record.key))
        store = Store.open(path)  # closing folded all of it into the file; what follows stays in the WAL
        for number in range(12):
            key = pod(f"new{number}")
            await store.put(key, expected=0, make=record_maker(key, "y" * 3000))
        for name in FILES:
            shutil.copyfile(path.with_name(name), folder / name)
        records = [*store.scan("pods")]
        await store.close()
        return records

    records = asyncio.run(work())
    assert (folder / "store.db-wal").stat().st_size > 40_000
    yield folder, records


@pytest.fixture(scope="module")
def closed(crashed: tuple[Path, list[Record]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """The same store, opened and closed: all of it is in the file. Made once, as its size may differ each time."""
    folder = tmp_path_factory.mktemp("closed")
    assert opened(copy_of(crashed[0], folder)) == crashed[1]
    return folder, crashed[1]


def copy_of(crashed: Path, folder: Path) -> Path:
    for name in FILES:
        if (crashed / name).exists():
            shutil.copyfile(crashed / name, folder / name)
    return folder / "store.db"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file with something in it, without the ones that only say who holds what."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {name: content for name, content in found.items() if content and not name.endswith(("-shm", ".lock"))}


def opened(path: Path) -> list[Record]:
    async def read() -> list[Record]:
        async with Store.open(path) as store:
            return [*store.scan("pods")]

    return asyncio.run(read())


def test_an_undamaged_store_opens_with_everything(crashed: tuple[Path, list[Record]], tmp_path: Path) -> None:
    assert opened(copy_of(crashed[0], tmp_path)) == crashed[1]


def empty_the_file(path: Path) -> None:
    os.truncate(path, 0)


def leave_a_few_bytes(path: Path) -> None:
    os.truncate(path, 50)


def leave_one_page(path: Path) -> None:
    os.truncate(path, 4096)


def remove_the_file(path: Path) -> None:
    path.unlink()


def wal(path: Path) -> Path:
    return path.with_name("store.db-wal")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def garble_the_magic(path: Path) -> None:
    flip(path, 3)
    wal(path).unlink()  # it has a page 1 of its own
    path.with_name("store.db.mark").unlink()


def garble_the_wal_header(path: Path) -> None:
    flip(wal(path), 17)


def garble_the_wal(path: Path) -> None:
    flip(wal(path), wal(path).stat().st_size // 2)


def garble_the_last_frame(path: Path) -> None:
    flip(wal(path), wal(path).stat().st_size - 100)


def cut_the_wal(path: Path) -> None:
    os.truncate(wal(path), wal(path).stat().st_size // 2)


def empty_the_wal(path: Path) -> None:
    os.truncate(wal(path), 0)


def remove_the_wal(path: Path) -> None:
    wal(path).unlink()


def put_text_in_its_place(path: Path) -> None:
    path.write_text("apiVersion: v1\n" * 400)


KINDS = [
    empty_the_file,
    leave_a_few_bytes,
    leave_one_page,
    remove_the_file,
    garble_the_magic,
    garble_the_wal_header,
    garble_the_wal,
    garble_the_last_frame,
    cut_the_wal,
    empty_the_wal,
    remove_the_wal,
    put_text_in_its_place,
]


@pytest.mark.parametrize("damage", KINDS, ids=lambda damage: damage.__name__)
def test_what_lost_something_is_refused_with_what_to_do_and_nothing_is_changed(
    crashed: tuple[Path, list[Record]], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = copy_of(crashed[0], tmp_path)
    damage(path)
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreCorrupt) as refused:
            Store.open(path)
    message = str(refused.value)
    assert message.startswith(f"{path} ")
    assert "restore a backup over it" in message
    assert "\n" not in message
    assert contents(tmp_path) == before


@settings(max_examples=part_of(80), deadline=None)
@given(data=st.data())
def test_one_wrong_byte_anywhere_loses_nothing_silently(
    crashed: tuple[Path, list[Record]], data: st.DataObject
) -> None:
    folder, records = crashed
    name = data.draw(st.sampled_from(["store.db", "store.db-wal"]))
    size = (folder / name).stat().st_size
    at = data.draw(st.one_of(st.integers(0, size - 1), st.integers(0, 200), st.integers(4096, 4200)))
    with TemporaryDirectory() as copied:
        path = copy_of(folder, Path(copied))
        content = bytearray(path.with_name(name).read_bytes())
        content[at] ^= data.draw(st.integers(1, 255))
        path.with_name(name).write_bytes(content)
        before = contents(path.parent)
        try:
            found = opened(path)
        except TensorFusionError as error:
            assert str(path) in str(error)
            assert contents(path.parent) == before
        else:
            assert found == records


@settings(max_examples=part_of(40), deadline=None)
@given(data=st.data())
def test_one_wrong_byte_in_a_closed_store_loses_nothing_silently(
    closed: tuple[Path, list[Record]], data: st.DataObject
) -> None:
    """Without a WAL over it, every page counts."""
    folder, records = closed
    with TemporaryDirectory() as copied:
        path = copy_of(folder, Path(copied))
        content = bytearray(path.read_bytes())
        at = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(0, len(content) // 4096 - 1)))
        if at < len(content) // 4096:
            at = at * 4096 + data.draw(st.integers(0, 40))  # the header of a page
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        before = contents(path.parent)
        try:
            found = opened(path)
        except TensorFusionError as error:
            assert str(path) in str(error)
            assert contents(path.parent) == before
        else:
            assert found == records


def test_without_its_mark_a_store_is_taken_as_it_is(crashed: tuple[Path, list[Record]], tmp_path: Path) -> None:
    path = copy_of(crashed[0], tmp_path)
    remove_the_wal(path)
    path.with_name("store.db.mark").unlink()
    assert 0 < len(opened(path)) < len(crashed[1])
    assert path.with_name("store.db.mark").exists()


@pytest.mark.parametrize("content", [b"", b"no mark", b"00000000000000099999 00000000\n", b"\xff" * 30])
def test_a_mark_that_cannot_be_read_claims_nothing(
    crashed: tuple[Path, list[Record]], tmp_path: Path, content: bytes
) -> None:
    path = copy_of(crashed[0], tmp_path)
    path.with_name("store.db.mark").write_bytes(content)
    assert opened(path) == crashed[1]


def test_a_store_moved_away_whole_leaves_an_empty_one(crashed: tuple[Path, list[Record]], tmp_path: Path) -> None:
    path = copy_of(crashed[0], tmp_path)
    path.unlink()
    wal(path).unlink()
    assert opened(path) == []
    assert opened(path) == []


def test_a_restored_store_satisfies_the_mark_of_the_damaged_one(
    crashed: tuple[Path, list[Record]], tmp_path: Path
) -> None:
    path = copy_of(crashed[0], tmp_path)
    backup_file(path, tmp_path / "backup.db")
    cut_the_wal(path)
    damaged = wal(path).read_bytes()
    Store.restore(path, tmp_path / "backup.db")
    assert opened(path) == crashed[1]
    assert path.with_name("store.db.replaced-wal").read_bytes() == damaged


def test_nothing_is_backed_up_of_an_emptied_store_and_its_wal_stays(
    crashed: tuple[Path, list[Record]], tmp_path: Path
) -> None:
    path = copy_of(crashed[0], tmp_path)
    empty_the_file(path)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="is empty, but"):
        backup_file(path, tmp_path / "backup.db")
    assert contents(tmp_path) == before


def test_a_row_that_is_gone_without_a_trace_in_the_pages_is_missed(tmp_path: Path) -> None:
    """The newest row, taken out by another program: pages and rows are right, only the mark knows."""
    path = tmp_path / "store.db"

    async def fill() -> None:
        async with Store.open(path) as store:
            for name in "ab":
                await store.put(pod(name), expected=0, make=record_maker(pod(name)))

    asyncio.run(fill())
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM objects WHERE name = 'b'")
    connection.close()
    with pytest.raises(StoreCorrupt, match="it ends at revision 2, but 3 was acknowledged"):
        Store.open(path)
