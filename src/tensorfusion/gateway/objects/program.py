"""The gateway that objects of a Kubernetes API tell its routes: one process that serves by itself, or workers on one
port.

Every process follows the API by itself, over connections of its own, and takes no request before it has read what there
is. A key is always asked for: its namespace decides which routes a caller may take. A worker is this module run with
``-m``.
"""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import uvloop

from tensorfusion.clock import SystemClock
from tensorfusion.errors import TensorFusionError
from tensorfusion.gateway.counting import Counts
from tensorfusion.gateway.custom_hosts import CustomHosts
from tensorfusion.gateway.exposition import meeting
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.objects import UsedTimes
from tensorfusion.gateway.keys.pages import PREFIX as KEYS
from tensorfusion.gateway.keys.pages import KeyPages
from tensorfusion.gateway.keys.places import KeyObjects
from tensorfusion.gateway.objects.reports import folder_for
from tensorfusion.gateway.objects.source import Source
from tensorfusion.gateway.objects.writing import Writing
from tensorfusion.gateway.portkey_pages import CONFIGS, VIRTUAL_KEYS, PortkeyPages
from tensorfusion.gateway.process import Follow, Gateway, cannot_listen, setup_logs, welcome
from tensorfusion.gateway.rollbacks import Rollbacks
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.settings import Settings
from tensorfusion.gateway.state import State
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import Connection, default_connection, load_kubeconfig
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.wire.workers import Workers

SLOW_SECONDS: Final = 5.0
"""Behind these, a gateway that has not read its routes yet says so."""

log = get_logger(__name__)


class Start(msgspec.Struct, frozen=True):
    """What a process has to know before it reads anything. ``kubeconfig`` empty: as every client finds its cluster."""

    settings: Settings
    kubeconfig: str = ""


def run(start: Start, *, say: Callable[[str], None]) -> None:
    """Serve until told to end.

    Raises:
        ConfigError: there is no cluster to ask, or the address cannot be listened on.
    """
    settings = start.settings
    server = _connection(start.kubeconfig).server
    if settings.workers == 1:
        uvloop.run(_serve_alone(start, say))
        return
    host, port = settings.address
    command = [sys.executable, "-m", "tensorfusion.gateway.objects.program", msgspec.json.encode(start).decode()]
    try:
        supervisor = Workers(
            lambda listener, lifeline: [*command, str(listener), str(lifeline)],
            count=settings.workers,
            host=host,
            port=port,
            drain_seconds=settings.drain_seconds,
            say=say,
        )
    except OSError as error:
        raise cannot_listen(settings, error) from error
    say(welcome(settings, supervisor.port, f"routes and keys of {server}, {settings.workers} workers"))
    with meeting():
        supervisor.run()


@asynccontextmanager
async def _told(start: Start) -> AsyncIterator[tuple[Gateway, Follow]]:
    """A gateway that is told by objects, once it has read them, and what is done beside while it serves."""
    clock = SystemClock()
    connection = _connection(start.kubeconfig)
    async with Client(connection, user_agent="tensorfusion-gateway") as client:
        book = KeyBook(clock)
        origin = Path("/") / quote(connection.server, safe="")  # names the counters of limits
        name = hashlib.blake2b(connection.server.encode(), digest_size=6).hexdigest()
        places = KeyObjects(client)
        pages = PortkeyPages(
            lambda: None,
            portkeys=lambda: gateway.front.portkeys,
            secrets=lambda: gateway.front.state.upstreams.secrets,
            clock=clock,
        )
        gateway = Gateway(
            start.settings,
            State.of(Routes(()), Secrets({})),
            keys=book,
            key_of=book.get,
            origin=origin,
            handlers={
                KEYS: KeyPages(lambda: places, book, clock=clock).answer,
                CONFIGS: pages.configs,
                VIRTUAL_KEYS: pages.virtual_keys,
            },
        )
        front = gateway.front
        front.portkeys.hosts = CustomHosts(start.settings.portkey.custom_hosts)

        def use(routes: Routes, secrets: Secrets) -> None:
            front.state = State.of(
                routes, secrets, addresses=source.addresses, before=front.state, progress=source.progress
            )

        source = Source(client, clock=clock, book=book, use=use)
        counts = front.evidence.counts = Counts()
        folder = folder_for(name)
        writing = Writing(client, source, counts, clock=clock, state=lambda: front.state, folder=folder)
        gateway.rollbacks = Rollbacks(folder, written=source.progress)  # all of the host, for one of it writes
        used = UsedTimes(client, source.keys, book, clock=clock)

        async def beside() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(used.run())
                group.create_task(writing.run())

        async with asyncio.TaskGroup() as group:
            following = group.create_task(source.run())
            await _in_force(source, connection.server)
            yield gateway, beside
            following.cancel()


async def _in_force(source: Source, server: str) -> None:
    """Wait for the first state, as long as it takes."""
    try:
        async with asyncio.timeout(SLOW_SECONDS):
            await source.in_force.wait()
    except TimeoutError:
        log.warning("routes and keys have not been read yet: no request is taken", server=server)
        await source.in_force.wait()


async def _serve_alone(start: Start, say: Callable[[str], None]) -> None:
    """In this process, until SIGTERM or SIGINT."""
    setup_logs()
    async with _told(start) as (gateway, follow):
        what = f"{len(gateway.front.state.routes.by_key)} routes, 1 process"
        await gateway.serve_alone(
            start.settings, follow, listening=lambda port: say(welcome(start.settings, port, what))
        )


async def _serve_as_worker(start: Start, listener: int, lifeline: int) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - it is this one
    loop.add_reader(lifeline, task.cancel)  # nobody is left to work for, and what is waited for may never come
    async with _told(start) as (gateway, follow):
        loop.remove_reader(lifeline)
        await gateway.serve_as_worker(follow, listener=listener, lifeline=lifeline)


def _connection(kubeconfig: str) -> Connection:
    """Raises ConfigError."""
    return load_kubeconfig(Path(kubeconfig)) if kubeconfig else default_connection()


def _worker(arguments: list[str]) -> None:
    """``START LISTENER LIFELINE``, as the supervisor writes it; START is JSON."""
    start, listener, lifeline = arguments
    setup_logs()
    try:
        found = msgspec.json.decode(start, type=Start)
        uvloop.run(_serve_as_worker(found, int(listener), int(lifeline)))
    except TensorFusionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    _worker(sys.argv[1:])
