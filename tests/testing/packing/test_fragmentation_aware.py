"""The policy as a whole: it wins, holds whole nodes, starts from nothing, and keeps only scores that still hold."""

import pytest

from tensorfusion.scheduling import fragmentation
from tensorfusion.scheduling.fragmentation import LookAhead
from tensorfusion.testing.packing.comparison import Protocol, compare, plan
from tensorfusion.testing.packing.fragmentation_aware import FragmentationAware
from tensorfusion.testing.packing.policies import Setting
from tensorfusion.testing.packing.progress import unwatched
from tensorfusion.testing.packing.world import Request, Spot, World
from tensorfusion.testing.traces import TraceNode, TracePod

LARGE, SMALL, ONE = Request(2000, 1024, 1, 700), Request(2000, 1024, 1, 300), Request(2000, 1024, 1, 1000)
EIGHT = Request(64_000, 4096, 8, 1000)


def machines(count: int, *, gpus: int = 8, cpu: int = 96_000) -> list[TraceNode]:
    return [TraceNode(f"n{number}", cpu, 400_000, gpus, "A") for number in range(count)]


def test_it_hands_out_more_than_best_fit() -> None:
    """Sevens and threes make full devices, and sixes and fours: who mixes them up wastes the rest."""
    sizes = {700: 30, 300: 30, 600: 20, 400: 20, 1000: 25}
    pods = [
        TracePod(f"p{milli}-{number}", 8000, 4096, 1, milli, "")
        for milli, count in sizes.items()
        for number in range(count)
    ]
    pods += [TracePod(f"eight-{number}", 64_000, 4096, 8, 1000, "") for number in range(2)]
    wanted = plan(
        machines(12),
        pods,
        protocol=Protocol.INFLATION,
        policies=["bestfit", "fragmentation-aware"],
        seeds=[0],
    )
    found = compare(wanted, tick=unwatched, begin=lambda name: None)
    best, ours = (outcomes[0].allocation for outcomes in found.values())
    assert ours > best


def run(policy: FragmentationAware, world: World, requests: list[Request]) -> list[Spot | None]:
    """Offer them one after the other; nobody leaves."""
    found: list[Spot | None] = []
    for arrival, request in enumerate(requests):
        spot = policy.choose(arrival, request)
        if spot is not None:
            world.take(request, spot)
            policy.placed(arrival, request, spot)
        found.append(spot)
    return found


def test_a_pod_fills_the_device_that_it_fits_exactly() -> None:
    world = World(machines(2, gpus=2))
    spots = run(FragmentationAware(Setting(world, [], 0)), world, [LARGE, ONE, SMALL])
    assert spots[0] is not None
    assert spots[2] == spots[0]


def test_the_last_whole_nodes_are_kept_for_those_who_want_them_whole() -> None:
    """Eights ask for 24 of 26 devices: of three nodes, two jobs' worth (2.77). One of them runs, so one node is held."""
    world = World(machines(3))
    policy = FragmentationAware(Setting(world, [], 0))
    everything = tuple(range(8))
    assert run(policy, world, [EIGHT] * 3) == [Spot(node, everything) for node in range(3)]
    for node in (1, 2):
        world.give(EIGHT, Spot(node, everything))
        policy.left(node, EIGHT, Spot(node, everything))
    wide = Request(60_000, 1024, 1, 1000)
    first, second = run(policy, world, [wide, wide])
    assert first is not None, "two are free, one is held"
    assert first.node == 1
    assert second is None
    assert policy.choose(5, EIGHT) == Spot(2, everything)


def test_it_starts_from_nothing_and_never_looks_at_the_history() -> None:
    stream = [LARGE, ONE, SMALL, EIGHT, SMALL, LARGE] * 5
    answers = []
    for history in ([], [EIGHT] * 50):
        world = World(machines(4))
        answers.append(run(FragmentationAware(Setting(world, history, len(history))), world, stream))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(("compiled", "states"), [(True, 1), (False, 1), (False, 200_000)])
def test_kept_scores_are_those_of_a_policy_that_keeps_none(
    compiled: bool, states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fragmentation, "COMPILED", compiled)

    class Forgetful(FragmentationAware):
        def choose(self, arrival: int, request: Request) -> Spot | None:
            self._kept.forget()
            return super().choose(arrival, request)

    stream = [LARGE, Request(2000, 90_000, 1, 700), SMALL, ONE, EIGHT, Request(4000, 1024, 0, 0), SMALL] * 4
    answers = []
    for policy, parameters in ((FragmentationAware, LookAhead(states=states)), (Forgetful, LookAhead())):
        world = World([*machines(3), *machines(3, gpus=2, cpu=32_000)])
        answers.append(run(policy(Setting(world, [], 0), parameters), world, stream))
    assert answers[0] == answers[1]
