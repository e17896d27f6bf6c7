"""What one version of a kind accepts: ``prepare`` decodes and defaults, ``validate`` refuses.

Two steps because admission stands between them. Built-in kinds follow the facts, custom kinds their structural schema;
both answer in the words of a real API server.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from typing import Any, NoReturn, Protocol

from tensorfusion.embedded.facts import Facts
from tensorfusion.embedded.fields.types import FieldType, Types, zero_of
from tensorfusion.embedded.schema.builtin import ALWAYS_SPEC, CHECKS, STATUS_CHECKS
from tensorfusion.embedded.schema.checks import Check, compile_checks
from tensorfusion.embedded.schema.constraints import compile_constraints
from tensorfusion.embedded.schema.decode import Decoder, compile_decoder
from tensorfusion.embedded.schema.metadata import (
    check_metadata,
    check_metadata_update,
    checks_prefix,
    finalizer_warnings,
    without_repeated_owners,
)
from tensorfusion.embedded.schema.names import RULES, subdomain
from tensorfusion.embedded.schema.patch_shape import PatchShape
from tensorfusion.embedded.schema.path import Problem, plain_text_of, text_of
from tensorfusion.embedded.schema.ratcheting import Update
from tensorfusion.embedded.schema.replicas import check_replicas
from tensorfusion.embedded.schema.rules import MISSING, Evaluation, compile_rules
from tensorfusion.embedded.schema.scalars import json_word
from tensorfusion.embedded.schema.settling import Settle, compile_settling
from tensorfusion.embedded.schema.structural import Pruner, compile_pruner, compile_structural
from tensorfusion.embedded.schema.words import invalid, invalid_value
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import CRON_JOBS, Resource

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


class StrictError(BadRequest):
    """Strict field validation found something; its words may be several lines."""


class FieldValidation(StrEnum):
    """What happens to fields that the schema does not know: they are always dropped."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


class Schema(Protocol):
    """What one version of a kind accepts."""

    document: Raw
    patch_shape: PatchShape | None
    field_type: FieldType
    zero: Raw
    """An object that nobody has written to, as a comparison with the first version of one needs it. Read-only."""

    def prepare(
        self,
        obj: Raw,
        *,
        strict: FieldValidation = FieldValidation.WARN,
        repeated: Sequence[str] = (),
        sort: bool = False,
        applied: bool = False,
        patched: bool = False,
    ) -> list[str]:
        """Decode in place: drop unknown fields, apply defaults. Returns warnings.

        ``repeated`` are complaints of keys that came twice, to be treated as unknown fields are. ``sort`` names
        unknown fields by name, not as they come. ``applied`` objects are made of maps, as an apply and a strategic
        patch make them: they may hold nulls that nothing else lets through, which validation refuses. What is wrong
        with the version of a ``patched`` object is a broken field.

        Raises:
            BadRequest: another kind, wrong JSON types, too deep, or unknown fields with ``STRICT``.
        """
        ...

    def prune(self, obj: Raw) -> None:
        """Drop what an object of another version has and this one does not know. In place."""
        ...

    def settle(self, obj: Raw) -> None:
        """Give a prepared object the form in which it is stored, once it is known who owns what. In place."""
        ...

    def validate(self, obj: Raw, old: Raw | None = None, *, subresource: str = "") -> list[str]:
        """Check a prepared object; ``old`` is what it replaces. Returns warnings: of what may stay as it was.

        Raises:
            Invalid: with a cause for each broken field.
        """
        ...


class BuiltinSchema:
    """A built-in kind, or the body of a subresource (``named`` is false: it has no name of its own).

    Its rules are compiled when the first object of the kind comes: most kinds of a cluster are never written.
    """

    def __init__(
        self,
        facts: Facts,
        resource: Resource,
        definition: str,
        *,
        types: Types,
        name_rule: str = "",
        named: bool = True,
        reported: Resource | None = None,
    ) -> None:
        """``reported`` is what errors say an object is, where it is stored as something else."""
        self.field_type = types.named(definition)
        self.zero = zero_of(facts.definitions, definition)
        self.document: Raw = facts.definitions[definition]
        self.patch_shape: PatchShape | None = PatchShape(facts.definitions, self.document)
        self._resource = resource
        self._reported = reported or resource
        self._definitions = facts.definitions
        self._definition = definition
        self._semantics = CHECKS.get(resource.id)
        self._always_spec = resource.id in ALWAYS_SPEC
        self._status_semantics = STATUS_CHECKS.get(resource.id)
        self._rule = RULES.get(name_rule, subdomain)
        self._named = named

    @cached_property
    def _decode(self) -> Decoder:
        return compile_decoder(self._definitions, self._definition)

    @cached_property
    def _restore(self) -> Decoder:
        return compile_decoder(self._definitions, self._definition, restored=True)

    @cached_property
    def _check(self) -> Check:
        return compile_checks(self._definitions, self._definition)

    def prepare(
        self,
        obj: Raw,
        *,
        strict: FieldValidation = FieldValidation.WARN,
        repeated: Sequence[str] = (),
        sort: bool = False,
        applied: bool = False,
        patched: bool = False,
    ) -> list[str]:
        resource = self._resource
        kind, version = obj.setdefault("kind", resource.kind), obj.setdefault("apiVersion", resource.api_version)
        if kind != resource.kind or version != resource.api_version:
            obj["kind"] = resource.kind if kind in (None, "") else kind
            obj["apiVersion"] = resource.api_version if version in (None, "") else version
            if obj["kind"] != resource.kind or obj["apiVersion"] != resource.api_version:
                _refuse_kind(obj, resource)
        if self._always_spec and obj.get("spec") is None:
            obj["spec"] = {}
        unknown: list[str] = []
        try:
            (self._restore if applied else self._decode)(obj, None, unknown)
        except BadRequest as error:
            raise BadRequest(f"{_handled(resource)}: {error}") from None
        if sort:
            unknown.sort()
        return [*_unknown_fields(unknown, repeated, strict, resource), *without_repeated_owners(obj)]

    @cached_property
    def _settle(self) -> Settle | None:
        return compile_settling(self._definitions, self._definition)

    def prune(self, obj: Raw) -> None:
        """Built-in kinds are stored in one version."""

    def settle(self, obj: Raw) -> None:
        if self._settle is not None:
            self._settle(obj)

    def validate(self, obj: Raw, old: Raw | None = None, *, subresource: str = "") -> list[str]:
        problems: list[Problem] = []
        metadata = obj.get("metadata") or {}
        if self._named:
            check_metadata(
                metadata,
                self._rule,
                namespaced=self._resource.namespaced,
                problems=problems,
                prefix=subresource != _STATUS and checks_prefix(self._resource.id, new=old is None),
                any_finalizer=self._resource.id in (_ANY_FINALIZER_THERE if subresource == _STATUS else _ANY_FINALIZER),
            )
            if old is not None:
                check_metadata_update(metadata, old["metadata"], problems)
        if subresource != "status":
            self._check(obj, None, problems)
            if self._semantics is not None:
                self._semantics(obj, old, problems)
        elif self._status_semantics is not None and old is not None:
            self._status_semantics(obj, old, problems)
        if problems:
            raise invalid(self._reported, metadata.get("name", ""), problems)
        return []


class CustomSchema:
    """One version of a custom resource. The definition has been checked before (``definitions``)."""

    patch_shape: PatchShape | None = None

    def __init__(
        self,
        resource: Resource,
        schema: Raw,
        decode_metadata: Decoder,
        types: Types,
        *,
        replicas: tuple[Sequence[str], Sequence[str]] | None = None,
    ) -> None:
        """``replicas`` are the paths of the scale subresource's numbers in spec and status."""
        self.document = schema
        self._replicas = replicas
        self.field_type = types.custom(schema)
        self.zero: Raw = {}
        self._resource = resource
        self._decode_metadata = decode_metadata
        self._prune = compile_structural(schema, decode_metadata)
        inner = {key: value for key, value in schema.items() if key != "properties"}
        inner["properties"] = {
            name: value for name, value in schema.get("properties", {}).items() if name not in _IMPLIED
        }
        self._check = compile_constraints(inner)
        status = schema.get("properties", {}).get("status")
        self._check_status = compile_constraints(status) if status is not None else None
        self._rules = compile_rules(schema, whole_object=True)

    def prepare(
        self,
        obj: Raw,
        *,
        strict: FieldValidation = FieldValidation.WARN,
        repeated: Sequence[str] = (),
        sort: bool = False,
        applied: bool = False,
        patched: bool = False,
    ) -> list[str]:
        resource = self._resource
        kind, version = obj.get("kind"), obj.get("apiVersion")
        if patched:
            _check_texts(obj)
        if not kind or not isinstance(kind, str):
            raise BadRequest(
                f"the object provided is unrecognized (must be of type {resource.kind}): Object 'Kind' is missing"
            )
        if version != resource.api_version and not patched:
            raise BadRequest(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})"
            )
        unknown: list[str] = []
        counts = _with_a_point(obj, self._replicas or ())
        try:
            if kind != resource.kind or version != resource.api_version:
                # validation refuses it, behind all else that is to be said
                known = kind == resource.kind and str(version).rpartition("/")[0] == resource.group
                (self._read_nothing if known else self._read_metadata)(obj, None, unknown)
            else:
                (self._prune_applied if applied else self._prune)(obj, None, unknown)
        except BadRequest as error:
            raise BadRequest(f"{_handled(resource, kind)}: {error}") from None
        for holder, name, value in counts:
            holder[name] = value  # validation refuses it
        unknown.sort(key=lambda field: (not field.startswith("metadata."), field))  # metadata is read first
        return [
            *_unknown_fields(unknown, repeated, strict, replace(resource, kind=kind)),
            *without_repeated_owners(obj),
        ]

    @cached_property
    def _read_metadata(self) -> Pruner:
        return compile_structural(_ANYTHING, self._decode_metadata)

    @cached_property
    def _read_nothing(self) -> Pruner:
        """For a version of this kind that there is not: it has no fields."""
        return compile_structural({"type": "object"}, self._decode_metadata)

    @cached_property
    def _prune_applied(self) -> Pruner:
        return compile_structural(self.document, self._decode_metadata, nulls=True)

    def prune(self, obj: Raw) -> None:
        self._pruner(obj, None, [])

    def settle(self, obj: Raw) -> None:
        """Custom kinds are stored as they are written."""

    @cached_property
    def _pruner(self) -> Pruner:
        return compile_pruner(self.document)

    def validate(self, obj: Raw, old: Raw | None = None, *, subresource: str = "") -> list[str]:
        self._check_kind(obj)
        problems: list[Problem] = []
        metadata = obj.get("metadata") or {}
        check_metadata(
            metadata,
            subdomain,
            namespaced=self._resource.namespaced,
            problems=problems,
            prefix=old is None,
            any_finalizer=True,
        )
        if old is not None:
            check_metadata_update(metadata, old["metadata"], problems)
        warnings = finalizer_warnings(metadata.get("finalizers") or [])
        values: list[Problem] = []
        self._check_values(obj, subresource, values)
        problems += self._not_standing(values, obj, old)
        for steps in () if self._replicas is None else self._replicas[1 if subresource == _STATUS else 0 :]:
            check_replicas(obj, steps, problems)
        if self._rules is not None:
            if any(problem.blocking for problem in problems):
                problems.append(Problem(None, invalid_value(None, _UNCHECKED), field="<nil>"))
            else:
                evaluation = Evaluation()
                self._rules.check(obj, MISSING if old is None else old, None, evaluation)
                broken = self._not_standing(evaluation.problems, obj, old)
                standing = set(map(id, broken))
                warnings += [_text(problem) for problem in evaluation.problems if id(problem) not in standing]
                problems += broken
        if problems:
            raise invalid(self._resource, metadata.get("name", ""), problems)
        return warnings

    def _check_kind(self, obj: Raw) -> None:
        """Nothing else is said of an object of another kind, or of another version by a patch."""
        resource, found = self._resource, []
        for field, wanted in (("kind", resource.kind), ("apiVersion", resource.api_version)):
            if obj[field] != wanted:
                found.append(Problem((None, field), invalid_value(obj[field], f"must be {wanted}")))
        if found:
            stated = replace(resource, group=str(obj["apiVersion"]).rpartition("/")[0], kind=obj["kind"])
            raise invalid(stated, _name_of(obj), found)

    def _not_standing(self, problems: list[Problem], obj: Raw, old: Raw | None) -> list[Problem]:
        """Without the problems of values that the update leaves as they were (ratcheting)."""
        if old is None or not problems:
            return problems
        update = Update(self.document, obj, old)
        return [
            problem for problem in problems if not problem.stands or problem.path is None or update.touches(problem)
        ]

    def _check_values(self, obj: Raw, subresource: str, problems: list[Problem]) -> None:
        if subresource == "status":
            if self._check_status is not None and "status" in obj:
                found: list[Problem] = []
                self._check_status(obj["status"], (None, _STATUS), found)
                problems.extend(map(_within_status, found))
        elif self._check is not None:
            self._check(obj, None, problems)


def _with_a_point(obj: Raw, paths: Iterable[Sequence[str]]) -> list[tuple[Raw, str, float]]:
    """The numbers at these paths that do not come as whole ones: their holder, its field, and what is in it."""
    found = []
    for *steps, last in paths:
        holder: Any = obj
        for step in steps:
            holder = holder.get(step) if type(holder) is dict else None
        if type(holder) is dict and type(holder.get(last)) is float:
            found.append((holder, last, holder[last]))
    return found


def _name_of(obj: Raw) -> str:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


_ANY_FINALIZER = frozenset(
    {
        "customresourcedefinitions.apiextensions.k8s.io",
        "events",
        "leases.coordination.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "poddisruptionbudgets.policy",
        "runtimeclasses.node.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    }
)
"""Kinds whose finalizers need not be qualified, as those of custom kinds."""
_ANY_FINALIZER_THERE = _ANY_FINALIZER | {CRON_JOBS.id}
"""The same when a status is written."""
_IMPLIED = frozenset({"apiVersion", "kind", "metadata"})
_STATUS = "status"
_ANYTHING: Raw = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _within_status(problem: Problem) -> Problem:
    """A problem of a status that is written by itself: the words name the field from there, the cause as ever."""
    if problem.path is None:
        return replace(problem, message=problem.message.replace(f'"{_STATUS}.', '"', 1), field=_STATUS)
    name = plain_text_of(problem.path)
    inner = name.removeprefix(_STATUS).removeprefix(".")
    return replace(problem, message=problem.message.replace(f"{name} in body", f"{inner} in body", 1))


def _text(problem: Problem) -> str:
    return f"{text_of(problem.path) if problem.field is None else problem.field}: {problem.message}"


def _check_texts(patched: Raw) -> None:
    """Raises:
    BadRequest: a patch has made something else of version or kind than texts.
    """
    for field in ("apiVersion", "kind"):
        found = patched.get(field, "")
        if not isinstance(found, str | None):
            raise BadRequest(
                "couldn't get version/kind; json parse error: json: cannot unmarshal "
                f"{json_word(found)} into Go struct field .{field} of type string"
            )
    if patched.get("apiVersion", "") is None:
        raise BadRequest(".apiVersion accessor error: <nil> is of the type <nil>, expected string")


def _handled(resource: Resource, kind: str | None = None) -> str:
    """How an error begins of an object that says that it is a ``kind``."""
    return f'{kind or resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'


def _unknown_fields(
    unknown: Sequence[str], repeated: Sequence[str], strict: FieldValidation, resource: Resource
) -> list[str]:
    if not (unknown or repeated) or strict is FieldValidation.IGNORE:
        return []
    texts = [f'unknown field "{field}"' for field in unknown]
    if strict is FieldValidation.STRICT:
        lines = [text for text in repeated if text.startswith("line ")]
        first = ["\n  ".join(["yaml: unmarshal errors:", *lines])] if lines else repeated  # those of YAML come as one
        texts = [*first, *texts]
        raise StrictError(f"{_handled(resource)}: strict decoding error: {', '.join(texts)}")
    return [*repeated, *texts]


def _refuse_kind(obj: Raw, resource: Resource) -> NoReturn:
    kind, api_version = obj["kind"], obj["apiVersion"]
    if not isinstance(kind, str) or not isinstance(api_version, str):
        raise BadRequest("apiVersion and kind must be strings")
    version = api_version.rpartition("/")[2]
    raise BadRequest(
        f'{kind} in version "{version}" cannot be handled as a {resource.kind}: no kind "{kind}" is registered for '
        f'version "{api_version}" here: send {resource.kind} of {resource.api_version}'
    )
