"""What each kind's own rules do to a write before it is validated: what a client may not say is replaced by what the
server says.

``begin`` is for new objects, ``carry`` for changed ones: which part of the object an endpoint writes (the object
itself or its status), and when the generation grows. Kept apart from validation, which only refuses.

Source: the registry strategies of Kubernetes 1.34, by their behaviour.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tensorfusion.embedded.fields.types import FieldType
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, new_uid
from tensorfusion.embedded.schema.builtin.jobs import NAME_LABELS, UID_LABELS
from tensorfusion.embedded.schema.builtin.pods import qos_class
from tensorfusion.embedded.schema.computed import job as job_defaults
from tensorfusion.model.resources import (
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    JOBS,
    LEASES,
    LIMIT_RANGES,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    PRIORITY_CLASSES,
    RESOURCE_CLAIMS,
    VALIDATING_WEBHOOKS,
)

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
NAMESPACE_FINALIZER = "kubernetes"
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "generation")
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_STATUS_KEEPS_LABELS = frozenset({DEPLOYMENTS.id})
_RESET_FOR_STATUS = ("labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp")
_PHASE_TIME = "lastPhaseTransitionTime"

Now = Callable[[], str]
"""Tells the time, for the few that need it."""
_NO_GENERATION = frozenset({"metadata", "status", "apiVersion", "kind"})
_COUNTS_EMPTY = frozenset({NETWORK_POLICIES.id, MUTATING_WEBHOOKS.id, VALIDATING_WEBHOOKS.id})
"""Kinds of which an empty list or map is another value than none, though only none is kept."""
_FILLED_IN = "policyTypes"
"""The one list of theirs that is not kept empty, but gets its default."""


def begin(kind: Kind, obj: JsonObject, *, now: Now) -> None:
    """Give a new object its first status and generation. Changes it in place."""
    if kind.has_status and not kind.keeps_status:
        obj.pop("status", None)
    if kind.initial_status is not None and "status" not in obj:
        obj["status"] = deepcopy(kind.initial_status)
    if kind.generation:
        obj["metadata"]["generation"] = 1
    if kind.resource.id == NAMESPACES.id:
        spec = obj["spec"] = obj.get("spec") or {}
        finalizers = spec.get("finalizers") or []
        spec["finalizers"] = [*(item for item in finalizers if item != NAMESPACE_FINALIZER), NAMESPACE_FINALIZER]
    elif kind.resource.id == PODS.id:
        if (obj.get("spec") or {}).get("schedulingGates"):
            obj["status"]["conditions"] = [_gated(now())]
    elif kind.resource.id == LIMIT_RANGES.id:
        metadata = obj["metadata"]
        if not metadata.get("name") and not metadata.get("generateName"):
            metadata["name"] = new_uid()
    elif kind.resource.id == LEASES.id:
        _drop_coordination(obj)
    elif kind.resource.id == DAEMON_SETS.id:
        _count_template(obj, max(1, _template_generation(obj)))
    elif kind.resource.id == PERSISTENT_VOLUMES.id:
        obj["status"][_PHASE_TIME] = now()
    elif kind.resource.id == PERSISTENT_VOLUME_CLAIMS.id:
        normalize_sources(obj.get("spec") or {}, None)
    stamp_labels(kind, obj)


def _gated(now: str) -> JsonObject:
    return {
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": now,
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }


def identify(kind: Kind, obj: JsonObject) -> JsonObject:
    """The new object with what follows from all that is decided of it: a pod's quality of service, and of a Job, whose
    pods carry its name and uid and are selected by the uid, their labels.

    Returns a copy where that could change again: a generated name may have to be drawn anew. A Job without labels of
    its own has those of its pods.
    """
    spec = obj.get("spec")
    if kind.resource.id == PODS.id:
        if isinstance(spec, dict):
            obj.setdefault("status", {})["qosClass"] = qos_class(spec)
        return obj
    metadata = obj["metadata"]
    if kind.resource.id != JOBS.id or not isinstance(spec, dict) or spec.get("manualSelector"):
        return obj
    template = spec.get("template") or {}
    stated = template.get("metadata") or {}
    selector = spec.get("selector") or {}
    labels = {
        **dict.fromkeys(NAME_LABELS, metadata.get("name", "")),
        **dict.fromkeys(UID_LABELS, metadata["uid"]),
        **(stated.get("labels") or {}),
    }
    match = {UID_LABELS[1]: metadata["uid"], **(selector.get("matchLabels") or {})}
    own = metadata.get("labels")
    return {
        **obj,
        "metadata": {**metadata, "labels": labels if not own or own is stated.get("labels") else own},
        "spec": {
            **spec,
            "selector": {**selector, "matchLabels": match},
            "template": {**template, "metadata": {**stated, "labels": labels}},
        },
    }


def _drop_coordination(lease: JsonObject) -> None:
    """Coordinated leader election is off by default: a lease keeps nothing of it."""
    spec = lease.get("spec")
    if isinstance(spec, dict):
        spec.pop("strategy", None)
        spec.pop("preferredHolder", None)


def stamp_labels(kind: Kind, obj: JsonObject) -> None:
    """The label that makes a namespace selectable by its name; it cannot be taken away."""
    metadata = obj["metadata"]
    if kind.resource.id == NAMESPACES.id and metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAMESPACE_LABEL: metadata["name"]}


def counts(kind: Kind, sent: JsonObject) -> bool:
    """Whether the generation counts an object that is not decoded yet, even if nothing of it is new."""
    if kind.resource.id not in _COUNTS_EMPTY:
        return False
    return _holds_empty(
        {key: value for key, value in sent.items() if key not in _NO_GENERATION}, kind.schema.field_type
    )


def _holds_empty(value: Any, place: FieldType) -> bool:  # Any: JSON
    """Whether there is an empty list or map in it, in a field that the kind has."""
    if type(value) is dict and place.map is not None:
        fields, element = place.map.fields, place.map.element
        if not value and element is not None:
            return True
        inner = ((item, fields.get(key, element)) for key, item in value.items() if key != _FILLED_IN)
        return any(kind is not None and _holds_empty(item, kind) for item, kind in inner)
    if type(value) is list and place.list is not None:
        element = place.list.element
        return not value or any(_holds_empty(item, element) for item in value)
    return False


def carry(
    kind: Kind, new: JsonObject, old: JsonObject, *, now: Now, subresource: str = "", counted: bool = False
) -> JsonObject:
    """What a write through an endpoint makes of ``old``: parts that the endpoint may not write stay ``old``'s.

    ``counted``: the generation counts it whatever is in it, see ``counts``.
    """
    metadata, before = new["metadata"], old["metadata"]
    for field in _SYSTEM_FIELDS:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    for field in ("managedFields", "selfLink"):
        metadata.pop(field, None)
    _carry_mark(metadata, before)
    if subresource == "status":
        return _carry_status(kind, new, old, now)
    if kind.has_status:
        _copy(old, new, "status")
    if kind.resource.id == NAMESPACES.id:
        new["spec"] = {**(new.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers", [])}
        stamp_labels(kind, new)
    elif kind.resource.id == LEASES.id:
        _drop_coordination(new)
    elif kind.resource.id == DAEMON_SETS.id:
        changed = (new.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template")
        _count_template(new, _template_generation(old) + changed)
    elif kind.resource.id == PERSISTENT_VOLUME_CLAIMS.id:
        normalize_sources(new.get("spec") or {}, old.get("spec") or {})
    if kind.generation and (counted or _spec_of(kind, new) != _spec_of(kind, old)):
        metadata["generation"] = before.get("generation", 0) + 1
    return new


def _carry_mark(metadata: JsonObject, before: JsonObject) -> None:
    """That an object is being deleted stays; what a writer says of it otherwise is refused by validation."""
    if "deletionTimestamp" in before or metadata.get("deletionTimestamp") is None:
        _copy(before, metadata, "deletionTimestamp")
    if metadata.get("deletionGracePeriodSeconds") is None:
        _copy(before, metadata, "deletionGracePeriodSeconds")


def _carry_status(kind: Kind, new: JsonObject, old: JsonObject, now: Now) -> JsonObject:
    """A status write: of custom kinds only the status counts; of built-in ones most of the metadata too."""
    if kind.is_custom:
        kept = {**old, "metadata": {**old["metadata"]}}
    elif kind.resource.id == RESOURCE_CLAIMS.id:
        kept = {**old, "metadata": {**new["metadata"]}}
        for field in _RESET_FOR_STATUS:
            _copy(old["metadata"], kept["metadata"], field)
    else:
        kept = {**old, "metadata": {**new["metadata"]}}
        if kind.resource.id == PODS.id:
            _copy(old["metadata"], kept["metadata"], "ownerReferences")
            _copy(old["metadata"], kept["metadata"], "deletionTimestamp")
        if kind.resource.id in _STATUS_KEEPS_LABELS:
            _copy(old["metadata"], kept["metadata"], "labels")
        if kind.resource.id == JOBS.id:
            job_defaults(kept)  # a patch may have taken away both the labels and what they follow from
        stamp_labels(kind, kept)
    kept["metadata"]["resourceVersion"] = new["metadata"].get("resourceVersion", "")
    _copy(new, kept, "status")
    if kind.is_custom and (new["kind"], new["apiVersion"]) != (old["kind"], old["apiVersion"]):
        kind.schema.prune(kept)  # it came as something else, of which no field is known
    if kind.resource.id == PERSISTENT_VOLUMES.id:
        _date_phase(kept, old.get("status") or {}, now)
    return kept


def _date_phase(volume: JsonObject, before: JsonObject, now: Now) -> None:
    """When a volume came into its phase, unless the writer says so itself."""
    status = volume.setdefault("status", {})
    stated, known = status.get(_PHASE_TIME), before.get(_PHASE_TIME)
    if status.get("phase") != before.get("phase"):
        if stated in (None, known):
            status[_PHASE_TIME] = now()
    elif stated is None and known is not None:
        status[_PHASE_TIME] = known


def _template_generation(daemon_set: JsonObject) -> int:
    stated = (daemon_set["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    return int(stated) if isinstance(stated, str) and stated.isascii() and stated.isdigit() else 0


def _count_template(daemon_set: JsonObject, generation: int) -> None:
    metadata = daemon_set["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(generation)}


def normalize_sources(spec: JsonObject, old: JsonObject | None) -> None:
    """The old and the new way to name what a volume claim is filled from say the same."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if reference is None and source and not (old and (old.get("dataSource") or old.get("dataSourceRef"))):
        kind = (source.get("apiGroup") or "", source.get("kind"))
        if kind not in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")):
            del spec["dataSource"]  # other kinds were always ignored here
            return
    if source and not reference:
        spec["dataSourceRef"] = dict(source)
    elif reference and not source and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


def _spec_of(kind: Kind, obj: JsonObject) -> JsonObject:
    """What the generation counts changes of."""
    if kind.resource.id == ENDPOINT_SLICES.id:
        return {**obj, "metadata": obj["metadata"].get("labels") or {}}
    if kind.resource.id == PRIORITY_CLASSES.id:
        return {}  # it does not count
    if kind.resource.id == DEPLOYMENTS.id:
        return {**obj, "metadata": obj["metadata"].get("annotations") or {}, "status": None}
    if kind.is_custom and not kind.has_status:
        return {key: value for key, value in obj.items() if key not in ("metadata", "apiVersion", "kind")}
    return {key: value for key, value in obj.items() if key not in _NO_GENERATION}


def _copy(source: JsonObject, target: JsonObject, field: str) -> None:
    """Make ``target`` have a field exactly as ``source`` has it."""
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)
