"""Line protocol as points, strictly: what could be read in two ways, or not at all, is an error with its line.

One expression reads a field with its value where it stands, so texts may hold line ends and commas. The part of a line
before its first space - table and tags - comes back in thousands of lines and is read once.

Source: InfluxDB line protocol reference. Beyond it, a number must be finite and fit 64 bits, and a name occurs once.
"""

import re
from typing import Final, TypeAlias

from tensorfusion.timeseries.errors import LineError
from tensorfusion.timeseries.points import (
    LEAST_INT,
    MOST_INT,
    MOST_UNSIGNED,
    FieldValue,
    Point,
    Unsigned,
)

PRECISIONS: Final = {
    "n": 1,
    "ns": 1,
    "u": 1_000,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
"""ns of one unit of a timestamp, by the name of the unit. Source: InfluxDB 1.8 and 2 write API, both spellings."""

_Head: TypeAlias = tuple[str, dict[str, str]]

_SKIP: Final = re.compile(r"(?:[ ]*(?:#[^\n]*)?\n)*[ ]*(?:#[^\n]*\Z)?")
_HEAD: Final = re.compile(r"(?:[^ \t\n\r\\]|\\.)+")
_PART: Final = re.compile(r"((?:[^,= \t\n\r\\]|\\.)+)(=|,|\Z)", re.DOTALL)
_NUMBER: Final = r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NAMED: Final = r"((?:[^,=\"\s\\]|\\[^\n])+)="
_FIELD_NAME: Final = re.compile(_NAMED)
_FIELD: Final = re.compile(
    rf"{_NAMED}"
    rf"(?:(-?[0-9]+)i|([0-9]+)u|({_NUMBER})"
    r'|"((?:[^"\\]|\\.)*)"'
    r"|(t(?:rue)?|T(?:rue|RUE)?)|(f(?:alse)?|F(?:alse|ALSE)?))"
    r"(,|[ ]+|(?=\n)|\Z)",
    re.DOTALL,
)
_TIME: Final = re.compile(r"(-?[0-9]+)[ ]*(?=\n|\Z)")
_NAME_ESCAPE: Final = re.compile(r"\\([\\,= ])")
_TEXT_ESCAPE: Final = re.compile(r'\\([\\"])')
MOST_TEXT: Final = 64 << 10
"""Characters of a text as it is written. Source: the bound of influxdb_line_protocol, which is in bytes."""
_MOST_HEADS: Final = 4096
_MOST_DIGITS: Final = 20
_FEW_DIGITS: Final = 18
"""That fit 64 bits, whatever they are."""
_WORDS: Final = {"true": True, "false": False}
_SHOWN: Final = 40


def parse(text: str, *, precision: str = "ns", now: int | None = None) -> list[Point]:
    """The points of a text, in its order. ``now`` (ns) is the time of those that have none of their own.

    Raises:
        LineError: a line is not well formed. Nothing is given then.
        ValueError: no such precision.
    """
    unit = PRECISIONS.get(precision)
    if unit is None:
        raise ValueError(f"precision: wanted one of {', '.join(PRECISIONS)}, found {precision!r}")
    heads: dict[str, _Head] = {}
    known: set[str] = set()
    points = []
    stamp = ""
    position, end = _skip(text, 0), len(text)
    while position < end:
        head, position = _read_head(text, position, heads)
        time = now
        plain = _plain_fields(text, position, known)
        if plain is not None:
            fields, stamp, after = plain
            if stamp:
                time = _whole(stamp) * unit
        else:
            fields, after, more = _read_fields(text, position)
            known.update(fields)
            if more:
                found = _TIME.match(text, after)
                if found is None:
                    raise _error(text, after, "a timestamp of digits and the end of the line")
                time = _whole(found[1]) * unit
                stamp, after = found[1], found.end()
        if time is not None and not LEAST_INT <= time <= MOST_INT:
            place = after - len(stamp)
            raise _error(text, place, f"a timestamp that fits 64 bits in ns (precision is {precision})")
        position = after
        points.append(Point(head[0], head[1], fields, time))
        position = _skip(text, position)
    return points


def _skip(text: str, position: int) -> int:
    """Behind line ends, empty lines and comments."""
    found = _SKIP.match(text, position)
    return found.end() if found else position


def _read_head(text: str, position: int, heads: dict[str, _Head]) -> tuple[_Head, int]:
    """Table and tags, and where the fields begin."""
    found = _HEAD.match(text, position)
    if found is None or found.end() - position > MOST_TEXT:
        raise _error(text, position, f"the name of a table, and tags, of at most {MOST_TEXT} characters")
    raw, after = found[0], found.end()
    if text[after : after + 1] != " ":
        raise _error(text, after, "a space and at least one field")
    head = heads.get(raw)
    if head is None:
        head = _parse_head(text, position, after)
        if len(heads) >= _MOST_HEADS:
            heads.clear()
        heads[raw] = head
    while text[after : after + 1] == " ":
        after += 1
    return head, after


def _parse_head(text: str, start: int, end: int) -> _Head:
    parts = _PART.match(text, start, end)
    if parts is None or parts[2] == "=":
        raise _error(text, start, "the name of a table")
    table = _name(text, start, parts[1])
    tags: dict[str, str] = {}
    while parts[2] == ",":
        position = parts.end()
        key = _PART.match(text, position, end)
        if key is None or key[2] != "=":
            raise _error(text, position, "a tag like node=n1")
        parts = _PART.match(text, key.end(), end)
        if parts is None or parts[2] == "=":
            raise _error(text, key.end(), f"a value of the tag {key[1]}, with \\= for = in it")
        name = _name(text, position, key[1])
        if name in tags:
            raise _error(text, position, f"the tag {name} once")
        tags[name] = _name(text, key.end(), parts[1])
    return table, tags


def _plain_fields(text: str, position: int, known: set[str]) -> tuple[dict[str, FieldValue], str, int] | None:
    """The fields, digits of the time and end of a line that has only numbers, yes and no, in fields that are ``known``.

    Most lines are such, and splitting reads them in a third of the time. None for every other, wrong ones too: what is
    wrong with them the long way says. Cut to these characters, float() and int() read what the expressions read.
    """
    end = text.find("\n", position)
    line = text[position:] if end < 0 else text[position:end]
    if '"' in line or "\\" in line:
        return None
    body, _, stamp = line.partition(" ")
    fields: dict[str, FieldValue] = {}
    try:
        for part in body.split(","):
            key, _, raw = part.partition("=")
            if key not in known or key in fields:
                return None
            if raw.endswith("i"):
                digits = raw[:-1]
                if digits.strip("-0123456789") or len(digits) > _FEW_DIGITS:
                    return None
                fields[key] = int(digits)
            elif not raw.strip("-.0123456789"):
                fields[key] = value = float(raw)
                if value - value != 0:
                    return None
            else:
                fields[key] = _WORDS[raw]
    except (ValueError, KeyError):
        return None
    if stamp.strip("0123456789"):
        return None
    return fields, stamp, position + len(line)


def _read_fields(text: str, position: int) -> tuple[dict[str, FieldValue], int, bool]:
    """The fields, where they end, and whether something follows on the line."""
    fields: dict[str, FieldValue] = {}
    match_field = _FIELD.match
    while True:
        found = match_field(text, position)
        if found is None:
            raise _field_error(text, position)
        key, integer, unsigned, floating, quoted, true, _, after = found.groups()
        if "\\" in key:
            key = _name(text, position, key)
        if key in fields:
            raise _error(text, position, f"the field {key} once")
        if integer is not None:
            whole = _whole(integer)
            if not LEAST_INT <= whole <= MOST_INT:
                raise _error(text, position, "an integer that fits 64 bits")
            value: FieldValue = whole
        elif floating is not None:
            value = float(floating)
            if value - value != 0:
                raise _error(text, position, f"a finite number for the field {key}")
        elif quoted is not None:
            if len(quoted) > MOST_TEXT:
                raise _error(text, position, f"a text of at most {MOST_TEXT} characters in the field {key}")
            value = _TEXT_ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted
        elif unsigned is not None:
            value = Unsigned(_whole(unsigned))
            if value > MOST_UNSIGNED:
                raise _error(text, position, f"at most {MOST_UNSIGNED} for the field {key}")
        else:
            value = true is not None
        fields[key] = value
        position = found.end()
        if after != ",":
            return fields, position, bool(after) and text[position : position + 1] not in ("", "\n")


def _whole(digits: str) -> int:
    """Their number, or one that fits nothing: Python refuses to read thousands of digits."""
    return int(digits) if len(digits) <= _MOST_DIGITS else 1 << 128


def _name(text: str, position: int, raw: str) -> str:
    """A name or the value of a tag, without its escapes."""
    if "\\" not in raw:
        return raw
    name = _NAME_ESCAPE.sub(r"\1", raw)
    if name.endswith("\\"):
        raise _error(text, position, "a name or value that does not end with a backslash")
    return name


def _field_error(text: str, position: int) -> LineError:
    key = _FIELD_NAME.match(text, position)
    if key is None:
        return _error(text, position, "a field like gpu_count=1i")
    return _error(
        text, key.end(), f'a value of the field {key[1]}: 1i, 1u, 1.5, true or "text", then a comma, space or line end'
    )


def _error(text: str, position: int, wanted: str) -> LineError:
    rest = text[position:].partition("\n")[0]
    found = "the end of the line" if not rest else repr(rest[:_SHOWN]) + ("..." if len(rest) > _SHOWN else "")
    return LineError(text.count("\n", 0, position) + 1, wanted, found)
