"""Which kinds the API serves: the built-in ones from the facts, custom ones as their definitions come and go.

The registry is changed by one task (the API process's event loop) and read by all.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tensorfusion.clock import timestamp
from tensorfusion.embedded.facts import Facts, load_facts
from tensorfusion.embedded.fields.types import Types
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kind_making import builtin_kind, custom_kind, version_rank
from tensorfusion.embedded.schema.decode import compile_decoder
from tensorfusion.embedded.schema.definitions import check_definition, storage_version
from tensorfusion.embedded.schema.path import Problem
from tensorfusion.embedded.schema.schema import OBJECT_META
from tensorfusion.embedded.schema.words import invalid
from tensorfusion.errors import NotFound
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import CUSTOM_RESOURCE_DEFINITIONS


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
            self._add(builtin_kind(facts, self.types, entry))
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
        return custom_kind(crd, version, self.facts, self.types, decode_metadata=self._decode_metadata)


_NAME_FIELDS = (
    *(("plural", "resources"), ("singular", "resources"), ("shortNames", "resources")),
    *(("kind", "kinds"), ("listKind", "kinds")),
)
"""The names of a definition in the order in which they are asked for, and which names of others they must not be."""


def _is_established(crd: Raw) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(found.get("type") == "Established" and found.get("status") == "True" for found in conditions)


def _condition(old: Raw, type_: str, reason: str, message: str, *, status: str, now: datetime) -> Raw:
    """A condition whose transition time moves only with its status."""
    before = next((item for item in old.get("conditions") or () if item.get("type") == type_), None)
    since = before["lastTransitionTime"] if before is not None and before.get("status") == status else timestamp(now)
    return {"type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
