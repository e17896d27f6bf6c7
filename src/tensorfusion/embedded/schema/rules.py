"""The CEL rules of a custom resource's schema: compiled when it is installed, evaluated on every write.

A rule sees the value at its place as ``self`` and, on updates, the value it replaces as ``oldSelf``. List items are
matched with their predecessors by map keys; items of other lists have none, so transition rules do not apply inside
them.

Source: apiextensions-apiserver pkg/apiserver/schema/cel.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorfusion.embedded.cel import RULE_VARIABLES, CelError, Program, compile_expression
from tensorfusion.embedded.cel_fields import escaped, wrong_fields
from tensorfusion.embedded.schema.constraints import json_type
from tensorfusion.embedded.schema.path import Member, Path, Problem, Step
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    invalid_value,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

REASONS = (INVALID, FORBIDDEN, REQUIRED, DUPLICATE)
_OLD_SELF = re.compile(r"\boldSelf\b")
_MISSING = object()
# With optionalOldSelf a rule sees an optional. It arrives as a list of none or one: optionals cannot be passed in.
_OPTIONAL_VARIABLES = ("self", "oldSelves")
_OPTIONAL_RULE = "cel.bind(oldSelf, size(oldSelves) == 0 ? optional.none() : optional.of(oldSelves[0]), {})"
_FIELD_PATH = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\['((?:[^'\\]|\\.)*)'\]")

# Any: JSON values, changed copies of them when the schema needs it.
Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``x-kubernetes-validations``."""

    program: Program
    source: str
    message: str
    message_program: Program | None
    reason: str
    field_path: tuple[Step, ...]
    transition: bool
    optional_old: bool


class RuleNode:
    """The rules at one place of a schema and below it."""

    __slots__ = ("convert", "items", "keys", "members", "properties", "rules")

    def __init__(
        self,
        rules: Sequence[Rule],
        properties: Mapping[str, "RuleNode"],
        *,
        items: "RuleNode | None",
        members: "RuleNode | None",
        keys: Sequence[str],
        convert: Convert | None,
    ) -> None:
        self.rules = rules
        self.properties = properties
        self.items = items
        self.members = members
        self.keys = keys
        self.convert = convert

    def check(self, value: Any, old: Any, path: Path, problems: list[Problem]) -> None:
        """Evaluate every rule on the value. ``old`` is ``MISSING`` where there is no predecessor."""
        if self.rules and value is not None:
            seen = value if self.convert is None else self.convert(value)
            before = old if self.convert is None or old is _MISSING else self.convert(old)
            for rule in self.rules:
                if not rule.transition or rule.optional_old or before is not _MISSING:
                    _evaluate(rule, seen, before, path, problems)
        if type(value) is dict:
            previous = old if type(old) is dict else {}
            for name, item in value.items():
                node = self.properties.get(name)
                step: Step = name
                if node is None and self.members is not None:
                    node, step = self.members, Member(name)
                if node is not None:
                    node.check(item, previous.get(name, _MISSING), (path, step), problems)
        elif type(value) is list and self.items is not None:
            predecessors = _by_keys(old, self.keys) if self.keys and type(old) is list else {}
            for index, item in enumerate(value):
                before = predecessors.get(_key_of(item, self.keys), _MISSING) if predecessors else _MISSING
                self.items.check(item, before, (path, index), problems)


MISSING = _MISSING


def compile_rules(schema: Raw, where: Path, problems: list[Problem]) -> RuleNode | None:
    """The rules of an object's schema, None when it has none. What is wrong with them is added to ``problems``.

    As those of an embedded object, its rules may speak of ``apiVersion``, ``kind`` and ``metadata.name``, whatever the
    schema says of them.
    """
    return _compile_node({**schema, "x-kubernetes-embedded-resource": True}, where, problems)


def _compile_node(schema: Raw, where: Path, problems: list[Problem]) -> RuleNode | None:
    rules = list(_rules_at(schema, where, problems))
    properties: dict[str, RuleNode] = {}
    at_properties: Path = (where, "properties")
    for name, inner in schema.get("properties", {}).items():
        node = _compile_node(inner, (at_properties, Member(name)), problems)
        if node is not None:
            properties[name] = node
    items = schema.get("items")
    item_node = _compile_node(items, (where, "items"), problems) if isinstance(items, dict) else None
    additional = schema.get("additionalProperties")
    member_node = (
        _compile_node(additional, (where, "additionalProperties"), problems) if isinstance(additional, dict) else None
    )
    if not (rules or properties or item_node or member_node):
        return None
    keys: Sequence[str] = ()
    if schema.get("x-kubernetes-list-type") == "map":
        keys = schema.get("x-kubernetes-list-map-keys", ())
    convert = converter(schema) if rules else None
    return RuleNode(rules, properties, items=item_node, members=member_node, keys=keys, convert=convert)


def _rules_at(schema: Raw, where: Path, problems: list[Problem]) -> Iterator[Rule]:
    for index, raw in enumerate(schema.get("x-kubernetes-validations") or ()):
        here: Path = ((where, "x-kubernetes-validations"), index)
        source = raw.get("rule", "")
        optional = bool(raw.get("optionalOldSelf"))
        if not source.strip():
            problems.append(Problem((here, "rule"), required("rule is not specified"), REQUIRED))
            continue
        program = _compiled(source, schema, (here, "rule"), problems, optional=optional)
        message_program = None
        if raw.get("messageExpression"):
            message_program = _compiled(
                raw["messageExpression"],
                schema,
                (here, "messageExpression"),
                problems,
                optional=optional,
                wanted="string",
            )
        reason = raw.get("reason") or INVALID
        if reason not in REASONS:
            problems.append(Problem((here, "reason"), unsupported(reason, sorted(REASONS)), NOT_SUPPORTED))
        if "\n" in (raw.get("message") or ""):
            complain(problems, (here, "message"), raw["message"], ["must not contain line breaks"])
        field_path = _field_path(raw.get("fieldPath") or "", schema, (here, "fieldPath"), problems)
        if program is not None:
            yield Rule(
                program,
                source,
                raw.get("message") or "",
                message_program,
                reason,
                field_path,
                transition=bool(_OLD_SELF.search(source)),
                optional_old=optional,
            )


def _compiled(
    source: str, schema: Raw, path: Path, problems: list[Problem], *, optional: bool, wanted: str = "bool"
) -> Program | None:
    try:
        if optional:
            return compile_expression(_OPTIONAL_RULE.format(source), _OPTIONAL_VARIABLES, wanted)
        program = compile_expression(source, RULE_VARIABLES, wanted)
    except CelError as error:
        problems.append(Problem(path, invalid_value(source, str(error))))
        return None
    complaints = wrong_fields(program.serialized(), {"self": schema, "oldSelf": schema})
    for complaint in dict.fromkeys(complaints):
        complain(problems, path, source, [f"compilation failed: ERROR: {complaint}"])
    return program


def _field_path(text: str, schema: Raw, path: Path, problems: list[Problem]) -> tuple[Step, ...]:
    """``.spec['a.b']`` as steps; every step must be a field of the schema."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _FIELD_PATH.match(text, at)
        if match is None:
            problems.append(Problem(path, invalid_value(text, f"invalid field path at character {at}")))
            return ()
        name = match[1] if match[1] is not None else match[2]
        inner = schema.get("properties", {}).get(name)
        if inner is None and isinstance(schema.get("additionalProperties"), dict):
            inner = schema["additionalProperties"]
        if inner is None:
            problems.append(Problem(path, invalid_value(text, f'does not refer to a valid field: no field "{name}"')))
            return ()
        steps.append(name)
        schema, at = inner, match.end()
    return tuple(steps)


def _evaluate(rule: Rule, value: Any, old: Any, path: Path, problems: list[Problem]) -> None:
    if rule.optional_old:
        variables = {"self": value, "oldSelves": [] if old is _MISSING else [old]}
    else:
        variables = {"self": value, "oldSelf": None if old is _MISSING else old}
    try:
        if rule.program.evaluate(variables) is True:
            return
    except CelError as error:
        text = f'Invalid value: "{json_type(value)}": {error} evaluating rule: {rule.message or rule.source}'
        problems.append(Problem(path, text, stands=not rule.transition))
        return
    for step in rule.field_path:
        path = (path, step)
    text = _message(rule, variables)
    worded = {
        FORBIDDEN: forbidden(text),
        REQUIRED: required(text),
        DUPLICATE: f'Duplicate value: "{json_type(value)}"',
    }.get(rule.reason, f'Invalid value: "{json_type(value)}": {text}')
    problems.append(Problem(path, worded, rule.reason, stands=not rule.transition))


def _message(rule: Rule, variables: Mapping[str, Any]) -> str:
    if rule.message_program is not None:
        try:
            found = rule.message_program.evaluate(variables)
        except CelError:
            found = ""  # as the real server: fall back to the fixed message
        if isinstance(found, str) and found.strip() and "\n" not in found:
            return found
    return rule.message or f"failed rule: {rule.source}"


def _by_keys(items: Sequence[Any], keys: Sequence[str]) -> dict[tuple[Any, ...], Any]:
    return {_key_of(item, keys): item for item in items}


def _key_of(item: Any, keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(str(item.get(key)) for key in keys) if type(item) is dict else ()


def converter(schema: Raw) -> Convert | None:
    """Makes JSON what rules expect: whole numbers in number fields as floats, odd names escaped. None: no need."""
    if schema.get("type") == "number":
        return lambda value: float(value) if type(value) is int else value
    if isinstance(schema.get("items"), dict):
        item = converter(schema["items"])
        return (lambda value: [item(one) for one in value] if type(value) is list else value) if item else None
    properties = {name: (escaped(name), converter(inner)) for name, inner in schema.get("properties", {}).items()}
    changed = {name: entry for name, entry in properties.items() if entry[0] != name or entry[1] is not None}
    additional = schema.get("additionalProperties")
    member = converter(additional) if isinstance(additional, dict) else None
    if not changed and member is None:
        return None

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            return value
        result = {}
        for name, item in value.items():
            written, inner = changed.get(name, (name, member if name not in properties else None))
            result[written] = item if inner is None or item is None else inner(item)
        return result

    return convert
