"""Counting on hot paths: right numbers, bounded labels, and only of what still lives."""

import gc
from collections.abc import Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from tensorfusion.telemetry.tallies import Living, Tally, Timings, TimingTally, gauge_family


def test_a_tally_counts_by_label_values() -> None:
    registry = CollectorRegistry()
    tally = Tally("asked", "Questions.", ("who", "what"), registry=registry)
    tally.add(("a", "x"))
    tally.add(("a", "x"), 2)
    tally.add(("b", "y"))
    text = generate_latest(registry).decode()
    assert 'asked_total{what="x",who="a"} 3.0' in text or 'asked_total{who="a",what="x"} 3.0' in text
    assert registry.get_sample_value("asked_total", {"who": "b", "what": "y"}) == 1


def test_label_sets_are_bounded_and_nothing_is_lost() -> None:
    registry = CollectorRegistry()
    tally = Tally("asked", "Questions.", ("who",), registry=registry, most=3)
    times = TimingTally("took_seconds", "Time.", ("who",), bounds=(1.0,), registry=registry, most=3)
    for number in range(100):
        tally.add((f"n{number}",))
        times.observe((f"n{number}",), 0.5)
    (family,) = tally.collect()
    assert len(family.samples) == 4
    assert sum(sample.value for sample in family.samples) == 100
    assert registry.get_sample_value("asked_total", {"who": "other"}) == 97
    assert registry.get_sample_value("took_seconds_count", {"who": "other"}) == 97


@given(st.lists(st.floats(0, 10, allow_nan=False)), st.lists(st.floats(0.01, 9), min_size=1, max_size=5, unique=True))
def test_buckets_count_what_is_at_most_their_bound(seconds: list[float], bounds: list[float]) -> None:
    timings = Timings(sorted(bounds))
    for one in seconds:
        timings.observe(one)
    for (bound, count), limit in zip(timings.buckets(), [*sorted(bounds), float("inf")], strict=True):
        assert count == sum(one <= limit for one in seconds)
        assert bound in (str(limit), "+Inf")
    assert timings.total == sum(seconds)


class Thing:
    pass


def test_only_what_lives_is_measured() -> None:
    def families(found: Iterable[object]) -> Iterator[Metric]:
        yield gauge_family("things", "Things.", (), {(): float(len(list(found)))})

    registry = CollectorRegistry()
    living = Living(families, registry=registry)
    kept, lost = Thing(), Thing()
    living.add(kept)
    living.add(lost)
    assert registry.get_sample_value("things") == 2
    del lost
    gc.collect()
    assert registry.get_sample_value("things") == 1
