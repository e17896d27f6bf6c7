"""A program of workers on one port: ``worker_program.py FOLDER COUNT PORT`` supervises, ``... serve FOLDER 3 4`` serves.

A worker answers with its process id, to ``/slow`` after a while: as many files ``slow-...`` are in the folder as these
are under way or were. One that finds a file ``broken`` there ends at once; with a file ``missing`` none can be started.
"""

import asyncio
import os
import sys
import uuid
from pathlib import Path

import uvloop

from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server
from tensorfusion.wire.worker import work
from tensorfusion.wire.workers import Workers

DRAIN_SECONDS = 20


def supervise(folder: Path, count: int, port: int) -> None:
    missing = folder / "missing"
    program = [sys.executable, __file__, "serve", str(folder)]
    workers = Workers(
        lambda listener, lifeline: [*(["/nonexistent"] if missing.exists() else program), str(listener), str(lifeline)],
        count=count,
        port=port,
        drain_seconds=DRAIN_SECONDS,
        say=lambda line: print(line, flush=True),
    )
    print(workers.port, flush=True)
    workers.run()


async def serve(folder: Path, listener: int, lifeline: int) -> None:
    if (folder / "broken").exists():
        sys.exit(3)

    async def handle(request: Request, reply: Reply) -> None:
        if request.target == b"/slow":
            (folder / f"slow-{uuid.uuid4()}").touch()
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.001)
        reply.send(200, body=b"%d" % os.getpid())

    await work(Server(handle), listener, lifeline, drain_seconds=DRAIN_SECONDS)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    else:
        supervise(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
