"""Types of this package to OpenAPI v3 structural schemas, as a CustomResourceDefinition carries them.

A schema is read off the type: wire names, optional and nested parts, enums and defaults from the struct; bounds and
descriptions from the ``Rules`` beside the fields. Types of built-in kinds carry no rules of ours, so what Kubernetes
itself requires of them is listed here.
"""

from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from tensorfusion.model.core import NodeAffinity, NodeSelector, NodeSelectorTerm, PreferredTerm
from tensorfusion.model.meta import Condition, LabelSelector, SelectorRequirement
from tensorfusion.model.rules import Cel, Part, Rules

Json = dict[str, Any]  # Any: a JSON schema is JSON

_SCALARS: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}

_BUILT_IN: dict[type, dict[str, Rules]] = {
    SelectorRequirement: {
        "key": Rules("Label key.", required=True),
        "operator": Rules("In, NotIn, Exists or DoesNotExist; Gt and Lt on nodes.", required=True),
        "values": Rules("Values to compare with.", atomic=True),
    },
    LabelSelector: {
        "matchLabels": Rules("Labels with these values."),
        "matchExpressions": Rules("Expressions that must all hold.", atomic=True),
    },
    NodeSelectorTerm: {
        "matchExpressions": Rules("Expressions on labels that must all hold.", atomic=True),
        "matchFields": Rules("Expressions on fields that must all hold.", atomic=True),
    },
    NodeSelector: {"nodeSelectorTerms": Rules("Alternatives; one must hold.", required=True, atomic=True)},
    PreferredTerm: {
        "weight": Rules("Weight from 1 to 100.", required=True, defaulted=False, format="int32"),
        "preference": Rules("What the node should match.", required=True, defaulted=False),
    },
    NodeAffinity: {
        "requiredDuringSchedulingIgnoredDuringExecution": Rules("What the node must match."),
        "preferredDuringSchedulingIgnoredDuringExecution": Rules("What the node should match.", atomic=True),
    },
    Condition: {
        "type": Rules(
            "Type of the condition.",
            required=True,
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
        "status": Rules("True, False or Unknown.", required=True, enum=("True", "False", "Unknown")),
        "reason": Rules(
            "Why, in one word.",
            required=True,
            min_length=1,
            max_length=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        ),
        "message": Rules("Why, in one line.", required=True, max_length=32768),
        "lastTransitionTime": Rules("When the status last changed.", required=True, format="date-time"),
        "observedGeneration": Rules("Generation of the spec that was looked at.", format="int64", minimum=0),
    },
}
_ATOMIC_MAPS = frozenset({NodeSelector, NodeSelectorTerm, LabelSelector})


def schema_of(struct: type[msgspec.Struct], *, skip: frozenset[str] = frozenset()) -> Json:
    """The structural schema of one struct; fields with a wire name in ``skip`` are left out."""
    properties: Json = {}
    required = []
    for field in msgspec.structs.fields(struct):
        if field.encode_name in skip:
            continue
        schema, rules = _field_schema(struct, field)
        properties[field.encode_name] = schema
        if _required(field, rules):
            required.append(field.encode_name)
    schema = {"type": "object", "description": _first_line(struct.__doc__), "properties": properties}
    if required:
        schema["required"] = sorted(required)
    if struct in _ATOMIC_MAPS:
        schema["x-kubernetes-map-type"] = "atomic"
    if issubclass(struct, Part) and struct.cel:
        schema["x-kubernetes-validations"] = _validations(struct.cel)
    return schema


def _validations(rules: tuple[Cel, ...]) -> list[Json]:
    return [{"rule": cel.rule, "message": cel.message} for cel in rules]


@cache
def required_fields(struct: type[msgspec.Struct]) -> frozenset[str]:
    """Wire names of the fields that the schema of the struct requires."""
    return frozenset(
        field.encode_name for field in msgspec.structs.fields(struct) if _required(field, _rules_of(struct, field))
    )


def _required(field: msgspec.structs.FieldInfo, rules: Rules) -> bool:
    return field.required if rules.required is None else rules.required


def _rules_of(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> Rules:
    return _unwrap(field.type)[1].under(_BUILT_IN.get(struct, {}).get(field.encode_name, Rules()))


def _field_schema(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> tuple[Json, Rules]:
    kind, rules = _unwrap(field.type)[0], _rules_of(struct, field)
    schema = _apply(_type_schema(kind, rules), rules)
    default = field.default
    if default is not msgspec.NODEFAULT and _published(default, rules):
        wire = msgspec.to_builtins(default)
        schema["default"] = list(wire) if isinstance(wire, tuple) else wire
    elif field.default_factory is not msgspec.NODEFAULT and rules.required and rules.defaulted is not False:
        made = field.default_factory()
        if isinstance(made, msgspec.Struct) and not schema.get("required"):
            schema["default"] = {}
    return schema, rules


def _published(default: object, rules: Rules) -> bool:
    if default is None or default in ("", (), {}) or rules.defaulted is False:
        return False
    return bool(default) or bool(rules.defaulted) or bool(rules.required)


def _unwrap(kind: Any) -> tuple[Any, Rules]:  # Any: a type form, for which Python has no type
    """The bare type behind ``Annotated`` and ``| None``, with the rules met on the way."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        bare, rules = _unwrap(inner)
        for note in notes:
            if isinstance(note, Rules):
                rules = rules.under(note)
        return bare, rules
    if get_origin(kind) in (Union, UnionType):
        arms = [arm for arm in get_args(kind) if arm is not type(None)]
        if len(arms) == 1:
            return _unwrap(arms[0])
    return kind, Rules()


def _type_schema(kind: Any, rules: Rules) -> Json:  # Any: a type form
    if rules.int_or_string:
        return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
    if get_origin(kind) is tuple:
        item, item_rules = _unwrap(get_args(kind)[0])
        return {"type": "array", "items": _apply(_type_schema(item, item_rules), item_rules)}
    if get_origin(kind) is dict:
        value, value_rules = _unwrap(get_args(kind)[1])
        if value is Any:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {"type": "object", "additionalProperties": _apply(_type_schema(value, value_rules), value_rules)}
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [member.value for member in kind]}
    if issubclass(kind, msgspec.Struct):
        return schema_of(kind)
    return {"type": _SCALARS[kind]}


_PLAIN_RULES = {
    "minimum": "minimum",
    "maximum": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "max_properties": "maxProperties",
    "pattern": "pattern",
    "format": "format",
}


def _apply(schema: Json, rules: Rules) -> Json:
    for name, wire in _PLAIN_RULES.items():
        value = getattr(rules, name)
        if value is not None:
            schema[wire] = value
    if rules.doc is not None:
        schema["description"] = rules.doc
    if rules.enum is not None:
        schema["enum"] = [str(value) for value in rules.enum]
    if rules.map_key is not None:
        schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [rules.map_key]}
    if rules.atomic:
        schema["x-kubernetes-list-type"] = "atomic"
    if rules.cel is not None:
        schema["x-kubernetes-validations"] = _validations(rules.cel)
    return schema


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]
