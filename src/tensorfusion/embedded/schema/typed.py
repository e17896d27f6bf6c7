"""What CEL rules see of a custom resource: the declared type of each place of its schema, and values of those types.

Fields without a usable schema are not declared at all. Names that CEL cannot write are escaped.

Source: kubernetes.io "CustomResourceDefinition validation rules"; apiserver pkg/cel/common.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorfusion.cel import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    ComparedList,
    Type,
    equal,
    list_of,
    map_of,
    object_of,
    parse_duration,
    parse_timestamp,
)
from tensorfusion.model.meta import Raw

# Any: JSON values, and values of CEL.
Convert = Callable[[Any], Any]

# Names that cannot follow a dot in CEL.
_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)
_WRITABLE = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*")
_STRING: Raw = {"type": "string"}
_METADATA: Raw = {"type": "object", "properties": {"name": _STRING, "generateName": _STRING}}
_IMPLIED: Raw = {"apiVersion": _STRING, "kind": _STRING, "metadata": _METADATA}
_TYPES = {"boolean": BOOL, "number": DOUBLE, "integer": INT}
_FORMATS = {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}


def escaped(name: str) -> str:
    """A field name as rules write it: ``a-b`` is ``a__dash__b``, ``namespace`` is ``__namespace__``.

    Empty where it cannot be written.
    """
    if name in _RESERVED:
        return f"__{name}__"
    if _WRITABLE.fullmatch(name) is None:
        return ""
    for plain, written in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(plain, written)
    return name


def with_metadata(schema: Raw) -> Raw:
    """The schema of a whole object: its rules may speak of its kind and name, even where it says too little of them."""
    properties = schema.get("properties") or {}
    metadata = properties.get("metadata") or {}
    of_metadata = metadata.get("properties") or {}
    texts = [properties.get("kind"), properties.get("apiVersion")]
    texts += [of_metadata.get("name"), of_metadata.get("generateName")]
    if metadata.get("type") == "object" and all(one is not None and one.get("type") == "string" for one in texts):
        return schema
    return {**schema, "type": "object", "properties": {**schema.get("properties", {}), **_IMPLIED}}


def declared(schema: Raw, name: str, *, whole_object: bool = False) -> Type | None:
    """The type of a schema; None where rules cannot use it. ``name`` is that of objects in error texts."""
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    if whole_object or schema.get("x-kubernetes-embedded-resource"):
        schema = with_metadata(schema)
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items")
        inner = declared(items, f"{name}.@idx") if isinstance(items, dict) else None
        return list_of(inner) if inner is not None else None
    if kind == "object":
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            inner = declared(additional, f"{name}.@elem")
            return map_of(STRING, inner) if inner is not None else None
        return object_of(name, _fields(schema, name))
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), STRING)
    return _TYPES.get(kind or "")


def _fields(schema: Raw, name: str) -> Mapping[str, Type]:
    found: dict[str, Type] = {}
    for field, inner in schema.get("properties", {}).items():
        written = escaped(field)
        if written:
            kind = declared(inner, f"{name}.{written}")
            if kind is not None:
                found[written] = kind
                if field in _RESERVED:
                    found[field] = kind  # after a dot a reserved word is a name as any other
    return found


def converter(schema: Raw) -> Convert | None:
    """Makes values of the declared type of JSON. None: JSON is what they are."""
    kind = schema.get("type")
    if kind == "number":
        return lambda value: float(value) if type(value) is int else value
    if kind == "string":
        return _TEXTS.get(schema.get("format", ""))
    if kind == "array" and isinstance(schema.get("items"), dict):
        return _list_converter(schema)
    if kind == "object" or schema.get("properties"):
        return _object_converter(schema)
    return None


def _list_converter(schema: Raw) -> Convert | None:
    item = converter(schema["items"])
    make: Convert = {"set": SetList, "map": _keyed(schema.get("x-kubernetes-list-map-keys", ()))}.get(
        schema.get("x-kubernetes-list-type", ""), list
    )
    if item is None and make is list:
        return None

    def convert(value: Any) -> Any:
        if type(value) is not list:
            return value
        return make(value if item is None else [one if one is None else item(one) for one in value])

    return convert


def _object_converter(schema: Raw) -> Convert | None:
    declared_here = schema.get("properties", {})
    properties = {name: (escaped(name), converter(inner)) for name, inner in declared_here.items()}
    changed = {name: entry for name, entry in properties.items() if entry[0] != name or entry[1] is not None}
    nullable = any(inner.get("nullable") for inner in declared_here.values())
    additional = schema.get("additionalProperties")
    member = converter(additional) if isinstance(additional, dict) else None
    if not changed and member is None and not nullable:
        return None

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            return value
        result = {}
        for name, item in value.items():
            written, inner = changed.get(name, (name, member if name not in properties else None))
            if item is None and name in properties:
                continue  # a null is a field that is not there
            result[written] = item if inner is None or item is None else inner(item)
            if name in _RESERVED and written != name:
                result[name] = result[written]
        return result

    return convert


def _moment(text: Any) -> Any:
    found = parse_timestamp(text) if isinstance(text, str) else None
    return text if found is None else found


def _day(text: Any) -> Any:
    return _moment(f"{text}T00:00:00Z") if isinstance(text, str) else text


def _span(text: Any) -> Any:
    found = parse_duration(text) if isinstance(text, str) else None
    return text if found is None else found


def _bytes(text: Any) -> Any:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return text


_TEXTS: Mapping[str, Convert] = {"date-time": _moment, "date": _day, "duration": _span, "byte": _bytes}


class SetList(ComparedList):
    """A list of list type set: equal whatever the order, added to without doubles."""

    __slots__ = ()

    def equals(self, other: list[Any]) -> bool:
        return len(self) == len(other) and all(any(equal(one, mine) for mine in self) for one in other)

    def merged(self, other: list[Any]) -> list[Any]:
        found = SetList(self)
        for one in other:
            if not any(equal(one, mine) for mine in found):
                found.append(one)
        return found


class KeyedList(ComparedList):
    """A list of list type map: elements are told apart by their keys; adding replaces the element of the same keys."""

    __slots__ = ("keys",)

    def __init__(self, items: Sequence[Any], keys: Sequence[str]) -> None:
        super().__init__(items)
        self.keys = keys

    def _key(self, item: Any) -> tuple[Any, ...]:
        return tuple(item.get(key) for key in self.keys) if isinstance(item, dict) else ()

    def equals(self, other: list[Any]) -> bool:
        mine = {self._key(item): item for item in self}
        return len(self) == len(other) and all(
            self._key(item) in mine and equal(mine[self._key(item)], item) for item in other
        )

    def merged(self, other: list[Any]) -> list[Any]:
        found = {self._key(item): item for item in self}
        found.update((self._key(item), item) for item in other)
        return KeyedList(list(found.values()), self.keys)


def _keyed(keys: Sequence[str]) -> Convert:
    written = [escaped(key) or key for key in keys]
    return lambda items: KeyedList(items, written)
