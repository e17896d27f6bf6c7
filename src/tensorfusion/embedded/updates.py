"""Update, patch and apply: every change of an object that is there, in the order of a real API server.

Read the newest accepted version, compute the next, admit, validate, write on condition that nobody was faster; a
patch starts over when somebody was. Between reading ``latest`` and ``put`` there may be awaits (webhooks), and that
condition is what makes them safe. What is not there is made by an apply, and by a replacement of some kinds.

Source: the generic registry's Update and the patch handlers of Kubernetes 1.34, by behaviour.
"""

import asyncio

from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.changes import (
    Change,
    Configuration,
    Patch,
    Track,
    beside_status,
    prepare_patched,
    through_view,
)
from tensorfusion.embedded.creation import create, create_decoded, terminating
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import (
    JsonObject,
    decode_object,
    decode_record,
    encode_object,
    metadata_of,
    text_of,
    wipe_managed,
)
from tensorfusion.embedded.operations import Operations, as_stated
from tensorfusion.embedded.patch import same_json
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.embedded.statuses import conflict, modified, not_found
from tensorfusion.embedded.store import ObjectKey, Record, RevisionMismatch
from tensorfusion.embedded.strategies import carry, counts
from tensorfusion.embedded.write_checks import (
    ANY_VERSION,
    check_identity,
    check_place,
    check_same_name,
    check_version_stated,
    warnings_of_write,
)
from tensorfusion.errors import AlreadyExists, BadRequest
from tensorfusion.model.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    LIMIT_RANGES,
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
_ATTEMPTS = 8


async def update(
    operations: Operations, kind: Kind, namespace: str, name: str, obj: JsonObject, call: Call, *, subresource: str = ""
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

    if operations.stored_kind(kind).resource.id in _MADE_BY_UPDATES and is_made_through(kind, subresource):
        made = await _put_missing(operations, kind, namespace, name, encoded, call, subresource=subresource)
        if made is not None:
            return made, True
    changed = await modify(
        operations,
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
    operations: Operations, kind: Kind, namespace: str, name: str, encoded: bytes, call: Call, *, subresource: str
) -> Record | None:
    """Make an object that a client replaces and that is not there; None when it is."""
    if operations.store.latest(ObjectKey(kind.stored.id, namespace, name)) is not None:
        return None
    obj = decode_object(encoded)
    metadata = metadata_of(obj)
    uid = text_of(metadata, "uid")
    if uid:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
        raise conflict(kind.resource, name, why)
    operations.admission.check_create(kind, namespace, name, call.user)
    metadata.pop("resourceVersion", None)
    call.warnings.clear()  # they are found again
    try:
        return await create(operations, kind, namespace, obj, call, subresource=subresource)
    except AlreadyExists:
        return None  # somebody else was faster


async def apply(
    operations: Operations,
    kind: Kind,
    namespace: str,
    name: str,
    wanted: Configuration,
    call: Call,
    *,
    subresource: str = "",
) -> tuple[Record, bool]:
    """Apply a configuration; returns the object, and whether it was made.

    Raises:
        ApiError: as ``modify``; Conflict when it changes what other managers own.
    """
    if kind.view is not None:
        wanted, kind = Configuration(kind.view.to_stored(wanted.obj), wanted.force), operations.stored_kind(kind)
    key = ObjectKey(kind.resource.id, namespace, name)
    for _ in range(_ATTEMPTS):
        if not is_made_through(kind, subresource) or operations.store.latest(key) is not None:
            return await modify(operations, kind, namespace, name, wanted, call, subresource=subresource), False
        try:
            return await _make(operations, kind, namespace, name, wanted, call, subresource=subresource), True
        except AlreadyExists:
            continue  # somebody else was faster
    raise modified(kind.resource, name)


async def _make(
    operations: Operations,
    kind: Kind,
    namespace: str,
    name: str,
    wanted: Configuration,
    call: Call,
    *,
    subresource: str,
) -> Record:
    """A new object from a configuration; its author needs the right to create it."""
    if kind.resource.id in operations.closed:
        raise terminating(kind, name)
    operations.admission.check_create(kind, namespace, name, call.user)
    obj, managed = operations.managers.applied(
        kind, None, b"", wanted.obj, call, operations.now(), force=wanted.force, subresource=subresource
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
    return await create_decoded(operations, kind, namespace, obj, managed, call)


async def modify(
    operations: Operations,
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
        change, prepared = through_view(kind, kind.view, change, call, prepared=prepared), False
        kind = operations.stored_kind(kind)
    key = ObjectKey(kind.resource.id, namespace, name)
    warned = len(call.warnings)
    for attempt in range(_ATTEMPTS):
        record = operations.store.latest(key)
        if record is None:
            raise not_found(asked_for, name)
        del call.warnings[warned:]
        try:
            return await _attempt(
                operations,
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
    operations: Operations,
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
        new, managed = _apply(operations, kind, record, old, change, call, subresource=subresource)
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
            beside = beside_status(new, change) if subresource == "status" else {}
            call.warnings += prepare_patched(kind.schema, new, change, current, call)
            new.update(beside)
        check_identity(kind, key, new, old, subresource=subresource)
        if not new.get("apiVersion"):
            raise BadRequest("Object 'apiVersion' is missing in 'object has no apiVersion field'")
        stated = new["metadata"].pop("managedFields", None)
        if track is not None:
            managed = track(old, new, record.managed)
        else:
            managed = operations.managers.changed(
                kind, old, new, record.managed, call, operations.now(), stated=stated, subresource=subresource
            )
    new = carry(kind, as_stated(kind, new), old, now=operations.now, subresource=subresource, counted=counted)
    asked = Asked(Operation.UPDATE, kind, key.namespace, key.name, call, new, old, record.data, subresource=subresource)
    await operations.admission.mutate(asked)
    if asked.obj is not new:
        check_same_name(kind, asked.wanted, old)
        check_identity(kind, key, asked.wanted, old)
        new = carry(kind, as_stated(kind, asked.wanted), old, now=operations.now, subresource=subresource)
    elif kind.resource.id == PODS.id and new["metadata"].get("generation") != old["metadata"].get("generation"):
        new = carry(kind, new, old, now=operations.now, subresource=subresource)  # what was taken away may be back
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    operations.validate(kind, new, old, call, subresource=subresource)
    call.warnings += warnings_of_write(kind, new, old)
    asked.obj = new
    await operations.admission.validate(asked)
    try:
        operations.hold_for(asked)
        if new == old and same_json(new, old):
            managed = operations.managers.settled(managed, record.managed)
            if managed == record.managed:
                return record
        return await operations.write(kind, record, new, call, managed=managed)
    except asyncio.CancelledError:
        asked.keep()
        raise
    finally:
        asked.release()


def _apply(
    operations: Operations,
    kind: Kind,
    record: Record,
    old: JsonObject,
    wanted: Configuration,
    call: Call,
    *,
    subresource: str,
) -> tuple[JsonObject, bytes]:
    obj, managed = operations.managers.applied(
        kind, old, record.managed, wanted.obj, call, operations.now(), force=wanted.force, subresource=subresource
    )
    return decode_object(encode_object(obj)), managed  # what was merged shares parts with what it was merged of


def is_made_through(kind: Kind, subresource: str) -> bool:
    """Whether what is written may be made by that: also through the status of Services, and of nothing else."""
    return not subresource or (kind.resource.id == SERVICES.id and subresource == "status")
