"""A pool over all nodes, for as long as there is no pool of the user's own.

It takes only nodes that no other pool wants (``policy.membership``). Once the user has pools it goes as soon as its
last node has left it, and it comes back when the user's last pool is deleted.
"""

from contextlib import suppress

from tensorfusion.errors import AlreadyExists, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Key, Raw
from tensorfusion.operator.fleet import Fleet
from tensorfusion.policy.membership import AUTO_CREATED, DEFAULT_POOL, is_auto_created, membership
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.telemetry.logs import get_logger

THE_KEY = Key("", DEFAULT_POOL)
"""The one key of this reconciler: what it decides depends on all pools together."""

_SOON = Result(requeue_after=1.0)

log = get_logger(__name__)


def default_pool_object() -> Raw:
    """The automatic pool."""
    return {
        "apiVersion": r.GPU_POOLS.api_version,
        "kind": r.GPU_POOLS.kind,
        "metadata": {
            "name": DEFAULT_POOL,
            "annotations": {AUTO_CREATED: "true", keys.IS_DEFAULT_POOL: "true"},
            "finalizers": [keys.FINALIZER],
        },
        "spec": {},
    }


class DefaultPoolReconciler:
    """Creates and deletes the automatic pool."""

    def __init__(self, fleet: Fleet, client: Api) -> None:
        self._fleet = fleet
        self._client = client

    async def reconcile(self, key: Key) -> Result:
        """The key says nothing: every pass looks at all pools."""
        pools = list(self._fleet.pools.all())
        automatic = [pool for pool in pools if is_auto_created(pool)]
        own = [pool for pool in pools if not is_auto_created(pool) and not pool.metadata.deleting]
        if not own:
            return await self._create() if not any(not pool.metadata.deleting for pool in automatic) else DONE
        for pool in automatic:
            if not pool.metadata.deleting and not self._has_nodes(pool.metadata.name):
                with suppress(NotFound):
                    await self._client.delete(r.GPU_POOLS, pool.metadata.name, uid=pool.metadata.uid)
                log.info("the automatic pool has no nodes left and goes", pool=pool.metadata.name)
        return DONE

    def _has_nodes(self, pool: str) -> bool:
        """Whether the pool has nodes, or is about to get some that no other pool wants."""
        if self._fleet.nodes_in(pool):
            return True
        pools = list(self._fleet.pools.all())
        wanted = (membership(self._fleet.view(node), pools) for node in self._fleet.nodes.all())
        return any(found is not None and found.pool == pool for found in wanted)

    async def _create(self) -> Result:
        try:
            await self._client.create(r.GPU_POOLS, default_pool_object())
        except AlreadyExists:  # seen by the server and not yet by us, or still going
            return _SOON
        log.info("the automatic pool is there", pool=DEFAULT_POOL)
        return DONE
