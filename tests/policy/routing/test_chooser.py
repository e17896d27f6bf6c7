"""Targets in the order that the strategy says, until one answers."""

from tensorfusion.model.request import QoS
from tensorfusion.policy.routing.asks import Ask, Failure, Outcome
from tensorfusion.policy.routing.state import Attempts
from tensorfusion.testing.routing import Driver, written

GONE = Outcome(Failure.CONNECT)


def test_priority_takes_the_lowest_and_shares_among_equals() -> None:
    driver = Driver(
        written(
            strategy="priority", targets=[{"priority": 20}, {"weight": 3, "priority": 1}, {"weight": 1, "priority": 1}]
        )
    )
    names = driver.names(8)
    assert names.count("b") == 6
    assert names.count("c") == 2


def test_round_robin_rotates() -> None:
    assert Driver(written(strategy="round-robin", targets=[{}, {}, {}])).names(7) == "abcabca"


def test_a_failure_goes_on_to_the_next_target_and_never_back() -> None:
    driver = Driver(written(strategy="priority", targets=[{"priority": 1}, {"priority": 2}, {"priority": 3}]))
    attempts, target = Attempts(), driver.pick()
    asked = []
    while target is not None:
        asked.append(target.name)
        driver.end(driver.chooser.started(target, driver.now), Failure.CONNECT)
        step = driver.after(attempts, target, GONE)
        target = step.target
    assert asked == ["a", "b", "c"]
    assert step.reason == "connect; no other target is left"


def test_without_fallback_a_failure_is_the_end() -> None:
    driver = Driver(written(strategy="priority", enableFallback=False, targets=[{}, {}]))
    target = driver.pick()
    assert target is not None
    step = driver.after(Attempts(), target, GONE)
    assert step.target is None
    assert "enableFallback is off" in step.reason


def test_conditions_and_concurrency_leave_targets_out_and_say_why() -> None:
    driver = Driver(
        written(
            strategy="priority",
            targets=[
                {"conditions": {"maxTokens": 10}},
                {"conditions": {"minPriority": "high"}},
                {"conditions": {"requestPattern": "(?i)sql"}},
                {"maxConcurrency": 1},
            ],
        )
    )
    asked = Ask("m", prompt_tokens=11, last_user_message="a poem")
    assert driver.start(asked).target.name == "d"
    assert driver.pick(asked) is None
    why = driver.chooser.why_none(asked, driver.now, Attempts())
    assert dict(why.reasons) == {
        "a": "takes prompts up to 10 tokens, this has about 11",
        "b": "takes priority high and above, this has medium",
        "c": "its requestPattern does not match the last user message",
        "d": "has its maxConcurrency of 1 requests in flight",
    }
    assert driver.pick(Ask("m", prompt_tokens=11, last_user_message="some SQL")).name == "c"  # type: ignore[union-attr]


def test_the_bounds_of_conditions_are_inside() -> None:
    bounds = {"minTokens": 10, "maxTokens": 20, "minPriority": "high"}
    driver = Driver(written(targets=[{"conditions": bounds}]))
    for tokens, priority, taken in (
        (9, QoS.HIGH, False),
        (10, QoS.HIGH, True),
        (20, QoS.CRITICAL, True),
        (21, QoS.HIGH, False),
        (15, QoS.MEDIUM, False),
    ):
        assert (driver.pick(Ask("m", prompt_tokens=tokens, priority=priority)) is not None) is taken


def test_an_attempt_ends_once() -> None:
    driver = Driver(written(targets=[{}]))
    ticket = driver.start()
    driver.end(ticket)
    driver.end(ticket, Failure.RESET)
    (report,) = driver.chooser.status(driver.now)
    assert (report.in_flight, report.attempts, report.failures) == (0, 1, 0)


def test_five_failures_open_the_circuit_and_one_success_closes_it() -> None:
    driver = Driver(written(strategy="priority", targets=[{"priority": 1}, {"priority": 2}]))
    for _ in range(5):
        driver.serve("a", Failure.STATUS, status=500)
    assert driver.names(3) == "bbb"
    driver.now += 5
    assert driver.start().target.name == "a"
    assert driver.start().target.name == "b"


def test_what_was_learned_outlives_a_reload() -> None:
    route = written(strategy="priority", targets=[{"priority": 1}, {"priority": 2}])
    old, new = (
        Driver(route),
        Driver(written(strategy="priority", targets=[{"name": "n"}, {"name": "a"}, {"name": "b"}])),
    )
    for _ in range(5):
        old.serve("a", Failure.RESET)
    ticket = old.chooser.started(old.chooser.route.targets[1], old.now)
    new.chooser.adopt(old.chooser)
    reports = {report.name: report for report in new.chooser.status(new.now)}
    assert (reports["a"].circuit, reports["b"].in_flight, reports["n"].in_flight) == ("open", 1, 0)
    old.end(ticket)
    assert new.chooser.status(new.now)[2].in_flight == 0


def test_a_target_that_filled_up_in_the_pause_before_it_is_asked_again_is_not() -> None:
    spec = {"strategy": "priority", "retry": {"maxRetries": 1}}
    driver = Driver(written(targets=[{"priority": 1, "maxConcurrency": 1}, {"priority": 2}], **spec))
    attempts, ticket = Attempts(), driver.start()
    step = driver.after(attempts, ticket.target, driver.end(ticket, Failure.RESET))
    assert step.target is ticket.target
    assert step.delay
    other = driver.start()
    assert other.target is ticket.target
    step = driver.resume(attempts, step, GONE)
    assert step.target is not None
    assert step.target.name == "b"
    driver.end(other)
    assert driver.after(Attempts(), other.target, GONE).target is other.target


def test_a_target_whose_circuit_opened_in_the_pause_is_not_asked_again() -> None:
    driver = Driver(written(strategy="priority", retry={"maxRetries": 1}, targets=[{}]))
    attempts, target = Attempts(), driver.pick()
    assert target is not None
    step = driver.after(attempts, target, GONE)
    for _ in range(5):
        driver.serve("a", Failure.CONNECT)
    assert driver.resume(attempts, step, GONE).target is None


def test_a_target_without_room_is_not_asked_again_at_once() -> None:
    driver = Driver(written(strategy="priority", retry={"maxRetries": 1}, targets=[{"maxConcurrency": 1}]))
    ticket = driver.start()
    driver.end(ticket, Failure.RESET)
    driver.start()
    assert driver.after(Attempts(), ticket.target, GONE).target is None
