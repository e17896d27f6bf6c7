"""Keep a GPUCohort's status equal to what its members hold. Enforcement is the scheduler's.

What the status says is decided in ``policy.cohort_status``, from trees like the scheduler's own.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import InvalidQuantity
from tensorfusion.model import resources as r
from tensorfusion.model.cohort import GPUCohort
from tensorfusion.model.meta import Key
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.operator.fleet import Fleet
from tensorfusion.operator.quota import BY_NAMESPACE
from tensorfusion.operator.rollup import RollUp
from tensorfusion.policy.cohort_status import cohort_status
from tensorfusion.policy.quota_facts import cohort_facts, quota_facts
from tensorfusion.runtime.cache import Cache
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduling.cohorts import Cohorts
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


class CohortReconciler:
    """Key: a cohort. ``quotas`` are indexed by namespace."""

    def __init__(
        self, fleet: Fleet, manager: Manager, rollup: RollUp, *, quotas: Cache[GPUResourceQuota], clock: Clock
    ) -> None:
        self._fleet = fleet
        self._rollup = rollup
        self._clock = clock
        self._trees = Cohorts(lambda namespace: fleet.namespace(namespace).shared)
        self._ask: Callable[[Key], None] = lambda _: None
        self.cohorts = manager.informer(r.GPU_COHORTS, GPUCohort).cache
        self._quotas = quotas
        manager.informer(r.GPU_COHORTS, GPUCohort).subscribe(self._on_cohort)
        manager.informer(r.GPU_RESOURCE_QUOTAS, GPUResourceQuota).subscribe(self._on_quota)

    def asking(self, ask: Callable[[Key], None]) -> None:
        """Whom to ask for cohorts whose numbers may have changed."""
        self._ask = ask

    def namespace_changed(self, namespace: str) -> None:
        """What the namespace holds is another sum."""
        node = self._trees.member(namespace)
        if node is None:
            return
        now = self._fleet.namespace(namespace).shared
        compute, vram, devices = [held - before for held, before in zip(now, node.held, strict=True)]
        self._trees.hold(namespace, (compute, vram, devices))
        for one in node.path[:-1]:
            self._ask(Key("", one.name))

    async def reconcile(self, key: Key) -> Result:
        cohort = self.cohorts.get(key)
        if cohort is None or cohort.metadata.deleting:
            return DONE
        status = cohort_status(cohort, self._trees, now=timestamp(self._clock.now()))
        return self._rollup.submit(r.GPU_COHORTS, key, old=cohort.status, new=status, urgent=True)

    def _on_cohort(self, change: Change[GPUCohort]) -> None:
        if change.new is None:
            changed = self._trees.remove_cohort(change.key.name)
        else:
            try:
                changed = self._trees.set_cohort(cohort_facts(change.new))
            except InvalidQuantity as error:
                log.warning("a cohort cannot be read", cohort=change.key, error=error)
                return
        self._ask(change.key)
        if changed:
            self._ask_all()

    def _on_quota(self, change: Change[GPUResourceQuota]) -> None:
        namespace = change.key.namespace
        quotas = [one for one in self._quotas.by_index(BY_NAMESPACE, namespace) if one.key != change.key]
        if change.new is not None:
            quotas.append(change.new)
        try:
            facts = quota_facts(namespace, sorted(quotas, key=lambda one: one.metadata.name))
        except InvalidQuantity:
            return  # told where the quota's own status is kept
        if self._trees.set_quota(namespace, facts):
            self._ask_all()

    def _ask_all(self) -> None:
        for cohort in self.cohorts.all():
            self._ask(cohort.key)
