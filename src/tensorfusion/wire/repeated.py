"""A head that comes again: a client that keeps its connection sends the same bytes with every request, but for the
digits of ``Content-Length``, and what was read of them is true of them again, at a fraction of the cost.

Apart from the parser because nothing is read here: bytes are compared. The two can never differ about a request, since
llhttp makes the same of the same bytes wherever it stands at the same place:

- A head is kept when llhttp has read it in an arrival that began between two requests and held nothing but that head
  and some of its body. It must leave the connection open, so that llhttp stands between two requests again behind it.
- It is known again in an arrival that begins between two requests, if llhttp has begun nothing since. Every byte has to
  be the same but for the digits, which are spelt in the one plain way: no sign, no zero in front, ten at most. No value
  holds a line end, so they stand in the field that is the length, and there llhttp takes one field only.
- Whatever else comes is llhttp's: a single byte that differs, a head in pieces, a body with something behind it.

Source: RFC 9112 6.2 (Content-Length), 9.3 (persistence).
"""

from typing import Final

from tensorfusion.wire.request import Request

_MOST_KEPT: Final = 4 << 10
"""Bytes of a head that a connection keeps: longer ones are read each time."""
_MOST_DIGITS: Final = 10
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
"""As clients spell it; who does otherwise is read each time."""


class RepeatedHead:
    """``method``, ``target`` and ``fields`` are what every request with it has."""

    __slots__ = ("_before", "_behind", "fields", "method", "target")

    def __init__(self, before: bytes, behind: bytes, request: Request) -> None:
        self._before = before
        self._behind = behind
        self.method = request.method
        self.target = request.target
        self.fields = request.fields

    def find(self, data: bytes | bytearray) -> tuple[int, int] | None:
        """Where the body begins and how long it will be, if ``data`` begins with this head."""
        start = len(self._before)
        end = data.find(self._behind, start, start + _MOST_DIGITS + len(self._behind))
        digits = data[start:end]
        if end < 0 or not data.startswith(self._before) or not digits.isdigit() or digits.startswith(b"0"):
            return None
        return end + len(self._behind), int(digits)


def repeated_head(data: bytes | bytearray, request: Request, *, most: int) -> RepeatedHead | None:
    """The head of ``request``, if ``data`` is that and what has come of its body, and nothing else.

    ``data`` began between two requests, and ``request`` is the last one that was read. ``most`` is the limit of a head.
    """
    if not request.length or not request.keep_alive or request.old or request.expects:
        return None
    end = data.find(b"\r\n\r\n", 0, min(_MOST_KEPT, most - _MOST_DIGITS)) + 4
    if end + request.received != len(data):  # no empty line, or one before the head, or more than one message
        return None
    for name in _LENGTHS:
        found = data.find(name, 0, end)
        if found >= 0:
            start = found + len(name)
            return RepeatedHead(bytes(data[:start]), bytes(data[data.find(b"\r\n", start) : end]), request)
    return None
