"""Why a pod is where it is, or why it waits: the body of ``/api/explain``.

Apart from the records because a pod without a record has a story too: it was bound before this process started, it is
held by a gate, or it is somebody else's to place.
"""

from tensorfusion.errors import InvalidRequest, NotFound
from tensorfusion.model import keys
from tensorfusion.model.annotations import gpu_ids
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.partitions import partitions_of
from tensorfusion.scheduler.advice import Advisor
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.records import describe
from tensorfusion.scheduler.resizes import update_of
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling.cycle import Decision

_PLACES = {
    Place.ACTIVE: "to be decided next",
    Place.BACKOFF: "backing off after a failure",
    Place.WAITING: "until something changes that can help",
    Place.TAKEN: "being bound",
}


async def explain_with_advice(service: SchedulerService, key: Key, advisor: Advisor) -> Raw:
    """The same as ``explain``, and what would help the pod where it waits.

    Raises:
        NotFound: there is no such pod, and no record of one.
    """
    told = explain(service, key)
    pod = service.pods.get(key)
    entry = service.book.queue.get(pod.metadata.uid) if pod is not None else None
    if pod is not None and entry is not None and entry.place is not Place.TAKEN:
        told |= await advisor.advise(pod, entry.facts)
    return told


def explain(service: SchedulerService, key: Key) -> Raw:
    """The newest decision on the pod, and where the pod stands now.

    Raises:
        NotFound: there is no such pod, and no record of one.
    """
    pod = service.pods.get(key)
    if pod is None:
        record = service.records.find(key)
        if record is None:
            raise NotFound(f"pod {key}: there is none, and none is remembered: check the name and the namespace")
        return {**describe(record), "now": "deleted"}
    uid = pod.metadata.uid
    record = service.records.get(uid)
    if record is not None:
        told = describe(record)
    else:
        told = {"namespace": key.namespace, "name": key.name, "uid": uid, **_without_record(service, pod)}
    percent = pod.metadata.annotations.get(keys.EFFECTIVE_HARD_SM_PERCENT)
    if percent is not None:
        told["hardPercent"] = percent
    held = _partitions(pod)
    if held:
        told["partitions"] = held
    update = update_of(pod)
    if update is not None:
        told["resourceUpdate"] = f"{update.reason}: {update.message}"
    gang = service.gangs.words(uid)
    if gang is not None:
        told["gang"] = gang
    story = service.preemptor.stories.of(uid)
    if story is not None:
        told["preemption"] = story
    entry = service.book.queue.get(uid)
    if entry is not None:
        told["waits"] = _PLACES[entry.place]
    elif record is not None and record.decision is not None:
        told["why"] = why_here(record.decision)
    return told


def why_here(decision: Decision) -> str:
    """Why the pod went to its node, in one sentence."""
    node, feasible = decision.placement.node, decision.feasible
    first = decision.alternatives[0] if decision.alternatives else None
    if feasible <= 1 or first is None:
        return f"{node} was the only node that could take it, of {decision.nodes} looked at"
    best = f"{node} had {_points(decision.score)}, the next one, {first[0]}, {first[1]}"
    if first[1] == decision.score:
        best = (
            f"{node} and {first[0]} had {_points(decision.score)} each: fewer soft taints, then the older one, go first"
        )
    return f"{feasible} of {decision.nodes} nodes could take it; {best} ({decision.mode})"


def _points(score: int) -> str:
    return f"{score} point{'' if score == 1 else 's'}"


def _without_record(service: SchedulerService, pod: Pod) -> Raw:
    spec = pod.spec
    if spec.node_name:
        try:
            devices = list(gpu_ids(pod.metadata.annotations))
        except InvalidRequest:
            devices = []
        reason = "bound by another scheduler, or before this one started"
        return {"result": "placed", "node": spec.node_name, "devices": devices, "reason": reason}
    if spec.scheduler_name not in service.scheduler_names:
        reason = f"its schedulerName is {spec.scheduler_name}: that scheduler places it"
        return {"result": "not-ours", "reason": reason}
    if pod.metadata.deleting:
        return {"result": "deleting", "reason": "it is being deleted"}
    if spec.scheduling_gates:
        gates = ", ".join(gate.name for gate in spec.scheduling_gates)
        return {"result": "gated", "reason": f"its scheduling gates hold it back: {gates}"}
    elsewhere = service.shards.elsewhere(pod) if service.shards is not None else None
    if elsewhere is not None:
        return {"result": "queued", "reason": elsewhere}
    leading = "" if service.deciding else ": this scheduler is not the leader, or still catching up"
    return {"result": "queued", "reason": f"not decided yet{leading}"}


def _partitions(pod: Pod) -> list[str]:
    """The pod's hardware partitions: ``gpu-1: nv-80g-1g-10gb, 44.571 TFLOPS, 10Gi, slots 0 to 0``."""
    try:
        devices = gpu_ids(pod.metadata.annotations)
        partitions = partitions_of(pod.metadata.annotations, devices)
    except InvalidRequest:
        return []
    return [f"{device}: {one}" for device, one in zip(devices, partitions, strict=False)]
