"""The pods of each workload, counted as they change: how many, how many are ready, and which is the newest.

Apart from the fleet's books because a worker counts from its creation, not from its placement.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.policy.workload import WorkerCounts
from tensorfusion.runtime.informer import Change


@dataclass(slots=True)
class _Workers:
    pods: dict[str, Pod] = field(default_factory=dict)
    ready: int = 0
    failed: int = 0
    succeeded: int = 0
    newest: str = ""


def workload_of(pod: Pod) -> Key | None:
    """The workload of an admitted pod; None for any other pod."""
    labels = pod.metadata.labels
    name = labels.get(keys.WORKLOAD, "")
    if not name or labels.get(keys.COMPONENT) != "worker":
        return None
    return Key(pod.metadata.namespace, name)


class Workers:
    """Feeds on the pod informer; ``on_change`` handlers hear which workload changed."""

    def __init__(self) -> None:
        self._workloads: dict[Key, _Workers] = {}
        self._handlers: list[Callable[[Key], None]] = []

    def on_change(self, handler: Callable[[Key], None]) -> None:
        self._handlers.append(handler)

    def workloads(self) -> list[Key]:
        """Every workload that has pods."""
        return list(self._workloads)

    def counts(self, workload: Key) -> WorkerCounts:
        """The pods of a workload; those that ended well are not counted."""
        found = self._workloads.get(workload, _Workers())
        return WorkerCounts(
            workers=len(found.pods) - found.failed - found.succeeded, ready=found.ready, failed=found.failed
        )

    def pods(self, workload: Key) -> list[Pod]:
        """The pods of a workload."""
        found = self._workloads.get(workload)
        return list(found.pods.values()) if found is not None else []

    def newest(self, workload: Key) -> Pod | None:
        """The youngest pod: what it asks for is what the workload asks for now."""
        found = self._workloads.get(workload)
        if found is None:
            return None
        if found.newest not in found.pods:
            found.newest = max(found.pods, key=lambda uid: _age(found.pods[uid]))
        return found.pods[found.newest]

    def apply(self, change: Change[Pod]) -> None:
        """Take in a change of a pod."""
        old, new = change.old, change.new
        before = workload_of(old) if old is not None else None
        after = workload_of(new) if new is not None else None
        if old is not None and new is not None and before == after and _same_state(old, new):
            if after is not None:
                self._workloads[after].pods[new.metadata.uid] = new
            return
        if old is not None and before is not None:
            self._remove(before, old)
        if new is not None and after is not None:
            self._add(after, new)
        for workload in {workload for workload in (before, after) if workload is not None}:
            for handler in self._handlers:
                handler(workload)

    def _add(self, workload: Key, pod: Pod) -> None:
        found = self._workloads.setdefault(workload, _Workers())
        uid = pod.metadata.uid
        found.pods[uid] = pod
        self._count(found, pod, sign=1)
        current = found.pods.get(found.newest)
        if current is None or _age(pod) > _age(current):
            found.newest = uid

    def _remove(self, workload: Key, pod: Pod) -> None:
        found = self._workloads.get(workload)
        held = found.pods.pop(pod.metadata.uid, None) if found is not None else None
        if found is None or held is None:
            return
        self._count(found, held, sign=-1)
        if not found.pods:
            del self._workloads[workload]

    @staticmethod
    def _count(found: _Workers, pod: Pod, *, sign: int) -> None:
        found.ready += sign * is_ready(pod)
        found.failed += sign * (pod.status.phase == "Failed")
        found.succeeded += sign * (pod.status.phase == "Succeeded")


def is_ready(pod: Pod) -> bool:
    """Whether the pod runs and says that it is ready."""
    return pod.status.phase == "Running" and any(
        condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions
    )


def _same_state(old: Pod, new: Pod) -> bool:
    return (
        old.metadata.uid == new.metadata.uid
        and old.status.phase == new.status.phase
        and is_ready(old) == is_ready(new)
        and old.metadata.annotations == new.metadata.annotations
        and (keys.GANG_REQUIRED_MEMBERS not in new.metadata.annotations or _same_place(old, new))
    )


def _same_place(old: Pod, new: Pod) -> bool:
    """Of a gang's members it also matters who has a node, and why the others have none."""
    return (
        old.spec.node_name == new.spec.node_name
        and old.metadata.deleting == new.metadata.deleting
        and old.status.conditions == new.status.conditions
    )


def _age(pod: Pod) -> tuple[str, str]:
    return pod.metadata.creation_timestamp or "", pod.metadata.uid
