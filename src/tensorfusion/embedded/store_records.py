"""What the store holds and hands out: keys, records, events and pages.

Apart from the store so that readers (watch encoding, tables, selectors) can name these types without the machinery
behind them. Everything here is immutable and shared: one event object goes to every subscriber.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from tensorfusion.errors import StoreError


class ObjectKey(NamedTuple):
    """Which object. ``resource`` is ``Resource.id``; cluster-scoped objects have namespace ``""``.

    A tuple, because keys are hashed and compared millions of times; they sort by resource, namespace, name.
    """

    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource} {self.namespace}/{self.name}" if self.namespace else f"{self.resource} {self.name}"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One version of one object, encoded once.

    ``data`` is the whole object as JSON with ``metadata.resourceVersion`` set to ``revision``. ``labels``, ``fields``
    (the selectable ones) and ``owners`` (uids of metadata.ownerReferences) are kept beside it so that selecting,
    collecting and opening never decode it. They must not be changed after construction. ``managed`` is the JSON of
    ``metadata.managedFields``, which ``data`` leaves out: most readers do not want it; empty where nothing is tracked.
    """

    key: ObjectKey
    revision: int
    uid: str
    data: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    owners: tuple[str, ...]
    managed: bytes = b""


class EventKind(StrEnum):
    """The wire values of a watch event."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class StoreEvent(msgspec.Struct, frozen=True, gc=False):
    """One committed write. ``previous`` is what it replaced; a deletion's ``record`` is the final object."""

    kind: EventKind
    record: Record
    previous: Record | None

    @property
    def revision(self) -> int:
        return self.record.revision


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, all of it as of ``revision``.

    ``last`` is the key to go on after, None when nothing follows. ``remaining`` counts what follows and is None where
    a filter makes that unknown.
    """

    records: Sequence[Record]
    revision: int
    last: ObjectKey | None = None
    remaining: int | None = None


class RevisionMismatch(StoreError):
    """The object is not at the revision the writer built on. ``current`` is the newest accepted version, if any.

    ``expected == 0`` means that the writer wanted to create it.
    """

    def __init__(self, key: ObjectKey, expected: int, current: Record | None) -> None:
        self.key = key
        self.expected = expected
        self.current = current
        found = f"revision {current.revision}" if current else "no such object"
        wanted = f"revision {expected}" if expected else "no such object"
        super().__init__(f"{key}: wanted {wanted}, found {found}; read it again and retry")
