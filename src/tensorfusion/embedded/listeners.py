"""The API's two doors: TLS on an address for users, a Unix socket without TLS for the control process of the same
machine.

uvicorn's protocol is extended in one point: the client's certificate, which TLS has verified against the cluster's
authority, travels in the request's state, because ASGI has no place of its own for it.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tensorfusion.embedded.audit.middleware import Application
from tensorfusion.errors import ConfigError

_BACKLOG = 1024
_KEEP_ALIVE_SECONDS = 600
_GRACEFUL_SECONDS = 3
_MOST_HEAD = (1 << 20) + 4096
"""Bytes of a request's first line and headers, as on a real server."""
_TOO_LARGE = b"431 Request Header Fields Too Large"
_LINGER_SECONDS = 0.5
"""How long a client that is still sending has to read that it sends too much."""


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 that knows its client's certificate, and an end of a request's head."""

    _refused = False
    _taken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self.app_state = {"certificate": certificate, "connection": self}
        self._head: int | None = 0  # bytes of the head under way, None while there is a body

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            if self._head > _MOST_HEAD:
                self._refuse()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what refers back here: a connection of the past, with the buffers of its TLS, is freed at once.

        The cycle collector would take hours to look: most of what lives here is none of its business.
        """
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # the base class leaves it to run out when the connection broke
        if not self._taken:
            self.app_state = {}
            self.scope = None  # type: ignore[assignment]  # as the parser in the base class
            self.cycle = None  # type: ignore[assignment]

    def _refuse(self) -> None:
        """Answer a head that is too large, and forget whatever else comes."""
        if self._refused:
            return
        self._refused = True
        self._unset_keepalive_if_required()
        head = b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n" % _TOO_LARGE
        self.transport.write(head + _TOO_LARGE)
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    @property
    def has_all(self) -> bool:
        """Whether the bodies of all requests so far have arrived: most come with their head."""
        return not self.cycle.more_body

    def take(self) -> asyncio.Transport:
        """Give the connection up to somebody who speaks another protocol than HTTP on it."""
        self._taken = True
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.cycle.disconnected = True  # so that nobody waits for a response to it
        return self.transport

    def _unsupported_upgrade_warning(self) -> None:
        """Which upgrades are served is the application's business."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """One door. ``start`` listens and returns the port; ``serve`` goes on until ``stop``."""

    def __init__(self, app: Application, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        self._socket = listening
        factory = None if context is None else lambda config, default: context
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                loop="none",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACEFUL_SECONDS,
                backlog=_BACKLOG,
                ssl_context_factory=factory,
            )
        )

    @property
    def port(self) -> int:
        """The port, 0 of a Unix socket."""
        name = self._socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    async def serve(self) -> None:
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Stop listening; requests under way get a moment."""
        self._server.should_exit = True


def bind_address(host: str, port: int) -> socket.socket:
    """Raises:
    ConfigError: the address is in use, or is none of this machine's.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(f"port {port} of {host} cannot be used: {error.strerror}: choose another, or 0") from error
    return listening


def bind_unix(path: Path) -> socket.socket:
    """A socket that only its owner can connect to. What a killed process left there is replaced.

    Raises:
        ConfigError: the path cannot be used.
    """
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(f"{path}: cannot be used as a socket: {error}: choose a shorter --data") from error
    return listening


def tls_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """A server's context that takes client certificates of our own authority, and clients without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
