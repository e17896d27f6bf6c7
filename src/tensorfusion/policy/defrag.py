"""When a pool is defragmented: its settings, and the window that is open at a moment. Pure.

A window opens at each tick of the schedule and is open for ``max_duration``: the campaign in it ends then at the
latest. Only the latest tick counts, and only if no campaign ended after it: windows that were missed are not made up
for.

Source: TensorFusion's ``nodeCompaction.defrag``: fields, defaults, and which window applies.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.pool_nodes import Defrag
from tensorfusion.policy.cron import Schedule, parse_schedule

LONGEST_BY_DEFAULT = timedelta(hours=2)
_TIGHT = timedelta(microseconds=1)
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class DefragSettings:
    """How one pool is defragmented. A marker without a time to live (None) stays until what it waits for happened.

    ``notes`` say which texts could not be read and were replaced by their defaults.
    """

    schedule: Schedule
    max_duration: timedelta
    threshold: int
    evicted_pod_ttl: timedelta | None
    source_node_ttl: timedelta | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """From a tick of the schedule, which is not in it, to its end, which is."""

    opens: datetime
    closes: datetime

    def contains(self, moment: datetime) -> bool:
        return self.opens < moment <= self.closes


def defrag_settings(defrag: Defrag) -> DefragSettings:
    """The settings of a pool's ``nodeCompaction.defrag``.

    Raises:
        InvalidRequest: schedule, time zone or a marker's time to live cannot be used; the message names the field.
    """
    text = " ".join(defrag.schedule.split())
    if len(text.split()) != _FIELDS:
        raise InvalidRequest(f"schedule: wanted {_FIELDS} fields such as '0 3 * * *', found {defrag.schedule[:64]!r}")
    zone = defrag.timezone.strip()
    if not zone:
        raise InvalidRequest("timezone: wanted an IANA name such as Europe/Berlin, found nothing")
    try:
        schedule = parse_schedule(text, zone=zone)
    except InvalidRequest as error:
        raise InvalidRequest(f"schedule or timezone: {error}") from error
    max_duration, note = _longest(defrag.max_duration)
    return DefragSettings(
        schedule=schedule,
        max_duration=max_duration,
        threshold=defrag.utilization_threshold_percent,
        evicted_pod_ttl=_time_to_live("evictedPodMarkerTTL", defrag.evicted_pod_marker_ttl),
        source_node_ttl=_time_to_live("sourceNodeMarkerTTL", defrag.source_node_marker_ttl),
        notes=(note,) if note else (),
    )


def open_window(settings: DefragSettings, *, now: datetime, last: datetime | None) -> Window | None:
    """The window that contains now, of the latest tick; None where there is none, or a campaign ended since that tick.

    ``last`` is when a campaign of the pool ended last.
    """
    since = now - settings.max_duration - _TIGHT
    if last is not None and last > since:
        since = last
    tick = settings.schedule.last_until(now - _TIGHT, since=since)
    return None if tick is None else Window(tick, tick + settings.max_duration)


def _longest(text: str) -> tuple[timedelta, str]:
    """The longest duration of a campaign, and what to say where the text was of no use."""
    if not text.strip():
        return LONGEST_BY_DEFAULT, ""
    try:
        found = _span(text.strip())
    except InvalidRequest as error:
        return LONGEST_BY_DEFAULT, f"maxDuration: {error}: 2h is taken"
    if found <= timedelta(0):
        return LONGEST_BY_DEFAULT, f"maxDuration: wanted more than nothing, found {text[:64]!r}: 2h is taken"
    return found, ""


def _time_to_live(field: str, text: str) -> timedelta | None:
    wanted = text.strip()
    if wanted.lower() == "never":
        return None
    try:
        return _span(wanted)
    except InvalidRequest as error:
        raise InvalidRequest(f"{field}: {error}, or 'never'") from error


def _span(text: str) -> timedelta:
    return timedelta(microseconds=parse_duration(text) // 1000)
