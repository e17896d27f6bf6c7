"""ReplicaSet: keep as many pods as the spec says, never more by mistake.

What was asked for and is not in the cache yet is remembered by name and uid (see ``expected``), creations go out in
batches that double as long as they succeed, and every deletion names the uid it means. A server that refuses pods (an
admission that says no, a quota) is asked again at growing intervals; the reason is in the ReplicaFailure condition and
in an event. So are pods that fail as soon as they start: their successors wait longer and longer.

Source: apps/v1 ReplicaSet as kube-controller-manager keeps it.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.controllers.objects import (
    REFUSED_PAUSE,
    REPLICA_FAILURE,
    ReplicaSet,
    is_orphan,
    written_counts,
)
from tensorfusion.embedded.controllers.pods import BURST, OwnedPods, in_batches, pod_from, random_suffix
from tensorfusion.errors import ApiError, Conflict, Invalid, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Condition, Key, Raw
from tensorfusion.model.resources import PODS, REPLICA_SETS
from tensorfusion.policy.expected import Expected
from tensorfusion.policy.ranking import deletion_order, pod_ready_since
from tensorfusion.runtime.controller import Controller, Result
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager

_WORKERS = 4
_LONGEST_REFUSAL_PAUSE = 60.0
_LONGEST_CRASH_PAUSE = 300.0
_EVENTS_PER_SECOND, _EVENTS_BURST = 5.0, 25.0
_NAMESPACE_INDEX = "namespace"
_ALWAYS_WRITTEN = frozenset({"replicas", "observedGeneration"})


class ReplicaSetController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="replicaset-controller", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )
        self._expected: dict[str, Expected] = {}
        """By the ReplicaSet's uid."""

    def install(self, manager: Manager) -> None:
        """Register informers' handlers, the controller and its events."""
        self._sets = manager.informer(REPLICA_SETS, ReplicaSet)
        self._pods = manager.informer(PODS, Pod)
        self._owned = OwnedPods(
            self._client, REPLICA_SETS, ReplicaSet, pods=self._pods, clock=self._clock, recorder=self._recorder
        )
        self._sets.add_index(_NAMESPACE_INDEX, lambda found: (found.metadata.namespace,))
        controller = Controller("replicaset", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("replicaset-events", self._recorder.run)
        self._sets.subscribe(self._on_set)
        self._pods.subscribe(self._on_pod)

    def _on_set(self, change: Change[ReplicaSet]) -> None:
        if change.kind is ChangeKind.DELETED and change.old is not None:
            self._expected.pop(change.old.metadata.uid, None)
        self._queue.add(change.key)

    def _on_pod(self, change: Change[Pod]) -> None:
        for pod in (change.old, change.new):
            if pod is None:
                continue
            owner = pod.metadata.controller
            if owner is not None and owner.kind == REPLICA_SETS.kind:
                expected = self._expected.get(owner.uid)
                if expected is not None:
                    expected.seen(pod.metadata.name)
                self._queue.add(Key(pod.metadata.namespace, owner.name))
            elif pod is change.new and is_orphan(pod.metadata):
                for candidate in self._sets.cache.by_index(_NAMESPACE_INDEX, pod.metadata.namespace):
                    if _selects(candidate, pod):
                        self._queue.add(candidate.key)

    async def reconcile(self, key: Key) -> Result:
        """One pass: claim pods, create or delete what is missing or too many, write the status."""
        current = self._sets.cache.get(key)
        if current is None:
            return Result()
        owned = await self._owned.claim(current, current.spec.selector)
        active = [pod for pod in owned if not pod.finished and not pod.metadata.deleting]
        failure: ApiError | None = None
        held_off = 0.0
        if not current.metadata.deleting:
            held_off = _crash_pause(owned, self._clock.now())
            failure = await self._scale(current, owned, active, may_create=held_off <= 0)
        becoming_available = await self._write_status(current, active, failure)
        return self._next_pass(current, failure, [held_off, becoming_available])

    def _next_pass(self, current: ReplicaSet, failure: ApiError | None, waits: Sequence[float]) -> Result:
        expected = self._expected.get(current.metadata.uid)
        if failure is not None:
            if failure.retryable:
                raise failure
            failures = expected.failures if expected is not None else 0
            waits = [*waits, min(_LONGEST_REFUSAL_PAUSE, 2.0 ** min(failures, 10))]
        if expected is not None and (expected.creating or expected.deleting):
            waits = [*waits, _LONGEST_REFUSAL_PAUSE]  # a confirmation that never shows is looked into
        due = [wait for wait in waits if wait > 0]
        return Result(requeue_after=min(due)) if due else Result()

    async def _scale(
        self, current: ReplicaSet, owned: Sequence[Pod], active: Sequence[Pod], *, may_create: bool
    ) -> ApiError | None:
        """Ask for what is missing and give up what is too many; the first error, if any."""
        expected = self._expected.setdefault(current.metadata.uid, Expected())
        uids = {pod.metadata.uid for pod in active}
        known = [pod.metadata.name for pod in owned]
        expected.observe(known=known, active=uids, now=self._clock.monotonic())
        missing = current.spec.replicas - expected.live(uids)
        names = expected.doubted_names()
        if missing > 0 and may_create:
            names += [f"{current.metadata.name}-{random_suffix()}" for _ in range(min(missing, BURST))]
        surplus = expected.doubted_uids()
        if missing < 0:
            spare = [pod for pod in deletion_order(active) if pod.metadata.uid not in expected.deleting]
            surplus += [(pod.metadata.uid, pod.metadata.name) for pod in spare[: min(-missing, BURST)]]
        failure = await in_batches(names, lambda name: self._owned.create(current, _pod(current, name), expected))
        failure = failure or await in_batches(surplus, lambda pod: self._owned.delete(current, pod, expected))
        expected.failures = expected.failures + 1 if failure is not None else 0
        return failure

    async def _write_status(self, current: ReplicaSet, active: Sequence[Pod], failure: ApiError | None) -> float:
        """Make the status say what the cache shows; the seconds until the next ready pod becomes available."""
        now = self._clock.now()
        labels = (current.spec.template.get("metadata") or {}).get("labels") or {}
        ready = [pod for pod in active if pod_ready_since(pod) is not None]
        waits = [_seconds_to_available(pod, current.spec.min_ready_seconds, now) for pod in ready]
        status: Raw = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(labels.items() <= pod.metadata.labels.items() for pod in active),
            "readyReplicas": len(ready),
            "availableReplicas": sum(wait <= 0 for wait in waits),
            "observedGeneration": current.metadata.generation,
        }
        conditions = _conditions(current, len(active), failure, timestamp(now))
        if msgspec.to_builtins(current.status) != {**status, "conditions": msgspec.to_builtins(conditions)}:
            written = {
                **written_counts(status, always=_ALWAYS_WRITTEN),
                "conditions": msgspec.to_builtins(conditions) or None,
            }
            patch = {"metadata": {"uid": current.metadata.uid}, "status": written}
            key = current.key
            try:
                await self._client.patch(REPLICA_SETS, key.name, patch, namespace=key.namespace, subresource="status")
            except (NotFound, Invalid):  # gone, or another one by the same name
                return 0.0
        return min((wait for wait in waits if wait > 0), default=0.0)


def _conditions(current: ReplicaSet, active: int, failure: ApiError | None, now: str) -> tuple[Condition, ...]:
    """ReplicaFailure while pods cannot be created or deleted; a conflict is no failure, only a lagging cache."""
    others = tuple(condition for condition in current.status.conditions if condition.type != REPLICA_FAILURE)
    if failure is None or isinstance(failure, Conflict):
        return others
    before = next((condition for condition in current.status.conditions if condition.type == REPLICA_FAILURE), None)
    reason = "FailedCreate" if active < current.spec.replicas else "FailedDelete"
    since = before.last_transition_time if before is not None else now
    failed = Condition(
        type=REPLICA_FAILURE, status="True", reason=reason, message=str(failure), last_transition_time=since
    )
    return (*others, failed)


def _selects(current: ReplicaSet, pod: Pod) -> bool:
    return current.spec.selector.matches(pod.metadata.labels)


def _pod(current: ReplicaSet, name: str) -> Raw:
    return pod_from(REPLICA_SETS, current.metadata, current.spec.template, name)


def _crash_pause(owned: Sequence[Pod], now: datetime) -> float:
    """Seconds until another pod may be created, after pods that failed: 2, 4, 8 ... after the newest of them."""
    failed = [pod for pod in owned if pod.status.phase == "Failed" and not pod.metadata.deleting]
    if not failed:
        return 0.0
    newest = max(pod.metadata.creation_timestamp or "" for pod in failed)
    since = (now - datetime.fromisoformat(newest)).total_seconds() if newest else 0.0
    return max(0.0, min(_LONGEST_CRASH_PAUSE, 2.0 ** min(len(failed), 10)) - since)


def _seconds_to_available(pod: Pod, min_ready_seconds: int, now: datetime) -> float:
    since = pod_ready_since(pod)
    if not min_ready_seconds or not since:
        return 0.0
    return min_ready_seconds - (now - datetime.fromisoformat(since)).total_seconds()
