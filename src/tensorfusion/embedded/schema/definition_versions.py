"""What one version of a CustomResourceDefinition says beside its schema: deprecation, scale, columns, selection.

What all versions say alike is the definition's own to a real server: it is looked at once, and named without a version.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation, texts seen through a real server.
"""

from collections.abc import Sequence

from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.rule_compiler import field_path
from tensorfusion.embedded.schema.words import DUPLICATE, REQUIRED, TOO_MANY, complain, duplicate, required
from tensorfusion.model.meta import Raw

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SIMPLE_TEXT = "must be a simple json path starting with ."
_SCALE_ROOTS = {
    "specReplicasPath": (".spec.",),
    "statusReplicasPath": (".status.",),
    "labelSelectorPath": (".spec.", ".status."),
}
_SELECTABLE = ("string", "integer", "boolean")
_MOST_SELECTABLE = 8
_LONGEST_WARNING = 256


def check_deprecation(version: Raw, path: Path, problems: list[Problem]) -> None:
    """A warning is one line of a deprecated version."""
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    at: Path = (path, "deprecationWarning")
    if not version.get("deprecated"):
        complain(problems, at, warning, ["can only be set for deprecated versions"])
    wrong = next((index for index, letter in enumerate(warning) if not letter.isprintable()), None)
    if not warning:
        complain(problems, at, warning, ["must not be an empty string"])
    elif len(warning) > _LONGEST_WARNING:
        complain(problems, at, warning, [f"must be <= {_LONGEST_WARNING} characters long"])
    elif wrong is not None:
        text = f"must only contain printable UTF-8 characters; non-printable character found at index {wrong}"
        complain(problems, at, warning, [text])


def check_subresources(subresources: Raw | None, path: Path, problems: list[Problem]) -> None:
    """The paths of a scale."""
    scale = (subresources or {}).get("scale")
    if scale is None:
        return
    at: Path = ((path, "subresources"), "scale")
    for field, allowed in _SCALE_ROOTS.items():
        value = scale.get(field)
        if not value:
            if field != "labelSelectorPath":
                problems.append(Problem((at, field), required(), REQUIRED))
        elif not value.startswith("."):
            complain(problems, (at, field), value, [_SIMPLE_TEXT])
        elif not value.startswith(allowed):
            under = "either .spec or .status" if len(allowed) > 1 else allowed[0].rstrip(".")
            complain(problems, (at, field), value, [f"should be a json path under {under}"])


def check_columns(columns: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    """What Tables show of an object."""
    for index, column in enumerate(columns):
        at: Path = (path, index)
        if not column.get("name"):
            problems.append(Problem((at, "name"), required(), REQUIRED))
        kind, form, where = column.get("type"), column.get("format"), column.get("jsonPath")
        if not kind:
            text = required(f"must be one of {','.join(_COLUMN_TYPES)}")
            problems.append(Problem((at, "type"), text, REQUIRED))
        elif kind not in _COLUMN_TYPES:
            complain(problems, (at, "type"), kind, [f"must be one of {','.join(_COLUMN_TYPES)}"])
        if form and form not in _COLUMN_FORMATS:
            complain(problems, (at, "format"), form, [f"must be one of {','.join(_COLUMN_FORMATS)}"])
        if not where:
            problems.append(Problem((at, "JSONPath"), required(), REQUIRED))
        elif not where.startswith("."):
            complain(problems, (at, "JSONPath"), where, [_SIMPLE_TEXT])


def check_selectable(fields: Sequence[Raw], schema: Raw, path: Path, problems: list[Problem]) -> None:
    """Fields that lists may be narrowed by: plain ones that the schema knows, each named once."""
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where, at = field.get("jsonPath") or "", ((path, index), "jsonPath")
        if not where:
            problems.append(Problem(at, required(), REQUIRED))
            continue
        complaint = _not_selectable(where, schema)
        if complaint:
            complain(problems, at, where, [complaint])
        elif where in seen:
            problems.append(Problem(at, duplicate(where), DUPLICATE))
        seen.add(where)
    if len(seen) > _MOST_SELECTABLE:
        text = f"Too many: {len(seen)}: must have at most {_MOST_SELECTABLE} items"
        problems.append(Problem(path, text, TOO_MANY))


def _not_selectable(where: str, schema: Raw) -> str:
    """Why a field cannot be selected by; empty if it can."""
    if where[0] not in ".[":
        return f"is an invalid path: expected [ or . but got: {where.partition('.')[0].partition('[')[0]}"
    steps = field_path(where, schema)
    if steps is None:
        return "is an invalid path: does not refer to a valid field"
    if steps[0] == "metadata":
        return "must not point to fields in metadata"
    for step in steps:
        schema = (schema.get("properties") or {}).get(step) or schema["additionalProperties"]
    if schema.get("type") not in _SELECTABLE:
        return (
            "must point to a field of type string, boolean or integer. "
            "Enum string fields and strings with formats are allowed."
        )
    return ""
