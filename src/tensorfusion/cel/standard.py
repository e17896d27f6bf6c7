"""The functions and operators that every CEL has, with their types.

Logic, conditions and field selection are no calls: the plan evaluates them itself; they are declared for the checker.

Source: CEL language definition, "Standard definitions".
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence

from tensorfusion.cel import conversions, operators
from tensorfusion.cel.comparison import equal
from tensorfusion.cel.costs import letters, matching, size_of
from tensorfusion.cel.declarations import Cost, Function, Implementation, Library, Overload
from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.macros import MAP_INSERT
from tensorfusion.cel.moments import (
    DURATION_PARTS,
    EARLIEST,
    PARTS,
    duration_part,
    duration_text,
    seconds_of,
    timestamp_part,
    timestamp_text,
)
from tensorfusion.cel.numbers import double_text
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
    Type,
    list_of,
    map_of,
    opaque,
    optional_of,
    parameter,
    type_of,
)
from tensorfusion.cel.values import NOTHING, Duration, Key, Opaque, Some, Timestamp, Value, key_of, type_of_value
from tensorfusion.re2.patterns import compile_pattern

_A, _B = parameter("A"), parameter("B")
_LIST_A, _MAP_AB = list_of(_A), map_of(_A, _B)
_NUMERIC = (INT, UINT, DOUBLE)
# The names of types, which are values of type ``type``.
TYPE_NAMES: dict[str, Type] = {
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
    "null_type": NULL,
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "type": TYPE,
    "optional_type": opaque("optional_type"),
    "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION,
    "net.IP": opaque("net.IP"),
    "net.CIDR": opaque("net.CIDR"),
}


def _function(name: str, *overloads: Overload) -> Function:
    return Function(name, overloads)


def _operator(name: str, implementation: Implementation, signatures: Iterable[Sequence[Type]]) -> Function:
    """An operator whose overloads are all computed by one function. Signatures end with the result."""
    overloads = [
        Overload(f"{name}({', '.join(map(str, types[:-1]))})", tuple(types[:-1]), types[-1], implementation)
        for types in signatures
    ]
    return Function(name, tuple(overloads))


def _same(types: Iterable[Type]) -> list[Sequence[Type]]:
    return [(one, one, one) for one in types]


def _shorter(arguments: Sequence[Value], _: Value) -> int:
    return letters(min(size_of(arguments[0]), size_of(arguments[1])))


def _of_equality(arguments: Sequence[Value], result: Value) -> int:
    return 1 if isinstance(arguments[0], Opaque) else _shorter(arguments, result)


def _both(arguments: Sequence[Value], _: Value) -> int:
    return letters(size_of(arguments[0]) + size_of(arguments[1]))


def _first(arguments: Sequence[Value], _: Value) -> int:
    return letters(size_of(arguments[0]))


def _second_size(arguments: Sequence[Value], _: Value) -> int:
    return size_of(arguments[1])


def _product(arguments: Sequence[Value], _: Value) -> int:
    return letters(size_of(arguments[0])) * letters(size_of(arguments[1]))


def _matching(arguments: Sequence[Value], _: Value) -> int:
    return matching(size_of(arguments[0]), size_of(arguments[1]))


def _costing(function: Function, costs: dict[tuple[Type, ...], Cost]) -> Function:
    """The same function where overloads of some parameter types cost otherwise than 1."""
    changed = [
        Overload(one.identifier, one.parameters, one.result, one.implementation, one.member, costs.get(one.parameters))
        for one in function.overloads
    ]
    return Function(function.name, tuple(changed))


def _comparison(name: str, test: Callable[[int], bool]) -> Function:
    pairs = [(one, one, BOOL) for one in (BOOL, STRING, BYTES, TIMESTAMP, DURATION)]
    pairs += [(one, other, BOOL) for one in _NUMERIC for other in _NUMERIC]
    found = _operator(name, operators.ordered(name, test), pairs)
    return _costing(found, {(STRING, STRING): _shorter, (BYTES, BYTES): _shorter})


def _not_a_value(*_: Value) -> Value:
    raise NoSuchOverload


def _not_strictly_false(value: Value) -> bool:
    return value is not False


_LOGIC: Library = (
    _operator("_?_:_", _not_a_value, [(BOOL, _A, _A, _A)]),
    _operator("_&&_", _not_a_value, [(BOOL, BOOL, BOOL)]),
    _operator("_||_", _not_a_value, [(BOOL, BOOL, BOOL)]),
    _operator("!_", operators.invert, [(BOOL, BOOL)]),
    _operator("@not_strictly_false", _not_strictly_false, [(BOOL, BOOL)]),
    _function("_==_", Overload("equals", (_A, _A), BOOL, equal, cost=_of_equality)),
    _function("_!=_", Overload("not_equals", (_A, _A), BOOL, lambda one, other: not equal(one, other), cost=_shorter)),
    _comparison("_<_", lambda order: order < 0),
    _comparison("_<=_", lambda order: order <= 0),
    _comparison("_>_", lambda order: order > 0),
    _comparison("_>=_", lambda order: order >= 0),
)
_ARITHMETIC: Library = (
    _costing(
        _operator(
            "_+_",
            operators.add,
            [
                *_same([BYTES, DOUBLE, DURATION]),
                (DURATION, TIMESTAMP, TIMESTAMP),
                (TIMESTAMP, DURATION, TIMESTAMP),
                *_same([INT, _LIST_A, STRING, UINT]),
            ],
        ),
        {(STRING, STRING): _both, (BYTES, BYTES): _both},
    ),
    _operator(
        "_-_",
        operators.subtract,
        [
            *_same([DOUBLE, DURATION, INT]),
            (TIMESTAMP, DURATION, TIMESTAMP),
            (TIMESTAMP, TIMESTAMP, DURATION),
            (UINT, UINT, UINT),
        ],
    ),
    _operator("_*_", operators.multiply, _same([DOUBLE, INT, UINT])),
    _operator("_/_", operators.divide, _same([DOUBLE, INT, UINT])),
    _operator("_%_", operators.modulo, _same([INT, UINT])),
    _operator("-_", operators.negate, [(DOUBLE, DOUBLE), (INT, INT)]),
)
_CONTAINERS: Library = (
    _operator(
        "_[_]",
        operators.index,
        [
            (_LIST_A, INT, _A),
            (_MAP_AB, _A, _B),
            (optional_of(_LIST_A), INT, optional_of(_A)),
            (optional_of(_MAP_AB), _A, optional_of(_B)),
        ],
    ),
    _operator(
        "_[?_]",
        operators.index,
        [
            (_LIST_A, INT, optional_of(_A)),
            (optional_of(_LIST_A), INT, optional_of(_A)),
            (_MAP_AB, _A, optional_of(_B)),
            (optional_of(_MAP_AB), _A, optional_of(_B)),
        ],
    ),
    _costing(
        _operator("@in", operators.contained, [(_A, _LIST_A, BOOL), (_A, _MAP_AB, BOOL)]),
        {(_A, _LIST_A): _second_size},
    ),
    Function(
        "size",
        tuple(
            Overload(f"size_{kind}{'_member' * member}", (kind,), INT, len, member)
            for kind in (BYTES, _LIST_A, _MAP_AB, STRING)
            for member in (False, True)
        ),
    ),
)


def _convert(name: str, result: Type, *found: tuple[Type, Implementation, Cost | None]) -> Function:
    overloads = [
        Overload(f"{name}({kind})", (kind,), result, make, cost=cost, by_overload=True) for kind, make, cost in found
    ]
    return Function(name, tuple(overloads))


_SAME = conversions.same
_CONVERSIONS: Library = (
    _function("type", Overload("type", (_A,), type_of(_A), type_of_value)),
    _function("dyn", Overload("to_dyn", (_A,), DYN, _SAME)),
    _convert("bool", BOOL, (BOOL, _SAME, None), (STRING, conversions.text_to_bool, None)),
    _convert("bytes", BYTES, (BYTES, _SAME, None), (STRING, str.encode, _first)),
    _convert(
        "double",
        DOUBLE,
        (DOUBLE, _SAME, None),
        (INT, float, None),
        (STRING, conversions.text_to_double, None),
        (UINT, float, None),
    ),
    _convert(
        "duration",
        DURATION,
        (DURATION, _SAME, None),
        (INT, conversions.int_to_duration, None),
        (STRING, conversions.text_to_duration, None),
    ),
    _convert(
        "int",
        INT,
        (INT, _SAME, None),
        (DOUBLE, conversions.double_to_int, None),
        (DURATION, operator.attrgetter("nanoseconds"), None),
        (STRING, conversions.text_to_int, None),
        (TIMESTAMP, seconds_of, None),
        (UINT, conversions.uint_to_int, None),
    ),
    _convert(
        "string",
        STRING,
        (STRING, _SAME, None),
        (BOOL, lambda value: "true" if value else "false", None),
        (BYTES, conversions.bytes_to_text, _first),
        (DOUBLE, double_text, None),
        (DURATION, duration_text, None),
        (INT, str, None),
        (TIMESTAMP, timestamp_text, None),
        (UINT, lambda value: str(int(value)), None),
    ),
    _convert(
        "timestamp",
        TIMESTAMP,
        (TIMESTAMP, _SAME, None),
        (INT, conversions.int_to_timestamp, None),
        (STRING, conversions.text_to_timestamp, None),
    ),
    _convert(
        "uint",
        UINT,
        (UINT, _SAME, None),
        (DOUBLE, conversions.double_to_uint, None),
        (INT, conversions.int_to_uint, None),
        (STRING, conversions.text_to_uint, None),
    ),
)


def matches(text: str, pattern: str) -> bool:
    """Raises: EvaluationError for a pattern that is no regular expression."""
    try:
        return compile_pattern(pattern).search(text) is not None
    except re.error as error:
        raise EvaluationError(str(error)) from None


def _text_member(name: str, implementation: Implementation, cost: Cost) -> Function:
    return _function(name, Overload(name, (STRING, STRING), BOOL, implementation, member=True, cost=cost))


_TEXTS: Library = (
    _text_member("contains", lambda text, part: part in text, _product),
    _text_member("endsWith", str.endswith, _first),
    _text_member("startsWith", str.startswith, _first),
    _function(
        "matches",
        Overload("matches", (STRING, STRING), BOOL, matches),
        Overload("matches_string", (STRING, STRING), BOOL, matches, member=True, cost=_matching),
    ),
)


def _part(name: str) -> Function:
    read = timestamp_part(name)
    overloads = [
        Overload(f"timestamp_{name}", (TIMESTAMP,), INT, read, member=True),
        Overload(f"timestamp_{name}_zone", (TIMESTAMP, STRING), INT, read, member=True),
    ]
    if name in DURATION_PARTS:
        overloads.append(Overload(f"duration_{name}", (DURATION,), INT, duration_part(name), member=True))
    return Function(name, tuple(overloads))


_OPTIONAL_A = optional_of(_A)


def _empty(value: Value) -> bool:
    """Whether a value is the one its type starts with."""
    if isinstance(value, Timestamp):
        return value.nanoseconds == EARLIEST
    if isinstance(value, Duration):
        return value.nanoseconds == 0
    return value is None or (isinstance(value, bool | int | float | str | bytes | list | dict) and not value)


def _value_of(found: Value) -> Value:
    if isinstance(found, Some):
        return found.value
    if found is NOTHING:
        raise EvaluationError("optional.none() dereference")
    raise NoSuchOverload


def _present(found: list[Value]) -> list[Value]:
    for one in found:
        if not isinstance(one, Some) and one is not NOTHING:
            raise EvaluationError("value is not optional")
    return [one.value for one in found if isinstance(one, Some)]


def _ends(name: str, at: int) -> Overload:
    return Overload(
        f"list_{name}", (_LIST_A,), _OPTIONAL_A, lambda items: Some(items[at]) if items else NOTHING, member=True
    )


_OPTIONALS: Library = (
    _function("optional.of", Overload("optional_of", (_A,), _OPTIONAL_A, Some)),
    _function(
        "optional.ofNonZeroValue",
        Overload("optional_ofNonZeroValue", (_A,), _OPTIONAL_A, lambda one: NOTHING if _empty(one) else Some(one)),
    ),
    _function("optional.none", Overload("optional_none", (), _OPTIONAL_A, lambda: NOTHING)),
    _function("value", Overload("optional_value", (_OPTIONAL_A,), _A, _value_of, member=True)),
    _function(
        "hasValue", Overload("optional_hasValue", (_OPTIONAL_A,), BOOL, lambda one: one is not NOTHING, member=True)
    ),
    # Both look at their second argument only where the first has no value: the plan sees to it.
    _function("or", Overload("optional_or_optional", (_OPTIONAL_A, _OPTIONAL_A), _OPTIONAL_A, _not_a_value, True)),
    _function("orValue", Overload("optional_orValue_value", (_OPTIONAL_A, _A), _A, _not_a_value, True)),
    _function("first", _ends("first", 0)),
    _function("last", _ends("last", -1)),
    _function("optional.unwrap", Overload("optional_unwrap", (list_of(_OPTIONAL_A),), _LIST_A, _present)),
    _function("unwrapOpt", Overload("optional_unwrapOpt", (list_of(_OPTIONAL_A),), _LIST_A, _present, True)),
)


def _with_entry(found: dict[Value, Value], key: Value, value: Value) -> dict[Value, Value]:
    written = key_of(key)
    if written in found:
        raise EvaluationError(f"insert failed: key {operators.key_text(key)} already exists")
    return {**found, written: value}


def _with_entries(found: dict[Value, Value], entries: dict[Value, Value]) -> dict[Value, Value]:
    for key, value in entries.items():
        found = _with_entry(found, key.value if isinstance(key, Key) else key, value)
    return found


_INSERTS: Library = (
    _function(
        MAP_INSERT,
        Overload("map_insert_entry", (_MAP_AB, _A, _B), _MAP_AB, _with_entry),
        Overload("map_insert_map", (_MAP_AB, _MAP_AB), _MAP_AB, _with_entries),
    ),
)
STANDARD: tuple[Library, ...] = (
    _LOGIC,
    _ARITHMETIC,
    _CONTAINERS,
    _CONVERSIONS,
    _TEXTS,
    tuple(_part(name) for name in PARTS),
    _OPTIONALS,
    _INSERTS,
)
