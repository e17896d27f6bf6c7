"""What is written into a route's status: how its targets do, over all workers, and how far its rollout is."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from statistics import median_low

from tensorfusion.model.llm_route import Circuit, RolloutStatus, TargetStatus
from tensorfusion.policy.routing.rollout import Progress
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.state import TargetReport

_WORST_FIRST = (Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED)
_MICRO = 1_000_000


def target_statuses(workers: Iterable[Sequence[TargetReport]]) -> tuple[TargetStatus, ...]:
    """One status for each target, from what each worker reports of it.

    A target is healthy if every worker would ask it; its circuit is the worst of theirs. Requests add up; the median is
    that of the workers' medians.
    """
    found: dict[str, list[TargetReport]] = {}
    for reports in workers:
        for report in reports:
            found.setdefault(report.name, []).append(report)
    return tuple(_status(name, reports) for name, reports in found.items())


def _status(name: str, reports: Sequence[TargetReport]) -> TargetStatus:
    attempts, failures = sum(one.attempts for one in reports), sum(one.failures for one in reports)
    medians = [one.first_token_p50 for one in reports if one.first_token_p50 is not None]
    return TargetStatus(
        name=name,
        healthy=all(one.healthy for one in reports),
        circuit=next(circuit for circuit in _WORST_FIRST if any(one.circuit is circuit for one in reports)),
        in_flight=sum(one.in_flight for one in reports),
        ttft_p50=milliseconds(median_low(medians)) if medians else "",
        error_rate=f"{failures / attempts:.4f}" if attempts else "",
        last_error=next((one.last_error for one in reports if one.last_error), ""),
    )


def milliseconds(seconds: float) -> str:
    """As statuses have it: ``12.34ms``."""
    return f"{seconds * 1000:.2f}ms"


def rollout_status(route: Route, progress: Progress | None) -> RolloutStatus | None:
    """The rollout's status as it is written down; None where the route has no rollout."""
    plan = route.rollout
    if plan is None or progress is None:
        return None
    return RolloutStatus(
        id=progress.id,
        target=route.targets[plan.target].name,
        phase=progress.phase,
        step=progress.step,
        percent=progress.percent(plan),
        since=_time(progress.since) if progress.since else None,
        message=progress.message,
    )


def progress_of(status: RolloutStatus | None) -> Progress | None:
    """What was written down, for a chooser that begins; None where it cannot be read."""
    if status is None or status.since is None:
        return None
    try:
        since = datetime.fromisoformat(status.since)
    except ValueError:
        return None
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    return Progress(status.id, status.phase, status.step, since.timestamp(), status.message)


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(round(seconds * _MICRO) / _MICRO, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
