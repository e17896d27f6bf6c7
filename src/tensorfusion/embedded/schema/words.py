"""The texts of field errors, as a real API server writes them.

Source: apimachinery util/validation/field; kube-openapi pkg/validation/errors.
"""

import json
from collections.abc import Iterable, Sequence

from tensorfusion.embedded.schema.path import Path, Problem, text_of
from tensorfusion.errors import FieldCause, Invalid
from tensorfusion.model.resources import Resource

REQUIRED = "FieldValueRequired"
INVALID = "FieldValueInvalid"
NOT_SUPPORTED = "FieldValueNotSupported"
DUPLICATE = "FieldValueDuplicate"
FORBIDDEN = "FieldValueForbidden"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
TYPE_INVALID = "FieldValueTypeInvalid"
NOT_FOUND = "FieldValueNotFound"
IMMUTABLE = "field is immutable"
SHOWN = 1000  # characters of a wrong value


class InLines(Invalid):
    """An object with an expression that does not compile: what the compiler says of it has lines."""


def shown(value: object) -> str:
    """A value as an error quotes it: strings in quotes, structures as compact JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def invalid_value(value: object, why: str) -> str:
    return f"Invalid value: {shown(value)}: {why}"


def required(why: str = "") -> str:
    return f"Required value: {why}" if why else "Required value"


def unsupported(value: object, supported: Iterable[object]) -> str:
    return f"Unsupported value: {shown(value)}: supported values: {', '.join(shown(item) for item in supported)}"


def duplicate(value: object) -> str:
    return f"Duplicate value: {shown(value)}"


def forbidden(why: str) -> str:
    return f"Forbidden: {why}"


def complain(problems: list[Problem], path: Path, value: object, complaints: Iterable[str]) -> None:
    """Add what a name rule has against a value."""
    problems.extend(Problem(path, invalid_value(value, complaint)) for complaint in complaints)


def invalid(resource: Resource, name: str, problems: Sequence[Problem]) -> Invalid:
    """The error for an object with problems, in one line, with a cause for each."""
    causes = [
        FieldCause(text_of(problem.path) if problem.field is None else problem.field, problem.message, problem.reason)
        for problem in problems
    ]
    lines = [f"{cause.field}: {cause.message}" for cause in causes]
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    listed = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    message = f"{kind} {shown(name)} is invalid: {listed}"
    made = InLines if "\n" in message else Invalid
    return made(message, kind=resource.kind, group=resource.group, name=name, causes=causes)
