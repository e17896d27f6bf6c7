"""The webhook as a real kube-apiserver calls it: registrations accepted, patches applied, guards in force.

Skipped where ``make kube-assets`` has not been run: the control plane is found through KUBEBUILDER_ASSETS.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import SystemClock
from tensorfusion.errors import AlreadyExists, ApiError, BadRequest, Conflict, Forbidden
from tensorfusion.kube.api import PatchKind
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.crd import all_crds
from tensorfusion.policy.guards import Accounts
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.serving import Listener
from tensorfusion.testing.control_plane import ControlPlane, control_plane
from tensorfusion.webhook.certificates import ensure_certificates
from tensorfusion.webhook.registration import Address, register
from tensorfusion.webhook.service import Webhook

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kube-apiserver").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]
CONTROLLER = next(iter(Accounts().scheduler))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(ASSETS, tmp_path_factory.mktemp("plane")) as running:
        yield running


@dataclass
class Site:
    """The API as our controllers and as a tenant with every right."""

    controller: Client
    tenant: Client
    webhook: Webhook

    async def pod(self, name: str, *, by: Client | None = None, **wishes: str) -> Any:
        annotations = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()}
        body = {
            "metadata": {"name": name, "labels": {keys.ENABLED: "true"}, "annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "app"}], "automountServiceAccountToken": False},
        }
        return await (by or self.tenant).create(r.PODS, body, namespace="default")


@pytest.fixture
async def site(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Site]:
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for user in (CONTROLLER, "tenant"):
            file = plane.user_kubeconfig(user, groups=["system:masters"])
            clients.append(await stack.enter_async_context(Client(load_kubeconfig(file))))
        controller, tenant = clients
        await prepare(controller)
        manager = Manager(controller, clock=SystemClock())
        webhook = Webhook(manager)
        running = asyncio.ensure_future(manager.run())
        await manager.synced.wait()
        made = ensure_certificates(tmp_path, ["127.0.0.1"], now=datetime.now(UTC))
        listener = Listener(webhook.app, tls=(made.certificate, made.key))
        port = await listener.start()
        await register(controller, Address(made.ca, url=f"https://127.0.0.1:{port}"))
        await until_asked(tenant)
        yield Site(controller, tenant, webhook)
        await tenant.delete_collection(r.PODS, namespace="default", grace_seconds=0)
        await listener.stop()
        manager.stop()
        await running


async def prepare(client: Client) -> None:
    """Types, a pool and the priority class: the same for every test."""
    objects: list[tuple[r.Resource, Any]] = [(r.CUSTOM_RESOURCE_DEFINITIONS, crd) for crd in all_crds()]
    pool = {"metadata": {"name": "main", "annotations": {keys.IS_DEFAULT_POOL: "true"}}, "spec": {}}
    objects.append((r.GPU_POOLS, {"apiVersion": r.GPU_POOLS.api_version, "kind": "GPUPool", **pool}))
    priority = {"metadata": {"name": keys.PRIORITY_CLASS_HIGH}, "value": 10_000}
    objects.append((r.PRIORITY_CLASSES, {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", **priority}))
    for resource, body in objects:
        async with asyncio.timeout(30):
            while True:
                try:
                    await client.create(resource, body)
                    break
                except AlreadyExists:
                    break
                except ApiError:  # the type is not served yet
                    await asyncio.sleep(0.05)


async def until_asked(client: Client) -> None:
    """Registrations take a moment to reach the server's own caches, and may still name the port of the test before."""
    body = {
        "metadata": {"name": "probe", "annotations": {keys.GPU_IDS: "forged"}},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }

    async def mutating() -> None:
        await client.create(r.PODS, body, namespace="default", dry_run=True)

    async def validating() -> None:
        await client.bind("default", "no-such-pod", uid="none", node="n", annotations={keys.GPU_IDS: "forged"})

    async with asyncio.timeout(30):
        for asked in (mutating, validating):  # each of the registrations has a cache of its own
            while not await forbidden(asked):
                await asyncio.sleep(0.05)


async def forbidden(ask: Callable[[], Awaitable[None]]) -> bool:
    try:
        await ask()
    except Forbidden:
        return True
    except ApiError:
        return False
    return False


async def test_a_pod_is_admitted_and_a_second_look_changes_nothing(site: Site) -> None:
    made = await site.pod("w", tflops_limit="10", vram_limit="1Gi")
    assert made["spec"]["schedulerName"] == keys.SCHEDULER_NAME
    assert (made["spec"]["priorityClassName"], made["spec"]["priority"]) == (keys.PRIORITY_CLASS_HIGH, 10_000)
    assert made["metadata"]["labels"][keys.COMPONENT] == "worker"
    again = {**made, "metadata": {key: made["metadata"][key] for key in ("labels", "annotations")} | {"name": "v"}}
    second = await site.tenant.create(r.PODS, again, namespace="default", dry_run=True)
    assert second["spec"] == made["spec"]
    assert second["metadata"]["annotations"] == made["metadata"]["annotations"]


async def test_a_mistake_comes_back_as_a_400_with_our_line(site: Site) -> None:
    with pytest.raises(BadRequest, match=r"annotation tensor-fusion\.ai/tflops-limit: wanted .*'lots'"):
        await site.pod("w", tflops_limit="lots")


async def test_a_pool_made_a_moment_ago_is_found(site: Site) -> None:
    body = {"apiVersion": r.GPU_POOLS.api_version, "kind": "GPUPool", "metadata": {"name": "new"}, "spec": {}}
    await site.controller.create(r.GPU_POOLS, body)
    made = await site.pod("w", tflops_limit="10", gpupool="new")
    assert made["metadata"]["labels"][keys.GPU_POOL] == "new"
    await site.controller.delete(r.GPU_POOLS, "new")


async def test_plain_pods_do_not_reach_us(site: Site) -> None:
    body = {"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "main", "image": "app"}]}}
    made = await site.tenant.create(r.PODS, body, namespace="default")
    assert made["spec"]["schedulerName"] == "default-scheduler"


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_a_tenant_changes_neither_request_nor_placement(site: Site, subresource: str) -> None:
    await site.pod("w", tflops_limit="10")
    for metadata in (
        {"annotations": {keys.TFLOPS_REQUEST: "1"}},
        {"annotations": {keys.GPU_IDS: "gpu-1"}},
        {"labels": {keys.COMPONENT: None}},
    ):
        with pytest.raises(Forbidden, match=keys.DOMAIN):
            patch = {"metadata": metadata}
            await site.tenant.patch(r.PODS, "w", patch, namespace="default", subresource=subresource)
    other = {"metadata": {"annotations": {"note": "mine"}}}
    await site.tenant.patch(r.PODS, "w", other, namespace="default", subresource=subresource)
    granted = {"metadata": {"annotations": {keys.GPU_IDS: "gpu-1"}}}
    await site.controller.patch(r.PODS, "w", granted, namespace="default", subresource=subresource)


async def test_only_the_current_leader_binds(site: Site) -> None:
    made = await site.pod("w", tflops_limit="10")
    uid = made["metadata"]["uid"]
    with pytest.raises(Forbidden, match="placed by"):
        await site.tenant.bind("default", "w", uid=uid, node="n", annotations={})
    with pytest.raises(Forbidden, match=f"only {keys.SCHEDULER_NAME}"):
        await site.tenant.bind("default", "w", uid=uid, node="n", annotations={keys.GPU_IDS: "gpu-1"})
    site.webhook.fence.saw_epoch(5)
    grant = {keys.GPU_IDS: "gpu-1", keys.SCHEDULER_EPOCH: "4"}
    with pytest.raises(Conflict, match="no longer the leader"):
        await site.controller.bind("default", "w", uid=uid, node="n", annotations=grant)
    await site.controller.bind("default", "w", uid=uid, node="n", annotations={**grant, keys.SCHEDULER_EPOCH: "5"})
    bound = await site.tenant.get(r.PODS, dict, "w", namespace="default")
    assert bound["metadata"]["annotations"][keys.GPU_IDS] == "gpu-1"


async def test_an_edit_becomes_a_wish_that_only_the_current_leader_answers(site: Site) -> None:
    made = await site.pod("w", tflops_limit="10", vram_limit="1Gi")
    uid = made["metadata"]["uid"]
    site.webhook.fence.saw_epoch(7)
    grant = {keys.GPU_IDS: "gpu-1", keys.SCHEDULER_EPOCH: "7"}
    await site.controller.bind("default", "w", uid=uid, node="n", annotations=grant)
    edit = {"metadata": {"annotations": {keys.TFLOPS_REQUEST: "5", keys.VRAM_LIMIT: "2Gi"}}}
    edited = await site.tenant.patch(r.PODS, "w", edit, namespace="default")
    notes = edited["metadata"]["annotations"]
    assert (notes[keys.TFLOPS_REQUEST], notes[keys.VRAM_LIMIT]) == ("10", "1Gi")
    assert notes[keys.RESIZE] == '{"tflops-request":"5","vram-limit":"2Gi"}'
    with pytest.raises(BadRequest, match="change both together"):
        above = {"metadata": {"annotations": {keys.TFLOPS_REQUEST: "11"}}}
        await site.tenant.patch(r.PODS, "w", above, namespace="default")
    condition = {"type": keys.RESOURCE_UPDATE, "status": "True", "reason": "Accepted", "message": "x"}

    def answer(epoch: str) -> dict[str, Any]:
        written = {keys.RESIZE: None, keys.SCHEDULER_EPOCH: epoch, keys.TFLOPS_REQUEST: "5", keys.VRAM_LIMIT: "2Gi"}
        metadata = {"resourceVersion": edited["metadata"]["resourceVersion"], "uid": uid, "annotations": written}
        return {"metadata": metadata, "status": {"conditions": [condition]}}

    async def send(epoch: str) -> dict[str, Any]:
        return await site.controller.patch(
            r.PODS, "w", answer(epoch), namespace="default", subresource="status", kind=PatchKind.STRATEGIC
        )

    with pytest.raises(Conflict, match="no longer the leader"):
        await send("6")
    after = await send("7")
    notes = after["metadata"]["annotations"]
    assert (notes[keys.TFLOPS_REQUEST], notes[keys.VRAM_LIMIT]) == ("5", "2Gi")
    assert keys.RESIZE not in notes
    assert any(one["type"] == "PodScheduled" for one in after["status"]["conditions"]), "the others' conditions stay"
    with pytest.raises(Conflict, match="modified"):
        await send("7")
