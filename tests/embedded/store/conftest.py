"""An opened store per test, closed behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tensorfusion.embedded.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with Store.open(path) as opened:
        yield opened
