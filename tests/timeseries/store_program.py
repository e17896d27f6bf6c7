"""A process that has a store open, to be killed or starved by its test: hold, write or fill, and the file."""

import asyncio
import resource
import signal
import sys
from pathlib import Path

from tensorfusion.errors import StoreUnwritable
from tensorfusion.timeseries.store import Store

BATCH = 100


async def hold(file: Path) -> None:
    store = await Store.open(file)
    print("open", flush=True)
    await asyncio.get_running_loop().create_future()
    await store.close()


async def write(file: Path) -> None:
    """Batches of rows numbered on, each told once it is acknowledged."""
    store = await Store.open(file)
    for last in range(BATCH, 100_000_000, BATCH):
        await store.write("".join(f"a n={number}i {number}\n" for number in range(last - BATCH + 1, last + 1)))
        print(last, flush=True)


async def fill(file: Path) -> None:
    """Write until the disk is full, make room, and write on."""
    store = await Store.open(file)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    kept = 0
    try:
        while True:
            text = "".join(f'a n={kept + number}i,t="{number * 7919:x}" {number}\n' for number in range(2000))
            kept += await store.write(text)
    except StoreUnwritable as error:
        print(f"StoreUnwritable: {error}", flush=True)
        print("failing" if store.failing else "well", flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(f"then {await store.write('a n=-1i 1')}", flush=True)
    print("failing" if store.failing else "well", flush=True)
    ((count,),) = (await store.query("SELECT count(*) FROM a")).rows
    print("all there" if count == kept + 1 else f"wanted {kept + 1}, found {count}", flush=True)
    await store.close()


asyncio.run({"hold": hold, "write": write, "fill": fill}[sys.argv[1]](Path(sys.argv[2])))
