"""Kinds made of what describes them: the built-in ones of the facts, custom ones of versions of a definition."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tensorfusion.embedded.facts import Facts
from tensorfusion.embedded.fields.sets import Fields, of_paths
from tensorfusion.embedded.fields.types import Types
from tensorfusion.embedded.kind import NAME, NAMESPACE, SELECTED_OTHERWISE, Column, Kind, ScalePaths, Subresource
from tensorfusion.embedded.schema.decode import Decoder
from tensorfusion.embedded.schema.schema import BuiltinSchema, CustomSchema, Schema
from tensorfusion.embedded.views import VIEWS
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import Resource

_STATUS_VERBS = ("get", "patch", "update")
_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?").fullmatch
_CUSTOM_RESETS = {"": of_paths(("f:status",)), "status": of_paths(("f:spec",))}
_STAGES = {"": 2, "beta": 1, "alpha": 0}


def builtin_kind(facts: Facts, types: Types, entry: Raw) -> Kind:
    """The kind that an entry of the facts describes."""
    resource = Resource(
        entry["group"], entry["version"], entry["plural"], entry["kind"], namespaced=entry["namespaced"]
    )
    stored = "list" in entry["verbs"]
    otherwise = SELECTED_OTHERWISE.get(resource.id, {})
    selectable = (*entry.get("selectable", ()), *otherwise)
    view = VIEWS.get(resource.id)
    return Kind(
        resource,
        singular=entry["singular"],
        list_kind=f"{entry['kind']}List",
        short_names=tuple(entry["shortNames"]),
        categories=tuple(entry["categories"]),
        verbs=tuple(entry["verbs"]),
        subresources=MappingProxyType(
            {name: _builtin_subresource(facts, types, entry, name, raw) for name, raw in entry["subresources"].items()}
        ),
        schema=BuiltinSchema(
            facts,
            resource,
            entry["schema"],
            types=types,
            name_rule=entry.get("nameRule", ""),
            named=stored,
            reported=None if view is None else view.stored,
        ),
        columns=tuple(Column(**column) for column in entry.get("columns", ())),
        selectable=selectable,
        scale=ScalePaths(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))
        if "scale" in entry["subresources"]
        else None,
        storage=stored and view is None,
        generation=entry["generation"],
        initial_status=entry.get("initialStatus"),
        keeps_status=entry["keepsStatus"],
        returns_deleted=entry.get("returnsDeleted", False),
        definition=entry["schema"],
        deprecation=entry.get("deprecation", ""),
        view=view,
        resets=_resets(entry.get("resets", {})),
        selectors=tuple(
            (path, tuple(path.split(".")), _missing(facts, entry["schema"], path))
            if path not in otherwise
            else (path, *otherwise[path])
            for path in selectable
            if path not in (NAME, NAMESPACE)
        ),
    )


def _resets(raw: Mapping[str, Sequence[str]]) -> dict[str, Fields]:
    """Fields by dotted names, for each subresource (``""`` is the object's own endpoint)."""
    return {
        endpoint: of_paths(*(tuple(f"f:{step}" for step in path.split(".")) for path in paths))
        for endpoint, paths in raw.items()
    }


def _builtin_subresource(facts: Facts, types: Types, entry: Raw, name: str, raw: Raw) -> Subresource:
    schema: Schema | None = None
    if raw["schema"] and raw["schema"] != entry["schema"]:
        body = Resource(raw["group"], raw["version"], entry["plural"], raw["kind"], namespaced=entry["namespaced"])
        schema = BuiltinSchema(facts, body, raw["schema"], types=types, named=name == "scale")
    return Subresource(name, raw["group"], raw["version"], raw["kind"], tuple(raw["verbs"]), schema)


def _missing(facts: Facts, definition: str, path: str) -> str:
    """What a selectable field counts as when it is not there: false for flags."""
    schema = facts.definitions[definition]
    for step in path.split("."):
        schema = schema["properties"][step]
        schema = facts.definitions[schema["$ref"]] if "$ref" in schema else schema
    return "false" if schema.get("type") == "boolean" else ""


def custom_kind(crd: Raw, version: Raw, facts: Facts, types: Types, *, decode_metadata: Decoder) -> Kind:
    """The kind that a version of a definition describes."""
    spec, names = crd["spec"], crd["spec"]["names"]
    resource = Resource(
        spec["group"], version["name"], names["plural"], names["kind"], namespaced=spec["scope"] == "Namespaced"
    )
    schema: Raw = (version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    if spec.get("preserveUnknownFields"):
        schema = {**schema, "x-kubernetes-preserve-unknown-fields": True}
    scale = _scale_paths(version)
    selectable = _selectable(version)
    of_any = dict.fromkeys(path for one in spec["versions"] for path in _selectable(one))  # objects are kept once
    return Kind(
        resource,
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind") or f"{names['kind']}List",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=_CUSTOM_VERBS,
        subresources=_custom_subresources(resource, version, facts, types),
        schema=CustomSchema(
            resource,
            schema,
            decode_metadata,
            types,
            replicas=(scale.spec, scale.status) if scale is not None else None,
        ),
        columns=_custom_columns(version),
        selectable=(NAME, *((NAMESPACE,) if resource.namespaced else ()), *selectable),
        scale=scale,
        is_custom=True,
        storage=bool(version.get("storage")),
        generation=True,
        resets=_CUSTOM_RESETS if "status" in (version.get("subresources") or {}) else {},
        definition=".".join((*reversed(spec["group"].split(".")), version["name"], names["kind"])),
        deprecation=_deprecation(resource, version, spec["versions"]),
        selectors=tuple((path, tuple(path.split(".")), "") for path in of_any),
    )


def _selectable(version: Raw) -> tuple[str, ...]:
    return tuple(entry["jsonPath"].removeprefix(".") for entry in version.get("selectableFields") or ())


def _custom_subresources(resource: Resource, version: Raw, facts: Facts, types: Types) -> Mapping[str, Subresource]:
    wanted: Raw = version.get("subresources") or {}
    found: dict[str, Subresource] = {}
    if wanted.get("status") is not None:
        found["status"] = Subresource("status", resource.group, resource.version, resource.kind, _STATUS_VERBS)
    if wanted.get("scale"):
        body = Resource("autoscaling", "v1", resource.plural, "Scale", namespaced=resource.namespaced)
        schema = BuiltinSchema(facts, body, "io.k8s.api.autoscaling.v1.Scale", types=types, named=False)
        found["scale"] = Subresource("scale", "autoscaling", "v1", "Scale", _STATUS_VERBS, schema)
    return MappingProxyType(found)


def _scale_paths(version: Raw) -> ScalePaths | None:
    scale = (version.get("subresources") or {}).get("scale")
    if not scale:
        return None

    def steps(path: str | None) -> tuple[str, ...]:
        return tuple(part for part in (path or "").split(".") if part)

    return ScalePaths(
        steps(scale["specReplicasPath"]), steps(scale["statusReplicasPath"]), steps(scale.get("labelSelectorPath"))
    )


def _custom_columns(version: Raw) -> tuple[Column, ...]:
    """Name, the columns of the definition, and the age unless it has columns of its own."""
    name = Column("Name", "string", "name")
    own = version.get("additionalPrinterColumns")
    if not own:
        return name, Column("Age", "date", json_path=".metadata.creationTimestamp")
    columns = (
        Column(
            column["name"],
            column["type"],
            column.get("format", ""),
            column.get("priority", 0),
            column.get("description")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            column["jsonPath"],
        )
        for column in own
    )
    return name, *columns


def _deprecation(resource: Resource, version: Raw, versions: Sequence[Raw]) -> str:
    """The warning of a version that its author no longer wants used, with the best newer one; empty for others."""
    if not version.get("deprecated"):
        return ""
    newer = [
        one["name"]
        for one in versions
        if one.get("served") and not one.get("deprecated") and version_rank(one["name"]) > version_rank(version["name"])
    ]
    advice = f"; use {resource.group}/{max(newer, key=version_rank)} {resource.kind}" if newer else ""
    own = version.get("deprecationWarning")
    return str(own or f"{resource.api_version} {resource.kind} is deprecated{advice}")


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Which version of a group is preferred: v2 over v1 over v1beta2 over v1alpha1 over anything else."""
    match = _VERSION(version)
    if match is None:
        return (-1, 0, 0, version)
    return (_STAGES[match[2] or ""], int(match[1]), int(match[3] or 0), version)
