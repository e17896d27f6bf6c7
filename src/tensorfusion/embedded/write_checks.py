"""What a write has to say of the object that it is about, and what it may not change, whatever its schema says.

Apart from the operations because these are questions about two versions of an object, in the words of a real API
server; nothing is read or written here.
"""

import json

from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, encode_object, metadata_of, text_of
from tensorfusion.embedded.schema.format_warnings import format_warnings
from tensorfusion.embedded.schema.pod_warnings import warnings_of
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.embedded.schema.service_warnings import service_warnings
from tensorfusion.embedded.schema.small_warnings import small_warnings
from tensorfusion.embedded.statuses import invalid, invalid_object, modified
from tensorfusion.embedded.store import ObjectKey
from tensorfusion.errors import BadRequest, FieldCause
from tensorfusion.model.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    LEASES,
    MUTATING_WEBHOOKS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    RUNTIME_CLASSES,
    SERVICES,
    VALIDATING_WEBHOOKS,
)

ANY_VERSION = "0"
"""What a client writes as resourceVersion that does not care which one it changes."""
_VERSION_NEEDED = frozenset(
    resource.id
    for resource in (
        LEASES,
        CUSTOM_RESOURCE_DEFINITIONS,
        MUTATING_WEBHOOKS,
        VALIDATING_WEBHOOKS,
        POD_DISRUPTION_BUDGETS,
        RUNTIME_CLASSES,
    )
)
"""Built-in kinds that cannot be changed without saying which version of them is meant."""


def check_identity(kind: Kind, key: ObjectKey, new: JsonObject, old: JsonObject, *, subresource: str = "") -> None:
    """A change must speak of the object it changes, and of its current version if it names one.

    The status of a custom object is all that is taken from what is written to it, so that its uid may be any.
    """
    metadata, before = metadata_of(new), old["metadata"]
    check_place(metadata, key.namespace, key.name)
    _check_version(kind, key.name, text_of(metadata, "resourceVersion"), before["resourceVersion"])
    uid = text_of(metadata, "uid")
    if uid and uid != before["uid"] and not (kind.is_custom and subresource == "status"):
        cause = FieldCause("metadata.uid", f'Invalid value: "{uid}": field is immutable')
        raise invalid_object(kind.resource, key.name, cause)
    if before.get("deletionTimestamp"):
        _check_finalizers(kind, metadata, before)


def check_version_stated(patched: JsonObject, name: str, kind: str, call: Call) -> None:
    """What a patch has left of a built-in object without a version is read as if it held nothing, not even a name.

    Raises:
        BadRequest, Invalid: it has no version; strict field validation knows none of its fields.
    """
    if patched.get("apiVersion") not in (None, "") or patched.get("kind") not in (None, "", kind):
        return
    if call.validation is FieldValidation.STRICT:
        text = f"Invalid value: {json.dumps(encode_object(patched).decode())}: strict decoding error: "
        raise invalid("", "", "", causes=(FieldCause("patch", f'{text}unknown field "metadata"'),))
    raise BadRequest(_nameless(name))


def check_place(metadata: JsonObject, namespace: str, name: str) -> None:
    """Object and URL must name the same place; a namespace that the object leaves out is filled in.

    Raises:
        BadRequest: in the words of a real API server.
    """
    stated = text_of(metadata, "namespace")
    if stated and stated != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    if name:
        found = text_of(metadata, "name")
        if not found:
            raise BadRequest(_nameless(name))
        if found != name:
            raise BadRequest(f"the name of the object ({found}) does not match the name on the URL ({name})")


def check_same_name(kind: Kind, new: JsonObject, old: JsonObject) -> None:
    """Raises:
    Invalid: a webhook gave the object another name.
    """
    name = text_of(metadata_of(new), "name")
    if name and name != old["metadata"]["name"]:
        cause = FieldCause("metadata.name", f'Invalid value: "{name}": field is immutable')
        raise invalid_object(kind.resource, name, cause)


def is_version(stated: str) -> bool:
    """Whether a text is a version of some object: a number of 64 bits that is not zero."""
    return stated.isascii() and stated.isdigit() and 0 < int(stated[:30]) < 1 << 64


def warnings_of_write(kind: Kind, new: JsonObject, old: JsonObject | None) -> list[str]:
    """What is valid, but hardly meant. Pods are warned of once: people do not change them."""
    if kind.resource.id == SERVICES.id:
        return service_warnings(new)
    if kind.resource.id == CUSTOM_RESOURCE_DEFINITIONS.id:
        return format_warnings(new) if old is None else []
    if old is not None:
        same = new["metadata"].get("generation") == old["metadata"].get("generation")
        if same or kind.resource.id == PODS.id:
            return []
    return [*warnings_of(kind.resource.id, new), *small_warnings(kind.resource.id, new, old)]


def _check_version(kind: Kind, name: str, stated: str, current: str) -> None:
    """Raises:
    Conflict, Invalid: another version than the current one, or none where the kind needs one.
    """
    if stated == current:
        return
    at = "metadata.resourceVersion"
    if stated in ("", ANY_VERSION):
        if kind.is_custom or kind.resource.id in _VERSION_NEEDED:
            cause = FieldCause(at, "Invalid value: 0: must be specified for an update")
            raise invalid(kind.resource.plural, kind.resource.group, name, causes=(cause,))
        return
    if not stated.isascii() or not stated.isdigit():
        raise invalid_object(kind.resource, name, FieldCause(at, f'Invalid value: "{stated}": must be a number'))
    raise modified(kind.resource, name)


def _check_finalizers(kind: Kind, metadata: JsonObject, before: JsonObject) -> None:
    wanted, had = metadata.get("finalizers"), before.get("finalizers") or []
    if not isinstance(wanted, list):
        return
    added = [item for item in wanted if item not in had]
    if added:
        listed = ", ".join(f'"{item}"' for item in added)
        why = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{listed}}}"
        )
        cause = FieldCause("metadata.finalizers", why, "FieldValueForbidden")
        raise invalid_object(kind.resource, before["name"], cause)


def _nameless(name: str) -> str:
    return f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
