"""Values that a caller puts into a query stay values, in both databases."""

import math
from datetime import UTC, datetime, timedelta, timezone

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_store import Served

from tensorfusion.errors import ConfigError
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.errors import DatabaseFailed, DatabaseRefused
from tensorfusion.timeseries.reader import Moment, Reader, bound, identifier, literal

NOW = 1_796_018_565_901_023_716


async def test_a_query_takes_parameters(served: Served) -> None:
    await served.database.write(
        f"gpu,node=it's load=1 {NOW}\ngpu,node=b load=2 {NOW + 1}\ngpu load=3 {NOW + 2}\n".encode()
    )
    reader = Reader(served.database)
    found = await reader.query(
        "SELECT node, load::BIGINT AS n FROM gpu -- not :this\n WHERE node = :node OR load IN :loads OR greptime_timestamp > :when",
        {"node": "it's", "loads": [7.5, 2], "when": Moment(NOW + 1)},
    )
    assert sorted(found.dicts(), key=lambda row: row["n"]) == [
        {"node": "it's", "n": 1},
        {"node": "b", "n": 2},
        {"node": None, "n": 3},
    ]
    assert (await reader.query("SELECT 1 AS x WHERE 1 IN :none", {"none": []})).rows == []


async def test_a_moment_is_exact_to_the_ns(served: Served) -> None:
    await served.database.write(b"a x=1 %d\na x=2 %d\na x=3 %d\n" % (NOW - 1, NOW, NOW + 1))
    reader = Reader(served.database)
    for sign, wanted in (("<", [1.0]), ("=", [2.0]), (">", [3.0])):
        found = await reader.query(f"SELECT x FROM a WHERE greptime_timestamp {sign} :now", {"now": Moment(NOW)})
        assert [row[0] for row in found.rows] == wanted
    when = datetime.fromtimestamp(NOW // 1_000_000_000, timezone(timedelta(hours=9)))
    found = await reader.query("SELECT count(*) FROM a WHERE greptime_timestamp >= :when", {"when": when})
    assert found.rows == [(3,)]


@pytest.mark.parametrize(
    ("sql", "params", "complaint"),
    [
        ("SELECT :a", {}, "wanted a value for :a, found none"),
        ("SELECT 1", {"a": 1, "b": 2}, "wanted a place for every value, found none for a, b"),
        ("SELECT ':a'", {"a": 1}, "found none for a"),
        ("SELECT :a", {"a": math.nan}, "wanted a finite number, found nan"),
        ("SELECT :a", {"a": "x\0y"}, "wanted a text without NUL"),
        ("SELECT :a", {"a": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)}, "wanted a time with its zone"),
    ],
)
def test_what_is_no_value_is_refused(sql: str, params: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        bound(sql, params)


def test_texts_remarks_names_and_casts_are_left_alone() -> None:
    sql = """SELECT ':a', "x:a", 'it''s :a', x::INT, /* :a */ :a::TEXT -- :a"""
    assert bound(sql, {"a": "v"}) == sql.replace(":a::TEXT", "'v'::TEXT")


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_a_text_is_read_back_as_it_was(text: str) -> None:
    assert duckdb.execute(f"SELECT {literal(text)}").fetchone() == (text,)
    assert duckdb.execute(f"SELECT 1 AS {identifier(text or 'x')}").description[0][0] == (text or "x")


@given(
    st.one_of(
        st.integers(-(1 << 63) + 1, (1 << 63) - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
    )
)
def test_a_number_is_read_back_as_it_was(value: float) -> None:
    assert duckdb.execute(
        f"SELECT {literal(value)}::{'DOUBLE' if isinstance(value, float) else 'BIGINT'}"
    ).fetchone() == (value,)


def test_times_and_lists_have_one_spelling() -> None:
    assert literal(Moment(NOW)) == "'2026-11-30 06:02:45.901023716'"
    assert literal(Moment(-1)) == "'1969-12-31 23:59:59.999999999'"
    assert literal(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=3)))) == "'2025-12-31 23:00:00.000000'"
    assert literal(datetime(2026, 1, 1, tzinfo=UTC)) == "'2026-01-01 00:00:00.000000'"
    assert literal(["a'b", None, 1, True]) == "('a''b', NULL, 1, TRUE)"


async def test_what_a_database_refuses_and_what_it_fails_at_are_told_apart(served: Served) -> None:
    with pytest.raises(DatabaseRefused, match=r"query: HTTP 400: query: table nothing: not found") as refused:
        await served.database.sql("SELECT * FROM nothing")
    assert (refused.value.status, refused.value.code) == (400, 4001)
    with pytest.raises(DatabaseRefused, match="write: HTTP 400: line 1"):
        await served.database.write(b"nonsense")
    with pytest.raises(DatabaseRefused, match="HTTP 504"):
        await served.database.sql("SELECT count(*) FROM range(100000000000), range(1000)", seconds=0.05)
    stranger = Database(served.url, password="wrong")
    with pytest.raises(DatabaseFailed, match="HTTP 401"):
        await stranger.write(b"a x=1 1")
    elsewhere = Database(served.url, database="other", password="both-secret")
    with pytest.raises(DatabaseFailed, match="database other: not found"):
        await elsewhere.write(b"a x=1 1")
    nobody = Database("http://127.0.0.1:1", seconds=5)
    with pytest.raises(DatabaseFailed, match=r"metrics database 127\.0\.0\.1:1: write: "):
        await nobody.write(b"a x=1 1")
    for database in (stranger, elsewhere, nobody):
        await database.close()


async def test_a_packed_batch_is_the_same_batch(served: Served) -> None:
    packing = Database(served.url, user="both", password="both-secret", compress=True)
    await packing.write(b"a x=1 1\n", batch="b1")
    await packing.write(b"a x=1 1\n", batch="b1")
    assert (await packing.sql("SELECT count(*) FROM a")).rows == [(1,)]
    await packing.close()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="metrics database: ftp://x: wanted http://HOST"):
        Database("ftp://x")
