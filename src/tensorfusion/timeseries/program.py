"""The embedded store in a process of its own, so that many processes write to one file: over HTTP, as to a GreptimeDB.

Its folder holds the file and a token, which is made with the first start: whoever can read that file may write and
query. It listens on loopback unless it was told otherwise, and asks for the token there too, because other users of the
machine reach loopback.
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.applications import Starlette

from tensorfusion.clock import SystemClock
from tensorfusion.errors import ConfigError
from tensorfusion.runtime.serving import Listener
from tensorfusion.timeseries.access import Access, Account, Accounts, digest_of
from tensorfusion.timeseries.places import FILE, token_path
from tensorfusion.timeseries.retention_bounds import Retention
from tensorfusion.timeseries.server import routes
from tensorfusion.timeseries.store import Store
from tensorfusion.timeseries.tables import TABLES

_SHORTEST_TOKEN: Final = 20


async def serve(folder: Path, *, host: str, port: int, retention: Retention, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError, StoreError: the folder or the address cannot be used.
    """
    token = token_of(folder)
    store = await Store.open(folder / FILE, retention=retention, tables=TABLES)
    account = Account("metrics", digest_of(token), frozenset(Access))
    listener = Listener(Starlette(routes=routes(store, authorize=Accounts([account]).check)), host=host, port=port)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    try:
        found = await listener.start()
        where = f"[{host}]:{found}" if ":" in host else f"{host}:{found}"
        say(f"metrics: listening on http://{where} (store {folder / FILE}, token in {token_path(folder)})")
        keeping = asyncio.ensure_future(store.keep_bounds(SystemClock()))
        await told.wait()
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
    finally:
        await listener.stop()
        await store.close()


def token_of(folder: Path) -> str:
    """The token of a store; made where there is none.

    Raises:
        ConfigError: the file cannot be made or read, or holds no token.
    """
    path = token_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(made, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"metrics: token file {path} cannot be used: {error}") from error
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"metrics: token file {path}: wanted {_SHORTEST_TOKEN} printable characters or more, found {len(token)}: "
            "delete the file to have one made"
        )
    return token
