"""The placement mode of the product and the simulator's own policy of that name choose alike: neither knows the other."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.model.common import PlacementMode
from tensorfusion.testing.packing.fragmentation_aware import FragmentationAware
from tensorfusion.testing.packing.policies import Setting
from tensorfusion.testing.packing.product import ProductMode
from tensorfusion.testing.packing.world import Request, Spot, World
from tensorfusion.testing.traces import TraceNode


def both_choose(seed: int, *, nodes: int, steps: int, full: float) -> int:
    """One run that both decide, in which pods leave, too; answers how many pods were turned away."""
    rng = random.Random(seed)
    gpus = rng.choice((2, 4, 8))
    machines = [
        TraceNode(f"n{row}", rng.choice((32_000, 96_000)), 400_000, rng.choice((gpus, gpus, 1)), rng.choice("AB"))
        for row in range(nodes)
    ]
    models = ("A",) if any(one.model == "A" for one in machines) else ()  # a pool does not learn what could not run
    sizes = [
        Request(rng.choice((0, 4_000, 12_000)), rng.choice((0, 20_000)), 1, rng.randint(1, 99) * 10) for _ in range(5)
    ]
    sizes += [
        Request(4_000, 1_024, 1, 1_000),
        Request(rng.choice((8_000, 30_000)), 1_024, gpus, 1_000),
        Request(8_000, 1_024, gpus, 1_000),
        Request(6_000, 2_048, max(1, gpus // 2), 1_000, rng.choice(((), models))),
    ]
    world = World(machines)
    one, other = (
        FragmentationAware(Setting(world, [], 0)),
        ProductMode(Setting(world, [], 0), PlacementMode.FRAGMENTATION_AWARE),
    )
    running: dict[int, tuple[Request, Spot]] = {}
    refused = 0
    for arrival in range(steps):
        while running and (rng.random() < 0.3 or world.held > full * world.total):
            gone = rng.choice(sorted(running))
            world.give(*running[gone])
            for policy in (one, other):
                policy.left(gone, *running[gone])
            del running[gone]
        request = rng.choice(sizes)
        spot = one.choose(arrival, request)
        assert other.choose(arrival, request) == spot
        if spot is None:
            refused += 1
            continue
        world.take(request, spot)
        running[arrival] = request, spot
        for policy in (one, other):
            policy.placed(arrival, request, spot)
    return refused


@given(
    seed=st.integers(0, 2**32 - 1),
    nodes=st.integers(1, 12),
    steps=st.integers(1, 60),
    full=st.sampled_from((0.5, 0.8, 1.0)),
)
@example(seed=12, nodes=1, steps=3, full=0.5)  # four devices are asked for, and no machine has more than one
@settings(max_examples=part_of(60), deadline=None)
def test_the_mode_and_the_policy_choose_alike(seed: int, nodes: int, steps: int, full: float) -> None:
    both_choose(seed, nodes=nodes, steps=steps, full=full)


@pytest.mark.parametrize("seed", range(3))
def test_runs_are_long_enough_to_turn_pods_away(seed: int) -> None:
    assert both_choose(seed, nodes=10, steps=250, full=1.0)
