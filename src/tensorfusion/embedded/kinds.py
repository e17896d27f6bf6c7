"""Which kinds the API serves: the built-in ones from the facts, custom ones as their definitions come and go.

Everything that differs between kinds is data in ``Kind``; adding a built-in kind means adding it to the samples of
``tools/schema_facts.py``. The registry is changed by one task (the API process's event loop) and read by all.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from tensorfusion.clock import timestamp
from tensorfusion.embedded.facts import Facts, load_facts
from tensorfusion.embedded.fields.sets import Fields, of_paths
from tensorfusion.embedded.fields.types import Types
from tensorfusion.embedded.objects import in_order
from tensorfusion.embedded.schema.decode import compile_decoder
from tensorfusion.embedded.schema.definitions import check_definition, storage_version
from tensorfusion.embedded.schema.path import Problem
from tensorfusion.embedded.schema.schema import OBJECT_META, BuiltinSchema, CustomSchema, Schema
from tensorfusion.embedded.schema.words import invalid
from tensorfusion.embedded.selectors import UNKNOWN_FIELD
from tensorfusion.embedded.views import VIEWS, View
from tensorfusion.errors import NotFound
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource

STATUS_VERBS = ("get", "patch", "update")
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_NAME = "metadata.name"
_NAMESPACE = "metadata.namespace"
_SELECTED_OTHERWISE: Mapping[str, Mapping[str, tuple[tuple[str, ...], str]]] = {
    "jobs.batch": {"status.successful": (("status", "succeeded"), "0")},
}
"""Selectable fields that are called otherwise in the objects, with where they are and what they count as if missing."""
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?").fullmatch
_CUSTOM_RESETS = {"": of_paths(("f:status",)), "status": of_paths(("f:spec",))}
_STAGES = {"": 2, "beta": 1, "alpha": 0}


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where an object keeps what the scale subresource shows. ``selector`` may be missing."""

    spec: tuple[str, ...]
    status: tuple[str, ...]
    selector: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subresource:
    """One subresource: what it takes and gives. ``schema`` is None when that is the object itself."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``json_path`` is only set for columns of custom kinds."""

    name: str
    type: str
    format: str = ""
    priority: int = 0
    description: str = ""
    json_path: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One served version of a kind."""

    resource: Resource
    singular: str
    list_kind: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]
    subresources: Mapping[str, Subresource]
    schema: Schema
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]
    scale: ScalePaths | None = None
    is_custom: bool = False
    storage: bool = True
    generation: bool = False
    initial_status: Raw | None = None
    keeps_status: bool = False
    returns_deleted: bool = False  # a deletion answers with the object
    definition: str = ""  # the name of the schema in OpenAPI
    resets: Mapping[str, Fields] = field(default_factory=dict)  # by subresource: fields that writing it leaves alone
    deprecation: str = ""
    view: View | None = None
    _selectors: tuple[tuple[str, tuple[str, ...], str], ...] = field(default=(), repr=False)

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def namespaced(self) -> bool:
        return self.resource.namespaced

    @property
    def stored(self) -> Resource:
        """As what its objects are stored: another kind's, if this one is a view of them."""
        return self.resource if self.view is None else self.view.stored

    def converted(self, obj: Raw) -> Raw:
        """An object of some version of this kind, as this version has it. Changes ``obj``, which is used up.

        Versions differ by their schemas only (conversion strategy ``None``): what this one does not know goes.
        """
        if self.is_custom and obj.get("apiVersion") != self.resource.api_version:
            self.schema.prune(obj)
        return in_order(obj, self.resource)

    @property
    def unknown_field(self) -> str:
        """How a field selector is refused that names a field (``{}``) that objects cannot be selected by."""
        if self.resource.id in _SELECTED_OTHERWISE:
            return f'field label "{{}}" not supported for {self.resource.kind}'
        if self.is_custom or set(self.selectable) != {_NAME, _NAMESPACE}:
            return UNKNOWN_FIELD
        return '"{}" is not a known field selector: only "metadata.name", "metadata.namespace"'

    def fields(self, obj: Raw) -> dict[str, str]:
        """The values of the selectable fields, as a Record keeps them."""
        metadata = obj["metadata"]
        found = {_NAME: metadata.get("name", ""), _NAMESPACE: metadata.get("namespace", "")}
        for path, steps, missing in self._selectors:
            value: Any = obj
            for step in steps:
                value = value.get(step) if type(value) is dict else None  # an older schema may have had others
            found[path] = missing if value is None else value if type(value) is str else _shown(value)
        return found


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Kinds:
    """The registry of served kinds."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.types = Types(facts.definitions)
        self._decode_metadata = compile_decoder(facts.definitions, OBJECT_META)
        self._by_address: dict[tuple[str, str, str], Kind] = {}
        self._by_id: dict[str, Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}
        self._definitions: dict[str, list[Kind]] = {}
        self._listeners: list[Callable[[], None]] = []
        for entry in facts.resources:
            self._add(_builtin(facts, self.types, entry))
        self._builtin_groups = frozenset(group for group, _, _ in self._by_address)

    @classmethod
    def builtin(cls) -> "Kinds":
        """The registry with the built-in kinds only."""
        return cls(load_facts())

    def find(self, group: str, version: str, plural: str) -> Kind:
        """The kind at an address of the API.

        Raises:
            NotFound: no such resource is served.
        """
        kind = self._by_address.get((group, version, plural))
        if kind is None:
            raise NotFound("the server could not find the requested resource")
        return kind

    def is_builtin(self, group: str) -> bool:
        """Whether a group is the server's own, whatever custom kinds there are."""
        return group in self._builtin_groups

    def by_id(self, resource_id: str) -> Kind:
        """The kind in the version that is stored.

        Raises:
            NotFound: no such resource is served.
        """
        kind = self._by_id.get(resource_id)
        if kind is None:
            raise NotFound(f"the server does not serve {resource_id}", kind=resource_id)
        return kind

    def of_kind(self, api_version: str, kind: str) -> Kind | None:
        """The kind that an object or an owner reference names, None when it is not served."""
        return self._by_kind.get((api_version, kind))

    def equivalents(self, kind: Kind) -> Sequence[Kind]:
        """Other kinds that show the same objects: other served versions of a custom kind, a view of a built-in one."""
        return tuple(
            other
            for other in self._by_address.values()
            if other.stored.id == kind.stored.id and other.resource != kind.resource
        )

    def all(self) -> Sequence[Kind]:
        """Every served version of every kind, in order of registration."""
        return tuple(self._by_address.values())

    def stored(self) -> Sequence[Kind]:
        """Every kind that has stored objects, once."""
        return tuple(kind for kind in self._by_id.values() if "list" in kind.verbs)

    def groups(self) -> Mapping[str, Sequence[str]]:
        """The groups and their versions, the preferred one first."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_address:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return {group: sorted(versions, key=version_rank, reverse=True) for group, versions in found.items()}

    def in_group(self, group: str, version: str) -> Sequence[Kind]:
        return tuple(
            kind
            for kind in self._by_address.values()
            if kind.resource.group == group and kind.resource.version == version
        )

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change of the registry."""
        self._listeners.append(listener)

    def install_crd(self, crd: Raw) -> None:
        """Serve a custom kind, or replace what is served of it. Conflicting names are not served (see ``crd_status``).

        The definition is one that was accepted when it was written: what an update may keep is no reason to refuse it.

        Raises:
            Invalid: the definition breaks the rules; nothing is changed.
        """
        problems: list[Problem] = []
        check_definition(crd, crd, problems)
        name = crd["metadata"]["name"]
        if problems:
            raise invalid(CUSTOM_RESOURCE_DEFINITIONS, name, problems)
        accepted, conflict = self._accepted(crd)
        served = not conflict or _is_established(crd)
        if conflict and served:
            crd = {**crd, "spec": {**crd["spec"], "names": accepted}}
        stored = self._custom(crd, storage_version(crd))
        kinds = [
            stored if version.get("storage") else self._custom(crd, version)
            for version in crd["spec"]["versions"]
            if version.get("served")
        ]
        self._drop(name)
        if served:
            self._definitions[name] = kinds
            for kind in kinds:
                self._add(kind)
            self._by_id[stored.resource.id] = stored
        self._changed()

    def remove_crd(self, name: str) -> None:
        """Stop serving a custom kind. Unknown names are ignored."""
        if name in self._definitions:
            self._drop(name)
            self._changed()

    def crd_status(self, crd: Raw, now: datetime, *, stores: bool = True) -> Raw:
        """The status of a definition: accepted names, conditions, stored versions. Keeps what has not changed.

        ``stores`` is false when only the status was written: its author may have migrated what was stored.
        """
        old: Raw = crd.get("status") or {}
        accepted, conflict = self._accepted(crd)
        established = not conflict or _is_established(crd)
        conditions = (
            (
                "NamesAccepted",
                "False" if conflict else "True",
                conflict[0] if conflict else "NoConflicts",
                conflict[1] if conflict else "no conflicts found",
            ),
            (
                "Established",
                "True" if established else "False",
                "InitialNamesAccepted" if established else "NotAccepted",
                "the initial names have been accepted" if established else "not all names are accepted",
            ),
        )
        ending = [found for found in old.get("conditions") or () if found.get("type") == "Terminating"]
        stored = [version for version in old.get("storedVersions") or () if version]
        if storage_version(crd)["name"] not in stored and (stores or not stored):
            stored.append(storage_version(crd)["name"])
        return {
            "conditions": [
                _condition(old, type_, reason, message, status=status, now=now)
                for type_, status, reason, message in conditions
            ]
            + ending,
            "acceptedNames": accepted,
            "storedVersions": stored,
        }

    def _accepted(self, crd: Raw) -> tuple[Raw, tuple[str, str] | None]:
        """The names that a definition may use, and the reason and message where another kind of the group has one."""
        spec, own = crd["spec"], crd["metadata"]["name"]
        wanted: Raw = {field: value for field, value in spec["names"].items() if value}
        accepted: Raw = {"plural": "", "kind": "", **((crd.get("status") or {}).get("acceptedNames") or {})}
        others = [
            other
            for other in self._by_address.values()
            if other.resource.group == spec["group"] and f"{other.resource.plural}.{other.resource.group}" != own
        ]
        resources = {name for other in others for name in (other.resource.plural, other.singular, *other.short_names)}
        kinds = {name for other in others for name in (other.resource.kind, other.list_kind)}
        conflict: tuple[str, str] | None = None
        for part, used in _NAME_FIELDS:
            asked, had = wanted.get(part, []), accepted.get(part, [])
            names = [asked] if isinstance(asked, str) else [name for name in asked if name not in had]
            found = [name for name in names if name in (kinds if used == "kinds" else resources) and name != had]
            if found:
                texts = [f'"{name}" is already in use' for name in found]
                text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
                conflict = f"{part[0].upper()}{part[1:]}Conflict", text
            elif part in wanted:
                accepted[part] = wanted[part]
            else:
                accepted.pop(part, None)
        accepted.pop("categories", None)
        return {**accepted, **({"categories": wanted["categories"]} if "categories" in wanted else {})}, conflict

    def _add(self, kind: Kind) -> None:
        resource = kind.resource
        self._by_address[resource.group, resource.version, resource.plural] = kind
        self._by_kind.setdefault((resource.api_version, resource.kind), kind)
        if kind.storage:
            self._by_id[resource.id] = kind

    def _drop(self, name: str) -> None:
        for kind in self._definitions.pop(name, ()):
            resource = kind.resource
            self._by_address.pop((resource.group, resource.version, resource.plural), None)
            self._by_kind.pop((resource.api_version, resource.kind), None)
            self._by_id.pop(resource.id, None)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def _custom(self, crd: Raw, version: Raw) -> Kind:
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
            verbs=CUSTOM_VERBS,
            subresources=_custom_subresources(resource, version, self.facts, self.types),
            schema=CustomSchema(
                resource,
                schema,
                self._decode_metadata,
                self.types,
                replicas=(scale.spec, scale.status) if scale is not None else None,
            ),
            columns=_custom_columns(version),
            selectable=(_NAME, *((_NAMESPACE,) if resource.namespaced else ()), *selectable),
            scale=scale,
            is_custom=True,
            storage=bool(version.get("storage")),
            generation=True,
            resets=_CUSTOM_RESETS if "status" in (version.get("subresources") or {}) else {},
            definition=".".join((*reversed(spec["group"].split(".")), version["name"], names["kind"])),
            deprecation=_deprecation(resource, version, spec["versions"]),
            _selectors=tuple((path, tuple(path.split(".")), "") for path in of_any),
        )


_NAME_FIELDS = (
    *(("plural", "resources"), ("singular", "resources"), ("shortNames", "resources")),
    *(("kind", "kinds"), ("listKind", "kinds")),
)
"""The names of a definition in the order in which they are asked for, and which names of others they must not be."""


def _is_established(crd: Raw) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(found.get("type") == "Established" and found.get("status") == "True" for found in conditions)


def _selectable(version: Raw) -> tuple[str, ...]:
    return tuple(entry["jsonPath"].removeprefix(".") for entry in version.get("selectableFields") or ())


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Which version of a group is preferred: v2 over v1 over v1beta2 over v1alpha1 over anything else."""
    match = _VERSION(version)
    if match is None:
        return (-1, 0, 0, version)
    return (_STAGES[match[2] or ""], int(match[1]), int(match[3] or 0), version)


def _builtin(facts: Facts, types: Types, entry: Raw) -> Kind:
    resource = Resource(
        entry["group"], entry["version"], entry["plural"], entry["kind"], namespaced=entry["namespaced"]
    )
    stored = "list" in entry["verbs"]
    otherwise = _SELECTED_OTHERWISE.get(resource.id, {})
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
        _selectors=tuple(
            (path, tuple(path.split(".")), _missing(facts, entry["schema"], path))
            if path not in otherwise
            else (path, *otherwise[path])
            for path in selectable
            if path not in (_NAME, _NAMESPACE)
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


def _custom_subresources(resource: Resource, version: Raw, facts: Facts, types: Types) -> Mapping[str, Subresource]:
    wanted: Raw = version.get("subresources") or {}
    found: dict[str, Subresource] = {}
    if wanted.get("status") is not None:
        found["status"] = Subresource("status", resource.group, resource.version, resource.kind, STATUS_VERBS)
    if wanted.get("scale"):
        body = Resource("autoscaling", "v1", resource.plural, "Scale", namespaced=resource.namespaced)
        schema = BuiltinSchema(facts, body, "io.k8s.api.autoscaling.v1.Scale", types=types, named=False)
        found["scale"] = Subresource("scale", "autoscaling", "v1", "Scale", STATUS_VERBS, schema)
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


def _condition(old: Raw, type_: str, reason: str, message: str, *, status: str, now: datetime) -> Raw:
    """A condition whose transition time moves only with its status."""
    before = next((item for item in old.get("conditions") or () if item.get("type") == type_), None)
    since = before["lastTransitionTime"] if before is not None and before.get("status") == status else timestamp(now)
    return {"type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
