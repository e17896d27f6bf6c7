"""What a StatefulSet does next: one thing at a time in order, or all at once where the set says Parallel. Pure.

Source: apps/v1 StatefulSet: ordered creation and deletion, partitions, OnDelete.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tensorfusion.embedded.controllers.statefulset_objects import StatefulSet, revision_of
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw
from tensorfusion.policy.ranking import pod_ready_since

_PARALLEL = "Parallel"
_ROLLING = "RollingUpdate"


@dataclass(frozen=True, slots=True)
class Plan:
    """``create`` holds ordinals, ``delete`` pods; ``again`` asks for another look after so many seconds."""

    create: tuple[int, ...] = ()
    delete: tuple[Pod, ...] = ()
    again: float = 0.0


def plan(current: StatefulSet, pods: Mapping[int, Pod], update: str, *, now: datetime) -> Plan:
    """The next step towards the wanted pods, given those that exist by ordinal."""
    stand = _stand(current, pods, now)
    if stand is not None:
        return stand
    shrink = _shrink(current, pods)
    if shrink is not None:
        return shrink
    if current.spec.strategy.type != _ROLLING:
        return Plan()
    return _roll(current, pods, update, now)


def _stand(current: StatefulSet, pods: Mapping[int, Pod], now: datetime) -> Plan | None:
    """Make what is missing and remake what has ended; None when all are there and, in order, all are available."""
    ordered = current.spec.management != _PARALLEL
    create: list[int] = []
    delete: list[Pod] = []
    for ordinal in ordinals(current):
        pod = pods.get(ordinal)
        if pod is None:
            create.append(ordinal)
        elif pod.finished:
            delete += [] if pod.metadata.deleting else [pod]
        elif not ordered:
            continue
        elif not _healthy(pod):
            return Plan()
        elif (left := seconds_to_available(current, pod, now)) > 0:
            return Plan(again=left)
        if ordered and (pod is None or pod.finished):
            return Plan(tuple(create), tuple(delete))
    return Plan(tuple(create), tuple(delete)) if create or delete else None


def _shrink(current: StatefulSet, pods: Mapping[int, Pod]) -> Plan | None:
    """Delete pods beyond the wanted ones, from the highest; None when there are none."""
    wanted = ordinals(current)
    extra = sorted((at for at in pods if at not in wanted), reverse=True)
    if not extra:
        return None
    if current.spec.management == _PARALLEL:
        return Plan(delete=tuple(pods[at] for at in extra if not pods[at].metadata.deleting))
    last = pods[extra[0]]
    unhealthy = min((at for at, pod in pods.items() if not _healthy(pod)), default=None)
    if last.metadata.deleting or (not _ready(last) and extra[0] != unhealthy):
        return Plan()
    return Plan(delete=(last,))


def _roll(current: StatefulSet, pods: Mapping[int, Pod], update: str, now: datetime) -> Plan:
    """Replace one pod of another revision, from the highest ordinal down to the partition."""
    partition = current.spec.strategy.rolling.partition if current.spec.strategy.rolling is not None else 0
    for ordinal in reversed(ordinals(current)[partition:]):
        pod = pods[ordinal]
        if revision_of(pod) != update and not pod.metadata.deleting:
            return Plan(delete=(pod,))
        if not _healthy(pod):
            return Plan()
        left = seconds_to_available(current, pod, now)
        if left > 0:
            return Plan(again=left)
    return Plan()


def ordinals(current: StatefulSet) -> range:
    """The ordinals that the set is to have."""
    start = current.spec.ordinals.start
    return range(start, start + current.spec.replicas)


def of_current_revision(current: StatefulSet, ordinal: int) -> bool:
    """Whether a new pod is made from the revision before the update."""
    strategy, start = current.spec.strategy, current.spec.ordinals.start
    if strategy.type != _ROLLING:
        return False
    if strategy.rolling is None:
        return ordinal < start + current.known_status().current_replicas
    return ordinal < start + strategy.rolling.partition


def status_of(
    current: StatefulSet, pods: Mapping[int, Pod], *, before: str, update: str, collisions: int, now: datetime
) -> Raw:
    """The status that a set with these pods should have; ``before`` is the revision that it comes from."""
    made = list(pods.values())
    ready = [pod for pod in made if _ready(pod)]
    staying = [pod for pod in made if not pod.metadata.deleting]
    counts = {
        "replicas": len(made),
        "readyReplicas": len(ready),
        "availableReplicas": sum(seconds_to_available(current, pod, now) <= 0 for pod in ready),
        "currentReplicas": sum(revision_of(pod) == before for pod in staying),
        "updatedReplicas": sum(revision_of(pod) == update for pod in staying),
    }
    replicas = current.spec.replicas
    arrived = counts["updatedReplicas"] == counts["readyReplicas"] == counts["replicas"] == replicas
    if current.spec.strategy.type == _ROLLING and arrived:
        counts["currentReplicas"], before = counts["updatedReplicas"], update
    others = {name: value for name, value in current.status.items() if name not in counts}
    always = ("replicas", "availableReplicas")
    return {
        **others,
        **{name: value for name, value in counts.items() if value or name in always},
        "observedGeneration": current.metadata.generation,
        "currentRevision": before,
        "updateRevision": update,
        "collisionCount": collisions,
    }


def seconds_to_available(current: StatefulSet, pod: Pod, now: datetime) -> float:
    """Until a ready pod has been ready for long enough."""
    since = pod_ready_since(pod)
    if not current.spec.min_ready_seconds or not since:
        return 0.0
    return current.spec.min_ready_seconds - (now - datetime.fromisoformat(since)).total_seconds()


def _ready(pod: Pod) -> bool:
    return pod.status.phase == "Running" and pod_ready_since(pod) is not None


def _healthy(pod: Pod) -> bool:
    return _ready(pod) and not pod.metadata.deleting
