"""A disk that refuses: writers are told, nothing half-done shows, and it works again once the disk does."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tensorfusion.embedded.store import HistoryLimits, Store
from tensorfusion.embedded.store_file import RESERVE, Row, StoreFile
from tensorfusion.errors import StoreUnwritable
from tensorfusion.testing.records import pod, record_maker, value_of


class LimitedLog:
    """A real file whose size can be limited, as a full disk limits it."""

    def __init__(self, path: Path) -> None:
        self.file = StoreFile.open(path)
        self.commits: list[int] = []

    @property
    def reserved(self) -> int:
        return self.file.reserved

    @property
    def due(self) -> bool:
        return self.file.due

    def tidy(self) -> None:
        self.file.tidy()

    def limit(self, *, more_pages: int) -> None:
        connection: sqlite3.Connection = self.file._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + more_pages}").fetchall()

    def commit(self, rows: Sequence[Row], last: int) -> None:
        self.file.commit(rows, last)
        self.commits.append(len(rows))

    def backup(self, target: Path) -> None:
        self.file.backup(target)

    def close(self, last: int) -> None:
        self.file.close(last)


def open_limited(path: Path) -> tuple[Store, LimitedLog]:
    log = LimitedLog(path)
    return Store(log, log.file.load(), history=HistoryLimits()), log


async def test_a_full_disk_fails_the_batch_and_everything_built_on_it_then_recovers(path: Path) -> None:
    store, log = open_limited(path)
    kept = await store.put(pod("kept"), expected=0, make=record_maker(pod("kept"), "before"))
    watch = store.watch("pods", since=store.revision)
    log.limit(more_pages=2)
    large = "x" * 20_000
    first = asyncio.ensure_future(store.put(pod("a"), expected=0, make=record_maker(pod("a"), large)))
    change = asyncio.ensure_future(store.put(pod("kept"), expected=kept.revision, make=record_maker(pod("kept"), "no")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # their commit is under way; what follows queues up behind it
    accepted = store.latest(pod("a"))
    assert accepted is not None
    built_on_it = asyncio.ensure_future(
        store.put(pod("a"), expected=accepted.revision, make=record_maker(pod("a"), "more"))
    )
    outcomes = await asyncio.gather(first, change, built_on_it, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnwritable] * 3
    assert str(outcomes[0]).startswith(
        f"pods default/a: {path}: the write could not be stored (database or disk is full)"
    )
    assert "free space" in str(outcomes[0])
    assert store.latest(pod("a")) is None
    assert value_of(store.latest(pod("kept"))) == value_of(store.get(pod("kept"))) == "before"
    assert store.revision == kept.revision

    log.limit(more_pages=100)
    after = await store.put(pod("a"), expected=0, make=record_maker(pod("a"), large))
    assert after.revision > accepted.revision + 1, "a revision of a failed write was used again"
    assert [event.record for event in await watch.next()] == [after]
    await store.close()
    async with Store.open(path) as reopened:
        assert [value_of(record) for record in reopened.scan("pods")] == [large, "before"]


async def test_a_large_batch_fails_as_a_whole(path: Path) -> None:
    """More rows than one statement takes: the ones that fitted are taken back too."""
    store, log = open_limited(path)
    log.limit(more_pages=30)
    keys = [pod(f"p{number:03}") for number in range(300)]
    writes = [store.put(key, expected=0, make=record_maker(key, "x" * 1000)) for key in keys]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnwritable}
    await store.close()
    async with Store.open(path) as reopened:
        assert list(reopened.scan("pods")) == []


async def test_writes_that_wait_for_a_dead_disk_are_bounded(path: Path) -> None:
    store, log = open_limited(path)
    log.limit(more_pages=0)
    large = record_maker(pod("a"), "x" * 100_000)
    outcomes = await asyncio.gather(
        *(store.put(pod("a"), expected=0, make=large) for _ in range(3)), return_exceptions=True
    )
    assert StoreUnwritable in map(type, outcomes)
    store._allocated = log.reserved - 1  # as after thousands of failed writes
    with pytest.raises(StoreUnwritable):
        await store.put(pod("a"), expected=0, make=large)
    with pytest.raises(StoreUnwritable, match="too many writes wait for the disk"):
        await store.put(pod("a"), expected=0, make=large)
    log.limit(more_pages=1000)
    while log.reserved < store._allocated + RESERVE // 2:  # the refusal itself made the store try again
        await asyncio.sleep(0)
        await store._quiet.wait()
    await store.put(pod("a"), expected=0, make=large)
    await store.close()


LIMITED_PROCESS = """
import asyncio, json, resource, sys
from pathlib import Path
from tensorfusion.embedded.store import Store
from tensorfusion.errors import StoreUnwritable
from tensorfusion.testing.records import pod, record_maker

async def main():
    store = Store.open(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    acknowledged, refused = [], 0
    for number in range(200):
        key = pod(f"p{number:03}")
        try:
            await store.put(key, expected=0, make=record_maker(key, "x" * 5000))
            acknowledged.append(key.name)
        except StoreUnwritable as error:
            refused += 1
            message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.put(pod("z"), expected=0, make=record_maker(pod("z")))
    names = [record.key.name for record in store.scan("pods")]
    await store.close()
    print(json.dumps({"acknowledged": [*acknowledged, "z"], "refused": refused, "message": message, "names": names}))

asyncio.run(main())
"""


async def test_a_file_size_limit_of_the_system_is_survived(path: Path) -> None:
    """The kernel, not SQLite, refuses here: writes fail in the middle of the WAL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LIMITED_PROCESS, str(path), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    result = json.loads(output)
    assert result["refused"] > 0
    assert len(result["acknowledged"]) > 5
    assert "could not be stored" in result["message"]
    assert result["names"] == result["acknowledged"]
    async with Store.open(path) as reopened:
        assert [record.key.name for record in reopened.scan("pods")] == result["acknowledged"]
