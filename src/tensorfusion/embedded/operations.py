"""What every write of an object has in common: what it works with, and its last steps.

Each verb is a function over these: ``creation``, ``updates`` (also patch and apply), ``deletion``; Bindings and scales
are in ``subresources``.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.admission import Admission
from tensorfusion.embedded.calls import Asked, Call
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.managed import Managers
from tensorfusion.embedded.objects import JsonObject, encode_object, in_order, make_record
from tensorfusion.embedded.store import ObjectKey, Record, Store
from tensorfusion.model.resources import NAMESPACES

Refine = Callable[[Kind, JsonObject, JsonObject | None], None]
"""Completes an object in place, given its old version (None for a new one)."""


class Operations:
    """What the verbs that write objects share. One instance per server.

    ``complete`` maps a resource id to what fills its objects in after admission and before validation, ``finish`` to
    what the server says of them once they are valid, ``hold`` to what keeps for a write that is ready what it is given.
    """

    def __init__(self, store: Store, kinds: Kinds, admission: Admission, *, clock: Clock) -> None:
        self.store = store
        self.kinds = kinds
        self.admission = admission
        self.clock = clock
        self.managers = Managers(kinds)
        self.complete: dict[str, Refine] = {}
        self.finish: dict[str, Refine] = {}
        self.hold: dict[str, Callable[[Asked], None]] = {}
        self.closed: set[str] = set()
        """Resources that take no new objects: their definition is being deleted."""
        self._second = (0, "")

    def now(self) -> str:
        """The time as objects carry it; the text of a second is made once."""
        moment = self.clock.now()
        second, text = int(moment.timestamp()), self._second[1]
        if second != self._second[0]:
            text = timestamp(moment)
            self._second = second, text
        return text

    def stored_kind(self, kind: Kind) -> Kind:
        """The kind whose objects a view shows; any other kind is its own."""
        return kind if kind.view is None else self.kinds.by_id(kind.view.stored.id)

    def validate(
        self, kind: Kind, new: JsonObject, old: JsonObject | None, call: Call, *, subresource: str = ""
    ) -> None:
        """Validate an object that is otherwise ready, given its old version, and complete what depends on that.

        Raises:
            Invalid: as its schema says.
        """
        complete, finish = self.complete.get(kind.resource.id), self.finish.get(kind.resource.id)
        if complete is not None:
            complete(kind, new, old)
        call.warnings += kind.schema.validate(new, old, subresource=subresource)
        if finish is not None:
            finish(kind, new, old)

    def hold_for(self, asked: Asked) -> None:
        """Keep for a write that is ready what it was given, until it is over.

        Raises:
            ApiError: somebody else was given it in the meantime.
        """
        hold = self.hold.get(asked.kind.resource.id)
        if hold is not None:
            hold(asked)

    async def write(
        self, kind: Kind, record: Record, new: JsonObject, call: Call, *, managed: bytes | None = None
    ) -> Record:
        """Replace a record, or remove it when nothing holds an object that is being deleted any more.

        ``managed`` are its managed fields from now on; None leaves them as they are.

        Raises:
            RevisionMismatch: the record is no longer the newest.
        """
        if managed is None:
            managed = record.managed
        if call.dry_run:
            return dry_record(record.key, new, managed)
        make = self.maker(kind, record.key, new, managed)
        if is_finished(kind, new):
            return await self.store.remove(record.key, expected=record.revision, make=make)
        return await self.store.put(record.key, expected=record.revision, make=make)

    def maker(self, kind: Kind, key: ObjectKey, obj: JsonObject, managed: bytes) -> Callable[[int], Record]:
        """Builds the record of an object, which is used up: it is stored as the storage version has it."""
        if kind.is_custom and not kind.storage:
            kind = self.kinds.by_id(kind.resource.id)
            obj = kind.converted(obj)
        return lambda revision: make_record(key, obj, revision, kind.fields, managed)


def as_stated(kind: Kind, obj: JsonObject) -> JsonObject:
    """The object as it is stored. A custom one keeps a wrong kind that it states: its validation says so."""
    ordered = in_order(obj, kind.resource)
    kind.schema.settle(ordered)
    if kind.is_custom:
        for field in ("apiVersion", "kind"):
            ordered[field] = obj.get(field, ordered[field])
    return ordered


def is_finished(kind: Kind, obj: JsonObject) -> bool:
    """Whether an object that is being deleted is held by nothing: no finalizers, no grace period."""
    metadata = obj["metadata"]
    if (
        not metadata.get("deletionTimestamp")
        or metadata.get("finalizers")
        or metadata.get("deletionGracePeriodSeconds")
    ):
        return False
    return kind.resource.id != NAMESPACES.id or not (obj.get("spec") or {}).get("finalizers")


def dry_record(key: ObjectKey, obj: JsonObject, managed: bytes) -> Record:
    """What a dry run answers with: nothing of it is stored."""
    return Record(key, 0, obj["metadata"].get("uid", ""), encode_object(obj), {}, {}, (), managed)
