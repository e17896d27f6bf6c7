"""Follow the fleet file while the cluster runs: machines appear, change and go as the file says.

The file is the one place that says what a fleet is: at start, after a restart, and in between. It is looked at twice a
second, which costs one system call and works on every file system. A file that does not parse changes nothing and is
said once.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from tensorfusion.clock import Clock
from tensorfusion.embedded.fleet import NodeSpec, load_fleet
from tensorfusion.errors import ConfigError
from tensorfusion.telemetry.logs import get_logger

_LOOK_EVERY = 0.5

log = get_logger(__name__)

Version = tuple[int, int, int] | None


class FleetWatch:
    """Calls ``apply`` with the whole fleet each time the file has become another one that is right."""

    def __init__(self, path: Path, apply: Callable[[Sequence[NodeSpec]], None], *, clock: Clock) -> None:
        self._path = path
        self._apply = apply
        self._clock = clock
        self._seen = _version(path)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Apply the file if it is another one than before. One that was removed changes nothing."""
        version = _version(self._path)
        if version in (None, self._seen):
            return
        self._seen = version
        try:
            nodes = await asyncio.to_thread(load_fleet, self._path)
        except ConfigError as error:
            log.warning("the fleet stays as it is", error=error)
            return
        log.info("fleet file changed", nodes=len(nodes))
        self._apply(nodes)


def _version(path: Path) -> Version:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
