"""The questions that are asked most give the numbers that their definitions give."""

import itertools
import math
import random

import pytest
from served_store import Served

from tensorfusion.timeseries.reader import Moment, Reader
from tensorfusion.timeseries.windows import Sample, Window, average, last, percentile, rate

SECOND = 1_000_000_000
START = 1_796_018_565 * SECOND
END = START + 600 * SECOND


@pytest.fixture
async def reader(served: Served) -> Reader:
    drawn = random.Random(5)
    lines = []
    for node in ("a", "b"):
        total = 0
        for step in range(60):
            total = 3 if step == 40 else total + drawn.randrange(10)  # it began anew at 40
            moment = START + step * 10 * SECOND
            lines.append(f"gpu,node={node},pool=p load={drawn.random()},total={total}i {moment}")
    lines.append(f"gpu,node=a,pool=p load=99,total=999i {START - 1}")
    lines.append(f"gpu,node=a,pool=p load=99,total=999i {END}")
    lines.append(f"gpu,node=a,pool=q load=50 {START}")
    lines.append(f"gpu,node=a,pool=p other=1 {START + 599 * SECOND}")
    await served.store.write("\n".join(lines))
    return Reader(served.database)


async def rows(reader: Reader, column: str) -> dict[str, list[float]]:
    sql = f"SELECT node, {column} FROM gpu WHERE pool = 'p' AND greptime_timestamp >= :since AND greptime_timestamp < :until"
    found = await reader.query(
        f"{sql} AND {column} IS NOT NULL ORDER BY greptime_timestamp", {"since": Moment(START), "until": Moment(END)}
    )
    return {node: [row[1] for row in found.rows if row[0] == node] for node in ("a", "b")}


def window(column: str, *by: str) -> Window:
    return Window("gpu", column, START, END, by, {"pool": "p"})


async def test_the_last_value_of_each(reader: Reader) -> None:
    known = await rows(reader, "load")
    assert await last(reader, window("load", "node")) == [Sample((node,), known[node][-1]) for node in ("a", "b")]
    assert len(await last(reader, window("load"))) == 1


async def test_the_average_of_each_and_of_all(reader: Reader) -> None:
    known = await rows(reader, "load")
    for sample in await average(reader, window("load", "node")):
        assert sample.value == pytest.approx(sum(known[sample.tags[0] or ""]) / 60)
    (whole,) = await average(reader, window("load"))
    assert whole == Sample((), pytest.approx(sum(known["a"] + known["b"]) / 120))


async def test_a_rate_counts_on_when_a_counter_begins_anew(reader: Reader) -> None:
    known = await rows(reader, "total")
    for sample in await rate(reader, window("total", "node")):
        values = known[sample.tags[0] or ""]
        grown = sum(after - before if after >= before else after for before, after in itertools.pairwise(values))
        assert sample.value == pytest.approx(grown / 600)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.95, 0.99, 1.0])
async def test_a_percentile_is_the_nearest_rank(reader: Reader, part: float) -> None:
    known = await rows(reader, "load")
    for sample in await percentile(reader, window("load", "node"), part):
        assert sample.value == sorted(known[sample.tags[0] or ""])[math.ceil(part * 60) - 1]


async def test_where_there_are_no_rows_there_is_no_sample(reader: Reader) -> None:
    nothing = Window("gpu", "load", START, END, ("node",), {"pool": "it's none"})
    everything = Window("gpu", "load", START, END, (), {"pool": "it's none"})
    for asked in (nothing, everything):
        assert await last(reader, asked) == []
        assert await average(reader, asked) == []
        assert await rate(reader, asked) == []
        assert await percentile(reader, asked, 0.5) == []


async def test_several_tags_are_told_in_their_order(reader: Reader) -> None:
    found = await last(reader, Window("gpu", "load", START, END, ("pool", "node")))
    assert [sample.tags for sample in found] == [("p", "a"), ("p", "b"), ("q", "a")]


def test_a_window_without_a_period_is_refused() -> None:
    with pytest.raises(ValueError, match="window of gpu: wanted a period, found 5 to 5"):
        Window("gpu", "load", 5, 5)


async def test_a_part_that_is_none_is_refused(reader: Reader) -> None:
    for part in (0.0, 1.1):
        with pytest.raises(ValueError, match="wanted a part above 0 and up to 1"):
            await percentile(reader, window("load"), part)
