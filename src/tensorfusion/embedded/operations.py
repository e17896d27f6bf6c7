"""Create, update and patch: every write of an object, in the order of a real API server.

Read the newest accepted version, compute the next, admit, validate, write on condition that nobody was faster; a
patch starts over when somebody was. Between reading ``latest`` and ``put`` there may be awaits (webhooks), and that
condition is what makes them safe. Deletion is in ``deletion``, Bindings and scales in ``subresources``; all of them
share this class.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.access.users import SYSTEM
from tensorfusion.embedded.admission import Admission
from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.kinds import Kind, Kinds
from tensorfusion.embedded.managed import Managers
from tensorfusion.embedded.objects import (
    JsonObject,
    decode_object,
    decode_record,
    encode_object,
    generate_name,
    in_order,
    make_record,
    metadata_of,
    new_uid,
    text_of,
    wipe_managed,
)
from tensorfusion.embedded.patch import same_json
from tensorfusion.embedded.restored_words import restored
from tensorfusion.embedded.schema.schema import FieldValidation, Schema
from tensorfusion.embedded.statuses import (
    already_exists,
    conflict,
    forbidden,
    invalid,
    modified,
    not_found,
)
from tensorfusion.embedded.store import ObjectKey, Record, RevisionMismatch, Store
from tensorfusion.embedded.strategies import begin, carry, counts, identify, stamp_labels
from tensorfusion.embedded.views import View
from tensorfusion.embedded.write_checks import (
    ANY_VERSION,
    check_identity,
    check_place,
    check_same_name,
    check_version_stated,
    is_version,
    warnings_of_write,
)
from tensorfusion.errors import AlreadyExists, ApiError, BadRequest, FieldCause
from tensorfusion.model.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    LIMIT_RANGES,
    NAMESPACES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    RUNTIME_CLASSES,
    SERVICES,
)

_MADE_BY_UPDATES = frozenset(
    resource.id
    for resource in (
        SERVICES,
        ENDPOINTS,
        LIMIT_RANGES,
        EVENTS,
        LEASES,
        ROLES,
        ROLE_BINDINGS,
        CLUSTER_ROLES,
        CLUSTER_ROLE_BINDINGS,
        RUNTIME_CLASSES,
    )
)
"""Kinds whose objects are made by a replacement when they are not there."""
Change = Callable[[JsonObject], JsonObject]
"""Makes the wanted object of a current one that it may change."""
Track = Callable[[JsonObject, JsonObject, bytes], bytes]
"""The managed fields of a changed object, from its old and new version and what they were."""
Refine = Callable[[Kind, JsonObject, JsonObject | None], None]
"""Completes an object in place, given its old version (None for a new one)."""

_WITH_STATUS = frozenset({"apiVersion", "kind", "metadata", "status"})
_ATTEMPTS = 8
_TERMINATING = "create not allowed while custom resource definition is terminating"


@dataclass(frozen=True, slots=True)
class Patch:
    """A change that a client wrote as a patch.

    ``sees_managed``: it may speak of managed fields, and must be shown them. ``repeated`` are complaints of keys that
    it holds twice. ``shown`` is how an error quotes it; without it the patched object is quoted. ``touched`` are the
    fields of the object that it speaks of, None where that is not known; it leaves the others as they are.
    """

    change: Change
    sees_managed: bool = False
    repeated: tuple[str, ...] = ()
    shown: Callable[[], str] | None = None
    touched: frozenset[str] | None = None

    def __call__(self, current: JsonObject) -> JsonObject:
        return self.change(current)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What server-side apply is given: the fields that its author wants, and whether to take them from others."""

    obj: JsonObject
    force: bool = False


def prepare_patched(
    schema: Schema, obj: JsonObject, change: Change, current: Callable[[], JsonObject], call: Call
) -> list[str]:
    """Decode an object that a change has made; ``current`` gives what it was made of once more. Returns warnings.

    Raises:
        Invalid: as a real API server says of patches whose result cannot be decoded.
    """
    try:
        return schema.prepare(
            obj,
            strict=call.validation,
            repeated=call.repeated,
            sort=True,
            applied=isinstance(change, Patch) and change.shown is not None,
            patched=isinstance(change, Patch),
        )
    except BadRequest as error:
        if not isinstance(change, Patch):
            raise
        what = str(error)
        if "cannot be handled as a" in what:
            what = what.partition(": ")[2]
        what = what if change.shown is None else restored(what)
        shown = change.shown() if change.shown is not None else encode_object(change(current())).decode()
        cause = FieldCause("patch", f"Invalid value: {json.dumps(shown, ensure_ascii=False)}: {what}")
        raise invalid("", "", "", causes=(cause,)) from error


class Operations:
    """The verbs that write objects.

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

    # --- create ---

    async def create(self, kind: Kind, namespace: str, obj: JsonObject, call: Call, *, subresource: str = "") -> Record:
        """Store a new object and return it as stored; ``obj`` is used up.

        A ``subresource`` that it is made through says what of it its author owns.

        Raises:
            ApiError: malformed, invalid, refused, already there, or the namespace is missing or terminating.
        """
        if kind.view is not None:
            obj = self._new_of_view(kind, kind.view, namespace, obj, call)
            try:
                return await self.create(self.stored_kind(kind), namespace, obj, call)
            except AlreadyExists as error:
                raise already_exists(kind.resource, error.name) from error
        if kind.resource.id in self.closed:
            raise forbidden(kind.resource, text_of(metadata_of(obj), "name"), _TERMINATING)
        call.warnings += kind.schema.prepare(obj, strict=call.validation, repeated=call.repeated)
        metadata = metadata_of(obj)
        check_place(metadata, namespace if kind.namespaced else "", "")
        versioned = is_version(text_of(metadata, "resourceVersion"))
        if versioned:
            call = replace(call, dry_run=True)  # whatever else is wrong with it is said first
        stated, generation = metadata.get("managedFields"), metadata.get("generation")
        wipe_managed(metadata)
        if generation:
            metadata["generation"] = generation
        managed = self.managers.created(kind, obj, stated, call, self.now(), subresource=subresource)
        try:
            created = await self._create(kind, namespace, obj, managed, call)
        except AlreadyExists:
            if not versioned:
                raise
        if versioned:
            raise BadRequest("resourceVersion should not be set on objects to be created")
        return created

    async def _create(self, kind: Kind, namespace: str, obj: JsonObject, managed: bytes, call: Call) -> Record:
        """Complete, admit and store a decoded new object."""
        obj = _as_stated(kind, obj)
        begin(kind, obj, now=self.now)
        asked = Asked(Operation.CREATE, kind, namespace, text_of(metadata_of(obj), "name"), call, obj)
        await self.admission.mutate(asked)
        obj = _as_stated(kind, asked.wanted)
        return await self._insert(kind, namespace, obj, managed, asked)

    def stored_kind(self, kind: Kind) -> Kind:
        """The kind whose objects a view shows; any other kind is its own."""
        return kind if kind.view is None else self.kinds.by_id(kind.view.stored.id)

    def _new_of_view(self, kind: Kind, view: View, namespace: str, obj: JsonObject, call: Call) -> JsonObject:
        """What is stored of a new object that came as a view's; the view has rules of its own."""
        call.warnings += kind.schema.prepare(obj, strict=call.validation, repeated=call.repeated)
        metadata = metadata_of(obj)
        check_place(metadata, namespace, "")
        name = text_of(metadata, "name") or generate_name(text_of(metadata, "generateName"))
        kind.schema.validate({**obj, "metadata": {**metadata, "name": name}})
        return view.to_stored(obj)

    async def _insert(self, kind: Kind, namespace: str, obj: JsonObject, managed: bytes, asked: Asked) -> Record:
        metadata = metadata_of(obj)
        metadata.pop("managedFields", None)
        check_place(metadata, namespace if kind.namespaced else "", "")
        if text_of(metadata, "resourceVersion"):  # a webhook's doing: a client was refused before
            raise ApiError("resourceVersion should not be set on objects to be created", code=500, reason="")
        prefix = "" if text_of(metadata, "name") else text_of(metadata, "generateName")
        unnamed = obj
        for attempt in range(_ATTEMPTS):
            if prefix:
                metadata["name"] = generate_name(prefix)
            stamp_labels(kind, unnamed)
            metadata["uid"] = new_uid()
            metadata["creationTimestamp"] = self.now()
            obj = identify(kind, unnamed)
            if asked.call.user is not SYSTEM:  # the server's own objects may hold what no user may write
                self._validate(kind, obj, None, asked.call)
                if not attempt:
                    asked.call.warnings += warnings_of_write(kind, obj, None)
            asked.obj, asked.name = obj, metadata["name"]
            await self.admission.validate(asked)
            key = ObjectKey(kind.resource.id, namespace, metadata["name"])
            try:
                if asked.call.user is not SYSTEM:
                    self._hold(asked)
                if asked.call.dry_run:
                    if self.store.latest(key) is not None:
                        raise self._taken(kind, key)
                    return dry_record(key, obj, managed)
                return await self.store.put(key, expected=0, make=self._maker(kind, key, obj, managed))
            except RevisionMismatch as error:
                if not prefix or attempt == _ATTEMPTS - 1:
                    raise self._taken(kind, key) from error
            except asyncio.CancelledError:
                asked.keep()
                raise
            finally:
                asked.release()
        raise already_exists(kind.resource, metadata["name"])

    def _taken(self, kind: Kind, key: ObjectKey) -> AlreadyExists:
        found = self.store.latest(key)
        deleting = found is not None and bool(decode_object(found.data)["metadata"].get("deletionTimestamp"))
        return already_exists(kind.resource, key.name, deleting=deleting)

    # --- change ---

    async def update(
        self, kind: Kind, namespace: str, name: str, obj: JsonObject, call: Call, *, subresource: str = ""
    ) -> tuple[Record, bool]:
        """Replace an object, or its status; returns it, and whether it was made: some kinds are when they are missing.

        Raises:
            ApiError: as ``create``; Conflict when ``metadata.resourceVersion`` or ``uid`` is not the current one.
        """
        counted = counts(kind, obj)
        call.warnings += kind.schema.prepare(obj, strict=call.validation, repeated=call.repeated)
        metadata = metadata_of(obj)
        check_place(metadata, namespace if kind.namespaced else "", name)
        stated = text_of(metadata, "resourceVersion")
        uid = text_of(metadata, "uid")
        if stated == ANY_VERSION:
            metadata["resourceVersion"] = stated = ""
        encoded = encode_object(obj)

        def change(current: JsonObject) -> JsonObject:
            if uid and uid != current["metadata"]["uid"]:
                found = current["metadata"]["uid"]
                why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
                raise conflict(kind.resource, name, why)
            return decode_object(encoded)

        if self.stored_kind(kind).resource.id in _MADE_BY_UPDATES and is_made_through(kind, subresource):
            made = await self._put_missing(kind, namespace, name, encoded, call, subresource=subresource)
            if made is not None:
                return made, True
        changed = await self.modify(
            kind,
            namespace,
            name,
            change,
            call,
            subresource=subresource,
            retry=not stated,
            prepared=True,
            counted=counted,
        )
        return changed, False

    async def _put_missing(
        self, kind: Kind, namespace: str, name: str, encoded: bytes, call: Call, *, subresource: str
    ) -> Record | None:
        """Make an object that a client replaces and that is not there; None when it is."""
        if self.store.latest(ObjectKey(kind.stored.id, namespace, name)) is not None:
            return None
        obj = decode_object(encoded)
        metadata = metadata_of(obj)
        uid = text_of(metadata, "uid")
        if uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
            raise conflict(kind.resource, name, why)
        self.admission.check_create(kind, namespace, name, call.user)
        metadata.pop("resourceVersion", None)
        call.warnings.clear()  # they are found again
        try:
            return await self.create(kind, namespace, obj, call, subresource=subresource)
        except AlreadyExists:
            return None  # somebody else was faster

    async def apply(
        self, kind: Kind, namespace: str, name: str, wanted: Configuration, call: Call, *, subresource: str = ""
    ) -> tuple[Record, bool]:
        """Apply a configuration; returns the object, and whether it was made.

        Raises:
            ApiError: as ``modify``; Conflict when it changes what other managers own.
        """
        if kind.view is not None:
            wanted, kind = Configuration(kind.view.to_stored(wanted.obj), wanted.force), self.stored_kind(kind)
        key = ObjectKey(kind.resource.id, namespace, name)
        for _ in range(_ATTEMPTS):
            if not is_made_through(kind, subresource) or self.store.latest(key) is not None:
                return await self.modify(kind, namespace, name, wanted, call, subresource=subresource), False
            try:
                return await self._make(kind, namespace, name, wanted, call, subresource=subresource), True
            except AlreadyExists:
                continue  # somebody else was faster
        raise modified(kind.resource, name)

    async def _make(
        self, kind: Kind, namespace: str, name: str, wanted: Configuration, call: Call, *, subresource: str
    ) -> Record:
        """A new object from a configuration; its author needs the right to create it."""
        if kind.resource.id in self.closed:
            raise forbidden(kind.resource, name, _TERMINATING)
        self.admission.check_create(kind, namespace, name, call.user)
        obj, managed = self.managers.applied(
            kind, None, b"", wanted.obj, call, self.now(), force=wanted.force, subresource=subresource
        )
        obj = decode_object(encode_object(obj))
        metadata = metadata_of(obj)
        uid = text_of(metadata, "uid")
        if uid:
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(kind.resource, name, why)
        kind.schema.prepare(obj, strict=FieldValidation.IGNORE, applied=True)
        check_place(metadata, namespace if kind.namespaced else "", name)
        wipe_managed(metadata)
        return await self._create(kind, namespace, obj, managed, call)

    async def modify(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Change | Configuration,
        call: Call,
        *,
        subresource: str = "",
        retry: bool = True,
        prepared: bool = False,
        counted: bool = False,
        track: Track | None = None,
    ) -> Record:
        """Write what ``change`` makes of the current object; start over when somebody else was faster, if ``retry``.

        ``prepared``: what it makes is decoded; ``counted``: and the generation counts it. ``track`` says what becomes
        of the managed fields where the change is not one of the whole object.

        Raises:
            ApiError: not there, or what became of it is malformed, invalid or refused.
        """
        asked_for = kind.resource
        if kind.view is not None and not isinstance(change, Configuration):
            change, prepared = _through(kind, kind.view, change, call, prepared=prepared), False
            kind = self.stored_kind(kind)
        key = ObjectKey(kind.resource.id, namespace, name)
        warned = len(call.warnings)
        for attempt in range(_ATTEMPTS):
            record = self.store.latest(key)
            if record is None:
                raise not_found(asked_for, name)
            del call.warnings[warned:]
            try:
                return await self._attempt(
                    kind,
                    record,
                    change,
                    call,
                    subresource=subresource,
                    prepared=prepared,
                    counted=counted,
                    track=track,
                )
            except RevisionMismatch as error:
                if not retry or attempt == _ATTEMPTS - 1:
                    raise modified(kind.resource, name) from error
        raise modified(kind.resource, name)

    async def _attempt(
        self,
        kind: Kind,
        record: Record,
        change: Change | Configuration,
        call: Call,
        *,
        subresource: str,
        prepared: bool,
        counted: bool,
        track: Track | None,
    ) -> Record:
        key = record.key
        old = kind.converted(decode_object(record.data))
        if isinstance(change, Configuration):
            new, managed = self._apply(kind, record, old, change, call, subresource=subresource)
            counted = counts(kind, new)
            kind.schema.prepare(new, strict=FieldValidation.IGNORE, applied=True)
            check_identity(kind, key, new, old, subresource=subresource)
        else:
            sees_managed = isinstance(change, Patch) and change.sees_managed

            def current() -> JsonObject:
                return kind.converted(decode_record(record, managed=sees_managed))

            new = change(current())
            if not prepared:
                if isinstance(change, Patch) and not kind.is_custom:
                    check_version_stated(new, key.name, kind.resource.kind, call)
                counted = counts(kind, new)
                beside = _beside_status(new, change) if subresource == "status" else {}
                call.warnings += prepare_patched(kind.schema, new, change, current, call)
                new.update(beside)
            check_identity(kind, key, new, old, subresource=subresource)
            if not new.get("apiVersion"):
                raise BadRequest("Object 'apiVersion' is missing in 'object has no apiVersion field'")
            stated = new["metadata"].pop("managedFields", None)
            if track is not None:
                managed = track(old, new, record.managed)
            else:
                managed = self.managers.changed(
                    kind, old, new, record.managed, call, self.now(), stated=stated, subresource=subresource
                )
        new = carry(kind, _as_stated(kind, new), old, now=self.now, subresource=subresource, counted=counted)
        asked = Asked(
            Operation.UPDATE, kind, key.namespace, key.name, call, new, old, record.data, subresource=subresource
        )
        await self.admission.mutate(asked)
        if asked.obj is not new:
            check_same_name(kind, asked.wanted, old)
            check_identity(kind, key, asked.wanted, old)
            new = carry(kind, _as_stated(kind, asked.wanted), old, now=self.now, subresource=subresource)
        elif kind.resource.id == PODS.id and new["metadata"].get("generation") != old["metadata"].get("generation"):
            new = carry(kind, new, old, now=self.now, subresource=subresource)  # what was taken away may be back
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        self._validate(kind, new, old, call, subresource=subresource)
        call.warnings += warnings_of_write(kind, new, old)
        asked.obj = new
        await self.admission.validate(asked)
        try:
            self._hold(asked)
            if new == old and same_json(new, old):
                managed = self.managers.settled(managed, record.managed)
                if managed == record.managed:
                    return record
            return await self.write(kind, record, new, call, managed=managed)
        except asyncio.CancelledError:
            asked.keep()
            raise
        finally:
            asked.release()

    def _apply(
        self, kind: Kind, record: Record, old: JsonObject, wanted: Configuration, call: Call, *, subresource: str
    ) -> tuple[JsonObject, bytes]:
        obj, managed = self.managers.applied(
            kind, old, record.managed, wanted.obj, call, self.now(), force=wanted.force, subresource=subresource
        )
        return decode_object(encode_object(obj)), managed  # what was merged shares parts with what it was merged of

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
        make = self._maker(kind, record.key, new, managed)
        if is_finished(kind, new):
            return await self.store.remove(record.key, expected=record.revision, make=make)
        return await self.store.put(record.key, expected=record.revision, make=make)

    def _maker(self, kind: Kind, key: ObjectKey, obj: JsonObject, managed: bytes) -> Callable[[int], Record]:
        """Builds the record of an object, which is used up: it is stored as the storage version has it."""
        if kind.is_custom and not kind.storage:
            kind = self.kinds.by_id(kind.resource.id)
            obj = kind.converted(obj)
        return lambda revision: make_record(key, obj, revision, kind.fields, managed)

    def _validate(
        self, kind: Kind, new: JsonObject, old: JsonObject | None, call: Call, *, subresource: str = ""
    ) -> None:
        complete, finish = self.complete.get(kind.resource.id), self.finish.get(kind.resource.id)
        if complete is not None:
            complete(kind, new, old)
        call.warnings += kind.schema.validate(new, old, subresource=subresource)
        if finish is not None:
            finish(kind, new, old)

    def _hold(self, asked: Asked) -> None:
        hold = self.hold.get(asked.kind.resource.id)
        if hold is not None:
            hold(asked)


def _beside_status(new: JsonObject, change: Change) -> JsonObject:
    """Take out of a patched object what a status write leaves alone and its patch does not speak of: as it is stored,
    there is nothing to decode in it, and most of an object is that."""
    if not isinstance(change, Patch) or change.touched is None or "metadata" in change.touched:
        return {}  # what metadata lacks may follow from the rest: labels of jobs do
    fields = [field for field in new if field not in _WITH_STATUS and field not in change.touched]
    return {field: new.pop(field) for field in fields}


def _as_stated(kind: Kind, obj: JsonObject) -> JsonObject:
    """The object as it is stored. A custom one keeps a wrong kind that it states: its validation says so."""
    ordered = in_order(obj, kind.resource)
    kind.schema.settle(ordered)
    if kind.is_custom:
        for field in ("apiVersion", "kind"):
            ordered[field] = obj.get(field, ordered[field])
    return ordered


def is_made_through(kind: Kind, subresource: str) -> bool:
    """Whether what is written may be made by that: also through the status of Services, and of nothing else."""
    return not subresource or (kind.resource.id == SERVICES.id and subresource == "status")


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


def _through(kind: Kind, view: View, change: Change, call: Call, *, prepared: bool) -> Change:
    """A change that a view's client asks for, as a change of the stored object."""

    def changed(current: JsonObject) -> JsonObject:
        old = view.to_shown(current)
        new = change(decode_object(encode_object(old)))
        if not prepared:
            call.warnings += kind.schema.prepare(new, strict=call.validation, repeated=call.repeated)
        stored = view.to_stored(new)
        view.check_change(stored, current)
        return stored

    return changed
