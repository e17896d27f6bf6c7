"""What is noted of each decision: its record, the figures over all of them, and the history of a recording.

Apart from the service because nothing depends on it: a note that fails leaves the decision as it is.
"""

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Pod
from tensorfusion.model.gpu_topology import Tier
from tensorfusion.model.meta import Key
from tensorfusion.runtime.meters import Figures
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.pods import Failure, Pending
from tensorfusion.scheduler.recording.recorder import Recorder as History
from tensorfusion.scheduler.records import Records, Result, record_of
from tensorfusion.scheduling.cycle import Decision
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import GangUnschedulable
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.wiring import Plan


class Notes:
    """Times are nanoseconds that a decision took. ``policy`` names the configuration that is decided by."""

    def __init__(
        self,
        records: Records,
        state: State,
        figures: Figures,
        *,
        clock: Clock,
        policy: str,
        history: History | None,
    ) -> None:
        self.policy = policy
        self._records = records
        self._state = state
        self._figures = figures
        self._clock = clock
        self._history = history

    def placed(self, pending: Pending, decision: Decision, nanoseconds: int) -> None:
        """A pod has a place."""
        self._note(pending, Result.PLACED, nanoseconds, decision=decision)
        if decision.plan is not None:
            self._count_plan(pending.facts, decision.plan)

    def refused(self, pending: Pending, failure: Failure, nanoseconds: int) -> None:
        """A pod has none, alone or with its gang."""
        cause = failure.cause if isinstance(failure, GangUnschedulable) else failure
        quota = isinstance(cause, QuotaExceeded)
        self._note(pending, Result.QUOTA if quota else Result.UNSCHEDULABLE, nanoseconds, failure=failure)
        shares = pending.facts.request
        if shares is not None:
            meters.ALLOCATION_FAILURES.add((self.pool_label(shares.pool),))
            if isinstance(cause, NotFit) and NodeReason.FAR_APART in cause.reasons:
                meters.TOPOLOGY.add((self.pool_label(shares.pool), "unsatisfied"))

    def unreadable(self, pod: Pod, message: str) -> None:
        """What a pod wants cannot be read."""
        meters.DECISIONS.add((Result.INVALID,))
        self._records.add(record_of(pod.metadata.uid, pod.key, Result.INVALID, now=self._clock.now(), reason=message))

    def pool_label(self, pool: str) -> str:
        """A pool's name as a label; what names no pool we know counts together."""
        return pool if pool in self._state.fleet.pools else "unknown"

    def _note(
        self,
        pending: Pending,
        result: Result,
        nanoseconds: int,
        *,
        decision: Decision | None = None,
        failure: Failure | None = None,
    ) -> None:
        facts = pending.facts
        record = record_of(
            pending.uid,
            Key(facts.namespace, facts.name),
            result,
            now=self._clock.now(),
            attempt=pending.attempts,
            nanoseconds=nanoseconds,
            facts=facts,
            decision=decision,
            failure=failure,
            policy=self.policy,
        )
        self._records.add(record)
        if self._history is not None and pending.attempts == 1:
            self._history.decided(pending, failure)
        meters.DECISIONS.add((result,))
        meters.DECISION_SECONDS.observe(meters.ONE, nanoseconds / 1e9)
        self._figures.work.observe(nanoseconds / 1e9)

    def _count_plan(self, facts: PodFacts, plan: Plan) -> None:
        """How near the devices of a placed pod are to each other."""
        pool = self.pool_label(facts.request.pool) if facts.request is not None else ""
        meters.TOPOLOGY.add((pool, "satisfied" if facts.topology_rule.allows(plan.tier) else "unsatisfied"))
        if plan.tier == Tier.UNKNOWN:
            meters.TOPOLOGY.add((pool, "fallback"))
        if plan.heuristic:
            meters.TOPOLOGY.add((pool, "degraded"))
