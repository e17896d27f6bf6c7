"""A webhook over a dictionary of objects, and the requests an API server would send it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "operator"))
from memory_api import MemoryApi

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.policy.guards import Accounts
from tensorfusion.runtime.admission import AdmissionRequest, AdmissionResponse, UserInfo
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.webhook.service import Webhook

ACCOUNTS = Accounts(system=frozenset({"controller", "agent"}), scheduler=frozenset({"controller"}))


@dataclass
class Site:
    """The webhook, the objects it sees, and short ways to ask it."""

    api: MemoryApi
    webhook: Webhook
    clock: VirtualClock

    async def create(self, **parts: Any) -> AdmissionResponse:
        return await self.webhook.mutate_pod(self.request("CREATE", object=pod(**parts)))

    async def update(self, old: dict[str, Any], new: dict[str, Any], *, user: str = "tenant") -> AdmissionResponse:
        return await self.webhook.validate_pod(self.request("UPDATE", object=new, old_object=old, user=user))

    async def bind(self, name: str, *, user: str = "controller", **annotations: str) -> AdmissionResponse:
        names = {"ids": keys.GPU_IDS, "epoch": keys.SCHEDULER_EPOCH}
        body = {
            "metadata": {"name": name, "annotations": {names[key]: value for key, value in annotations.items()}},
            "target": {"kind": "Node", "name": "node-1"},
        }
        return await self.webhook.validate_binding(self.request("CREATE", object=body, name=name, user=user))

    @staticmethod
    def request(operation: str, *, user: str = "tenant", **parts: Any) -> AdmissionRequest:
        return AdmissionRequest(
            uid="5e1f", operation=operation, namespace="team", user=UserInfo(username=user), **parts
        )

    def lease(self, transitions: int, *, uid: str = "lease-1") -> None:
        self.api.put(
            r.LEASES,
            keys.LEADER_LEASE,
            namespace=keys.SYSTEM_NAMESPACE,
            metadata={"uid": uid},
            spec={"leaseTransitions": transitions, "holderIdentity": "a"},
        )

    async def settle(self) -> None:
        await self.clock.settle()


def pod(*, labels: dict[str, str] | None = None, **wishes: str) -> dict[str, Any]:
    annotations = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()}
    return {
        "metadata": {"name": "w", "labels": labels or {keys.ENABLED: "true"}, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    api, clock = MemoryApi(), VirtualClock()
    manager = Manager(api, clock=clock)
    made = Site(api, Webhook(manager, accounts=ACCOUNTS), clock)
    running = asyncio.ensure_future(manager.run())
    await manager.synced.wait()
    yield made
    manager.stop()
    await running
