"""Requests out of bytes, and the refusal of what could be read in two ways: a front end and this end must never differ
about where a request ends.

Apart from the connection because it knows no socket and no task: what it makes of bytes is the same however they are
cut. llhttp reads them, strictly; what it takes and a front end might take otherwise is refused here. A head that is
byte for byte the one before is not read again (``wire.repeated``).

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
from tensorfusion.wire.repeated import RepeatedHead, repeated_head
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
        self._last_fields: list[tuple[bytes, bytes]] = []
        self._again = False  # the last request has the fields of the one before
        self._head: RepeatedHead | None = None  # of the last request that llhttp read, if it can be known again
        self._counted: Request | None = None  # whose head was known, and whose body is not whole
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._raw = 0  # bytes of a head that came in earlier pieces
        self._feeding = 0
        self._overhead = 0
        self._completed = False

    def close(self) -> None:
        """Nothing more is read."""
        self.drop_body()  # llhttp's parser refers back here: without it all of this is freed at once
        self.requests.clear()
        self._last = None
        del self._connection

    def feed(self, data: bytes | bytearray) -> None:
        """Read on."""
        between = self.receiving is None and not self.begun
        if between and self._head is not None and self._know_again(self._head, data):
            return
        self._read(data)
        if between and self._again:
            self._remember(data)

    def feed_on(self, data: bytes | bytearray, *, busy: bool) -> memoryview:
        """Read on, but not far beyond one request: parsed, small ones take many times their bytes. What is left.

        ``busy`` is whether one is handled, so that nothing is to be read behind its end.
        """
        self.pieces = 0
        between = self.receiving is None and not self.begun and not self.requests and not busy
        if between and self._head is not None and self._know_again(self._head, data):
            return memoryview(b"")
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
            self._read(left[:size])
            left = left[size:]
        if between and self._again and not left:
            self._remember(data)
        return left

    def drop_body(self) -> None:
        """What is received will never be whole, and nothing that still comes is a request."""
        self.receiving = self._head = self._counted = self._parser = None

    def _know_again(self, head: RepeatedHead, data: bytes | bytearray) -> bool:
        """Take what comes between two requests, if it has this head and nothing behind its body."""
        found = head.find(data)
        if found is None or self.refusal is not None or self._parser is None:
            return False
        start, length = found
        if len(data) - start > length:
            return False
        request = Request(self._connection, head.method, head.target, head.fields)
        request.length = length
        self.receiving = self._last = self._counted = request
        self.requests.append(request)
        if start < len(data):
            self._count(request, data[start:])
        return True

    def _remember(self, data: bytes | bytearray) -> None:
        """Keep the head of what has just been read, if it is one that can be known again."""
        if self._last is not None and self.refusal is None:
            self._head = repeated_head(data, self._last, most=self._limits.most_head)

    def _count(self, request: Request, data: bytes | bytearray | memoryview) -> int:
        """Take what belongs to the body of this request, whose head was known; so many bytes."""
        missing = (request.length or 0) - request.received
        piece = bytes(data[:missing])
        self.on_body(piece)
        if len(piece) == missing:
            self._counted = None
            self.on_message_complete()
        return len(piece)

    def _read(self, data: bytes | bytearray | memoryview) -> None:
        counted = 0
        if self._counted is not None:
            counted = self._count(self._counted, data)
            if counted == len(data):
                return
            data = data[counted:]
        rest = self._feed(data, counted)
        while rest is not None:  # it wants another protocol: read its head once more, without that
            self._feed(self._without_upgrade())
            rest = self._feed(rest) if self.refusal is None and len(rest) else None

    def _feed(self, data: bytes | bytearray | memoryview, counted: int = 0) -> bytes | bytearray | memoryview | None:
        """Read on, up to the end of a head that wishes for another protocol; then, what is behind it.

        ``counted`` bytes came in front of it in the same arrival, and were the end of a body.
        """
        if self._parser is None:
            return None
        self._completed = counted > 0
        self._feeding = counted + len(data)
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
            self._measure(counted + len(data), before if receiving is self.receiving else 0)
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
        self._again = False
        self._head = None
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
        self._again = fields == self._last_fields
        if self._again:
            request.fields = self._last_fields  # whoever keeps them sees at once that they are the same
        else:
            self._last_fields = fields
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
