"""What an object's owner references come to, given which owners there are: pure reading, shared by nobody's writes.

An owner is looked up by what the reference says - kind, name, and the dependent's own namespace - and counts only if it
has the uid of the reference: an owner in another namespace, of another name or recreated since is an absent one.

Source: kube-controller-manager 1.34's garbage collector, by behaviour.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

import msgspec

from tensorfusion.embedded.store import ObjectKey, Record
from tensorfusion.model.meta import OwnerReference
from tensorfusion.model.resources import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Metadata(msgspec.Struct, frozen=True):
    """The part of an object's metadata that decides about its collection."""

    deletion_timestamp: str | None = msgspec.field(default=None, name="deletionTimestamp")
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = msgspec.field(default=(), name="ownerReferences")

    @property
    def deleting(self) -> bool:
        return self.deletion_timestamp is not None

    @property
    def deletes_dependents(self) -> bool:
        """It waits for its dependents to be deleted."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        """It waits for its dependents to be set free."""
        return self.deleting and ORPHAN in self.finalizers


class _Object(msgspec.Struct, frozen=True):
    metadata: Metadata


_decoder = msgspec.json.Decoder(_Object)
_MARK = b'"deletionTimestamp":"'


def metadata_of(record: Record) -> Metadata:
    """The metadata of a stored object."""
    return _decoder.decode(record.data).metadata


def may_be_deleting(record: Record) -> bool:
    """False for certain when the object is not being deleted; costs a search instead of a decode."""
    return _MARK in record.data


class Ruling(Enum):
    """Whether anything can be said about a dependent."""

    KNOWN = auto()
    UNKNOWN_KIND = auto()
    """An owner's kind is not served: it cannot be said to be absent, so the dependent stays as it is."""
    IMPOSSIBLE = auto()
    """A cluster-scoped object refers to a namespaced owner: never valid, never collected."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """The uids of an object's references, sorted into what became of the owners."""

    ruling: Ruling
    solid: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # owners that are being deleted in the foreground

    @property
    def settled(self) -> bool:
        """Nothing is to be done about the object."""
        return self.ruling is not Ruling.KNOWN or not (self.dangling or self.waiting)


class Owners(Protocol):
    """Where owners are looked up."""

    def resource_of(self, reference: OwnerReference) -> Resource | None:
        """The resource of the reference's kind, None where no such kind is served."""
        ...

    def get(self, key: ObjectKey) -> Record | None: ...


def classify(key: ObjectKey, metadata: Metadata, owners: Owners) -> Ownership:
    """Sort an object's references by what became of their owners."""
    found = Ownership(Ruling.KNOWN)
    for reference in metadata.owner_references:
        resource = owners.resource_of(reference)
        if resource is None:
            return Ownership(Ruling.UNKNOWN_KIND)
        if resource.namespaced and not key.namespace:
            return Ownership(Ruling.IMPOSSIBLE)
        owner = owners.get(ObjectKey(resource.id, key.namespace if resource.namespaced else "", reference.name))
        if owner is None or owner.uid != reference.uid:
            found.dangling.append(reference.uid)
        elif may_be_deleting(owner) and metadata_of(owner).deletes_dependents:
            found.waiting.append(reference.uid)
        else:
            found.solid.append(reference.uid)
    return found
