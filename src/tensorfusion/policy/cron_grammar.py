"""The grammar of a CronJob's schedule: five fields, or a name such as ``@daily`` or ``@every 1h``.

Only what is wrong with a text is decided here; when a schedule is due is said by ``cron``. Apart from the rules of the
kinds because the control process needs nothing else of them, and they take long to load.

Source: the standard parser of robfig/cron v3, texts seen through a real server.
"""

import re
from collections.abc import Mapping

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[int, int, Mapping[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_NAMED = frozenset(["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"])
_EVERY = "@every "
_DURATION = re.compile(
    r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h))*|[-+]?0"
)


class _Wrong(Exception):
    """The schedule does not parse; the text says why."""


def explain_schedule(schedule: str) -> list[str]:
    """What is wrong with a schedule; empty when it is fine."""
    try:
        _parse(schedule)
    except _Wrong as error:
        return [str(error)]
    return []


def _parse(schedule: str) -> None:
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        schedule = schedule.partition(" ")[2].strip()
    if schedule.startswith("@"):
        if schedule in _NAMED:
            return
        if not schedule.startswith(_EVERY):
            raise _Wrong(f"unrecognized descriptor: {schedule}")
        duration = schedule[len(_EVERY) :]
        if not _DURATION.fullmatch(duration):
            raise _Wrong(f'failed to parse duration {schedule}: time: invalid duration "{duration}"')
        return
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        raise _Wrong(f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]")
    for text, (low, high, names) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if part:
                _check_range(part, low, high, names)


def _check_range(text: str, low: int, high: int, names: Mapping[str, int]) -> None:
    span, *steps = text.split("/")
    start_text, *ends = span.split("-")
    if start_text in ("*", "?"):
        start, end = low, high
    else:
        start = end = _number(start_text, names)
        if len(ends) == 1:
            end = _number(ends[0], names)
        elif ends:
            raise _Wrong(f"too many hyphens: {text}")
    step = 1
    if len(steps) == 1:
        step = _number(steps[0], {})
        end = end if ends else high
    elif steps:
        raise _Wrong(f"too many slashes: {text}")
    if start < low:
        raise _Wrong(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise _Wrong(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise _Wrong(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise _Wrong(f"step of range should be a positive number: {text}")


def _number(text: str, names: Mapping[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise _Wrong(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    value = int(text)
    if value < 0:
        raise _Wrong(f"negative number ({value}) not allowed: {text}")
    return value
