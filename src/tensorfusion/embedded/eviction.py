"""Evictions: a pod is deleted only if the disruption budget that covers it allows one more disruption.

The budget is charged before the pod is deleted, in a write of its own on condition that nobody charged it meanwhile;
its controller takes the charge back when the pod is gone or stays.

Source: the pods/eviction subresource of Kubernetes 1.34, by behaviour; policy/v1.
"""

from dataclasses import replace

from tensorfusion.embedded.calls import Asked, Call, DeleteOptions, Operation
from tensorfusion.embedded.deletion import check_preconditions, delete
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object, in_order, metadata_of
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.options import delete_options
from tensorfusion.embedded.schema.builtin.selectors import selects
from tensorfusion.embedded.statuses import modified, not_found
from tensorfusion.embedded.store import ObjectKey, Record, RevisionMismatch
from tensorfusion.embedded.updates import modify
from tensorfusion.embedded.write_checks import check_place
from tensorfusion.errors import BadRequest, Conflict, FieldCause, Forbidden, ServerError, TooManyRequests
from tensorfusion.model.resources import POD_DISRUPTION_BUDGETS

_ATTEMPTS = 20
_RETRY_AFTER = 10
_MOST_DISRUPTED = 2000
_UNGUARDED_PHASES = ("Succeeded", "Failed", "Pending")
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_SHAPE = ("policy", "v1", "Eviction")


async def evict(
    operations: Operations, kind: Kind, namespace: str, name: str, eviction: JsonObject, call: Call
) -> None:
    """Evict a pod. ``call.dry_run`` may also be asked for in the Eviction's own options.

    Raises:
        TooManyRequests: its budget allows no disruption now.
        ApiError: no such pod, preconditions that do not hold, or malformed.
    """
    schema = kind.subresources["eviction"].schema
    if schema is not None:
        call.warnings += schema.prepare(eviction, strict=call.validation, repeated=call.repeated)
    metadata = metadata_of(eviction)
    if metadata.get("name") != name:
        raise BadRequest("name in URL does not match name in Eviction object")
    check_place(metadata, namespace, name)
    options, dry_run = delete_options({}, eviction.get("deleteOptions") or {})
    call.dry_run = call.dry_run or dry_run
    asked = Asked(Operation.CREATE, kind, namespace, name, call, eviction, subresource="eviction", shape=_SHAPE)
    await operations.admission.mutate(asked)
    await operations.admission.validate(asked)
    key = ObjectKey(kind.resource.id, namespace, name)
    for attempt in range(_ATTEMPTS):
        record = operations.store.latest(key)
        if record is None:
            raise not_found(kind.resource, name)
        pod = decode_object(record.data)
        unhealthy = ""
        if _is_guarded(pod):
            unhealthy = await _charge(operations, pod, call)
        held = options
        if unhealthy or (not _is_guarded(pod) and not _is_over(pod)):
            held = replace(options, resource_version=_version_of(options, pod))
        try:
            await _delete(operations, kind, record, held, call)
            return
        except Conflict:
            if (options.resource_version, options.uid) != (None, None):
                raise
            if unhealthy:
                raise _still_processed(unhealthy) from None
            if attempt == _ATTEMPTS - 1:
                raise


def _is_over(pod: JsonObject) -> bool:
    """Whether the pod's end is certain: nothing that happens to it any more can matter to a budget."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed") or bool(pod["metadata"].get("deletionTimestamp"))


def _is_guarded(pod: JsonObject) -> bool:
    """Whether a budget has a say: a pod that has ended, is going, or never ran disrupts nothing."""
    return (pod.get("status") or {}).get("phase") not in _UNGUARDED_PHASES and not pod["metadata"].get(
        "deletionTimestamp"
    )


def _is_ready(pod: JsonObject) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


async def _charge(operations: Operations, pod: JsonObject, call: Call) -> str:
    """Take one disruption from the pod's budget. Returns the budget's name if the pod is unhealthy and goes free."""
    metadata = pod["metadata"]
    for _ in range(_ATTEMPTS):
        record = _budget_of(operations, pod)
        if record is None:
            return ""
        budget = decode_object(record.data)
        if not _is_ready(pod) and _lets_unhealthy_go(budget):
            return record.key.name
        _check_budget(budget)
        if call.dry_run:
            return ""
        kind = operations.kinds.by_id(POD_DISRUPTION_BUDGETS.id)
        charged = in_order(_charged(budget, metadata["name"], operations.now()), kind.resource)
        try:
            await operations.write(kind, record, charged, Call.system("kube-apiserver"))
        except RevisionMismatch:
            continue
        return ""
    raise modified(POD_DISRUPTION_BUDGETS, metadata["name"])


def _budget_of(operations: Operations, pod: JsonObject) -> Record | None:
    """The newest version of the one budget that selects the pod.

    Raises:
        ServerError: there is more than one.
    """
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    found: list[Record] = []
    for committed in operations.store.scan(POD_DISRUPTION_BUDGETS.id, metadata["namespace"]):
        record = operations.store.latest(committed.key)
        if record is None:
            continue
        selector = (decode_object(record.data).get("spec") or {}).get("selector")
        if selector is not None and selects(selector, labels):
            found.append(record)
    if len(found) > 1:
        raise ServerError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            reason="",
        )
    return found[0] if found else None


def _lets_unhealthy_go(budget: JsonObject) -> bool:
    status = budget.get("status") or {}
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    wanted = status.get("desiredHealthy", 0)
    return bool(wanted > 0 and status.get("currentHealthy", 0) >= wanted)


def _check_budget(budget: JsonObject) -> None:
    """Raises:
    TooManyRequests: no disruption is allowed now.
    Forbidden: the budget's status makes no sense.
    """
    metadata, status = budget["metadata"], budget.get("status") or {}
    name, allowed = metadata["name"], status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        raise _still_processed(name)
    why = ""
    if allowed < 0:
        why = "pdb disruptions allowed is negative"
    elif len(status.get("disruptedPods") or ()) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
    if why:
        raise Forbidden(
            f'poddisruptionbudget.policy "{name}" is forbidden: {why}',
            kind="poddisruptionbudget",
            group=POD_DISRUPTION_BUDGETS.group,
            name=name,
        )
    if allowed == 0:
        wanted, have = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _refused(f"The disruption budget {name} needs {wanted} healthy pods and has {have} currently", None)


def _still_processed(name: str) -> TooManyRequests:
    return _refused(f"The disruption budget {name} is still being processed by the server.", _RETRY_AFTER)


def _refused(cause: str, retry_after: int | None) -> TooManyRequests:
    return TooManyRequests(_REFUSED, causes=(FieldCause("", cause, "DisruptionBudget"),), retry_after=retry_after)


def _charged(budget: JsonObject, pod: str, now: str) -> JsonObject:
    """The budget with one disruption less, and the pod's name, so that its controller does not count the pod again."""
    status = {**(budget.get("status") or {})}
    status["disruptionsAllowed"] = status.get("disruptionsAllowed", 0) - 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: now}
    if status["disruptionsAllowed"] == 0:
        others = [item for item in status.get("conditions") or () if item.get("type") != "DisruptionAllowed"]
        condition = {
            "type": "DisruptionAllowed",
            "status": "False",
            "observedGeneration": status.get("observedGeneration", 0),
            "lastTransitionTime": now,
            "reason": "InsufficientPods",
            "message": "",
        }
        status["conditions"] = [*others, condition]
    return {**budget, "status": status}


async def _delete(operations: Operations, kind: Kind, record: Record, options: DeleteOptions, call: Call) -> None:
    """Mark the pod as evicted and delete it."""
    if not call.dry_run:
        name, namespace = record.key.name, record.key.namespace
        before = options

        def mark(pod: JsonObject) -> JsonObject:
            check_preconditions(kind, pod, before)
            return _marked(pod, operations.now())

        marking = replace(Call.system("kube-apiserver"), admitted=True)
        done = await modify(operations, kind, namespace, name, mark, marking, subresource="status")
        if options.resource_version is not None:
            options = replace(options, resource_version=str(done.revision))
    await delete(operations, kind, record.key.namespace, record.key.name, options, replace(call, admitted=True))


def _version_of(options: DeleteOptions, pod: JsonObject) -> str:
    """The version that a deletion is held to: the stated one, else the one that was looked at."""
    stated = options.resource_version
    return str(pod["metadata"]["resourceVersion"]) if stated is None else stated


def _marked(pod: JsonObject, now: str) -> JsonObject:
    status = pod.get("status") or {}
    conditions = status.get("conditions") or []
    found = next((item for item in conditions if item.get("type") == "DisruptionTarget"), None)
    since = found["lastTransitionTime"] if found is not None and found.get("status") == "True" else now
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": since,
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    others = [item for item in conditions if item.get("type") != "DisruptionTarget"]
    return {**pod, "status": {**status, "conditions": [*others, condition]}}
