"""What is said to help a gang makes it fit when it is done, and saying it changes nothing."""

import random
from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from fingerprints import fingerprint
from random_worlds import random_fleet, random_pod
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.gang import Gang
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gang_remedies import alike, gang_remedies
from tensorfusion.scheduling.gangs import place_gang
from tensorfusion.scheduling.remedy import Remedy
from tensorfusion.scheduling.state import State
from worlds import TFLOPS, fleet, node, pod


def found(state: State, members: list[PodFacts], needed: int) -> list[Remedy]:
    return [remedy for remedy in gang_remedies(state, members, needed=needed) if remedy is not None]


def members_of(one: PodFacts, count: int, needed: int, topology: GangTopology = GangTopology.NONE) -> list[PodFacts]:
    return alike(replace(one, gang=Gang("team/g", needed, needed, topology=topology)), count)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_what_is_said_to_help_a_gang_helps_and_saying_it_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    state = State()
    random_fleet(rng, state)
    for number in range(rng.randint(0, 20)):
        one = random_pod(rng, number)
        try:
            state.assume(one, decide(state, one).placement)
        except (NotFit, QuotaExceeded):
            continue
    before = fingerprint(state)
    for number in range(100, 104):
        needed = rng.randint(2, 9)
        topology = rng.choice(list(GangTopology))
        members = members_of(random_pod(rng, number), rng.randint(1, needed + 2), needed, topology)
        said = found(state, members, needed)
        assert fingerprint(state) == before
        for remedy in said:
            event(next(iter(remedy.change)))
            mark = state.checkpoint()
            placed = place_gang(state, remedy.members, needed=remedy.needed)
            assert len(placed.members) == remedy.needed
            state.rollback(mark)
    assert fingerprint(state) == before


def test_a_gang_that_has_to_be_in_one_domain_may_fit_over_several() -> None:
    state = fleet(2, 1)
    for name in ("n0", "n1"):
        state.upsert_node(node(name, labels={"topology.kubernetes.io/rack": name}))
    members = members_of(pod(compute=80 * TFLOPS), 2, 2, GangTopology.REQUIRED)
    (spread, smaller) = found(state, members, 2)
    assert spread.words == "fits with gang-topology preferred: spread over several domains"
    assert smaller.change == {"tflops": "48", "vram": "6Gi"}


def test_a_gang_that_fits_needs_no_help() -> None:
    assert found(fleet(2, 1), members_of(pod(), 2, 2), 2) == []
