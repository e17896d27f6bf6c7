"""Inflation: arrivals until well past full, none leaves. How much of the cluster's devices ends up handed out?

The arrivals of the trace are shuffled, and arrivals drawn from it (with replacement) follow until they ask for 130 % of
the cluster's devices. Each has one attempt.

Source: Weng et al., USENIX ATC '23, section 6.1 ("inflated" workloads).
"""

import random
from collections.abc import Sequence

from tensorfusion.testing.packing.outcome import Outcome
from tensorfusion.testing.packing.policies import Factory, Setting
from tensorfusion.testing.packing.progress import Progress
from tensorfusion.testing.packing.stranded import stranded
from tensorfusion.testing.packing.world import Request, World, demand_of

LOAD_PERCENT = 130


def arrivals(history: Sequence[Request], *, total: int, seed: int, load: int = LOAD_PERCENT) -> list[Request]:
    """The arrivals of one shuffle, until they ask for ``load`` percent of ``total`` milli-GPU.

    Raises:
        ConfigError: no arrival asks for a device.
    """
    dice = random.Random(seed)
    found = list(history)
    dice.shuffle(found)
    asked = demand_of(found)
    while asked * 100 < total * load:
        one = history[dice.randrange(len(history))]
        found.append(one)
        asked += one.demand
    return found


def run(
    world: World, stream: Sequence[Request], factory: Factory, *, history: Sequence[Request], seed: int, tick: Progress
) -> Outcome:
    """Offer every arrival once. The curve has one point for each percent of load that has arrived."""
    policy = factory(Setting(world, history, seed))
    outcome = Outcome(curve=[(0.0, 0.0)])
    for arrival, request in enumerate(stream):
        spot = policy.choose(arrival, request)
        if spot is not None:
            world.take(request, spot)
            policy.placed(arrival, request, spot)
        outcome.count(request, placed=spot is not None)
        load = 100 * outcome.arrived_milli // world.total
        if load > outcome.curve[-1][0]:
            outcome.curve.append((float(load), 100 * world.held / world.total))
        tick()
    outcome.allocation = 100 * world.held / world.total
    outcome.stranded = stranded(world, history)
    return outcome
