"""The node's own endpoint, which the API process calls: logs, exec, attach, port forwarding of the pods here.

HTTP/1.1 on a Unix socket that only the cluster's user can open, one request a connection. Who may do what was decided
by the API process before; nothing here listens anywhere else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from tensorfusion.embedded.processes import sessions
from tensorfusion.embedded.processes.container import Container
from tensorfusion.embedded.processes.forwarding import forward_channels, forward_spdy
from tensorfusion.embedded.processes.kubelet import ProcessKubelet
from tensorfusion.embedded.processes.logs import LogOptions, read_log
from tensorfusion.embedded.processes.pod import PodRun
from tensorfusion.embedded.processes.remote import Channels, Remote, SpdyStreams, Wanted
from tensorfusion.embedded.processes.websocket import WebSocket, accept_key
from tensorfusion.embedded.statuses import status_body
from tensorfusion.errors import ApiError, BadRequest, ConfigError, NotFound, ServerError
from tensorfusion.model.meta import Key
from tensorfusion.telemetry.logs import get_logger

_MOST_HEAD = 128 << 10
_HEAD_SECONDS = 30.0
_CHANNELS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_COMMANDS = ("v4.channel.k8s.io",)
_FORWARD = ("portforward.k8s.io",)
_TUNNEL = "SPDY/3.1+portforward.k8s.io"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``headers`` are lower-case; repeated ones are joined by commas."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def text(self, name: str) -> str:
        return self.query.get(name, [""])[0]

    def offered(self, header: str) -> list[str]:
        return [part.strip() for part in self.headers.get(header, "").split(",") if part.strip()]


class Endpoint:
    """Serves the pods of one kubelet."""

    def __init__(self, kubelet: ProcessKubelet) -> None:
        self._kubelet = kubelet
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, path: Path) -> asyncio.Server:
        """Listen on a socket that is the cluster's user's alone.

        Raises:
            ConfigError: the path cannot be used.
        """
        path.unlink(missing_ok=True)
        try:
            server = await asyncio.start_unix_server(self._on_connection, path=str(path), limit=_MOST_HEAD)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be used as a socket: {error}: choose a shorter --data") from error
        path.chmod(0o600)
        return server

    async def close(self) -> None:
        """End all connections."""
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            try:
                await self._answer(_parse(head), reader, writer)
            except ApiError as error:
                _refuse(writer, error)
            except asyncio.CancelledError:
                raise
            except ConnectionError:
                return
            except Exception as error:  # the edge of a request
                log.exception("a request failed unexpectedly")
                _refuse(writer, ServerError(f"Internal error occurred: {error}"))
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return
        finally:
            if task is not None:
                self._connections.discard(task)
            writer.close()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match asked.path:
            case ("readyz",):
                writer.write(_head(200, {"Content-Type": "text/plain", "Content-Length": "2"}) + b"ok")
            case ("containerLogs", namespace, name, container):
                await self._logs(asked, self._container(namespace, name, container), writer)
            case ("exec" | "attach", namespace, name, container):
                found = self._container(namespace, name, container)
                if not found.running:
                    raise BadRequest(f"container {container} of pod {name} is not running: see kubectl describe pod")
                await self._remote(asked, found, reader, writer)
            case ("portForward", namespace, name):
                await self._forward(asked, self._pod(namespace, name), reader, writer)
            case _:
                raise NotFound("the node serves no such path")

    def _pod(self, namespace: str, name: str) -> PodRun:
        found = self._kubelet.find(Key(namespace, name))
        if found is None:
            raise NotFound(f'pods "{name}" not found on this node', kind="pods", name=name)
        return found

    def _container(self, namespace: str, name: str, container: str) -> Container:
        found = self._pod(namespace, name).container(container)
        if found is None:
            raise BadRequest(f"container {container} is not valid for pod {name}")
        return found

    async def _logs(self, asked: Asked, container: Container, writer: asyncio.StreamWriter) -> None:
        pod, name = asked.path[2], container.name
        attempt = container.attempt
        if asked.flag("previous"):
            number = attempt.number - 1 if attempt is not None else -1
            if number < 0:
                raise BadRequest(f'previous terminated container "{name}" in pod "{pod}" not found')
            log_file, running = container.log(number), lambda: False
        elif attempt is None:
            why = (container.state.get("waiting") or {}).get("reason", "ContainerCreating")
            raise BadRequest(f'container "{name}" in pod "{pod}" is waiting to start: {why}')
        else:
            current = attempt
            log_file, running = container.log(current.number), lambda: current.running
        options = LogOptions(
            follow=asked.flag("follow"),
            tail=int(asked.text("tailLines")) if asked.text("tailLines") else None,
            since=asked.text("since"),
            timestamps=asked.flag("timestamps"),
            limit=int(asked.text("limitBytes")) if asked.text("limitBytes") else None,
        )
        writer.write(_head(200, {"Content-Type": "text/plain"}))
        async for chunk in _until_closed(read_log(log_file, options, running=running), writer):
            writer.write(chunk)
            await writer.drain()

    async def _remote(
        self, asked: Asked, container: Container, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        wanted = Wanted(asked.flag("stdin"), asked.flag("stdout"), asked.flag("stderr"), asked.flag("tty"))
        client: Remote
        if "websocket" in asked.headers.get("upgrade", "").lower():
            _choose(asked, writer, _CHANNELS)
            client = Channels(WebSocket(reader, writer))
        else:
            _upgrade_spdy(asked, writer, _COMMANDS)
            client = SpdyStreams(_Bare(reader, writer), wanted)
            if not await client.ready():
                return
        if asked.path[0] == "exec":
            await sessions.execute(container, asked.query.get("command", []), wanted, client)
        else:
            await sessions.attach(container, wanted, client)
        await _drained(reader)

    async def _forward(
        self, asked: Asked, pod: PodRun, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if "websocket" not in asked.headers.get("upgrade", "").lower():
            _upgrade_spdy(asked, writer, _FORWARD)
            await forward_spdy(_Bare(reader, writer), pod.listening)
            return
        chosen = _choose(asked, writer, (_TUNNEL, "v4.channel.k8s.io"))
        socket = WebSocket(reader, writer)
        if chosen == _TUNNEL:
            await forward_spdy(_Tunnel(socket), pod.listening)
            await socket.close()
        else:
            ports = [int(port) for text in asked.query.get("ports", []) for port in text.split(",")]
            await forward_channels(socket, ports, pod.listening)


class _Bare:
    """SPDY on the connection itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(1 << 16)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class _Tunnel:
    """SPDY inside WebSocket messages."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._messages = socket.messages()

    async def read(self) -> bytes:
        async for message in self._messages:
            if message:  # clients send empty ones, which are not the end
                return message
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)


async def _until_closed(chunks: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    """Chunks as long as somebody takes them."""
    async for chunk in chunks:
        if writer.is_closing():
            return
        yield chunk


async def _drained(reader: asyncio.StreamReader) -> None:
    """Let the client close first, so that nothing it has not read yet is lost."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(2.0):
            while await reader.read(1 << 16):
                pass


def _choose(asked: Asked, writer: asyncio.StreamWriter, known: tuple[str, ...]) -> str:
    """Finish a WebSocket handshake; the subprotocol that was agreed on."""
    offered = asked.offered("sec-websocket-protocol")
    chosen = next((protocol for protocol in known if protocol in offered), None)
    if chosen is None:
        raise BadRequest(
            f"Sec-WebSocket-Protocol: wanted one of {', '.join(known)}, found {', '.join(offered) or 'none'}"
        )
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_key(asked.headers.get("sec-websocket-key", "")),
        "Sec-WebSocket-Protocol": chosen,
    }
    writer.write(_head(101, headers))
    return chosen


def _upgrade_spdy(asked: Asked, writer: asyncio.StreamWriter, known: tuple[str, ...]) -> None:
    if asked.headers.get("upgrade", "").upper() != "SPDY/3.1":
        raise BadRequest("Upgrade request required")
    offered = asked.offered("x-stream-protocol-version")
    chosen = next((protocol for protocol in known if protocol in offered), None)
    if chosen is None:
        raise BadRequest(f"X-Stream-Protocol-Version: wanted {', '.join(known)}, found {', '.join(offered) or 'none'}")
    writer.write(_head(101, {"Upgrade": "SPDY/3.1", "Connection": "Upgrade", "X-Stream-Protocol-Version": chosen}))


def _parse(head: bytes) -> Asked:
    try:
        line, *rest = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
    except ValueError as error:
        raise BadRequest("the request does not parse") from error
    headers: dict[str, str] = {}
    for entry in rest:
        name, colon, value = entry.partition(":")
        if colon:
            name = name.strip().lower()
            headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    url = urlsplit(target)
    path = tuple(unquote(part) for part in url.path.strip("/").split("/"))
    return Asked(method, path, parse_qs(url.query, keep_blank_values=True), headers)


def _head(code: int, headers: Mapping[str, str]) -> bytes:
    phrase = {101: "Switching Protocols", 200: "OK"}.get(code, "Error")
    extra = {} if code == 101 else {"Connection": "close"}
    lines = [f"HTTP/1.1 {code} {phrase}", *(f"{name}: {value}" for name, value in {**headers, **extra}.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _refuse(writer: asyncio.StreamWriter, error: ApiError) -> None:
    body = msgspec.json.encode(status_body(error))
    writer.write(
        _head(error.status_code, {"Content-Type": "application/json", "Content-Length": str(len(body))}) + body
    )
