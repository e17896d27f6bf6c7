"""How addresses of the internet are written, with the error texts that name what is wrong where.

Stricter and more talkative than ``ipaddress``, whose errors do not say what an API server says.

Source: net/netip of Go; RFC 4291, section 2.2.
"""

import re

from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.texts import quoted

_HEXADECIMAL = re.compile(r"[0-9a-fA-F]*")
_GROUPS = 8
_IPV4, _IPV6 = 32, 128


def parse_address(text: str) -> tuple[int, int, str]:
    """The number, its width in bits (32 or 128) and the zone of an address.

    Raises:
        EvaluationError: it is none.
    """
    first = re.search("[.:%]", text)
    if first is None:
        raise _problem(text, "unable to parse IP")
    if first[0] == ".":
        return _ipv4(text, text), _IPV4, ""
    if first[0] == "%":
        raise _problem(text, "missing IPv6 address")
    body, sign, zone = text.partition("%")
    if sign and not zone:
        raise _problem(text, "zone must be a non-empty string")
    return _ipv6(text, body), _IPV6, zone


def parse_network(text: str) -> tuple[int, int, int]:
    """The number, its width in bits and the length of the prefix of ``10.0.0.0/8``.

    Raises:
        EvaluationError: it is not written so.
    """
    problem = f"netip.ParsePrefix({quoted(text)}): "
    address, slash, length = text.rpartition("/")
    if not slash:
        raise EvaluationError(problem + "no '/'")
    try:
        number, width, zone = parse_address(address)
    except EvaluationError as error:
        raise EvaluationError(f"{problem}{error}") from None
    if zone:
        raise EvaluationError(problem + "IPv6 zones cannot be present in a prefix")
    if not re.fullmatch("0|[1-9][0-9]*", length) or len(length) > 18:
        raise EvaluationError(f"{problem}bad bits after slash: {quoted(length)}")
    if int(length) > width:
        raise EvaluationError(problem + "prefix length out of range")
    return number, width, int(length)


def _problem(text: str, message: str, at: str = "") -> EvaluationError:
    place = f" (at {quoted(at)})" if at else ""
    return EvaluationError(f"ParseAddr({quoted(text)}): {message}{place}")


def _ipv4(text: str, part: str) -> int:
    """Four numbers with dots between, as all of ``text`` or at its end."""
    fields: list[int] = []
    digits = ""
    for at, letter in enumerate(part):
        if letter in "0123456789":
            if digits == "0":
                raise _problem(text, "IPv4 field has octet with leading zero")
            digits += letter
            if int(digits) > 255:
                raise _problem(text, "IPv4 field has value >255")
        elif letter == ".":
            if not digits or at == len(part) - 1:
                raise _problem(text, "IPv4 field must have at least one digit", part[at:])
            if len(fields) == 3:
                raise _problem(text, "IPv4 address too long")
            fields.append(int(digits))
            digits = ""
        else:
            raise _problem(text, "unexpected character", part[at:])
    if len(fields) < 3:
        raise _problem(text, "IPv4 address too short")
    return int.from_bytes(bytes([*fields, int(digits)]))


def _ipv6(text: str, rest: str) -> int:
    """Up to eight groups with colons between; ``::`` stands for all that are missing."""
    groups: list[int] = []
    gap = -1
    if rest.startswith("::"):
        gap, rest = 0, rest[2:]
    while rest and len(groups) < _GROUPS:
        digits = _HEXADECIMAL.match(rest).group()  # type: ignore[union-attr]  # it matches nothing, too
        if len(digits) > 4:
            raise _problem(text, "each group must have 4 or less digits", rest)
        if not digits:
            raise _problem(text, "each colon-separated field must have at least one digit", rest)
        if rest[len(digits) : len(digits) + 1] == ".":
            groups += divmod(_embedded(text, rest, len(groups), gap), 1 << 16)
            rest = ""
            break
        groups.append(int(digits, 16))
        rest = rest[len(digits) :]
        if rest:
            rest, found = _after_group(text, rest, gap)
            gap = len(groups) if found else gap
    if not groups and gap < 0:
        raise _problem(text, "each colon-separated field must have at least one digit")
    if rest:
        raise _problem(text, "trailing garbage after address", rest)
    return _number(text, groups, gap)


def _embedded(text: str, rest: str, known: int, gap: int) -> int:
    """The IPv4 address at the end of an IPv6 one."""
    if gap < 0 and known != _GROUPS - 2:
        raise _problem(text, "embedded IPv4 address must replace the final 2 fields of the address", rest)
    if known > _GROUPS - 2:
        raise _problem(text, "too many hex fields to fit an embedded IPv4 at the end of the address", rest)
    return _ipv4(text, rest)


def _after_group(text: str, rest: str, gap: int) -> tuple[str, bool]:
    """What follows a group and its colon, and whether ``::`` stood there."""
    if rest[0] != ":":
        raise _problem(text, "unexpected character, want colon", rest)
    if rest == ":":
        raise _problem(text, "colon must be followed by more characters", rest)
    if rest[1] != ":":
        return rest[1:], False
    if gap >= 0:
        raise _problem(text, "multiple :: in address", rest[1:])
    return rest[2:], True


def _number(text: str, groups: list[int], gap: int) -> int:
    missing = _GROUPS - len(groups)
    if missing and gap < 0:
        raise _problem(text, "address string too short")
    if not missing and gap >= 0:
        raise _problem(text, "the :: must expand to at least one field of zeros")
    if missing:
        groups = [*groups[:gap], *[0] * missing, *groups[gap:]]
    return sum(group << 16 * (_GROUPS - 1 - place) for place, group in enumerate(groups))
