"""Fields on their way through: which belong to one connection only, which say where a message ends, and how they are
written so that nothing can be slipped in.

Names come back hundreds of times: what a name means is looked up by its bytes as they came, in a table that grows to a
bound. Values are checked together, by counting the line ends of what is about to be sent.

Source: RFC 9110 5.5 (values), 5.6.2 (names), 7.6.1 (Connection); RFC 9112 6 (where a message ends).
"""

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from enum import IntEnum
from typing import Final, TypeAlias

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]


class Kind(IntEnum):
    """What a field's name means to a connection. Those from ``EXPECT`` on do not go from one to the next."""

    PLAIN = 0
    DATE = 1
    HOST = 2
    EXPECT = 3
    CONNECTION = 4
    """Its value names further fields of this connection only."""
    HOP = 5
    """Of this connection only."""
    LENGTH = 6
    TRANSFER = 7
    WRONG = 8
    """No field has such a name."""


_KINDS: Final = {
    b"date": Kind.DATE,
    b"host": Kind.HOST,
    b"expect": Kind.EXPECT,
    b"connection": Kind.CONNECTION,
    b"keep-alive": Kind.HOP,
    b"proxy-connection": Kind.HOP,
    b"te": Kind.HOP,
    b"trailer": Kind.HOP,
    b"upgrade": Kind.HOP,
    b"http2-settings": Kind.HOP,
    b"proxy-authenticate": Kind.HOP,
    b"proxy-authorization": Kind.HOP,
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.TRANSFER,
}
PLAIN: Final = Kind.PLAIN
LENGTH: Final = Kind.LENGTH
_DATE: Final = Kind.DATE
_CONNECTION: Final = Kind.CONNECTION
_EXPECT: Final = Kind.EXPECT
_ENDS = (b"\r", b"\n", b"\0")
_MOST_KNOWN = 4096
_LONGEST_LINE = 96
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class _Known(dict[bytes, Kind]):
    """What names mean, in the spellings that came by."""

    def __missing__(self, name: bytes) -> Kind:
        kind = _KINDS.get(name.lower(), Kind.PLAIN) if _NAME.fullmatch(name) else Kind.WRONG
        if len(name) <= 64:
            if len(self) >= _MOST_KNOWN:
                self.clear()  # those that matter come back; who sends others on purpose keeps nobody out
            self[name] = kind
        return kind


KIND_OF: Final = _Known()
"""What a field's name means, in any spelling: ``KIND_OF[name]``."""


def end_to_end(fields: Fields) -> list[tuple[bytes, bytes]]:
    """The fields that go on to the next one: without those of the connection, those that say where the body ends, and
    Expect, which was answered here.

    Source: RFC 9110 7.6.1, 10.1.1.
    """
    kept = []
    named: set[bytes] = set()
    for pair in fields:
        kind = KIND_OF[pair[0]]
        if kind < _EXPECT:
            kept.append(pair)
        elif kind == _CONNECTION:
            named.update(token.strip().lower() for token in pair[1].split(b","))
    if named:
        named -= {b"close", b"keep-alive", b""}
        kept = [pair for pair in kept if pair[0].lower() not in named]
    return kept


def lines(
    start: bytes, fields: Fields, own: bytes, *, count: int = 1, date: bool = False, without: Kind | None = None
) -> bytes:
    """A head: its first ``count`` lines, without the last line end; ``fields``; ``own``: whole lines that the
    connection adds, with the empty one.

    ``date`` adds one where there is none; fields of the kind ``without`` are left out.

    Raises:
        ValueError: a name or a value that cannot be sent, or a field that is the connection's business.
    """
    parts = [start]
    for name, value in fields:
        kind = KIND_OF[name]
        if kind:
            if kind == without:
                continue
            if kind >= _CONNECTION:
                why = "no name of a field" if kind is Kind.WRONG else "it is the connection's own"
                raise ValueError(f"field {name!r} cannot be sent: {why}")
            if kind == _DATE:
                date = False
        count += 1
        parts.append(name + b": " + value)
    if date:
        parts.append(date_line())
        count += 1
    parts.append(own)
    head = b"\r\n".join(parts)
    count += own.count(b"\n")
    if head.count(b"\n") != count or head.count(b"\r") != count or b"\0" in head:
        found = next((name for name, value in fields if any(end in value for end in _ENDS)), start)
        raise ValueError(f"field {found!r} holds what cannot be sent in a header")
    return head


_known_lines: dict[tuple[bytes, bytes], bytes] = {}


def dated_lines(start: bytes, fields: Fields, own: bytes) -> bytes:
    """``lines`` of an answer, with a date: without a look at its fields where all of
    them came by before, and were looked at then.

    Raises:
        ValueError: as ``lines``.
    """
    parts = [start]
    for pair in fields:
        line = _known_lines.get(pair)
        if line is None:
            return _looked_at(start, fields, own)
        parts.append(line)
    if own.count(b"\n") != own.count(b"\r") or b"\0" in own:
        return _looked_at(start, fields, own)
    parts.append(date_line())
    parts.append(own)
    return b"\r\n".join(parts)


def _looked_at(start: bytes, fields: Fields, own: bytes) -> bytes:
    head = lines(start, fields, own, date=True)
    for pair in fields:
        name, value = pair
        if KIND_OF[name] is PLAIN and len(name) + len(value) <= _LONGEST_LINE:
            if len(_known_lines) >= _MOST_KNOWN:
                _known_lines.clear()
            _known_lines[pair] = name + b": " + value
    return head


def field_lines(fields: Fields) -> bytes:
    """Fields as they are sent, each line with its end: for those that go out many times, checked once.

    Raises:
        ValueError: as ``lines``.
    """
    return lines(b"", fields, b"")[2:]


_date = b""
_date_second = 0


def date_line() -> bytes:
    """``Date`` of this second, as a line without its end. Source: RFC 9110 6.6.1."""
    global _date, _date_second  # noqa: PLW0603 - once a second for all connections
    second = int(time.time())
    if second != _date_second:
        _date = b"Date: " + formatdate(second, usegmt=True).encode()
        _date_second = second
    return _date
