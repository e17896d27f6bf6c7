"""Keep a GPUPool's status equal to its nodes, and let it go only when its nodes have gone.

A pool that is being deleted is Destroying: its nodes move to other pools as their last shares end (never away from live
ones, see ``policy.membership``), and the finalizer is released when none is left.

Source: GPUPool of tensor-fusion.ai/v1 and its controller's contract.
"""

from contextlib import suppress

import msgspec

from tensorfusion.errors import InvalidQuantity, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.gpu_node import NodePhase
from tensorfusion.model.gpu_pool import GPUPool, GPUPoolStatus, PoolPhase
from tensorfusion.model.meta import Key, Raw
from tensorfusion.operator.cluster import cluster_of
from tensorfusion.operator.fleet import Fleet, NodeSummary
from tensorfusion.operator.node import signed
from tensorfusion.operator.rollup import RollUp
from tensorfusion.policy.capacity import add
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.units import format_bytes, format_gflops, to_bytes, to_gflops

log = get_logger(__name__)


def summarize(pool: GPUPool, nodes: list[NodeSummary]) -> GPUPoolStatus:
    """The status a pool with these nodes should have. Pure."""
    figures = add(node.figures for node in nodes)
    ready = sum(node.phase is NodePhase.RUNNING for node in nodes)
    return msgspec.structs.replace(
        pool.status,
        cluster=cluster_of(pool),
        phase=_phase(pool, nodes=len(nodes), ready=ready),
        total_nodes=len(nodes),
        total_gpus=figures.gpus,
        ready_nodes=ready,
        not_ready_nodes=len(nodes) - ready,
        total_tflops=format_gflops(figures.total_compute),
        total_vram=format_bytes(figures.total_vram),
        virtual_tflops=format_gflops(figures.virtual_compute),
        virtual_vram=format_bytes(figures.virtual_vram),
        available_tflops=format_gflops(figures.available_compute),
        available_vram=format_bytes(figures.available_vram),
        virtual_available_tflops=signed(figures.virtual_available_compute, format_gflops),
        virtual_available_vram=signed(figures.virtual_available_vram, format_bytes),
        running_apps_cnt=figures.pods,
    )


class PoolReconciler:
    """Key: the name of a pool."""

    def __init__(self, fleet: Fleet, client: Api, rollup: RollUp) -> None:
        self._fleet = fleet
        self._client = client
        self._rollup = rollup

    async def reconcile(self, key: Key) -> Result:
        pool = self._fleet.pools.get(key)
        if pool is None:
            return DONE
        nodes = self._fleet.nodes_in(key.name)
        if pool.metadata.deleting:
            if not nodes:
                await self._release(pool)
                return DONE
        elif keys.FINALIZER not in pool.metadata.finalizers:
            await self._set_finalizers(pool, [*pool.metadata.finalizers, keys.FINALIZER])
        summaries = [self._fleet.summary(node.metadata.name) for node in nodes]
        return self._rollup.submit(r.GPU_POOLS, key, old=pool.status, new=summarize(pool, summaries), urgent=True)

    async def _release(self, pool: GPUPool) -> None:
        if keys.FINALIZER in pool.metadata.finalizers:
            rest = [name for name in pool.metadata.finalizers if name != keys.FINALIZER]
            await self._set_finalizers(pool, rest)
            log.info("pool is gone", pool=pool.metadata.name)

    async def _set_finalizers(self, pool: GPUPool, finalizers: list[str]) -> None:
        """A merge patch replaces the whole list, so it holds only for the version that was read."""
        patch: Raw = {"metadata": {"finalizers": finalizers, "resourceVersion": pool.metadata.resource_version}}
        with suppress(NotFound):
            await self._client.patch(r.GPU_POOLS, pool.metadata.name, patch)


def _phase(pool: GPUPool, *, nodes: int, ready: int) -> PoolPhase:
    if pool.metadata.deleting:
        return PoolPhase.DESTROYING
    if nodes == 0:
        return PoolPhase.RUNNING if _may_be_empty(pool) else PoolPhase.UPDATING
    return PoolPhase.RUNNING if ready == nodes else PoolPhase.UPDATING


def _may_be_empty(pool: GPUPool) -> bool:
    """Whether the pool asks for no minimum of devices."""
    config = pool.spec.capacity_config
    least = config.min_resources if config is not None else None
    if least is None:
        return True
    try:
        return not (least.tflops and to_gflops(least.tflops)) and not (least.vram and to_bytes(least.vram))
    except InvalidQuantity:
        return True
