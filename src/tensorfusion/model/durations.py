"""Durations as people write them (``1h30m``, ``500ms``, ``7d``) to nanoseconds and back.

Source: Go's time.ParseDuration, and ``d`` and ``w`` as the API's TTL fields allow.
"""

import re

from tensorfusion.errors import InvalidRequest

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PART = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?(ns|us|µs|ms|s|m|h|d|w)")
_MAX = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """A duration in nanoseconds; ``"0"`` needs no unit. Parts of a nanosecond are dropped.

    Raises:
        InvalidRequest: the text is no duration, or longer than 292 years.
    """
    if text == "0":
        return 0
    total, end = 0, 0
    for match in _PART.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        whole, fraction, unit = match.groups()
        total += int(whole) * _UNITS[unit]
        if fraction:
            total += int(fraction) * _UNITS[unit] // 10 ** len(fraction)
    if end != len(text) or not text:
        raise InvalidRequest(f"{text[:64]!r} is not a duration: write numbers with units, such as 90s, 5m or 1h30m")
    if total > _MAX:
        raise InvalidRequest(f"{text[:64]!r} is too long")
    return total


def format_duration(nanoseconds: int) -> str:
    """The shortest exact form: 90 s is ``"1m30s"``, 0 is ``"0s"``."""
    if nanoseconds == 0:
        return "0s"
    parts = []
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count, nanoseconds = divmod(nanoseconds, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
