"""Values of CEL that JSON does not have. All others are Python's: None, bool, int, float, str, bytes, list, dict.

An int of CEL is a Python int of 64 bits, checked where it is computed. A bool is never an int here: code asks
``type(value)``, not ``isinstance``. The keys of maps are str, int, Uint or bool; booleans stand in the dict as
``Key`` objects, so that ``True`` and ``1`` stay two keys.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    Kind,
    Type,
    list_of,
    map_of,
    opaque,
    optional_of,
)

# Any value of CEL.
Value = Any

SMALLEST_INT, LARGEST_INT = -(1 << 63), (1 << 63) - 1
LARGEST_UINT = (1 << 64) - 1
SECOND = 1_000_000_000


class Uint(int):
    """An unsigned integer, ``7u``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds."""

    nanoseconds: int


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment, in nanoseconds since 1970 in UTC. Its text is written with ``offset``, minutes east of UTC."""

    nanoseconds: int
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Some:
    """An optional with a value. ``NOTHING`` is the one without."""

    value: Value


class _Nothing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()


class Opaque:
    """Base of the values that libraries add. They know their type, and are compared with ``equals``."""

    __slots__ = ()
    TYPE: Type

    @property
    def size(self) -> int:
        """What the costs of functions count it as."""
        return 1

    def equals(self, other: Value) -> bool:
        """Equality of CEL.

        Raises:
            NoSuchOverload: the other value is of another type.
        """
        if type(other) is not type(self):
            raise NoSuchOverload
        return self == other


class Key:
    """A boolean as a key of a map."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value


_TRUE, _FALSE = Key(True), Key(False)


def key_of(value: Value) -> Value:
    """A value as a key of a dict: whole doubles are the integers they equal.

    Raises:
        EvaluationError: its type cannot be a key.
    """
    kind = type(value)
    if kind is str or kind is int or kind is Uint:
        return value
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is float:
        return int(value) if value.is_integer() else value
    raise EvaluationError("unsupported key type")


def keys_of(found: Iterable[Value]) -> list[Value]:
    """The keys of a map as values again."""
    return [key.value if type(key) is Key else key for key in found]


_SIMPLE = {
    type(None): NULL,
    bool: BOOL,
    int: INT,
    Uint: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    Duration: DURATION,
    Timestamp: TIMESTAMP,
    Type: TYPE,
    Some: optional_of(DYN),
    _Nothing: optional_of(DYN),
}
_LIST, _MAP, _UNKNOWN = list_of(DYN), map_of(DYN, DYN), opaque("unknown")


def type_of_value(value: Value) -> Type:
    """The type a value has when it is evaluated; what lists and maps hold is not looked at."""
    found = _SIMPLE.get(type(value))
    if found is not None:
        return found
    if isinstance(value, list):
        return _LIST
    if isinstance(value, dict):
        return _MAP
    return value.TYPE if isinstance(value, Opaque) else _UNKNOWN


def fits(value: Value, wanted: Type) -> bool:
    """Whether a value may be given where ``wanted`` is declared: the choice among a function's overloads.

    Of lists and maps the first element or entry is looked at.
    """
    kind = wanted.kind
    if kind is Kind.DYN or kind is Kind.PARAMETER:
        return True
    if kind is Kind.LIST:
        return isinstance(value, list) and (not value or fits(value[0], wanted.parameters[0]))
    if kind is Kind.MAP:
        if not isinstance(value, dict):
            return False
        return all(
            fits(*pair)
            for key in keys_of([*value][:1])
            for pair in zip((key, value[key_of(key)]), wanted.parameters, strict=True)
        )
    found = type_of_value(value)
    if kind is Kind.OBJECT:
        return found.kind is Kind.MAP
    return found.kind is kind and (kind is not Kind.OPAQUE or found.name == wanted.name)


class ComparedList(list[Value]):
    """A list with an equality and a sum of its own: sets and lists of objects with keys, as schemas declare them."""

    __slots__ = ()

    def equals(self, other: list[Value]) -> bool:
        raise NotImplementedError

    def merged(self, other: list[Value]) -> list[Value]:
        raise NotImplementedError
