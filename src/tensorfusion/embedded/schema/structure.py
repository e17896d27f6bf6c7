"""Which schemas a CustomResourceDefinition may have: the rules of structural schemas.

Source: apiextensions-apiserver pkg/apiserver/schema/validation.go, texts seen through a real server.
"""

import re
from typing import Any

from tensorfusion.cel.patterns import compile_pattern
from tensorfusion.embedded.schema.constraints import compile_constraints
from tensorfusion.embedded.schema.decode import fresh
from tensorfusion.embedded.schema.definition_rules import NEW_DEFINITION, Known, check_rules
from tensorfusion.embedded.schema.path import Member, Path, Problem, text_of
from tensorfusion.embedded.schema.rules import MISSING, Evaluation, compile_rules
from tensorfusion.embedded.schema.structural import compile_structural
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    required,
    shown,
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
# What a branch of anyOf, oneOf, allOf or not must leave to the schema around it.
_STRUCTURAL_ONLY = {
    "type": "must be empty to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "default": "must be undefined to be structural",
    "nullable": "must be false to be structural",
    "additionalProperties": "must be undefined to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_COMBINATIONS = ("allOf", "anyOf", "oneOf")


def check_structure(schema: Raw, path: Path, problems: list[Problem], *, known: Known = NEW_DEFINITION) -> None:
    """Every rule for a whole schema: structure, patterns, list types, defaults, CEL rules."""
    before = len(problems)
    kind = schema.get("type")
    if not kind:
        problems.append(Problem((path, "type"), required("must not be empty at the root"), REQUIRED))
    elif kind != "object":
        complain(problems, (path, "type"), kind, ["must be object at the root"])
    if schema.get("nullable"):
        problems.append(Problem((path, "nullable"), forbidden("nullable cannot be true at the root"), FORBIDDEN))
    _check_own(schema, path, problems)
    _check_node(schema, path, problems, top=True)
    if len(problems) == before:
        _check_defaults(schema, path, problems)
    check_rules(schema, path, problems, known=known, compiles=len(problems) == before)


def _check_own(schema: Raw, path: Path, problems: list[Problem]) -> None:
    """Kind, version and metadata are the server's own: a definition may only say more of the name."""
    properties = schema.get("properties") or {}
    for name in ("apiVersion", "kind"):
        kind = (properties.get(name) or {}).get("type")
        if kind and kind != "string":
            complain(problems, (((path, "properties"), Member(name)), "type"), kind, ["must be string"])
    metadata = properties.get("metadata")
    if not metadata:
        return
    at: Path = ((path, "properties"), Member("metadata"))
    if metadata.get("default") is not None:
        text = forbidden("must not be set in top-level metadata")
        problems.append(Problem((at, "default"), text, FORBIDDEN))
    allowed = {"type", "properties", "description", "default"}
    if set(metadata) - allowed or set(metadata.get("properties") or ()) - {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        problems.append(Problem(at, forbidden(text), FORBIDDEN))


def _check_node(schema: Raw, path: Path, problems: list[Problem], *, top: bool = False) -> None:
    _check_combinations(schema, path, problems)
    kind = schema.get("type")
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if not kind and not top and not free:
        place = "array items" if path is not None and path[1] == "items" else "object fields"
        text = required(f"must not be empty for specified {place}")
        problems.append(Problem((path, "type"), text, REQUIRED))
    elif kind and kind not in _TYPES:
        problems.append(Problem((path, "type"), unsupported(kind, _TYPES), NOT_SUPPORTED))
        if kind == "null":
            text = forbidden("type cannot be set to null, use nullable as an alternative")
            problems.append(Problem((path, "type"), text, FORBIDDEN))
    _check_keywords(schema, path, problems)
    _check_lists(schema, path, problems)
    at: Path = (path, "properties")
    for name, inner in (schema.get("properties") or {}).items():
        if not (top and name == "metadata"):
            _check_node(inner, (at, Member(name)), problems)
    if isinstance(schema.get("items"), dict):
        _check_node(schema["items"], (path, "items"), problems)
    if isinstance(schema.get("additionalProperties"), dict):
        _check_node(schema["additionalProperties"], (path, "additionalProperties"), problems)


def _check_keywords(schema: Raw, path: Path, problems: list[Problem]) -> None:
    """Keywords that are not taken, or not together."""
    for keyword, text in _UNSUPPORTED.items():
        if schema.get(keyword):
            problems.append(Problem((path, keyword), forbidden(text), FORBIDDEN))
    if schema.get("$schema"):
        complain(problems, _root(path), "", ["OpenAPIV3Schema 'schema' is not supported"])
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        problems.append(Problem((path, "uniqueItems"), forbidden(text), FORBIDDEN))
    if schema.get("properties") and schema.get("additionalProperties"):
        text = "additionalProperties and properties are mutual exclusive"
        problems.append(Problem((path, "additionalProperties"), forbidden(text), FORBIDDEN))
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        complain(problems, (path, "x-kubernetes-preserve-unknown-fields"), False, ["must be true or undefined"])
    if schema.get("x-kubernetes-embedded-resource"):
        if schema.get("type") != "object":
            complain(
                problems,
                (path, "type"),
                schema.get("type", ""),
                ["must be object if x-kubernetes-embedded-resource is true"],
            )
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            text = (
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            )
            problems.append(Problem((path, "properties"), required(text), REQUIRED))
    _check_pattern(schema, path, problems)
    for name, inner in (schema.get("properties") or {}).items():
        if not isinstance(inner, dict):
            complain(problems, ((path, "properties"), Member(name)), inner, ["must be a schema object"])


def _root(path: Path) -> Path:
    while path is not None and path[1] != "openAPIV3Schema":
        path = path[0]
    return path


def _check_pattern(schema: Raw, path: Path, problems: list[Problem]) -> None:
    pattern = schema.get("pattern")
    if pattern:
        try:
            compile_pattern(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            complain(problems, (path, "pattern"), pattern, [text])


def _check_combinations(schema: Raw, path: Path, problems: list[Problem]) -> None:
    """Branches only narrow what the schema around them says."""
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    for keyword in _COMBINATIONS:
        branches = schema.get(keyword) or ()
        if int_or_string and keyword == "anyOf" and list(branches) == _INT_OR_STRING:
            continue
        for index, branch in enumerate(branches):
            if int_or_string and keyword == "allOf" and branch.get("anyOf") == _INT_OR_STRING:
                continue
            _check_branch(branch, ((path, keyword), index), problems)
    if schema.get("not"):
        _check_branch(schema["not"], (path, "not"), problems)


def _check_branch(branch: Raw, path: Path, problems: list[Problem]) -> None:
    for keyword, text in _STRUCTURAL_ONLY.items():
        if branch.get(keyword):
            problems.append(Problem((path, keyword), forbidden(text), FORBIDDEN))
    _check_pattern(branch, path, problems)
    for name, inner in (branch.get("properties") or {}).items():
        _check_branch(inner, ((path, "properties"), Member(name)), problems)
    if isinstance(branch.get("items"), dict):
        _check_branch(branch["items"], (path, "items"), problems)
    for keyword in _COMBINATIONS:
        for index, inner in enumerate(branch.get(keyword) or ()):
            _check_branch(inner, ((path, keyword), index), problems)
    if branch.get("not"):
        _check_branch(branch["not"], (path, "not"), problems)


def _check_lists(schema: Raw, path: Path, problems: list[Problem]) -> None:
    kind, items = schema.get("type"), schema.get("items")
    if kind == "array" and items is None:
        problems.append(Problem((path, "items"), required("must be specified"), REQUIRED))
    elif isinstance(items, list):
        text = forbidden("items must be a schema object and not an array")
        problems.append(Problem((path, "items"), text, FORBIDDEN))
    map_type = schema.get("x-kubernetes-map-type")
    if map_type and kind != "object":
        complain(problems, (path, "type"), kind or "", ["must be object if x-kubernetes-map-type is specified"])
    if map_type and map_type not in _MAP_TYPES:
        problems.append(Problem((path, "x-kubernetes-map-type"), unsupported(map_type, _MAP_TYPES), NOT_SUPPORTED))
    list_type = schema.get("x-kubernetes-list-type")
    if not list_type:
        return
    if list_type not in _LIST_TYPES:
        problems.append(Problem((path, "x-kubernetes-list-type"), unsupported(list_type, _LIST_TYPES), NOT_SUPPORTED))
    elif kind != "array":
        complain(problems, (path, "type"), kind or "", ["must be array if x-kubernetes-list-type is specified"])
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
    for key in keys:
        inner = properties.get(key)
        if inner is None:
            continue
        at_key: Path = ((at_items, "properties"), Member(key))
        if inner.get("type") not in _SCALARS and not inner.get("x-kubernetes-int-or-string"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            complain(problems, (at_key, "type"), inner.get("type", ""), [text])
        if "default" not in inner and key not in (items.get("required") or ()):
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            problems.append(Problem((at_key, "default"), required(text), REQUIRED))


def _check_defaults(schema: Raw, path: Path, problems: list[Problem]) -> None:
    """Defaults must be values that the schema itself takes. Those of free members are not looked at."""
    if schema.get("default") is not None:
        _check_default(schema, (path, "default"), problems)
    at: Path = (path, "properties")
    for name, inner in (schema.get("properties") or {}).items():
        _check_defaults(inner, (at, Member(name)), problems)
    if isinstance(schema.get("items"), dict):
        _check_defaults(schema["items"], (path, "items"), problems)


def _check_default(schema: Raw, path: Path, problems: list[Problem]) -> None:
    default: Any = schema["default"]
    unknown: list[str] = []
    holder = {"v": fresh(default)}
    compile_structural({"type": "object", "properties": {"v": schema}}, _as_is)(holder, None, unknown)
    if unknown:
        complain(problems, path, default, ["must not have unknown fields"])
        return
    check = compile_constraints(schema)
    found: list[Problem] = []
    if check is not None:
        check(holder.get("v"), None, found)
    for problem in found:
        where = f"{text_of(path)}.{text_of(problem.path)}" if problem.path is not None else text_of(path)
        problems.append(Problem(path, problem.message or shown(default), problem.reason, field=where))
    if not found:
        problems += _broken_rules(schema, default, path)


def _broken_rules(schema: Raw, default: Any, path: Path) -> list[Problem]:
    """The rules that a default breaks when it replaces itself, or else when it is new."""
    rules = compile_rules(schema)
    if rules is None:
        return []
    for old in (default, MISSING):
        evaluation = Evaluation()
        rules.check(default, old, path, evaluation)
        if evaluation.problems:
            return evaluation.problems
    return []


def _as_is(value: Any, path: Path, unknown: list[str]) -> Any:
    return value
