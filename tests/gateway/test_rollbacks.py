"""A rollback of one worker is one of all that are told of it."""

from dataclasses import replace

from tensorfusion.gateway.rollbacks import Rollbacks
from tensorfusion.model.llm_route import RolloutPhase
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.compiler import compile_route
from tensorfusion.testing.routing import written

TARGETS = [{"name": "old"}, {"name": "new", "model": "m2"}]


def chooser(**rollout: object) -> Chooser:
    return Chooser(compile_route(written(strategy="weighted", targets=TARGETS, rollout={"target": "new", **rollout})))


def test_a_rollback_in_the_status_of_the_route_is_followed_and_that_of_another_rollout_is_not() -> None:
    mine, other = chooser(), chooser(steps=[7])
    assert mine.progress is not None
    told = replace(mine.progress, phase=RolloutPhase.ROLLED_BACK, since=5.0, message="bad")
    rollbacks = Rollbacks(None)
    rollbacks.written = lambda route: told
    rollbacks.look({"red/mine": mine, "red/other": other}, 10.0)
    assert mine.progress == told
    assert other.progress is not None
    assert other.progress.phase is RolloutPhase.PROGRESSING
