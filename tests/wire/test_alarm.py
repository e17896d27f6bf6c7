"""Deadlines where the process itself stood still: nobody is too late for what nobody looked at."""

import asyncio
import time

from tensorfusion.wire.alarm import Alarm

STANDSTILL = 0.2


async def test_a_ring_that_comes_late_waits_as_long_again_once() -> None:
    loop = asyncio.get_running_loop()
    looked: list[float] = []
    done = asyncio.Event()

    def look() -> None:
        looked.append(loop.time())
        done.set()

    alarm = Alarm(loop, look)
    due = loop.time() + 0.001
    alarm.by(due)
    time.sleep(STANDSTILL)
    resumed = loop.time()
    await done.wait()
    assert resumed + (resumed - due) <= looked[0] + 0.002  # the loop counts milliseconds
    assert looked[0] < resumed + STANDSTILL + 5
    alarm.end()


async def test_a_loop_that_keeps_standing_still_does_not_put_a_deadline_off_for_ever() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    alarm = Alarm(loop, done.set)
    alarm.by(loop.time() + 0.001)
    rounds = 0
    while not done.is_set():
        time.sleep(STANDSTILL)
        await asyncio.sleep(0.001)
        rounds += 1
        assert rounds < 6
    alarm.end()
