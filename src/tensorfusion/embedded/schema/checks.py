"""The single-field rules of built-in kinds, compiled from the facts: required, enum, name form, bounds of numbers.

Only structures with a rule somewhere inside are visited. What needs more than one field is in ``builtin``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorfusion.embedded.schema.names import RULES, Rule
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    invalid_value,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

# Any: a JSON value that has been decoded. Problems are added to the list.
Check = Callable[[Any, Path, list[Problem]], None]
FieldCheck = Callable[[Raw, Path, list[Problem]], None]


def compile_checks(definitions: Mapping[str, Raw], root: str) -> Check:
    """The rules of one kind's whole object, without ``metadata`` and ``status``."""
    return _Compiler(definitions).struct(root, skip=("metadata", "status")) or _nothing


def _nothing(value: Any, path: Path, problems: list[Problem]) -> None:
    """A kind without rules."""


class _Compiler:
    def __init__(self, definitions: Mapping[str, Raw]) -> None:
        self._definitions = definitions
        self._structs: dict[str, Check | None] = {}

    def struct(self, name: str, skip: Sequence[str] = ()) -> Check | None:
        """The check of a structure; None when there is nothing to check in it."""
        if name in self._structs:
            return self._structs[name]
        self._structs[name] = None  # a structure inside itself has no rules of ours
        definition = self._definitions[name]
        rules = definition.get("checks", {})
        fields, short = definition.get("properties", {}), name.rsplit(".", 1)[-1]
        steps: list[FieldCheck] = [
            step
            for field, rule in rules.items()
            for step in _field_checks(
                field, rule, empty=(short, field) in _MAY_BE_EMPTY or fields.get(field, {}).get("default") == ""
            )
        ]
        inner: list[tuple[str, Check, bool]] = []
        for field, schema in fields.items():
            check = None if field in skip else self._value(schema)
            if check is not None:
                inner.append((field, check, bool(schema.get("inline"))))
        self._structs[name] = found = _struct_check(steps, inner) if steps or inner else None
        return found

    def _value(self, schema: Raw) -> Check | None:
        if "$ref" in schema:
            return self.struct(schema["$ref"])
        if schema.get("type") == "array":
            item = self._value(schema["items"])
            return _each_item(item) if item is not None else None
        if isinstance(schema.get("additionalProperties"), dict):
            item = self._value(schema["additionalProperties"])
            return _each_member(item) if item is not None else None
        return None


def _struct_check(steps: Sequence[FieldCheck], inner: Sequence[tuple[str, Check, bool]]) -> Check:
    def check(obj: Any, path: Path, problems: list[Problem]) -> None:
        for step in steps:
            step(obj, path, problems)
        for field, inside, always in inner:
            value = obj.get(field)
            if value is None and always:
                value = {}
            if value is not None:
                inside(value, (path, field), problems)

    return check


def _each_item(item: Check) -> Check:
    def check(values: Any, path: Path, problems: list[Problem]) -> None:
        for index, value in enumerate(values):
            item(value, (path, index), problems)

    return check


def _each_member(item: Check) -> Check:
    def check(values: Any, path: Path, problems: list[Problem]) -> None:
        for key, value in values.items():
            item(value, (path, Member(key)), problems)

    return check


_MAY_BE_EMPTY = frozenset(
    {("TypedLocalObjectReference", "apiGroup"), ("TypedObjectReference", "apiGroup"), ("StorageClass", "reclaimPolicy")}
)
"""Texts whose emptiness is kept and says nothing, beside those that are empty by default. Other empty texts that are
there are wrong where only some texts are right."""


def _field_checks(field: str, rule: Raw, *, empty: bool) -> list[FieldCheck]:
    """``empty``: an empty text is as good as none; where the field is needed that is said of it."""
    checks: list[FieldCheck] = []
    empty = empty or "required" in rule
    if "required" in rule:
        checks.append(_required(field, rule["required"]))
    if "enum" in rule:
        checks.append(_enum(field, tuple(rule["enum"]), empty=empty))
    if "name" in rule:
        checks.append(_name(field, RULES[rule["name"]], empty=empty))
    if "minimum" in rule or "maximum" in rule:
        checks.append(_bounds(field, rule))
    return checks


def _out_of_bounds(path: Path, value: int, text: str) -> Problem:
    """In the facts' words; a bound that is forbidden rather than wrong says so itself."""
    if text.startswith("Forbidden: "):
        return Problem(path, text, FORBIDDEN)
    return Problem(path, invalid_value(value, text))


_UNSET: tuple[object, ...] = (0, "", [])  # Go's zero values


def _required(field: str, why: str) -> FieldCheck:
    message = required(why)

    def check(obj: Raw, path: Path, problems: list[Problem]) -> None:
        value = obj.get(field)
        if value is None or value in _UNSET:
            problems.append(Problem((path, field), message, REQUIRED))

    return check


def _enum(field: str, values: tuple[str, ...], *, empty: bool) -> FieldCheck:
    allowed = frozenset({*values, ""} if empty else values)

    def check(obj: Raw, path: Path, problems: list[Problem]) -> None:
        value = obj.get(field)
        if value is not None and value not in allowed:
            problems.append(Problem((path, field), unsupported(value, values), NOT_SUPPORTED))

    return check


def _name(field: str, rule: Rule, *, empty: bool) -> FieldCheck:
    def check(obj: Raw, path: Path, problems: list[Problem]) -> None:
        value = obj.get(field)
        if value or not (empty or value is None):
            complain(problems, (path, field), value, rule(value))

    return check


def _bounds(field: str, rule: Raw) -> FieldCheck:
    low, low_text = rule.get("minimum", (None, ""))
    high, high_text = rule.get("maximum", (None, ""))
    zero_is_unset = "required" in rule

    def check(obj: Raw, path: Path, problems: list[Problem]) -> None:
        value = obj.get(field)
        if value is None or (zero_is_unset and value == 0):
            return
        if low is not None and value < low:
            problems.append(_out_of_bounds((path, field), value, low_text))
        elif high is not None and value > high:
            problems.append(_out_of_bounds((path, field), value, high_text))

    return check
