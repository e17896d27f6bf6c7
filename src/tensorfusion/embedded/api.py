"""The API process: ``python -m tensorfusion.embedded.api --data DIR --port N``.

Ends gracefully on SIGTERM and SIGINT. A mistake in its settings ends it with status 2 and one line on standard error.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tensorfusion.clock import SystemClock
from tensorfusion.embedded.server import Server, Settings
from tensorfusion.errors import ConfigError, TensorFusionError
from tensorfusion.telemetry import logs

_SWITCH_SECONDS = 0.0005
"""How long a busy event loop may keep the commit thread waiting; the default of 5 ms shows in every write's latency."""
_GC_THRESHOLDS = (50_000, 20, 50)
"""Requests make many short-lived dicts and no cycles; the default thresholds cost several percent."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit status."""
    try:
        settings = _parse(arguments)
        logs.setup(os.environ.get("TF_LOG_LEVEL", "info"), "api")
        sys.setswitchinterval(_SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except TensorFusionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # the process's last word
        return 2
    return 0


async def _serve(settings: Settings) -> None:
    server = Server(settings, clock=SystemClock())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    await server.run()


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="tensorfusion.embedded.api", description="The embedded Kubernetes API.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds everything of the cluster")
    parser.add_argument("--port", type=int, default=6443, help="port of the API; 0 lets the system choose")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--webhook-service",
        action="append",
        default=[],
        metavar="NAMESPACE/NAME=URL",
        help="where a service that webhook configurations name is reached",
    )
    parser.add_argument("--run-processes", action="store_true", help="a node beside this process runs real programs")
    found = parser.parse_args(arguments)
    if not 0 <= found.port < 65536:
        raise ConfigError(f"--port: wanted 0 to 65535, found {found.port}")
    services = {}
    for stated in found.webhook_service:
        name, equals, url = stated.partition("=")
        if not equals or "/" not in name or not url.startswith("https://"):
            raise ConfigError(f"--webhook-service: wanted NAMESPACE/NAME=https://..., found {stated!r}")
        services[name] = url
    return Settings(found.data.absolute(), found.port, found.bind, services, run_processes=bool(found.run_processes))


if __name__ == "__main__":
    sys.exit(main())
