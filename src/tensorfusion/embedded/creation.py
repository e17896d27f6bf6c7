"""Create: a new object is completed, admitted, validated and stored, unless its name is taken.

A name that the server makes up is drawn anew when it is taken. Objects that an update or an apply makes come the same
way: ``create_decoded`` is for those that are read already.

Source: the generic registry's Create and the strategies of Kubernetes 1.34, by behaviour.
"""

import asyncio
from dataclasses import replace

from tensorfusion.embedded.access.users import SYSTEM
from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import (
    JsonObject,
    decode_object,
    generate_name,
    metadata_of,
    new_uid,
    text_of,
    wipe_managed,
)
from tensorfusion.embedded.operations import Operations, as_stated, dry_record
from tensorfusion.embedded.statuses import already_exists, forbidden
from tensorfusion.embedded.store import ObjectKey, Record, RevisionMismatch
from tensorfusion.embedded.strategies import begin, identify, stamp_labels
from tensorfusion.embedded.views import View
from tensorfusion.embedded.write_checks import check_place, is_version, warnings_of_write
from tensorfusion.errors import AlreadyExists, ApiError, BadRequest, Forbidden

_ATTEMPTS = 8


async def create(
    operations: Operations, kind: Kind, namespace: str, obj: JsonObject, call: Call, *, subresource: str = ""
) -> Record:
    """Store a new object and return it as stored; ``obj`` is used up.

    A ``subresource`` that it is made through says what of it its author owns.

    Raises:
        ApiError: malformed, invalid, refused, already there, or the namespace is missing or terminating.
    """
    if kind.view is not None:
        obj = _new_of_view(kind, kind.view, namespace, obj, call)
        try:
            return await create(operations, operations.stored_kind(kind), namespace, obj, call)
        except AlreadyExists as error:
            raise already_exists(kind.resource, error.name) from error
    if kind.resource.id in operations.closed:
        raise terminating(kind, text_of(metadata_of(obj), "name"))
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
    managed = operations.managers.created(kind, obj, stated, call, operations.now(), subresource=subresource)
    try:
        created = await create_decoded(operations, kind, namespace, obj, managed, call)
    except AlreadyExists:
        if not versioned:
            raise
    if versioned:
        raise BadRequest("resourceVersion should not be set on objects to be created")
    return created


def _new_of_view(kind: Kind, view: View, namespace: str, obj: JsonObject, call: Call) -> JsonObject:
    """What is stored of a new object that came as a view's; the view has rules of its own."""
    call.warnings += kind.schema.prepare(obj, strict=call.validation, repeated=call.repeated)
    metadata = metadata_of(obj)
    check_place(metadata, namespace, "")
    name = text_of(metadata, "name") or generate_name(text_of(metadata, "generateName"))
    kind.schema.validate({**obj, "metadata": {**metadata, "name": name}})
    return view.to_stored(obj)


async def create_decoded(
    operations: Operations, kind: Kind, namespace: str, obj: JsonObject, managed: bytes, call: Call
) -> Record:
    """Complete, admit and store a decoded new object."""
    obj = as_stated(kind, obj)
    begin(kind, obj, now=operations.now)
    asked = Asked(Operation.CREATE, kind, namespace, text_of(metadata_of(obj), "name"), call, obj)
    await operations.admission.mutate(asked)
    obj = as_stated(kind, asked.wanted)
    return await _insert(operations, kind, namespace, obj, managed, asked)


async def _insert(
    operations: Operations, kind: Kind, namespace: str, obj: JsonObject, managed: bytes, asked: Asked
) -> Record:
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
        metadata["creationTimestamp"] = operations.now()
        obj = identify(kind, unnamed)
        if asked.call.user is not SYSTEM:  # the server's own objects may hold what no user may write
            operations.validate(kind, obj, None, asked.call)
            if not attempt:
                asked.call.warnings += warnings_of_write(kind, obj, None)
        asked.obj, asked.name = obj, metadata["name"]
        await operations.admission.validate(asked)
        key = ObjectKey(kind.resource.id, namespace, metadata["name"])
        try:
            if asked.call.user is not SYSTEM:
                operations.hold_for(asked)
            if asked.call.dry_run:
                if operations.store.latest(key) is not None:
                    raise _taken(operations, kind, key)
                return dry_record(key, obj, managed)
            return await operations.store.put(key, expected=0, make=operations.maker(kind, key, obj, managed))
        except RevisionMismatch as error:
            if not prefix or attempt == _ATTEMPTS - 1:
                raise _taken(operations, kind, key) from error
        except asyncio.CancelledError:
            asked.keep()
            raise
        finally:
            asked.release()
    raise already_exists(kind.resource, metadata["name"])


def _taken(operations: Operations, kind: Kind, key: ObjectKey) -> AlreadyExists:
    found = operations.store.latest(key)
    deleting = found is not None and bool(decode_object(found.data)["metadata"].get("deletionTimestamp"))
    return already_exists(kind.resource, key.name, deleting=deleting)


def terminating(kind: Kind, name: str) -> Forbidden:
    """The refusal of a new object of a kind whose definition is being deleted."""
    return forbidden(kind.resource, name, "create not allowed while custom resource definition is terminating")
