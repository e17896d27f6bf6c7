"""Lines go in batches, wait while the database is away, and what is lost is bounded and counted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from served_store import ACCOUNTS, BOTH, Served
from starlette.applications import Starlette

from tensorfusion.clock import SystemClock
from tensorfusion.runtime.serving import Listener
from tensorfusion.telemetry.metrics import REGISTRY
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.errors import DatabaseFailed, DatabaseRefused
from tensorfusion.timeseries.server import routes
from tensorfusion.timeseries.writer import LineWriter, WriterLimits

SMALL = WriterLimits(batch_bytes=100, batch_seconds=1.0, most_bytes=300, most_seconds=60.0)


@dataclass
class ScriptedSink:
    """Takes batches, unless ``answer`` raises for one."""

    clock: VirtualClock
    answer: Callable[[bytes], None] = lambda lines: None
    taken: list[bytes] = field(default_factory=list)
    asked: list[tuple[float, str, int]] = field(default_factory=list)
    """Time, id and lines of every request."""
    seconds: float = 0.0
    under_way: int = 0

    async def write(self, lines: bytes, *, batch: str = "") -> None:
        assert self.under_way == 0, "one request at a time"
        self.under_way += 1
        try:
            self.asked.append((self.clock.monotonic(), batch, lines.count(b"\n")))
            await self.clock.sleep(self.seconds)
            self.answer(lines)
            self.taken.extend(lines.splitlines(keepends=True))
        finally:
            self.under_way -= 1


def line(number: int) -> bytes:
    return b"a n=%03di\n" % number  # 9 bytes


def fail(_: bytes) -> None:
    raise DatabaseFailed("away")


def counted(name: str) -> dict[str, float]:
    rows = REGISTRY.restricted_registry(
        ["tensorfusion_timeseries_rows_total"]
    )  # all that is counted would take seconds
    samples = [sample for metric in rows.collect() for sample in metric.samples if sample.value]
    return {sample.labels["result"]: sample.value for sample in samples if sample.labels["writer"] == name}


@contextlib.asynccontextmanager
async def running(writer: LineWriter) -> AsyncIterator[asyncio.Future[None]]:
    task = asyncio.ensure_future(writer.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


def writer_of(sink: ScriptedSink, name: str, limits: WriterLimits = SMALL) -> LineWriter:
    return LineWriter(sink, name=name, clock=sink.clock, limits=limits, jitter=lambda: 0.5)


async def test_a_batch_goes_when_its_oldest_line_is_old_enough() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock)
    writer = writer_of(sink, "age")
    async with running(writer):
        await clock.advance(5)
        writer.put(line(1))
        await clock.advance(0.5)
        writer.put(line(2))
        assert sink.asked == []
        await clock.advance(0.5)
        assert sink.taken == [line(1), line(2)]
        await clock.advance(100)
        assert len(sink.asked) == 1
    assert counted("age") == {"sent": 2}


async def test_a_batch_goes_at_once_when_it_is_large_enough() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock)
    writer = writer_of(sink, "size")
    async with running(writer):
        await clock.settle()
        for number in range(30):
            writer.put(line(number))
        await clock.settle()
        assert [(when, lines) for when, _, lines in sink.asked] == [(0.0, 12), (0.0, 12)]
        await clock.advance(1)
        assert sink.taken == [line(number) for number in range(30)]


async def test_a_slow_database_makes_batches_larger_and_requests_no_more() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock, seconds=10)
    writer = writer_of(sink, "slow", WriterLimits(batch_bytes=10_000, batch_seconds=1))
    async with running(writer):
        for number in range(40):
            writer.put(line(number))
            await clock.advance(1)
        await clock.advance(30)
    assert len(sink.asked) <= 6
    assert sink.taken == [line(number) for number in range(40)]


async def test_a_batch_that_failed_is_sent_again_with_its_id_and_longer_pauses() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock, answer=fail)
    writer = writer_of(sink, "again")
    async with running(writer):
        writer.put(line(1))
        await clock.advance(40)
        times = [when for when, _, _ in sink.asked]
        assert times == [1.0, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5]
        assert len({batch for _, batch, _ in sink.asked}) == 1
        sink.answer = lambda lines: None
        writer.put(line(2))
        await clock.advance(40)
        assert sink.taken == [line(1), line(2)]
        assert sink.asked[-1][1] != sink.asked[0][1]
    assert REGISTRY.get_sample_value("tensorfusion_timeseries_write_retries_total", {"writer": "again"}) == 7


async def test_a_pause_is_at_least_what_the_database_asks_for() -> None:
    clock = VirtualClock()

    def busy(_: bytes) -> None:
        raise DatabaseFailed("busy", retry_after=7.0)

    sink = ScriptedSink(clock, answer=busy)
    writer = writer_of(sink, "busy")
    async with running(writer):
        writer.put(line(1))
        await clock.advance(16)
    assert [when for when, _, _ in sink.asked] == [1.0, 8.0, 15.0]


async def test_while_the_database_is_away_the_oldest_lines_go_and_are_counted() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock, answer=fail)
    writer = writer_of(sink, "away", WriterLimits(batch_bytes=100, most_bytes=300, most_seconds=1e9))
    async with running(writer):
        for number in range(200):
            writer.put(line(number))
            await clock.advance(0.1)
            assert writer.waiting <= 12 + 33
        sink.answer = lambda lines: None
        await clock.advance(100)
    assert sink.taken[-33:] == [line(number) for number in range(167, 200)]
    assert counted("away") == {"sent": len(sink.taken), "dropped": 200 - len(sink.taken)}


async def test_a_batch_is_not_tried_for_ever() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock, answer=fail)
    writer = writer_of(sink, "old")
    async with running(writer):
        writer.put(line(1))
        await clock.advance(50)
        writer.put(line(2))
        sink.answer = lambda lines: fail(lines) if line(1) in lines else None
        await clock.advance(100)
    assert sink.taken == [line(2)]
    assert counted("old") == {"sent": 1, "old": 1}


async def test_one_wrong_line_takes_no_other_with_it() -> None:
    clock = VirtualClock()

    def picky(lines: bytes) -> None:
        if b"wrong" in lines:
            raise DatabaseRefused("line 7: wanted something else")

    sink = ScriptedSink(clock, answer=picky)
    writer = writer_of(sink, "wrong", WriterLimits(batch_bytes=100_000))
    lines = [line(number) for number in range(1000)]
    lines[123], lines[777] = b"wrong 1\n", b"wrong 2\n"
    async with running(writer):
        for one in lines:
            writer.put(one)
        await clock.advance(2)
    assert sink.taken == [one for one in lines if b"wrong" not in one]
    assert counted("wrong") == {"sent": 998, "refused": 2}
    assert len({batch for _, batch, _ in sink.asked}) == len(sink.asked)
    assert len(sink.asked) < 50


async def test_lines_that_are_all_wrong_do_not_keep_the_others_waiting() -> None:
    clock = VirtualClock()

    def picky(lines: bytes) -> None:
        if b"wrong" in lines:
            raise DatabaseRefused("all of it")

    sink = ScriptedSink(clock, answer=picky)
    writer = writer_of(sink, "all-wrong", WriterLimits(batch_bytes=100_000))
    async with running(writer):
        for _ in range(1000):
            writer.put(b"wrong\n")
        await clock.advance(2)
        writer.put(line(1))
        await clock.advance(2)
    assert sink.taken == [line(1)]
    assert len(sink.asked) <= 80
    assert counted("all-wrong") == {"sent": 1, "refused": 1000}


async def test_an_empty_line_is_none() -> None:
    clock = VirtualClock()
    writer = writer_of(ScriptedSink(clock), "empty")
    writer.put(b"")
    assert writer.waiting == 0


async def test_draining_sends_what_waits_and_what_was_under_way() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock, seconds=5)
    writer = writer_of(sink, "drain")
    async with running(writer):
        for number in range(20):
            writer.put(line(number))
        await clock.advance(1)  # the first batch is under way now
    assert sink.taken == []
    assert await clock.run(writer.drain(30)) == 0
    assert sink.taken == [line(number) for number in range(20)]
    assert sink.asked[0][1] == sink.asked[1][1]  # it may have been carried out: the same id
    assert counted("drain") == {"sent": 20}


async def test_draining_ends_at_its_deadline_and_tells_what_is_lost() -> None:
    clock = VirtualClock()
    sink = ScriptedSink(clock, answer=fail)
    writer = writer_of(sink, "late")
    for number in range(20):
        writer.put(line(number))
    assert await clock.run(writer.drain(3)) == 20
    assert clock.monotonic() == 3.0
    assert writer.waiting == 0
    assert counted("late") == {"shutdown": 20}


async def test_draining_nothing_takes_no_time() -> None:
    clock = VirtualClock()
    assert await clock.run(writer_of(ScriptedSink(clock), "nothing").drain(3)) == 0
    assert clock.monotonic() == 0.0


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["put", "put", "put", "wait", "fail", "heal", "refuse"]), max_size=60))
def test_every_line_is_sent_once_or_counted(steps: list[str]) -> None:
    async def play() -> None:
        clock = VirtualClock()
        sink = ScriptedSink(clock)
        name = "any"
        before = counted(name)
        writer = writer_of(sink, name, WriterLimits(batch_bytes=40, batch_seconds=1, most_bytes=90, most_seconds=10))
        put = 0

        def refuse(lines: bytes) -> None:
            if any(int(text[5:8]) % 3 == 0 for text in lines.splitlines()):
                raise DatabaseRefused("no threes")

        async with running(writer):
            for step in steps:
                match step:
                    case "put":
                        writer.put(line(put))
                        put += 1
                    case "wait":
                        await clock.advance(0.7)
                    case "fail":
                        sink.answer = fail
                    case "heal":
                        sink.answer = lambda lines: None
                    case "refuse":
                        sink.answer = refuse
        await clock.run(writer.drain(5))
        after = counted(name)
        found = {result: after.get(result, 0) - before.get(result, 0) for result in after}
        assert sum(found.values()) == put
        assert found.get("sent", 0) == len(sink.taken)
        assert sink.taken == sorted(set(sink.taken))  # each once, in order

    asyncio.run(play())


async def test_a_store_that_was_away_has_every_line_once(served: Served) -> None:
    """Over the wire: the listener goes and comes back, on another port, while lines are put."""

    class Moving:
        """The database at its address of the moment, whose answers are lost at times."""

        def __init__(self) -> None:
            self.database = served.database
            self.requests = 0
            self.asked = asyncio.Event()

        async def write(self, lines: bytes, *, batch: str = "") -> None:
            self.requests += 1
            self.asked.set()
            await self.database.write(lines, batch=batch)
            if self.requests % 3 == 0:
                raise DatabaseFailed("the answer was lost")

    sink = Moving()
    limits = WriterLimits(batch_bytes=400, batch_seconds=0.001)
    writer = LineWriter(sink, name="moving", clock=SystemClock(), limits=limits, jitter=lambda: -0.499)
    extra = Listener(Starlette(routes=routes(served.store, authorize=ACCOUNTS.check)))
    async with running(writer):
        for number in range(100):
            writer.put(line(number))
        await sink.asked.wait()
        sink.database = Database("http://127.0.0.1:1")
        for number in range(100, 200):
            writer.put(line(number))
        sink.asked.clear()
        await sink.asked.wait()
        sink.database = Database(f"http://127.0.0.1:{await extra.start()}", user="both", password=BOTH)
        for number in range(200, 300):
            writer.put(line(number))
        await asyncio.sleep(0)
    assert await writer.drain(60) == 0
    assert (await served.store.query("SELECT count(*), count(DISTINCT n) FROM a")).rows == [(300, 300)]
    await sink.database.close()
    await extra.stop()
