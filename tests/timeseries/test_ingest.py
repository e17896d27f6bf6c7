"""Whatever is written, in whatever portions: what can be read is what was written, or was refused."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.timeseries.encoder import encode
from tensorfusion.timeseries.errors import ColumnConflict
from tensorfusion.timeseries.points import KIND_OF, FieldValue, Point, Unsigned
from tensorfusion.timeseries.store import Store

names = st.sampled_from(["a", "b", "c", "A"])
values = st.one_of(
    st.booleans(),
    st.integers(-5, 5),
    st.integers(0, 5).map(Unsigned),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text('xy\n"\\\u00e4', max_size=3),
)
points = st.builds(
    Point,
    st.sampled_from(["t", "u", "T"]),
    st.dictionaries(names, st.sampled_from(["v", "w w", "x=,"]), max_size=2),
    st.dictionaries(names, values, min_size=1, max_size=3),
    st.integers(0, 9),
)
requests = st.lists(st.lists(points, min_size=1, max_size=4), min_size=1, max_size=8)


class Model:
    """A store in a few lines: tables with typed columns, a request at a time."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, tuple[str, str]]] = {}
        self.rows: dict[str, list[dict[str, FieldValue]]] = {}

    def write(self, request: list[Point]) -> bool:
        """Whether it was taken."""
        tables = {name: dict(columns) for name, columns in self.tables.items()}
        for point in request:
            if any(name != point.table and name.lower() == point.table.lower() for name in tables):
                return False
            columns = tables.setdefault(point.table, {"greptime_timestamp": ("time", "time")})
            wanted = [(name, ("tag", "String")) for name in point.tags]
            wanted += [(name, ("field", KIND_OF[type(value)].value)) for name, value in point.fields.items()]
            for name, column in wanted:
                if any(known != name and known.lower() == name.lower() for known in columns):
                    return False
                if columns.setdefault(name, column) != column:
                    return False
        self.tables = tables
        for point in request:
            row = {"greptime_timestamp": point.time or 0, **point.tags, **point.fields}
            self.rows.setdefault(point.table, []).append(row)
        return True


def spelled(row: dict[str, object]) -> str:
    return repr(sorted((name, value) for name, value in row.items() if value is not None))


@settings(max_examples=part_of(40))
@given(requests, st.booleans())
def test_the_store_holds_what_the_model_holds(written: list[list[Point]], together: bool) -> None:
    async def play() -> None:
        model = Model()
        with tempfile.TemporaryDirectory() as folder:
            store = await Store.open(Path(folder) / "s.duckdb")
            texts = [b"".join(map(encode, request)).decode() for request in written]
            if together:
                answers = await asyncio.gather(*map(store.write, texts), return_exceptions=True)
            else:
                answers = [(await asyncio.gather(store.write(text), return_exceptions=True))[0] for text in texts]
            for request, answer in zip(written, answers, strict=True):
                if model.write(request):
                    assert answer == len(request)
                else:
                    assert isinstance(answer, ColumnConflict)
            assert {shape.name for shape in store.tables.values()} == set(model.tables)
            for table, rows in model.rows.items():
                found = (await store.query(f'SELECT * FROM "{table}"')).dicts()
                assert sorted(map(spelled, found)) == sorted(map(spelled, rows))
            await store.close()

    asyncio.run(play())
