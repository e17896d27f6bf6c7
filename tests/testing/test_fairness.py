"""What the simulation of a cohort shows: parts by weight, whoever has how much waiting, and what is one's own at once."""

from dataclasses import replace

import pytest

from tensorfusion.testing.fairness import OWNER, Outcome, Scenario, Tenant, borrowed_by_weight, jain, simulate

SCENARIO = Scenario(
    (Tenant("a", weight=1, own=2, backlog=25), Tenant("b", weight=1, own=1), Tenant("c", weight=2, own=1)),
    nodes=3,
    length=4_000.0,
    comes=2_400.0,
    goes=3_000.0,
)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return simulate(SCENARIO)


def worst(scenario: Scenario, found: Outcome) -> float:
    """The largest deviation from the mean of what is borrowed by weight, as a part of it."""
    values = list(borrowed_by_weight(scenario, found, 1_200.0, scenario.comes).values())
    mean = sum(values) / len(values)
    return max(abs(value - mean) for value in values) / mean


def test_what_is_borrowed_follows_the_weights_to_five_percent(outcome: Outcome) -> None:
    values = list(borrowed_by_weight(SCENARIO, outcome, 1_200.0, SCENARIO.comes).values())
    assert worst(SCENARIO, outcome) <= 0.05
    assert jain(values) >= 0.999
    assert sum(outcome.average(one.name, 1_200.0, SCENARIO.comes) for one in SCENARIO.tenants) >= 23.9  # of 24


def test_by_arrival_whoever_has_most_waiting_would_have_most(outcome: Outcome) -> None:
    found = simulate(replace(SCENARIO, fair=False))
    assert worst(SCENARIO, found) >= 0.5


def test_the_owner_has_its_own_at_once_and_nobody_less_than_theirs_by_more_than_a_part_of_a_pod(
    outcome: Outcome,
) -> None:
    assert max(outcome.owner_waits) == 0.0
    assert outcome.average(OWNER, SCENARIO.comes, SCENARIO.goes) == SCENARIO.owned
    assert outcome.evicted > 0
    assert outcome.least_own > -4  # a pod of four that is partly borrowed


def test_the_same_seed_gives_the_same_answer(outcome: Outcome) -> None:
    assert simulate(SCENARIO).held == outcome.held
    assert simulate(replace(SCENARIO, seed=1)).held != outcome.held


def test_jains_index() -> None:
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([1, 0, 0, 0]) == pytest.approx(0.25)
