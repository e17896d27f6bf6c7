"""Decode the leaves of built-in objects the way Go's types do: what they take, what they make of it, what they say.

A decoder gets a value that is not null and not of the plain type its field expects, or one that needs a closer look; it
returns the value to keep. Errors are ``Mismatch``: the caller knows the field and puts it into words.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from tensorfusion.errors import InvalidQuantity
from tensorfusion.units import parse_quantity

Scalar = Callable[[Any], Any]  # Any: JSON

INT_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
LONGEST_QUANTITY = 64
_NANOS = 1_000_000_000
_QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")
_DECIMAL = ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"), (0, ""), (-3, "m"), (-6, "u"), (-9, "n"))
_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII).fullmatch
_MICRO = re.compile(r".{19}\.\d{6}(Z|[+-]\d{2}:\d{2})", re.ASCII).fullmatch
_WHOLE_TIME = len("2006-01-02T15:04:05Z")
_GO_LAYOUT = "2006-01-02T15:04:05Z07:00"


_WHOLE = 1 << 63


def whole(value: float) -> int | float:
    """A number as it is written: below 64 bits as a whole one if it is whole, however it came."""
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


class Mismatch(Exception):
    """The value cannot be decoded. ``found`` is JSON's word for it; with ``text`` the whole message is given."""

    def __init__(self, found: str = "", *, text: str = "") -> None:
        super().__init__(text or found)
        self.found = found
        self.text = text


def json_word(value: object) -> str:
    """What Go's decoder calls a JSON value: numbers are quoted by integer fields."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def text(value: Any) -> Any:  # Any: JSON
    if type(value) is str:
        return value
    raise Mismatch(json_word(value))


def truth(value: Any) -> Any:  # Any: JSON
    if type(value) is bool:
        return value
    raise Mismatch(json_word(value))


def integer(format: str) -> Scalar:
    """An integer of 32 or 64 bits; ``1.0`` is no integer, as in Go."""
    low, high = INT_RANGES.get(format, INT_RANGES["int64"])

    def decode(value: Any) -> Any:
        if type(value) is not int:
            raise Mismatch(f"number {value!r}" if type(value) is float else json_word(value))
        if not low <= value <= high:
            raise Mismatch(f"number {value}")
        return value

    return decode


def cut_integer(format: str) -> Scalar:
    """As ``integer``, but of one of 64 bits the lower 32 are taken where there is no room for more."""
    whole = integer("int64")

    def decode(value: Any) -> Any:
        return ((whole(value) + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)

    return decode if format == "int32" else whole


def number(value: Any) -> Any:  # Any: JSON
    if type(value) is float:
        return whole(value)
    if type(value) is int:
        return value
    raise Mismatch(json_word(value))


def int_or_string(value: Any) -> Any:  # Any: JSON
    if type(value) is str:
        return value
    return _int32(value)


_int32 = integer("int32")


def quantity(value: Any) -> Any:  # Any: JSON
    """A quantity in canonical form, always as a string.

    Raises:
        Mismatch: not a quantity, with the text of the real server.
    """
    if type(value) is str:
        if len(value) > LONGEST_QUANTITY:
            raise Mismatch(text=_QUANTITY_TEXT)
        return canonical_quantity(value)
    if type(value) is int or type(value) is float:
        return canonical_quantity(repr(value))
    raise Mismatch(text=_QUANTITY_TEXT)


def amount(value: Any) -> Any:  # Any: JSON
    """A quantity of a resource, of which nothing is finer than a thousandth: rounded up.

    Raises:
        Mismatch: not a quantity.
    """
    text = quantity(value)
    if text[-1] not in "un":
        return text
    return canonical_quantity(f"{-(-parse_quantity(text) * 1000 // 1)}m")


@lru_cache(maxsize=8192)
def canonical_quantity(text: str) -> str:
    """``0.5`` is ``500m``, ``1024Mi`` is ``1Gi``; the kind of suffix stays, finer than nano is rounded up.

    Raises:
        Mismatch: not a quantity.
    """
    try:
        exact = parse_quantity(text)
    except (InvalidQuantity, ArithmeticError, ValueError):
        raise Mismatch(text=_QUANTITY_TEXT) from None
    if not text.isascii() or text != text.strip():
        raise Mismatch(text=_QUANTITY_TEXT)
    sign = "-" if exact < 0 else ""
    nanos = -((-abs(exact) * _NANOS) // 1)  # away from zero
    if text.endswith("i") and nanos % _NANOS == 0:
        whole = nanos // _NANOS
        for power, suffix in zip(range(6, 0, -1), _BINARY, strict=True):
            if whole and whole % (1024**power) == 0:
                return f"{sign}{whole // 1024**power}{suffix}"
        return f"{sign}{whole}"
    if nanos == 0:
        return "0"
    exponent_form = re.search(r"[eE][+-]?\d+$", text) is not None
    for power, suffix in _DECIMAL:
        unit = 10 ** (power + 9)
        if nanos % unit == 0:
            return f"{sign}{nanos // unit}" + (
                f"e{power}" if exponent_form and power else "" if exponent_form else suffix
            )
    return f"{sign}{Decimal(nanos)}n"


def time(value: Any) -> Any:  # Any: JSON
    """An RFC 3339 time, kept to the second in universal time.

    Raises:
        Mismatch: not a time, with the text of the real server.
    """
    if type(value) is not str:
        raise Mismatch(json_word(value))
    if not is_time(value):
        raise Mismatch(text=f'parsing time "{value[:80]}" as "{_GO_LAYOUT}": cannot parse "{value[:80]}" as "2006"')
    return value if len(value) == _WHOLE_TIME and value[-1] == "Z" else _universal(value, "seconds")


def micro_time(value: Any) -> Any:  # Any: JSON
    """An RFC 3339 time with exactly six digits of a second, kept in universal time.

    Raises:
        Mismatch: not such a time, with the text of the real server.
    """
    if type(value) is not str:
        raise Mismatch(json_word(value))
    if not _MICRO(value) or not is_time(value):
        raise Mismatch(
            text=f'parsing time "{value[:80]}" as "2006-01-02T15:04:05.000000Z07:00": write six digits of a second'
        )
    return value if value[-1] == "Z" else _universal(value, "microseconds")


def _universal(value: str, digits: str) -> str:
    """A time that is one, as the server keeps it; years that no calendar reaches stay as they are written."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat(timespec=digits).replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return value


def is_time(text: str) -> bool:
    """RFC 3339 with a real date and hour."""
    match = _RFC3339(text)
    if match is None:
        return False
    try:
        datetime.fromisoformat(f"{match[1]}T{match[2]}")
    except ValueError:
        return False
    return True


def _byte(value: Any) -> int:  # Any: JSON
    if value is None:
        return 0
    if type(value) is int and 0 <= value < 256:
        return value
    word = json_word(value)
    raise Mismatch(f"{word} {value}" if word == "number" else word)


def base64_bytes(value: Any) -> Any:  # Any: JSON
    """Bytes as base64 text; a list of numbers is taken for bytes, too.

    Raises:
        Mismatch: not base64, with the text of the real server.
    """
    if type(value) is list:
        return b2a_base64(bytes(map(_byte, value)), newline=False).decode()
    if type(value) is not str:
        raise Mismatch(json_word(value))
    try:
        a2b_base64(value.replace("\n", "").replace("\r", ""), strict_mode=True)
    except (Base64Error, ValueError):
        wrong = re.search(r"[^A-Za-z0-9+/=\r\n]", value)
        at = wrong.start() if wrong else len(value) // 4 * 4
        raise Mismatch(text=f"illegal base64 data at input byte {at}") from None
    return value
