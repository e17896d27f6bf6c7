"""The types of CEL expressions.

A type is a value: comparable, hashable, printed as Kubernetes prints it in error texts (``map(string, list(int))``).

Source: CEL language definition, "Values" and "Gradual Type Checking".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What sort of type it is; the value is its printed name where it has no name of its own."""

    BOOL = "bool"
    INT = "int"
    UINT = "uint"
    DOUBLE = "double"
    STRING = "string"
    BYTES = "bytes"
    NULL = "null"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    LIST = "list"
    MAP = "map"
    TYPE = "type"
    DYN = "dyn"
    ERROR = "!error!"
    PARAMETER = "parameter"
    OBJECT = "object"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class Type:
    """One type. ``name`` is set for parameters, objects and opaque types; ``fields`` for objects only."""

    kind: Kind
    name: str = ""
    parameters: tuple["Type", ...] = ()
    fields: Mapping[str, "Type"] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        text = self.name or self.kind.value
        return f"{text}({', '.join(map(str, self.parameters))})" if self.parameters else text

    @property
    def is_dynamic(self) -> bool:
        """Whether anything may be done with it: ``dyn``, or what is left after an error."""
        return self.kind in (Kind.DYN, Kind.ERROR)


BOOL = Type(Kind.BOOL)
INT = Type(Kind.INT)
UINT = Type(Kind.UINT)
DOUBLE = Type(Kind.DOUBLE)
STRING = Type(Kind.STRING)
BYTES = Type(Kind.BYTES)
NULL = Type(Kind.NULL)
TIMESTAMP = Type(Kind.TIMESTAMP)
DURATION = Type(Kind.DURATION)
DYN = Type(Kind.DYN)
ERROR = Type(Kind.ERROR)
TYPE = Type(Kind.TYPE)
_OPTIONAL = "optional_type"


def list_of(element: Type) -> Type:
    return Type(Kind.LIST, "", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type(Kind.MAP, "", (key, value))


def type_of(inner: Type) -> Type:
    """The type of a type's name, as ``int`` in ``type(1) == int``."""
    return Type(Kind.TYPE, "", (inner,))


def optional_of(inner: Type) -> Type:
    return Type(Kind.OPAQUE, _OPTIONAL, (inner,))


def parameter(name: str) -> Type:
    """A type parameter of a generic function."""
    return Type(Kind.PARAMETER, name)


def opaque(name: str) -> Type:
    """A type with no operations but the functions declared for it, such as a quantity."""
    return Type(Kind.OPAQUE, name)


def object_of(name: str, fields: Mapping[str, Type]) -> Type:
    """An object with declared fields; selecting any other is an error when the expression is compiled."""
    return Type(Kind.OBJECT, name, (), fields)


def unwrapped(found: Type) -> Type | None:
    """What an optional holds; None for any other type."""
    return found.parameters[0] if found.kind is Kind.OPAQUE and found.name == _OPTIONAL else None
