"""An embedded store behind its HTTP face, on a port of its own."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from tensorfusion.runtime.serving import Listener
from tensorfusion.timeseries.client import Database
from tensorfusion.timeseries.server import routes
from tensorfusion.timeseries.store import Store

sys.path.insert(0, str(Path(__file__).parent))

from served_store import ACCOUNTS, BOTH, Served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    store = await Store.open(tmp_path / "metrics.duckdb")
    listener = Listener(Starlette(routes=routes(store, authorize=ACCOUNTS.check)))
    url = f"http://127.0.0.1:{await listener.start()}"
    database = Database(url, user="both", password=BOTH)
    yield Served(url, store, database)
    await database.close()
    await listener.stop()
    await store.close()
