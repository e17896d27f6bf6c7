"""The embedded store forgets what is too old, and never grows beyond its bound."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tensorfusion.telemetry.metrics import REGISTRY
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.timeseries.retention_bounds import DAY, Retention
from tensorfusion.timeseries.store import Store

SECOND = 1_000_000_000
NOW = 1_796_018_565 * SECOND
SMALL = 2 << 20


@pytest.fixture
async def bounded(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "s.duckdb", retention=Retention(most_bytes=SMALL), now=lambda: NOW)
    yield store
    await store.close()


async def count(store: Store, table: str) -> int:
    ((found,),) = (await store.query(f"SELECT count(*) FROM {table}")).rows
    return int(found)


async def test_every_table_has_its_own_bound(tmp_path: Path) -> None:
    retention = Retention(DAY, {"slow": 3 * DAY})
    store = await Store.open(tmp_path / "s.duckdb", retention=retention, now=lambda: NOW)
    for table in ("fast", "slow"):
        await store.write("\n".join(f"{table} x=1 {NOW - hours * 3600 * SECOND}" for hours in (0, 24, 25, 72, 73)))
    assert await store.retain() == 3 + 1
    assert await count(store, "fast") == 2
    assert await count(store, "slow") == 4
    assert await store.retain() == 0
    await store.close()


async def test_the_oldest_rows_go_when_the_file_is_too_large(bounded: Store) -> None:
    drawn = random.Random(7)
    newest = 0
    for _ in range(12):
        rows = range(newest, newest + 5_000)
        text = "\n".join(
            f'big,k=k{row % 5} v={drawn.random()},t="{drawn.randbytes(60).hex()}" {NOW + row}' for row in rows
        )
        await bounded.write(text)
        await bounded.write(f"small x=1 {NOW + newest}")
        newest += 5_000
        await bounded.retain()
        assert await bounded.size() <= SMALL
    assert bounded.file.stat().st_size < 3 * SMALL  # room that was freed is used again
    ((first, last, kept),) = (
        await bounded.query("SELECT min(greptime_timestamp), max(greptime_timestamp), count(*) FROM big")
    ).rows
    assert last == NOW + newest - 1
    assert first == last - kept + 1  # only from the old end
    assert 5_000 < kept < newest
    assert await count(bounded, "small") == 12  # it takes no room, so it gives none


async def test_a_reader_under_way_does_not_keep_rows_from_being_forgotten(bounded: Store) -> None:
    await bounded.write("\n".join(f"a x={row} {NOW - 40 * DAY * SECOND + row}" for row in range(1000)))
    found = await bounded.query("SELECT count(*) FROM a")
    assert found.rows == [(1000,)]
    assert await bounded.retain() == 1000
    assert await count(bounded, "a") == 0


async def test_bounds_are_kept_from_time_to_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await Store.open(tmp_path / "s.duckdb", retention=Retention(DAY), now=lambda: NOW)
    await store.write(f"a x=1 {NOW}\na x=2 {NOW - 2 * DAY * SECOND}")
    before = REGISTRY.get_sample_value("tensorfusion_timeseries_store_forgotten_rows_total")
    keeping = asyncio.create_task(store.keep_bounds(clock))
    await clock.advance(59)
    assert await count(store, "a") == 2
    await clock.advance(1)
    while clock.next_wake() is None:  # the thread that deletes is a real one
        await store.size()
    assert await count(store, "a") == 1
    assert REGISTRY.get_sample_value("tensorfusion_timeseries_store_forgotten_rows_total") == (before or 0) + 1
    await store.close()
    await clock.advance(60)  # it fails now, and goes on
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait((keeping,))


async def test_an_empty_store_has_nothing_to_forget(bounded: Store) -> None:
    assert await bounded.retain() == 0
    assert await bounded.size() >= 0
