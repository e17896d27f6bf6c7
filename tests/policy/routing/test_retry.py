"""What follows a failure: the same target, another one, or the end; and how much of it there may be."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.routing.asks import Ask, Failure, Outcome
from tensorfusion.policy.routing.compiler import compile_route
from tensorfusion.policy.routing.retry import Next, RetryBudget, backoff, judge, retry_after
from tensorfusion.policy.routing.route import NEVER_RETRIED, RETRIED_STATUSES, RetryRules
from tensorfusion.policy.routing.state import Attempts
from tensorfusion.testing.routing import Driver, written

RULES = RetryRules(max_retries=3)
F = Failure


def verdict(
    failure: Failure, status: int = 0, *, rules: RetryRules = RULES, retries: int = 0, retry_after: str = ""
) -> Next:
    outcome = Outcome(failure, status=status, retry_after=retry_after)
    return judge(rules, outcome, retries=retries, wall=0.0, random=0.5).next


@pytest.mark.parametrize("status", sorted(RETRIED_STATUSES))
def test_what_may_pass_is_asked_again_and_then_goes_on(status: int) -> None:
    assert verdict(F.STATUS, status) is Next.SAME
    assert verdict(F.STATUS, status, retries=3) is Next.OTHER
    assert verdict(F.STATUS, status, rules=RetryRules()) is Next.OTHER


@pytest.mark.parametrize("status", sorted(NEVER_RETRIED))
def test_what_only_repeats_is_never_asked_again_even_if_the_route_says_so(status: int) -> None:
    greedy = RetryRules(max_retries=9, statuses=frozenset(range(400, 600)))
    assert verdict(F.STATUS, status, rules=greedy) is not Next.SAME
    assert verdict(F.STATUS, status) is (Next.END if status in (400, 422) else Next.OTHER)


@pytest.mark.parametrize(
    ("failure", "follows"),
    [
        (F.CONNECT, Next.SAME),
        (F.RESET, Next.SAME),
        (F.MALFORMED, Next.SAME),
        (F.SILENT, Next.OTHER),
        (F.FIRST_TOKEN, Next.OTHER),
        (F.STALL, Next.OTHER),
        (F.CONTEXT_LENGTH, Next.LARGER),
        (F.CONTENT_FILTER, Next.END),
        (F.CANCELLED, Next.END),
    ],
)
def test_each_failure_has_its_consequence(failure: Failure, follows: Next) -> None:
    assert verdict(failure) is follows


def test_retry_on_errors_says_what_is_asked_again_and_not_what_goes_on() -> None:
    rules = compile_route(written(retry={"maxRetries": 2, "retryOnErrors": ["429", "reset"]})).retry
    assert verdict(F.STATUS, 429, rules=rules) is Next.SAME
    assert verdict(F.STATUS, 503, rules=rules) is Next.OTHER
    assert verdict(F.RESET, rules=rules) is Next.SAME
    assert verdict(F.CONNECT, rules=rules) is Next.OTHER
    assert verdict(F.STATUS, 405, rules=rules) is Next.END


@pytest.mark.parametrize(
    ("field", "follows", "delay"),
    [
        ("3", Next.SAME, 3.0),
        ("11", Next.OTHER, 0.0),
        ("9" * 20, Next.OTHER, 0.0),
        ("9" * 5000, Next.OTHER, 0.0),
        ("soon", Next.SAME, 0.5),
        ("-1", Next.SAME, 0.5),
        ("1e3", Next.SAME, 0.5),
    ],
)
def test_retry_after_wins_unless_it_is_too_long(field: str, follows: Next, delay: float) -> None:
    found = judge(RULES, Outcome(F.STATUS, status=429, retry_after=field), retries=0, wall=0.0, random=0.5)
    assert (found.next, found.delay) == (follows, delay)


@given(st.integers(100_000, 7_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC)), st.floats(0, 86_400))
def test_retry_after_may_be_a_date(moment: datetime, before: float) -> None:
    text = moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert retry_after(text, moment.timestamp() - before) == pytest.approx(before, abs=1e-3)
    assert retry_after(text, moment.timestamp() + before) == 0.0


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_of_a_date_are_read(text: str) -> None:
    assert retry_after(text, 784_111_777.0 - 5) == 5.0


def test_a_year_of_two_digits_is_never_far_ahead() -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    assert retry_after("Sunday, 06-Nov-94 08:49:37 GMT", now) == 0.0
    assert retry_after("Tuesday, 01-Dec-26 00:00:00 GMT", now) == 86_400.0


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "1e9",
        "-3",
        "٣",
    ],
)
def test_what_is_no_date_and_no_number_is_ignored(text: str) -> None:
    assert retry_after(text, 0.0) is None


@given(st.text(max_size=40))
def test_any_retry_after_is_read_or_ignored(text: str) -> None:
    found = retry_after(text, 0.0)
    assert found is None or found >= 0


@given(st.integers(0, 10_000), st.floats(0, 0.999999), st.floats(0, 5), st.floats(0, 20), st.floats(1, 1e9))
def test_a_pause_is_jittered_over_its_whole_length(
    retries: int, random: float, first: float, most: float, multiplier: float
) -> None:
    rules = RetryRules(initial_delay=first, max_delay=most, multiplier=multiplier)
    full = backoff(rules, retries, 1.0)
    assert full <= most
    assert full >= min(first, most)
    assert backoff(rules, retries, random) == pytest.approx(random * full)


def test_pauses_grow() -> None:
    assert [backoff(RetryRules(max_delay=10), retries, 1.0) for retries in range(6)] == [1, 2, 4, 8, 10, 10]


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300))
def test_further_attempts_stay_below_a_fifth_and_ten(events: list[tuple[float, bool]]) -> None:
    budget, now = RetryBudget(), 50.0
    requests: list[float] = []
    extra: list[float] = []
    for pause, further in events:
        now += pause
        recent = [at for at in requests if int(at) > int(now) - 10]
        used = [at for at in extra if int(at) > int(now) - 10]
        if not further:
            budget.request(now)
            requests.append(now)
            continue
        granted = budget.take(now)
        assert granted == (len(used) + 1 <= 10 + 0.2 * len(recent))
        if granted:
            extra.append(now)


def test_ten_further_attempts_are_always_there_and_a_fifth_of_the_requests() -> None:
    budget = RetryBudget()
    assert [budget.take(1.0) for _ in range(12)] == [True] * 10 + [False] * 2
    for _ in range(9):
        budget.request(1.0)
    assert [budget.take(1.0) for _ in range(3)] == [True, False, False]
    budget.request(1.0)
    assert [budget.take(10.9) for _ in range(2)] == [True, False]
    assert budget.take(11.0)


def spent(driver: Driver) -> Driver:
    """The route's budget of further attempts is used up."""
    while driver.chooser._budget.take(driver.now):
        pass
    return driver


def flow(driver: Driver, outcomes: dict[str, Outcome], ask: Ask | None = None) -> tuple[list[str], str]:
    """The targets that one request asks, if each answers as it always does."""
    attempts, asked, reason = Attempts(), [], ""
    target = driver.pick(ask, attempts=attempts)
    while target is not None:
        asked.append(target.name)
        outcome = outcomes.get(target.name, Outcome())
        driver.end(driver.chooser.started(target, driver.now), outcome.failure, status=outcome.status)
        if outcome.failure is None:
            return asked, "answered"
        step = driver.after(attempts, target, outcome, ask)
        target, reason = step.target, step.reason
    return asked, reason


def ordered(*targets: dict[str, object], **spec: object) -> Driver:
    return Driver(
        written(strategy="priority", targets=[{**target, "priority": at} for at, target in enumerate(targets)], **spec)
    )


def test_the_same_target_then_the_next() -> None:
    driver = ordered({}, {}, retry={"maxRetries": 2})
    assert flow(driver, {"a": Outcome(F.STATUS, status=503)}) == (["a", "a", "a", "b"], "answered")


def test_each_target_is_asked_again_as_often() -> None:
    down = {name: Outcome(F.STATUS, status=503) for name in "ab"}
    driver = ordered({}, {}, {}, retry={"maxRetries": 2})
    assert flow(driver, down) == (["a", "a", "a", "b", "b", "b", "c"], "answered")


def test_a_target_whose_circuit_opened_is_not_asked_again() -> None:
    driver = ordered({}, {}, retry={"maxRetries": 9})
    assert flow(driver, {"a": Outcome(F.STATUS, status=503)}) == (["a"] * 5 + ["b"], "answered")


def test_a_prompt_that_is_too_long_goes_to_a_larger_context_only() -> None:
    driver = ordered({"contextLength": 8192}, {"contextLength": 4096}, {}, {"contextLength": 131072})
    too_long = Outcome(F.CONTEXT_LENGTH, status=400)
    assert flow(driver, {"a": too_long}) == (["a", "d"], "answered")
    assert flow(driver, {"a": too_long, "d": too_long}) == (["a", "d"], "context-length 400; no other target is left")
    assert flow(ordered({}, {"contextLength": 9}), {"a": too_long})[0] == ["a"]


def test_what_is_about_the_request_is_returned_as_it_is() -> None:
    for failure, status in ((F.CONTENT_FILTER, 400), (F.STATUS, 400), (F.STATUS, 422), (F.CANCELLED, 0)):
        assert flow(ordered({}, {}, retry={}), {"a": Outcome(failure, status=status)})[0] == ["a"]


def test_callers_errors_do_not_shut_a_target_for_others() -> None:
    driver = ordered({}, {})
    for status in (400, 403, 404, 413, 422):
        for _ in range(30):
            driver.serve("a", F.STATUS, status=status)
    assert driver.names(1) == "a"


def test_an_outage_is_not_made_worse() -> None:
    driver = ordered({}, {}, {}, retry={"maxRetries": 5})
    down = {name: Outcome(F.STATUS, status=500) for name in "abc"}
    attempts = 0
    for _ in range(1000):
        driver.now += 0.009
        attempts += len(flow(driver, down)[0])
    assert attempts <= 1000 * 1.2 + 10 + 3


def test_one_targets_outage_costs_no_request_however_many_are_under_way() -> None:
    driver = ordered({}, {})
    tickets = [driver.start() for _ in range(512)]
    assert {ticket.target.name for ticket in tickets} == {"a"}
    for ticket in tickets:
        outcome = driver.end(ticket, F.RESET)
        step = driver.after(Attempts(), ticket.target, outcome)
        assert step.target is not None
        driver.end(driver.chooser.started(step.target, driver.now))


def test_only_the_first_move_to_a_target_that_did_not_fail_last_time_is_free() -> None:
    refused = "the route's budget of further attempts is used up"
    broken = Outcome(F.STATUS, status=500)
    free = spent(ordered({}, {}, {}))
    assert flow(free, {"a": broken}) == (["a", "b"], "answered")
    assert flow(free, {"a": broken, "b": broken}) == (["a", "b"], f"status 500; {refused}")
    stained = spent(ordered({}, {}))
    stained.serve("b", F.RESET)
    assert flow(stained, {"a": broken}) == (["a"], f"status 500; {refused}")
    stained.serve("b")
    assert flow(stained, {"a": broken}) == (["a", "b"], "answered")


def test_asking_the_same_target_again_takes_from_the_budget() -> None:
    driver = spent(ordered({}, {}, retry={"maxRetries": 3}))
    assert flow(driver, {"a": Outcome(F.STATUS, status=500)}) == (["a", "b"], "answered")


def test_in_the_middle_of_an_answer_the_same_model_goes_first() -> None:
    driver = ordered({}, {"model": "n"}, {}, retry={"maxRetries": 3})
    ticket = driver.start()
    outcome = driver.end(ticket, F.RESET)
    step = driver.after(Attempts(), ticket.target, outcome, mid_stream=True)
    assert step.target is not None
    assert (step.target.name, step.delay) == ("c", 0.0)
