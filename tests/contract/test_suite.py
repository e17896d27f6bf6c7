"""The suite about itself: what every behaviour has, and how many there are."""

from collections import Counter

from behaviours import AREAS, GIVENS, every_behaviour

AT_LEAST = {
    1: 100,
    2: 86,
    3: 100,
    4: 94,
    5: 100,
    6: 85,
    7: 87,
    8: 57,
    9: 79,
    10: 6,
}
"""Behaviours of each area; raised when it grows, so that none is lost unseen."""


def test_no_behaviour_is_lost() -> None:
    found = Counter(number // 100 for number in every_behaviour())
    assert {area: found[area] for area in AT_LEAST if found[area] < AT_LEAST[area]} == {}
    assert AT_LEAST.keys() == AREAS.keys()


def test_every_behaviour_is_stated_in_a_sentence_and_has_a_source() -> None:
    for number, found in every_behaviour().items():
        assert len(found.statement.split()) >= 3, number
        assert not found.statement.endswith("."), number
        assert len(found.source) >= 5, number


def test_every_behaviour_is_stated_once() -> None:
    statements = [found.statement for found in every_behaviour().values()]
    assert len(set(statements)) == len(statements)


def test_numbers_are_of_the_file_s_area() -> None:
    for number, found in every_behaviour().items():
        area = int(found.file.name.split("_")[1])
        assert area in AREAS
        assert number // 100 == area, f"behaviour {number} is in {found.file.name}"


def test_behaviours_ask_only_for_what_they_can_be_given() -> None:
    for number, found in every_behaviour().items():
        assert found.wants <= GIVENS, number
