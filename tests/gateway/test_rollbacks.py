"""A rollback of one worker is one of all that are told of it."""

from dataclasses import replace
from pathlib import Path

from tensorfusion.gateway.rollbacks import Rollbacks
from tensorfusion.model.llm_route import RolloutPhase
from tensorfusion.policy.routing.asks import Failure, Outcome
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.compiler import compile_route
from tensorfusion.testing.routing import written

BAD = Outcome(Failure.STATUS, 500)
TARGETS = [{"name": "old"}, {"name": "new", "model": "m2"}]


def chooser(**rollout: object) -> Chooser:
    return Chooser(compile_route(written(strategy="weighted", targets=TARGETS, rollout={"target": "new", **rollout})))


def test_a_rollback_in_the_status_of_the_route_is_followed_and_that_of_another_rollout_is_not() -> None:
    mine, other = chooser(), chooser(steps=[7])
    assert mine.progress is not None
    told = replace(mine.progress, phase=RolloutPhase.ROLLED_BACK, since=5.0, message="bad")
    rollbacks = Rollbacks(None, written=lambda route: told)
    rollbacks.look({"red/mine": mine, "red/other": other}, 10.0)
    assert mine.progress == told
    assert other.progress is not None
    assert other.progress.phase is RolloutPhase.PROGRESSING


def test_what_was_rolled_back_may_be_tried_again_behind_another_rollout(tmp_path: Path) -> None:
    rollbacks, first = Rollbacks(tmp_path), chooser(minRequests=1)
    rollbacks.look({"red/chat": first}, 10.0)
    target = first.route.targets[1]
    first.ended(first.started(target, 1.0), 2.0, BAD)
    rollbacks.look({"red/chat": first}, 11.0)
    successor = chooser(minRequests=1)  # of a worker that was started anew
    rollbacks.look({"red/chat": successor}, 12.0)
    for one in (first, successor):
        assert one.progress is not None
        assert one.progress.phase is RolloutPhase.ROLLED_BACK
    rollbacks.look({"red/chat": chooser(steps=[7])}, 13.0)
    again = chooser(minRequests=1)
    rollbacks.look({"red/chat": again}, 14.0)
    assert again.progress is not None
    assert again.progress.phase is RolloutPhase.PROGRESSING
