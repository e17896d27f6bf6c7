"""Points become lines and lines points, and what cannot be written bends nothing else."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.timeseries import lines
from tensorfusion.timeseries.encoder import Field, Table, compiled, encode
from tensorfusion.timeseries.errors import LineError
from tensorfusion.timeseries.parser import parse
from tensorfusion.timeseries.points import LEAST_INT, MOST_INT, MOST_UNSIGNED, Kind, Point, Unsigned

NOW = 1_796_018_565_901_023_716

GPU = Table(
    "gpu_usage",
    ("node", "pool"),
    (
        Field("count", Kind.INT),
        Field("load", Kind.FLOAT),
        Field("ready", Kind.BOOL),
        Field("reason", Kind.STRING, optional=True),
        Field("watts", Kind.FLOAT, optional=True),
        Field("total", Kind.UNSIGNED, optional=True),
    ),
)

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
values = st.one_of(
    st.booleans(),
    st.integers(LEAST_INT, MOST_INT),
    st.integers(0, MOST_UNSIGNED).map(Unsigned),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
)
points = st.builds(
    Point,
    words,
    st.dictionaries(words, words, max_size=4),
    st.dictionaries(words, values, min_size=1, max_size=5),
    st.none() | st.integers(LEAST_INT, MOST_INT),
)


def writable(text: str) -> str:
    """What is left of a name or a tag on the wire."""
    return "".join(" " if char in "\t\n\r" else char for char in text).rstrip("\\")


def plain(text: str) -> bool:
    """It begins no comment, holds nothing that a head or a field's name cannot hold, and stays as it is."""
    return (
        writable(text) == text
        and not text.startswith(("#", " "))
        and '"' not in text
        and not any(map(str.isspace, text))
    )


def test_a_line_is_spelled_as_the_protocol_says() -> None:
    point = Point(
        "gpu usage",
        {"pool": "a=b", "node": "n,1", "zone": ""},
        {"count": 2, "load": 0.5, "ready": True, "reason": 'say "hi" \\ bye', "total": Unsigned(7)},
        NOW,
    )
    assert encode(point) == (
        rb"gpu\ usage,node=n\,1,pool=a\=b "
        rb'count=2i,load=0.5,ready=true,reason="say \"hi\" \\ bye",total=7u ' + b"1796018565901023716\n"
    )


def test_a_compiled_table_writes_the_same_line() -> None:
    line = compiled(GPU)("n 1", "default", 2, 0.5, True, 'no "power"\n', None, 7, NOW)
    assert (
        line
        == b'gpu_usage,node=n\\ 1,pool=default count=2i,ready=true,load=0.5,reason="no \\"power\\"\n",total=7u '
        + (b"%d\n" % NOW)
    )
    assert parse(line.decode()) == [
        Point(
            "gpu_usage",
            {"node": "n 1", "pool": "default"},
            {"count": 2, "load": 0.5, "ready": True, "reason": 'no "power"\n', "total": 7},
            NOW,
        )
    ]


def test_columns_may_be_given_by_name() -> None:
    row = {
        "node": "n",
        "pool": None,
        "count": 1,
        "load": 1,
        "ready": False,
        "reason": None,
        "watts": None,
        "total": None,
    }
    assert compiled(GPU)(**row, time=5) == b"gpu_usage,node=n count=1i,ready=false,load=1 5\n"


def test_what_is_not_finite_is_left_out() -> None:
    line = compiled(GPU)("n", "p", 4, math.nan, True, None, math.inf, None, NOW)
    (point,) = parse(line.decode())
    assert point.fields == {"count": 4, "ready": True}
    assert encode(Point("t", {}, {"a": math.nan, "b": -math.inf})) == b""
    only = Table("t", (), (Field("a", Kind.FLOAT), Field("b", Kind.FLOAT, optional=True)))
    assert compiled(only)(math.nan, None, NOW) == b""
    assert compiled(only)(math.nan, 2.0, NOW) == b"t b=2.0 %d\n" % NOW


def test_an_int_that_fits_no_column_is_for_the_database_to_refuse() -> None:
    line = compiled(GPU)("n", "p", 1 << 70, 0.5, True, None, None, None, NOW)
    with pytest.raises(LineError, match="an integer that fits 64 bits"):
        parse(line.decode())


def test_long_texts_are_cut_and_stay_readable() -> None:
    long = 'x"' * 50_000
    line = compiled(GPU)(long, "p", 1, 0.5, True, long, None, None, NOW)
    (point,) = parse(line.decode())
    assert point.fields["reason"] == long[: lines.MOST_TEXT]
    assert point.tags["node"] == long[: lines.MOST_TEXT]
    assert parse(encode(Point("t", {"a": "y" * 50_000}, {"s": long}, NOW)).decode())[0].fields["s"] == long[:16384]


def test_numbers_of_numpy_are_numbers() -> None:
    line = compiled(GPU)("n", "p", np.int64(3), np.float64(0.25), np.bool_(True), None, np.float64(2e30), None, NOW)
    (point,) = parse(line.decode())
    assert point.fields == {"count": 3, "load": 0.25, "ready": True, "watts": 2e30}


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1e22, -1e22, 5e-324, 1.7976931348623157e308, 1e-7, 123456.75, 1e16, 9.5e15]
)
def test_an_exponent_has_a_sign_and_a_point_before_it(value: float) -> None:
    digits = lines.number(value)
    assert float(digits) == value
    if "e" in digits:
        before, after = digits.split("e")
        assert "." in before
        assert after[0] in "+-"


@given(points)
def test_what_is_written_is_what_is_read(point: Point) -> None:
    names = [point.table, *point.tags, *point.fields]
    if not all(plain(name) for name in names):
        return
    (found,) = parse(encode(point).decode())
    assert found.table == point.table
    assert found.tags == {key: writable(value) for key, value in point.tags.items() if writable(value)}
    assert found.fields == point.fields
    assert [type(found.fields[key]) for key in point.fields] == [type(value) for value in point.fields.values()]
    assert found.time == point.time


@given(st.lists(st.tuples(words, words), min_size=1, max_size=6))
def test_no_tag_of_a_row_reaches_another_row(rows: list[tuple[str, str]]) -> None:
    encoder = compiled(Table("t", ("a", "b"), (Field("n", Kind.INT),)))
    text = b"".join(encoder(first, second, number, NOW) for number, (first, second) in enumerate(rows)).decode()
    found = parse(text)
    assert [point.fields["n"] for point in found] == list(range(len(rows)))
    for (first, second), point in zip(rows, found, strict=True):
        assert point.tags == {key: writable(value) for key, value in (("a", first), ("b", second)) if writable(value)}


@given(st.text(max_size=30), st.floats(), st.text(max_size=30))
def test_texts_of_users_never_break_a_line(model: str, number: float, error: str) -> None:
    table = Table("t", ("model",), (Field("n", Kind.INT), Field("cost", Kind.FLOAT), Field("error", Kind.STRING)))
    line = compiled(table)(model, 1, number, error, NOW)
    (point,) = parse(line.decode())
    assert point.fields["error"] == error.encode("utf-8", "replace").decode()
    assert ("cost" in point.fields) == math.isfinite(number)


def test_the_values_of_a_tag_that_are_kept_are_bounded() -> None:
    encoder = compiled(Table("t", ("id",), (Field("n", Kind.INT),)))
    wanted = random.Random(3).sample(range(100_000), 10_000)
    text = b"".join(encoder(str(number), number, NOW) for number in wanted).decode()
    assert [point.tags["id"] for point in parse(text)] == [str(number) for number in wanted]
    kept = next(value for name, value in encoder.__globals__.items() if name == "_tag0")
    assert len(kept) <= 4096


@pytest.mark.parametrize(
    ("name", "tags", "fields", "complaint"),
    [
        ("t", ("a b",), (Field("n", Kind.INT),), "wanted a name like gpu_count, found 'a b'"),
        ("t", ("n",), (Field("n", Kind.INT),), "wanted columns of different names"),
        ("t", ("greptime_timestamp",), (Field("n", Kind.INT),), "wanted columns of different names"),
        ("t", ("a",), (Field("n", Kind.INT, optional=True),), "wanted a field that every row has"),
        ("T-1", (), (Field("n", Kind.INT),), "wanted a name like gpu_count, found 'T-1'"),
    ],
)
def test_a_table_that_cannot_be_written_is_refused(
    name: str, tags: tuple[str, ...], fields: tuple[Field, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Table(name, tags, fields)
