"""A world for the node agent."""

from collections.abc import AsyncIterator

import pytest

from tensorfusion.testing.node_world import NodeWorld


@pytest.fixture
async def world() -> AsyncIterator[NodeWorld]:
    made = NodeWorld()
    yield made
    await made.stop()
