"""Waiting for something to happen, or for so long."""

import asyncio

from tensorfusion.clock import Clock


async def set_within(event: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Return when the event is set, and behind so many seconds in any case."""

    async def pass_time() -> None:
        await clock.sleep(seconds)

    async def happen() -> None:
        await event.wait()

    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(happen()), group.create_task(pass_time())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
