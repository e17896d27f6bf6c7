"""Numbers of a route's status: what was counted since the last write is added to what the status says.

So nobody has to remember totals: a gateway that starts anew goes on from the status, and several gateways add each its
own. Money is in pico-dollars here (``money``) and in dollars there. Days and months are UTC.

Source: the platform's contract, 1.2.
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import msgspec

from tensorfusion.model.llm_route import CostTracking, LLMRouteStatus, RouteStats
from tensorfusion.policy.routing.money import PICO, format_usd


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a route. ``cost`` in pico-dollars."""

    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    cached: int = 0
    tokens: int = 0
    cost: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(mine + theirs for mine, theirs in zip(self._all, other._all, strict=True)))

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(*(mine - theirs for mine, theirs in zip(self._all, other._all, strict=True)))

    def __bool__(self) -> bool:
        return any(self._all)

    @property
    def _all(self) -> tuple[int, ...]:
        return self.requests, self.succeeded, self.failed, self.cached, self.tokens, self.cost


def added(status: LLMRouteStatus, fresh: Totals, now: datetime) -> LLMRouteStatus:
    """The status with what was counted since it was written; ``now`` decides the day and the month."""
    stats = status.stats or RouteStats()
    stats = msgspec.structs.replace(
        stats,
        total_requests=stats.total_requests + fresh.requests,
        successful_requests=stats.successful_requests + fresh.succeeded,
        failed_requests=stats.failed_requests + fresh.failed,
        cached_requests=stats.cached_requests + fresh.cached,
    )
    costs = status.cost_tracking
    if costs is None and not fresh.tokens and not fresh.cost:
        return msgspec.structs.replace(status, stats=stats)
    return msgspec.structs.replace(status, stats=stats, cost_tracking=_costs(status, fresh, now.astimezone(UTC)))


def _costs(status: LLMRouteStatus, fresh: Totals, now: datetime) -> CostTracking:
    known = status.cost_tracking or CostTracking()
    before = _moment(status.last_updated)
    same_month = before is not None and (before.year, before.month) == (now.year, now.month)
    same_day = same_month and before is not None and before.day == now.day
    month = (_pico(known.cost_this_month) if same_month else 0) + fresh.cost
    day = (_pico(known.cost_today) if same_day else 0) + fresh.cost
    days = calendar.monthrange(now.year, now.month)[1]
    begun = (now - now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    passed = max(begun / 86_400, 1.0)  # on its first day a month is taken for a day old
    return CostTracking(
        total_cost=format_usd(_pico(known.total_cost) + fresh.cost),
        cost_today=format_usd(day),
        cost_this_month=format_usd(month),
        estimated_monthly_cost=format_usd(round(month * days / passed)),
        total_tokens=known.total_tokens + fresh.tokens,
    )


def _pico(text: str) -> int:
    """Dollars as they stand in a status; what is none, counts as nothing."""
    try:
        return int(Decimal(text) * PICO) if text else 0
    except InvalidOperation:
        return 0


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return None if found is None else (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
