"""What is kept of pools that look ahead is brought up to date while nothing is decided, and nothing else is changed."""

import pytest

from tensorfusion.scheduling.ahead_class import AheadClass
from tensorfusion.scheduling.classes import Classes
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts, PoolFacts
from tensorfusion.scheduling.state import State
from worlds import device, fleet, node, pod

AHEAD = PoolFacts("pool", "FragmentationAware")
DEFAULT = PoolFacts("pool", "NodeCompactGPULowLoad")


def share(name: str, percent: int, **own: object) -> PodFacts:
    return pod(name, compute=0, vram=0, percent=percent * 1000, **own)


def come(state: State, *pods: PodFacts) -> None:
    for one in pods:
        state.arrive(one)
        state.assume(one, decide(state, one).placement)


def caught_up(state: State) -> int:
    """Steps until all is up to date."""
    steps = 0
    while state.classes.catch_up_one():
        steps += 1
        assert steps < 1_000
    return steps


@pytest.fixture
def valued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pods of the classes for which rows are valued, by name and in order; a list that grows."""
    found: list[str] = []
    value = AheadClass._value

    def spy(self: AheadClass, at: object) -> None:
        found.append(self._pod.name)
        value(self, at)  # type: ignore[arg-type]

    monkeypatch.setattr(AheadClass, "_value", spy)
    return found


KINDS = [share(f"kind-{percent}", percent) for percent in (10, 20, 30, 40)]


def world(nodes: int = 20) -> State:
    """A pool that looks ahead, with four kinds of pods; some nodes changed since most of them were decided."""
    state = fleet(nodes, 2, pool=AHEAD)
    come(state, *KINDS)
    return state


def test_the_next_decisions_have_nothing_to_value(valued: list[str]) -> None:
    state = world()
    assert caught_up(state) == len(KINDS)
    valued.clear()
    for one in KINDS:
        decide(state, one)
    assert not valued


def test_the_one_that_was_used_last_is_first_and_the_order_of_use_stays(valued: list[str]) -> None:
    state = world()
    state.release("uid-kind-10")
    valued.clear()
    caught_up(state)
    assert list(dict.fromkeys(valued)) == ["kind-40", "kind-30", "kind-20", "kind-10"]


def test_the_class_that_was_not_used_for_longest_still_goes_first() -> None:
    state = fleet(20, 2, pool=AHEAD)
    state.classes = Classes(limit=2)
    come(state, *KINDS[:2])
    caught_up(state)
    pool, nodes = state.fleet.pools["pool"], state.fleet.nodes
    second = state.classes.shares(pool, nodes, KINDS[1])
    come(state, KINDS[2])
    assert state.classes.shares(pool, nodes, KINDS[1]) is second


def test_it_ends_and_costs_nothing_while_nothing_changes(valued: list[str]) -> None:
    state = world()
    caught_up(state)
    valued.clear()
    assert [state.classes.catch_up_one() for _ in range(5)] == [False] * 5
    assert not valued


def test_pools_of_other_modes_have_nothing_to_catch_up() -> None:
    state = fleet(20, 2, pool=DEFAULT)
    come(state, *KINDS)
    assert not state.classes.catch_up_one()


def test_what_changed_too_much_to_be_corrected_starts_anew() -> None:
    state = world()
    caught_up(state)
    for number in range(20):
        state.upsert_node(node(f"n{number}", cpu=32_000 + number))
    before = len(state.classes), state.classes.bytes
    assert caught_up(state) == len(KINDS)
    assert (len(state.classes), state.classes.bytes) == before
    assert not state.classes.catch_up_one()


def test_a_class_whose_columns_grew_waits_for_its_next_use() -> None:
    state = world(nodes=4)
    caught_up(state)
    for number in range(40):
        state.upsert_node(node(f"m{number}"))
        state.upsert_device(device(f"m{number}-0", f"m{number}"))
    before = state.classes.bytes
    assert not caught_up(state)
    assert state.classes.bytes == before
    decide(state, KINDS[0])
    assert state.classes.bytes > before


def test_a_mode_that_is_changed_on_the_way_ends_it_and_one_that_comes_back_begins_it_anew() -> None:
    state = world()
    assert state.classes.catch_up_one()
    state.upsert_pool(DEFAULT)
    assert not state.classes.catch_up_one()
    assert decide(state, KINDS[0]).mode == DEFAULT.mode
    state.upsert_pool(AHEAD)
    assert caught_up(state) == len(KINDS) - 1  # one of them is a class of the other mode now
    assert decide(state, KINDS[0]).mode == AHEAD.mode


def test_a_pool_that_goes_on_the_way_ends_it() -> None:
    state = world()
    assert state.classes.catch_up_one()
    for name in [one.name for one in state.devices()]:
        state.remove_device(name)
    state.remove_pool("pool")
    assert "pool" not in state.fleet.pools
    assert caught_up(state) <= len(KINDS)
