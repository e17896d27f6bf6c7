"""Windows of defragmentation: open exactly when the pool's schedule says so, and each used once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.pool_nodes import Defrag
from tensorfusion.policy.defrag import LONGEST_BY_DEFAULT, DefragSettings, Window, defrag_settings, open_window


def settings(**fields: Any) -> DefragSettings:
    return defrag_settings(Defrag(**{"enabled": True, "timezone": "UTC", **fields}))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(now: str, last: str = "", **fields: Any) -> Window | None:
    return open_window(settings(**fields), now=at(now), last=at(last) if last else None)


def test_a_window_is_open_after_its_tick_and_until_its_end() -> None:
    assert window("2026-03-01T03:00:00") is None
    wanted = Window(at("2026-03-01T03:00:00"), at("2026-03-01T05:00:00"))
    assert window("2026-03-01T03:00:00.000001") == wanted
    assert window("2026-03-01T05:00:00") == wanted
    assert window("2026-03-01T05:00:01") is None
    assert wanted.contains(wanted.closes)
    assert not wanted.contains(wanted.opens)


def test_a_window_in_which_a_campaign_ended_is_not_used_again() -> None:
    assert window("2026-03-01T04:00:00", last="2026-03-01T03:10:00") is None
    assert window("2026-03-01T04:00:00", last="2026-02-28T05:00:00") is not None
    assert window("2026-03-01T04:00:00", last="2026-03-01T03:00:00") is None


def test_windows_that_were_missed_are_not_made_up_for() -> None:
    assert window("2026-03-01T12:00:00", last="2026-01-01T00:00:00") is None


def test_of_several_ticks_the_latest_counts() -> None:
    found = window("2026-03-01T10:25:00", schedule="*/10 * * * *")
    assert found is not None
    assert found.opens == at("2026-03-01T10:20:00")


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-03-29T00:30:00", None),  # 01:30 in winter time
        ("2026-03-29T01:10:00", None),  # 02:30 is skipped that night
        ("2026-03-30T00:40:00", "2026-03-30T00:30:00"),  # 02:30 in summer time
        ("2026-10-25T00:40:00", "2026-10-25T00:30:00"),  # 02:30 comes twice
        ("2026-10-25T01:40:00", "2026-10-25T01:30:00"),
        ("2026-10-26T01:40:00", "2026-10-26T01:30:00"),
    ],
)
def test_the_clock_of_the_time_zone_decides_in_nights_that_change_it(now: str, opens: str | None) -> None:
    found = window(now, schedule="30 2 * * *", timezone="Europe/Berlin", max_duration="20m")
    assert (None if found is None else found.opens) == (None if opens is None else at(opens))


def test_the_hour_that_comes_twice_is_one_campaign_where_the_first_ended() -> None:
    """The second tick is another one: what ended before it does not close its window."""
    fields = {"schedule": "30 2 * * *", "timezone": "Europe/Berlin", "max_duration": "3h"}
    assert window("2026-10-25T01:29:00", last="2026-10-25T00:45:00", **fields) is None
    again = window("2026-10-25T01:31:00", last="2026-10-25T00:45:00", **fields)
    assert again is not None
    assert again.opens == at("2026-10-25T01:30:00")


@pytest.mark.parametrize("text", ["", "  ", "soon", "0s", "0"])
def test_a_duration_that_is_none_is_two_hours(text: str) -> None:
    found = settings(max_duration=text)
    assert found.max_duration == LONGEST_BY_DEFAULT
    assert bool(found.notes) == bool(text.strip())


@pytest.mark.parametrize(("text", "wanted"), [("never", None), (" NeVer ", None), (" 90m ", timedelta(minutes=90))])
def test_markers_live_for_a_time_or_for_ever(text: str, wanted: timedelta | None) -> None:
    assert settings(evicted_pod_marker_ttl=text).evicted_pod_ttl == wanted
    assert settings(source_node_marker_ttl=text).source_node_ttl == wanted


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"schedule": "0 3 * *"}, "schedule: wanted 5 fields such as '0 3 \\* \\* \\*', found '0 3 \\* \\*'"),
        ({"schedule": "@daily"}, "schedule: wanted 5 fields"),
        ({"schedule": "0 24 * * *"}, "schedule or timezone: unparseable schedule"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone Mars/Olympus"),
        ({"timezone": " "}, "timezone: wanted an IANA name such as Europe/Berlin, found nothing"),
        ({"source_node_marker_ttl": "later"}, "sourceNodeMarkerTTL: 'later' is not a duration.*, or 'never'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_field(fields: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        settings(**fields)


MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(
    MOMENTS,
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 3 1 * *", "15 1-4 * * sun"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(["5m", "2h", "30h"]),
    st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(days=3))),
)
def test_an_open_window_contains_now_and_opened_after_the_last_campaign(
    now: datetime, schedule: str, zone: str, longest: str, ago: timedelta | None
) -> None:
    chosen = settings(schedule=schedule, timezone=zone, max_duration=longest)
    last = None if ago is None else now - ago
    found = open_window(chosen, now=now, last=last)
    if found is None:
        earliest = now - chosen.max_duration - timedelta(microseconds=1)
        upcoming = chosen.schedule.next_after(earliest if last is None else max(earliest, last))
        assert upcoming is None or upcoming >= now
        return
    assert found.contains(now)
    assert last is None or found.opens > last
    later = chosen.schedule.next_after(found.opens)
    assert later is None or later >= now
    assert open_window(chosen, now=now, last=now) is None
