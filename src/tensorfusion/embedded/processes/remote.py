"""A client's standard streams over a connection: WebSocket channels, or SPDY streams.

Both are the same to whoever runs a command: events come in, output and one final status go out.

Source: the remote command protocols ``v4.channel.k8s.io`` and ``v5.channel.k8s.io``.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from tensorfusion.embedded.processes.spdy import Link, Spdy, Stream
from tensorfusion.embedded.processes.websocket import WebSocket
from tensorfusion.model.meta import Raw

_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _CLOSED = 0, 1, 2, 3, 4, 255
_OUTPUTS = {"stdout": _STDOUT, "stderr": _STDERR}
_STREAMS_SECONDS = 30.0
_GOODBYE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes for standard input."""

    data: bytes


@dataclass(frozen=True, slots=True)
class InputEnd:
    """Standard input has ended."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The client's terminal has this size."""

    rows: int
    columns: int


Event: TypeAlias = Input | InputEnd | Resize


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the request asks for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class Remote(Protocol):
    """One client. ``events`` ends when the client is gone."""

    def events(self) -> AsyncIterator[Event]: ...

    async def write(self, stream: str, data: bytes) -> None: ...

    async def finish(self, status: Raw) -> None: ...


def success() -> Raw:
    return {"metadata": {}, "status": "Success"}


def exited(code: int) -> Raw:
    """The status of a command: kubectl takes its own exit code from it."""
    if code == 0:
        return success()
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failed(message: str, *, code: int = 500) -> Raw:
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "BadRequest" if code == 400 else "InternalError",
        "code": code,
    }


class Channels:
    """Standard streams in WebSocket messages: the first byte says which."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def events(self) -> AsyncIterator[Event]:
        async for message in self._socket.messages():
            if not message:
                continue
            channel, body = message[0], message[1:]
            if channel == _STDIN:
                yield Input(body)
            elif channel == _CLOSED and body[:1] == bytes((_STDIN,)):
                yield InputEnd()
            elif channel == _RESIZE and (resize := _resize(body)) is not None:
                yield resize

    async def write(self, stream: str, data: bytes) -> None:
        await self._socket.send(bytes((_OUTPUTS[stream],)) + data)

    async def finish(self, status: Raw) -> None:
        await self._socket.send(bytes((_STATUS,)) + msgspec.json.encode(status))
        await self._socket.close()


class SpdyStreams:
    """Standard streams as SPDY streams, named by their header ``streamtype``."""

    def __init__(self, link: Link, wanted: Wanted) -> None:
        self._names = {"error"}
        self._names |= {name for name in ("stdin", "stdout") if getattr(wanted, name)}
        if wanted.stderr and not wanted.tty:
            self._names.add("stderr")
        if wanted.tty:
            self._names.add("resize")
        self._streams: dict[str, Stream] = {}
        self._complete = asyncio.Event()
        self._connection = Spdy(link, self._opened)
        self._reading: asyncio.Task[None] | None = None

    async def _opened(self, stream: Stream) -> None:
        self._streams[stream.headers.get("streamtype", "")] = stream
        if self._names <= self._streams.keys():
            self._complete.set()

    async def ready(self) -> bool:
        """Whether the client opened all its streams in time."""
        self._reading = asyncio.create_task(self._connection.run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STREAMS_SECONDS):
                await self._complete.wait()
                return True
        await self.leave()
        return False

    async def events(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event | None] = asyncio.Queue(64)
        tasks = [asyncio.create_task(self._gone(queue))]
        if "stdin" in self._streams:
            tasks.append(asyncio.create_task(self._pass_input(queue)))
        if "resize" in self._streams:
            tasks.append(asyncio.create_task(self._pass_sizes(queue)))
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            for task in tasks:
                task.cancel()

    async def write(self, stream: str, data: bytes) -> None:
        found = self._streams.get(stream)
        if found is not None:
            await found.send(data)

    async def finish(self, status: Raw) -> None:
        for name in ("stdout", "stderr"):
            if name in self._streams:
                await self._streams[name].end()
        await self._streams["error"].send(msgspec.json.encode(status))
        await self._streams["error"].end()
        if self._reading is not None:
            await asyncio.wait((self._reading,), timeout=_GOODBYE_SECONDS)
        await self.leave()

    async def leave(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _gone(self, queue: asyncio.Queue[Event | None]) -> None:
        if self._reading is not None:
            await asyncio.wait((self._reading,))
        await queue.put(None)

    async def _pass_input(self, queue: asyncio.Queue[Event | None]) -> None:
        async for chunk in self._streams["stdin"].chunks():
            await queue.put(Input(chunk))
        await queue.put(InputEnd())

    async def _pass_sizes(self, queue: asyncio.Queue[Event | None]) -> None:
        async for chunk in self._streams["resize"].chunks():
            if (resize := _resize(chunk)) is not None:
                await queue.put(resize)


def _resize(body: bytes) -> Resize | None:
    try:
        found = json.loads(body)
        return Resize(int(found["Height"]), int(found["Width"]))
    except (ValueError, KeyError, TypeError):
        return None
