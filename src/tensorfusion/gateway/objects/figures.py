"""The numbers in a route's status: from what its workers have told, and from what is known in this process.

Totals are those since the route exists. Times, the active target and how targets do are of the gateway that holds the
Lease: since its workers began. A rollback is written by whoever went back, and is never taken back: the others follow
what the status says.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tensorfusion.gateway.objects.reports import Sum
from tensorfusion.model.llm_route import LLMRouteStatus, RolloutPhase, RolloutStatus, RouteStats, TargetStatus
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.latencies import percentile
from tensorfusion.policy.routing.reporting import milliseconds, rollout_status, target_statuses
from tensorfusion.policy.routing.route_stats import Totals, added
from tensorfusion.policy.routing.route_status import Lack


def with_totals(status: LLMRouteStatus, fresh: Totals, now: datetime) -> LLMRouteStatus:
    """With what was counted since it was written."""
    return added(status, fresh, now) if fresh or status.stats is None else status


def with_figures(
    status: LLMRouteStatus, found: Sum | None, chooser: Chooser, lacks: Sequence[Lack], *, now: float
) -> LLMRouteStatus:
    """With times, targets and rollout as they are now; ``now`` is the time that choosers go by."""
    reports = [*found.targets] if found is not None else []
    by_lack = {lack.target: lack.address or lack.credential for lack in lacks}
    targets = tuple(
        _with_lack(one, by_lack.get(one.name, "")) for one in target_statuses(reports or [chooser.status(now)])
    )
    stats = status.stats
    if found is not None and found.requests:
        stats = msgspec.structs.replace(
            stats or RouteStats(),
            average_latency=milliseconds(found.seconds / found.requests),
            p95_latency=_percentile(found, 0.95),
            p99_latency=_percentile(found, 0.99),
        )
    return msgspec.structs.replace(
        status,
        stats=stats,
        active_target=(found.active if found is not None else "") or status.active_target,
        targets=tuple(one for one in targets if one.name in by_lack),
        rollout=_rollout(status, chooser),
    )


def with_rollback(status: LLMRouteStatus, chooser: Chooser) -> LLMRouteStatus:
    """With the rollback of this gateway, if it has gone back."""
    progress = chooser.progress
    if progress is None or progress.phase is not RolloutPhase.ROLLED_BACK:
        return status
    return msgspec.structs.replace(status, rollout=_rollout(status, chooser))


def _rollout(status: LLMRouteStatus, chooser: Chooser) -> RolloutStatus | None:
    plan, written = chooser.route.rollout, status.rollout
    if written is not None and written.phase is RolloutPhase.ROLLED_BACK and plan is not None and written.id == plan.id:
        return written
    return rollout_status(chooser.route, chooser.progress)


def _percentile(found: Sum, part: float) -> str:
    seconds = percentile(found.latencies, part)
    return "" if seconds is None else milliseconds(seconds)


def _with_lack(target: TargetStatus, lack: str) -> TargetStatus:
    """Who lacks an address or a credential is not healthy, whatever its circuit says."""
    return msgspec.structs.replace(target, healthy=False, last_error=lack) if lack else target
