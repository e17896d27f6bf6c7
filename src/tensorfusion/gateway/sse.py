"""Server-sent events out of bytes that come in any pieces, each with exactly the bytes it came in.

Apart from ``reading``, which knows what the events of a model say: this knows only where one ends. What goes on to the
client is the bytes as they came - comments, unknown fields, line ends and all - so that nothing is lost that another
end may want.

An event is what comes up to an empty line; empty lines more than that lead the next one. Joined, the events and the
rest are the input. A lone CR may be the half of a CRLF whose other half has not come: an event is not held back for it,
and that LF then follows by itself (``OTHER_HALF``) as soon as it comes: behind the last event nothing else would.

Source: HTML Living Standard, 9.2.5 and 9.2.6 (parsing and interpreting an event stream).
"""

import re
from typing import Final

import msgspec

MOST_EVENT: Final = 8 << 20
"""Bytes of one event."""
OTHER_HALF: Final = b"\n"
"""Of a line end whose CR went with the event before."""
_END = re.compile(rb"(?>\r\n?|\n){2}")
_LINE_END = re.compile(rb"\r\n?|\n")
_LF = 0x0A
_ENDS = b"\n\n"
_FIELD = b"data: "
_OBJECT = b"data: {"
_OBJECT_END = b"}\n\n"
_BETWEEN = b"}\n\ndata: {"
_LINES = b"}\n{"
_SHORTER = len(_BETWEEN) - len(_LINES)
_MARK = b"\xef\xbb\xbf"
_LONGEST_END = 4


class EventTooLong(ValueError):
    """An event does not end within its bound."""


class Events:
    """Of one stream. ``rest`` is what has come of an event that has not ended."""

    __slots__ = ("_half", "_most", "_plain", "_searched", "rest")

    def __init__(self, *, most: int = MOST_EVENT) -> None:
        self._most = most
        self._searched = 0
        self._plain = True
        """There is no CR in the rest, nor was one the last byte."""
        self._half = False
        """The last byte was a CR that ended an event."""
        self.rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The events that end with these bytes.

        Raises:
            EventTooLong: one has more bytes than it may.
        """
        plain = self.plain(data)
        if plain is not None:
            return split_plain(plain)
        if not data:
            return []
        if self._half:
            self._half, self._plain = False, True
            if data.startswith(OTHER_HALF):
                return [OTHER_HALF, *self.feed(data[1:])]
            return self.feed(data)
        if not self.rest:
            return self._cut(data)
        self.rest += data
        return self._cut(self.rest)

    def plain(self, data: bytes) -> bytes | None:
        """The events that end with these bytes, in one piece, for ``split_plain``.

        None, and nothing is taken, where line ends are not all LF, as they nearly always are, or where more than two of
        them leave open which ones end an event.

        Raises:
            EventTooLong: one has more bytes than it may.
        """
        if not self._plain or b"\r" in data:
            return None
        rest = self.rest
        if not rest and data.endswith(_ENDS) and data[-3:-2] != b"\n" and len(data) <= self._most:
            return data
        if rest and not (data.startswith(b"\n") and rest.endswith(b"\n")) and _ENDS not in data:
            rest += data
            self._bound(len(rest))
            return b""
        joined = bytes(rest) + data if rest else data
        end = joined.rfind(_ENDS)
        if end > 0 and joined[end - 1] == _LF:
            return None
        whole = joined[: end + len(_ENDS)] if end >= 0 else b""
        self.rest = bytearray(joined[len(whole) :])
        self._bound(len(self.rest))
        if len(whole) > self._most:
            self._bound(max(map(len, split_plain(whole))))
        return whole

    def _bound(self, size: int) -> None:
        if size > self._most:
            raise self._too_long()

    def _cut(self, data: bytes | bytearray) -> list[bytes]:
        found: list[bytes] = []
        start = 0
        searched = self._searched
        while end := _END.search(data, searched):
            found.append(bytes(data[start : end.end()]))
            start = searched = end.end()
        self._bound(max(map(len, found), default=0))
        self._bound(len(data) - start)
        if data is self.rest:
            del self.rest[:start]
        else:
            self.rest += data[start:]
        self._searched = max(len(self.rest) - _LONGEST_END, 0)
        self._half = not self.rest and bool(found) and found[-1].endswith(b"\r")
        self._plain = not self.rest and not self._half
        return found

    def _too_long(self) -> EventTooLong:
        return EventTooLong(f"an event has more than {self._most} bytes")


def split_plain(events: bytes) -> list[bytes]:
    """Whole events whose lines all end with LF, one by one."""
    parts = events.split(_ENDS)
    return [part + _ENDS for part in parts[:-1]] if len(parts) > 2 else [events][: len(parts) - 1]


def are_few(events: bytes) -> bool:
    """Plain events are one or none: not worth more than ``split_plain``."""
    return events.find(_ENDS) + len(_ENDS) >= len(events)


class Objects(msgspec.Struct, frozen=True, gc=False):
    """What plain events carry, where each is one line of data from a brace to a brace: ``count`` lines of that."""

    lines: bytes
    count: int

    def size(self, count: int) -> int:
        """Bytes of the first ``count`` events."""
        first = self.lines.rsplit(b"\n", self.count - count)[0]
        return len(first) + _SHORTER * count + 1


def objects_of(events: bytes) -> Objects | None:
    """Of plain events, less those behind the last object, such as ``[DONE]``. None where one has another form."""
    end = events.rfind(_OBJECT_END) + 1
    if not end or not events.startswith(_OBJECT):
        return None
    lines = events[len(_FIELD) : end].replace(_BETWEEN, _LINES)
    count = (end - len(_FIELD) - len(lines)) // _SHORTER
    return Objects(lines, count + 1) if lines.count(b"\n") == count else None


def data_of(event: bytes) -> bytes | None:
    """What the event carries: its data lines, joined; None when it carries nothing (a comment, a retry time)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    found = [_value(line) for line in _lines(event) if line == b"data" or line.startswith(b"data:")]
    return b"\n".join(found) if found else None


def name_of(event: bytes) -> bytes:
    """The event's name; empty where it has none."""
    names = [_value(line) for line in _lines(event) if line == b"event" or line.startswith(b"event:")]
    return names[-1] if names else b""


def event_of(data: bytes, *, name: bytes = b"") -> bytes:
    """An event of our own. ``data`` and ``name`` hold no line end."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data


def _lines(event: bytes) -> list[bytes]:
    return _LINE_END.split(event.removeprefix(_MARK))


def _value(line: bytes) -> bytes:
    """Behind the colon, less one space."""
    return line.partition(b":")[2].removeprefix(b" ")
