"""How URLs are written and read, with the error texts an API server gives.

What a server accepts as a URL is what its language's parser accepts, which differs from RFC 3986 in many small things;
Python's parser refuses next to nothing.

Source: net/url of Go; RFC 3986.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.library.address_syntax import parse_address
from tensorfusion.cel.texts import quoted

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)?:")
_ESCAPE = re.compile(rb"%[0-9a-fA-F]{2}")
_PORT = re.compile(r"(:[0-9]*)?")
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~"
_PERCENT = b"%25"


class Part(StrEnum):
    """The parts of a URL, which differ in what is written with a percent sign."""

    PATH = "path"
    HOST = "host"
    ZONE = "zone"
    USER = "user"
    QUERY = "query"
    FRAGMENT = "fragment"


_KEPT = {
    Part.PATH: _PLAIN + b"$&+,/:;=@",
    Part.HOST: _PLAIN + b"!$&'()*+,;=:[]<>\"",
    Part.ZONE: _PLAIN + b"!$&'()*+,;=:[]<>\"",
    Part.USER: _PLAIN + b"$&+,;=",
    Part.QUERY: _PLAIN,
    Part.FRAGMENT: _PLAIN + b"$&+,/:;=?@!()*",
}
# What may stand in a path or a fragment as it was written.
_AS_WRITTEN = b"!$&'()*+,;=:@[]%"


@dataclass(frozen=True, slots=True)
class Parts:
    """A URL in parts. ``path`` and ``fragment`` are as they are written, the host is plain.

    ``opaque`` is what follows the scheme where that is not a path; ``bare`` says that a scheme is followed by a single
    slash.
    """

    scheme: str = ""
    opaque: str = ""
    user: str | None = None
    host: str = ""
    path: str = ""
    query: str | None = None
    fragment: str = ""
    bare: bool = False

    def __str__(self) -> str:
        text = f"{self.scheme}:" if self.scheme else ""
        if self.opaque:
            text += self.opaque
        else:
            if (self.scheme or self.host or self.user is not None) and not self.bare:
                text += "//" if self.host or self.path or self.user is not None else ""
                text += f"{self.user}@" if self.user is not None else ""
                text += escaped(self.host.encode(), Part.HOST)
            text += self.path
        if self.query is not None:
            text += f"?{self.query}"
        return f"{text}#{self.fragment}" if self.fragment else text


def parse_url(text: str) -> Parts:
    """An absolute URL or path, with a fragment.

    Raises:
        EvaluationError: it is none.
    """
    check_url(text)
    address, _, fragment = text.partition("#")
    parts = _parse(address, with_host=True)
    if not fragment:
        return parts
    try:
        kept = _rewritten(fragment, Part.FRAGMENT)
    except EvaluationError as error:
        raise _problem(text, error) from None
    return replace(parts, fragment=kept)


def check_url(text: str) -> None:
    """Raises: EvaluationError for what is no absolute URL or path. A fragment counts as part of what it follows."""
    _parse(text, with_host=False)


def _problem(text: str, error: EvaluationError | str) -> EvaluationError:
    return EvaluationError(f"parse {quoted(text)}: {error}")


def _parse(text: str, *, with_host: bool) -> Parts:
    try:
        return _split(text, with_host=with_host)
    except EvaluationError as error:
        raise _problem(text, error) from None


def _split(text: str, *, with_host: bool) -> Parts:
    """``with_host``: ``//host/path`` without a scheme names a host."""
    if _CONTROL.search(text):
        raise EvaluationError("net/url: invalid control character in URL")
    if not text:
        raise EvaluationError("empty url")
    if text == "*":
        return Parts(path="*")
    match = _SCHEME.match(text)
    if match and not match[1]:
        raise EvaluationError("missing protocol scheme")
    scheme = match[1].lower() if match else ""
    rest, mark, query = text[match.end() if match else 0 :].partition("?")
    found_query = query if mark else None
    if not rest.startswith("/"):
        if scheme:
            return Parts(scheme, opaque=rest, query=found_query)
        raise EvaluationError("invalid URI for request")
    user, host = None, ""
    bare = bool(scheme) and not rest.startswith("//")
    if rest.startswith("//") and (scheme or (with_host and not rest.startswith("///"))):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, host = _authority(authority)
    return Parts(scheme, "", user, host, _rewritten(rest, Part.PATH), found_query, "", bare)


def _authority(text: str) -> tuple[str | None, str]:
    """The user, as it is written in a URL, and the host with its port."""
    user, at, host = text.rpartition("@")
    found = _host(host)
    if not at:
        return None, found
    if not _USER.fullmatch(user):
        raise EvaluationError("net/url: invalid userinfo")
    name, colon, password = user.partition(":")
    name, password = (escaped(unescaped(part, Part.USER), Part.USER) for part in (name, password))
    return name + colon + password, found


def _host(text: str) -> str:
    opening = text.rfind("[")
    if opening > 0:
        raise EvaluationError("invalid IP-literal")
    if opening < 0:
        colon = text.rfind(":")
        if colon >= 0:
            _check_port(text[colon:])
        return _decoded(unescaped(text, Part.HOST))
    closing = text.rfind("]")
    if closing < 0:
        raise EvaluationError("missing ']' in host")
    port = text[closing + 1 :]
    _check_port(port)
    name = text[1:closing]
    zone = name.find("%25")
    zone = len(name) if zone < 0 else zone
    host = _decoded(unescaped(name[:zone], Part.HOST) + unescaped(name[zone:], Part.ZONE))
    try:
        _, width, _ = parse_address(host)
    except EvaluationError as error:
        raise EvaluationError(f"invalid host: {error}") from None
    if width == 32:
        raise EvaluationError("invalid IP-literal")
    return f"[{host}]{port}"


def _check_port(text: str) -> None:
    if not _PORT.fullmatch(text):
        raise EvaluationError(f"invalid port {quoted(text)} after host")


def split_port(host: str) -> tuple[str, str]:
    """Host and port of ``host:port``, without the brackets of an IPv6 address."""
    colon = host.rfind(":")
    name, port = (host[:colon], host[colon + 1 :]) if colon >= 0 and _PORT.fullmatch(host[colon:]) else (host, "")
    return (name[1:-1] if name.startswith("[") and name.endswith("]") else name), port


def parse_query(query: str) -> dict[str, list[str]]:
    """The values of each name in a query; what cannot be read is left out."""
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        if not pair or ";" in pair:
            continue
        name, _, value = pair.partition("=")
        try:
            key = _decoded(unescaped(name, Part.QUERY))
            found.setdefault(key, []).append(_decoded(unescaped(value, Part.QUERY)))
        except EvaluationError:
            continue
    return {name: values for name, values in found.items() if values}


def _rewritten(text: str, part: Part) -> str:
    """As it was written where it may be, else written anew."""
    plain = unescaped(text, part)
    written = text.encode("utf-8", "surrogatepass")
    if all(byte in _KEPT[part] or byte in _AS_WRITTEN for byte in written):
        return text
    return escaped(plain, part)


def unescaped(text: str, part: Part) -> bytes:
    """The bytes that a part of a URL stands for.

    Raises:
        EvaluationError: a percent sign is followed by something else than two digits, or a host has a character of no
            host.
    """
    source = text.encode("utf-8", "surrogatepass")
    found = bytearray()
    at = 0
    while at < len(source):
        byte = source[at]
        if byte == ord("%"):
            escape = source[at : at + 3]
            if not _ESCAPE.fullmatch(escape) or not _may_be_escaped(escape, part):
                raise EvaluationError(f"invalid URL escape {quoted(_decoded(escape))}")
            found.append(int(escape[1:], 16))
            at += 3
            continue
        if part in (Part.HOST, Part.ZONE) and byte < 0x80 and byte not in _KEPT[part]:
            raise EvaluationError(f"invalid character {quoted(chr(byte))} in host name")
        found.append(ord(" ") if byte == ord("+") and part is Part.QUERY else byte)
        at += 1
    return bytes(found)


def _may_be_escaped(escape: bytes, part: Part) -> bool:
    """In hosts only what is not ASCII, and the percent sign; in zones what may also stand there plainly, and spaces."""
    value = int(escape[1:], 16)
    if part is Part.HOST:
        return value >= 0x80 or escape == _PERCENT
    return part is not Part.ZONE or escape == _PERCENT or value == ord(" ") or value in _KEPT[Part.HOST]


def escaped(source: bytes, part: Part) -> str:
    """Bytes as they are written in a part of a URL."""
    return "".join(chr(byte) if byte in _KEPT[part] else f"%{byte:02X}" for byte in source)


def _decoded(source: bytes) -> str:
    return source.decode("utf-8", "replace")
