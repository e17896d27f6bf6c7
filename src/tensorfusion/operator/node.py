"""Make a GPUNode of every Node that belongs to a pool, move it when that changes, and keep its status.

Two reconcilers of the same key, because they differ in urgency: the object and its pool decide where pods may go and
are written at once; the sums are a roll-up and may wait. The node agent publishes devices only for GPUNodes that exist.

Left out: the Node's own labels (vendor, selector hash). Nobody reads them, and each would cost a write per machine.

Source: GPUNode of tensor-fusion.ai/v1 and its controller's contract; which pool is decided in ``policy.membership``.
"""

from collections.abc import Callable
from contextlib import suppress

import msgspec

from tensorfusion.errors import AlreadyExists, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.common import UsedBy
from tensorfusion.model.gpu_node import GPUNode, GPUNodeStatus, NodeInfo
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Raw
from tensorfusion.operator.fleet import Fleet, NodeSummary, pool_of
from tensorfusion.operator.gpu import pods_on_device
from tensorfusion.operator.rollup import RollUp
from tensorfusion.policy.capacity import HostMemory
from tensorfusion.policy.membership import Membership, membership
from tensorfusion.policy.names import label_value
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.units import format_bytes, format_gflops

_SOON = Result(requeue_after=1.0)

log = get_logger(__name__)


def labels_of(wanted: Membership) -> dict[str, str]:
    """The labels of a GPUNode in a pool."""
    return {
        keys.MANAGED_BY: label_value(wanted.pool),
        _pool_label(wanted.pool): "true",
        keys.HARDWARE_VENDOR: label_value(wanted.vendor),
    }


def gpu_node_object(name: str, wanted: Membership, pool: GPUPool) -> Raw:
    """A new GPUNode."""
    return {
        "apiVersion": r.GPU_NODES.api_version,
        "kind": r.GPU_NODES.kind,
        "metadata": {"name": name, "labels": labels_of(wanted), "ownerReferences": [_owner(pool)]},
        "spec": {},
    }


def metadata_patch(found: GPUNode, wanted: Membership, pool: GPUPool) -> Raw | None:
    """What makes a GPUNode one of the pool; None where it is."""
    labels: dict[str, str | None] = {
        key: None
        for key in found.metadata.labels
        if key.startswith(keys.POOL_LABEL_PREFIX) and key != _pool_label(wanted.pool)
    }
    labels |= {key: value for key, value in labels_of(wanted).items() if found.metadata.labels.get(key) != value}
    patch: Raw = {"labels": labels} if labels else {}
    owner = found.metadata.controller
    if owner is None or owner.uid != pool.metadata.uid:
        patch["ownerReferences"] = [_owner(pool)]
    return {"metadata": patch} if patch else None


class NodeReconciler:
    """Key: the name of a Node. Creates, moves and deletes its GPUNode, and labels its devices with their pool."""

    def __init__(self, fleet: Fleet, client: Api) -> None:
        self._fleet = fleet
        self._client = client

    async def reconcile(self, key: Key) -> Result:
        node = self._fleet.nodes.get(key)
        gpu_node = self._fleet.gpu_nodes.get(key)
        if node is None or node.metadata.deleting:
            await self._delete(gpu_node, reason="its node is gone")
            return DONE
        wanted = membership(self._fleet.view(node), self._fleet.pools.all())
        if wanted is None:
            if all(pool.metadata.deleting for pool in self._fleet.pools.all()):
                return _SOON  # the automatic pool is on its way: the node moves there, and its devices stay
            if not self._fleet.holds_shares(key.name):
                await self._delete(gpu_node, reason="no pool selects it")
            return DONE
        pool = self._fleet.pools.get(Key("", wanted.pool))
        if pool is None:
            return DONE
        if gpu_node is None:
            with suppress(AlreadyExists):
                await self._client.create(r.GPU_NODES, gpu_node_object(key.name, wanted, pool))
                log.info("node joins", node=key.name, pool=wanted.pool)
        else:
            patch = metadata_patch(gpu_node, wanted, pool)
            if patch is not None:
                await self._client.patch(r.GPU_NODES, key.name, patch)
                if pool_of(gpu_node) != wanted.pool:
                    log.info("node moves", node=key.name, pool=wanted.pool, before=pool_of(gpu_node))
        await self._label_devices(key.name, wanted)
        return DONE

    async def _label_devices(self, node: str, wanted: Membership) -> None:
        """A device follows its node into the pool."""
        pool = label_value(wanted.pool)
        for gpu in self._fleet.devices_of(node):
            if gpu.metadata.labels.get(keys.GPU_POOL) != pool:
                with suppress(NotFound):
                    await self._client.patch(r.GPUS, gpu.metadata.name, {"metadata": {"labels": {keys.GPU_POOL: pool}}})

    async def _delete(self, gpu_node: GPUNode | None, *, reason: str) -> None:
        if gpu_node is None or gpu_node.metadata.deleting:
            return
        with suppress(NotFound):
            await self._client.delete(r.GPU_NODES, gpu_node.metadata.name, uid=gpu_node.metadata.uid)
        log.info("node leaves", node=gpu_node.metadata.name, pool=pool_of(gpu_node), reason=reason)


def summarize(found: GPUNode, summary: NodeSummary, *, fleet: Fleet, host: HostMemory) -> GPUNodeStatus:
    """The status a node with these devices should have."""
    name = found.metadata.name
    figures = summary.figures
    devices = fleet.devices_of(name)
    info = found.status.node_info or NodeInfo()
    return msgspec.structs.replace(
        found.status,
        phase=summary.phase,
        total_tflops=format_gflops(figures.total_compute),
        total_vram=format_bytes(figures.total_vram),
        virtual_tflops=format_gflops(figures.virtual_compute),
        virtual_vram=format_bytes(figures.virtual_vram),
        available_tflops=format_gflops(figures.available_compute),
        available_vram=format_bytes(figures.available_vram),
        virtual_available_tflops=signed(figures.virtual_available_compute, format_gflops),
        virtual_available_vram=signed(figures.virtual_available_vram, format_bytes),
        total_gpus=figures.gpus,
        managed_gpus=figures.managed_gpus,
        managed_gpu_device_ids=tuple(
            gpu.status.uuid or gpu.metadata.name
            for gpu in devices
            if gpu.status.used_by in ("", UsedBy.TENSOR_FUSION)
            and keys.GPU_MISSING_SINCE not in gpu.metadata.annotations
        ),
        node_info=msgspec.structs.replace(
            info, ram_size=format_bytes(host.ram), data_disk_size=format_bytes(host.disk)
        ),
        observed_generation=found.metadata.generation or None,
        total_gpu_pods=figures.pods,
        allocated_pods={
            gpu.metadata.name: pods for gpu in devices if (pods := pods_on_device(fleet.usage(gpu.metadata.name)))
        },
    )


class NodeStatusReconciler:
    """Key: the name of a GPUNode. Submits the difference between its status and the sums over its devices."""

    def __init__(self, fleet: Fleet, rollup: RollUp) -> None:
        self._fleet = fleet
        self._rollup = rollup

    async def reconcile(self, key: Key) -> Result:
        await self._rollup.room()
        found = self._fleet.gpu_nodes.get(key)
        if found is None:
            return DONE
        status = summarize(
            found, self._fleet.summary(key.name), fleet=self._fleet, host=self._fleet.host_memory(key.name)
        )
        return self._rollup.submit(r.GPU_NODES, key, old=found.status, new=status)


def _pool_label(pool: str) -> str:
    domain, _, head = keys.POOL_LABEL_PREFIX.partition("/")
    return f"{domain}/{label_value(head + pool)}"


def _owner(pool: GPUPool) -> Raw:
    return {
        "apiVersion": r.GPU_POOLS.api_version,
        "kind": r.GPU_POOLS.kind,
        "name": pool.metadata.name,
        "uid": pool.metadata.uid,
        "controller": True,
    }


def signed(value: int, show: Callable[[int], str]) -> str:
    """A quantity that may be negative."""
    return f"-{show(-value)}" if value < 0 else show(value)
