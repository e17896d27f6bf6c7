"""The rules of CustomResourceDefinitions outside their schemas: names, versions, subresources, columns, updates.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation, texts seen through a real server.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from tensorfusion.embedded.schema.definition_rules import known_expressions
from tensorfusion.embedded.schema.names import label_1035
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.structure import check_structure
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    IMMUTABLE,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SIMPLE_PATH = re.compile(r"(\.[A-Za-z0-9_-]+)+").fullmatch
_SIMPLE_TEXT = "must be a simple json path starting with ."
_SPEC: Path = (None, "spec")
_PROTECTED = (".k8s.io", ".kubernetes.io")
_APPROVAL = "api-approved.kubernetes.io"


def check_definition(crd: Raw, old: Raw | None, problems: list[Problem]) -> None:
    """Everything a server refuses in a definition that has been decoded."""
    spec = crd.get("spec") or {}
    names, group, versions = spec.get("names") or {}, spec.get("group", ""), spec.get("versions") or ()
    metadata = crd.get("metadata") or {}
    if metadata.get("name") != f"{names.get('plural', '')}.{group}":
        text = 'must be spec.names.plural+"."+spec.group'
        complain(problems, ((None, "metadata"), "name"), metadata.get("name", ""), [text])
    if group and "." not in group:
        complain(problems, (_SPEC, "group"), group, ["should be a domain with at least one dot"])
    if f".{group}".endswith(_PROTECTED) and not (metadata.get("annotations") or {}).get(_APPROVAL):
        text = f'protected groups must have approval annotation "{_APPROVAL}"'
        at: Path = (((None, "metadata"), "annotations"), _APPROVAL)
        problems.append(Problem(at, required(text), REQUIRED, field=f"metadata.annotations[{_APPROVAL}]"))
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        complain(problems, (_SPEC, "preserveUnknownFields"), True, [text])
    _check_names(names, problems)
    _check_versions(versions, ((old or {}).get("spec") or {}).get("versions") or (), problems)
    _check_conversion(spec.get("conversion") or {}, versions, problems)
    if old is not None:
        _check_update(crd, old, problems)


def storage_version(crd: Raw) -> Raw:
    """The version that objects are stored in. The definition must have been checked."""
    found: Raw = next(version for version in crd["spec"]["versions"] if version.get("storage"))
    return found


def _check_names(names: Raw, problems: list[Problem]) -> None:
    at: Path = (_SPEC, "names")
    for field in ("kind", "listKind"):
        name = names.get(field)
        if name:
            mixed = [f"may have mixed case, but should otherwise match: {text}" for text in label_1035(name.lower())]
            complain(problems, (at, field), name, mixed)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        complain(problems, (at, "listKind"), names["listKind"], ["kind and listKind may not be the same"])
    for field in ("shortNames", "categories"):
        for index, name in enumerate(names.get(field) or ()):
            complain(problems, ((at, field), index), name, label_1035(name))


def _schemas(versions: Sequence[Raw]) -> dict[str, Raw]:
    """The schemas of versions that have one, by name."""
    found = {version.get("name", ""): (version.get("schema") or {}).get("openAPIV3Schema") for version in versions}
    return {name: schema for name, schema in found.items() if schema is not None}


def _check_versions(versions: Sequence[Raw], old: Sequence[Raw], problems: list[Problem]) -> None:
    at: Path = (_SPEC, "versions")
    named = [version.get("name") for version in versions]
    if len(set(named)) < len(named):
        complain(problems, at, named, ["must contain unique version names"])
    if sum(bool(version.get("storage")) for version in versions) != 1:
        complain(problems, at, named, ["must have exactly one version marked as storage version"])
    before = _schemas(old)
    known = known_expressions(list(before.values()))
    alone = len(versions) == 1  # then the real server names its parts as the spec's own
    for index, version in enumerate(versions):
        here: Path = _SPEC if alone else (at, index)
        if not version.get("name"):
            problems.append(Problem(((at, index), "name"), required(), REQUIRED))
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            problems.append(Problem((((at, index), "schema"), "openAPIV3Schema"), required(), REQUIRED))
        else:
            part = "schema" if len(versions) > 1 else "validation"
            known = replace(known, schema=before.get(version.get("name", "")))
            check_structure(schema, ((here, part), "openAPIV3Schema"), problems, known=known)
        _check_scale((version.get("subresources") or {}).get("scale"), here, problems)
        _check_columns(version.get("additionalPrinterColumns") or (), (here, "additionalPrinterColumns"), problems)
        _check_selectable(version.get("selectableFields") or (), schema or {}, (here, "selectableFields"), problems)


def _check_scale(scale: Raw | None, path: Path, problems: list[Problem]) -> None:
    if not scale:
        return
    at: Path = ((path, "subresources"), "scale")
    roots = {
        "specReplicasPath": (".spec.",),
        "statusReplicasPath": (".status.",),
        "labelSelectorPath": (".spec.", ".status."),
    }
    for field, allowed in roots.items():
        value = scale.get(field)
        if not value:
            if field != "labelSelectorPath":
                problems.append(Problem((at, field), required(), REQUIRED))
        elif not _SIMPLE_PATH(value):
            complain(problems, (at, field), value, [_SIMPLE_TEXT])
        elif not value.startswith(allowed):
            under = "either .spec or .status" if len(allowed) > 1 else allowed[0].rstrip(".")
            complain(problems, (at, field), value, [f"should be a json path under {under}"])


def _check_columns(columns: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
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


def _check_selectable(fields: Sequence[Raw], schema: Raw, path: Path, problems: list[Problem]) -> None:
    for index, field in enumerate(fields):
        where = field.get("jsonPath", "")
        inner: Raw | None = schema
        for step in where.removeprefix(".").split("."):
            inner = (inner.get("properties") or {}).get(step) if inner is not None else None
        if not _SIMPLE_PATH(where) or inner is None or inner.get("type") not in ("string", "integer", "boolean"):
            text = "is an invalid path: does not refer to a valid field"
            complain(problems, ((path, index), "jsonPath"), where, [text])


def _check_conversion(conversion: Raw, versions: Sequence[Raw], problems: list[Problem]) -> None:
    """Versions differ in name only here: nothing calls a conversion webhook, so none is promised."""
    if conversion.get("strategy") == "Webhook" and len(versions) > 1:
        at: Path = ((_SPEC, "conversion"), "strategy")
        problems.append(Problem(at, unsupported("Webhook", ("None",)), NOT_SUPPORTED))


def _check_update(crd: Raw, old: Raw, problems: list[Problem]) -> None:
    spec, before = crd.get("spec") or {}, old.get("spec") or {}
    for field in ("scope", "group"):
        if spec.get(field) != before.get(field):
            complain(problems, (_SPEC, field), spec.get(field), [IMMUTABLE])
    for field in ("kind", "plural"):
        name = (spec.get("names") or {}).get(field)
        if name != (before.get("names") or {}).get(field):
            complain(problems, ((_SPEC, "names"), field), name, [IMMUTABLE])
    names = {version.get("name") for version in spec.get("versions") or ()}
    for index, stored in enumerate((old.get("status") or {}).get("storedVersions") or ()):
        if stored not in names:
            text = (
                f"missing from spec.versions; {stored} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {stored} and "
                f"removes {stored} from status.storedVersions"
            )
            complain(problems, (((None, "status"), "storedVersions"), index), stored, [text])
    if (old.get("metadata") or {}).get("deletionTimestamp") and spec != before:
        text = forbidden("the definition is being deleted")
        problems.append(Problem(_SPEC, text, FORBIDDEN))
