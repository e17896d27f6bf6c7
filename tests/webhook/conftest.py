"""A webhook over a dictionary of objects, and the requests an API server would send it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tensorfusion.clock import micro_timestamp
from tensorfusion.errors import NotFound
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.policy.guards import Accounts
from tensorfusion.runtime.admission import AdmissionRequest, AdmissionResponse, UserInfo
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.webhook.service import Webhook

ACCOUNTS = Accounts(system=frozenset({"controller", "agent"}), scheduler=frozenset({"controller"}))


@dataclass
class Site:
    """The webhook, the objects it sees, and short ways to ask it."""

    api: FakeApi
    webhook: Webhook
    clock: VirtualClock

    async def create(self, **parts: Any) -> AdmissionResponse:
        return await self.webhook.mutate_pod(self.request("CREATE", object=pod(**parts)))

    async def update(self, old: dict[str, Any], new: dict[str, Any], *, user: str = "tenant") -> AdmissionResponse:
        return await self.webhook.validate_pod(self.request("UPDATE", object=new, old_object=old, user=user))

    async def bind(self, name: str, *, user: str = "controller", **annotations: str) -> AdmissionResponse:
        names = {"ids": keys.GPU_IDS, "epoch": keys.SCHEDULER_EPOCH, "term": keys.SCHEDULER_SHARD}
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

    def put(self, resource: r.Resource, name: str, *, namespace: str = "", **parts: Any) -> None:
        """Create an object, as somebody else would."""
        metadata = {"name": name, **parts.pop("metadata", {})}
        self.api.seed(resource, {"metadata": metadata, **parts}, namespace=namespace)

    def lease(self, transitions: int, name: str = keys.LEADER_LEASE) -> None:
        """Let the leader's Lease, or the Lease of this name, say this epoch."""
        namespace = keys.SYSTEM_NAMESPACE
        renewed = micro_timestamp(self.clock.now())
        spec = {
            "leaseTransitions": transitions,
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "renewTime": renewed,
        }
        try:
            self.api.change(r.LEASES, name, {"spec": spec}, namespace=namespace)
        except NotFound:
            self.put(r.LEASES, name, namespace=namespace, spec=spec)

    def reads(self) -> list[tuple[str, str, str]]:
        """What was read since the last time it was asked for."""
        found = [(call.verb, call.resource, call.name) for call in self.api.calls if call.verb in ("get", "list")]
        self.api.calls.clear()
        return found

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
    clock = VirtualClock()
    api = FakeApi(clock)
    api.seed(r.NAMESPACES, {"metadata": {"name": "team"}})
    manager = Manager(api, clock=clock)
    made = Site(api, Webhook(manager, accounts=ACCOUNTS, gateway=lambda: "http://gateway:8787"), clock)
    running = asyncio.ensure_future(manager.run())
    await manager.synced.wait()
    yield made
    manager.stop()
    await running
