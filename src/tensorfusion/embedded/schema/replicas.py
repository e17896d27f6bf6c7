"""The numbers that a custom object's scale subresource shows: whole, not negative, and found where its definition says.

A real server looks at them apart from the schema, so a wrong one is told twice where the schema has bounds of its own.

Source: apiextensions-apiserver pkg/registry/customresource, ValidateScaleSpec and ValidateScaleStatus.
"""

from collections.abc import Sequence
from typing import Any

from tensorfusion.embedded.schema.path import Problem
from tensorfusion.embedded.schema.scalars import whole
from tensorfusion.embedded.schema.words import invalid_value
from tensorfusion.model.meta import Raw

_LARGEST = (1 << 31) - 1
_GO_NAMES = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


def check_replicas(obj: Raw, steps: Sequence[str], problems: list[Problem]) -> None:
    """Add what is wrong with the number at a path of field names; no number at all is fine."""
    value: Any = obj
    field = "".join(f".{step}" for step in steps)
    for step in steps:
        if not isinstance(value, dict):
            problems.append(_problem(field, 0, _of_type(field, value, "map[string]interface{}")))
            return
        if step not in value:
            return
        value = value[step]
    if type(value) is not int:
        problems.append(_problem(field, 0, _of_type(field, value, "int64")))
    elif value < 0:
        problems.append(_problem(field, value, "should be a non-negative integer"))
    elif value > _LARGEST:
        problems.append(_problem(field, value, f"should be less than or equal to {_LARGEST}"))


def _problem(field: str, value: int, why: str) -> Problem:
    return Problem(None, invalid_value(value, why), field=field, stands=False)


def _of_type(field: str, value: object, wanted: str) -> str:
    found = _GO_NAMES.get(type(value), "<nil>")
    return f"{field} accessor error: {_plain(value)} is of the type {found}, expected {wanted}"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(whole(value) if isinstance(value, float) else value)
