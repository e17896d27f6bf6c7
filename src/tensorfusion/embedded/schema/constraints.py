"""Validate values of custom resources against their schema, compiled into closures, in the words of a real API server.

Each keyword of a schema becomes one step; a value runs through the steps of its schema and then into its parts.
CEL rules are apart (``rules``): they run only when nothing here blocks them.

Source: kube-openapi pkg/validation; apiextensions-apiserver pkg/apiserver/validation and schema/listtype.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from tensorfusion.embedded.schema.embedded_resources import check_embedded
from tensorfusion.embedded.schema.formats import FORMATS
from tensorfusion.embedded.schema.path import Path, Problem, plain_text_of
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    NOT_SUPPORTED,
    REQUIRED,
    TOO_LONG,
    TOO_MANY,
    TYPE_INVALID,
    duplicate,
    invalid_value,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw
from tensorfusion.re2.patterns import compile_pattern

# Any: a JSON value. Problems are added to the list.
Check = Callable[[Any, Path, list[Problem]], None]

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "integer": (int,),
    "object": (dict,),
    "array": (list,),
}
_INT_OR_STRING: tuple[type, ...] = (int, str)
_FORMAT_NAMES = {int: "int64", float: "double"}
_NOWHERE = "<nil>"
_NO_OBJECT = "must be an object for an array of list-type map"
_INT_64 = 1 << 63
_LOST = 1e-9


def compile_constraints(schema: Raw) -> Check | None:
    """The check of a value; None when the schema asks for nothing."""
    return _node(schema)


def json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer" if -_INT_64 <= value < _INT_64 else "number"
        case float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _node(schema: Raw) -> Check | None:
    combinations = _combination_steps(schema)
    steps = [*_value_steps(schema), *combinations]
    type_check = _type_step(schema)
    if type_check is None and not steps:
        return None
    nullable = bool(schema.get("nullable"))

    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        if value is None and nullable:
            return
        wrong_type = type_check is not None and type_check(value, path, problems)
        for step in combinations if wrong_type else steps:
            step(value, path, problems)

    return check


def _type_step(schema: Raw) -> Callable[[Any, Path, list[Problem]], bool] | None:
    """Says (and returns) whether the value is of a wrong type; enums are still compared, as the real server does."""
    named = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        types, wanted = _INT_OR_STRING, "integer,string"
    elif named in _PYTHON_TYPES:
        types, wanted = _PYTHON_TYPES[named], named
    else:
        return None
    whole = named == "integer"
    form = schema.get("format") if named == "string" else None
    exact = frozenset(types)
    enum = _enum_step(schema["enum"]) if "enum" in schema else None

    def check(value: Any, path: Path, problems: list[Problem]) -> bool:
        if type(value) in exact and not (type(value) is int and whole and not -_INT_64 <= value < _INT_64):
            return False
        if whole and type(value) is float and value.is_integer():
            return False
        if form in FORMATS and type(value) is list:
            return False
        found, meant = json_type(value), wanted
        if form and value is not None and not isinstance(value, str | list):  # formats are compared before types
            found, meant = _FORMAT_NAMES.get(type(value), ""), form
        text = f'Invalid value: "{found}": {plain_text_of(path)} in body must be of type {meant}: "{found}"'
        problems.append(Problem(path, text, TYPE_INVALID, blocking=True))
        if enum is not None:
            enum(value, path, problems)
        return True

    return check


def _value_steps(schema: Raw) -> list[Check]:
    """The keywords that look at one value, and the way into its parts."""
    steps: list[Check] = []
    if "enum" in schema:
        steps.append(_enum_step(schema["enum"]))
    if any(key in schema for key in ("minimum", "maximum", "multipleOf")):
        steps.append(_number_step(schema))
    if any(key in schema for key in ("minLength", "maxLength", "pattern")) or schema.get("format") in FORMATS:
        steps.append(_string_step(schema))
    if isinstance(schema.get("items"), dict) or any(key in schema for key in ("minItems", "maxItems", "uniqueItems")):
        steps.append(_array_step(schema))
    if schema.get("x-kubernetes-list-type") in ("set", "map"):
        steps.append(_unique_step(schema))
    object_keys = ("properties", "additionalProperties", "required", "minProperties", "maxProperties")
    if any(key in schema for key in object_keys) or schema.get("x-kubernetes-embedded-resource"):
        steps.append(_object_step(schema))
    return steps


def _enum_step(values: Sequence[Any]) -> Check:
    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        if not any(value == allowed and type(value) is type(allowed) for allowed in values):
            problems.append(Problem(path, unsupported(value, values), NOT_SUPPORTED, blocking=True))

    return check


def _number_step(schema: Raw) -> Check:
    low, high, factor = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    above, below = bool(schema.get("exclusiveMinimum")), bool(schema.get("exclusiveMaximum"))

    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        if type(value) is not int and type(value) is not float:
            return
        texts: list[str] = []
        if factor:
            whole = type(value) is int
            if whole and int(factor) <= 0:  # a server takes factors of whole numbers as whole
                text = f"factor MultipleOf declared for {plain_text_of(path)} must be positive: {int(factor)}"
                problems.append(Problem(path, invalid_value(int(factor), text)))
            elif value % int(factor) if whole else not _is_whole(value / factor):
                texts.append(f"be a multiple of {_number(factor)}")
        if high is not None and (value >= high if below else value > high):
            texts.append(f"be less than {_number(high)}" if below else f"be less than or equal to {_number(high)}")
        if low is not None and (value <= low if above else value < low):
            texts.append(f"be greater than {_number(low)}" if above else f"be greater than or equal to {_number(low)}")
        name = plain_text_of(path)
        problems.extend(Problem(path, invalid_value(value, f"{name} in body should {text}")) for text in texts)

    return check


def _is_whole(quotient: float) -> bool:
    """Whether a quotient is whole, but for what dividing loses."""
    if not math.isfinite(quotient):
        return False
    difference = abs(quotient - int(quotient))
    return not difference or difference / (abs(quotient) + abs(int(quotient))) < _LOST


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _string_step(schema: Raw) -> Check:
    low, high, pattern, form = (schema.get(key) for key in ("minLength", "maxLength", "pattern", "format"))
    search = compile_pattern(pattern).search if pattern is not None else None
    fits = FORMATS.get(form or "")

    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        if type(value) is not str:
            return
        if high is not None and len(value) > high:
            problems.append(Problem(path, f"Too long: may not be more than {high} bytes", TOO_LONG, blocking=True))
        elif low is not None and len(value) < low:
            text = f"{plain_text_of(path)} in body should be at least {low} chars long"
            problems.append(Problem(path, invalid_value(value, text)))
        elif search is not None and search(value) is None:
            text = f"{plain_text_of(path)} in body should match '{pattern}'"
            problems.append(Problem(path, invalid_value(value, text)))
        if fits is not None and not fits(value):
            text = f"{plain_text_of(path)} in body must be of type {form}: {json.dumps(value, ensure_ascii=False)}"
            problems.append(Problem(path, invalid_value(value, text), TYPE_INVALID, blocking=True))

    return check


def _array_step(schema: Raw) -> Check:
    low, high = schema.get("minItems"), schema.get("maxItems")
    items = schema.get("items")
    inner = _node(items) if isinstance(items, dict) else None

    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        if type(value) is not list:
            return
        if inner is not None:
            for index, item in enumerate(value):
                inner(item, (path, index), problems)
        if low is not None and len(value) < low:
            text = f"{plain_text_of(path)} in body should have at least {low} items"
            problems.append(Problem(path, invalid_value(len(value), text)))
        if high is not None and len(value) > high:
            problems.append(_too_many(path, len(value), high))

    return check


def _too_many(path: Path, found: int, allowed: int) -> Problem:
    return Problem(path, f"Too many: {found}: must have at most {allowed} items", TOO_MANY, blocking=True)


def _unique_step(schema: Raw) -> Check:
    """Sets hold each value once, maps each combination of keys."""
    keys: Sequence[str] | None = None
    if schema["x-kubernetes-list-type"] == "map":
        keys = schema.get("x-kubernetes-list-map-keys", ())

    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        if type(value) is not list:
            return
        seen: set[str] = set()
        for index, item in enumerate(value):
            shown = item
            if keys is not None:
                if item is None:
                    continue  # its type is wrong, and that is said elsewhere
                if type(item) is not dict:
                    problems.append(Problem((path, index), invalid_value(item, _NO_OBJECT)))
                    continue
                shown = {key: item[key] for key in keys if key in item}
            text = json.dumps(shown, sort_keys=True)
            if text in seen:
                problems.append(Problem((path, index), duplicate(shown), DUPLICATE))
            seen.add(text)

    return check


def _object_step(schema: Raw) -> Check:
    properties = [(name, _node(inner)) for name, inner in schema.get("properties", {}).items()]
    inner_checks = {name: check for name, check in properties if check is not None}
    known = frozenset(schema.get("properties", ()))
    additional = schema.get("additionalProperties")
    member = _node(additional) if isinstance(additional, dict) else None
    wanted = tuple(schema.get("required", ()))
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if embedded:
        wanted += tuple(name for name in ("apiVersion", "kind") if name not in wanted)
    low, high = schema.get("minProperties"), schema.get("maxProperties")

    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        if type(value) is not dict:
            return
        for name, item in value.items():
            inner = inner_checks.get(name)
            if inner is None and member is not None and name not in known:
                inner = member
            if inner is not None:
                inner(item, (path, name), problems)
        problems.extend(
            Problem((path, name), required(), REQUIRED, blocking=True) for name in wanted if name not in value
        )
        if embedded:
            check_embedded(value, path, problems)
        if low is not None and len(value) < low:
            text = f"{plain_text_of(path)} in body should have at least {low} properties"
            problems.append(Problem(path, invalid_value(len(value), text)))
        if high is not None and len(value) > high:
            problems.append(_too_many(path, len(value), high))

    return check


def _combination_steps(schema: Raw) -> list[Check]:
    steps = [
        _combination(keyword, [_node(inner) for inner in schema[keyword]])
        for keyword in ("allOf", "anyOf", "oneOf")
        if schema.get(keyword)
    ]
    if schema.get("not") is not None:
        steps.append(_negation(_node(schema["not"])))
    return steps


def _combination(keyword: str, checks: Sequence[Check | None]) -> Check:
    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        failures: list[list[Problem]] = []
        for inner in checks:
            found: list[Problem] = []
            if inner is not None:
                inner(value, path, found)
            if found:
                failures.append(found)
        matched = len(checks) - len(failures)
        name = plain_text_of(path)
        if keyword == "allOf" and failures:
            problems.append(_nowhere(f'"{name}" must validate all the schemas (allOf)'))
            problems.extend(problem for found in failures for problem in found)
        elif keyword == "anyOf" and not matched:
            problems.append(_nowhere(f'"{name}" must validate at least one schema (anyOf)'))
            problems.extend(_fewest(failures))
        elif keyword == "oneOf" and not matched:
            problems.append(_nowhere(f'"{name}" must validate one and only one schema (oneOf). Found none valid'))
            problems.extend(_fewest(failures))
        elif keyword == "oneOf" and matched > 1:
            text = f'"{name}" must validate one and only one schema (oneOf). Found {matched} valid alternatives'
            problems.append(_nowhere(text))

    return check


def _fewest(failures: Sequence[list[Problem]]) -> list[Problem]:
    """What the branch that came closest has to say."""
    return min(failures, key=_size)


def _size(found: list[Problem]) -> int:
    return len(found)


def _negation(inner: Check | None) -> Check:
    def check(value: Any, path: Path, problems: list[Problem]) -> None:
        found: list[Problem] = []
        if inner is not None:
            inner(value, path, found)
        if not found:
            problems.append(_nowhere(f'"{plain_text_of(path)}" must not validate the schema (not)'))

    return check


def _nowhere(text: str) -> Problem:
    """A problem of a combination: the real server names no field for it."""
    return Problem(None, f'Invalid value: "": {text}', field=_NOWHERE, stands=False)
