"""Numbers of a route's status: what is added adds up, days and months begin anew, percentiles are near the truth."""

import math
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.llm_route import CostTracking, LLMRouteStatus, RouteStats
from tensorfusion.policy.routing.latencies import class_of, merged, percentile
from tensorfusion.policy.routing.money import PICO
from tensorfusion.policy.routing.route_stats import Totals, added

NOON = datetime(2027, 2, 10, 12, tzinfo=UTC)


def test_what_is_added_adds_up_exactly() -> None:
    status = LLMRouteStatus()
    for _ in range(1000):
        status = added(status, Totals(3, 2, 1, 0, 7, 1), NOON)
    assert status.stats == RouteStats(total_requests=3000, successful_requests=2000, failed_requests=1000)
    assert status.cost_tracking is not None
    assert (status.cost_tracking.total_cost, status.cost_tracking.total_tokens) == ("0.000000001", 7000)


def test_days_and_months_begin_anew_and_totals_do_not() -> None:
    known = CostTracking(total_cost="100", cost_today="2", cost_this_month="10", total_tokens=5)

    def costs(last: str | None, now: datetime) -> tuple[str, str, str]:
        found = added(LLMRouteStatus(cost_tracking=known, last_updated=last), Totals(cost=PICO), now).cost_tracking
        assert found is not None
        return found.total_cost, found.cost_this_month, found.cost_today

    assert costs("2027-02-10T00:00:00Z", NOON) == ("101", "11", "3")
    assert costs("2027-02-10T01:00:00+02:00", NOON) == ("101", "11", "1")  # in UTC it was the day before
    assert costs("2027-01-10T00:00:00Z", NOON) == ("101", "1", "1")
    assert costs("2026-02-10T00:00:00Z", NOON) == ("101", "1", "1")
    assert costs(None, NOON) == costs("nonsense", NOON) == ("101", "1", "1")


def test_a_month_is_estimated_from_its_days_so_far() -> None:
    half = datetime(2027, 2, 15, tzinfo=UTC)
    first = datetime(2027, 2, 1, 0, 1, tzinfo=UTC)
    for now, wanted in ((half, "28"), (first, "392")):
        found = added(LLMRouteStatus(), Totals(cost=14 * PICO), now).cost_tracking
        assert found is not None
        assert found.estimated_monthly_cost == wanted


@given(st.lists(st.floats(1e-5, 1500), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_at_most_five_percent_off(seconds: list[float], part: float) -> None:
    counts = merged({class_of(one): 1} for one in seconds)
    true = sorted(seconds)[max(1, math.ceil(len(seconds) * part)) - 1]
    found = percentile(counts, part)
    assert found is not None
    assert abs(found - true) <= 0.05 * true + 1e-9


def test_of_nothing_there_is_no_percentile_and_extremes_have_classes() -> None:
    assert percentile({}, 0.95) is None
    assert class_of(0.0) == class_of(-1.0) == 0
    assert class_of(1e9) == class_of(1e12)
