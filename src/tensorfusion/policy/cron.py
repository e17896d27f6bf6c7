"""When a schedule is due: cron expressions of five fields and their short forms. Pure.

The rules are those of the parser that Kubernetes uses: ``*`` and ``?`` mean any; lists, ranges, steps and three-letter
names may be mixed; a day matches when both day fields match or, if neither of them is ``*``, when either does;
``@daily`` and its kin, ``@every 90s``. What is no schedule is said by the schema's rules, in the original's words.
Written here because a dependency would bring another dialect (a sixth field, 7 for Sunday, ``L`` and ``W``). Pools use
the same dialect for the windows in which they are defragmented (``policy.defrag``).

Local time decides. An hour that the clock skips in spring has no runs; one that it repeats in autumn has them twice.

Source: batch/v1 CronJobSpec.schedule; robfig/cron v3, its standard parser.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.durations import parse_duration
from tensorfusion.policy.cron_grammar import explain_schedule

_MONTHS = {name: at for at, name in enumerate(re.findall("...", "janfebmaraprmayjunjulaugsepoctnovdec"), start=1)}
_DAYS = {name: at for at, name in enumerate(re.findall("...", "sunmontuewedthufrisat"))}
_SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SEARCHED = timedelta(days=5 * 366)
"""A schedule that is not due within five years is never due."""
_NANOSECONDS = 1_000_000_000
_EVERY = "@every "


class UnknownZone(InvalidRequest):
    """There is no time zone of that name, or this machine has no time zones."""


@dataclass(frozen=True, slots=True)
class _Field:
    least: int
    most: int
    words: dict[str, int]

    def number(self, text: str) -> int:
        value = self.words.get(text.lower())
        return int(text) if value is None else value


_FIELDS = (
    _Field(0, 59, {}),
    _Field(0, 23, {}),
    _Field(1, 31, {}),
    _Field(1, 12, _MONTHS),
    _Field(0, 6, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Moments in one time zone; ``every`` seconds instead, counted from wherever one starts."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    """One of the two day fields is a star, so that both have to match."""
    zone: ZoneInfo | None = None
    every: int = 0

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after a moment, in UTC; None where there is none within five years."""
        if self.every:
            return (moment + timedelta(seconds=self.every)).replace(microsecond=0)
        local = self._local(moment)
        for ahead in range(_SEARCHED.days):
            day = local.date() + timedelta(days=ahead)
            for found in self._times(day, [hour for hour in self.hours if ahead or hour >= local.hour - 1]):
                if found > moment:
                    return found
        return None

    def last_until(self, moment: datetime, *, since: datetime) -> datetime | None:
        """The last time after ``since`` and not after ``moment``, in UTC; None where there is none."""
        if self.every:
            runs = int((moment - since).total_seconds()) // self.every
            return (since + timedelta(seconds=runs * self.every)).replace(microsecond=0) if runs > 0 else None
        local, first = self._local(moment), self._local(since).date()
        for back in range(min(_SEARCHED.days, (local.date() - first).days + 1)):
            day = local.date() - timedelta(days=back)
            hours = [hour for hour in self.hours if back or hour <= local.hour + 1]
            for found in reversed(list(self._times(day, hours))):
                if found <= moment:
                    return found if found > since else None
        return None

    def _times(self, day: date, hours: Sequence[int]) -> Iterator[datetime]:
        """The times of one local day in those hours, in UTC and ascending: of an hour that comes twice, both."""
        if not self._matches(day):
            return
        for hour in sorted(hours):
            for fold in (0, 1):
                for minute in sorted(self.minutes):
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone or UTC, fold=fold)
                    if fold and local.utcoffset() == local.replace(fold=0).utcoffset():
                        continue  # it comes once
                    found = local.astimezone(UTC)
                    if self._local(found).replace(tzinfo=None) == local.replace(tzinfo=None):  # else it was skipped
                        yield found

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone or UTC)

    def _matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month and of_week if self.any_day else of_month or of_week


def parse_schedule(text: str, *, zone: str | None = None) -> Schedule:
    """A schedule as a CronJob writes it.

    Raises:
        InvalidRequest: it is none; the message is that of Kubernetes.
    """
    wrong = explain_schedule(text)
    if wrong:
        raise InvalidRequest(f'unparseable schedule: "{text}" : {wrong[0]}')
    prefix = re.match(r"(?:CRON_)?TZ=(\S+)\s+", text)
    if prefix is not None:
        text, zone = text[prefix.end() :], prefix[1]
    where = _zone(zone)
    if text.startswith(_EVERY):
        seconds = parse_duration(text.removeprefix(_EVERY)) // _NANOSECONDS
        return Schedule(every=max(1, seconds))
    fields = _SHORT.get(text, text).split()
    minutes, hours, days, months, weekdays = (_set(field, part) for field, part in zip(_FIELDS, fields, strict=True))
    starred = any(_is_star(fields[at]) for at in (2, 4))
    return Schedule(minutes, hours, days, months, weekdays, any_day=starred, zone=where)


def _zone(name: str | None) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(f'invalid timeZone: "{name}": unknown time zone {name}') from error


def _is_star(field: str) -> bool:
    """A star with a step of more than one restricts the day like any other list."""
    return any(re.fullmatch(r"[*?][^/]*(/0*1)?", part) for part in field.split(","))


def _set(field: _Field, text: str) -> frozenset[int]:
    """The values of a field that is known to be well formed."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if first in ("*", "?"):
            start, stop = field.least, field.most
        else:
            start = field.number(first)
            stop = field.number(last) if dash else field.most if slash else start
        found.update(range(start, stop + 1, int(step) if slash else 1))
    return frozenset(found)
