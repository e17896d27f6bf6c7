"""A copy decides as the original does, and what happens to it stays there."""

import random

import pytest

from fingerprints import fingerprint
from random_worlds import random_fleet, random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.copies import facts_of, state_of
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts, PoolFacts
from tensorfusion.scheduling.state import State
from worlds import TFLOPS, device, fleet, node, pod, run


@pytest.mark.parametrize("seed", range(6))
def test_a_copy_decides_as_the_original(seed: int) -> None:
    rng = random.Random(seed)
    state = State()
    random_fleet(rng, state)
    for number in range(30):
        one = random_pod(rng, number)
        try:
            state.assume(one, decide(state, one).placement)
        except (NotFit, QuotaExceeded):
            continue
    before = fingerprint(state)
    copy = state_of(facts_of(state))
    for number in range(100, 120):
        one = random_pod(rng, number)
        answers = []
        for world in (state, copy):
            try:
                decision = decide(world, one)
            except (NotFit, QuotaExceeded) as refused:
                answers.append(str(refused))
                continue
            answers.append((decision.placement, decision.score, decision.alternatives, decision.counts))
        assert answers[0] == answers[1]
    assert fingerprint(state) == before


def test_added_nodes_are_in_the_copy_alone() -> None:
    state = fleet(1, 1)
    run(state, pod("a", compute=90 * TFLOPS))
    before = fingerprint(state)
    copy = state_of(facts_of(state), nodes=[node("new")], devices=[device("new-0", "new")])
    assert run(copy, pod("b", compute=50 * TFLOPS)).placement.node == "new"
    assert fingerprint(state) == before


def test_a_copy_looks_ahead_and_keeps_whole_nodes_by_what_the_pools_have_learned() -> None:
    """Three nodes of four devices: after whole-node jobs one of them is for small pods, in the copy, too."""
    state = fleet(3, 4, pool=PoolFacts("pool", "FragmentationAware"))
    for number in range(3):
        state.arrive(_shares(f"w{number}", 100, count=4))
    state.arrive(_shares("s", 70))
    known = facts_of(state)
    answers = {state: [], state_of(known): [], state_of(known): []}
    for number, percent in enumerate([30, 70, 40, 100, 60, 100, 50, 100, 30]):
        one = _shares(f"p{number}", percent)
        for world, found in answers.items():
            try:
                decision = decide(world, one)
            except NotFit as failure:
                found.append(failure.message)
                continue
            world.assume(one, decision.placement)
            found.append((decision.placement, decision.score, decision.alternatives))
    expected, *copies = answers.values()
    assert [found == expected for found in copies] == [True, True]
    assert "2 whole nodes stay free" in expected[-1]


def test_what_arrives_in_a_copy_is_learned_there_alone() -> None:
    state = fleet(1, 1, pool=PoolFacts("pool", "FragmentationAware"))
    state.arrive(_shares("a", 30))
    copy = state_of(facts_of(state))
    before = state.fleet.pools["pool"].learned
    mix, version = list(before.mix), before.version
    for number in range(9):
        copy.arrive(_shares(f"b{number}", 60))
    assert (before.mix, before.version, before.arrived) == (mix, version, 1)


def _shares(name: str, percent: int, *, count: int = 1) -> PodFacts:
    return pod(name, compute=0, vram=0, percent=percent * 1000, count=count)
