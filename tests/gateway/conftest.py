"""Puts this folder on the path of its tests, and gives coroutine tests the loop that the program has."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tensorfusion.policy.routing import compiler
from tensorfusion.policy.routing.route import Timers

sys.path.insert(0, str(Path(__file__).parent))


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def short_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """So long is too long between two events."""
    monkeypatch.setattr(compiler, "Timers", lambda **given: Timers(**given, idle=0.5))
