"""Which schemas a CustomResourceDefinition may have: the rules of structural schemas.

Source: apiextensions-apiserver pkg/apiserver/schema/validation.go, texts seen through a real server.
"""

import re
from typing import Any

from tensorfusion.embedded.schema.constraints import compile_constraints
from tensorfusion.embedded.schema.decode import fresh
from tensorfusion.embedded.schema.definition_rules import NEW_DEFINITION, Known, check_rules
from tensorfusion.embedded.schema.keywords import check_keywords, wrong_type
from tensorfusion.embedded.schema.path import Member, Path, Problem, text_of
from tensorfusion.embedded.schema.rules import MISSING, Evaluation, compile_rules
from tensorfusion.embedded.schema.structural import compile_structural
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    REQUIRED,
    complain,
    forbidden,
    required,
    shown,
)
from tensorfusion.model.meta import Raw
from tensorfusion.re2.patterns import compile_pattern

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
    check_keywords(schema, path, problems)
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
    if metadata is None:
        return
    at: Path = ((path, "properties"), Member("metadata"))
    if metadata.get("type") != "object":
        complain(problems, (at, "type"), metadata.get("type", ""), ["must be object"])
    if metadata.get("default") is not None:
        text = forbidden("must not be set in top-level metadata")
        problems.append(Problem((at, "default"), text, FORBIDDEN))
    allowed = {"type", "properties", "description", "default", "example", "externalDocs"}
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
    if kind == "array" and schema.get("items") is None:
        problems.append(Problem((path, "items"), required("must be specified"), REQUIRED))
    _check_extensions(schema, path, problems, top=top)
    _check_pattern(schema, path, problems)
    at: Path = (path, "properties")
    for name, inner in (schema.get("properties") or {}).items():
        if not (top and name == "metadata"):
            _check_node(inner, (at, Member(name)), problems)
    if isinstance(schema.get("items"), dict):
        _check_node(schema["items"], (path, "items"), problems)
    if isinstance(schema.get("additionalProperties"), dict):
        _check_node(schema["additionalProperties"], (path, "additionalProperties"), problems)


def _check_extensions(schema: Raw, path: Path, problems: list[Problem], *, top: bool) -> None:
    """What a structural schema says of itself beside its type, and what does not go together."""
    at: Path = (path, "additionalProperties")
    embedded, preserve = "x-kubernetes-embedded-resource", "x-kubernetes-preserve-unknown-fields"
    if schema.get("additionalProperties") is not None:
        if top:
            problems.append(Problem(at, forbidden("must not be used at the root"), FORBIDDEN))
        if schema.get(embedded):
            text = forbidden(f"must not be used if {embedded} is set")
            problems.append(Problem(at, text, FORBIDDEN))
    if schema.get("x-kubernetes-int-or-string"):
        for field in (embedded, preserve):
            if schema.get(field):
                complain(problems, (path, field), True, ["must be false if x-kubernetes-int-or-string is true"])
    if schema.get(embedded):
        wrong_type(schema, path, f"must be object if {embedded} is true", problems, wanted="object")
        if not schema.get("properties") and not schema.get(preserve):
            text = required(f"must not be empty if {embedded} is true without {preserve}")
            problems.append(Problem((path, "properties"), text, REQUIRED))


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
    if schema.get("not") is not None:
        _check_branch(schema["not"], (path, "not"), problems)


def _check_branch(branch: Raw, path: Path, problems: list[Problem]) -> None:
    for keyword, text in _STRUCTURAL_ONLY.items():
        found = branch.get(keyword)
        if found or (found is not None and "undefined" in text and (keyword, found) != ("additionalProperties", False)):
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
