"""One process of the gateway: everything it is made of, whoever tells it its routes.

Who does (files, objects of a Kubernetes API) gives it a state to begin with, puts others in force, and is followed
while the process serves: by itself, or as one of several workers on one port.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Final

from tensorfusion.clock import SystemClock
from tensorfusion.errors import ConfigError
from tensorfusion.gateway import polling
from tensorfusion.gateway.evidence import Evidence, Meters, Sink
from tensorfusion.gateway.exposition import Exposition, folder_of_workers
from tensorfusion.gateway.faults import JSON, Words, body_of, refusal
from tensorfusion.gateway.front import Front
from tensorfusion.gateway.handling import Handler
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.limits.gate import gate_of, redis_url
from tensorfusion.gateway.lines import JsonLines
from tensorfusion.gateway.pages import Pages
from tensorfusion.gateway.probing import EVERY_SECONDS, Probes
from tensorfusion.gateway.rollbacks import Rollbacks
from tensorfusion.gateway.seams import Keys
from tensorfusion.gateway.settings import Settings, Tls
from tensorfusion.gateway.state import State
from tensorfusion.gateway.tracing.tracer import tracer_of
from tensorfusion.gateway.usage.pages import LOGS, USAGE, UsagePages
from tensorfusion.gateway.usage.store import RequestStore, database_of, nothing_tended
from tensorfusion.gateway.usage.tokens import BUDGET, REPORT, TokenPages
from tensorfusion.telemetry import logs
from tensorfusion.wire.fields import Fields
from tensorfusion.wire.limits import fitting
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server
from tensorfusion.wire.worker import work

_log = logging.getLogger(__name__)
_WRITE_SECONDS: Final = 2.0
_ROLL_SECONDS: Final = 1.0
_OURS: Final = 500

Follow = Callable[[], Coroutine[None, None, None]]
"""Runs until it is cancelled."""


class Gateway:
    """Everything of one process.

    ``origin`` is where its routes are from: gateways of one origin on a host count their limits together. ``key_of``
    knows the keys in force by their ids.
    """

    def __init__(
        self,
        settings: Settings,
        state: State,
        *,
        keys: Keys,
        key_of: Callable[[str], KeyRecord | None],
        origin: Path,
        handlers: Mapping[bytes, Handler],
    ) -> None:
        """Raises ConfigError: something of it cannot be used here."""
        self._drain_seconds = settings.drain_seconds
        self._gate = gate_of(origin, file=settings.limits_file, redis=redis_url(settings.limits_redis))
        self._meters = meters = Meters()
        self._exposition = Exposition(folder_of_workers())
        self.rollbacks = Rollbacks(folder_of_workers())
        self._lines: JsonLines | None = None
        if settings.log.file:
            where = settings.log.file
            self._lines = JsonLines(where, dropped=lambda: meters.records_dropped.add((where,)))
        self._store: RequestStore | None = None
        if settings.metrics is not None:
            self._store = RequestStore(
                database_of(settings.metrics, origin if origin.is_dir() else origin.parent),
                clock=SystemClock(),
                dropped=lambda: meters.records_dropped.add(("metrics",)),
            )
        sinks: tuple[Sink | None, ...] = (self._lines, self._store)
        self._tracer = tracer_of(settings.traces, clock=SystemClock())
        tokens = TokenPages(self._store, key_of=key_of, clock=SystemClock())
        pages = UsagePages(self._store.reader if self._store is not None else None, now=time.time_ns)
        self.front = Front(
            state,
            keys=keys,
            limits=self._gate,
            evidence=Evidence(
                tuple(sink for sink in sinks if sink is not None),
                meters=meters,
                traces=self._tracer,
                later=asyncio.get_running_loop(),
            ),
            pages=Pages(now=time.monotonic, ready=self._why_not_ready, metrics=self._exposition.response),
            questions={USAGE: pages.usage, LOGS: pages.logs},
            handlers={**handlers, BUDGET: tokens.budget, REPORT: tokens.report},
            scrape=settings.scrape,
            most_body=settings.max_body,
        )
        self._server = Server(
            self.front.handle,
            limits=fitting(),
            spell=self._spell,
            failed=_failed,
            busy_poll_seconds=settings.busy_poll_micros / 1e6,
        )
        self._probes = Probes()
        self._tls = _context(settings.tls) if settings.tls is not None else None

    async def serve_alone(self, settings: Settings, follow: Follow, *, listening: Callable[[int], None]) -> None:
        """Serve until SIGTERM or SIGINT. ``listening`` is told the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        host, port = settings.address
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        try:
            port = await self._server.listen(host, port, tls=self._tls)
        except OSError as error:
            raise cannot_listen(settings, error) from error
        listening(port)

        async def serve() -> None:
            await told.wait()
            await self._server.drain(self._drain_seconds)

        await self._run(serve(), follow)

    async def serve_as_worker(self, follow: Follow, *, listener: int, lifeline: int) -> None:
        """Serve as ``wire.worker.work`` does."""
        serving = work(self._server, listener, lifeline, drain_seconds=self._drain_seconds, tls=self._tls)
        await self._run(serving, follow)

    async def _run(self, serve: Coroutine[None, None, None], follow: Follow) -> None:
        """Follow while ``serve`` serves, and close everything behind it."""
        gc.collect()
        gc.freeze()  # what is there now stays: looking through it again and again would cost more than all requests
        stored = self._store.tended() if self._store is not None else nothing_tended()
        traced = self._tracer.exporter.tended() if self._tracer is not None else nothing_tended()
        async with self._gate.tended(SystemClock()), stored, traced, asyncio.TaskGroup() as group:
            runs = (
                follow(),
                _every(_ROLL_SECONDS, self._roll),
                _every(EVERY_SECONDS, self._probe),
                _every(_WRITE_SECONDS, self._write),
                _every(polling.EVERY_SECONDS, self._poll),
            )
            tasks = [group.create_task(run) for run in runs]
            await serve
            for task in tasks:
                task.cancel()
            self.front.evidence.flush()
        with contextlib.suppress(OSError):
            self._exposition.write(last=True)
        if self._lines is not None:
            await asyncio.to_thread(self._lines.close)
        await self.front.close()

    async def _write(self) -> None:
        """Leave what was counted, for the other workers and for those who read records."""
        self.front.evidence.flush()
        self._exposition.write()

    async def _roll(self) -> None:
        """Go on with rollouts of new versions."""
        self.rollbacks.look(self.front.state.choosers, SystemClock().now().timestamp())

    async def _probe(self) -> None:
        """Look whether targets that were gone are back."""
        await self._probes.look(self.front.state)

    async def _poll(self) -> None:
        """Ask replicas how much they have to do."""
        await polling.poll(self.front.state)

    def _spell(self, status: int, why: str) -> tuple[Fields, bytes]:
        """What the connection refuses, in the words that most clients read."""
        if status != _OURS:  # of a request that was read, and is told of by its record
            self._meters.unreadable.add((str(status),))
        return (JSON,), body_of(refusal(status, why), Words.OPENAI)

    def _why_not_ready(self) -> str:
        return "draining" if self._server.draining else ""


async def _every(seconds: float, what: Follow) -> None:
    """Again and again; what fails once is told and tried again."""
    clock = SystemClock()
    while True:
        await clock.sleep(seconds)
        try:
            await what()
        except Exception:  # noqa: BLE001 - the edge of a loop
            _log.exception("what runs beside requests failed: %s", what.__name__)


def setup_logs() -> None:
    """As the environment says."""
    logs.setup(os.environ.get(logs.VARIABLE, "info"), "gateway")


def welcome(settings: Settings, port: int, what: str) -> str:
    """What is said of a gateway that listens; ``what`` is of its routes, keys and processes."""
    host = settings.address[0]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    scheme = "https" if settings.tls is not None else "http"
    return f"gateway: listening on {scheme}://{where} ({what})"


def cannot_listen(settings: Settings, error: OSError) -> ConfigError:
    return ConfigError(f"listen: {settings.listen}: {error.strerror or error}: choose another address or port")


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: {tls.certificate}, {tls.key}: cannot be used: {error}") from error
    return context


def _failed(request: Request, error: Exception) -> None:
    """A fault of ours, at the edge of a request: no body, no fields in the log."""
    where = request.target.partition(b"?")[0][:128].decode("latin-1")
    _log.error("a request failed path=%r", where, exc_info=error)
