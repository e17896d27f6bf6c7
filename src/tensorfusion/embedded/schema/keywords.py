"""What a schema of a definition may say at any of its places, the branches of ``anyOf`` and its kin included.

Apart from ``structure``, which is about places that hold fields: a real server looks at the keywords first, and some of
them are wrong as soon as they are there, whatever they say.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation, texts seen through a real server.
"""

from collections.abc import Iterator

from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES = ("atomic", "set", "map")
_MAP_TYPES = ("atomic", "granular")
_SCALARS = ("string", "integer", "number", "boolean")
_UNSUPPORTED = {
    "$ref": "$ref is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "patternProperties": "patternProperties is not supported",
    "additionalItems": "additionalItems is not supported",
    "id": "id is not supported",
}
_EVEN_EMPTY = frozenset({"$ref", "additionalItems", "dependencies"})


def check_keywords(schema: Raw, path: Path, problems: list[Problem]) -> None:
    """Keywords that are not taken, or not together, in a schema and in all inside it."""
    kind = schema.get("type")
    if kind and kind not in _TYPES:
        problems.append(Problem((path, "type"), unsupported(kind, _TYPES), NOT_SUPPORTED))
        if kind == "null":
            text = forbidden("type cannot be set to null, use nullable as an alternative")
            problems.append(Problem((path, "type"), text, FORBIDDEN))
    for keyword, text in _UNSUPPORTED.items():
        found = schema.get(keyword)
        if found or (found is not None and keyword in _EVEN_EMPTY):
            problems.append(Problem((path, keyword), forbidden(text), FORBIDDEN))
    if schema.get("$schema"):
        complain(problems, _root(path), "", ["OpenAPIV3Schema 'schema' is not supported"])
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        problems.append(Problem((path, "uniqueItems"), forbidden(text), FORBIDDEN))
    if schema.get("properties") and schema.get("additionalProperties") not in (None, True):
        text = "additionalProperties and properties are mutual exclusive"
        problems.append(Problem((path, "additionalProperties"), forbidden(text), FORBIDDEN))
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        complain(problems, (path, "x-kubernetes-preserve-unknown-fields"), False, ["must be true or undefined"])
    for name, inner in (schema.get("properties") or {}).items():
        if not isinstance(inner, dict):
            complain(problems, ((path, "properties"), Member(name)), inner, ["must be a schema object"])
    _check_lists(schema, path, problems)
    for at, inner in _inside(schema, path):
        check_keywords(inner, at, problems)


def _inside(schema: Raw, path: Path) -> Iterator[tuple[Path, Raw]]:
    """Every schema right below one, whatever it is there for."""
    for keyword in ("properties", "patternProperties", "definitions", "dependencies"):
        for name, inner in (schema.get(keyword) or {}).items():
            if isinstance(inner, dict):
                yield ((path, keyword), Member(name)), inner
    for keyword in ("items", "allOf", "anyOf", "oneOf", "not", "additionalProperties"):
        below = schema.get(keyword)
        if isinstance(below, dict):
            yield (path, keyword), below
        for index, inner in enumerate(below if isinstance(below, list) else ()):
            yield ((path, keyword), index), inner


def wrong_type(schema: Raw, path: Path, why: str, problems: list[Problem], *, wanted: str) -> None:
    """Say that a schema is not of the type that something else in it needs."""
    kind = schema.get("type")
    if not kind:
        problems.append(Problem((path, "type"), required(why), REQUIRED))
    elif kind != wanted:
        complain(problems, (path, "type"), kind, [why])


def _root(path: Path) -> Path:
    while path is not None and path[1] != "openAPIV3Schema":
        path = path[0]
    return path


def _check_lists(schema: Raw, path: Path, problems: list[Problem]) -> None:
    items = schema.get("items")
    if isinstance(items, list):
        text = forbidden("items must be a schema object and not an array")
        problems.append(Problem((path, "items"), text, FORBIDDEN))
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        wrong_type(schema, path, "must be object if x-kubernetes-map-type is specified", problems, wanted="object")
        if map_type not in _MAP_TYPES:
            at: Path = (path, "x-kubernetes-map-type")
            problems.append(Problem(at, unsupported(map_type, _MAP_TYPES), NOT_SUPPORTED))
    list_type = schema.get("x-kubernetes-list-type")
    at = (path, "x-kubernetes-list-type")
    if schema.get("x-kubernetes-list-map-keys") and list_type != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        if list_type is None:
            problems.append(Problem(at, required(text), REQUIRED))
        else:
            complain(problems, at, list_type, [text])
    if list_type is None:
        return
    wrong_type(schema, path, "must be array if x-kubernetes-list-type is specified", problems, wanted="array")
    if list_type not in _LIST_TYPES:
        problems.append(Problem(at, unsupported(list_type, _LIST_TYPES), NOT_SUPPORTED))
    elif list_type == "set" and isinstance(items, dict):
        _check_set_item(items, path, problems)
    elif list_type == "map" and isinstance(items, dict):
        _check_map_keys(schema, items, path, problems)


def _check_set_item(items: Raw, path: Path, problems: list[Problem]) -> None:
    at: Path = (path, "items")
    wanted = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        complain(problems, (at, "x-kubernetes-map-type"), items.get("x-kubernetes-map-type"), [wanted])
    elif items.get("type") == "array" and items.get("x-kubernetes-list-type", "atomic") != "atomic":
        complain(problems, (at, "x-kubernetes-list-type"), items["x-kubernetes-list-type"], [wanted])
    elif items.get("nullable"):
        text = forbidden("cannot be nullable when x-kubernetes-list-type is set")
        problems.append(Problem((at, "nullable"), text, FORBIDDEN))


def _check_map_keys(schema: Raw, items: Raw, path: Path, problems: list[Problem]) -> None:
    keys = schema.get("x-kubernetes-list-map-keys") or []
    at: Path = (path, "x-kubernetes-list-map-keys")
    at_items: Path = (path, "items")
    if not keys:
        problems.append(Problem(at, required("must not be empty if x-kubernetes-list-type is map"), REQUIRED))
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        complain(problems, (at_items, "type"), items.get("type", ""), [text])
        return
    properties = items.get("properties") or {}
    if any(key not in properties for key in keys):
        complain(problems, at, keys, ["entries must all be names of item properties"])
    if len(set(keys)) < len(keys):
        complain(problems, at, keys, ["must not contain duplicate entries"])
    needed = frozenset(items.get("required") or ())
    for key in keys:
        inner = properties.get(key)
        if inner is None:
            continue
        at_key: Path = ((at_items, "properties"), Member(key))
        if inner.get("type") not in _SCALARS and not inner.get("x-kubernetes-int-or-string"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            complain(problems, (at_key, "type"), inner.get("type", ""), [text])
        if "default" not in inner and key not in needed:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            problems.append(Problem((at_key, "default"), required(text), REQUIRED))
