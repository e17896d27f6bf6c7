"""The gateway that files tell its routes: one process that serves by itself, or workers on one port.

Every process follows the files by itself and has the routes in memory of its own; what they share are the port and the
counters of limits. A worker is this module run with ``-m``.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from tensorfusion.clock import SystemClock
from tensorfusion.errors import ConfigError, TensorFusionError
from tensorfusion.gateway.configuring import Configuration, read_configuration
from tensorfusion.gateway.custom_hosts import CustomHosts
from tensorfusion.gateway.exposition import meeting
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.file import read_keys
from tensorfusion.gateway.keys.pages import PREFIX as KEYS
from tensorfusion.gateway.keys.pages import KeyPages
from tensorfusion.gateway.keys.places import KeysInFile, Place
from tensorfusion.gateway.portkey_pages import CONFIGS, VIRTUAL_KEYS, PortkeyPages
from tensorfusion.gateway.portkey_store import PortkeyFile
from tensorfusion.gateway.process import Gateway, cannot_listen, setup_logs, welcome
from tensorfusion.gateway.reloading import Following
from tensorfusion.gateway.seams import Keys, NoKeys
from tensorfusion.gateway.state import State
from tensorfusion.telemetry import logs
from tensorfusion.wire.workers import Workers

_SOURCE: Final = "file"
_FIXED: Final = (
    "listen",
    "workers",
    "limits_file",
    "limits_redis",
    "log",
    "metrics",
    "traces",
    "tls",
    "max_body",
    "drain",
    "scrape",
)
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
        raise cannot_listen(found.settings, error) from error
    say(welcome(found.settings, supervisor.port, _what(found, count)))
    with meeting():
        supervisor.run()


class FromFiles:
    """A gateway and its files. ``listen`` goes before what they say."""

    def __init__(self, path: Path, configuration: Configuration, *, listen: str = "") -> None:
        """Raises ConfigError: something of it cannot be used here."""
        clock = SystemClock()
        settings = configuration.settings
        self._configuration = configuration
        self._book = KeyBook(clock)
        self._book.replace(_SOURCE, configuration.keys)
        pages = PortkeyPages(
            self._portkey_file,
            portkeys=lambda: self.gateway.front.portkeys,
            secrets=lambda: self.gateway.front.state.upstreams.secrets,
            clock=clock,
        )
        self.gateway = Gateway(
            settings,
            _state_of(configuration, None),
            keys=self._keys_of(configuration),
            key_of=self._book.get,
            origin=path,
            handlers={
                KEYS: KeyPages(self._key_place, self._book, clock=clock).answer,
                CONFIGS: pages.configs,
                VIRTUAL_KEYS: pages.virtual_keys,
            },
        )
        self._allow(configuration)
        self.following = Following(
            configuration,
            read=lambda: read_configuration(path, listen=listen, before=self._configuration),
            clock=clock,
            use=self._use,
            use_keys=self._use_keys,
        )

    def _keys_of(self, configuration: Configuration) -> Keys:
        return self._book if configuration.asks_for_keys else NoKeys()

    def _key_place(self) -> Place | None:
        """The file of keys that is followed."""
        path = self._configuration.key_file
        return None if path is None else KeysInFile(path)

    def _portkey_file(self) -> PortkeyFile | None:
        path = self._configuration.portkey_file
        return None if path is None else PortkeyFile(path)

    def _use(self, configuration: Configuration) -> None:
        """Put a configuration in force. Raises ConfigError."""
        old, new = self._configuration.settings, configuration.settings
        changed = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if changed:
            log.warning("some settings take effect with the next start", settings=",".join(changed))
        front = self.gateway.front
        state = _state_of(configuration, front.state)
        self._book.replace(_SOURCE, configuration.keys)
        front.keys = self._keys_of(configuration)
        front.state = state
        self._allow(configuration)
        self._configuration = configuration

    async def _use_keys(self) -> None:
        """Those of the file of keys, while the files as a whole cannot be used."""
        present, path = self._configuration, self._configuration.key_file
        if path is None:
            return
        try:
            found = await asyncio.to_thread(read_keys, path, read=lambda name: (present.folder / name).read_bytes())
        except ConfigError:
            return  # it is what cannot be used, or one of several things: that was told
        before = {record.id for record in present.file_keys}
        keys = (*(record for record in present.keys if record.id not in before), *found)
        self._book.replace(_SOURCE, keys)
        self._configuration = replace(present, keys=keys, file_keys=tuple(found))

    def _allow(self, configuration: Configuration) -> None:
        """What configurations of Portkey's there are, and what they may."""
        portkeys = self.gateway.front.portkeys
        portkeys.named = configuration.portkey
        portkeys.kept = configuration.kept
        portkeys.hosts = CustomHosts(configuration.settings.portkey.custom_hosts)


def _state_of(configuration: Configuration, before: State | None) -> State:
    return State.of(configuration.compiled, configuration.secrets, addresses=configuration.addresses, before=before)


async def _serve_alone(path: Path, found: Configuration, listen: str, say: Callable[[str], None]) -> None:
    """In this process, until SIGTERM or SIGINT."""
    setup_logs()
    told = FromFiles(path, found, listen=listen)
    settings = found.settings
    await told.gateway.serve_alone(
        settings, told.following.run, listening=lambda port: say(welcome(settings, port, _what(found, 1)))
    )


async def _serve_as_worker(path: Path, listen: str, listener: int, lifeline: int) -> None:
    told = FromFiles(path, read_configuration(path, listen=listen), listen=listen)
    await told.gateway.serve_as_worker(told.following.run, listener=listener, lifeline=lifeline)


def _what(found: Configuration, workers: int) -> str:
    who = f"{len(found.keys)} keys" if found.asks_for_keys else "no keys: whoever reaches it may ask"
    processes = f"{workers} workers" if workers > 1 else "1 process"
    return f"{len(found.routes)} routes, {who}, {processes}"


def _worker(arguments: list[str]) -> None:
    """``PATH LISTEN LISTENER LIFELINE``, as the supervisor writes it."""
    path, listen, listener, lifeline = arguments
    setup_logs()
    try:
        uvloop.run(_serve_as_worker(Path(path), listen, int(listener), int(lifeline)))
    except TensorFusionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    _worker(sys.argv[1:])
