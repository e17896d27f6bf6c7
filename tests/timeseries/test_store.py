"""What is written to the embedded store is there, typed as it was written, once, and whatever happens to the process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tensorfusion.errors import StoreCorrupt, StoreError, StoreLocked, StoreUnwritable
from tensorfusion.timeseries.encoder import Field, Table
from tensorfusion.timeseries.errors import ColumnConflict, LineError, StoreBusy
from tensorfusion.timeseries.points import Kind
from tensorfusion.timeseries.store import Store, StoreLimits

NOW = 1_796_018_565_901_023_716
PROGRAM = Path(__file__).with_name("store_program.py")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "metrics" / "store.duckdb", now=lambda: NOW)
    yield opened
    await opened.close()


async def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return (await store.query(sql)).rows


async def test_a_table_is_made_by_its_first_row(store: Store) -> None:
    assert await store.write('gpu,node=n1 load=0.5,count=2i,big=3u,ready=t,why="x, y" 17') == 1
    found = await store.query("SELECT * FROM gpu")
    assert [(column.name, column.kind) for column in found.columns] == [
        ("greptime_timestamp", "TimestampNanosecond"),
        ("node", "String"),
        ("load", "Float64"),
        ("count", "Int64"),
        ("big", "UInt64"),
        ("ready", "Boolean"),
        ("why", "String"),
    ]
    assert found.rows == [(17, "n1", 0.5, 2, 3, True, "x, y")]


async def test_columns_come_with_the_rows_that_have_them(store: Store) -> None:
    await store.write("gpu,node=n1 load=0.5 1\ngpu,pool=p watts=3i 2")
    await store.write("gpu,node=n2 hot=true 3")
    assert await rows(store, "SELECT node, pool, load, watts, hot FROM gpu ORDER BY greptime_timestamp") == [
        ("n1", None, 0.5, None, None),
        (None, "p", None, 3, None),
        ("n2", None, None, None, True),
    ]


async def test_a_time_is_kept_to_the_ns_and_that_of_arrival_is_the_stores(store: Store) -> None:
    await store.write(f"a x=1 {NOW - 1}\na x=2")
    assert await rows(store, "SELECT greptime_timestamp FROM a ORDER BY x") == [(NOW - 1,), (NOW,)]


async def test_a_declared_table_has_its_own_time_column(tmp_path: Path) -> None:
    table = Table("tf_gpu_usage", ("node",), (Field("rx", Kind.FLOAT),), time_column="ts")
    store = await Store.open(tmp_path / "s.duckdb", tables=[table])
    await store.write("tf_gpu_usage,node=n rx=1 5\nother x=1 6")
    assert await rows(store, "SELECT ts FROM tf_gpu_usage") == [(5,)]
    assert await rows(store, "SELECT greptime_timestamp FROM other") == [(6,)]
    await store.close()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a x=1i", "table a, column x: wanted field of type Float64, found field of type Int64"),
        ("a,x=1 y=1", "table a, column x: wanted field of type Float64, found tag of type String"),
        ('a t="v"', "table a, column t: wanted tag of type String, found field of type String"),
        (
            "a greptime_timestamp=1",
            "table a, column greptime_timestamp: wanted time of type TimestampNanosecond, found",
        ),
        ("a X=1", "table a, column X: wanted the name x, found X, which differs in case only"),
        ("A x=1", "table A: wanted the name a, found A, which differs in case only"),
        ("new v=1\nnew v=2i", "table new, column v: wanted field of type Float64, found field of type Int64"),
        ("new v=1\nNEW v=2", "table NEW: wanted the name new, found NEW, which differs in case only"),
        ("new v=1,V=2", "table new, column V: wanted the name v, found V, which differs in case only"),
        (f"new {'v' * 200}=1", "a name of at most 128 printable characters"),
    ],
)
async def test_what_does_not_fit_a_table_is_refused_whole(store: Store, text: str, complaint: str) -> None:
    await store.write("a,t=v x=1 1")
    with pytest.raises(ColumnConflict, match=complaint.replace("(", r"\(")):
        await store.write(f"fine x=1 1\n{text}")
    assert list(store.tables) == ["a"]
    assert await rows(store, "SELECT count(*) FROM a") == [(1,)]
    assert await store.write("a,t=w x=2 2") == 1


async def test_a_bad_line_keeps_the_whole_text_out(store: Store) -> None:
    with pytest.raises(LineError, match="line 2"):
        await store.write("a x=1 1\nb x= 2")
    assert list(store.tables) == []


async def test_an_unknown_precision_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="precision"):
        await store.write("a x=1 1", precision="days")


async def test_writers_that_come_together_each_get_their_own_answer(store: Store) -> None:
    texts = [f"t,n=n{number % 7} v={number} {number}" for number in range(200)]
    texts[50] = "t v=1i 1"
    texts[90] = "no line"
    answers = await asyncio.gather(*(store.write(text) for text in texts), return_exceptions=True)
    assert isinstance(answers[50], ColumnConflict)
    assert isinstance(answers[90], LineError)
    assert [answer for place, answer in enumerate(answers) if place not in (50, 90)] == [1] * 198
    assert await rows(store, "SELECT count(*), count(DISTINCT v) FROM t") == [(198, 198)]


async def test_a_batch_that_is_sent_again_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "s.duckdb"
    store = await Store.open(file, now=lambda: NOW)
    assert await store.write("a x=1 1\na x=2 2", batch="b1") == 2
    assert await store.write("a x=1 1\na x=2 2", batch="b1") == 0
    twice = await asyncio.gather(*(store.write("a x=3 3", batch="b2") for _ in range(5)))
    assert sorted(twice) == [0, 0, 0, 0, 1]
    await store.close()
    store = await Store.open(file, now=lambda: NOW)
    assert await store.write("a x=1 1\na x=2 2", batch="b1") == 0
    assert await rows(store, "SELECT count(*) FROM a") == [(3,)]
    await store.close()


async def test_a_batch_that_was_refused_may_come_again(store: Store) -> None:
    await store.write("a x=1 1")
    with pytest.raises(ColumnConflict):
        await store.write("a x=1i 1", batch="b")
    assert await store.write("a x=2 1", batch="b") == 1


async def test_ids_of_batches_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    moment = [NOW]
    store = await Store.open(tmp_path / "s.duckdb", now=lambda: moment[0])
    await store.write("a x=1", batch="b1")
    moment[0] += 3_599 * 1_000_000_000
    await store.retain()
    assert await store.write("a x=1", batch="b1") == 0
    moment[0] += 2 * 1_000_000_000
    await store.retain()
    assert await store.write("a x=1", batch="b1") == 1
    await store.close()


async def test_more_than_it_may_hold_is_put_off(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.duckdb", limits=StoreLimits(waiting=100))
    large = "a x=1 " + "1" * 18 + "\n" * 200
    first = asyncio.create_task(store.write(large))
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy, match="characters wait to be written: send again later"):
        await store.write("b x=1 1")
    assert await first == 1
    assert await store.write("b x=1 1") == 1
    await store.close()


async def test_tables_and_columns_are_bounded(store: Store) -> None:
    with pytest.raises(ColumnConflict, match="table a: wanted at most 500 columns, found more"):
        await store.write("a " + ",".join(f"f{number}=1" for number in range(500)))
    with pytest.raises(ColumnConflict, match="wanted at most 1000 tables, found one more"):
        await store.write("\n".join(f"t{number} x=1" for number in range(1001)))
    assert list(store.tables) == []


async def test_names_that_look_like_sql_are_names(store: Store) -> None:
    await store.write('t"\\;\\ DROP,a"b=1 c\'d=2 1')
    shape = store.tables['t"\\; drop']
    assert [column.name for column in shape.columns.values()] == ["greptime_timestamp", 'a"b', "c'd"]
    assert await rows(store, 'SELECT "a""b", "c\'d" FROM "t""\\; DROP"') == [("1", 2.0)]


async def test_after_closing_nothing_is_taken(store: Store) -> None:
    await store.close()
    for asked in (store.write("a x=1"), store.query("SELECT 1"), store.retain(), store.size()):
        with pytest.raises(StoreError, match="it is closed"):
            await asked


async def test_closing_ends_what_is_being_written(tmp_path: Path) -> None:
    file = tmp_path / "s.duckdb"
    store = await Store.open(file)
    under_way = [asyncio.create_task(store.write(f"a x={number} {number}")) for number in range(5)]
    await asyncio.sleep(0)
    await store.close()
    answers = await asyncio.gather(*under_way, return_exceptions=True)
    kept = sum(answer for answer in answers if isinstance(answer, int))
    assert all(isinstance(answer, int | StoreError) for answer in answers)
    store = await Store.open(file)
    assert await rows(store, "SELECT count(*) FROM a") == [(kept,)]
    await store.close()


async def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "s.duckdb"
    file.write_bytes(b"precious" * 1000)
    with pytest.raises(StoreCorrupt, match="wanted a DuckDB file, found another: it is left as it is"):
        await Store.open(file)
    assert file.read_bytes() == b"precious" * 1000


async def test_a_file_that_is_not_whole_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "s.duckdb"
    store = await Store.open(file)
    await store.write("a x=1 1")
    await store.close()
    half = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(half)
    with pytest.raises(StoreCorrupt, match=r"s\.duckdb: cannot be read: .*: it is left as it is"):
        await Store.open(file)
    assert file.read_bytes() == half


async def test_a_place_that_takes_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("no folder")
    with pytest.raises(StoreUnwritable, match="its folder cannot be made"):
        await Store.open(tmp_path / "taken" / "s.duckdb")
    with pytest.raises(StoreUnwritable, match="cannot be opened: "):
        await Store.open(Path("/proc/s.duckdb"))


async def test_only_its_owner_enters_the_folder_that_it_made(store: Store) -> None:
    assert store.file.parent.stat().st_mode & 0o077 == 0


async def test_two_processes_cannot_have_it_open(tmp_path: Path) -> None:
    child = await _child("hold", tmp_path / "s.duckdb")
    try:
        assert (await child.stdout.readline()).strip() == b"open"
        with pytest.raises(StoreLocked, match="another process has it open"):
            await Store.open(tmp_path / "s.duckdb")
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, acknowledged: int) -> None:
    file = tmp_path / "s.duckdb"
    child = await _child("write", file)
    told = 0
    while told < acknowledged:
        told = int(await child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    rest = await child.stdout.read()  # what it told before it ended counts, too
    told = max([told, *(int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n"))])
    await child.wait()
    store = await Store.open(file)
    (found,) = await rows(store, "SELECT count(*), count(DISTINCT n), max(n) FROM a")
    assert found[0] == found[1] == found[2] >= told
    assert found[0] % 100 == 0  # a batch is there whole or not at all
    assert await store.write(f"a n={found[0] + 1}i 1") == 1
    await store.close()


async def test_a_full_disk_is_said_and_passes(tmp_path: Path) -> None:
    child = await _child("fill", tmp_path / "s.duckdb")
    said = (await child.stdout.read()).decode().splitlines()
    assert await child.wait() == 0, said
    assert said[0].startswith("StoreUnwritable: metrics store ")
    assert said[1:] == ["failing", "then 1", "well", "all there"]


async def _child(what: str, file: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), what, str(file), stdout=asyncio.subprocess.PIPE
    )
