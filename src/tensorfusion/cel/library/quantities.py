"""Quantities of Kubernetes, such as ``500m`` and ``1.5Gi``.

A quantity is an unscaled integer and a power of ten, as the original holds it: whether it ``isInteger()``
depends on how it is held, not on its value. ``quantity('1000m')`` and ``quantity('1.5Gi')`` are whole numbers that are
not integers; ``tensorfusion.units`` is for computing with quantities elsewhere.

Source: apiserver pkg/cel/library/quantity.go; apimachinery pkg/api/resource.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from tensorfusion.cel import costs
from tensorfusion.cel.declarations import Function, Implementation, Library, Overload
from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.types import BOOL, DOUBLE, INT, STRING, Type, opaque
from tensorfusion.cel.values import LARGEST_INT, SMALLEST_INT, Opaque, Value

QUANTITY = opaque("kubernetes.Quantity")

_WRITTEN = re.compile(r"([+-]?)([0-9]*)(?:(\.)([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
# So many digits fit into 64 bits whatever they are.
_DIGITS = 18
_BINARY_DIGITS = 15
_SMALLEST_SCALE = -9
_WRONG_FORM = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_WRONG_SUFFIX = "unable to parse quantity's suffix"
_WRONG_NUMBER = "unable to parse numeric part of quantity"
# Beyond these a number is taken for a mistake: its digits would fill the memory.
_LONGEST, _LARGEST_EXPONENT = 1024, 9999


@dataclass(frozen=True, slots=True, eq=False)
class Quantity(Opaque):
    """``unscaled * 10 ** scale``. ``short`` when the original holds it in 64 bits; only such can be an integer.

    ``computed`` when it is a sum or difference.
    """

    unscaled: int
    scale: int
    short: bool
    computed: bool = False
    TYPE = QUANTITY

    def equals(self, other: Value) -> bool:
        """Equality; the original cannot compare with a computed quantity on the right."""
        if not isinstance(other, Quantity) or other.computed:
            raise NoSuchOverload
        return _compare(self, other) == 0


@lru_cache(maxsize=4096)
def parse(text: str) -> Quantity:
    """A quantity as it is written.

    Raises:
        EvaluationError: it is none.
    """
    match = _WRITTEN.fullmatch(text)
    if not text or match is None or len(text) > _LONGEST:
        raise EvaluationError(_WRONG_FORM)
    sign, whole, _, part, suffix = match.groups()
    whole, part = whole.lstrip("0"), part or ""
    exponent, binary = _suffix(suffix)
    scale = 0 if binary else exponent
    factor = 1 << exponent if binary else 1
    digits = (whole or "0") + part
    if binary:
        room = _BINARY_DIGITS - len(whole or "0") - exponent * 3 // 10 - 1 if not part else -1
    else:
        room = _DIGITS - len(digits)
    negative = sign == "-"
    if room >= 0 and scale - len(part) >= _SMALLEST_SCALE:
        value = int(digits) * factor
        return Quantity(-value if negative else value, scale - len(part), short=True)
    if not (whole or part) and not text.strip("+-").startswith("0"):
        raise EvaluationError(_WRONG_NUMBER)
    value, scale = _in_nanos(int(digits) * factor, scale - len(part))
    if binary and value > LARGEST_INT * 10 ** max(-scale, 0):
        value, scale = LARGEST_INT, 0
    return Quantity(-value if negative else value, scale, short=False)


def _suffix(suffix: str) -> tuple[int, bool]:
    """The exponent that a suffix stands for, and whether its base is 2."""
    if suffix in _DECIMAL:
        return _DECIMAL[suffix], False
    if suffix in _BINARY:
        return _BINARY[suffix], True
    match = _EXPONENT.fullmatch(suffix)
    if match is None:
        raise EvaluationError(_WRONG_SUFFIX)
    exponent = int(match[1])
    if abs(exponent) > _LARGEST_EXPONENT:
        raise EvaluationError(_WRONG_NUMBER)
    return exponent, False


def _in_nanos(value: int, scale: int) -> tuple[int, int]:
    """The value rounded up to whole billionths: who asks for a little of something gets some."""
    shift = scale - _SMALLEST_SCALE
    if value == 0 or shift >= 0:
        return value * 10 ** max(shift, 0), _SMALLEST_SCALE
    return (1 if -shift > len(str(value)) else -(-value // 10**-shift)), _SMALLEST_SCALE


def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except EvaluationError:
        return False
    return True


def _integer(quantity: Quantity) -> int | None:
    """The value where the original knows it to be an integer of 64 bits."""
    if not quantity.short or quantity.scale < 0:
        return None
    value = quantity.unscaled * int(10**quantity.scale)
    return value if SMALLEST_INT <= value <= LARGEST_INT else None


def _as_integer(quantity: Quantity) -> int:
    value = _integer(quantity)
    if value is None:
        raise EvaluationError("cannot convert value to integer")
    return value


def _as_float(quantity: Quantity) -> float:
    try:
        base = float(quantity.unscaled)
    except OverflowError:
        base = math.inf if quantity.unscaled > 0 else -math.inf
    return base * _power_of_ten(quantity.scale) if quantity.scale else base


def _power_of_ten(exponent: int) -> float:
    """A power of ten, off by what the original is off: it multiplies two of a table."""
    if exponent > 308:
        return math.inf
    if exponent < -323:
        return 0.0
    tens, ones = divmod(abs(exponent), 32)
    if exponent >= 0:
        return float(10 ** (tens * 32)) * 10.0**ones
    return float(f"1e-{tens * 32}") / 10.0**ones


def _aligned(left: Quantity, right: Quantity) -> tuple[int, int, int]:
    """Both values at the smaller of the two scales, and that scale."""
    scale = min(left.scale, right.scale)
    return left.unscaled * 10 ** (left.scale - scale), right.unscaled * 10 ** (right.scale - scale), scale


def _compare(left: Quantity, right: Quantity) -> int:
    one, other, _ = _aligned(left, right)
    return (one > other) - (one < other)


def _add(left: Quantity, right: Quantity | int) -> Quantity:
    if not isinstance(right, Quantity):
        right = Quantity(right, 0, short=True)
    short = left.short and right.short
    if short and (right.unscaled == 0 or left.unscaled == 0):
        kept = left if right.unscaled == 0 else right
        return Quantity(kept.unscaled, kept.scale, short=True, computed=True)
    one, other, scale = _aligned(left, right)
    short = short and all(SMALLEST_INT <= value <= LARGEST_INT for value in (one, other, one + other))
    return Quantity(one + other, scale, short, computed=True)


def _subtract(left: Quantity, right: Quantity | int) -> Quantity:
    if isinstance(right, Quantity):
        return _add(left, Quantity(-right.unscaled, right.scale, right.short))
    return _add(left, -right)


def _member(name: str, *overloads: tuple[str, tuple[Type, ...], Type, Implementation]) -> Function:
    found = (
        Overload(identifier, (QUANTITY, *parameters), result, implementation, member=True)
        for identifier, parameters, result, implementation in overloads
    )
    return Function(name, tuple(found))


QUANTITIES: Library = (
    Function("quantity", (Overload("string_to_quantity", (STRING,), QUANTITY, parse, cost=costs.over_first()),)),
    Function("isQuantity", (Overload("is_quantity_string", (STRING,), BOOL, _is_quantity, cost=costs.over_first()),)),
    # Not a member, unlike all others.
    Function(
        "sign", (Overload("quantity_sign", (QUANTITY,), INT, lambda one: (one.unscaled > 0) - (one.unscaled < 0)),)
    ),
    _member(
        "isGreaterThan", ("quantity_is_greater_than", (QUANTITY,), BOOL, lambda one, other: _compare(one, other) > 0)
    ),
    _member("isLessThan", ("quantity_is_less_than", (QUANTITY,), BOOL, lambda one, other: _compare(one, other) < 0)),
    _member("compareTo", ("quantity_compare_to", (QUANTITY,), INT, _compare)),
    _member("asApproximateFloat", ("quantity_get_float", (), DOUBLE, _as_float)),
    _member("asInteger", ("quantity_get_int", (), INT, _as_integer)),
    _member("isInteger", ("quantity_is_integer", (), BOOL, lambda one: _integer(one) is not None)),
    _member("add", ("quantity_add", (QUANTITY,), QUANTITY, _add), ("quantity_add_int", (INT,), QUANTITY, _add)),
    _member(
        "sub", ("quantity_sub", (QUANTITY,), QUANTITY, _subtract), ("quantity_sub_int", (INT,), QUANTITY, _subtract)
    ),
)
