"""A new target gets more step by step, and nothing once it fails too often."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.llm_route import RolloutPhase
from tensorfusion.policy.routing.asks import Ask, Failure, Outcome
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.compiler import InvalidRoute, compile_route
from tensorfusion.policy.routing.rollout import Progress, advance, begin, resume, shares
from tensorfusion.policy.routing.route import RolloutPlan
from tensorfusion.policy.routing.state import Attempts
from tensorfusion.testing.routing import Driver, written

PLAN = RolloutPlan("id", 1, (5, 25, 50, 100), 600.0, 50_000_000, 20)
TWO = [{"name": "old", "weight": 60}, {"name": "new", "model": "m2"}]


@given(st.lists(st.tuples(st.floats(0, 2000), st.integers(0, 100), st.integers(0, 100)), max_size=40))
def test_it_only_goes_one_step_at_a_time_and_only_with_enough_seen(events: list[tuple[float, int, int]]) -> None:
    progress, now = begin(PLAN, 1.0), 1.0
    for pause, requests, failures in events:
        failures = min(failures, requests)
        now += pause
        found = advance(PLAN, progress, now, requests=requests, failures=failures)
        bad = requests >= 20 and failures / requests > 0.05
        if progress.phase is not RolloutPhase.PROGRESSING:
            assert found is progress
        elif bad:
            assert (found.phase, found.percent(PLAN)) == (RolloutPhase.ROLLED_BACK, 0)
        elif requests >= 20 and now >= progress.since + 600:
            assert found.step == min(progress.step + 1, 3)
            assert (found.phase is RolloutPhase.COMPLETE) == (progress.step == 3)
        else:
            assert (found.phase, found.step, found.since) == (progress.phase, progress.step, progress.since)
        progress = found


@given(st.lists(st.integers(1, 100), min_size=2, max_size=8), st.integers(0, 100), st.data())
def test_shares_are_exact(weights: list[int], percent: int, data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(weights) - 1))
    found, total = shares(weights, target, percent), sum(weights) - weights[target]
    assert found[target] * 100 == percent * sum(found)
    for index, weight in enumerate(weights):
        if index != target:
            assert found[index] * total * 100 == weight * (100 - percent) * sum(found)


def test_a_route_rolls_out_and_back() -> None:
    driver = Driver(written(strategy="weighted", targets=TWO, rollout={"target": "new", "interval": "1m"}))
    chooser = driver.chooser

    def seen(count: int) -> int:
        found = 0
        for _ in range(count):
            ticket = driver.start()
            driver.end(ticket)
            found += ticket.target.name == "new"
        return found

    chooser.roll(1000.0)
    assert seen(400) == 20
    assert chooser.roll(1059.0) == Progress(chooser.progress.id, since=1000.0, message="waits for 1s")  # type: ignore[union-attr]
    assert chooser.roll(1060.0).step == 1  # type: ignore[union-attr]
    assert seen(40) == 10
    assert "waits for 20 requests, 10 were seen" in chooser.roll(1200.0).message  # type: ignore[union-attr]
    for _ in range(10):
        driver.serve("new", Failure.MALFORMED)
    found = chooser.roll(1201.0)
    assert found is not None
    assert found.phase is RolloutPhase.ROLLED_BACK
    assert found.message == "10 of 20 requests failed at 25 percent: more than maxErrorRate"
    assert seen(100) == 0


def test_progress_outlives_a_restart_and_a_reload_but_not_another_target() -> None:
    route = written(strategy="weighted", targets=TWO, rollout={"target": "new"})
    plan = compile_route(route).rollout
    assert plan is not None
    written_down = Progress(plan.id, RolloutPhase.ROLLED_BACK, 2, 7.0)
    assert resume(plan, written_down, 8.0) is written_down
    driver = Driver(route)
    driver.chooser.__init__(compile_route(route), written_down)  # type: ignore[misc]
    assert set(driver.names(50, Ask("m"))) == set("old")
    newer = Driver(route)
    newer.chooser.adopt(driver.chooser)
    assert newer.chooser.progress == written_down
    other = written(strategy="weighted", targets=[TWO[0], {**TWO[1], "model": "m3"}], rollout={"target": "new"})
    changed = Driver(other)
    changed.chooser.adopt(driver.chooser)
    assert changed.chooser.progress is not None
    assert changed.chooser.progress.phase is RolloutPhase.PROGRESSING


def test_a_target_that_was_rolled_back_is_asked_only_where_nobody_else_can_be() -> None:
    route = compile_route(written(strategy="weighted", targets=TWO, rollout={"target": "new"}))
    assert route.rollout is not None
    chooser = Chooser(route, Progress(route.rollout.id, RolloutPhase.ROLLED_BACK, 1, 7.0))
    for session in ("", "s1", "s2", "s3"):
        asked, attempts = Ask("m", session=session), Attempts()
        first = chooser.next(asked, 0.0, attempts, random=0.5)
        assert first is not None
        step = chooser.after(asked, 0.0, attempts, target=first, outcome=Outcome(Failure.CONNECT), wall=0.0, random=0.5)
        assert step.target is not None
        assert (first.name, step.target.name) == ("old", "new")


def test_a_session_that_moved_to_the_new_target_stays_there() -> None:
    driver = Driver(
        written(strategy="weighted", targets=TWO, rollout={"target": "new", "interval": "0", "minRequests": 0})
    )
    moved: set[str] = set()
    for wall in (1.0, 2.0, 3.0, 4.0):
        now_there = {
            session
            for session in map(str, range(300))
            if driver.pick(Ask("m", session=session)).name == "new"  # type: ignore[union-attr]
        }
        assert moved <= now_there
        moved = now_there
        driver.chooser.roll(wall)
    assert len(moved) == 300


def test_nothing_is_decided_on_nothing() -> None:
    plan = replace(PLAN, min_requests=0)
    assert advance(plan, begin(plan, 0.0), 600.0, requests=0, failures=0).step == 1
    assert advance(plan, begin(plan, 0.0), 600.0, requests=1, failures=1).phase is RolloutPhase.ROLLED_BACK


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (
            {"strategy": "priority", "rollout": {"target": "new"}},
            "spec.rollout: wanted strategy weighted, found priority",
        ),
        ({"rollout": {"target": "x"}}, "spec.rollout.target: wanted one of at least two enabled targets, found 'x'"),
        ({"rollout": {"target": "new", "steps": [50, 5]}}, "spec.rollout.steps: wanted percents that grow"),
        ({"aliases": ["a@b"]}, "spec.aliases[0]: wanted a name without @, found 'a@b'"),
    ],
)
def test_what_cannot_be_rolled_out_is_named(spec: dict[str, object], error: str) -> None:
    with pytest.raises(InvalidRoute) as caught:
        compile_route(written(**{"strategy": "weighted", "targets": TWO, **spec}))
    assert str(caught.value).startswith(f"LLMRoute red/chat: {error}")


def test_another_route_of_the_same_name_rolls_out_anew() -> None:
    route = written(strategy="weighted", targets=TWO, rollout={"target": "new"})
    first, again, other = (
        compile_route(msgspec.structs.replace(route, metadata=msgspec.structs.replace(route.metadata, uid=uid))).rollout
        for uid in ("u1", "u1", "u2")
    )
    assert first == again
    assert first is not None
    assert other is not None
    assert first.id != other.id
