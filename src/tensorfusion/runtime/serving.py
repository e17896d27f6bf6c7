"""Serve an ASGI app on an address or a Unix socket, as part of a process that does other things too."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from tensorfusion.errors import ConfigError

_BACKLOG = 1024
_KEEP_ALIVE = 120
_GRACE = 3


class Listener:
    """One address of one app. ``start`` returns the port; ``stop`` lets requests finish for a moment.

    ``tls`` is certificate and key, both PEM files; ``client_ca`` asks clients for certificates that it has signed.
    """

    def __init__(
        self,
        app: Any,  # Any: an ASGI application
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        uds: Path | None = None,
        tls: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._uds = uds
        self._tls = tls
        self._server: _Server | None = None
        self._config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
            backlog=_BACKLOG,
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
            ssl_ca_certs=str(client_ca) if client_ca else None,
            ssl_cert_reqs=ssl.CERT_OPTIONAL if client_ca else ssl.CERT_NONE,
        )

    async def start(self) -> int:
        """Listen. Returns the port (0 for a Unix socket).

        Raises:
            ConfigError: the address or the certificate cannot be used.
        """
        try:
            self._config.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"certificate {self._tls}: cannot be used: {error}") from error
        listening = self._unix_socket(self._uds) if self._uds is not None else self._tcp_socket()
        port = 0 if self._uds is not None else int(listening.getsockname()[1])
        self._server = _Server(self._config)
        # held here and awaited in stop: a listener outlives the call that started it
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[listening]))
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise ConfigError(f"the listener on {self._uds or self._host} ended before it was ready")
            await asyncio.sleep(0.002)
        return port

    async def stop(self) -> None:
        """Close, giving requests under way a moment. Safe to call when ``start`` did not succeed."""
        if self._server is not None:
            self._server.should_exit = True
            await self._serving

    def reload_certificate(self) -> None:
        """Use the certificate files as they are now for connections to come."""
        context = self._config.ssl
        if context is not None and self._tls is not None:
            context.load_cert_chain(*self._tls)

    def _unix_socket(self, path: Path) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX)
        try:
            path.unlink(missing_ok=True)
            listening.bind(str(path))
            path.chmod(0o600)
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise ConfigError(f"socket {path}: cannot be used: {error}") from error
        return listening

    def _tcp_socket(self) -> socket.socket:
        listening = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._port))
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise ConfigError(
                f"port {self._port} of {self._host}: cannot be used: {error.strerror}: choose another, or 0"
            ) from error
        return listening


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
