"""The file and its WAL stay within three times of what lives in the store, whatever comes and goes.

While as much comes as goes this holds at every moment. Where much goes at once it holds again as soon as the store had
a moment for it, without a restart. The default runs are short; the long one goes through every kind of churn for as
long as ``TENSORFUSION_CHURN_SECONDS`` says.
"""

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tensorfusion.embedded import store_space
from tensorfusion.embedded.store import Record, Store
from tensorfusion.embedded.store_space import ROOM
from tensorfusion.testing.records import pod, record_maker

SECONDS = int(os.environ.get("TENSORFUSION_CHURN_SECONDS", "600"))
BATCH = 50


class Churn:
    """Writes to a store, and the account of what lives in it."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store, self.path = store, path
        self.live: dict[str, int] = {}
        self.written = 0
        self.worst = 0.0

    def on_disk(self) -> int:
        wal = self.path.with_name(self.path.name + "-wal")
        return self.path.stat().st_size + wal.stat().st_size

    def check(self) -> None:
        live = sum(self.live.values())
        assert self.on_disk() <= 3 * live + ROOM, f"{self.on_disk()} bytes on disk for {live} that live"
        self.worst = max(self.worst, (self.on_disk() - ROOM) / max(live, 1))

    async def put(self, name: str, size: int) -> None:
        key = pod(name)
        current = self.store.latest(key)
        make = record_maker(key, "x" * size)
        record = await self.store.put(key, expected=current.revision if current else 0, make=make)
        self.live[name] = len(record.data)
        self.written += len(record.data)

    async def remove(self, name: str) -> None:
        key = pod(name)
        current = self.store.latest(key)
        assert current is not None
        await self.store.remove(key, expected=current.revision, make=record_maker(key))
        del self.live[name]

    async def put_many(self, sizes: Iterator[tuple[str, int]]) -> None:
        """In batches, as requests come; within bounds behind each."""
        batch = []
        for name, size in sizes:
            batch.append(self.put(name, size))
            if len(batch) == BATCH:
                await asyncio.gather(*batch)
                batch = []
                self.check()
        await asyncio.gather(*batch)

    async def settled(self) -> None:
        """The store had the time for what it does between commits."""
        while self.store._tidying or self.store._log.due:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("smallest", "largest"), [(50, 300), (300, 3900), (2000, 2050), (200, 20_000)], ids=lambda size: str(size)
)
async def test_updates_of_any_size_stay_within_three_times(
    store: Store, path: Path, smallest: int, largest: int
) -> None:
    churn, dice = Churn(store, path), random.Random(largest)
    count = 2_400_000 // (smallest + largest + 400) + 200
    await churn.put_many((f"p{number}", dice.randint(smallest, largest)) for number in range(count))
    await churn.put_many((f"p{dice.randrange(count)}", dice.randint(smallest, largest)) for _ in range(3 * count))
    assert churn.written > 2_000_000


async def test_objects_that_come_and_go_stay_within_three_times(store: Store, path: Path) -> None:
    churn = Churn(store, path)
    for start in range(0, 2500, BATCH):
        await asyncio.gather(*(churn.put(f"p{number}", 3000) for number in range(start, start + BATCH)))
        if start >= 500:
            await asyncio.gather(*(churn.remove(f"p{number}") for number in range(start - 500, start - 500 + BATCH)))
        churn.check()


async def test_when_all_objects_shrink_the_file_follows_without_a_restart(store: Store, path: Path) -> None:
    churn = Churn(store, path)
    await churn.put_many((f"p{number}", 3900) for number in range(3000))
    large = churn.on_disk()
    await asyncio.gather(*(churn.put(f"p{number}", 50) for number in range(3000)))
    await churn.settled()
    churn.check()
    assert churn.on_disk() < large / 3


async def test_when_most_objects_go_the_file_follows_without_a_restart_and_what_is_left_is_whole(path: Path) -> None:
    async with Store.open(path) as store:
        churn = Churn(store, path)
        await churn.put_many((f"p{number}", 2000 + number % 700) for number in range(4000))
        large = churn.on_disk()
        for start in range(0, 4000, 500):
            gone = [number for number in range(start, start + 500) if number % 16]
            await asyncio.gather(*(churn.remove(f"p{number}") for number in gone))
        await churn.settled()
        churn.check()
        assert churn.on_disk() < large / 3
        left, last = [*store.scan("pods")], store.revision
        assert len(left) == 250
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    async with Store.open(path) as reopened:
        assert [*reopened.scan("pods")] == left
        assert reopened.revision == last


@pytest.mark.parametrize(("sparse", "passes"), [(2.25, 0), (0.5, 33)])
async def test_what_cannot_be_packed_better_is_not_rewritten_over_and_over(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, sparse: float, passes: int
) -> None:
    """Just over half a page: one row a page is the best there is. And a bound that no pass can reach is no loop."""
    monkeypatch.setattr(store_space, "_SPARSE", sparse)
    churn = Churn(store, path)
    await churn.put_many((f"p{number}", 1950) for number in range(1000))
    await churn.settled()
    statements: list[str] = []
    store._log._space._connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
    for _ in range(4):
        await churn.put_many((f"p{number}", 1950) for number in range(1000))
        await churn.settled()
    begun = [text for text in statements if text.startswith("DELETE FROM objects WHERE slot BETWEEN 1 AND ")]
    assert len(begun) <= passes


async def test_a_backup_under_way_lets_the_wal_grow_only_for_its_time(path: Path) -> None:
    async with Store.open(path) as store:
        churn = Churn(store, path)
        await churn.put_many((f"p{number}", 2500) for number in range(1500))
        reader = sqlite3.connect(path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM objects").fetchone()
        for _ in range(6):
            await asyncio.gather(*(churn.put(f"p{number}", 2500) for number in range(1500)))
        grown = churn.on_disk()
        reader.close()
        await asyncio.gather(*(churn.put(f"p{number}", 2500) for number in range(1500)))
        await churn.settled()
        churn.check()
        assert churn.on_disk() < grown


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
async def test_every_kind_of_churn_for_a_long_time(path: Path) -> None:
    churned, dice, ends = 0, random.Random(11), time.monotonic() + SECONDS
    worst = 0.0
    while time.monotonic() < ends:
        async with Store.open(path) as store:
            churn = Churn(store, path)
            churn.live = {record.key.name: len(record.data) for record in store.scan("pods")}
            for _ in range(4):
                await turn(churn, dice)
            await churn.settled()
            churn.check()
            kept: list[Record] = [*store.scan("pods")]
            churned, worst = churned + churn.written, max(worst, churn.worst)
        async with Store.open(path) as store:
            assert [*store.scan("pods")] == kept
    print(f"{churned >> 20} MiB of churn; at worst {worst:.2f} times the live bytes")


async def turn(churn: Churn, dice: random.Random) -> None:
    """One kind of churn, on a store that may come from any other kind; the bound is asked for when it settled."""
    count = dice.randint(500, 4000)
    sizes = dice.choice([(50, 300), (300, 3900), (1950, 2050), (200, 20_000)])
    for number in range(count):
        await churn.put(f"p{number}", dice.randint(*sizes))
    await churn.settled()
    churn.check()
    await churn.put_many((f"p{dice.randrange(count)}", dice.randint(*sizes)) for _ in range(count))
    if dice.random() < 0.5:
        for name in dice.sample(sorted(churn.live), len(churn.live) * 9 // 10):
            await churn.remove(name)
