"""Moving requests to a new target step by step, and away from it when it fails too often.

A step lasts at least its interval, and until enough requests were seen: nothing is decided on a few. Too many failures
end the rollout at once, at any step: the new target gets nothing any more, and people decide. It begins anew when the
rollout or the target is changed.

Pure: what is observed goes in, the next progress comes out. Times in Unix seconds, for they are written into a status
that others read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tensorfusion.model.llm_route import RolloutPhase
from tensorfusion.policy.routing.route import RolloutPlan

_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is. ``step`` is the index in the plan's steps, begun at ``since``."""

    id: str
    phase: RolloutPhase = RolloutPhase.PROGRESSING
    step: int = 0
    since: float = 0.0
    message: str = ""

    def percent(self, plan: RolloutPlan) -> int:
        """Part of the requests that the new target gets."""
        if self.phase is RolloutPhase.ROLLED_BACK:
            return 0
        return plan.steps[min(self.step, len(plan.steps) - 1)]


def begin(plan: RolloutPlan, now: float) -> Progress:
    return Progress(plan.id, since=now)


def resume(plan: RolloutPlan, found: Progress | None, now: float) -> Progress:
    """The progress that was written down if it is of this rollout, else a new one."""
    return found if found is not None and found.id == plan.id else begin(plan, now)


def advance(plan: RolloutPlan, progress: Progress, now: float, *, requests: int, failures: int) -> Progress:
    """The progress after what was seen of the new target since the step began. At most one step at a time."""
    if progress.phase is not RolloutPhase.PROGRESSING:
        return progress
    percent = progress.percent(plan)
    enough = requests >= plan.min_requests
    if enough and failures * _BILLION > plan.max_error_rate * requests:
        return Progress(
            plan.id,
            RolloutPhase.ROLLED_BACK,
            progress.step,
            now,
            f"{failures} of {requests} requests failed at {percent} percent: more than maxErrorRate",
        )
    left = progress.since + plan.interval - now
    if left > 0 or not (enough or percent == 0):
        what = f"{left:.0f}s" if left > 0 else f"{plan.min_requests} requests, {requests} were seen"
        return Progress(plan.id, progress.phase, progress.step, progress.since, f"waits for {what}")
    if progress.step + 1 < len(plan.steps):
        return Progress(plan.id, progress.phase, progress.step + 1, now)
    return Progress(plan.id, RolloutPhase.COMPLETE, progress.step, now)


def shares(weights: Sequence[int], target: int, percent: int) -> tuple[int, ...]:
    """Weights with which the target gets exactly so many percent, and the others the rest as their own weights say."""
    others = sum(weights) - weights[target]
    return tuple(
        percent * others if index == target else (100 - percent) * weight for index, weight in enumerate(weights)
    )
