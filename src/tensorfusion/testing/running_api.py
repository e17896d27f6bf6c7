"""An embedded API server within the caller's own process, in a thread of its own.

For tests that want a whole server, quickly, and its parts within reach: they speak to it as any client does, over its
port or its Unix socket, while what it is made of can be looked at and replaced.
"""

import asyncio
import threading
from pathlib import Path

import uvloop

from tensorfusion.clock import Clock
from tensorfusion.embedded.server import Server, Settings

_PATIENCE = 60.0


class RunningApi:
    """A server that is ready when it has been made. ``stop`` ends it as SIGTERM does.

    ``loop`` is the event loop that it runs in, ``token`` the administrator's.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Start it.

        Raises:
            TensorFusionError: as ``Server`` and its ``run``.
        """
        self.data = settings.data
        self._settings = settings
        self._clock = clock
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._started.wait(_PATIENCE):
            raise TimeoutError(f"the embedded API server in {settings.data} did not start within {_PATIENCE:.0f} s")
        if self._failure is not None:
            raise self._failure
        self.token = (self.data / "tokens.csv").read_text().split(",")[0]

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def socket(self) -> Path:
        return self.data / "run" / "api.sock"

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self.loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise TimeoutError(f"the embedded API server in {self.data} did not end within {_PATIENCE:.0f} s")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(self._serve())
            except BaseException as error:  # noqa: BLE001  # it is raised where the caller waits
                self._failure = error
            finally:
                self._started.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = Server(self._settings, clock=self._clock)
        run = asyncio.ensure_future(self.server.run())
        while not self.server.app.ready and not run.done():  # noqa: ASYNC110  # readiness is a flag
            await asyncio.sleep(0.001)
        self._started.set()
        await run
