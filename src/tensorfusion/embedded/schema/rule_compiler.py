"""The rules of one place of a schema: what an entry of ``x-kubernetes-validations`` may say, and its programs.

Apart from evaluation, because it serves two: definitions that are written, where every problem is told, and those in
use, where all went well before.

Source: apiextensions-apiserver pkg/apiserver/schema/cel/compilation.go; apis/apiextensions/validation.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.cel import BOOL, STRING, CompileError, Dialect, Environment, Program, Type, optional_of
from tensorfusion.embedded.schema.path import Path, Problem, Step
from tensorfusion.embedded.schema.typed import declared
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

RULES = "x-kubernetes-validations"
OLD = "oldSelf"
REASONS = (INVALID, FORBIDDEN, REQUIRED, DUPLICATE)
_FIELD_PATH = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\['((?:[^'\\]|\\.)*)'\]")
_WANTED: Mapping[str, tuple[Type, str]] = {
    "rule": (BOOL, "cel expression must evaluate to a bool"),
    "messageExpression": (STRING, "messageExpression must evaluate to a string"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``x-kubernetes-validations``."""

    # Or why it has none.
    program: Program | str
    source: str
    message: str
    message_program: Program | None
    reason: str
    field_path: tuple[Step, ...]
    optional_old: bool

    @property
    def transition(self) -> bool:
        return isinstance(self.program, Program) and OLD in self.program.variables


class RuleCompiler:
    """Compiles the rules of one place, which all see the same types."""

    def __init__(self, schema: Raw, *, whole_object: bool) -> None:
        self._schema = schema
        self._self = declared(schema, "selfType", whole_object=whole_object)

    def rule(self, raw: Raw, dialect: Dialect) -> Rule:
        """A rule in use."""
        program = self.program(raw, "rule", dialect)
        message = self.program(raw, "messageExpression", dialect) if raw.get("messageExpression") else None
        return Rule(
            program,
            raw["rule"].strip(),
            (raw.get("message") or "").strip(),
            message if isinstance(message, Program) else None,
            raw.get("reason") or INVALID,
            field_path(raw.get("fieldPath") or "", self._schema) or (),
            optional_old=bool(raw.get("optionalOldSelf")),
        )

    def program(self, raw: Raw, name: str, dialect: Dialect) -> Program | str:
        """The expression of that name in an entry, or what is wrong with it."""
        if self._self is None:
            return "failed to convert to declType for CEL validation rules"
        wanted, complaint = _WANTED[name]
        old = optional_of(self._self) if raw.get("optionalOldSelf") else self._self
        try:
            program = Environment({"self": self._self, OLD: old}, dialect=dialect).compile(raw[name])
        except CompileError as error:
            return str(error) if name == "rule" else f"{name} {str(error).removeprefix('program ')}"
        return program if program.type == wanted else complaint


def shown_rule(raw: Raw) -> str:
    """A rule as error texts show it: JSON with the escapes of a web page."""
    fields = {
        "Rule": raw.get("rule") or "",
        "Message": raw.get("message") or "",
        "MessageExpression": raw.get("messageExpression") or "",
        "Reason": raw.get("reason"),
        "FieldPath": raw.get("fieldPath") or "",
        "OptionalOldSelf": raw.get("optionalOldSelf"),
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def check_texts(raw: Raw, schema: Raw, here: Path, problems: list[Problem]) -> None:
    """What can be wrong with a rule before it is compiled."""
    rule, message = (raw.get("rule") or "").strip(), (raw.get("message") or "").strip()
    if not rule:
        problems.append(Problem((here, "rule"), required("rule is not specified"), REQUIRED))
    elif raw.get("message") and not message:
        complain(problems, (here, "message"), raw["message"], ["must be non-empty if specified"])
    elif _has_lines(message):
        complain(problems, (here, "message"), raw["message"], ["must not contain line breaks"])
    elif _has_lines(rule) and not message:
        text = required("message must be specified if rule contains line breaks")
        problems.append(Problem((here, "message"), text, REQUIRED))
    if raw.get("messageExpression") and not raw["messageExpression"].strip():
        text = required("messageExpression must be non-empty if specified")
        problems.append(Problem((here, "messageExpression"), text, REQUIRED))
    reason = raw.get("reason")
    if reason is not None and reason not in REASONS:
        problems.append(Problem((here, "reason"), unsupported(reason, sorted(REASONS)), NOT_SUPPORTED))
    path = raw.get("fieldPath") or ""
    complaints = ["must be non-empty if specified"] if path and not path.strip() else []
    complaints += ["must not contain line breaks"] if _has_lines(path) else []
    complaints += ["must be a valid path"] if field_path(path, schema) is None else []
    complain(problems, (here, "fieldPath"), path, complaints)


def _has_lines(text: str) -> bool:
    return "\n" in text or "\r" in text


def field_path(text: str, schema: Raw) -> tuple[Step, ...] | None:
    """``.spec['a.b']`` as steps; None unless every step is a field of the schema."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _FIELD_PATH.match(text, at)
        if match is None:
            return None
        name = match[1] if match[1] is not None else match[2]
        inner = schema.get("properties", {}).get(name)
        if inner is None and isinstance(schema.get("additionalProperties"), dict):
            inner = schema["additionalProperties"]
        if inner is None:
            return None
        steps.append(name)
        schema, at = inner, match.end()
    return tuple(steps)
