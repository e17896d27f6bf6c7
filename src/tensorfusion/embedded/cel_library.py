"""The functions that Kubernetes adds to CEL, as far as they are offered here: quantities, lists, regular expressions.

A quantity is a list of one byte string inside CEL (the library takes no types of ours): ``quantity(a) < quantity(b)``
is still refused at compile time, and equal amounts are equal.

Source: apiserver pkg/cel/library.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from cel_expr_python import cel

from tensorfusion.embedded.schema.patterns import compile_pattern
from tensorfusion.errors import InvalidQuantity
from tensorfusion.units import parse_quantity

_T = cel.Type
_QUANTITY = _T.List(_T.BYTES)
_LIST = _T.List(_T.DYN)
_Amount = Sequence[bytes]


def kubernetes_functions() -> cel.CelExtension:
    """All functions, as one extension of a CEL environment."""
    member: list[tuple[str, cel.Type, list[cel.Type], Callable[..., Any]]] = [
        ("sign", _T.INT, [_QUANTITY], lambda q: _sign(_value(q))),
        ("isInteger", _T.BOOL, [_QUANTITY], lambda q: _value(q).denominator == 1),
        ("asInteger", _T.INT, [_QUANTITY], _as_integer),
        ("asApproximateFloat", _T.DOUBLE, [_QUANTITY], lambda q: float(_value(q))),
        ("isLessThan", _T.BOOL, [_QUANTITY, _QUANTITY], lambda a, b: _value(a) < _value(b)),
        ("isGreaterThan", _T.BOOL, [_QUANTITY, _QUANTITY], lambda a, b: _value(a) > _value(b)),
        ("compareTo", _T.INT, [_QUANTITY, _QUANTITY], lambda a, b: _sign(_value(a) - _value(b))),
        ("add", _QUANTITY, [_QUANTITY, _QUANTITY], lambda a, b: _amount(_value(a) + _value(b))),
        ("add", _QUANTITY, [_QUANTITY, _T.INT], lambda a, b: _amount(_value(a) + b)),
        ("sub", _QUANTITY, [_QUANTITY, _QUANTITY], lambda a, b: _amount(_value(a) - _value(b))),
        ("sub", _QUANTITY, [_QUANTITY, _T.INT], lambda a, b: _amount(_value(a) - b)),
        ("sum", _T.DYN, [_LIST], lambda items: sum(_plain(items))),
        ("min", _T.DYN, [_LIST], lambda items: min(_plain(items))),
        ("max", _T.DYN, [_LIST], lambda items: max(_plain(items))),
        ("isSorted", _T.BOOL, [_LIST], lambda items: _plain(items) == sorted(_plain(items))),
        ("indexOf", _T.INT, [_LIST, _T.DYN], _index_of),
        ("lastIndexOf", _T.INT, [_LIST, _T.DYN], _last_index_of),
        ("find", _T.STRING, [_T.STRING, _T.STRING], _find),
        ("findAll", _T.List(_T.STRING), [_T.STRING, _T.STRING], _find_all),
    ]
    overloads: dict[str, list[cel.Overload]] = {
        "quantity": [_overload("quantity_string", _QUANTITY, [_T.STRING], _quantity, member=False)],
        "isQuantity": [_overload("is_quantity_string", _T.BOOL, [_T.STRING], _is_quantity, member=False)],
    }
    for number, (name, result, parameters, implementation) in enumerate(member):
        overload = _overload(f"kubernetes_{name}_{number}", result, parameters, implementation, member=True)
        overloads.setdefault(name, []).append(overload)
    return cel.CelExtension("kubernetes", [cel.FunctionDecl(name, found) for name, found in overloads.items()])


def _overload(
    identifier: str, result: cel.Type, parameters: list[cel.Type], implementation: Callable[..., Any], *, member: bool
) -> cel.Overload:
    return cel.Overload(identifier, return_type=result, parameters=parameters, is_member=member, impl=implementation)


def _quantity(text: str) -> list[bytes]:
    try:
        return _amount(parse_quantity(text))
    except InvalidQuantity as error:
        raise ValueError(str(error)) from None


def _is_quantity(text: str) -> bool:
    try:
        parse_quantity(text)
    except InvalidQuantity:
        return False
    return True


def _amount(value: Fraction) -> list[bytes]:
    return [f"{value.numerator}/{value.denominator}".encode()]


def _value(amount: _Amount) -> Fraction:
    return Fraction(bytes(_plain(amount)[0]).decode())


def _sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def _as_integer(amount: _Amount) -> int:
    value = _value(amount)
    if value.denominator != 1:
        raise ValueError("cannot convert value to integer")
    return value.numerator


def _plain(items: Sequence[Any]) -> list[Any]:
    """List elements as Python values: the library hands over some of them wrapped."""
    return [item.plain_value() if isinstance(item, cel.Value) else item for item in items]


def _index_of(items: Sequence[Any], wanted: object) -> int:
    found = _plain(items)
    return found.index(wanted) if wanted in found else -1


def _last_index_of(items: Sequence[Any], wanted: object) -> int:
    found = _plain(items)
    return len(found) - 1 - found[::-1].index(wanted) if wanted in found else -1


def _find(text: str, pattern: str) -> str:
    match = compile_pattern(pattern).search(text)
    return match.group() if match else ""


def _find_all(text: str, pattern: str) -> list[str]:
    return [match.group() for match in compile_pattern(pattern).finditer(text)]
