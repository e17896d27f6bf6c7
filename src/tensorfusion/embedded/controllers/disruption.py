"""PodDisruptionBudget status: how many pods an eviction may still take.

The eviction API reads and counts down this status, and notes each pod it took in ``disruptedPods``; here it is made to
say what the pods show. How many pods there should be is what their controllers ask for, or how many there are.

Source: policy/v1 PodDisruptionBudget and kube-controller-manager's disruption controller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.controllers.objects import REFUSED_PAUSE, Deployment, ReplicaSet
from tensorfusion.embedded.controllers.rollout import resolve
from tensorfusion.embedded.controllers.statefulset_objects import StatefulSet
from tensorfusion.embedded.controllers.statuses import write_status
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, LabelSelector, Object, OwnerReference, Raw
from tensorfusion.model.resources import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, STATEFUL_SETS
from tensorfusion.policy.ranking import pod_ready_since
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

_ALLOWED = "DisruptionAllowed"
_FORGET_AFTER = 120.0
"""Seconds after which an eviction that took no pod is forgotten."""
_WORKERS = 1
_GATHER = 0.1
_EVENTS_PER_SECOND, _EVENTS_BURST = 2.0, 10.0
_BUDGETS = "namespace"
_PODS = "namespace"


class BudgetSpec(msgspec.Struct, frozen=True):
    min_available: int | str | None = msgspec.field(default=None, name="minAvailable")
    max_unavailable: int | str | None = msgspec.field(default=None, name="maxUnavailable")
    selector: LabelSelector | None = None


class DisruptionBudget(Object, frozen=True):
    spec: BudgetSpec = msgspec.field(default_factory=BudgetSpec)
    status: Raw = msgspec.field(default_factory=dict)

    def selects(self, pod: Pod) -> bool:
        """A budget without a selector selects nothing."""
        return self.spec.selector is not None and self.spec.selector.matches(pod.metadata.labels)


@dataclass(frozen=True, slots=True)
class Counts:
    expected: int
    healthy: int
    needed: int


def count(spec: BudgetSpec, *, pods: int, scale: int, healthy: int) -> Counts:
    """What a budget comes to; ``scale`` is how many pods the controllers of its pods ask for."""
    if spec.max_unavailable is not None:
        return Counts(scale, healthy, max(0, scale - resolve(spec.max_unavailable, scale, up=True)))
    if isinstance(spec.min_available, str):
        return Counts(scale, healthy, resolve(spec.min_available, scale, up=True))
    return Counts(pods, healthy, spec.min_available or 0)


class DisruptionController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="controllermanager", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )

    def install(self, manager: Manager) -> None:
        """Register informers' handlers, the controller and its events."""
        self._budgets = manager.informer(POD_DISRUPTION_BUDGETS, DisruptionBudget, client=self._client)
        self._pods = manager.informer(PODS, Pod)
        self._replica_sets = manager.informer(REPLICA_SETS, ReplicaSet)
        self._deployments = manager.informer(DEPLOYMENTS, Deployment)
        self._stateful_sets = manager.informer(STATEFUL_SETS, StatefulSet, client=self._client)
        self._budgets.add_index(_BUDGETS, lambda found: (found.metadata.namespace,))
        self._pods.add_index(_PODS, lambda pod: (pod.metadata.namespace,))
        controller = Controller("disruption", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("disruption-events", self._recorder.run)
        self._budgets.subscribe(lambda change: self._queue.add(change.key))
        self._pods.subscribe_batch(self._on_pods)
        self._replica_sets.subscribe(lambda change: self._on_scale(change.key))
        self._deployments.subscribe(lambda change: self._on_scale(change.key))
        self._stateful_sets.subscribe(lambda change: self._on_scale(change.key))

    def _on_pods(self, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            for budget in self._budgets.cache.by_index(_BUDGETS, change.key.namespace):
                if any(pod is not None and budget.selects(pod) for pod in (change.old, change.new)):
                    self._queue.add(budget.key, after=_GATHER)

    def _on_scale(self, key: Key) -> None:
        for budget in self._budgets.cache.by_index(_BUDGETS, key.namespace):
            self._queue.add(budget.key, after=_GATHER)

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        budget = self._budgets.cache.get(key)
        if budget is None or budget.metadata.deleting:
            return DONE
        now = self._clock.now()
        pods = [pod for pod in self._pods.cache.by_index(_PODS, key.namespace) if budget.selects(pod)]
        if not pods:
            self._record(budget, EventType.NORMAL, "NoPods", "No matching pods found")
        disrupted, again = _still_disrupted(budget, pods, now)
        healthy = sum(
            pod_ready_since(pod) is not None and not pod.metadata.deleting and pod.metadata.name not in disrupted
            for pod in pods
        )
        found = count(budget.spec, pods=len(pods), scale=self._scale(pods), healthy=healthy)
        allowed = max(0, found.healthy - found.needed) if found.expected > 0 else 0
        status: Raw = {
            **{name: value for name, value in budget.status.items() if name != "disruptedPods"},
            "currentHealthy": found.healthy,
            "desiredHealthy": found.needed,
            "disruptionsAllowed": allowed,
            "expectedPods": found.expected,
            "observedGeneration": budget.metadata.generation,
            "conditions": _conditions(budget, allowed, timestamp(now)),
        }
        if disrupted:
            status["disruptedPods"] = disrupted
        # the eviction API counts down the same status: a decision on an older one must not overwrite that
        await write_status(
            self._client, POD_DISRUPTION_BUDGETS, budget.metadata, old=budget.status, new=status, guarded=True
        )
        return Result(requeue_after=again)

    def _scale(self, pods: Sequence[Pod]) -> int:
        """How many pods the controllers of these pods ask for; pods without one do not count."""
        sizes: dict[str, int] = {}
        for pod in pods:
            owner = pod.metadata.controller
            if owner is not None and owner.uid not in sizes:
                found = self._size(pod.metadata.namespace, owner)
                if found is not None:
                    uid, size = found
                    sizes[uid] = size
        return sum(sizes.values())

    def _size(self, namespace: str, owner: OwnerReference) -> tuple[str, int] | None:
        key = Key(namespace, owner.name)
        if owner.kind == STATEFUL_SETS.kind:
            found = self._stateful_sets.cache.get(key)
            return None if found is None else (owner.uid, found.spec.replicas)
        replica_set = self._replica_sets.cache.get(key) if owner.kind == REPLICA_SETS.kind else None
        if replica_set is None or replica_set.metadata.uid != owner.uid:
            return None
        above = replica_set.metadata.controller
        deployment = self._deployments.cache.get(Key(namespace, above.name)) if above is not None else None
        if above is not None and deployment is not None and deployment.metadata.uid == above.uid:
            return above.uid, deployment.spec.replicas
        return owner.uid, replica_set.spec.replicas

    def _record(self, budget: DisruptionBudget, type_: EventType, reason: str, message: str) -> None:
        self._recorder.record(reference_to(POD_DISRUPTION_BUDGETS, budget), type_=type_, reason=reason, message=message)


def _still_disrupted(
    budget: DisruptionBudget, pods: Sequence[Pod], now: datetime
) -> tuple[dict[str, str], float | None]:
    """Pods whose eviction was allowed and that do not show it yet, and when to look again."""
    known: dict[str, str] = budget.status.get("disruptedPods") or {}
    going = {pod.metadata.name: pod.metadata.deleting for pod in pods}
    left: dict[str, str] = {}
    again = None
    for name, since in known.items():
        age = (now - datetime.fromisoformat(since)).total_seconds()
        if name in going and not going[name] and age < _FORGET_AFTER:
            left[name] = since
            again = min(again or _FORGET_AFTER, _FORGET_AFTER - age + 0.1)
    return left, again


def _conditions(budget: DisruptionBudget, allowed: int, moment: str) -> list[Raw]:
    """DisruptionAllowed, beside whatever else there is."""
    known = [dict(found) for found in budget.status.get("conditions") or ()]
    facts: Raw = {
        "type": _ALLOWED,
        "status": "True" if allowed else "False",
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
        "observedGeneration": budget.metadata.generation,
    }
    before = next((found for found in known if found["type"] == _ALLOWED), None)
    same = before is not None and before["status"] == facts["status"]
    since = before["lastTransitionTime"] if before is not None and same else moment
    others = [found for found in known if found["type"] != _ALLOWED]
    return [*others, {**facts, "lastTransitionTime": since}]
