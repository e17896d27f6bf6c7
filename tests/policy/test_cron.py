"""Schedules: due exactly when Kubernetes' parser says so."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.cron import UnknownZone, parse_schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ("* * * * *", "2026-03-01T10:00:30", "2026-03-01T10:01:00"),
        ("*/15 * * * *", "2026-03-01T10:00:00", "2026-03-01T10:15:00"),
        ("5/20 * * * *", "2026-03-01T10:26:00", "2026-03-01T10:45:00"),
        ("0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("30 8 * * mon-fri", "2026-02-27T09:00:00", "2026-03-02T08:30:00"),  # a Friday
        ("0 12 1,15 * SUN", "2026-03-02T00:00:00", "2026-03-08T12:00:00"),  # either day field is enough
        ("0 12 */2 * SUN", "2026-03-01T12:00:00", "2026-03-03T12:00:00"),  # a star with a step restricts like a list
        ("0 12 ? * 1", "2026-03-02T12:00:00", "2026-03-09T12:00:00"),
        ("0 0 1 jan,Jul *", "2026-03-02T12:00:00", "2026-07-01T00:00:00"),
        ("@hourly", "2026-03-02T12:00:00", "2026-03-02T13:00:00"),
        ("@weekly", "2026-03-02T12:00:00", "2026-03-08T00:00:00"),
        ("@yearly", "2026-03-02T12:00:00", "2027-01-01T00:00:00"),
        ("@every 1h30m", "2026-03-02T12:00:07", "2026-03-02T13:30:07"),
    ],
)
def test_the_next_time_follows_from_the_expression(schedule: str, after: str, due: str) -> None:
    assert parse_schedule(schedule).next_after(at(after)) == at(due)


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("* * * *", r"expected exactly 5 fields, found 4: \[\* \* \* \*\]"),
        ("0 0 * * * *", "found 6"),
        ("60 * * * *", r"end of range \(60\) above maximum \(59\): 60"),
        ("* * * * 7", r"end of range \(7\) above maximum \(6\): 7"),
        ("* * 0 * *", r"beginning of range \(0\) below minimum \(1\): 0"),
        ("5-1 * * * *", r"beginning of range \(5\) beyond end of range \(1\)"),
        ("*/0 * * * *", "step of range should be a positive number"),
        ("* * L * *", "failed to parse int from L"),
        ("@sometimes", 'unparseable schedule: "@sometimes" : unrecognized descriptor'),
        ("", "found 0"),
    ],
)
def test_an_expression_that_is_none_is_refused_in_the_words_of_kubernetes(schedule: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        parse_schedule(schedule)


def test_an_unknown_time_zone_is_refused_by_name() -> None:
    with pytest.raises(UnknownZone, match='invalid timeZone: "Mars/Olympus": unknown time zone Mars/Olympus'):
        parse_schedule("@daily", zone="Mars/Olympus")


def test_local_time_decides() -> None:
    daily = parse_schedule("0 9 * * *", zone="Europe/Berlin")
    assert daily.next_after(at("2026-01-10T00:00:00")) == at("2026-01-10T08:00:00")
    assert daily.next_after(at("2026-07-10T00:00:00")) == at("2026-07-10T07:00:00")


def test_an_hour_that_is_skipped_has_no_run_and_one_that_is_repeated_has_two() -> None:
    early = parse_schedule("30 2 * * *", zone="Europe/Berlin")
    assert early.next_after(at("2026-03-28T12:00:00")) == at("2026-03-30T00:30:00")
    first = early.next_after(at("2026-10-24T12:00:00"))
    assert first == at("2026-10-25T00:30:00")
    assert early.next_after(first) == at("2026-10-25T01:30:00")
    assert early.next_after(at("2026-10-25T01:30:00")) == at("2026-10-26T01:30:00")


def test_a_day_that_never_comes_is_never_due() -> None:
    assert parse_schedule("0 0 31 2 *").next_after(at("2026-01-01T00:00:00")) is None


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "7,30-40/3", "*/25", "59"]),
    st.sampled_from(["*", "3", "0-6/2", "23"]),
    st.sampled_from(["*", "1", "31", "*/7", "10-12"]),
    st.sampled_from(["*", "2", "*/3", "dec"]),
    st.sampled_from(["*", "0", "mon-wed", "6"]),
)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = st.sampled_from([None, "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])


@settings(deadline=None)
@given(FIELDS, ZONES, MOMENTS)
def test_looking_back_from_the_next_time_finds_it_and_nothing_between(
    fields: tuple[str, ...], zone: str | None, moment: datetime
) -> None:
    schedule = parse_schedule(" ".join(fields), zone=zone)
    due = schedule.next_after(moment)
    if due is None:
        return
    assert due > moment
    assert schedule.last_until(due, since=moment) == due
    assert schedule.last_until(due - timedelta(seconds=1), since=moment) is None
    assert schedule.last_until(due + timedelta(seconds=59), since=moment) == due


@settings(max_examples=part_of(40), deadline=None)
@given(st.sampled_from(["*/7 * * * *", "0,30 1-3 * * *"]), ZONES, MOMENTS)
def test_times_are_those_minutes_whose_local_clock_matches(expression: str, zone: str | None, moment: datetime) -> None:
    schedule = parse_schedule(expression, zone=zone)
    start = moment.replace(second=0, microsecond=0)
    minutes = [start + timedelta(minutes=step) for step in range(1, 27 * 60)]
    local = [each.astimezone(schedule.zone or UTC) for each in minutes]
    wanted = [
        due
        for due, clock in zip(minutes, local, strict=True)
        if clock.minute in schedule.minutes and clock.hour in schedule.hours
    ]
    found, cursor = [], start
    while (due := schedule.next_after(cursor)) is not None and due <= minutes[-1]:
        found.append(due)
        cursor = due
    assert found == wanted
