"""A copy decides as the original does, and what happens to it stays there."""

import random
from dataclasses import fields

import pytest

from fingerprints import fingerprint
from random_worlds import random_fleet, random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.copies import facts_of, state_of
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import CohortFacts, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.fleet_facts import KINDS, PROFILES, Fact, FleetFacts, fleet_of, tell
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


def test_every_kind_of_facts_is_copied_told_and_taken_back() -> None:
    assert [one.name for one in fields(FleetFacts)] == [*KINDS, PROFILES]
    state = State()
    told: dict[str, tuple[str, Fact]] = {
        "namespaces": ("team", {"a": "b"}),
        "pools": ("pool", PoolFacts("pool", "CompactFirst")),
        "cohorts": ("x", CohortFacts("x", fair_weight=2)),
        "quotas": ("team", QuotaFacts("team", total_devices=2, cohort="x")),
        "nodes": ("n0", node("n0")),
        "devices": ("n0-0", device("n0-0", "n0")),
    }
    assert told.keys() == KINDS.keys()
    for kind, (name, facts) in told.items():
        tell(state, kind, name, facts)
    found = fleet_of(state_of(facts_of(state)))
    assert {kind: found.table(kind) for kind in KINDS} == {kind: dict([one]) for kind, one in told.items()}
    same = found.copy()
    for kind, (name, facts) in reversed(told.items()):
        assert found.has(kind, name, facts)
        found.put(kind, name, None)
        tell(state, kind, name, None)
    assert found == FleetFacts()
    assert not any(fleet_of(state).table(kind) for kind in KINDS)
    assert same.has("devices", "n0-0", told["devices"][1])
