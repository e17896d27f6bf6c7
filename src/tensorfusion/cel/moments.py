"""Timestamps and durations: their texts, their arithmetic, their parts in a time zone.

Source: CEL language definition, "Timestamps and durations"; texts are those of RFC 3339 and of Go's durations.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.numbers import plain_text
from tensorfusion.cel.values import LARGEST_INT, SECOND, SMALLEST_INT, Duration, Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = -62_135_596_800 * SECOND
_LATEST = 253_402_300_800 * SECOND - 1
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:(Z)|([+-])(\d\d):(\d\d))", re.ASCII)
_SPAN = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}


def duration_of(nanoseconds: int) -> Duration:
    """Raises: EvaluationError beyond 64 bits."""
    if not SMALLEST_INT <= nanoseconds <= LARGEST_INT:
        raise EvaluationError("integer overflow")
    return Duration(nanoseconds)


def timestamp_of(nanoseconds: int, offset: int = 0) -> Timestamp:
    """Raises: EvaluationError outside the years 1 to 9999."""
    if not EARLIEST <= nanoseconds <= _LATEST:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nanoseconds, offset)


def parse_duration(text: str) -> Duration | None:
    """``1h30m``, ``-1.5s``, ``0``; None where it is not written so."""
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return Duration(0)
    total, at = Fraction(0), 0
    while at < len(body):
        match = _SPAN.match(body, at)
        if match is None:
            return None
        total += int(Fraction(match[1].rstrip(".")) * _UNITS[match[2]])
        at = match.end()
    if not body:
        return None
    whole = int(-total if text[0] == "-" else total)
    return Duration(whole) if SMALLEST_INT <= whole <= LARGEST_INT else None


def parse_timestamp(text: str) -> Timestamp | None:
    """A moment of RFC 3339; None where it is not written so.

    Raises:
        EvaluationError: outside the years 1 to 9999.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[number]) for number in range(1, 7))
    try:
        moment = datetime(max(year, 1), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    zone_hours, zone_minutes = int(match[10] or 0), int(match[11] or 0)
    if zone_hours > 23 or zone_minutes > 59:
        return None
    if year == 0:
        raise EvaluationError("timestamp overflow")
    offset = (zone_hours * 60 + zone_minutes) * (-1 if match[9] == "-" else 1)
    fraction = int((match[7] or "").ljust(9, "0")[:9])
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds - offset * 60
    return timestamp_of(seconds * SECOND + fraction, offset)


def duration_text(found: Duration) -> str:
    """Seconds, as in ``5400s`` and ``1.5s``."""
    size = abs(found.nanoseconds)
    seconds = size // SECOND + (size % SECOND) / SECOND
    return f"{plain_text(-seconds if found.nanoseconds < 0 else seconds)}s"


def timestamp_text(found: Timestamp) -> str:
    """RFC 3339 with as many digits as needed, in the zone it was written with."""
    seconds, rest = divmod(found.nanoseconds, SECOND)
    moment = _local(seconds + found.offset * 60)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    zone = "Z"
    if found.offset:
        zone = f"{'-' if found.offset < 0 else '+'}{abs(found.offset) // 60:02d}:{abs(found.offset) % 60:02d}"
    return f"{moment.year:04d}{moment:-%m-%dT%H:%M:%S}{fraction}{zone}"


def _local(seconds: int) -> datetime:
    """Raises: EvaluationError outside the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise EvaluationError("timestamp overflow") from None


def seconds_of(found: Timestamp) -> int:
    """Whole seconds since 1970, towards the past."""
    return found.nanoseconds // SECOND


_Part = Callable[[datetime, int], int]
# From a local time and its nanoseconds. Months and days count from 0, dates from 1, weeks begin on Sunday.
PARTS: Mapping[str, _Part] = {
    "getFullYear": lambda at, _: at.year,
    "getMonth": lambda at, _: at.month - 1,
    "getDayOfYear": lambda at, _: at.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda at, _: at.day - 1,
    "getDate": lambda at, _: at.day,
    "getDayOfWeek": lambda at, _: at.isoweekday() % 7,
    "getHours": lambda at, _: at.hour,
    "getMinutes": lambda at, _: at.minute,
    "getSeconds": lambda at, _: at.second,
    "getMilliseconds": lambda _, nanoseconds: nanoseconds // 1_000_000,
}
DURATION_PARTS: Mapping[str, int] = {
    "getHours": 3600 * SECOND,
    "getMinutes": 60 * SECOND,
    "getSeconds": SECOND,
    "getMilliseconds": 1_000_000,
}


def timestamp_part(name: str) -> Callable[..., int]:
    """The function that gives a part of a timestamp, in UTC or in a named zone."""
    part = PARTS[name]

    def read(found: Timestamp, zone: str = "UTC") -> int:
        seconds, rest = divmod(found.nanoseconds, SECOND)
        return part(_local(seconds + _offset(zone, seconds)), rest)

    return read


def duration_part(name: str) -> Callable[[Duration], int]:
    """The function that gives a duration in whole hours, minutes, seconds or milliseconds, towards zero."""
    unit = DURATION_PARTS[name]

    def read(found: Duration) -> int:
        whole = abs(found.nanoseconds) // unit
        return whole if found.nanoseconds >= 0 else -whole

    return read


def _offset(name: str, seconds: int) -> int:
    """Seconds east of UTC at a moment, of ``Europe/Berlin``, ``-02:00`` or ``02:00``."""
    if name in ("UTC", ""):
        return 0
    hours, colon, minutes = name.partition(":")
    if not colon:
        try:
            offset = _local(seconds).astimezone(ZoneInfo(name)).utcoffset()
        except (ValueError, OSError, KeyError, OverflowError):
            raise EvaluationError(f"unknown time zone {name}") from None
        return 0 if offset is None else offset.days * 86_400 + offset.seconds
    for text in (hours, minutes):
        if re.fullmatch(r"[+-]?\d+", text, re.ASCII) is None:
            raise EvaluationError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return (int(hours) * 60 + (-int(minutes) if name.startswith("-") else int(minutes))) * 60
