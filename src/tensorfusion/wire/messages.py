"""What goes over a connection: where it leads, the bytes of a request, an answer.

Apart from the connection because these are plain values: how a request is spelled can be stated in tests without one.

Source: RFC 9112 (HTTP/1.1 messages), RFC 9110 (fields).
"""

import dataclasses
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from tensorfusion.wire.fields import Fields, Kind, lines

CHUNKED: Final = -1
"""The length of a body that is sent in chunks."""

_LONGEST_KNOWN: Final = 128
_UNIX = "unix://"
_PORTS = {"http": 80, "https": 443}
_OTHERWISE_FRAMED = ("HEAD", "CONNECT")
_PLAIN_TARGET = re.compile(r"[!-~]+")
_TARGET_SAFE = "!#$%&'()*+,/:;=?@[]~"
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """A server: ``host`` and ``port``, or the Unix socket ``path``. ``tls`` None is plain text.

    ``server_name`` is whose certificate is wanted where that is not the host's; ``authority`` is what Host says.
    """

    host: str = "localhost"
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    authority: str = "localhost"
    prefix: str = ""
    """Goes before every target: the path of a server that is reached behind another."""

    raw_prefix: bytes = dataclasses.field(init=False, repr=False)
    raw_authority: bytes = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        for part in (self.prefix, self.authority):
            if " " in part or not part.isprintable():
                raise ValueError(f"{part!r} cannot be sent as a part of a request")
        object.__setattr__(self, "raw_prefix", self.prefix.encode("ascii"))
        object.__setattr__(self, "raw_authority", self.authority.encode("ascii"))

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


def origin_of(url: str, *, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> Origin:
    """The server of a URL (``http``, ``https``), or of ``unix://PATH``. ``tls`` is how an ``https`` one is trusted.

    Raises:
        ValueError: no such URL, or no context for an ``https`` one.
    """
    if url.startswith(_UNIX):
        return Origin(path=url.removeprefix(_UNIX))
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url}: wanted http://HOST[:PORT], https://HOST[:PORT] or unix://PATH")
    if parts.scheme == "https" and tls is None:
        raise ValueError(f"{url}: https without a TLS context")
    return Origin(
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        tls=tls if parts.scheme == "https" else None,
        server_name=server_name,
        authority=parts.netloc.rpartition("@")[2],
        prefix=parts.path.rstrip("/"),
    )


def head_of(method: str, target: str, origin: Origin, fields: Mapping[str, str], *, length: int | None) -> bytes:
    """Request line and fields, up to and with the empty line. ``length`` None is a request without a body.

    Raises:
        ValueError: a method whose answers are framed otherwise, or a field that cannot go on the wire.
    """
    if method in _OTHERWISE_FRAMED:
        raise ValueError(f"{method} is not spoken here")
    if not _PLAIN_TARGET.fullmatch(target):
        target = quote(target, safe=_TARGET_SAFE)
    lines = [f"{method} {origin.prefix}{target} HTTP/1.1\r\nHost: {origin.authority}"]
    for name, value in fields.items():
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise ValueError(f"field {name!r} holds what cannot be sent in a header")
        lines.append(f"{name}: {value}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


def request_head(
    method: bytes, target: bytes, origin: Origin, fields: Fields, *, length: int | None, ready: bytes = b""
) -> bytes:
    """The head of a request that is passed on: ``target`` and ``fields`` as they came, ``Host`` of the origin.

    ``length`` None is a request without a body, ``CHUNKED`` one whose length nobody knows yet. ``ready`` are further
    fields, as ``field_lines`` makes them.

    Raises:
        ValueError: a method, a target or a field that cannot go on the wire, or is the connection's own.
    """
    start_of = _known_start if len(target) <= _LONGEST_KNOWN else _start_of
    start = start_of(method, target, origin.raw_prefix, origin.raw_authority)
    if length is None:
        own = ready + b"\r\n"
    elif length == CHUNKED:
        own = ready + b"Transfer-Encoding: chunked\r\n\r\n"
    else:
        own = b"%bContent-Length: %d\r\n\r\n" % (ready, length)
    if not fields:
        return b"%b\r\n%b" % (start, own)  # every part of it was looked at before
    return lines(start, fields, own, count=2, without=Kind.HOST)


def _start_of(method: bytes, target: bytes, prefix: bytes, authority: bytes) -> bytes:
    """The request line and ``Host``, without the last line end.

    Raises:
        ValueError: as ``request_head``.
    """
    if method not in _METHODS and (method == b"CONNECT" or not _TOKEN.fullmatch(method)):
        raise ValueError(f"method {method!r} is not spoken here")
    if target[:1] != b"/" and (target, method) != (b"*", b"OPTIONS"):
        raise ValueError(f"target {target!r} cannot be sent: wanted /PATH")
    if b" " in target or not target.isascii() or not target.decode("ascii").isprintable():
        raise ValueError(f"target {target!r} cannot be sent")
    return b"%b %b%b HTTP/1.1\r\nHost: %b" % (method, prefix, target, authority)


_known_start: Final = lru_cache(maxsize=1024)(_start_of)
"""Nearly all requests begin with one of a few; long targets, which hardly come twice, are not kept."""


def field(fields: Fields, name: bytes) -> str | None:
    """The first value of a field; ``name`` in lower case."""
    for found, value in fields:
        if len(found) == len(name) and found.lower() == name:
            return value.decode("latin-1")
    return None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A whole answer. ``fields`` as they came, repeated ones apart."""

    status: int
    fields: Fields
    body: bytes

    def field(self, name: bytes) -> str | None:
        """The first value of a field; ``name`` in lower case."""
        return field(self.fields, name)
