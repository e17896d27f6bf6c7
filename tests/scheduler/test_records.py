"""The memory of decisions is bounded, and counts what it forgets."""

from datetime import UTC, datetime

from tensorfusion.errors import NotFit
from tensorfusion.model.meta import Key
from tensorfusion.scheduler.configuration import Configuration
from tensorfusion.scheduler.records import Record, Records, Result, describe, policy_version, record_of
from tensorfusion.scheduling.facts import Off
from tensorfusion.scheduling.profile import Profile, Profiles

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int, name: str = "", nanoseconds: int = 1000) -> Record:
    return record_of(
        f"uid-{number}", Key("default", name or f"p{number}"), Result.PLACED, now=NOW, nanoseconds=nanoseconds
    )


def test_the_oldest_record_is_forgotten_first() -> None:
    records = Records(limit=3)
    for number in range(5):
        records.add(record(number))
    assert [kept.uid for kept in records] == ["uid-2", "uid-3", "uid-4"]
    assert records.find(Key("default", "p1")) is None
    assert records.find(Key("default", "p4")) is records.get("uid-4")
    assert records.figures()["count"] == 5


def test_a_pod_decided_again_keeps_one_record_and_becomes_the_newest() -> None:
    records = Records(limit=2)
    records.add(record(0))
    records.add(record(1))
    records.add(record(0))
    records.add(record(2))
    assert [kept.uid for kept in records] == ["uid-0", "uid-2"]


def test_a_name_used_again_means_the_newer_pod() -> None:
    records = Records(limit=2)
    records.add(record(0, "a"))
    records.add(record(1, "a"))
    records.add(record(2))
    assert records.find(Key("default", "a")) is records.get("uid-1")


def test_quantiles_are_those_of_the_times() -> None:
    records = Records()
    for number in range(100):
        records.add(record(number, nanoseconds=(number + 1) * 1000))
    figures = records.figures()
    assert figures["p50Microseconds"] == 51.0
    assert figures["p99Microseconds"] == 100.0


def test_without_decisions_the_figures_are_zero() -> None:
    assert Records().figures() == {"count": 0, "p50Microseconds": 0.0, "p99Microseconds": 0.0, "results": {}}


def test_the_policy_of_a_record_is_that_of_the_configuration_whatever_the_order_of_its_parts() -> None:
    every = list(Off)
    one, same = (
        Configuration(profiles=Profiles({"a": Profile(off=frozenset(off)), "b": Profile()}))
        for off in (every, every[::-1])
    )
    other = Configuration(profiles=Profiles({"a": Profile(), "b": Profile()}))
    assert policy_version(one) == policy_version(same)
    assert policy_version(one) != policy_version(other)
    assert len(policy_version(Configuration())) == 12


def test_a_failure_is_kept_as_words_not_as_the_error_with_its_frames() -> None:
    failure = NotFit("1 x whole device", {"in-use": 2})
    kept = record_of("u", Key("default", "p"), Result.UNSCHEDULABLE, now=NOW, failure=failure)
    assert kept.cause == str(failure)
    assert describe(kept)["reason"] == "no fit for 1 x whole device: 2 in-use"
