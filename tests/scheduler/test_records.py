"""The memory of decisions is bounded, and counts what it forgets."""

from datetime import UTC, datetime

from tensorfusion.model.meta import Key
from tensorfusion.scheduler.records import Record, Records, Result, record_of

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
