"""Free memory goes back to the machine once a process has grown, and not before."""

import asyncio

from tensorfusion.runtime.heap import GROWTH, LOOK_EVERY, follow, malloc_trim, resident_bytes
from tensorfusion.testing.clock import VirtualClock


async def test_free_memory_is_given_back_when_the_process_has_grown() -> None:
    clock, size, trims = VirtualClock(), 3 * GROWTH, 0

    async def trim() -> None:
        nonlocal size, trims
        trims += 1
        size -= GROWTH // 2

    task = asyncio.ensure_future(follow(clock, resident=lambda: size, trim=trim))
    counts = []
    for growth in (0, 0, GROWTH // 2, GROWTH, -2 * GROWTH, GROWTH):
        size += growth
        await clock.advance(LOOK_EVERY)
        counts.append(trims)
    task.cancel()
    assert counts == [1, 1, 1, 2, 2, 3]


def test_pages_between_objects_that_stay_are_given_back() -> None:
    trim = malloc_trim()
    assert trim is not None, "wanted: glibc"
    kept = [bytes(2000) for _ in range(50_000)]
    few = kept[::500]
    kept.clear()
    before = resident_bytes()
    trim()
    assert before - resident_bytes() > 50 << 20
    assert len(few) == 100
