"""Deleting: at once, or by a deletion timestamp that finalizers and a pod's grace period hold the object with.

Source: the generic registry's graceful deletion and the pod and namespace strategies of Kubernetes 1.34, by behaviour.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

from tensorfusion.clock import timestamp
from tensorfusion.embedded.calls import Asked, Call, DeleteOptions, Operation, Propagation
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object, make_record
from tensorfusion.embedded.operations import Operations, dry_record, is_finished
from tensorfusion.embedded.selectors import Predicate
from tensorfusion.embedded.statuses import modified, not_found
from tensorfusion.embedded.store import ObjectKey, Record, RevisionMismatch
from tensorfusion.errors import Conflict, NotFound
from tensorfusion.model.resources import CUSTOM_RESOURCE_DEFINITIONS, JOBS, NAMESPACES, PODS

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"

_ATTEMPTS = 8
_DEFAULT_GRACE = 30
_MOST_SECONDS = (1 << 31) - 1
_AT_ONCE = 128
"""Deletions of one collection that share commits."""
_PODS_STAY = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion did: the object as it was last seen, and whether it is gone already."""

    record: Record
    gone: bool


async def delete(
    operations: Operations,
    kind: Kind,
    namespace: str,
    name: str,
    options: DeleteOptions,
    call: Call,
    *,
    of_collection: bool = False,
) -> Deleted:
    """Delete an object, or mark it as being deleted. ``of_collection``: its name was not in the request.

    Raises:
        ApiError: not there, a precondition does not hold, or admission refuses.
    """
    asked_for, kind = kind.resource, operations.stored_kind(kind)
    if kind.resource.id == JOBS.id and options.propagation is None:
        options = replace(options, propagation=Propagation.ORPHAN)
        call.warnings.append(_PODS_STAY)
    key = ObjectKey(kind.resource.id, namespace, name)
    for attempt in range(_ATTEMPTS):
        record = operations.store.latest(key)
        if record is None:
            raise not_found(asked_for, name)
        old = decode_object(record.data)
        if kind.is_custom and not kind.storage:
            old = kind.converted(old)
        check_preconditions(kind, old, options)
        asked_name = "" if of_collection else name
        asked = Asked(Operation.DELETE, kind, namespace, asked_name, call, None, old, record.data)
        await operations.admission.mutate(asked)
        await operations.admission.validate(asked)
        try:
            return await _attempt(operations, kind, record, options, call)
        except RevisionMismatch as error:
            if options.resource_version is not None or attempt == _ATTEMPTS - 1:
                raise modified(kind.resource, name) from error
    raise modified(kind.resource, name)


async def delete_collection(
    operations: Operations,
    kind: Kind,
    namespace: str,
    options: DeleteOptions,
    call: Call,
    *,
    keep: Predicate | None = None,
) -> list[Record]:
    """Delete every object of a namespace (``""``: all) that ``keep`` lets through; returns them as they were.

    Raises:
        ApiError: admission refuses one, or a precondition does not hold for it; those before it are deleted.
    """
    kind = operations.stored_kind(kind)
    records = [record for record in operations.store.scan(kind.resource.id, namespace) if keep is None or keep(record)]
    stated = (options.uid, options.resource_version) != (None, None)
    together = 1 if stated or operations.admission.is_watched(Operation.DELETE, kind) else _AT_ONCE
    for start in range(0, len(records), together):
        deletions = (
            delete(operations, kind, record.key.namespace, record.key.name, options, call, of_collection=True)
            for record in records[start : start + together]
        )
        for outcome in await asyncio.gather(*deletions, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, NotFound):
                raise outcome
    return records


async def _attempt(operations: Operations, kind: Kind, record: Record, options: DeleteOptions, call: Call) -> Deleted:
    key = record.key
    if kind.is_custom and not kind.storage:
        kind = operations.kinds.by_id(kind.resource.id)
    obj = kind.converted(decode_object(record.data))
    before = decode_object(record.data)
    changed = _mark(operations, kind, obj, options)
    metadata = obj["metadata"]
    gone = is_finished(kind, obj)
    if not gone and obj == before:
        return Deleted(record, gone=False)
    if gone and not changed and kind.resource.id != PODS.id:  # a pod has been marked for a moment
        metadata.pop("deletionTimestamp", None)
        metadata.pop("deletionGracePeriodSeconds", None)
    if call.dry_run:
        return Deleted(dry_record(key, obj, record.managed), gone)

    def make(revision: int) -> Record:
        return make_record(key, obj, revision, kind.fields, record.managed)

    if gone:
        return Deleted(await operations.store.remove(key, expected=record.revision, make=make), gone=True)
    return Deleted(await operations.store.put(key, expected=record.revision, make=make), gone=False)


def _mark(operations: Operations, kind: Kind, obj: JsonObject, options: DeleteOptions) -> bool:
    """Write into the object that it is being deleted. Returns whether it had been marked before or is held now."""
    metadata = obj["metadata"]
    was_marked = bool(metadata.get("deletionTimestamp"))
    _set_finalizers(kind, metadata, options.propagation)
    grace = _grace(kind, obj, options.grace_seconds)
    if was_marked:
        if kind.resource.id == PODS.id and grace < (metadata.get("deletionGracePeriodSeconds") or 0):
            _set_deadline(operations, metadata, grace)
        return True
    _set_deadline(operations, metadata, grace)
    held = not is_finished(kind, obj)
    counted = held and kind.resource.id != CUSTOM_RESOURCE_DEFINITIONS.id
    if (counted or kind.resource.id == PODS.id) and metadata.get("generation"):
        metadata["generation"] += 1
    if kind.resource.id == CUSTOM_RESOURCE_DEFINITIONS.id:
        metadata.pop("deletionGracePeriodSeconds", None)
        obj["status"] = terminating_status(obj, metadata["deletionTimestamp"])
    if kind.resource.id == NAMESPACES.id:
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        metadata.pop("deletionGracePeriodSeconds", None)
    return held


def terminating_status(crd: JsonObject, since: str, *, deleting: bool = False) -> JsonObject:
    """The status of a definition that waits for its objects to go; ``deleting``: they are being deleted."""
    status: JsonObject = crd.get("status") or {}
    condition = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": since,
        "reason": "InstanceDeletionInProgress" if deleting else "InstanceDeletionPending",
        "message": "CustomResource deletion is in progress"
        if deleting
        else "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    others = [found for found in status.get("conditions") or () if found.get("type") != condition["type"]]
    return {**status, "conditions": [*others, condition]}


def _set_deadline(operations: Operations, metadata: JsonObject, grace: int) -> None:
    now = operations.clock.now()
    metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace


def _set_finalizers(kind: Kind, metadata: JsonObject, propagation: Propagation | None) -> None:
    """Foreground and orphan deletion wait for the garbage collector; a custom kind's definition for its objects."""
    finalizers = list(metadata.get("finalizers") or ())
    if propagation is not None:
        finalizers = [item for item in finalizers if item not in (FOREGROUND, ORPHAN)]
        if propagation is Propagation.FOREGROUND:
            finalizers.append(FOREGROUND)
        elif propagation is Propagation.ORPHAN:
            finalizers.append(ORPHAN)
    if kind.resource.id == CUSTOM_RESOURCE_DEFINITIONS.id and not metadata.get("deletionTimestamp"):
        finalizers = [*(item for item in finalizers if item != CRD_CLEANUP), CRD_CLEANUP]
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _grace(kind: Kind, obj: JsonObject, wanted: int | None) -> int:
    """Seconds a pod gets to end; nothing else gets any, nor do pods that run nowhere or have ended."""
    if kind.resource.id != PODS.id:
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    if wanted is None:
        wanted = spec.get("terminationGracePeriodSeconds")
    grace = _DEFAULT_GRACE if wanted is None else int(wanted)
    return 1 if grace < 0 else min(grace, _MOST_SECONDS)


def check_preconditions(kind: Kind, obj: JsonObject, options: DeleteOptions) -> None:
    """Raises:
    Conflict: it is another object, or another version of it, than the options name.
    """
    metadata, resource = obj["metadata"], kind.resource
    shown = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    why = ""
    if options.uid is not None and options.uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
    elif options.resource_version is not None and options.resource_version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({metadata['resourceVersion']}). The object might have been modified"
        )
    if why:
        raise Conflict(
            f'Operation cannot be fulfilled on {shown} "{metadata["name"]}": {why}',
            kind=resource.kind,
            group=resource.group,
            name=metadata["name"],
        )
