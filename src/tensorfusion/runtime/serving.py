"""Serve an ASGI app on an address or a Unix socket, as part of a process that does other things too."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import uvicorn

from tensorfusion.errors import ConfigError


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:  # Any: the base class is not typed
        yield


class Listener:
    """One address of one app. ``start`` returns the port; ``stop`` lets requests finish for a moment."""

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
        options: dict[str, Any] = {}  # Any: uvicorn's keyword arguments
        if tls is not None:
            options = {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1])}
            if client_ca is not None:
                options |= {"ssl_ca_certs": str(client_ca)}
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
            timeout_keep_alive=120,
            timeout_graceful_shutdown=3,
            backlog=1024,
            **options,
        )

    async def start(self) -> int:
        """Listen. Returns the port (0 for a Unix socket).

        Raises:
            ConfigError: the address is in use or may not be used.
        """
        if self._uds is not None:
            self._uds.unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self._uds))
            self._uds.chmod(0o600)
            port = 0
        else:
            listening = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((self._host, self._port))
            except OSError as error:
                listening.close()
                raise ConfigError(
                    f"port {self._port} of {self._host} cannot be used: {error.strerror}: choose another, or 0"
                ) from error
            port = int(listening.getsockname()[1])
        listening.listen(1024)
        self._server = _Server(self._config)
        self._task = asyncio.ensure_future(self._server.serve(sockets=[listening]))
        while not self._server.started:
            if self._task.done():
                await self._task
                raise ConfigError(f"the listener on {self._uds or self._host} did not start")
            await asyncio.sleep(0.005)
        return port

    async def stop(self) -> None:
        """Close, giving requests under way a moment."""
        self._server.should_exit = True
        await self._task
