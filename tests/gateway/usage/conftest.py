"""Puts this folder and that of the gateway's tests on the path, and opens a store."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from stores import Served, served


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as found:
        yield found
