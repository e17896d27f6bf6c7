"""What a change would have brought: the same period as it was and as it could have been, side by side.

Every figure of the baseline comes from a replay, too, so that both columns leave out the same things; how near the
replay comes to what really happened is told beside them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tensorfusion.scheduler.recording.history import History
from tensorfusion.testing.what_if.jobs import Job, as_it_was, jobs_of, said
from tensorfusion.testing.what_if.outcome import Outcome, Waits, quantile
from tensorfusion.testing.what_if.replay import Replay
from tensorfusion.testing.what_if.scenario import Scenario
from tensorfusion.testing.what_if.sizes import in_order

ALL = "all"
_QUANTILES = (("p50", 0.50), ("p90", 0.90), ("p99", 0.99))
_NEAR = 1_000
"""Milliseconds that a replayed wait may differ from the recorded one to count as the same."""


def compare(
    history: History, scenario: Scenario, *, seed: int, tick: Callable[[], None] = lambda: None
) -> dict[str, Any]:  # Any: JSON
    """Replay a period as it was and with a scenario. The same arguments give the same answer."""
    jobs = jobs_of(history, seed=seed)
    real = Replay(history, as_it_was(history, jobs), Scenario()).run()
    baseline = Replay(history, jobs, Scenario(), tick=tick).run()
    changed = Replay(history, jobs, scenario, tick=tick).run()
    return {
        "period": {"from": said(history.start), "to": said(history.end), "seconds": round(history.seconds, 3)},
        "seed": seed,
        "gaps": [{"from": said(gap.start), "to": said(gap.end)} for gap in history.gaps if gap.end > history.start],
        "pods": _pods(history, jobs),
        "baseline": figures(baseline),
        "changed": figures(changed),
        "fidelity": _fidelity(history, real, baseline),
    }


def figures(outcome: Outcome) -> dict[str, Any]:  # Any: JSON
    """One run. Times are seconds, money dollars; null where nothing is known."""
    sizes = {name: _waits(outcome.sizes[name]) for name in in_order(outcome.sizes)}
    unpriced = outcome.unpriced
    return {
        "sizes": {**sizes, ALL: _waits(outcome.everybody)},
        "evicted": outcome.evicted,
        "displaced": outcome.displaced,
        "dropped": outcome.dropped,
        "notResized": outcome.not_resized,
        "gpus": round(outcome.devices, 2),
        "idleGpus": round(outcome.idle, 2),
        "idlePercent": round(outcome.idle_percent, 1),
        "takenGpus": round(outcome.taken, 2),
        "gpuHours": round(outcome.device_time / 3_600_000, 2),
        "costUsd": round(outcome.micro_usd / 1e6, 2),
        "withoutPrice": unpriced,
    }


def _waits(waits: Waits) -> dict[str, Any]:  # Any: JSON
    ordered = sorted(waits.waits)
    found: dict[str, Any] = {"arrived": waits.arrived, "placed": waits.placed, "never": waits.never}
    for name, share in _QUANTILES:
        found[f"wait_{name}"] = _seconds(quantile(ordered, share, waits.arrived))
    return found


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _pods(history: History, jobs: Sequence[Job]) -> dict[str, int]:
    """How many there were, and of how many it is not known how long they run."""
    return {
        "there": sum(job.held for job in jobs),
        "arrived": sum(not job.held and not job.pinned for job in jobs),
        "placedByOthers": sum(job.pinned for job in jobs),
        "runningAtTheEnd": sum(pod.ended is None and (pod.bound is not None or pod.held) for pod in history.pods),
        "neverPlaced": sum(pod.bound is None and not pod.held for pod in history.pods),
    }


def _fidelity(history: History, real: Outcome, baseline: Outcome) -> dict[str, Any]:  # Any: JSON
    """How near the baseline comes to what was recorded. Waits of pods that both placed; shares in percent."""
    recorded = {
        f"{pod.pod:016x}": max(0, pod.bound - pod.arrived)
        for pod in history.pods
        if pod.bound is not None and not pod.pinned
    }
    both = sorted(recorded.keys() & baseline.waits.keys())
    near = sum(abs(recorded[uid] - baseline.waits[uid]) <= _NEAR for uid in both)
    one, other = sorted(recorded.values()), sorted(baseline.waits.values())
    return {
        "recorded": {
            "placed": real.everybody.placed,
            **{f"wait_{name}": _seconds(quantile(one, share, len(one))) for name, share in _QUANTILES},
            "takenGpus": round(real.taken, 2),
        },
        "replayed": {
            "placed": baseline.everybody.placed,
            **{f"wait_{name}": _seconds(quantile(other, share, len(other))) for name, share in _QUANTILES},
            "takenGpus": round(baseline.taken, 2),
        },
        "sameWaitPercent": round(100 * near / len(both), 1) if both else None,
    }
