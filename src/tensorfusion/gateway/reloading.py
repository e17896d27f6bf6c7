"""Following the files of a configuration: a change takes effect within 200 ms, and a wrong one not at all.

Looked at by ``stat``, which every file system understands. What has just changed is read when it has stood still for a
moment: an editor that empties a file before it fills it must not empty the routes. But no longer than some moments: who
keeps writing one must not keep what others wrote from coming into force. It is parsed in a thread, so that requests go
on; what it says is put in force between two of them.

A key that is revoked ends in time whatever is wrong with the routes: where the whole cannot be used, keys are looked at
apart.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.configuring import Configuration, sources_of, state_of
from tensorfusion.telemetry.logs import get_logger

LOOK_SECONDS: Final = 0.03
STILL_SECONDS: Final = 0.02
_MOST_MOMENTS: Final = 10
log = get_logger(__name__)


async def _nothing() -> None:
    """There are no keys apart."""


class Following:
    """The configuration in force, and what is done with each new one.

    ``read`` reads it anew, and ``use`` puts it in force; when either raises ConfigError, the old one stays, but for its
    keys, which ``use_keys`` brings up to date where that can be done.
    """

    def __init__(
        self,
        present: Configuration,
        *,
        read: Callable[[], Configuration],
        clock: Clock,
        use: Callable[[Configuration], None],
        use_keys: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._use_keys = use_keys
        self._present = present
        self._read = read
        self._clock = clock
        self._use = use
        self._files = present.files
        self._seen = self._state()
        self.complaint = ""
        """Why the files as they are now are not in force; empty if they are."""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Read the files if they changed."""
        state = self._state()
        if state == self._seen:
            return
        for _ in range(_MOST_MOMENTS):
            await self._clock.sleep(STILL_SECONDS)
            before, state = state, self._state()
            if state == before:
                break
        self._seen = state
        try:
            found = await asyncio.to_thread(self._read)
            if found.revision != self._present.revision or self.complaint:
                self._use(found)
        except ConfigError as error:
            self.complaint = str(error)
            log.warning("the configuration cannot be used: the old one stays in force", error=error)
            await self._use_keys()
            return
        if found.revision != self._present.revision or self.complaint:
            log.info("the configuration is in force", revision=found.revision, routes=len(found.routes))
        self._present, self.complaint = found, ""
        self._files = found.files
        self._seen = state if self._state() == state else ()

    def _state(self) -> tuple[object, ...]:
        return (*sources_of(self._present.path), *state_of(self._files))
