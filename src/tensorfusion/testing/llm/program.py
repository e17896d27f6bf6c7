"""The simulated model server as a program: alone in a process, or as workers on one port.

``python -m tensorfusion.testing.llm.program SETTINGS LISTENER LIFELINE`` is one of the workers; SETTINGS is JSON.
"""

import asyncio
import signal
import sys
from collections.abc import Callable

import msgspec
import uvloop

from tensorfusion.errors import ConfigError
from tensorfusion.testing.llm.server import LlmServer
from tensorfusion.testing.llm.settings import Settings
from tensorfusion.wire.worker import work
from tensorfusion.wire.workers import Workers

DRAIN_SECONDS = 5.0


def run(settings: Settings, *, host: str, port: int, workers: int, say: Callable[[str], None]) -> None:
    """Serve until told to end. ``say`` gets the address first.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        if workers == 1:
            uvloop.run(_alone(settings, host, port, say))
            return
        spelled = msgspec.json.encode(settings).decode()
        program = [sys.executable, "-m", __name__, spelled]
        crew = Workers(
            lambda listener, lifeline: [*program, str(listener), str(lifeline)],
            count=workers,
            host=host,
            port=port,
            drain_seconds=DRAIN_SECONDS,
            say=lambda line: None,
        )
    except OSError as error:
        raise ConfigError(f"test server: cannot listen on {host}:{port}: {error.strerror or error}") from error
    say(_address(host, crew.port))
    crew.run()


async def _alone(settings: Settings, host: str, port: int, say: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    server = LlmServer(settings).serving()
    say(_address(host, await server.listen(host, port)))
    await told.wait()
    await server.drain(DRAIN_SECONDS, idle_grace=0.0)


async def _worker(settings: Settings, listener: int, lifeline: int) -> None:
    server = LlmServer(settings, alone=False).serving()
    await work(server, listener, lifeline, drain_seconds=DRAIN_SECONDS)


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


if __name__ == "__main__":
    uvloop.run(_worker(msgspec.json.decode(sys.argv[1], type=Settings), int(sys.argv[2]), int(sys.argv[3])))
