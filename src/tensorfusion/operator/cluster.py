"""Make the pools of a TensorFusionCluster, follow changes of its entries, and roll the pools up into its status.

A removed entry's pool is deleted and goes as pools go: when its last share has ended. A cluster that is being deleted
stays until its pools have gone.

Source: TensorFusionCluster of tensor-fusion.ai/v1; everything is decided in ``policy.cluster``.
"""

from contextlib import suppress

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import AlreadyExists, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.cluster import TensorFusionCluster
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Raw
from tensorfusion.operator.rollup import RollUp
from tensorfusion.policy.cluster import ClusterState, cluster_status, new_pool, owns, pool_name, pool_patch
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

_LOOK_AGAIN = Result(requeue_after=5.0)
_OWNER = "operator/cluster"

log = get_logger(__name__)


def cluster_of(pool: GPUPool) -> str:
    """The name of the cluster that owns a pool; ``""`` for none."""
    owner = pool.metadata.controller
    return owner.name if owner is not None and owner.kind == r.TENSOR_FUSION_CLUSTERS.kind else ""


class ClusterReconciler:
    """Key: the name of a cluster."""

    def __init__(self, manager: Manager, rollup: RollUp, *, clock: Clock) -> None:
        self._client: Api = manager.client
        self._rollup = rollup
        self._clock = clock
        self.clusters = manager.informer(r.TENSOR_FUSION_CLUSTERS, TensorFusionCluster).cache
        pools = manager.informer(r.GPU_POOLS, GPUPool)
        pools.add_index(_OWNER, lambda pool: (cluster_of(pool),))
        self._pools = pools.cache

    async def reconcile(self, key: Key) -> Result:
        cluster = self.clusters.get(key)
        if cluster is None:
            return DONE
        pools = [pool for pool in self._pools.by_index(_OWNER, key.name) if owns(cluster, pool)]
        if cluster.metadata.deleting:
            await self._delete(pools)
            if not pools:
                await self._release(cluster)
                return DONE
            state = ClusterState(pools)
        else:
            if not await self._hold(cluster):
                return DONE
            state = await self._make(cluster, pools)
        status = cluster_status(cluster, state, now=timestamp(self._clock.now()))
        submitted = self._rollup.submit(r.TENSOR_FUSION_CLUSTERS, key, old=cluster.status, new=status, urgent=True)
        return _LOOK_AGAIN if state.taken else submitted

    async def _make(self, cluster: TensorFusionCluster, pools: list[GPUPool]) -> ClusterState:
        """Create, update and delete pools until they are what the entries say."""
        by_name = {pool.metadata.name: pool for pool in pools}
        taken = []
        for entry in cluster.spec.gpu_pools:
            name = pool_name(cluster, entry)
            pool = by_name.pop(name, None)
            if pool is None:
                if self._pools.get(Key("", name)) is not None:
                    taken.append(name)
                else:
                    await self._create(new_pool(cluster, entry))
                continue
            patch = pool_patch(entry, pool, cluster) if not pool.metadata.deleting else None
            if patch is not None:
                with suppress(NotFound):
                    await self._client.patch(r.GPU_POOLS, name, patch)
        await self._delete(list(by_name.values()))
        return ClusterState(pools, taken)

    async def _create(self, body: Raw) -> None:
        with suppress(AlreadyExists):  # seen by the server and not yet by us: its change asks again
            await self._client.create(r.GPU_POOLS, body)
            log.info("a pool of a cluster is there", pool=body["metadata"]["name"])

    async def _delete(self, pools: list[GPUPool]) -> None:
        for pool in pools:
            if not pool.metadata.deleting:
                with suppress(NotFound):
                    await self._client.delete(r.GPU_POOLS, pool.metadata.name, uid=pool.metadata.uid)
                log.info("a pool of a cluster goes", pool=pool.metadata.name)

    async def _hold(self, cluster: TensorFusionCluster) -> bool:
        """Keep the cluster until its pools have gone; False where it is no more, and no pool may be made for it."""
        if keys.FINALIZER in cluster.metadata.finalizers:
            return True
        return await self._set_finalizers(cluster, [*cluster.metadata.finalizers, keys.FINALIZER])

    async def _release(self, cluster: TensorFusionCluster) -> None:
        if keys.FINALIZER in cluster.metadata.finalizers:
            rest = [name for name in cluster.metadata.finalizers if name != keys.FINALIZER]
            await self._set_finalizers(cluster, rest)

    async def _set_finalizers(self, cluster: TensorFusionCluster, finalizers: list[str]) -> bool:
        """A merge patch replaces the whole list, so it holds only for the version that was read; False: it is gone."""
        patch: Raw = {"metadata": {"finalizers": finalizers, "resourceVersion": cluster.metadata.resource_version}}
        try:
            await self._client.patch(r.TENSOR_FUSION_CLUSTERS, cluster.metadata.name, patch)
        except NotFound:
            return False
        return True
