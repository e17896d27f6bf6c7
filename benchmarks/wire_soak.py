"""Whether a relay keeps anything: memory, descriptors, tasks and places in its pool, over many requests of which some
fail and some are left.

One process: clients, a relay made of ``tensorfusion.wire``, and a server behind it that answers as its script says.
One request in a hundred meets a fault (no answer, half of one, nonsense, silence, a refusal before the body is read),
one in twenty is left by its client in whatever phase. Every other answer must be whole and the asker's own. The script
ends with 1 when something grew, stuck, or was mixed up: a million requests are ``--requests 1000000``.
"""

import argparse
import asyncio
import gc
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import uvloop

from _report import Row, report
from tensorfusion.wire.errors import ClientLeft, WireError
from tensorfusion.wire.exchange import Patience
from tensorfusion.wire.fields import end_to_end
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool
from tensorfusion.wire.relay import relay
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Handler, Server

FAULTS: Final = ("early", "close", "half", "reset", "nonsense", "stall", "truncated")
FAULT_SHARE, LEFT_SHARE = 0.01, 0.05
CLIENTS: Final = 64
EVENTS: Final = 8
SILENCE: Final = 0.2
WARM_SHARE: Final = 0.2
"""Of the requests, behind which memory must have reached its height."""
MOST_GROWTH: Final = 1.03
SLACK: Final = 4 << 20
"""Bytes that memory may grow in any case: what an allocator moves about."""
_HEAD = re.compile(rb"POST /(\w+)/(\d+) HTTP/1\.1\r\n.*?\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_NO_BODY = (b"Content-Length: 0\r\n\r\n", b"Content-Length: 0\r\nConnection: close\r\n\r\n")
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Upstream(asyncio.Protocol):
    """Answers as the target of the request says."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = _HEAD.match(self._buffer)
        if head is None:
            return
        kind, mark = head[1].decode(), b"#%b#" % head[2]
        if kind == "early":
            self._transport.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self._transport.close()
            return
        length = _LENGTH.search(head[0])
        assert length is not None
        if len(self._buffer) < head.end() + int(length[1]):
            return
        assert self._buffer.endswith(mark), "a request was not whole"
        self._buffer = b""
        self._answer(kind, mark)

    def _answer(self, kind: str, mark: bytes) -> None:
        transport = self._transport
        body = b"y" * 700 + mark
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        if kind == "whole":
            transport.write(whole)
        elif kind == "stream":
            transport.write(_CHUNKED)
            self._event(mark, EVENTS)
        elif kind == "close":
            transport.close()
        elif kind == "half":
            transport.write(whole[:-9])
            transport.close()
        elif kind == "reset":
            transport.write(whole[:-9])
            transport.abort()
        elif kind == "nonsense":
            transport.write(b"SSH-2.0\r\n")
        elif kind == "stall":
            transport.write(_CHUNKED + b"3\r\nabc\r\n")
        elif kind == "truncated":
            transport.write(_CHUNKED + b"3\r\nabc\r\n")
            transport.close()

    def _event(self, mark: bytes, left: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(mark), mark))
        if left > 1:
            asyncio.get_running_loop().call_soon(self._event, mark, left - 1)
        else:
            self._transport.write(b"0\r\n\r\n")


class Client(asyncio.Protocol):
    """One connection to the relay; what comes back of one request at a time."""

    def __init__(self) -> None:
        self.came: asyncio.Future[bytes] | None = None
        self.open = True
        self._buffer = b""
        self._ends: tuple[bytes, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, data: bytes, *ends: bytes) -> asyncio.Future[bytes]:
        """Send it; the answer when one of ``ends`` ends it, or what came when the connection ended."""
        self._buffer, self._ends = b"", ends
        self.came = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.came

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.endswith(self._ends):
            self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._tell()

    def _tell(self) -> None:
        if self.came is not None and not self.came.done():
            self.came.set_result(self._buffer)


class Soak:
    """``requests`` through one relay."""

    def __init__(self, requests: int, seed: int) -> None:
        self.requests = requests
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._begun = 0
        self._dice = random.Random(seed)

    async def run(self, interval: int) -> list[str]:
        """What went wrong; nothing is good."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=1024)
        pool = Pool(Origin(host="127.0.0.1", port=server.sockets[0].getsockname()[1]), most_connections=CLIENTS * 2)
        front = Server(self._handler(pool), failed=lambda _, error: self.wrong.append(f"a handler failed: {error!r}"))
        self.port = await front.listen()
        await asyncio.sleep(0)
        before, tasks = descriptors(), len(asyncio.all_tasks())
        clients = [asyncio.ensure_future(self._client()) for _ in range(CLIENTS)]
        heights: list[tuple[int, int]] = []
        for mark in [*range(interval, self.requests, interval), self.requests]:
            while self._begun < mark and not self.wrong:  # noqa: ASYNC110 - clients tell nobody
                await asyncio.sleep(0.05)
            heights.append((mark, memory()))
            print(
                f"{mark:>9} requests  {heights[-1][1] / 2**20:7.1f} MiB  {descriptors():4} descriptors  "
                f"{len(asyncio.all_tasks()):4} tasks  {pool.connections} upstream, {pool.waiting} waiting, "
                f"{front.connections} clients",
                flush=True,
            )
        await asyncio.gather(*clients)
        await until(lambda: not front.connections and not pool.waiting and not pool.in_use)
        for what, count in (("clients", front.connections), ("waiting", pool.waiting), ("in use", pool.in_use)):
            if count:
                self.wrong.append(f"{count} {what} are stuck")
        await pool.close()
        await until(lambda: descriptors() <= before and len(asyncio.all_tasks()) <= tasks)
        if descriptors() > before:
            self.wrong.append(f"{descriptors()} descriptors: wanted the {before} of the beginning")
        if len(asyncio.all_tasks()) > tasks:
            self.wrong.append(f"{len(asyncio.all_tasks())} tasks: wanted the {tasks} of the beginning")
        self.warm = max((size for mark, size in heights if mark <= self.requests * WARM_SHARE), default=heights[0][1])
        self.last = heights[-1][1]
        if self.last > self.warm * MOST_GROWTH + SLACK:
            self.wrong.append(f"memory grew from {self.warm >> 10} to {self.last >> 10} KiB")
        await front.drain(1)
        server.close()
        return self.wrong

    def _handler(self, pool: Pool) -> Handler:
        patience = Patience(silence=SILENCE)

        async def handle(request: Request, reply: Reply) -> None:
            body = await request.whole(1 << 20)
            try:
                async with pool.exchange(
                    request.method, request.target, end_to_end(request.fields), body, patience=patience
                ) as answer:
                    await relay(answer, reply)
            except ClientLeft:
                raise
            except WireError:
                if reply.started:
                    reply.cut()
                else:
                    reply.send(502)

        return handle

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        dice = self._dice
        client: Client | None = None
        while self._begun < self.requests and not self.wrong:
            self._begun += 1
            number, chance = self._begun, dice.random()
            fault = chance < FAULT_SHARE
            left = FAULT_SHARE <= chance < FAULT_SHARE + LEFT_SHARE
            kind = dice.choice(FAULTS) if fault else dice.choice(("whole", "stream"))
            if client is None or not client.open:
                _, client = await loop.create_connection(Client, "127.0.0.1", self.port)
            mark = b"#%d#" % number
            body = b"z" * (100_000 if dice.random() < 0.01 else 600) + mark
            head = b"POST /%b/%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (kind.encode(), number, len(body))
            data = head + body
            if left:
                await self._leave(client, data, dice)
                client = None
                continue
            found = await client.ask(data, mark if kind == "whole" else b"0\r\n\r\n", *_NO_BODY)
            self._judge(kind, mark, found)
            if dice.random() < 0.01 and client.open:
                client.transport.close()
                client = None
        if client is not None:
            client.transport.close()

    async def _leave(self, client: Client, data: bytes, dice: random.Random) -> None:
        """Go in the middle of the request, or a moment behind it."""
        self.outcomes["left"] += 1
        client.ask(data[: dice.randrange(len(data))] if dice.random() < 0.3 else data, b"\0never")
        for _ in range(dice.randrange(20)):
            await asyncio.sleep(0)
        if dice.random() < 0.5:
            client.transport.abort()
        else:
            client.transport.close()

    def _judge(self, kind: str, mark: bytes, found: bytes) -> None:
        status = found[9:12].decode("latin-1")
        self.outcomes[f"{kind} {status or 'cut'}"] += 1
        if kind == "whole":
            good = status == "200" and found.endswith(b"y" * 700 + mark)
        elif kind == "stream":
            good = status == "200" and found.count(mark) == EVENTS and found.endswith(b"0\r\n\r\n")
        else:
            good = mark not in found and not (status == "200" and found.endswith(b"0\r\n\r\n"))
        if not good:
            self.wrong.append(f"request {mark!r} ({kind}) was answered with {found[-200:]!r}")


async def until(true: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for it, so long."""
    by = time.monotonic() + seconds
    while not true() and time.monotonic() < by:  # noqa: ASYNC110 - whatever it is tells nobody
        await asyncio.sleep(0.02)


def memory() -> int:
    """Resident bytes of this process, behind a collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open ones of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--interval", type=int, default=0, help="requests between two lines (a twentieth of them)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    soak = Soak(arguments.requests, arguments.seed)
    began = time.process_time()
    wrong = await soak.run(arguments.interval or max(arguments.requests // 20, 1))
    spent = time.process_time() - began
    print("  ".join(f"{name}: {count}" for name, count in sorted(soak.outcomes.items())))
    parameters = {"requests": arguments.requests, "clients": CLIENTS, "seed": arguments.seed}
    report(
        [
            Row("memory", soak.last / 2**20, "MiB", "when warm", soak.warm / 2**20, parameters),
            Row("request_cpu", spent / arguments.requests * 1e6, "us", "", None, parameters),
        ],
        arguments.json,
    )
    if wrong:
        print(*wrong[:10], sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    uvloop.run(main())
