"""The string formats that a custom resource's schema can ask for. Unknown formats are ignored, as Kubernetes does.

Source: apiextensions-apiserver pkg/apiserver/validation/formats.go; go-openapi strfmt.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from urllib.parse import urlsplit

from tensorfusion.embedded.schema.scalars import Mismatch, base64_bytes, is_time

Format = Callable[[str], bool]

_DURATION = re.compile(r"[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+|[-+]?0", re.ASCII).fullmatch
_SPELLED = re.compile(r"(?<![0-9])[0-9]+\s*([A-Za-zµ]+)").findall  # a number is looked at once, not from each digit
_UNIT = re.compile(
    r"ns|nano.*|us|µs|micro.*|ms|milli.*|s|sec.*|m|min.*|h|hr|hour.*|d|day.*|w|wk|week.*", re.IGNORECASE
).fullmatch
_UUID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}").fullmatch
_HEX = "[0-9a-fA-F]"
_MAC = re.compile(
    rf"{_HEX}{{2}}(([:-]){_HEX}{{2}}(\2{_HEX}{{2}}){{4}}((\2{_HEX}{{2}}){{2}}|(\2{_HEX}{{2}}){{14}})?)"
    rf"|{_HEX}{{4}}(\.{_HEX}{{4}}){{2}}(\.{_HEX}{{4}}|(\.{_HEX}{{4}}){{7}})?|{_HEX}{{12}}|{_HEX}{{16}}|{_HEX}{{40}}"
).fullmatch
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_ADDRESS = rf"({_ATOM}(\.{_ATOM})*|\"([^\"\\]|\\.)*\")@({_ATOM}(\.{_ATOM})*|\[[^\[\]]*\])"
_EMAIL = re.compile(rf"{_ADDRESS}|([^<>@,;:()\"]*|\"([^\"\\]|\\.)*\"\s*)<{_ADDRESS}>").fullmatch
_MONGO = re.compile(r"[0-9a-f]{24}").fullmatch
_COLOR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})").fullmatch


_UUIDS = {
    f"uuid{version}": re.compile(
        rf"[0-9a-fA-F]{{8}}-?[0-9a-fA-F]{{4}}-?{version}[0-9a-fA-F]{{3}}-?{variant}[0-9a-fA-F]{{3}}-?[0-9a-fA-F]{{12}}"
    ).fullmatch
    for version, variant in ((3, "[0-9a-fA-F]"), (4, "[89abAB]"), (5, "[89abAB]"))
}
_SOCIAL_SECURITY = re.compile(r"[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}").fullmatch
_CIDR = re.compile(r".*/[0-9]+").fullmatch
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})|[\x00-\x1f\x7f]").search
_LONGEST_LABEL = 64
_BYTE = r"\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*"
_RGB = re.compile(rf"rgb\({_BYTE},{_BYTE},{_BYTE}\)").fullmatch
_CARD = re.compile(
    r"4[0-9]{12}([0-9]{3})?|5[1-5][0-9]{14}|(222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|6(011|5[0-9]{2})[0-9]{12}|3[47][0-9]{13}|3(0[0-5]|[68][0-9])[0-9]{11}|(2131|1800|35[0-9]{3})[0-9]{11}"
    r"|6[27][0-9]{14}"
).fullmatch
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
UNCHECKED = frozenset({"password"})
"""Formats that say something and ask for nothing."""


def _matches(pattern: Callable[[str], object]) -> Format:
    return lambda text: pattern(text) is not None


def _card(text: str) -> bool:
    """A credit card number: its issuer's length, and the check digit of Luhn."""
    digits = re.sub("[^0-9]", "", text)
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    return _CARD(digits) is not None and sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if re.fullmatch("[0-9]{9}[0-9X]", digits) is None:
        return False
    values = [10 if digit == "X" else int(digit) for digit in digits]
    return sum(weight * value for weight, value in enumerate(values, 1)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if re.fullmatch("[0-9]{13}", digits) is None:
        return False
    return sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits)) % 10 == 0


def _date(text: str) -> bool:
    try:
        return _DATE(text) is not None and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _parses(parse: Callable[[str], object]) -> Format:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, Mismatch):
            return False
        return True

    return check


def _uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    broken = _BROKEN_ESCAPE(text) or " " in parts.netloc
    return not broken and (bool(parts.scheme) or text.startswith("/"))


def _of_word(letter: str) -> bool:
    return (letter.isascii() and letter.isalnum()) or unicodedata.category(letter)[0] in "LS"


def _hostname(text: str) -> bool:
    """One label with at most one hyphen, its second letter, or labels before a domain of letters."""
    *labels, last = text.split(".")
    if any(not 0 < len(label.encode()) < _LONGEST_LABEL for label in (*labels, last)):
        return False
    if not labels:
        return _of_word(last[0]) and all(map(_of_word, last[1:].removeprefix("-")))
    if len(last) < 2 or not all(unicodedata.category(letter)[0] == "L" for letter in last):
        return False
    return all(
        _of_word(label[0]) and _of_word(label[-1]) and all(letter == "-" or _of_word(letter) for letter in label)
        for label in labels
    )


def _duration(text: str) -> bool:
    """As Go writes them, or numbers with units that are spelled out."""
    return _DURATION(text) is not None or any(_UNIT(unit) for unit in _SPELLED(text))


def _ipv4(text: str) -> bool:
    """Also inside an IPv6 address, and with leading zeros."""
    *before, last = text.rpartition(":")
    plain = ".".join(part.lstrip("0") or part[-1:] for part in last.split("."))
    return "." in text and _parses(ipaddress.ip_address)("".join((*before, plain)))


FORMATS: Mapping[str, Format] = {
    "date-time": lambda text: is_time(text.upper()),
    "datetime": lambda text: is_time(text.upper()),
    "date": _date,
    "duration": _duration,
    "byte": lambda text: bool(text) and _parses(base64_bytes)(text),
    "ipv4": _ipv4,
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": lambda text: _CIDR(text) is not None and _parses(lambda value: ipaddress.ip_network(value, False))(text),
    "mac": lambda text: _MAC(text) is not None,
    "uuid": lambda text: _UUID(text) is not None,
    **{name: _matches(pattern) for name, pattern in _UUIDS.items()},
    "uri": _uri,
    "hostname": _hostname,
    "email": lambda text: _EMAIL(text.strip(" \t")) is not None,
    "bsonobjectid": lambda text: _MONGO(text) is not None,
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _card,
    "ssn": lambda text: _SOCIAL_SECURITY(text) is not None,
    "rgbcolor": lambda text: _RGB(text) is not None,
    "hexcolor": lambda text: _COLOR(text) is not None,
}
