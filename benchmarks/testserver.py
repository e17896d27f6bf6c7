"""What an answer of the simulated model server costs: processor time of a small answer and of an event of a stream.

``same`` is one request again and again, ``different`` one that never comes twice.

Peers in the same run, each with the bytes of one answer that never changes: a bare server over httptools that checks
nothing, and ``tensorfusion.wire``. The server runs on one core, the load on another; its time is what the kernel
accounts to it, so it holds the system's share of each packet. ``requests`` is what one core can do: one second over it.
"""

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httptools
import uvloop

from _report import Row, report
from tensorfusion.testing.llm import LlmServer, Settings
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server

SERVERS = ("llm", "wire", "bare")
IN_FLIGHT = 32
TOKENS = 16
STREAM_TOKENS = 256
ROUNDS = 3
_ANSWER = b'{"id":"x","choices":[{"message":{"role":"assistant","content":"' + b"y" * 500 + b'"}}]}'
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER)
_NUMBER = b"@number@"
_JSON = ((b"Content-Type", b"application/json"),)


def request_of(tokens: int, *, stream: bool) -> bytes:
    """As a client of OpenAI sends it, less some fields."""
    body = (
        b'{"model":"sim-small","messages":[{"role":"user","content":"%b"}],"max_tokens":%d,"ignore_eos":true,"stream":%b}'
        % (b"hello there " * 30 + _NUMBER, tokens, b"true" if stream else b"false")
    )
    fields = (
        b"Authorization: Bearer tf-abcdefghijklmnop\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        b"User-Agent: OpenAI/Python 1.2\r\nX-Stainless-Lang: python\r\n"
    )
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n"
    return head % (fields, len(body)) + body


# --- the servers ---


async def llm() -> None:
    async with LlmServer(Settings(seen=0)) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


async def wire() -> None:
    async def handle(request: Request, reply: Reply) -> None:
        await request.whole(1 << 20)
        reply.send(200, _JSON, _ANSWER)

    print(await Server(handle).listen(), flush=True)
    await asyncio.Event().wait()


class Bare(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(_HEAD + _ANSWER)


async def bare() -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


# --- the load ---


@dataclass
class Load(asyncio.Protocol):
    """One client: so many requests, one after the other. An answer ends with the end of its JSON or of its chunks."""

    request: bytes
    left: int
    ended: asyncio.Future[None]
    end: bytes
    numbers: Iterator[int]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._transport.write(self.request.replace(_NUMBER, b"%08d" % next(self.numbers)))

    def data_received(self, data: bytes) -> None:
        if not data.endswith(self.end):
            return
        self.left -= 1
        if self.left:
            self._ask()
        else:
            self._transport.close()
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("closed in the middle"))


async def load(port: int, pid: int, request: bytes, end: bytes, *, each: int, same: bool = True) -> float:
    """Seconds of the server's processor time for one of the requests."""
    loop = asyncio.get_running_loop()
    numbers = itertools.repeat(0) if same else itertools.count()

    async def client() -> None:
        ended = loop.create_future()
        await loop.create_connection(lambda: Load(request, each, ended, end, numbers), "127.0.0.1", port)
        await ended

    before = processor_seconds(pid)
    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    return (processor_seconds(pid) - before) / IN_FLIGHT / each


def processor_seconds(pid: int) -> float:
    """Of the process's one busy thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def running(name: str, core: int) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that this script starts on a core."""
    process = subprocess.Popen([sys.executable, __file__, name], stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, {core})
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.wait()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    whole, stream = request_of(TOKENS, stream=False), request_of(STREAM_TOKENS, stream=True)
    best: dict[str, float] = {}
    event = float("inf")
    for _ in range(ROUNDS):
        for name in SERVERS:
            with running(name, cores[-1]) as (port, pid):
                await load(port, pid, whole, b"}", each=20)
                took = await load(port, pid, whole, b"}", each=arguments.requests // IN_FLIGHT)
                best[name] = min(took, best.get(name, took))
                if name == "llm":
                    took = await load(port, pid, whole, b"}", each=arguments.requests // IN_FLIGHT, same=False)
                    best["different"] = min(took, best.get("different", took))
                    each = max(arguments.requests // IN_FLIGHT // 16, 1)
                    took = await load(port, pid, stream, b"0\r\n\r\n", each=each)
                    event = min(event, took / (STREAM_TOKENS + 3))
    rows = []
    for took, requests in ((best["llm"], "same"), (best["different"], "different")):
        small = {"tokens": TOKENS, "in_flight": IN_FLIGHT, "requests": requests}
        rows += [Row("answer_cpu", took * 1e6, "us", peer, best[peer] * 1e6, small) for peer in SERVERS[1:]]
        rows.append(Row("answers_a_core", 1 / took, "1/s", "goal", 15_000, small))
    rows.append(Row("event_cpu", event * 1e6, "us", "", None, {"tokens": STREAM_TOKENS}))
    report(rows, arguments.json)


if __name__ == "__main__":
    roles = {"llm": llm, "wire": wire, "bare": bare}
    uvloop.run(roles[sys.argv[1]]() if sys.argv[1:2] and sys.argv[1] in roles else main())
