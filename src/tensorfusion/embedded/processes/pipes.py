"""Waiting for descriptors without threads: processes that end, pipes that fill and empty."""

import asyncio
import os
from collections.abc import AsyncIterator

_CHUNK = 1 << 15
_POLL = 0.05


async def until_gone(pid: int) -> None:
    """Return when a process has ended, by its descriptor where the kernel gives one; else look again in a moment."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:
        await asyncio.sleep(_POLL)
        return
    try:
        await _ready(descriptor, reading=True)
    finally:
        os.close(descriptor)


async def chunks(descriptor: int) -> AsyncIterator[bytes]:
    """What comes out of a non-blocking pipe or terminal, until its other side is closed."""
    while True:
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            await _ready(descriptor, reading=True)
            continue
        except OSError:  # a terminal whose other side is closed
            return
        if not chunk:
            return
        yield chunk


async def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to a non-blocking pipe; waits while it is full.

    Raises:
        OSError: nobody reads any more.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            await _ready(descriptor, reading=False)


async def _ready(descriptor: int, *, reading: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)
