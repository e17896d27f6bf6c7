"""A copy decides as the original does, and what happens to it stays there."""

import random

import pytest

from fingerprints import fingerprint
from random_worlds import random_fleet, random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.copies import facts_of, state_of
from tensorfusion.scheduling.cycle import decide
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
