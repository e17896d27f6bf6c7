"""A simulation tells the story of the decision that would be made, stage by stage, and changes nothing."""

import random

import pytest

from random_worlds import random_fleet, random_pod
from tensorfusion.errors import QuotaExceeded
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PoolFacts, QuotaFacts
from tensorfusion.scheduling.simulate import FILTER_NAMES, simulate
from tensorfusion.scheduling.state import State
from worlds import GIB, device, fleet, node, plain, pod, run


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
