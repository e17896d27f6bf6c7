"""Kubernetes quantity strings to exact integers and back.

Everything that is added up in this project is an ``int`` in one fixed unit: bytes, GFLOPS (0.001 TFLOPS),
milli-CPU, milli-percent. Strings are parsed here, once, at the edge. The rounding direction is the
caller's decision because it is a matter of honesty: requests round up, capacities round down, and shares
cut from a device (percent, partition templates) round down so that a legal cut always fits.

Source: Kubernetes resource.Quantity (apimachinery, public serialization format).
"""

import re
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache

from tensorfusion.errors import InvalidQuantity

KI, MI, GI, TI = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_QUANTITY = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?[0-9]{1,3}))?")
_LONGEST = 64
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_MAX = (1 << 63) - 1


class Rounding(Enum):
    """Which way a value between two whole units goes."""

    UP = "up"
    DOWN = "down"


@lru_cache(maxsize=65536)
def parse_quantity(text: str) -> Fraction:
    """The exact value of a quantity string in its base unit.

    Raises:
        InvalidQuantity: the text is not a Kubernetes quantity.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise InvalidQuantity(
            f"{text!r} is not a quantity: write a number with an optional suffix, such as 500m, 2 or 16Gi"
        )
    sign, number, binary, decimal, exponent = match.groups()
    value = Fraction(Decimal(number))
    if binary is not None:
        value *= 1024 ** _BINARY[binary]
    elif decimal is not None:
        value *= Fraction(10) ** _DECIMAL[decimal]
    elif exponent is not None:
        value *= Fraction(10) ** int(exponent)
    return -value if sign == "-" else value


def to_units(text: str | float, per_unit: int, rounding: Rounding = Rounding.UP) -> int:
    """A non-negative quantity as a whole number of ``1/per_unit`` base units.

    ``to_units("1.5", 1000)`` is 1500: milli-CPU, or GFLOPS from TFLOPS.

    Raises:
        InvalidQuantity: not a quantity, negative, or beyond 63 bits.
    """
    value = parse_quantity(str(text)) * per_unit
    if value < 0:
        raise InvalidQuantity(f"{text!r} is negative: write 0 or more")
    whole = value.__ceil__() if rounding is Rounding.UP else value.__floor__()
    if whole > _MAX:
        raise InvalidQuantity(f"{text!r} is too large")
    return whole


def to_bytes(text: str | int, rounding: Rounding = Rounding.UP) -> int:
    """``"16Gi"`` as bytes."""
    return to_units(text, 1, rounding)


def to_gflops(text: str | float, rounding: Rounding = Rounding.UP) -> int:
    """A TFLOPS quantity as GFLOPS: ``"312"`` is 312000."""
    return to_units(text, 1000, rounding)


def to_milli(text: str | float, rounding: Rounding = Rounding.UP) -> int:
    """``"250m"`` CPU as 250; also percent as milli-percent."""
    return to_units(text, 1000, rounding)


def format_bytes(value: int) -> str:
    """The largest binary suffix that loses nothing: 17179869184 is ``"16Gi"``, 1000 is ``"1000"``."""
    if value == 0:
        return "0"
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        size = 1024 ** _BINARY[suffix]
        if value % size == 0:
            return f"{value // size}{suffix}"
    return str(value)


def format_milli(value: int) -> str:
    """Thousandths in canonical form: 1500 is ``"1500m"``, 2000 is ``"2"``. For CPU and TFLOPS on the wire."""
    return str(value // 1000) if value % 1000 == 0 else f"{value}m"


def format_gflops(value: int) -> str:
    """GFLOPS as a TFLOPS quantity: 312000 is ``"312"``, 149700 is ``"149700m"``."""
    return format_milli(value)


def humanize_gflops(value: int) -> str:
    """GFLOPS for people: 149700 is ``"149.7"`` (TFLOPS)."""
    text = f"{value / 1000:.3f}".rstrip("0").rstrip(".")
    return text or "0"


def humanize_bytes(value: int) -> str:
    """Bytes for people, at most one decimal: 1.5 * 2**30 is ``"1.5Gi"``."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        size = 1024 ** _BINARY[suffix]
        if abs(value) >= size:
            return f"{value / size:.1f}".removesuffix(".0") + suffix
    return str(value)
