"""Follow the scheduler's configuration file while everything runs; a wrong file changes nothing and is told of.

The file is looked at twice a second, which costs one system call and works on every file system, also where a mounted
ConfigMap is swapped. What was understood last is kept beside the process's state, so that a restart while the file is
wrong goes on with that instead of failing: a typo must not stop placement.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tensorfusion.clock import Clock
from tensorfusion.errors import ConfigError
from tensorfusion.model.scheduler_configuration import parse_scheduler_configuration
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.configuration import Configuration, configuration_of
from tensorfusion.telemetry.logs import get_logger

_LOOK_EVERY = 0.5

log = get_logger(__name__)

Version = tuple[int, int, int] | None


def load(path: Path) -> tuple[Configuration, str]:
    """The configuration in a file, and its text.

    Raises:
        ConfigError: it cannot be read, understood or followed.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the scheduler's configuration cannot be read: {error}") from error
    try:
        return configuration_of(parse_scheduler_configuration(text, str(path))), text
    except ConfigError as error:
        named = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise ConfigError(named) from error


class SchedulerConfig:
    """``current`` is in force; ``on_change`` hears of another one. ``accepted`` keeps what was understood last."""

    def __init__(self, path: Path | None, *, accepted: Path, clock: Clock) -> None:
        self._path = path
        self._accepted = accepted
        self._clock = clock
        self._seen = _version(path)
        self.on_change: Callable[[Configuration], None] | None = None
        self.current = Configuration()
        if path is not None and self._seen is not None:
            self.current = self._first(path)
        meters.CONFIGURATION_VALID.set(not self.current.problem)

    def _first(self, path: Path) -> Configuration:
        """What to start with: the file, or what was understood last.

        Raises:
            ConfigError: the file is wrong, and there is nothing to go on with.
        """
        try:
            found, text = load(path)
        except ConfigError as error:
            try:
                kept, _ = load(self._accepted)
            except ConfigError:
                raise error from None
            log.warning("the scheduler's configuration cannot be used, the last one stays", error=error)
            return replace(kept, problem=str(error))
        self._keep(text, found)
        return found

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Take over the file if it is another one than before. One that was removed changes nothing."""
        version = _version(self._path)
        if self._path is None or version in (None, self._seen):
            return
        self._seen = version
        try:
            found, text = await asyncio.to_thread(load, self._path)
        except ConfigError as error:
            log.warning("the scheduler's configuration cannot be used, the old one stays", error=error)
            found = replace(self.current, problem=str(error))
        else:
            self._keep(text, found)
            log.info("the scheduler's configuration changed", profiles=list(found.names))
        meters.CONFIGURATION_VALID.set(not found.problem)
        self.current = found
        if self.on_change is not None:
            self.on_change(found)

    def _keep(self, text: str, found: Configuration) -> None:
        for note in found.notes:
            log.info("without effect in the scheduler's configuration", note=note)
        try:
            fresh = self._accepted.with_suffix(".new")
            fresh.write_text(text)
            fresh.rename(self._accepted)
        except OSError as error:
            log.warning("the scheduler's configuration cannot be kept for a restart", error=error)


def _version(path: Path | None) -> Version:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
