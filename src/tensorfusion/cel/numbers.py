"""Numbers as text, digit for digit as an API server writes them.

Source: strconv.FormatFloat of Go ('g', 'f' and 'e'), which CEL's conversions and ``format()`` are written with.
"""

import math
import re
from decimal import Decimal

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
_NAMED = re.compile(r"[+-]?inf(inity)?|nan", re.IGNORECASE)
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def double_text(value: float) -> str:
    """The shortest text that reads back as the number: ``1.5``, ``1e+06``, ``+Inf``. This is ``string(1.5)``."""
    if not math.isfinite(value):
        return _unbounded(value)
    digits, exponent = _shortest(value)
    if -4 <= exponent < 6:
        return plain_text(value)
    return f"{_sign(value)}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}e{exponent:+03d}"


def plain_text(value: float) -> str:
    """The shortest text without an exponent: ``1000000``."""
    if not math.isfinite(value):
        return _unbounded(value)
    digits, exponent = _shortest(value)
    if exponent < 0:
        text = "0." + "0" * (-exponent - 1) + digits
    elif len(digits) <= exponent + 1:
        text = digits.ljust(exponent + 1, "0")
    else:
        text = f"{digits[: exponent + 1]}.{digits[exponent + 1 :]}"
    return _sign(value) + text


def parse_double(text: str) -> float | None:
    """The number that a text writes; None where it is none, or too large.

    Source: strconv.ParseFloat of Go.
    """
    if _DECIMAL.fullmatch(text):
        found = float(text)
    elif _HEXADECIMAL.fullmatch(text):
        try:
            found = float.fromhex(text)
        except OverflowError:
            return None
    else:
        return float(text) if _NAMED.fullmatch(text) else None
    return found if math.isfinite(found) else None


def fixed_text(value: float, precision: int) -> str:
    """A number with so many digits after the point and commas between thousands, as English is written."""
    return _local(value) or f"{value or 0.0:,.{precision}f}"


def scientific_text(value: float) -> str:
    """A number with its power of ten written small, with six digits after the point."""
    text = _local(value)
    if text:
        return text
    mantissa, _, exponent = f"{value or 0.0:.6e}".partition("e")
    return f"{mantissa}\N{MULTIPLICATION SIGN}10{exponent.lstrip('+').translate(_SUPERSCRIPTS)}"


def _local(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "" if math.isfinite(value) else "∞" if value > 0 else "-∞"


def _unbounded(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _sign(value: float) -> str:
    return "-" if math.copysign(1, value) < 0 else ""


def _shortest(value: float) -> tuple[str, int]:
    """The fewest digits that tell the number from its neighbours, and the power of ten of the first one."""
    found = Decimal(repr(abs(value))).as_tuple()
    digits = "".join(map(str, found.digits))
    exponent = int(found.exponent) + len(digits) - 1
    digits = digits.rstrip("0")
    return (digits, exponent) if digits else ("0", 0)
