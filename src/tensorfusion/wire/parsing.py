"""Requests out of bytes, and the refusal of what could be read in two ways: a front end and this end must never differ
about where a request ends.

Apart from the connection because it knows no socket and no task: what it makes of bytes is the same however they are
cut. llhttp reads them, strictly; what it takes and a front end might take otherwise is refused here.

Source: RFC 9112 2.2 (line ends, whitespace), 3.2 (Host), 5.1, 5.2 (obs-fold), 6.1-6.3 (Transfer-Encoding and
Content-Length), 7.1 (chunks), 11.2 (smuggling); RFC 9110 7.8 (Upgrade may be ignored), 10.1.1 (Expect).
"""

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from tensorfusion.wire.errors import Refused
from tensorfusion.wire.fields import KIND_OF, Kind
from tensorfusion.wire.limits import Limits
from tensorfusion.wire.request import Request

if TYPE_CHECKING:
    from tensorfusion.wire.server_connection import ServerConnection

_ONE_READ: Final = 256 << 10
"""What an event loop may hand over at once."""
_STRIDE: Final = 8 << 10
_CHUNKS_STRIDE: Final = 16 << 10
_VERSIONS = ("1.1", "1.0")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_UPGRADE = (b"upgrade", b"http2-settings")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


class RequestParser:
    """Of one connection. ``requests`` are those whose heads are there, first come first; ``receiving`` is the one whose
    body is not; ``refusal`` is what to answer behind them, and then nothing more is read."""

    def __init__(self, connection: "ServerConnection", limits: Limits) -> None:
        self.requests: deque[Request] = deque()
        self.receiving: Request | None = None
        self.refusal: Refused | None = None
        self.begun = False
        """A head has begun and not ended."""
        self.pieces = 0
        """In which the last long arrival brought its bodies."""
        self._connection = connection
        self._limits = limits
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._last: Request | None = None
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._raw = 0  # bytes of a head that came in earlier pieces
        self._feeding = 0
        self._overhead = 0
        self._completed = False

    def close(self) -> None:
        """Nothing more is read."""
        self._parser = None  # it refers back here: without it all of this is freed at once
        self.requests.clear()
        self.receiving = self._last = None
        del self._connection

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Read on."""
        rest = self._feed(data)
        while rest is not None:  # it wants another protocol: read its head once more, without that
            self._feed(self._without_upgrade())
            rest = self._feed(rest) if self.refusal is None and len(rest) else None

    def feed_on(self, data: bytes | bytearray, *, busy: bool) -> memoryview:
        """Read on, but not far beyond one request: parsed, small ones take many times their bytes. What is left.

        ``busy`` is whether one is handled, so that nothing is to be read behind its end.
        """
        self.pieces = 0
        left = memoryview(data)
        while left and self.refusal is None and self._parser is not None:
            receiving = self.receiving
            if receiving is None:
                if busy or self.requests:
                    break
                size = _STRIDE
            elif receiving.length is None:
                size = _CHUNKS_STRIDE
            else:
                size = receiving.length - receiving.received
            self.feed(left[:size])
            left = left[size:]
        return left

    def _feed(self, data: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview | None:
        """Read on, up to the end of a head that wishes for another protocol; then, what is behind it."""
        if self._parser is None:
            return None
        self._completed = False
        self._feeding = len(data)
        receiving = self.receiving
        before = receiving.received if receiving is not None else 0
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except HttpParserCallbackError:
            if self.refusal is None:
                raise
        except HttpParserError as error:
            if self.receiving is None and self._last is not None and not self._last.keep_alive:
                self.close_behind_last()
            else:
                self.refusal = Refused(400, f"not an HTTP request: {error}")
        else:
            self._measure(len(data), before if receiving is self.receiving else 0)
        return None

    def close_behind_last(self) -> None:
        """What comes behind a request that was said to be the last one is nobody's."""
        self._parser = None

    def _measure(self, size: int, before: int) -> None:
        """Hold what belongs to no body against its limits: heads that do not end, chunks of next to nothing."""
        most = self._limits.most_head
        receiving = self.receiving
        if receiving is not None:
            self._overhead += size - (receiving.received - before)
            if self._overhead > most + 8 * receiving.received + _ONE_READ:
                self.refusal = Refused(400, "the body is mostly framing")
        elif not self._completed:
            self._raw += size
            self.begun = True  # empty lines before it belong to it: who sends nothing else has no more time
            if self._raw > most:
                self.refusal = _too_long(url=len(self._url) > most // 2)

    def _without_upgrade(self) -> bytes:
        """The head that was read last, for a new parser (this one stops here), to go on without the other protocol as a
        server may."""
        fields = []
        for name, value in self._fields:
            if KIND_OF[name] is Kind.CONNECTION:
                tokens = [token for token in value.split(b",") if token.strip().lower() not in _UPGRADE]
                fields.append((name, b",".join(tokens).strip()))
            elif name.lower() not in _UPGRADE:
                fields.append((name, value))
        parser = self._parser
        if parser is None:
            return b""
        head = b"%b %b HTTP/%b\r\n" % (parser.get_method(), self._url, parser.get_http_version().encode())
        self._parser = HttpRequestParser(self)
        return head + b"".join(b"%b: %b\r\n" % pair for pair in fields) + b"\r\n"

    # --- for llhttp ---

    def on_message_begin(self) -> None:
        self.begun = True
        self._url = b""
        self._fields = []
        self._raw = 0
        self._overhead = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value.rstrip(b" \t")))  # the parser leaves what is behind it

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None:
            return
        method = parser.get_method()
        if parser.should_upgrade() and method != b"CONNECT":
            return
        self.begun = False
        fields, self._fields = self._fields, []  # trailers are dropped: their size is among the framing's
        request = Request(self._connection, method, self._url, fields)
        version = parser.get_http_version()
        request.old = version == "1.0"
        request.keep_alive = parser.should_keep_alive()
        try:
            self._hold_to_limits(fields)
            _frame(request, fields, version)
            if self._url[:1] != b"/" or b"#" in self._url:
                request.target = _on_this_server(request)
        except Refused as refused:
            self.refusal = refused
            raise
        self.receiving = self._last = request
        self.requests.append(request)

    def on_body(self, body: bytes) -> None:
        if self.receiving is not None:
            self.pieces += 1
            self.receiving.add(body)

    def on_message_complete(self) -> None:
        if self.receiving is not None:
            self.receiving.complete = True
            self.receiving.wake()
            self.receiving = None
            self._completed = True

    def _hold_to_limits(self, fields: list[tuple[bytes, bytes]]) -> None:
        most = self._limits.most_head
        if len(self._url) > most:
            raise _too_long(url=True)
        if len(fields) > self._limits.most_fields:
            raise _too_long(url=False)
        if self._raw + self._feeding > most and sum(len(name) + len(value) for name, value in fields) > most:
            raise _too_long(url=False)


def _frame(request: Request, fields: list[tuple[bytes, bytes]], version: str) -> None:
    """Read from the request's fields where the body ends and what else the connection must know. Its length, once
    read, is none of them any more.

    Raises:
        Refused: they can be read in more than one way, or ask for what is not spoken here.
    """
    if version not in _VERSIONS:
        raise Refused(505, f"HTTP/{version} is not spoken here")
    if request.method == b"CONNECT":
        raise Refused(501, "CONNECT is not spoken here")
    hosts = 0
    for pair in tuple(fields):
        name, value = pair
        kind = KIND_OF[name]
        if not kind:
            continue
        if kind is Kind.HOST:
            hosts += 1
            if not _HOST.fullmatch(value):
                raise Refused(400, "Host is not a host")
        elif kind is Kind.LENGTH:
            request.length = int(value)
            fields.remove(pair)
        elif kind is Kind.TRANSFER:
            if request.old:
                raise Refused(400, "Transfer-Encoding in HTTP/1.0")
            if value.lower() != b"chunked":
                raise Refused(501, "a Transfer-Encoding other than chunked is not spoken here")
            request.length = None
        elif kind is Kind.EXPECT and not request.old:
            if value.lower() != b"100-continue":
                raise Refused(417, "nothing but 100-continue can be expected here")
            request.expects = True
    if hosts != 1 and not (request.old and hosts == 0):
        raise Refused(400, f"{hosts} Host fields: wanted exactly one")


def _on_this_server(request: Request) -> bytes:
    """A target that is no plain path, as one. Source: RFC 9112 3.2.2 (absolute form), 3.2.4 (asterisk).

    Raises:
        Refused: it is none, or names another host than Host does.
    """
    target = request.target
    if target == b"*" and request.method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or b"#" in target:
        raise Refused(400, "the target is not a path")
    if absolute[1].lower() != (request.field(b"host") or b"").lower():
        raise Refused(400, "the target and Host name two hosts")
    return absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]


def _too_long(*, url: bool) -> Refused:
    return Refused(414, "the target is too long") if url else Refused(431, "the fields are too many or too long")
