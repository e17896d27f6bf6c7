"""Sessions stay, cheap is cheap, fast is fast; and every share is what it should be."""

from fractions import Fraction
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.routing.asks import Ask, Failure
from tensorfusion.policy.routing.learning import FIRST_GUESS, HALF_LIFE, Lengths, PeakEwma
from tensorfusion.policy.routing.rendezvous import name_hash, winner
from tensorfusion.policy.routing.strategies import _two_of
from tensorfusion.testing.routing import Driver, written

NAMES = [name_hash(f"target-{place}") for place in range(8)]


@given(st.lists(st.integers(1, 100), min_size=2, max_size=8))
def test_sessions_are_shared_by_weight(weights: list[int]) -> None:
    sessions, had = 2000, [0] * len(weights)
    for session in range(sessions):
        had[winner(f"session-{session}", range(len(weights)), NAMES, weights)] += 1
    for count, weight in zip(had, weights, strict=True):
        share = weight / sum(weights)
        assert abs(count - sessions * share) <= 5 * sqrt(sessions * share * (1 - share)) + 1


@given(st.lists(st.integers(1, 100), min_size=2, max_size=8), st.data())
def test_only_the_sessions_of_a_target_that_leaves_move(weights: list[int], data: st.DataObject) -> None:
    places = range(len(weights))
    gone = data.draw(st.sampled_from(places))
    for session in map(str, range(100)):
        before = winner(session, places, NAMES, weights)
        after = winner(session, [place for place in places if place != gone], NAMES, weights)
        assert after == before or before == gone


@given(st.text(max_size=30), st.lists(st.integers(0, 100), min_size=1, max_size=8), st.data())
def test_a_weight_that_grows_only_takes(session: str, weights: list[int], data: st.DataObject) -> None:
    grown = data.draw(st.sampled_from(range(len(weights))))
    more = [weight + 10 * (place == grown) for place, weight in enumerate(weights)]
    before = winner(session, range(len(weights)), NAMES, weights)
    assert winner(session, range(len(weights)), NAMES, more) in (before, grown)


def test_a_session_keeps_its_target_and_does_not_disturb_the_shares_of_others() -> None:
    driver = Driver(written(strategy="weighted", targets=[{"weight": 90}, {"weight": 10}]))
    names = []
    for request in range(1000):
        sticky = Ask("m", session="s7")
        assert driver.start(sticky).target.name == driver.start(sticky).target.name
        names += driver.names(1)
        assert abs(names.count("b") - Fraction(request + 1, 10)) < 1


def test_the_lowest_cost_wins_and_nearly_equal_ones_share_by_load() -> None:
    driver = Driver(
        written(
            targets=[
                {"costPer1MInput": "3", "costPer1MOutput": "15"},
                {"costPer1MInput": "1.00", "costPer1MOutput": "2"},
                {"costPer1MInput": "1.05", "costPer1MOutput": "2.10"},
                {"costPer1MInput": "1.06", "costPer1MOutput": "2.11"},
            ]
        )
    )
    ask = Ask("m", prompt_tokens=1000, max_tokens=100)
    assert [driver.start(ask).target.name for _ in range(6)] == ["b", "c", "b", "c", "b", "c"]
    assert driver.chooser.estimate(ask, driver.chooser.route.targets[1]) == 1000 * 1_000_000 + 100 * 2_000_000
    assert [one.name for one in driver.chooser.cheaper(ask, driver.now, driver.chooser.route.targets[0])] == [
        "b",
        "c",
        "d",
    ]
    assert driver.chooser.cheaper(ask, driver.now, driver.chooser.route.targets[1]) == ()


def test_the_length_of_an_answer_is_guessed_from_those_before_and_never_above_what_it_may_be() -> None:
    targets = [{"costPer1MInput": "0", "costPer1MOutput": "10"}, {"costPer1MInput": "1", "costPer1MOutput": "1"}]
    driver = Driver(written(targets=targets))
    long_prompt = Ask("m", prompt_tokens=1000)
    assert driver.pick(long_prompt).name == "b"  # type: ignore[union-attr]
    for _ in range(100):
        driver.serve("a", completion_tokens=20)
    assert driver.pick(long_prompt).name == "a"  # type: ignore[union-attr]
    assert driver.pick(Ask("m", prompt_tokens=10, max_tokens=1)).name == "a"  # type: ignore[union-attr]
    assert Lengths().expected(None) == FIRST_GUESS
    assert Lengths().expected(7) == 7


def test_who_states_no_price_comes_after_those_who_do_unless_the_gpus_are_ones_own() -> None:
    priced = {"provider": "openai", "costPer1MInput": "9", "costPer1MOutput": "9"}
    assert Driver(written(targets=[{"provider": "openai"}, priced])).names(1) == "b"
    assert Driver(written(targets=[priced, {"provider": "self-hosted"}])).names(1) == "b"
    assert set(Driver(written(targets=[{"provider": "x"}, {"provider": "y"}])).names(4)) == {"a"}


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0.001, 100)), min_size=1, max_size=30))
def test_a_peak_is_believed_at_once_and_halves_in_its_half_life(samples: list[tuple[float, float]]) -> None:
    mean, now = PeakEwma(), 0.0
    for pause, sample in samples:
        now += pause
        before = mean.value
        mean.observe(sample, now)
        assert mean.value is not None
        if before is None or sample >= before:
            assert mean.value == sample
        else:
            assert mean.value == pytest.approx(sample + (before - sample) * 2 ** (-pause / HALF_LIFE))


def answer(driver: Driver, name: str, first: float, per_token: float = 0.0, tokens: int = 1) -> None:
    target = next(one for one in driver.chooser.route.targets if one.name == name)
    ticket = driver.chooser.started(target, driver.now)
    start = driver.now
    driver.chooser.first_token(ticket, start + first)
    driver.now = start + first + per_token * (tokens - 1)
    driver.end(ticket, completion_tokens=tokens)


def test_the_fastest_target_wins_times_its_load() -> None:
    driver = Driver(written(strategy="latency-optimized", targets=[{}, {}, {}]))
    answer(driver, "a", 0.31)
    answer(driver, "b", 0.10)
    answer(driver, "c", 0.25)
    assert [driver.start().target.name for _ in range(5)] == ["b", "b", "c", "b", "a"]


def test_time_for_each_token_counts_for_long_answers() -> None:
    driver = Driver(written(strategy="latency-optimized", targets=[{}, {}]))
    answer(driver, "a", 0.1, per_token=0.05, tokens=101)
    answer(driver, "b", 0.5, per_token=0.01, tokens=101)
    assert driver.pick(Ask("m", max_tokens=5)).name == "a"  # type: ignore[union-attr]
    assert driver.pick(Ask("m", max_tokens=100)).name == "b"  # type: ignore[union-attr]


def test_a_target_nobody_has_seen_is_asked_first_and_once_at_a_time() -> None:
    driver = Driver(written(strategy="latency-optimized", targets=[{}, {}]))
    answer(driver, "a", 0.1)
    assert driver.start().target.name == "b"
    assert driver.pick().name == "a"  # type: ignore[union-attr]


def test_a_quick_failure_does_not_make_a_target_fast() -> None:
    driver = Driver(written(strategy="latency-optimized", targets=[{}, {}]))
    answer(driver, "a", 0.2)
    answer(driver, "b", 0.3)
    for _ in range(3):
        driver.serve("b", Failure.STATUS, status=500)
    assert driver.pick().name == "a"  # type: ignore[union-attr]


def test_a_target_that_never_answered_is_not_taken_for_the_fastest() -> None:
    driver = Driver(written(strategy="latency-optimized", targets=[{}, {}]))
    driver.serve("a", Failure.STATUS, status=404)
    assert driver.names(5) == "bbbbb"


def test_one_in_a_hundred_looks_at_who_was_idle_for_thirty_seconds() -> None:
    driver = Driver(written(strategy="latency-optimized", targets=[{}, {}, {}]))
    for name, first in (("c", 0.75), ("b", 0.5), ("a", 0.125)):
        answer(driver, name, first)
    asked = {"c": 1000.0, "b": 1000.75, "a": 1001.25}

    def pick(now: float, random: float) -> str:
        driver.now = now
        target = driver.pick(random=random)
        assert target is not None
        return target.name

    assert pick(asked["c"] + 30, 0.0) == "a"
    assert pick(asked["c"] + 30.125, 0.0099) == "c"
    assert pick(asked["c"] + 30.125, 0.01) == "a"
    driver.serve("c")
    assert pick(asked["b"] + 30.125, 0.0) == "b"


@given(st.integers(2, 64))
def test_two_different_ones_are_drawn_each_pair_alike(count: int) -> None:
    places = range(100, 100 + count)
    pairs = [_two_of(places, (at + 0.5) / (count * (count - 1))) for at in range(count * (count - 1))]
    assert len(set(pairs)) == len(pairs)
    assert all(first != other and first in places and other in places for first, other in pairs)
    assert _two_of(places, 0.9999999999999999)[0] == places[-1]


def test_of_many_targets_the_better_of_two_is_taken() -> None:
    driver = Driver(written(strategy="latency-optimized", targets=[{}] * 16))
    for place, target in enumerate(driver.chooser.route.targets):
        answer(driver, target.name, 0.1 * (place + 1))
    rng, had = Random(5), [0] * 16
    for _ in range(4000):
        target = driver.pick(random=rng.random())
        assert target is not None
        had[target.index] += 1
    assert had[15] == 0
    assert had[0] > had[7] > had[14]


def test_a_load_test_asks_the_first_and_mirrors_to_the_others() -> None:
    driver = Driver(written(strategy="loadtest", targets=[{}, {"maxConcurrency": 1}, {}]))
    target = driver.start().target
    assert target.name == "a"
    assert [one.name for one in driver.chooser.mirrors(Ask("m"), driver.now, target)] == ["b", "c"]
    assert Driver(written(strategy="priority", targets=[{}, {}])).chooser.mirrors(Ask("m"), 0.0, target) == ()


def test_a_version_is_asked_for_by_name() -> None:
    driver = Driver(
        written(
            strategy="weighted",
            aliases=["chat"],
            targets=[{"version": "v1", "weight": 90}, {"version": "v2", "weight": 10}, {"version": "v2", "weight": 10}],
        )
    )
    assert set(driver.names(40, Ask("chat@v2"))) == {"b", "c"}
    assert driver.names(11, Ask("chat")).count("a") in (8, 9, 10)


def test_a_time_that_lies_before_is_no_time() -> None:
    """Records that are replayed may hold any numbers: they count as at once, and never as fast ones."""
    mean = PeakEwma()
    mean.observe(2.0, 1e9)
    mean.observe(1.0, -1e9)
    assert mean.value == 2.0
    chooser = Driver(written(targets=[{"provider": "x"}])).chooser
    for _ in range(2):
        ticket = chooser.started(chooser.route.targets[0], 1e9)
        chooser.ended(ticket, -1e9)
        assert ticket.first_token_after == 0.0
    assert chooser.status(0.0)[0].first_token_p50 == 0.0
