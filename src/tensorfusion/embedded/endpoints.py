"""What an object looks like through the endpoint that a write comes by: types, versions, and what it does not write.

The scale subresource is an endpoint of its own: a Scale has one field that counts, and its managers are those of the
replicas in the object behind it.

Source: managedfields.ScaleHandler; the reset fields of registry strategies, by behaviour.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tensorfusion.embedded.fields.apply import Version, VersionOf
from tensorfusion.embedded.fields.entries import Entry
from tensorfusion.embedded.fields.sets import Fields, Path, difference, has, of_paths
from tensorfusion.embedded.fields.types import FieldType
from tensorfusion.embedded.fields.update import replaced
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.objects import JsonObject

_SCALE_VERSION = "autoscaling/v1"
_REPLICAS: Path = ("f:spec", "f:replicas")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``zero`` is an object before its first write; ``version_of`` knows this version and the others of the kind."""

    api_version: str
    kind: str
    subresource: str
    type: FieldType
    zero: JsonObject
    version_of: VersionOf


def of_kind(kinds: Kinds, kind: Kind, subresource: str) -> Endpoint:
    """The endpoint of whole objects, or of a subresource that is written as a whole object."""
    resource = kind.resource

    def version_of(api_version: str) -> Version | None:
        if api_version == resource.api_version:
            return Version(kind.schema.field_type, kind.resets.get(subresource, {}))
        other = kinds.of_kind(api_version, resource.kind)
        if other is None or other.resource.id != resource.id:
            return None
        return Version(other.schema.field_type, {})

    schema = kind.schema
    return Endpoint(resource.api_version, resource.kind, subresource, schema.field_type, schema.zero, version_of)


def of_scale(kind: Kind) -> Endpoint:
    """The scale endpoint of a kind that has one."""
    schema = kind.subresources["scale"].schema
    if schema is None:
        raise TypeError(f"the scale of {kind.resource.id} has no schema")
    version = Version(schema.field_type, {})

    def version_of(api_version: str) -> Version | None:
        return version if api_version == _SCALE_VERSION else None

    return Endpoint(_SCALE_VERSION, "Scale", "scale", schema.field_type, schema.zero, version_of)


def to_scale(kinds: Kinds, kind: Kind, entries: Sequence[Entry]) -> list[Entry]:
    """The managers of an object's replicas, as managers of its Scale."""
    return [
        replaced(entry, fields=of_paths(_REPLICAS), api_version=_SCALE_VERSION)
        for entry in entries
        if has(entry.fields, _path(kinds, kind, entry.api_version) or ())
    ]


def to_parent(kinds: Kinds, kind: Kind, entries: Sequence[Entry], scale: Sequence[Entry]) -> list[Entry]:
    """An object's entries after a write of its Scale. What is owned through the Scale has no time of its own."""
    owners = {_who(entry): entry for entry in scale if has(entry.fields, _REPLICAS)}
    found: list[Entry] = []
    for entry in entries:
        path = _path(kinds, kind, entry.api_version)
        if path is None or not has(entry.fields, path) or owners.pop(_who(entry), None) is not None:
            found.append(entry)
            continue
        left: Fields = difference(entry.fields, of_paths(path))
        if left:
            found.append(replaced(entry, fields=left))
    version = kind.resource.api_version
    path = _path(kinds, kind, version)
    if path is not None:
        replicas = of_paths(path)
        found += [replaced(entry, fields=replicas, api_version=version, timeless=True) for entry in owners.values()]
    return found


def _who(entry: Entry) -> tuple[str, str, str]:
    return entry.manager, entry.operation, entry.subresource


def _path(kinds: Kinds, kind: Kind, api_version: str) -> Path | None:
    """Where the replicas are in a version of the kind."""
    found = kind if api_version == kind.resource.api_version else kinds.of_kind(api_version, kind.resource.kind)
    if found is None or found.scale is None:
        return None
    return tuple(f"f:{step}" for step in found.scale.spec)
