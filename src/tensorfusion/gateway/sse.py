"""Server-sent events out of bytes that come in any pieces, each with exactly the bytes it came in.

Apart from ``reading``, which knows what the events of a model say: this knows only where one ends. What goes on to the
client is the bytes as they came - comments, unknown fields, line ends and all - so that nothing is lost that another
end may want.

An event is what comes up to an empty line; empty lines more than that lead the next one. Joined, the events and the
rest are the input. A lone CR may be the half of a CRLF whose other half has not come: an event is not held back for it,
and that LF then leads the next event, where it is an empty line and means nothing.

Source: HTML Living Standard, 9.2.5 and 9.2.6 (parsing and interpreting an event stream).
"""

import re
from typing import Final

MOST_EVENT: Final = 8 << 20
"""Bytes of one event."""
_END = re.compile(rb"(?>\r\n?|\n){2}")
_LINE_END = re.compile(rb"\r\n?|\n")
_MARK = b"\xef\xbb\xbf"
_LONGEST_END = 4


class EventTooLong(ValueError):
    """An event does not end within its bound."""


class Events:
    """Of one stream. ``rest`` is what has come of an event that has not ended."""

    __slots__ = ("_most", "_plain", "_searched", "rest")

    def __init__(self, *, most: int = MOST_EVENT) -> None:
        self._most = most
        self._searched = 0
        self._plain = True
        """There is no CR in the rest."""
        self.rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The events that end with these bytes.

        Raises:
            EventTooLong: one has more bytes than it may.
        """
        rest = self.rest
        if self._plain and b"\r" not in data:
            if rest:
                if b"\n\n" not in data and not (data.startswith(b"\n") and rest.endswith(b"\n")):
                    rest += data
                    if len(rest) > self._most:
                        raise self._too_long()
                    return []
                data = bytes(rest) + data
                rest.clear()
            return self._split(data)
        if not rest:
            return self._cut(data)
        rest += data
        return self._cut(rest)

    def _split(self, data: bytes) -> list[bytes]:
        """As ``_cut``, where all line ends are LF, as nearly always: for a small part of what the expression costs."""
        parts = data.split(b"\n\n")
        rest = parts.pop()
        if len(parts) == 1 and not rest:
            found = [data]
        else:
            found = [part + b"\n\n" for part in parts]
            self.rest += rest
        most = self._most
        if len(data) > most and (len(rest) > most or max(map(len, found), default=0) > most):
            raise self._too_long()
        return found

    def _cut(self, data: bytes | bytearray) -> list[bytes]:
        found: list[bytes] = []
        start = 0
        searched = self._searched
        while end := _END.search(data, searched):
            found.append(bytes(data[start : end.end()]))
            start = searched = end.end()
        if len(data) - start > self._most or (found and max(map(len, found)) > self._most):
            raise self._too_long()
        if data is self.rest:
            del self.rest[:start]
        else:
            self.rest += data[start:]
        self._searched = max(len(self.rest) - _LONGEST_END, 0)
        self._plain = not self.rest
        return found

    def _too_long(self) -> EventTooLong:
        return EventTooLong(f"an event has more than {self._most} bytes")


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
