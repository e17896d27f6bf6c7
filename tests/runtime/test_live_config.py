"""The dynamic configuration follows its ConfigMap, and a mistake in it changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.live_config import LiveConfig
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


@dataclass
class Site:
    api: FakeApi
    clock: VirtualClock
    config: LiveConfig
    heard: list[bool] = field(default_factory=list)

    async def write(self, text: str | None) -> None:
        data: dict[str, Any] = {"data": {"config.yaml": text}}
        self.api.change(r.CONFIG_MAPS, "tensor-fusion-sys-config", data, namespace=keys.SYSTEM_NAMESPACE)
        await self.clock.advance(1)

    @property
    def enabled(self) -> bool:
        return self.config.current.auto_migration.enable


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = VirtualClock()
    api = FakeApi(clock)
    api.seed(r.CONFIG_MAPS, {"metadata": {"name": "tensor-fusion-sys-config"}}, namespace=keys.SYSTEM_NAMESPACE)
    api.seed(r.CONFIG_MAPS, {"metadata": {"name": "other"}, "data": {"config.yaml": "["}}, namespace="team")
    manager = Manager(api, clock=clock)
    recorder = EventRecorder(api, component="test", clock=clock)
    manager.add_task("events", recorder.run)
    made = Site(api, clock, LiveConfig(manager, recorder=recorder))
    made.config.on_change(lambda: made.heard.append(made.enabled))
    running = asyncio.ensure_future(manager.run())
    await manager.synced.wait()
    yield made
    manager.stop()
    await running


async def test_a_change_is_in_force_at_once_and_told_once(site: Site) -> None:
    await site.write("autoMigration: {enable: true}")
    assert site.enabled
    await site.write("metricsTTL: 7d\nautoMigration: {enable: true}")
    assert site.heard == [True]
    site.api.remove(r.CONFIG_MAPS, "tensor-fusion-sys-config", namespace=keys.SYSTEM_NAMESPACE)
    await site.clock.advance(1)
    assert site.heard == [True, False]


async def test_a_mistake_keeps_the_old_configuration_and_says_so(site: Site) -> None:
    await site.write("autoMigration: {enable: true}")
    await site.write("autoMigration: {enable: maybe}")
    assert site.enabled
    (event,) = site.api.objects(r.EVENTS)
    assert (event["type"], event["reason"]) == ("Warning", "InvalidConfig")
    assert event["involvedObject"]["name"] == "tensor-fusion-sys-config"
    assert "autoMigration.enable" in event["message"]
