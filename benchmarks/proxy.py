"""What a proxy made of ``tensorfusion.wire`` costs: processor time of a request and of an event of a stream, and what
it adds to an event's way.

Peers in the same run: a bare proxy over httptools that checks and bounds nothing (what the same work costs at least),
and aiohttp's client behind uvicorn. The proxy runs on one core, the upstream and the load on another; its time is what
the kernel accounts to it, so it holds the system's share of each packet. Streams are 64 events, 20 ms apart.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
import httptools
import uvicorn
import uvloop

from _report import Row, report
from tensorfusion.wire.fields import end_to_end
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool
from tensorfusion.wire.relay import relay
from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server

PROXIES = ("wire", "bare", "aiohttp")
IN_FLIGHT = 32
EVENTS = 64
EVENT_SECONDS = 0.02
MOST_BODY = 1 << 20
ROUNDS = 3

_BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"z" * 600 + b'"}]}'
_ANSWER_BODY = b'{"id":"x","choices":[{"message":{"role":"assistant","content":"' + b"y" * 700 + b'"}}]}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_ANSWER_BODY),
    _ANSWER_BODY,
)
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENT = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"hello"}}],"sent":%d}\n\n'
_SENT = re.compile(rb'"sent":(\d+)')


def request_of(path: bytes) -> bytes:
    """As the client of OpenAI sends it, less some fields."""
    fields = (
        b"Authorization: Bearer tf-abcdefghijklmnop\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
    )
    fields += b"User-Agent: OpenAI/Python 1.2\r\nX-Stainless-Lang: python\r\n"
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n" % (path, fields, len(_BODY))
    return head + _BODY


# --- the upstream ---


class Upstream(asyncio.Protocol):
    """Answers whatever comes, with a stream where the path says so. A request comes in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /stream"):
            self._transport.write(_STREAM)
            self._left = EVENTS
            loop = asyncio.get_running_loop()
            self._next = loop.time() + EVENT_SECONDS
            loop.call_at(self._next, self._send)
        elif data.startswith(b"POST"):
            self._transport.write(_ANSWER)

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        event = _EVENT % time.monotonic_ns()
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._left -= 1
        if self._left:
            self._next += EVENT_SECONDS
            asyncio.get_running_loop().call_at(self._next, self._send)
        else:
            self._transport.write(b"0\r\n\r\n")


async def upstream() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


# --- the proxies ---


async def wire(port: int) -> None:
    pool = Pool(Origin(host="127.0.0.1", port=port))

    async def handle(request: Request, reply: Reply) -> None:
        body = await request.whole(MOST_BODY)
        async with pool.exchange(request.method, request.target, end_to_end(request.fields), body) as answer:
            await relay(answer, reply)

    print(await Server(handle).listen(), flush=True)
    await asyncio.Event().wait()


class BareUpstream(asyncio.Protocol):
    """Hands on what comes, and looks for its end."""

    idle: "list[BareUpstream]" = []  # noqa: RUF012 - of the one process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, client: asyncio.Transport, data: bytes) -> None:
        self._client, self._done = client, False
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._client.write(data)
        self._parser.feed_data(data)
        if self._done:
            self.idle.append(self)

    def on_message_complete(self) -> None:
        self._done = True


class BareProxy(asyncio.Protocol):
    port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._parts += (self._parser.get_method(), b" ", url, b" HTTP/1.1\r\n")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parts.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        self._parts.append(b"\r\n")

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        data = b"".join(self._parts)
        self._parts = []
        if BareUpstream.idle:
            BareUpstream.idle.pop().ask(self._transport, data)
        else:
            self._task = asyncio.ensure_future(self._connect(data))

    async def _connect(self, data: bytes) -> None:
        _, found = await asyncio.get_running_loop().create_connection(BareUpstream, "127.0.0.1", self.port)
        found.ask(self._transport, data)


async def bare(port: int) -> None:
    BareProxy.port = port
    server = await asyncio.get_running_loop().create_server(BareProxy, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


async def behind_uvicorn(port: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    dropped = {b"host", b"content-length", b"transfer-encoding", b"connection"}

    async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        fields = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in dropped]
        url = f"http://127.0.0.1:{port}{scope['path']}"
        async with session.post(url, headers=dict(fields), data=body) as answer:
            given = [(name, value) for name, value in answer.raw_headers if name.lower() not in dropped]
            await send({"type": "http.response.start", "status": answer.status, "headers": given})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        config = uvicorn.Config(
            cast("Any", app), port=0, log_level="error", lifespan="off", access_log=False, loop="uvloop", backlog=2048
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve())
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await serving


# --- the load ---


@dataclass
class Load(asyncio.Protocol):
    """One client: so many requests, one after the other."""

    request: bytes
    left: int
    ended: asyncio.Future[None]
    ways: list[int] = field(default_factory=list)
    """Nanoseconds of each event from its sending to its arrival."""
    length: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.ways.extend(now - int(found) for found in _SENT.findall(data))
        self._buffer = (self._buffer + data)[-8192:]
        if not self._buffer.endswith((b"0\r\n\r\n", _ANSWER_BODY[-8:])):
            return
        self._buffer = b""
        self.left -= 1
        if self.left:
            self._transport.write(self.request)
        else:
            self._transport.close()
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("closed in the middle"))


@dataclass(frozen=True)
class Found:
    """Of one load: seconds it took, seconds of the proxy's processor time, and the ways of events, sorted."""

    seconds: float
    cpu: float
    ways: list[int]


async def load(port: int, pid: int, path: bytes, *, clients: int, each: int) -> Found:
    loop = asyncio.get_running_loop()
    request = request_of(path)
    ways: list[int] = []

    async def client() -> None:
        ended = loop.create_future()
        await loop.create_connection(lambda: Load(request, each, ended, ways), "127.0.0.1", port)
        await ended

    cpu, started = processor_seconds(pid), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Found(time.perf_counter() - started, processor_seconds(pid) - cpu, sorted(ways))


def processor_seconds(pid: int) -> float:
    """Of the process's one busy thread; 0 for 0."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9 if pid else 0.0


@contextmanager
def running(*arguments: str, core: int) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that this script starts on a core."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, {core})
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.wait()


async def measure(port: int, pid: int, requests: int, streams: int) -> tuple[float, float, float, list[int]]:
    """Microseconds of a request and of an event, requests a second, and the ways of events."""
    await load(port, pid, b"/v1/chat/completions", clients=IN_FLIGHT, each=20)
    whole = await load(port, pid, b"/v1/chat/completions", clients=IN_FLIGHT, each=requests // IN_FLIGHT)
    stream = await load(port, pid, b"/stream", clients=streams, each=1)
    count = requests // IN_FLIGHT * IN_FLIGHT
    assert len(stream.ways) == streams * EVENTS, f"{len(stream.ways)} events came"
    return whole.cpu / count * 1e6, stream.cpu / len(stream.ways) * 1e6, count / whole.seconds, stream.ways


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=512)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    here, there = cores[0], cores[-1]
    os.sched_setaffinity(0, {here})
    found: dict[str, list[tuple[float, float, float, list[int]]]] = {}
    with running("upstream", core=here) as (port, _):
        for _ in range(ROUNDS):
            for name in PROXIES:
                with running(name, str(port), core=there) as (proxy, pid):
                    figures = await measure(proxy, pid, arguments.requests, arguments.streams)
                    found.setdefault(name, []).append(figures)
            direct = await load(port, 0, b"/stream", clients=arguments.streams, each=1)
            found.setdefault("direct", []).append((0.0, 0.0, 0.0, direct.ways))
    rows = []
    mine = found["wire"]
    for peer in PROXIES[1:]:
        theirs = found[peer]
        with_load = {"in_flight": IN_FLIGHT}
        for column, name, unit, parameters in (
            (0, "request_cpu", "us", with_load),
            (1, "event_cpu", "us", {"streams": arguments.streams}),
        ):
            best, other = (min(cast("float", figures[column]) for figures in rounds) for rounds in (mine, theirs))
            rows.append(Row(name, best, unit, peer, other, parameters))
        rates = [max(figures[2] for figures in rounds) for rounds in (mine, theirs)]
        rows.append(Row("requests", rates[0], "1/s", peer, rates[1], with_load))
    for share, name in ((50, "p50"), (99, "p99")):
        mine_at, direct_at = (
            min(ways[len(ways) * share // 100] / 1e3 for *_, ways in found[key]) for key in ("wire", "direct")
        )
        rows.append(Row(f"event_way_{name}", mine_at, "us", "direct", direct_at, {"streams": arguments.streams}))
    report(rows, arguments.json)


if __name__ == "__main__":
    roles = {"wire": wire, "bare": bare, "aiohttp": behind_uvicorn}
    if sys.argv[1:2] == ["upstream"]:
        uvloop.run(upstream())
    elif sys.argv[1:2] and sys.argv[1] in roles:
        uvloop.run(roles[sys.argv[1]](int(sys.argv[2])))
    else:
        uvloop.run(main())
