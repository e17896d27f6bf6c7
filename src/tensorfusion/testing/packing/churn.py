"""Churn: arrivals come and go at a load just below full, for a long time. Who is turned away?

Arrivals are the trace in one shuffle after another, at random times (a Poisson process) or evenly spaced; each stays
for an exponential time with mean 1, and they come at the rate at which those who stay would ask for 95 % of the
cluster's devices. The run starts empty and lasts 10 of these mean lifetimes: the devices are handed out about ten times
over. Evenly spaced arrivals load the cluster more steadily, so less of them is lost whatever the policy.
"""

import heapq
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tensorfusion.testing.packing.outcome import Outcome, mean
from tensorfusion.testing.packing.policies import Factory, Setting
from tensorfusion.testing.packing.progress import Progress
from tensorfusion.testing.packing.stranded import Cause, stranded
from tensorfusion.testing.packing.world import Request, Spot, World, demand_of

LOAD_PERCENT = 95
TURNOVERS = 10
_SAMPLES = 10
"""Points of the curve, and looks at what is stranded, in each turnover."""


class Spacing(StrEnum):
    """When arrivals come: at random times, or each a fixed time after the one before."""

    RANDOM = "random"
    EVEN = "even"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job. Times are in mean lifetimes."""

    at: float
    until: float
    request: Request


def arrivals(
    history: Sequence[Request],
    *,
    total: int,
    seed: int,
    load: int = LOAD_PERCENT,
    turnovers: int = TURNOVERS,
    spacing: Spacing = Spacing.RANDOM,
) -> list[Arrival]:
    """The jobs of one run, in order of time; the same for every policy.

    Raises:
        ConfigError: no arrival asks for a device.
    """
    dice = random.Random(seed)
    rate = load / 100 * total * len(history) / demand_of(history)
    found: list[Arrival] = []
    deck: list[Request] = []
    now = 0.0
    while (now := now + (1 / rate if spacing is Spacing.EVEN else dice.expovariate(rate))) <= turnovers:
        if not deck:
            deck = list(history)
            dice.shuffle(deck)
        found.append(Arrival(now, now + dice.expovariate(1), deck.pop()))
    return found


def run(
    world: World, stream: Sequence[Arrival], factory: Factory, *, history: Sequence[Request], seed: int, tick: Progress
) -> Outcome:
    """Offer every job once, when it comes. ``allocation`` is the mean over time after the first turnover."""
    policy = factory(Setting(world, history, seed))
    outcome = Outcome()
    running: list[tuple[float, int, Spot]] = []
    looks: list[dict[Cause, float]] = []
    held: list[tuple[float, int]] = [(0.0, 0)]

    def leave_until(now: float) -> None:
        while running and running[0][0] <= now:
            ended, number, spot = heapq.heappop(running)
            world.give(stream[number].request, spot)
            policy.left(number, stream[number].request, spot)
            held.append((ended, world.held))

    for number, one in enumerate(stream):
        while len(outcome.curve) / _SAMPLES < one.at:
            moment = len(outcome.curve) / _SAMPLES
            leave_until(moment)
            outcome.curve.append((moment, 100 * world.held / world.total))
            if moment >= 1:
                looks.append(stranded(world, history))
        leave_until(one.at)
        spot = policy.choose(number, one.request)
        if spot is not None:
            world.take(one.request, spot)
            policy.placed(number, one.request, spot)
            heapq.heappush(running, (one.until, number, spot))
            held.append((one.at, world.held))
        outcome.count(one.request, placed=spot is not None)
        tick()
    outcome.allocation = 100 * _mean_over_time(held) / world.total
    outcome.stranded = {cause: mean(look[cause] for look in looks) for cause in Cause}
    return outcome


def _mean_over_time(held: Sequence[tuple[float, int]]) -> float:
    """The mean of a step function after time 1, or over all of it where it ends before that."""
    end = held[-1][0]
    start = 1.0 if end > 1 else 0.0
    if end <= start:
        return float(held[-1][1])
    area = 0.0
    for (at, amount), (following, _) in itertools.pairwise(held):
        area += amount * max(0.0, following - max(at, start))
    return area / (end - start)
