"""How each place of an object is owned and merged: as one value, field by field, or element by element.

Built once per kind from its schema: the facts of built-in kinds, the structural schema of custom ones. A place may be
of several shapes at once where the schema leaves that open; then the value decides.

Source: x-kubernetes-list-type, -list-map-keys, -map-type; kube-openapi schemaconv, by behaviour.
"""

from collections.abc import Mapping
from typing import Any

from tensorfusion.model.meta import Raw

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_SCALARS = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}
_OPEN_SCALAR = "untyped"
_RAW = ".runtime.RawExtension"
"""An object of some other kind inside a built-in one: it is owned as one value."""


class FieldType:
    """One place. A shape that is None, or an empty scalar, is not allowed there."""

    __slots__ = ("list", "map", "scalar")

    def __init__(self) -> None:
        self.map: MapType | None = None
        self.list: ListType | None = None
        self.scalar = ""  # string, numeric, boolean, untyped


class MapType:
    """A structure (``fields``), a map (``element`` is what its unnamed keys hold), or both."""

    __slots__ = ("atomic", "element", "fields")

    def __init__(self, fields: dict[str, FieldType], element: FieldType | None, *, atomic: bool) -> None:
        self.fields = fields
        self.element = element
        self.atomic = atomic


class ListType:
    """``keys`` name what elements are known by; without them a list that is not atomic is a set of plain values."""

    __slots__ = ("atomic", "defaults", "element", "keys")

    def __init__(
        self, element: FieldType, keys: tuple[str, ...], *, atomic: bool, defaults: Mapping[str, Any] | None = None
    ) -> None:  # Any: JSON
        self.element = element
        self.keys = keys
        self.atomic = atomic
        self.defaults = defaults or {}


def _atomic() -> FieldType:
    found = FieldType()
    found.scalar = _OPEN_SCALAR
    found.map = MapType({}, found, atomic=True)
    found.list = ListType(found, (), atomic=True)
    return found


def _deduced() -> FieldType:
    found = FieldType()
    found.scalar = _OPEN_SCALAR
    found.map = MapType({}, found, atomic=False)
    found.list = ListType(ATOMIC, (), atomic=True)
    return found


ATOMIC = _atomic()
"""Anything, as one value."""
DEDUCED = _deduced()
"""Anything: objects key by key, everything else as one value."""


class Types:
    """Builds types; one instance for each set of definitions, so that named ones are built once."""

    def __init__(self, definitions: Mapping[str, Raw]) -> None:
        self._definitions = definitions
        self._named: dict[tuple[str, str], FieldType] = {}

    def named(self, definition: str, *, map_type: str = "") -> FieldType:
        """The type of a definition. ``map_type`` overrides what the definition says of itself."""
        if definition.endswith(_RAW):
            return ATOMIC
        found = self._named.get((definition, map_type))
        if found is None:
            found = self._named[definition, map_type] = FieldType()
            schema = self._definitions[definition]
            if map_type:
                schema = {**schema, "x-kubernetes-map-type": map_type}
            self._fill(found, schema, preserve=False)
        return found

    def custom(self, schema: Raw) -> FieldType:
        """The type of a custom kind's objects. Metadata is the server's own."""
        found = FieldType()
        self._fill(found, {"type": "object", **schema}, preserve=False)
        self._complete(found)
        return found

    def _complete(self, found: FieldType) -> None:
        """What every object has, whatever its schema says."""
        if found.map is not None:
            text = FieldType()
            text.scalar = "string"
            found.map.fields |= {"apiVersion": text, "kind": text, "metadata": self.named(OBJECT_META)}

    def _of(self, schema: Raw, *, preserve: bool) -> FieldType:
        reference = schema.get("$ref")
        if reference is not None:
            return self.named(reference, map_type=schema.get("x-kubernetes-map-type", ""))
        found = FieldType()
        self._fill(found, schema, preserve=preserve)
        return found

    def _fill(self, found: FieldType, schema: Raw, *, preserve: bool) -> None:
        preserve = preserve or bool(schema.get(_PRESERVE))
        kind = schema.get("type")
        if schema.get("x-kubernetes-int-or-string"):  # published without a type: anything, as far as owners go
            found.scalar, found.map, found.list = DEDUCED.scalar, DEDUCED.map, DEDUCED.list
        elif kind == "string" and schema.get("format", "byte") != "byte":  # other formats are no texts to owners
            found.scalar = _OPEN_SCALAR
        elif kind in _SCALARS:
            found.scalar = _SCALARS[kind]
        elif kind == "array":
            found.list = self._list(schema, preserve=preserve)
        elif kind == "object" or "properties" in schema or "additionalProperties" in schema:
            found.map = self._map(schema, preserve=preserve)
            if schema.get("x-kubernetes-embedded-resource"):
                self._complete(found)
        else:
            open_ = DEDUCED if preserve else ATOMIC
            found.scalar, found.map, found.list = open_.scalar, open_.map, open_.list

    def _map(self, schema: Raw, *, preserve: bool) -> MapType:
        properties: Raw = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        element: FieldType | None = None
        if isinstance(additional, dict):
            element = self._of(additional, preserve=preserve)
        elif additional or preserve or (not properties and additional is None):
            element = DEDUCED
        fields = {name: self._of(inner, preserve=preserve) for name, inner in properties.items()}
        return MapType(fields, element, atomic=schema.get("x-kubernetes-map-type") == "atomic")

    def _list(self, schema: Raw, *, preserve: bool) -> ListType:
        items = schema.get("items")
        element = self._of(items, preserve=preserve) if isinstance(items, dict) else ATOMIC
        mode = schema.get("x-kubernetes-list-type", "atomic")
        keys = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if mode == "map" else ()
        defaults = self._key_defaults(items or {}, keys) if keys else {}
        return ListType(element, keys, atomic=mode == "atomic" or (mode == "map" and not keys), defaults=defaults)

    def _key_defaults(self, items: Raw, keys: tuple[str, ...]) -> dict[str, Any]:  # Any: JSON
        found: dict[str, Any] = {}
        if "$ref" in items:  # what Go always has in an element is a default that the facts leave out
            items = self._definitions[items["$ref"]]
            required = items.get("required", ())
            found = {key: _ZEROS.get(items["properties"][key].get("type", "")) for key in keys if key in required}
        properties = items.get("properties") or {}
        return found | {key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})}


def zero_of(definitions: Mapping[str, Raw], definition: str) -> Raw:
    """An object of a built-in kind before anybody has written to it: what its Go structure always shows.

    A creation is a change of this object. So what it always shows is not itself owned by its creator.
    """
    schema = definitions[definition]
    required, always = schema.get("required", ()), schema.get("shown", {})
    found: Raw = {}
    for name, inner in (schema.get("properties") or {}).items():
        if inner.get("inline"):
            found[name] = zero_of(definitions, inner["$ref"])
        elif name in always:
            found[name] = always[name]
        elif name in required:
            found[name] = _ZEROS.get(inner.get("type", "")) if "$ref" not in inner else None
    return found


_ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}
