"""A simulation tells the story of the decision that would be made, stage by stage, and changes nothing."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprints import fingerprint
from random_worlds import random_fleet, random_pod
from tensorfusion.errors import QuotaExceeded
from tensorfusion.scheduling.circumstances import Circumstances
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PoolFacts, QuotaFacts
from tensorfusion.scheduling.gang_preemption import GangPlan
from tensorfusion.scheduling.gangs import GangPlacement, GangUnschedulable
from tensorfusion.scheduling.preemption import Hopeless, Plan
from tensorfusion.scheduling.score_parts import in_points
from tensorfusion.scheduling.simulate import FILTER_NAMES, simulate
from tensorfusion.scheduling.state import State
from worlds import GIB, device, fleet, node, plain, pod, preferred, requirement, run, term


def test_stages_name_the_devices_before_and_after_each_filter() -> None:
    state = fleet(2, 2)
    state.upsert_device(device("n0-1", "n0", phase="Pending"))
    state.upsert_device(device("x-0", "n1", pool="other"))
    result = simulate(state, pod(count=2))
    told = [(stage.filter_name, stage.diff) for stage in result.stages if stage.diff]
    assert told == [("PoolFilter", 1), ("PhaseFilter", 1), ("SameNodeFilter", 1)]
    assert result.stages[0].before == ("n0-0", "n0-1", "n1-0", "n1-1", "x-0")
    assert result.stages[-1].after == ("n1-0", "n1-1")
    assert result.matching == {"n1": {"n1-0": 100, "n1-1": 100}}
    assert result.other == {"n0": {"n0-0": 100, "n0-1": 100}}
    assert result.feasible_nodes == ("n1",)
    assert result.node_refusals == {"n0": "count"}


def test_nodes_that_cannot_take_the_pod_say_why() -> None:
    state = fleet(5, 1, pool=PoolFacts("pool", max_workers_per_node=1))
    run(state, pod("a"))
    state.upsert_node(node("n1", unschedulable=True))
    state.upsert_node(node("n2", cpu=10))
    state.upsert_device(device("n3-0", "n3", vram=GIB))
    state.upsert_node(node("bare"))
    result = simulate(state, pod("b", cpu=100))
    assert result.node_refusals == {"n0": "workers", "n1": "unschedulable", "n2": "cpu", "n3": "vram", "bare": "pool"}
    assert result.feasible_nodes == ("n4",)
    assert result.evaluated_nodes == 6


def test_a_failure_is_told_with_its_stages() -> None:
    result = simulate(fleet(1, 1), pod(vram=100 * GIB))
    assert result.decision is None
    assert "1 device: not enough vram" in str(result.failure)
    assert result.stages[-1].after == ()
    assert result.feasible_nodes == ()


def test_a_quota_refusal_is_a_failure_too() -> None:
    state = fleet(1, 1)
    state.set_quota(QuotaFacts("team", total_workers=0))
    assert isinstance(simulate(state, pod()).failure, QuotaExceeded)


def test_a_plain_pod_has_no_device_stages() -> None:
    state = fleet(1, 1)
    result = simulate(state, plain())
    assert (result.stages, result.feasible_nodes) == ((), ("n0",))
    assert simulate(state, plain(cpu=10**9)).node_refusals == {"n0": "cpu"}


@pytest.mark.parametrize("pool", ["", "nowhere"])
def test_a_pool_without_devices_ends_at_the_first_stage(pool: str) -> None:
    result = simulate(fleet(1, 1), pod(pool=pool))
    assert [(stage.filter_name, stage.diff) for stage in result.stages] == [("PoolFilter", 1)]
    assert result.node_refusals == {"n0": "pool"}


@pytest.mark.parametrize("seed", range(15))
def test_the_story_is_that_of_the_decision(seed: int) -> None:
    rng = random.Random(seed)
    state = State()
    random_fleet(rng, state)
    words = {name: str(reason) for reason, name in FILTER_NAMES.items()}
    for number in range(30):
        one = random_pod(rng, number)
        result = simulate(state, one)
        found = result.decision.counts if result.decision is not None else getattr(result.failure, "reasons", None)
        if found is None or (one.request is not None and not result.stages[0].after):
            continue
        told: dict[str, int] = {}
        for stage in result.stages:
            if stage.diff:
                told[words[stage.filter_name]] = told.get(words[stage.filter_name], 0) + stage.diff
        assert told == {reason: count for reason, count in found.items() if reason in words.values()}
        if result.decision is not None:
            assert result.decision.placement.node in result.feasible_nodes
            assert len(result.feasible_nodes) == result.decision.feasible
            state.assume(one, decide(state, one).placement)


def test_the_best_nodes_are_told_with_what_their_points_are_made_of() -> None:
    state = fleet(3, 1)
    state.upsert_node(node("n2", labels={"zone": "b"}))
    run(state, pod("a", node_selector={"zone": "b"}))
    wish = preferred((7, term(requirement("zone", "In", "b"))))
    result = simulate(state, pod("b", affinity=wish))
    assert result.decision is not None
    assert [name for name, _ in result.node_scores] == ["n2", "n0", "n1"]
    assert [in_points(parts) for _, parts in result.node_scores] == [
        {"placement": 12.0, "nodePreferences": 7.0},
        {"placement": 0.0},
        {"placement": 0.0},
    ]
    assert result.decision.score == 19


def test_who_would_have_to_go_is_previewed() -> None:
    state = fleet(1, 1)
    run(state, pod("low", compute=90_000))
    result = simulate(state, pod("high", compute=50_000, priority=1), around=Circumstances())
    assert isinstance(result.preemption, Plan)
    assert [one.pod.name for one in result.preemption.victims] == ["low"]
    assert isinstance(simulate(state, pod("b", compute=50_000), around=Circumstances()).preemption, Hopeless)
    assert simulate(state, pod("b", compute=50_000)).preemption is None


def test_a_gang_fits_as_a_whole_or_not_at_all() -> None:
    state = fleet(2, 1)
    fits = simulate(state, pod(compute=50_000), gang=4).gang
    assert isinstance(fits, GangPlacement)
    assert sorted(decision.placement.node for _, decision in fits.members) == ["n0", "n0", "n1", "n1"]
    refused = simulate(state, pod(compute=50_000), gang=5)
    assert isinstance(refused.gang, GangUnschedulable)
    assert (refused.gang.fits, refused.failure) == (4, None)


def test_who_would_have_to_go_for_a_gang_is_previewed() -> None:
    state = fleet(2, 1)
    run(state, pod("low0", compute=90_000))
    run(state, pod("low1", compute=90_000))
    before = fingerprint(state)
    found = simulate(state, pod("high", compute=100_000, priority=1), gang=2, around=Circumstances())
    assert fingerprint(state) == before
    assert isinstance(found.preemption, GangPlan)
    assert sorted(one.pod.name for one in found.preemption.victims) == ["low0", "low1"]
    assert sorted(place.node for _, place in found.preemption.placements) == ["n0", "n1"]
    too_many = simulate(state, pod("high", compute=100_000, priority=1), gang=3, around=Circumstances())
    assert isinstance(too_many.preemption, Hopeless)
    assert simulate(state, pod("high", compute=100_000, priority=1), gang=2).preemption is None


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), gang=st.sampled_from((0, 2, 5)))
def test_no_question_changes_anything(seed: int, gang: int) -> None:
    rng = random.Random(seed)
    state = State()
    random_fleet(rng, state)
    for number in range(25):
        one = replace(random_pod(rng, number), priority=rng.randint(0, 2))
        before = fingerprint(state)
        result = simulate(state, one, gang=gang if number % 5 == 0 else 0, around=Circumstances(cluster_wide=True))
        assert fingerprint(state) == before
        if result.decision is not None:
            best = result.node_scores[0] if result.node_scores else (result.decision.placement.node, ())
            assert best[0] == result.decision.placement.node
            state.assume(one, result.decision.placement)
        elif isinstance(result.preemption, Plan):  # what is previewed is what makes room
            mark = state.checkpoint()
            for other in result.preemption.victims:
                state.release(other.pod.uid)
            for uid in (*result.preemption.ending, *result.preemption.displaced):
                state.release(uid)
            assert decide(state, one).placement == result.preemption.placement
            state.rollback(mark)
