"""The CEL rules of a custom resource's schema: compiled when it is installed, evaluated on every write.

A rule sees the value at its place as ``self`` and, on updates, the value it replaces as ``oldSelf``. List items are
matched with their predecessors by map keys; items of other lists have none, so transition rules do not apply inside
them. The rules of one object share a budget of cost.

Source: apiextensions-apiserver pkg/apiserver/schema/cel; apis/apiextensions/validation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorfusion.cel import (
    NOTHING,
    STORED,
    CelError,
    CostExceeded,
    EvaluationError,
    Some,
)
from tensorfusion.embedded.schema.constraints import json_type
from tensorfusion.embedded.schema.path import Member, Path, Problem, Step
from tensorfusion.embedded.schema.rule_compiler import OLD, RULES, Rule, RuleCompiler
from tensorfusion.embedded.schema.typed import Convert, converter, with_metadata
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    REQUIRED,
    forbidden,
    required,
)
from tensorfusion.model.meta import Raw

# What all rules may cost for one object.
OBJECT_BUDGET = 10_000_000
_LONGEST_MESSAGE = 5 * 1024
_MISSING = object()
_WHOLE = "<nil>"
"""The field of what is wrong with an object as a whole."""
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_NO_OVERLOAD = "call arguments did not match a supported operator, function or macro signature for rule"
_CALL_LIMIT = "no further validation rules will be run due to call cost exceeds limit for rule"


@dataclass(slots=True)
class Evaluation:
    """The rules of one object under way: what is wrong, and what may still be spent. Below zero: it has ended."""

    problems: list[Problem] = field(default_factory=list)
    budget: int = OBJECT_BUDGET

    def spent(self, cost: int) -> bool:
        """Whether that much was left; it no longer is."""
        self.budget = self.budget - cost if cost <= self.budget else -1
        return self.budget >= 0


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

    def check(self, value: Any, old: Any, path: Path, evaluation: Evaluation) -> None:
        """Evaluate every rule on the value. ``old`` is ``MISSING`` where there is no predecessor."""
        if self.rules and value is not None and evaluation.budget >= 0:
            self._check_here(value, old, path, evaluation)
        if type(value) is dict:
            previous = old if type(old) is dict else {}
            for name, item in value.items():
                node = self.properties.get(name)
                step: Step = name
                if node is None and self.members is not None:
                    node, step = self.members, Member(name)
                if node is not None:
                    node.check(item, previous.get(name, _MISSING), (path, step), evaluation)
        elif type(value) is list and self.items is not None:
            predecessors = _by_keys(old, self.keys) if self.keys and type(old) is list else {}
            for index, item in enumerate(value):
                before = predecessors.get(_key_of(item, self.keys), _MISSING) if predecessors else _MISSING
                self.items.check(item, before, (path, index), evaluation)

    def _check_here(self, value: Any, old: Any, path: Path, evaluation: Evaluation) -> None:
        if evaluation.budget == 0:
            _end(value, path, evaluation, _OUT_OF_BUDGET)
            return
        old = _MISSING if old is None else old
        seen = value if self.convert is None else self.convert(value)
        before = old if self.convert is None or old is _MISSING else self.convert(old)
        for rule in self.rules:
            if before is not _MISSING or rule.optional_old or not rule.transition:
                _evaluate(rule, seen, before, (value, path), evaluation)
                if evaluation.budget < 0:
                    return


MISSING = _MISSING


def compile_rules(schema: Raw, *, whole_object: bool = False) -> RuleNode | None:
    """The rules of a schema, None when it has none."""
    whole_object = whole_object or bool(schema.get("x-kubernetes-embedded-resource"))
    rules: list[Rule] = []
    if schema.get(RULES):
        compiler = RuleCompiler(schema, whole_object=whole_object)
        rules = [compiler.rule(raw, STORED) for raw in schema[RULES] if (raw.get("rule") or "").strip()]
    properties: dict[str, RuleNode] = {}
    for name, inner in schema.get("properties", {}).items():
        node = compile_rules(inner)
        if node is not None:
            properties[name] = node
    items, additional = schema.get("items"), schema.get("additionalProperties")
    item_node = compile_rules(items) if isinstance(items, dict) else None
    member_node = compile_rules(additional) if isinstance(additional, dict) else None
    if not (rules or properties or item_node or member_node):
        return None
    keys: Sequence[str] = ()
    if schema.get("x-kubernetes-list-type") == "map":
        keys = schema.get("x-kubernetes-list-map-keys", ())
    convert = converter(with_metadata(schema) if whole_object else schema) if rules else None
    return RuleNode(rules, properties, items=item_node, members=member_node, keys=keys, convert=convert)


def _evaluate(rule: Rule, value: Any, old: Any, place: tuple[Any, Path], evaluation: Evaluation) -> None:
    plain, path = place
    kind = json_type(plain)
    if isinstance(rule.program, str):
        evaluation.problems.append(_problem(path, f'Invalid value: "{kind}": rule compile error: {rule.program}'))
        return
    before = None if old is _MISSING else old
    if rule.optional_old:
        before = NOTHING if old is _MISSING else Some(old)
    variables = {"self": value, OLD: before}
    try:
        found, cost = rule.program.measured(variables)
    except CostExceeded as error:
        _end(plain, path, evaluation, f"'{error}': {_CALL_LIMIT}: {rule.message or rule.source}")
        return
    except EvaluationError as error:
        if not evaluation.spent(error.cost):
            _end(plain, path, evaluation, _OUT_OF_BUDGET)
            return
        named = rule.message or rule.source
        unmatched = str(error).startswith("no such overload")
        why = f"'{error}': {_NO_OVERLOAD}: {named}" if unmatched else f"{error} evaluating rule: {named}"
        evaluation.problems.append(_problem(path, f'Invalid value: "{kind}": {why}', stands=not rule.transition))
        return
    if not evaluation.spent(cost):
        _end(plain, path, evaluation, _OUT_OF_BUDGET)
    elif found is not True:
        _broken(rule, {"self": value, OLD: None if old is _MISSING else old}, kind, path, evaluation)


def _end(value: Any, path: Path, evaluation: Evaluation, text: str) -> None:
    evaluation.budget = -1
    evaluation.problems.append(_problem(path, f'Invalid value: "{json_type(value)}": {text}', stands=False))


def _broken(rule: Rule, variables: Mapping[str, Any], kind: str, path: Path, evaluation: Evaluation) -> None:
    for step in rule.field_path:
        path = (path, step)
    text = _message(rule, variables, evaluation)
    worded = {
        FORBIDDEN: forbidden(text),
        REQUIRED: required(text),
        DUPLICATE: f'Duplicate value: "{kind}"',
    }.get(rule.reason, f'Invalid value: "{kind}": {text}')
    evaluation.problems.append(_problem(path, worded, rule.reason, stands=not rule.transition))


def _problem(path: Path, text: str, reason: str = INVALID, *, stands: bool = True) -> Problem:
    return Problem(path, text, reason, stands=stands, field=_WHOLE if path is None else None)


def _message(rule: Rule, variables: Mapping[str, Any], evaluation: Evaluation) -> str:
    if rule.message_program is not None:
        try:
            found, cost = rule.message_program.measured(variables)
            evaluation.spent(cost)
        except CelError:
            found = ""  # as the real server: fall back to the fixed message
        if isinstance(found, str) and 0 < len(found.strip()) <= _LONGEST_MESSAGE and "\n" not in found:
            return found.strip()
    return rule.message or f"failed rule: {rule.source}"


def _by_keys(items: Sequence[Any], keys: Sequence[str]) -> dict[tuple[Any, ...], Any]:
    return {_key_of(item, keys): item for item in items}


def _key_of(item: Any, keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(str(item.get(key)) for key in keys) if type(item) is dict else ()
