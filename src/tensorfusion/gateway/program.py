"""The gateway as processes: one that serves by itself, or workers under a supervisor, all on one port.

Every process follows the files by itself and has the routes in memory of its own; what they share are the port and the
counters of limits. A worker is this module run with ``-m``.
"""

import asyncio
import gc
import logging
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import uvloop

from tensorfusion.clock import SystemClock
from tensorfusion.errors import ConfigError, TensorFusionError
from tensorfusion.gateway.configuring import Configuration, Tls, read_configuration
from tensorfusion.gateway.evidence import Evidence, Meters
from tensorfusion.gateway.faults import JSON, Words, body_of, refusal
from tensorfusion.gateway.front import Front
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.limits.gate import gate_of, redis_url
from tensorfusion.gateway.lines import JsonLines
from tensorfusion.gateway.pages import Pages
from tensorfusion.gateway.reloading import Following
from tensorfusion.gateway.seams import Keys, NoKeys
from tensorfusion.gateway.state import State
from tensorfusion.telemetry import logs
from tensorfusion.telemetry.metrics import metrics_response
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server
from tensorfusion.wire.worker import work
from tensorfusion.wire.workers import Workers

_SOURCE: Final = "file"
_FIXED: Final = ("listen", "workers", "limits_file", "limits_redis", "log", "tls", "max_body", "drain")
"""Settings that a running process cannot change."""
log = logs.get_logger(__name__)


def run(path: Path, *, listen: str = "", workers: int = 0, say: Callable[[str], None]) -> None:
    """Serve until told to end. ``listen`` and ``workers`` go before what the files say.

    Raises:
        ConfigError: the configuration cannot be used, or the address cannot be listened on.
    """
    found = read_configuration(path, listen=listen)
    count = workers or found.settings.workers
    if count == 1:
        uvloop.run(_serve_alone(path, found, listen, say))
        return
    host, port = found.settings.address
    command = [sys.executable, "-m", "tensorfusion.gateway.program", str(path.resolve()), listen]
    try:
        supervisor = Workers(
            lambda listener, lifeline: [*command, str(listener), str(lifeline)],
            count=count,
            host=host,
            port=port,
            drain_seconds=found.settings.drain_seconds,
            say=say,
        )
    except OSError as error:
        raise _cannot_listen(found, error) from error
    say(_welcome(found, supervisor.port, count))
    supervisor.run()


class Gateway:
    """Everything of one process. ``listen`` goes before what the files say."""

    def __init__(self, path: Path, configuration: Configuration, *, listen: str = "") -> None:
        """Raises ConfigError: something of it cannot be used here."""
        clock = SystemClock()
        settings = configuration.settings
        self._configuration = configuration
        self._book = KeyBook(clock)
        self._book.replace(_SOURCE, configuration.keys)
        self.gate = gate_of(path, file=settings.limits_file, redis=redis_url(settings.limits_redis))
        meters = Meters()
        self._lines: JsonLines | None = None
        if settings.log.file:
            where = settings.log.file
            self._lines = JsonLines(where, dropped=lambda: meters.records_dropped.add((where,)))
        self.front = Front(
            self._state_of(configuration, None),
            keys=self._keys_of(configuration),
            limits=self.gate,
            evidence=Evidence((self._lines,) if self._lines is not None else (), meters=meters),
            pages=Pages(now=asyncio.get_running_loop().time, ready=self._why_not_ready, metrics=metrics_response),
            most_body=settings.max_body,
        )
        self.server = Server(self.front.handle, spell=_spell, failed=_failed)
        self.following = Following(
            configuration, read=lambda: read_configuration(path, listen=listen), clock=clock, use=self._use
        )
        self.tls = _context(settings.tls) if settings.tls is not None else None

    async def run(self, serve: Awaitable[None]) -> None:
        """Follow the files while ``serve`` serves, and close everything behind it."""
        gc.collect()
        gc.freeze()  # what is there now stays: looking through it again and again would cost more than all requests
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self.following.run())
            await serve
            following.cancel()
        if self._lines is not None:
            await asyncio.to_thread(self._lines.close)
        await self.front.state.upstreams.close()

    def _state_of(self, configuration: Configuration, before: State | None) -> State:
        return State.make(
            configuration.open_routes,
            configuration.secrets,
            addresses=configuration.addresses,
            revision=configuration.revision,
            before=before,
        )

    def _keys_of(self, configuration: Configuration) -> Keys:
        return self._book if configuration.keys else NoKeys()

    def _use(self, configuration: Configuration) -> None:
        """Put a configuration in force. Raises ConfigError."""
        old, new = self._configuration.settings, configuration.settings
        changed = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if changed:
            log.warning("some settings take effect with the next start", settings=",".join(changed))
        state = self._state_of(configuration, self.front.state)
        self._book.replace(_SOURCE, configuration.keys)
        self.front.keys = self._keys_of(configuration)
        self.front.state = state
        self._configuration = configuration

    def _why_not_ready(self) -> str:
        return "draining" if self.server.draining else ""


async def _serve_alone(path: Path, found: Configuration, listen: str, say: Callable[[str], None]) -> None:
    """In this process, until SIGTERM or SIGINT."""
    logs.setup(os.environ.get(logs.VARIABLE, "info"), "gateway")
    gateway = Gateway(path, found, listen=listen)
    host, port = found.settings.address
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    try:
        port = await gateway.server.listen(host, port, tls=gateway.tls)
    except OSError as error:
        raise _cannot_listen(found, error) from error
    say(_welcome(found, port, 1))

    async def serve() -> None:
        await told.wait()
        await gateway.server.drain(found.settings.drain_seconds)

    async with gateway.gate.tended(SystemClock()):
        await gateway.run(serve())


async def _serve_as_worker(path: Path, listen: str, listener: int, lifeline: int) -> None:
    found = read_configuration(path, listen=listen)
    gateway = Gateway(path, found, listen=listen)
    drain_seconds = found.settings.drain_seconds
    async with gateway.gate.tended(SystemClock()):
        await gateway.run(work(gateway.server, listener, lifeline, drain_seconds=drain_seconds, tls=gateway.tls))


def _welcome(found: Configuration, port: int, workers: int) -> str:
    host = found.settings.address[0]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    scheme = "https" if found.settings.tls is not None else "http"
    who = f"{len(found.keys)} keys" if found.keys else "no keys: whoever reaches it may ask"
    processes = f"{workers} workers" if workers > 1 else "1 process"
    return f"gateway: listening on {scheme}://{where} ({len(found.routes)} routes, {who}, {processes})"


def _cannot_listen(found: Configuration, error: OSError) -> ConfigError:
    return ConfigError(f"listen: {found.settings.listen}: {error.strerror or error}: choose another address or port")


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: {tls.certificate}, {tls.key}: cannot be used: {error}") from error
    return context


def _spell(status: int, why: str) -> tuple[Fields, bytes]:
    """What the connection refuses, in the words that most clients read."""
    return (JSON,), body_of(refusal(status, why), Words.OPENAI)


def _failed(request: Request, error: Exception) -> None:
    """A fault of ours, at the edge of a request: no body, no fields in the log."""
    where = request.target.partition(b"?")[0][:128].decode("latin-1")
    logging.getLogger(__name__).error("a request failed path=%r", where, exc_info=error)


def _worker(arguments: list[str]) -> None:
    """``PATH LISTEN LISTENER LIFELINE``, as the supervisor writes it."""
    path, listen, listener, lifeline = arguments
    logs.setup(os.environ.get(logs.VARIABLE, "info"), "gateway")
    try:
        uvloop.run(_serve_as_worker(Path(path), listen, int(listener), int(lifeline)))
    except TensorFusionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    _worker(sys.argv[1:])
