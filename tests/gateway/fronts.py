"""A gateway of one process, targets that send exactly the bytes they are told to, and a client that reads them."""

import asyncio
import contextlib
import json
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import msgspec
from prometheus_client import CollectorRegistry

from tensorfusion.gateway.evidence import Evidence, Meters, Record, Sink, Traces
from tensorfusion.gateway.front import MOST_BODY, Front, Question
from tensorfusion.gateway.handling import Handler
from tensorfusion.gateway.pages import Pages
from tensorfusion.gateway.seams import Key, Keys, Limits, NoKeys, Reservation
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State, no_addresses
from tensorfusion.gateway.upstreams import Addresses
from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.policy.routing.route import Route
from tensorfusion.telemetry.metrics import metrics_response
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server

PATIENCE = 20
Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


# --- targets ---


@dataclass
class Asked:
    """One request as a target got it."""

    target: str
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


@dataclass
class Target:
    """What a target saw."""

    port: int
    requests: list[Asked] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    """When a connection was ended by the gateway while it was to be answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextlib.asynccontextmanager
async def target(*answers: bytes | Act) -> AsyncIterator[Target]:
    """Answers each request in turn, the last one for ever."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                found.requests.append(await _read(reader))
                answer = left.pop(0) if len(left) > 1 else left[0]
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            found.left.append(asyncio.get_running_loop().time())
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    found = Target(server.sockets[0].getsockname()[1])
    try:
        yield found
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return Asked(lines[0].split(" ")[1], fields, body)


def answer(body: object, *, status: int = 200, fields: bytes = b"", kind: bytes = b"application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        kind,
        fields,
        len(data),
        data,
    )


def said(text: str, *, model: str = "up", usage: tuple[int, int] | None = (3, 2)) -> bytes:
    """A whole chat completion."""
    body: dict[str, object] = {
        "id": "x",
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    }
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return answer(body)


def failed(status: int, message: str = "no", *, fields: bytes = b"", code: str | None = None) -> bytes:
    return answer({"error": {"message": message, "type": "t", "code": code}}, status=status, fields=fields)


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def word(text: str, **delta: object) -> bytes:
    return event({"id": "x", "choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": None}]})


ROLE = event({"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
STOP = event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USAGE = event({"id": "x", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
DONE = event(b"[DONE]")


def chunked(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in events)


def streamed(*events: bytes) -> bytes:
    """A whole stream."""
    return STREAM + chunked(*events) + LAST


def apart(*events: bytes) -> Act:
    """A whole stream, the last events in an arrival of their own."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(*events[:2]))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(chunked(*events[2:]) + LAST)

    return act


def cut(*events: bytes) -> Act:
    """A stream whose connection is reset behind these."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(*events))
        await writer.drain()
        await asyncio.sleep(0.02)  # what was sent is to arrive before the reset
        reset(writer)

    return act


async def reset_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    link = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionResetError


def stall(*events: bytes) -> Act:
    """A stream that says nothing more behind these; without any, no answer at all."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if events:
            writer.write(STREAM + chunked(*events))
            await writer.drain()
        await reader.readexactly(1)  # until the gateway leaves

    return act


# --- the gateway ---


class Held:
    lines = b""

    def __init__(self, counted: "Counted") -> None:
        self._counted = counted
        self._open = True

    def settle(self, tokens: int) -> None:
        assert self._open, "settled twice"
        self._open = False
        self._counted.open -= 1
        self._counted.settled.append(tokens)


class Counted(Limits):
    """Counts what is held and what was settled."""

    def __init__(self) -> None:
        self.open = 0
        self.reserved: list[int] = []
        self.settled: list[int] = []

    async def reserve(self, key: Key, route: Route, *, tokens: int, guess: int = 0) -> Reservation:
        self.open += 1
        self.reserved.append(tokens)
        return Held(self)


class Kept:
    """A sink that keeps records."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(self, record: Record) -> None:
        self.records.append(record)


@dataclass
class Gateway:
    port: int
    front: Front
    server: Server
    limits: Counted
    records: list[Record]
    failures: list[Exception]


def route(*targets: Mapping[str, object], name: str = "r", namespace: str = "default", **spec: object) -> LLMRoute:
    written = [
        {"name": f"t{at}", "provider": "self-hosted", "model": f"up{at}", "priority": at, **target}
        for at, target in enumerate(targets)
    ]
    return msgspec.convert(
        {
            "apiVersion": "tensor-fusion.ai/v1",
            "kind": "LLMRoute",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"strategy": "priority", "targets": written, **spec},
        },
        LLMRoute,
    )


@contextlib.asynccontextmanager
async def gateway(
    *routes: LLMRoute,
    secrets: Secrets | None = None,
    keys: Keys | None = None,
    addresses: Addresses = no_addresses,
    questions: Mapping[bytes, Question] | None = None,
    handlers: Mapping[bytes, Handler] | None = None,
    sinks: tuple[Sink, ...] = (),
    traces: Traces | None = None,
    limits: Counted | None = None,
    registry: CollectorRegistry | None = None,
    most_body: int = MOST_BODY,
    later: bool = False,
) -> AsyncIterator[Gateway]:
    """Nothing of it is left at the end, and everything that was held was settled."""
    limits, kept = limits or Counted(), Kept()
    state = State.make(routes, secrets or Secrets({}), addresses=addresses)
    front = Front(
        state,
        keys=NoKeys() if keys is None else keys,
        limits=limits,
        evidence=Evidence(
            (kept, *sinks),
            meters=Meters(registry or CollectorRegistry()),
            traces=traces,
            later=asyncio.get_running_loop() if later else None,
        ),
        pages=Pages(now=asyncio.get_running_loop().time, ready=lambda: "", metrics=metrics_response),
        questions=questions,
        handlers=handlers,
        most_body=most_body,
    )
    failures: list[Exception] = []

    def failed(request: Request, error: Exception) -> None:
        traceback.print_exception(error)
        failures.append(error)

    server = Server(front.handle, failed=failed)
    try:
        yield Gateway(await server.listen(), front, server, limits, kept.records, failures)
    finally:
        await server.drain(0)
        await front.close()
    assert failures == []
    assert limits.open == 0
    assert server.connections == 0
    for replica in front.state.upstreams.replicas:
        assert (replica.requests, replica.tokens, replica.pool.connections) == (0, 0, 0)
    for chooser in front.state.choosers.values():
        assert all(report.in_flight == 0 for report in chooser.status(0.0))


async def until(true: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Let the loop run until ``true()`` holds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def steady() -> AsyncIterator[Callable[[], float]]:
    """A clock of the loop: seconds in which it turned. While this process, or the machine, stood still, none went by."""
    turns, step = 0, 0.005

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(step)
            turns += 1

    turning = asyncio.ensure_future(turn())
    try:
        yield lambda: turns * step
    finally:
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)


# --- the client ---


@dataclass
class Response:
    status: int
    fields: dict[str, str]
    body: bytes
    whole: bool = True
    """It ended as its framing says."""

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found

    @property
    def error(self) -> dict[str, object]:
        found = self.json["error"]
        assert isinstance(found, dict)
        return found


class Client:
    """One connection: ``async with Client(port) as client``."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, body: object, *, path: str = "chat/completions", fields: bytes = b"") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.writer.write(
            b"POST /v1/%b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
            % (path.encode(), fields, len(data), data)
        )

    def get(self, path: str, *, fields: bytes = b"") -> None:
        self.writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), fields))

    async def response(self) -> Response:
        async with asyncio.timeout(PATIENCE):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
            found = Response(int(lines[0].split(" ")[1]), fields, b"")
            try:
                if "content-length" in fields:
                    found.body = await self.reader.readexactly(int(fields["content-length"]))
                else:
                    while chunk := await self.chunk():
                        found.body += chunk
            except (asyncio.IncompleteReadError, ConnectionError):
                found.whole = False
        return found

    async def chunk(self) -> bytes:
        """The next one; empty for the last."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]


async def ask(port: int, body: object, *, path: str = "chat/completions", fields: bytes = b"") -> Response:
    """One request over a connection of its own."""
    async with Client(port) as client:
        client.send(body, path=path, fields=fields)
        return await client.response()


async def request(port: int, method: str, path: str, body: object = None, *, fields: bytes = b"") -> Response:
    """One request of any method over a connection of its own; ``body`` None is none."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n".encode()
    if body is not None:
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(data)
    async with Client(port) as client:
        client.writer.write(head + fields + b"\r\n" + data)
        return await client.response()


def chat(*, stream: bool = False, model: str = "m", **fields: object) -> dict[str, object]:
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return {**body, "stream": True} if stream else body
