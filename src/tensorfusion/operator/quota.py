"""Keep a GPUResourceQuota's status equal to what its namespace holds. Enforcement is the scheduler's.

Source: GPUResourceQuota of tensor-fusion.ai/v1; what the status says is decided in ``policy.quota_status``.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import InvalidQuantity
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Key
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.operator.fleet import Fleet
from tensorfusion.operator.rollup import RollUp
from tensorfusion.policy.quota_status import quota_status
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

BY_NAMESPACE = "operator/namespace"
"""The index of quotas that is asked."""

log = get_logger(__name__)


class QuotaReconciler:
    """Key: a quota. ``ask`` is called with each quota whose numbers may have changed."""

    def __init__(self, fleet: Fleet, manager: Manager, rollup: RollUp, *, clock: Clock) -> None:
        self._fleet = fleet
        self._rollup = rollup
        self._clock = clock
        quotas = manager.informer(r.GPU_RESOURCE_QUOTAS, GPUResourceQuota)
        quotas.add_index(BY_NAMESPACE, lambda quota: (quota.metadata.namespace,))
        self.quotas = quotas.cache

    def ask_about(self, namespace: str, ask: Callable[[Key], None]) -> None:
        """Ask for the quotas of a namespace whose usage changed."""
        for quota in self.quotas.by_index(BY_NAMESPACE, namespace):
            ask(quota.key)

    async def reconcile(self, key: Key) -> Result:
        quota = self.quotas.get(key)
        if quota is None or quota.metadata.deleting:
            return DONE
        try:
            status = quota_status(quota, self._fleet.namespace(key.namespace), now=timestamp(self._clock.now()))
        except InvalidQuantity as error:
            log.warning("a quota cannot be read", quota=key, error=error)
            return DONE
        return self._rollup.submit(r.GPU_RESOURCE_QUOTAS, key, old=quota.status, new=status, urgent=True)
