"""Queries read our tables, in GreptimeDB's types, and reach nothing else."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tensorfusion.timeseries import queries
from tensorfusion.timeseries.errors import QueryRefused, QueryTooLarge, QueryTooLong, Refusal, StoreBusy
from tensorfusion.timeseries.store import Store, StoreLimits

MINUTE = 60_000_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "store.duckdb")
    lines = (f"gpu,node=n{row % 2} load={row}.5,count={row}i {row * MINUTE // 2}" for row in range(10))
    await opened.write("\n".join(lines))
    yield opened
    await opened.close()


async def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return (await store.query(sql)).rows


async def test_an_answer_says_its_types_in_the_words_of_greptimedb(store: Store) -> None:
    found = await store.query(
        "SELECT node, count(*) AS n, sum(count), avg(load), max(greptime_timestamp), 1.5, null, node = 'n0', now()::DATE"
        " FROM gpu GROUP BY node ORDER BY node"
    )
    assert [column.kind for column in found.columns] == [
        "String",
        "Int64",
        "Int64",
        "Float64",
        "TimestampNanosecond",
        "Float64",
        "Null",
        "Boolean",
        "String",
    ]
    assert found.rows[0][:8] == ("n0", 5, 20, 4.5, 4 * MINUTE, 1.5, None, True)


async def test_the_order_of_a_query_is_that_of_its_answer(store: Store) -> None:
    assert await rows(store, "SELECT count FROM gpu ORDER BY greptime_timestamp DESC LIMIT 3") == [(9,), (8,), (7,)]


async def test_columns_of_one_name_are_kept_apart(store: Store) -> None:
    assert await rows(store, "SELECT count, count, node AS count FROM gpu WHERE count = 3") == [(3, 3, "n1")]


async def test_what_greptimedb_calls_otherwise_is_understood(store: Store) -> None:
    assert await rows(store, "SELECT count(*) FROM gpu WHERE greptime_timestamp >= now() - '5m'::INTERVAL") == [(0,)]
    assert await rows(store, "SELECT count(*) FROM public.gpu WHERE greptime_timestamp >= '1970-01-01 00:02:00'") == [
        (6,)
    ]
    binned = "SELECT date_bin(INTERVAL '2 minutes', greptime_timestamp) AS bin, approx_percentile_cont(load, 0.5)"
    found = await store.query(f"{binned} FROM gpu GROUP BY bin ORDER BY bin")
    assert found.columns[0].kind == "TimestampNanosecond"
    assert found.rows == [(0, 2.0), (2 * MINUTE, 6.0), (4 * MINUTE, 9.0)]


async def test_a_query_may_name_parts_of_itself(store: Store) -> None:
    sql = "WITH busy AS (SELECT node, load FROM gpu WHERE load > 5) SELECT node, max(load) FROM busy GROUP BY 1 ORDER BY 1;"
    assert await rows(store, sql) == [("n0", 8.5), ("n1", 9.5)]


@pytest.mark.parametrize("end", [";", " ;\n ", " -- a remark", "\n-- a remark\n"])
async def test_ends_and_remarks_do_no_harm(store: Store, end: str) -> None:
    assert await rows(store, f"SELECT 1{end}") == [(1,)]


@pytest.mark.parametrize(
    ("sql", "why", "complaint"),
    [
        ("", Refusal.STATEMENT, "wanted one statement, found 0"),
        ("SELECT 1; SELECT 2", Refusal.STATEMENT, "wanted one statement, found 2"),
        ("DELETE FROM gpu", Refusal.STATEMENT, "wanted a SELECT, found DELETE"),
        ("CREATE TABLE a (ts TIMESTAMP(9), TIME INDEX (ts))", Refusal.STATEMENT, "wanted a SELECT, found CREATE"),
        ("TQL EVAL (0, 10, '5s') gpu", Refusal.STATEMENT, "wanted a SELECT, found TQL"),
        ("DROP TABLE gpu", Refusal.STATEMENT, "wanted a SELECT, found DROP"),
        ("INSERT INTO gpu SELECT * FROM gpu", Refusal.STATEMENT, "wanted a SELECT, found INSERT"),
        ("WITH a AS (SELECT 1) DELETE FROM gpu", Refusal.STATEMENT, "wanted a SELECT, found DELETE"),
        ("SET threads = 8", Refusal.STATEMENT, "wanted a SELECT, found"),
        ("ATTACH '/tmp/other.duckdb'", Refusal.STATEMENT, "wanted a SELECT, found ATTACH"),
        ("COPY gpu TO '/tmp/gpu.csv'", Refusal.STATEMENT, "wanted a SELECT, found COPY"),
        ("LOAD httpfs", Refusal.STATEMENT, "wanted a SELECT, found LOAD"),
        ("CHECKPOINT", Refusal.STATEMENT, "wanted a SELECT, found"),
        ("EXPLAIN SELECT 1", Refusal.STATEMENT, "wanted a SELECT, found EXPLAIN"),
        ("SHOW TABLES", Refusal.STATEMENT, "found SHOW or DESCRIBE: ask information_schema.columns"),
        ("SUMMARIZE gpu", Refusal.STATEMENT, "found SHOW or DESCRIBE"),
        ("SELECT * FROM read_csv('/etc/passwd')", Refusal.STATEMENT, "function read_csv: not given to queries in FROM"),
        ("SELECT * FROM read_text('/etc/passwd')", Refusal.STATEMENT, "function read_text: not given"),
        ("SELECT * FROM glob('/*')", Refusal.STATEMENT, "function glob: not given"),
        ("SELECT * FROM query('SELECT 1')", Refusal.STATEMENT, "function query: not given"),
        ("SELECT (SELECT max(name) FROM duckdb_settings())", Refusal.STATEMENT, "function duckdb_settings: not given"),
        ("SELECT repeat('x', 1000000000)", Refusal.STATEMENT, "function repeat: not given to queries"),
        ("SELECT replace(node, 'n', 'nnnnnnnn') FROM gpu", Refusal.STATEMENT, "function replace: not given"),
        ("SELECT range(1000000000)", Refusal.STATEMENT, "function range: not given to queries"),
        (
            "SELECT sum(x) FROM range(length(lpad('x', 1000000000, 'y'))) r(x)",
            Refusal.STATEMENT,
            "function lpad: not given",
        ),
        ("SELECT max(getenv('HOME')) OVER ()", Refusal.STATEMENT, "function getenv: not given"),
        (
            "SELECT list(node) OVER (ORDER BY write_log('x')) FROM gpu",
            Refusal.STATEMENT,
            "function write_log: not given",
        ),
        (
            "WITH RECURSIVE t AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM t) SELECT * FROM t",
            Refusal.STATEMENT,
            "RECURSIVE",
        ),
        ("SELECT node||node||node||node||node||node FROM gpu", Refusal.STATEMENT, "joined at most 4 times, found 5"),
        ("SELECT current_setting('home_directory')", Refusal.STATEMENT, "function current_setting: not given"),
        ("SELECT * FROM '/etc/passwd'", Refusal.TABLE, "table /etc/passwd: not found"),
        ("SELECT * FROM duckdb_settings", Refusal.TABLE, "table duckdb_settings: not found"),
        ("WITH duckdb_settings AS (SELECT 1) SELECT * FROM duckdb_settings", Refusal.TABLE, "not found"),
        ("SELECT * FROM main.batches", Refusal.TABLE, "table main.batches: not found"),
        ("SELECT * FROM store.public.gpu", Refusal.TABLE, "table store.public.gpu: not found"),
        ("SELECT * FROM gpus", Refusal.TABLE, "table gpus: not found"),
        ("SELECT loud FROM gpu", Refusal.COLUMN, 'Referenced column "loud" not found'),
        ("SELECT load FRM gpu", Refusal.SYNTAX, 'syntax error at or near "gpu"'),
        ("SELECT nothing_known(load) FROM gpu", Refusal.STATEMENT, "function nothing_known: not given to queries"),
        (
            "SELECT node + load FROM gpu",
            Refusal.PLAN,
            "No function matches the given name and argument types '+(VARCHAR, DOUBLE)'",
        ),
        ("SELECT node::DOUBLE FROM gpu", Refusal.RUN, "Could not convert string 'n0'"),
        ("SELECT 1)", Refusal.SYNTAX, "syntax error"),
        ("SELECT 1 FROM gpu) UNION (SELECT 2", Refusal.SYNTAX, "syntax error"),
        ("SELECT '" + "x" * 70_000 + "'", Refusal.STATEMENT, "wanted at most 65536 characters, found 700"),
    ],
)
async def test_what_is_no_select_on_our_tables_is_refused(store: Store, sql: str, why: Refusal, complaint: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        await store.query(sql)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.why is why
    assert await rows(store, "SELECT count(*) FROM gpu") == [(10,)]


async def test_a_query_that_takes_too_long_is_stopped_and_the_next_one_is_not(store: Store) -> None:
    endless = "SELECT count(*) FROM range(100000000000) a(x), range(1000) WHERE x % 7 = 1"
    with pytest.raises(QueryTooLong, match=r"wanted an answer within 0.05 s"):
        await store.query(endless, seconds=0.05)
    for _ in range(20):
        assert await rows(store, "SELECT count(*) FROM gpu") == [(10,)]


async def test_a_query_that_waits_for_its_turn_too_long_is_not_begun(store: Store) -> None:
    endless = "SELECT count(*) FROM range(100000000000) a(x), range(1000) WHERE x % 7 = 1"
    asked = (
        store.query(endless, seconds=0.2),
        store.query(endless, seconds=0.2),
        store.query("SELECT 1", seconds=0.01),
    )
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [QueryTooLong] * 3


async def test_a_query_that_nobody_waits_for_is_stopped(store: Store) -> None:
    endless = "SELECT count(*) FROM range(100000000000) a(x), range(1000) WHERE x % 7 = 1"
    for _ in range(2):
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await store.query(endless, seconds=10)
    assert await rows(store, "SELECT 1") == [(1,)]  # both readers are free again


async def test_more_rows_than_an_answer_may_have_are_an_error_and_no_part(store: Store) -> None:
    with pytest.raises(QueryTooLarge, match="wanted at most 5 rows, found more"):
        await store.query("SELECT * FROM gpu", rows=5)
    assert len(await rows(store, "SELECT * FROM gpu")) == 10
    assert len((await store.query("SELECT * FROM gpu", rows=10)).rows) == 10


async def test_what_a_query_may_ask_for_is_bounded_by_the_store(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.duckdb", limits=StoreLimits(query_rows=3, query_seconds=2, queries=2))
    with pytest.raises(QueryTooLarge):
        await store.query("SELECT * FROM range(4)", rows=1000)
    with pytest.raises(QueryTooLong, match="within 2 s"):
        await store.query("SELECT count(*) FROM range(100000000000) a(x), range(1000) WHERE x % 7 = 1", seconds=60)
    answers = await asyncio.gather(*(store.query("SELECT 1") for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(answer, StoreBusy) for answer in answers) == 2
    await store.close()


async def test_a_query_that_needs_more_memory_than_there_is_fails_alone(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.duckdb", limits=StoreLimits(memory=64 << 20, spill=1 << 20))
    with pytest.raises(QueryRefused, match="Out of Memory") as caught:
        await store.query("SELECT length(string_agg('" + "x" * 1000 + "', '')) FROM range(1000000)")
    assert caught.value.why is Refusal.RUN
    assert await store.write("a x=1 1") == 1
    assert await rows(store, "SELECT count(*) FROM a") == [(1,)]
    await store.close()


async def test_readers_see_one_moment_while_somebody_writes(store: Store) -> None:
    async def write() -> None:
        for number in range(30):
            await store.write(f"pair side=1i {number}\npair side=2i {number}")

    writing = asyncio.create_task(write())
    seen = []
    while not writing.done():
        if "pair" in store.tables:
            seen.extend(await rows(store, "SELECT count(*) FILTER (side = 1), count(*) FILTER (side = 2) FROM pair"))
        await asyncio.sleep(0)
    await writing
    assert seen
    assert all(one == two for one, two in seen)


async def test_what_metrics_are_asked_with_is_let_in(store: Store) -> None:
    parts = (
        "count(*) FILTER (load > 1.5)",
        "sum(load) / nullif(count(*), 0)",
        "round(100 - avg(load), 2)",
        "quantile_cont(load, 0.95)",
        "stddev(load)",
        "arg_max(node, load)",
        "coalesce(max(CASE WHEN node LIKE 'n%' THEN load END), 0)",
        "max(lower(node) || '-' || left(node, 1))",
        "date_diff('second', min(greptime_timestamp), max(greptime_timestamp))",
        "extract(hour FROM max(greptime_timestamp))",
        "count(DISTINCT node)",
        "string_agg(node, ',' ORDER BY node)",
        "max(greptime_timestamp) - INTERVAL '1 minute' < now()",
        "min(date_trunc('hour', greptime_timestamp))",
    )
    ((*found,),) = await rows(
        store, f"SELECT {', '.join(parts)} FROM gpu WHERE node IN ('n0', 'n1') AND load BETWEEN 0 AND 99"
    )
    assert found[:3] == [8, 5.0, 95.0]
    windows = "sum(load) OVER (PARTITION BY node ORDER BY greptime_timestamp), lag(load) OVER (ORDER BY load), row_number() OVER ()"
    assert len(await rows(store, f"SELECT {windows} FROM gpu")) == 10
    assert await rows(store, "SELECT x FROM range(3) r(x) UNION ALL SELECT unnest([7]) ORDER BY 1") == [
        (0,),
        (1,),
        (2,),
        (7,),
    ]


async def test_long_texts_together_are_too_large(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_TEXT", 1000)
    await store.write("\n".join(f't s="{"x" * 600}" {number}' for number in range(2)))
    with pytest.raises(QueryTooLarge, match="wanted at most 1000 characters of text, found more"):
        await store.query("SELECT s FROM t")
    assert len(await rows(store, "SELECT s FROM t LIMIT 1")) == 1


async def test_numbers_that_json_has_no_word_for_are_given_as_they_are(store: Store) -> None:
    ((infinite, missing),) = await rows(store, "SELECT 'inf'::DOUBLE, 'nan'::DOUBLE")
    assert infinite == math.inf
    assert isinstance(missing, float)
    assert math.isnan(missing)
