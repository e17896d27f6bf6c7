"""What each kind's own rules do to a write before it is validated: what a client may not say is replaced by what the
server says.

``begin`` is for new objects, ``carry`` for changed ones: which part of the object an endpoint writes (the object
itself or its status), and when the generation grows. Kept apart from validation, which only refuses.

Source: the registry strategies of Kubernetes 1.34, by their behaviour.
"""

from copy import deepcopy

from tensorfusion.embedded.kinds import Kind
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.schema.builtin.pods import qos_class
from tensorfusion.model.resources import DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
NAMESPACE_FINALIZER = "kubernetes"
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_STATUS_KEEPS_METADATA = frozenset({DEPLOYMENTS.id, REPLICA_SETS.id})
_NO_GENERATION = frozenset({"metadata", "status", "apiVersion", "kind"})


def begin(kind: Kind, obj: JsonObject) -> None:
    """Give a new object its first status and generation. Changes it in place."""
    if kind.has_status and not kind.keeps_status:
        obj.pop("status", None)
    if kind.initial_status is not None and "status" not in obj:
        obj["status"] = deepcopy(kind.initial_status)
    if kind.generation:
        obj["metadata"]["generation"] = 1
    if kind.resource.id == PODS.id:
        if isinstance(obj.get("spec"), dict):
            obj["status"]["qosClass"] = qos_class(obj["spec"])
    elif kind.resource.id == NAMESPACES.id:
        spec = obj["spec"] = obj.get("spec") or {}
        finalizers = spec.get("finalizers") or []
        spec["finalizers"] = [*(item for item in finalizers if item != NAMESPACE_FINALIZER), NAMESPACE_FINALIZER]
    stamp_labels(kind, obj)


def stamp_labels(kind: Kind, obj: JsonObject) -> None:
    """The label that makes a namespace selectable by its name; it cannot be taken away."""
    metadata = obj["metadata"]
    if kind.resource.id == NAMESPACES.id and metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAMESPACE_LABEL: metadata["name"]}


def carry(kind: Kind, new: JsonObject, old: JsonObject, *, subresource: str = "") -> JsonObject:
    """What a write through an endpoint makes of ``old``: parts that the endpoint may not write stay ``old``'s."""
    metadata, before = new["metadata"], old["metadata"]
    for field in _SYSTEM_FIELDS:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    for field in ("managedFields", "selfLink"):
        metadata.pop(field, None)
    if subresource == "status":
        return _carry_status(kind, new, old)
    if kind.has_status:
        _copy(old, new, "status")
    if kind.resource.id == NAMESPACES.id:
        new["spec"] = {**(new.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers", [])}
        stamp_labels(kind, new)
    if kind.generation and _spec_of(kind, new) != _spec_of(kind, old):
        metadata["generation"] = before.get("generation", 0) + 1
    return new


def _carry_status(kind: Kind, new: JsonObject, old: JsonObject) -> JsonObject:
    """A status write: of custom kinds only the status counts; of built-in ones most of the metadata too."""
    if kind.is_custom:
        kept = {**old, "metadata": {**old["metadata"]}}
    else:
        kept = {**old, "metadata": {**new["metadata"]}}
        _copy(old["metadata"], kept["metadata"], "ownerReferences")
        if kind.resource.id in _STATUS_KEEPS_METADATA:
            _copy(old["metadata"], kept["metadata"], "labels")
        stamp_labels(kind, kept)
    kept["metadata"]["resourceVersion"] = new["metadata"].get("resourceVersion", "")
    _copy(new, kept, "status")
    return kept


def _spec_of(kind: Kind, obj: JsonObject) -> JsonObject:
    """What the generation counts changes of."""
    if kind.is_custom and not kind.has_status:
        return {key: value for key, value in obj.items() if key not in ("metadata", "apiVersion", "kind")}
    return {key: value for key, value in obj.items() if key not in _NO_GENERATION}


def _copy(source: JsonObject, target: JsonObject, field: str) -> None:
    """Make ``target`` have a field exactly as ``source`` has it."""
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)
