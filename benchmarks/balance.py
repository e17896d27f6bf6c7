"""How connections spread over worker processes: one listener that all accept from, or one for each on the same port.

A row is the share of the busiest worker of four in connections that stay open, in percent; 25 would be even. The peer
is the listener that all share. The median of some rounds each.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from _report import Row, report
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server
from tensorfusion.wire.worker import work
from tensorfusion.wire.workers import listeners_on

WORKERS = 4
CONNECTIONS = (16, 64, 512)
ROUNDS = 5


async def serve(listener: int, lifeline: int) -> None:
    async def handle(request: Request, reply: Reply) -> None:
        reply.send(200, body=b"%d" % os.getpid())

    await work(Server(handle), listener, lifeline, drain_seconds=1)


@contextmanager
def workers(*, shared: bool) -> Iterator[int]:
    """Four of them; the port."""
    own = listeners_on("127.0.0.1", 0, 1 if shared else WORKERS)
    lines, processes = [], []
    for number in range(WORKERS):
        listener = own[0 if shared else number]
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (listener.fileno(), theirs.fileno())
            command = [sys.executable, __file__, "serve", *map(str, descriptors)]
            processes.append(subprocess.Popen(command, pass_fds=descriptors))
        lines.append(ours)
    try:
        for line in lines:
            line.recv(1)
        yield int(own[0].getsockname()[1])
    finally:
        for each in (*lines, *own):
            each.close()
        for process in processes:
            process.wait()


async def busiest(port: int, count: int) -> float:
    """Percent of so many connections at once that one worker got."""

    async def one() -> tuple[bytes, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])), writer

    found = await asyncio.gather(*(one() for _ in range(count)))
    for _, writer in found:
        writer.close()
    return max(Counter(pid for pid, _ in found).values()) / count * 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    shares: dict[tuple[bool, int], float] = {}
    for shared in (False, True):
        with workers(shared=shared) as port:
            for count in CONNECTIONS:
                rounds = sorted(uvloop.run(busiest(port, count)) for _ in range(ROUNDS))
                shares[shared, count] = rounds[ROUNDS // 2]
    report(
        [
            Row("busiest_worker", shares[False, count], "%", "shared listener", shares[True, count], {"at_once": count})
            for count in CONNECTIONS
        ],
        arguments.json,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(int(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
