"""The parts of a score add up to it, and a score of one part is told as the placement mode's."""

import random

import pytest

from random_worlds import random_fleet, random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.profile import Profile, Profiles, ResourceScoring, Strategy
from tensorfusion.scheduling.score_parts import ScorePart, in_points
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.state import State
from worlds import fleet, node, plain, pod, preferred, requirement, run, term

FULL_NODES = Profiles({"": Profile(scoring=ResourceScoring(Strategy.MOST_ALLOCATED))})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("profiles", [Profiles(), FULL_NODES], ids=["plain", "scoring"])
def test_the_parts_add_up_to_the_score(seed: int, profiles: Profiles) -> None:
    rng = random.Random(seed)
    state = State()
    state.profiles = profiles
    random_fleet(rng, state)
    told = 0
    for number in range(40):
        one = random_pod(rng, number)
        try:
            decision = decide(state, one)
        except (NotFit, QuotaExceeded):
            continue
        scores = [decision.score, *(score for _, score in decision.alternatives)]
        assert len(decision.parts) in (0, len(scores))
        for parts, score in zip(decision.parts, scores, strict=False):
            told += len(parts) > 1
            assert -(-sum(points for _, points in parts) // PREFERENCE) == score
        state.assume(one, decision.placement)
    assert told or not profiles.by_name


def test_a_score_without_wishes_has_no_parts_to_tell() -> None:
    assert run(fleet(), pod()).parts == ()
    assert run(fleet(), plain()).parts == ()


def test_preferred_affinity_is_a_part_of_its_own() -> None:
    state = fleet(2, 1)
    state.upsert_node(node("n1", labels={"zone": "b"}))
    wish = preferred((20, term(requirement("zone", "In", "b"))))
    decision = run(state, pod(affinity=wish))
    assert decision.placement.node == "n1"
    assert [in_points(parts) for parts in decision.parts] == [
        {"placement": 0.0, "nodePreferences": 20.0},
        {"placement": 0.0},
    ]
    assert dict(decision.parts[0])[ScorePart.PREFERENCES] == 20 * PREFERENCE
