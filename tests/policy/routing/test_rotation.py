"""Weights are kept exactly, whatever targets come and go."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.routing.rotation import MOST_SETS, Rotation, members
from tensorfusion.testing.reference_chooser import ReferenceChooser

weights = st.lists(st.integers(1, 100), min_size=1, max_size=8)


def set_of(mask: int) -> frozenset[int]:
    return frozenset(members(mask))


@given(weights, st.integers(1, 700))
def test_every_prefix_is_within_one_request_of_exact(found: list[int], turns: int) -> None:
    rotation, had = Rotation(found), [0] * len(found)
    for turn in range(1, turns + 1):
        had[rotation.turn((1 << len(found)) - 1)] += 1
        for index, weight in enumerate(found):
            assert abs(had[index] - Fraction(weight * turn, sum(found))) < 1


@given(weights, st.data())
def test_with_targets_that_come_and_go_each_set_has_exact_shares(found: list[int], data: st.DataObject) -> None:
    rotation = Rotation(found)
    had: dict[int, list[int]] = {}
    for mask in data.draw(st.lists(st.integers(1, (1 << len(found)) - 1), max_size=120)):
        chosen = rotation.turn(mask)
        assert mask >> chosen & 1
        counts = had.setdefault(mask, [0] * len(found))
        counts[chosen] += 1
        total = sum(found[index] for index in members(mask))
        for index in members(mask):
            assert abs(counts[index] - Fraction(found[index] * sum(counts), total)) < 1


@given(weights, st.data())
def test_it_chooses_what_the_reference_chooses(found: list[int], data: st.DataObject) -> None:
    rotation, equal = Rotation(found), Rotation([1] * len(found))
    weighted, rotated = ReferenceChooser(found, found), ReferenceChooser(found, found)
    for mask in data.draw(st.lists(st.integers(1, (1 << len(found)) - 1), max_size=60)):
        assert rotation.peek(mask) == rotation.turn(mask) == weighted.weighted(set_of(mask))
        assert equal.turn(mask) == rotated.round_robin(set_of(mask))


def test_ninety_to_ten_is_exact_over_ten_thousand() -> None:
    rotation = Rotation([90, 10])
    turns = [rotation.turn(0b11) for _ in range(10_000)]
    assert turns.count(1) == 1000
    assert all(turns[at : at + 10].count(1) == 1 for at in range(0, 10_000, 10))


def test_a_weight_of_nothing_is_chosen_only_where_nothing_else_can_be() -> None:
    rotation = Rotation([0, 5, 0])
    assert {rotation.turn(0b111) for _ in range(20)} == {1}
    assert {rotation.turn(0b101) for _ in range(20)} == {0, 2}


def test_sets_are_remembered_up_to_a_bound() -> None:
    rotation = Rotation([1] * 16)
    for mask in range(1, 2 * MOST_SETS):
        rotation.turn(mask)
    assert len(rotation._sets) == MOST_SETS
