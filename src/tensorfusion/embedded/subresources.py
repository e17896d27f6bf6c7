"""The writes that are not of a whole object: Binding, scale, the finalizers of a namespace.

Binding is the hot one: placement is one write, node and annotations together, and it is refused once a pod has a node.

Source: pods/binding, scale and namespaces/finalize of Kubernetes 1.34, by behaviour.
"""

from functools import partial
from typing import Any

from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.changes import Change, Configuration, Patch, prepare_patched
from tensorfusion.embedded.kind import Kind, ScalePaths
from tensorfusion.embedded.objects import JsonObject, decode_object, encode_object, in_order, metadata_of, text_of
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.schema.schema import Schema
from tensorfusion.embedded.statuses import conflict, invalid, modified, no_such_resource, not_found
from tensorfusion.embedded.store import ObjectKey, Record, RevisionMismatch
from tensorfusion.embedded.updates import modify
from tensorfusion.embedded.write_checks import check_place, check_version_stated
from tensorfusion.errors import BadRequest, Conflict, FieldCause, Invalid
from tensorfusion.model.resources import NAMESPACES

_ATTEMPTS = 8
_SCALE = ("autoscaling", "v1", "Scale")


async def bind(operations: Operations, kind: Kind, namespace: str, name: str, binding: JsonObject, call: Call) -> None:
    """Put a pod on a node and merge the Binding's annotations into it, in one write.

    Raises:
        Conflict: the pod has a node, is being deleted, waits for gates, or is not the one the preconditions name.
        ApiError: malformed, refused, or there is no such pod.
    """
    call.warnings += _body_schema(kind, "binding").prepare(binding, strict=call.validation, repeated=call.repeated)
    metadata = metadata_of(binding)
    if text_of(metadata, "name") != name:
        raise BadRequest("name in URL does not match name in Binding object")
    check_place(metadata, namespace, name)
    asked = Asked(
        Operation.CREATE, kind, namespace, name, call, binding, subresource="binding", shape=("", "v1", "Binding")
    )
    await operations.admission.mutate(asked)
    binding = asked.wanted
    _body_schema(kind, "binding").prepare(binding)
    _check_binding(binding)
    await operations.admission.validate(asked)
    key = ObjectKey(kind.resource.id, namespace, name)
    for attempt in range(_ATTEMPTS):
        record = operations.store.latest(key)
        if record is None:
            raise not_found(kind.resource, name)
        pod = _bound(operations, kind, decode_object(record.data), binding)
        try:
            await operations.write(kind, record, pod, call)
            return
        except RevisionMismatch as error:
            if attempt == _ATTEMPTS - 1:
                raise modified(kind.resource, name) from error


def _body_schema(kind: Kind, subresource: str) -> Schema:
    """What the body of a subresource must look like."""
    schema = kind.subresources[subresource].schema
    if schema is None:
        raise no_such_resource()
    return schema


def _check_binding(binding: JsonObject) -> None:
    """Raises:
    Invalid: the target is no node.
    """
    target = binding.get("target") or {}
    if not target.get("name"):
        raise _bad_binding("target.name", "Required value", "FieldValueRequired")
    if target.get("kind") not in (None, "", "Node"):
        raise _bad_binding(
            "target.kind",
            f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"',
            "FieldValueNotSupported",
        )


def _bad_binding(field: str, message: str, reason: str) -> Invalid:
    return invalid("Binding", "", "", causes=(FieldCause(field, message, reason),))


def _bound(operations: Operations, kind: Kind, pod: JsonObject, binding: JsonObject) -> JsonObject:
    """The pod as the Binding makes it."""
    metadata, wanted = pod["metadata"], binding["metadata"]
    resource, name = kind.resource, metadata["name"]
    for field, shown in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        stated = text_of(wanted, field)
        if stated and stated != metadata[field]:
            found = metadata[field]
            raise conflict(
                resource,
                name,
                f"Precondition failed: {shown} in precondition: {stated}, {shown} in object meta: {found}",
            )
    spec, status = pod["spec"], pod.setdefault("status", {})
    if metadata.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
        raise conflict(resource, name, why, subresource="binding")
    if spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        raise conflict(resource, name, why, subresource="binding")
    if spec.get("schedulingGates"):
        raise conflict(resource, name, f"pod {name} has non-empty .spec.schedulingGates", subresource="binding")
    spec["nodeName"] = binding["target"]["name"]
    if wanted.get("annotations"):
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **wanted["annotations"]}
    _set_scheduled(status, operations.now())
    return pod


def _set_scheduled(status: JsonObject, now: str) -> None:
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    conditions = status.get("conditions") or []
    status["conditions"] = [found for found in conditions if found.get("type") != "PodScheduled"] + [condition]


# --- scale ---


def shown_scale(kind: Kind, obj: JsonObject) -> JsonObject:
    """The Scale of an object, for who asks for it.

    Raises:
        BadRequest: a custom object that says no number has none.
    """
    paths = _paths(kind)
    if kind.is_custom and _at(obj, paths.spec) is None:
        raise BadRequest(f'the spec replicas field "{"".join(f".{step}" for step in paths.spec)}" does not exist')
    return scale_of(kind, obj)


def scale_of(kind: Kind, obj: JsonObject) -> JsonObject:
    """The Scale of an object."""
    paths = _paths(kind)
    metadata = obj["metadata"]
    shown = {
        field: metadata[field]
        for field in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if field in metadata
    }
    status: JsonObject = {"replicas": _at(obj, paths.status) or 0}
    selector = _at(obj, paths.selector) if paths.selector else None
    if selector is not None:
        status["selector"] = selector if isinstance(selector, str) else _selector_text(selector)
    replicas = _at(obj, paths.spec)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": shown,
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


async def change_scale(
    operations: Operations, kind: Kind, namespace: str, name: str, change: Change | Configuration, call: Call
) -> Record:
    """Set the replicas of an object; returns the object. A patch starts over when somebody else was faster.

    Raises:
        ApiError: as any write; Invalid for a negative or absent number; Conflict when a configuration changes what
            other managers own.
    """
    warned = len(call.warnings)
    for _ in range(_ATTEMPTS - 1 if isinstance(change, Patch) else 0):
        try:
            return await _rescale(operations, kind, namespace, name, change, call)
        except Conflict:
            current = operations.store.latest(ObjectKey(kind.resource.id, namespace, name))
            if current is None or _states_version(kind, change, current):
                raise
            del call.warnings[warned:]
    return await _rescale(operations, kind, namespace, name, change, call)


def _states_version(kind: Kind, change: Change | Configuration, record: Record) -> bool:
    """Whether a patch itself says which version it changes: then there is no second try."""
    if isinstance(change, Configuration):
        return True
    scale = scale_of(kind, decode_object(record.data))
    wanted = text_of(metadata_of(change(scale)), "resourceVersion")
    return wanted != str(record.revision)


async def _rescale(
    operations: Operations, kind: Kind, namespace: str, name: str, change: Change | Configuration, call: Call
) -> Record:
    key = ObjectKey(kind.resource.id, namespace, name)
    found = operations.store.latest(key)
    if found is None:
        if not isinstance(change, Patch | Configuration):  # what is wrong with a Scale by itself is said first
            scale = change({})
            _body_schema(kind, "scale").prepare(scale, strict=call.validation, repeated=call.repeated)
            check_place(metadata_of(scale), namespace, name)
        raise not_found(kind.resource, name)
    asked = Asked(Operation.UPDATE, kind, namespace, name, call, subresource="scale", shape=_SCALE)
    asked.old = scale_of(kind, decode_object(found.data))
    if isinstance(change, Configuration):
        asked.obj, applied = operations.managers.scale_applied(
            kind, asked.old, found.managed, change.obj, call, operations.now(), force=change.force
        )
        asked.obj = decode_object(encode_object(asked.obj))
    else:
        asked.obj, applied = change(scale_of(kind, decode_object(found.data))), None
    schema = _body_schema(kind, "scale")
    if isinstance(change, Configuration):
        schema.prepare(asked.obj, applied=True)
    else:
        current = partial(scale_of, kind, decode_object(found.data))
        if isinstance(change, Patch) and not kind.is_custom:
            check_version_stated(asked.obj, name, "Scale", call)
        call.warnings += prepare_patched(schema, asked.obj, change, current, call)
    await operations.admission.mutate(asked)
    replaces = not isinstance(change, Patch | Configuration)

    def rescale(current: JsonObject) -> JsonObject:
        scale, paths = asked.wanted, _paths(kind)
        _check_scale(kind, name, scale, current["metadata"], replaces=replaces)
        stated = text_of(metadata_of(scale), "resourceVersion")
        if stated:
            current["metadata"]["resourceVersion"] = stated  # held to the current one with the whole object
        target = current
        for part in paths.spec[:-1]:
            target = target.setdefault(part, {})
        target[paths.spec[-1]] = (scale.get("spec") or {}).get("replicas", 0)
        return current

    def track(old: JsonObject, new: JsonObject, managed: bytes) -> bytes:
        if applied is not None and managed == found.managed:
            return applied
        return operations.managers.scaled(
            kind, scale_of(kind, old), scale_of(kind, new), managed, call, operations.now()
        )

    _check_scale(kind, name, asked.wanted, asked.old["metadata"], replaces=replaces)
    await operations.admission.validate(asked)
    return await modify(operations, kind, namespace, name, rescale, call, track=track)


def _paths(kind: Kind) -> ScalePaths:
    if kind.scale is None:
        raise no_such_resource()
    return kind.scale


def _check_scale(kind: Kind, name: str, scale: JsonObject, current: JsonObject, *, replaces: bool) -> None:
    """Check a Scale by itself; ``current`` is the metadata of the object. A custom object is checked as a whole when
    it has taken the number, and asks nothing else of it but that a replacement is about the same object.
    """
    metadata = metadata_of(scale)
    check_place(metadata, current.get("namespace", ""), name)
    uid = text_of(metadata, "uid")
    other = uid != "" and uid != current["uid"]
    why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {current['uid']}"
    if other and replaces:
        raise conflict(kind.resource, name, why)
    if kind.is_custom:
        return
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        cause = FieldCause("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")
        raise invalid("Scale", "autoscaling", name, causes=(cause,))
    _body_schema(kind, "scale").validate(scale)
    if other:
        raise conflict(kind.resource, name, why, subresource="scale")


def _at(obj: JsonObject, path: tuple[str, ...]) -> Any:  # Any: JSON
    found: Any = obj
    for part in path:
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _selector_text(selector: JsonObject) -> str:
    """A label selector object as a query writes it."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        key, operator = term["key"], term["operator"]
        values = ",".join(sorted(term.get("values") or ()))
        shown = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(shown.get(operator, key))
    return ",".join(parts)


# --- namespaces/finalize ---


async def finalize(operations: Operations, kind: Kind, name: str, wanted: JsonObject, call: Call) -> Record:
    """Set a namespace's own finalizers; it goes when it is terminating and none is left."""
    call.warnings += kind.schema.prepare(wanted, strict=call.validation, repeated=call.repeated)
    check_place(metadata_of(wanted), "", name)
    finalizers = (wanted.get("spec") or {}).get("finalizers") or []
    stated = text_of(wanted["metadata"], "resourceVersion")
    key = ObjectKey(NAMESPACES.id, "", name)
    for attempt in range(_ATTEMPTS):
        record = operations.store.latest(key)
        if record is None:
            raise not_found(kind.resource, name)
        if stated and stated != str(record.revision):
            raise modified(kind.resource, name)
        namespace = in_order(decode_object(record.data), kind.resource)
        namespace["spec"] = {**(namespace.get("spec") or {}), "finalizers": finalizers}
        if not finalizers:
            del namespace["spec"]["finalizers"]
        asked = Asked(
            Operation.UPDATE,
            kind,
            "",
            name,
            call,
            namespace,
            decode_object(record.data),
            record.data,
            subresource="finalize",
        )
        await operations.admission.mutate(asked)
        namespace = in_order(asked.wanted, kind.resource)
        kind.schema.validate(namespace, decode_object(record.data), subresource="finalize")
        await operations.admission.validate(asked)
        try:
            managed = operations.managers.changed(
                kind,
                decode_object(record.data),
                namespace,
                record.managed,
                call,
                operations.now(),
                subresource="finalize",
            )
            return await operations.write(kind, record, namespace, call, managed=managed)
        except RevisionMismatch as error:
            if attempt == _ATTEMPTS - 1:
                raise modified(kind.resource, name) from error
    raise modified(kind.resource, name)
