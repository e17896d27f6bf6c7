"""A world for the node agent."""

from collections.abc import AsyncIterator

import pytest

from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.node_world import MemoryApi, NodeWorld


@pytest.fixture
async def world() -> AsyncIterator[NodeWorld]:
    clock = VirtualClock()
    made = NodeWorld(MemoryApi(clock), clock)
    yield made
    await made.stop()
