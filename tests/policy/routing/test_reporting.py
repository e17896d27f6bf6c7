"""A route's status says what its workers see."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.llm_route import Circuit, RolloutPhase
from tensorfusion.policy.routing.asks import Failure
from tensorfusion.policy.routing.compiler import compile_route
from tensorfusion.policy.routing.reporting import progress_of, rollout_status, target_statuses
from tensorfusion.policy.routing.rollout import Progress
from tensorfusion.testing.routing import Driver, written

ROUTE = written(strategy="weighted", targets=[{}, {"name": "new"}], rollout={"target": "new", "steps": [5, 50]})


def test_the_workers_are_added_up() -> None:
    one, other = Driver(written(targets=[{}, {}])), Driver(written(targets=[{}, {}]))
    for _ in range(5):
        one.serve("a", Failure.STATUS, status=503, detail="overloaded")
    for _ in range(15):
        other.serve("a")
    other.start()
    a, b = target_statuses([one.chooser.status(one.now), other.chooser.status(other.now)])
    assert (a.name, a.healthy, a.circuit, a.in_flight, a.error_rate) == ("a", False, Circuit.OPEN, 1, "0.2500")
    assert (a.last_error, a.ttft_p50) == ("status 503: overloaded", "0.00ms")
    assert (b.healthy, b.circuit, b.in_flight, b.error_rate, b.ttft_p50) == (True, Circuit.CLOSED, 0, "", "")


@given(st.floats(1, 4e9), st.sampled_from(RolloutPhase), st.integers(0, 1))
def test_a_rollout_is_read_as_it_was_written(since: float, phase: RolloutPhase, step: int) -> None:
    route = compile_route(ROUTE)
    assert route.rollout is not None
    progress = Progress(route.rollout.id, phase, step, since, "waits")
    status = rollout_status(route, progress)
    assert status is not None
    assert (status.target, status.percent) == ("new", 0 if phase is RolloutPhase.ROLLED_BACK else [5, 50][step])
    again = progress_of(status)
    assert again is not None
    assert (again.id, again.phase, again.step, again.message) == (progress.id, phase, step, "waits")
    assert abs(again.since - since) < 1e-5


def test_a_route_without_a_rollout_has_no_status_of_it() -> None:
    assert rollout_status(compile_route(written()), None) is None
    assert progress_of(None) is None
