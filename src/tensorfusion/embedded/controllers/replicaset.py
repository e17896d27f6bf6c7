"""ReplicaSet: keep as many pods as the spec says, never more by mistake.

What was asked for and is not in the cache yet is remembered by name and uid (see ``expected``), creations go out in
batches that double as long as they succeed, and every deletion names the uid it means. A server that refuses pods (an
admission that says no, a quota) is asked again at growing intervals; the reason is in the ReplicaFailure condition and
in an event. So are pods that fail as soon as they start: their successors wait longer and longer.

Source: apps/v1 ReplicaSet as kube-controller-manager keeps it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.controllers.expected import Expected
from tensorfusion.embedded.controllers.objects import (
    OWNER_INDEX,
    REFUSED_PAUSE,
    REPLICA_FAILURE,
    ReplicaSet,
    adoption_patch,
    is_orphan,
    owner_reference,
    owner_uids,
    pod_ready_since,
    release_patch,
    safe_suffix,
    written_counts,
)
from tensorfusion.embedded.controllers.ranking import deletion_order
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound, ServerError
from tensorfusion.kube.api import Api
from tensorfusion.kube.transport import UNSENT
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Condition, Key, Raw
from tensorfusion.model.resources import PODS, REPLICA_SETS
from tensorfusion.runtime.controller import Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

T = TypeVar("T")

_WORKERS = 4
_BURST = 500
_WIDEST = 32
"""Requests of one ReplicaSet under way at once."""
_LONGEST_REFUSAL_PAUSE = 60.0
_LONGEST_CRASH_PAUSE = 300.0
_EVENTS_PER_SECOND, _EVENTS_BURST = 5.0, 25.0
_NAMESPACE_INDEX = "namespace"
_ORPHAN_INDEX = "orphan"
_ALWAYS_WRITTEN = frozenset({"replicas", "observedGeneration"})

log = get_logger(__name__)


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
        self._pods.add_index(OWNER_INDEX, lambda pod: owner_uids(pod.metadata))
        self._pods.add_index(_ORPHAN_INDEX, lambda pod: (pod.metadata.namespace,) if is_orphan(pod.metadata) else ())
        self._sets.add_index(_NAMESPACE_INDEX, lambda found: (found.metadata.namespace,))
        controller = Controller("replicaset", self, workers=_WORKERS, clock=self._clock)
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
        """One pass: claim pods, create or delete what is missing or too many, write the status.

        What is refused now (by RBAC, an admission) may be allowed later, and no event would say so: it is tried again.
        """
        try:
            return await self._reconcile(key)
        except ApiError as error:
            if error.retryable:
                raise
            log.warning("replica set not kept: refused", replica_set=key, retry_seconds=REFUSED_PAUSE, error=error)
            return Result(requeue_after=REFUSED_PAUSE)

    async def _reconcile(self, key: Key) -> Result:
        current = self._sets.cache.get(key)
        if current is None:
            return Result()
        owned = await self._claim(current)
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

    async def _claim(self, current: ReplicaSet) -> list[Pod]:
        """The pods this ReplicaSet controls, after releasing those it no longer selects and adopting orphans.

        Raises:
            Conflict: a pod has changed meanwhile; the next pass sees how.
        """
        owned = []
        for pod in self._pods.cache.by_index(OWNER_INDEX, current.metadata.uid):
            if _selects(current, pod) or pod.metadata.deleting or current.metadata.deleting:
                owned.append(pod)
            else:
                await self._patch_pod(pod, release_patch(current.metadata, pod.metadata))
        if current.metadata.deleting:
            return owned
        orphans = self._pods.cache.by_index(_ORPHAN_INDEX, current.metadata.namespace)
        wanted = [pod for pod in orphans if not pod.finished and _selects(current, pod)]
        if wanted and await self._still_lives(current):
            adopt = [(pod, adoption_patch(REPLICA_SETS, current.metadata, pod.metadata)) for pod in wanted]
            owned += [pod for pod, patch in adopt if await self._patch_pod(pod, patch)]
        return owned

    async def _still_lives(self, current: ReplicaSet) -> bool:
        """Asked of the server, not the cache: one that is being deleted must not take pods with it."""
        key = current.key
        try:
            found = await self._client.get(REPLICA_SETS, ReplicaSet, key.name, namespace=key.namespace)
        except NotFound:
            return False
        return found.metadata.uid == current.metadata.uid and not found.metadata.deleting

    async def _patch_pod(self, pod: Pod, patch: Raw) -> bool:
        try:
            await self._client.patch(PODS, pod.metadata.name, patch, namespace=pod.metadata.namespace)
        except (NotFound, Invalid):  # gone, or another pod by the same name
            return False
        return True

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
            names += [f"{current.metadata.name}-{_suffix()}" for _ in range(min(missing, _BURST))]
        surplus = expected.doubted_uids()
        if missing < 0:
            spare = [pod for pod in deletion_order(active) if pod.metadata.uid not in expected.deleting]
            surplus += [(pod.metadata.uid, pod.metadata.name) for pod in spare[: min(-missing, _BURST)]]
        failure = await _in_batches(names, lambda name: self._create(current, name, expected))
        failure = failure or await _in_batches(surplus, lambda pod: self._delete(current, pod, expected))
        expected.failures = expected.failures + 1 if failure is not None else 0
        return failure

    async def _create(self, current: ReplicaSet, name: str, expected: Expected) -> ApiError | None:
        expected.creating[name] = None
        namespace = current.metadata.namespace
        try:
            try:
                await self._client.create(PODS, _pod_from(current, name), namespace=namespace, type_=Pod)
            except AlreadyExists:
                found = await self._client.get(PODS, Pod, name, namespace=namespace)
                owner = found.metadata.controller
                if owner is None or owner.uid != current.metadata.uid:
                    expected.creating.pop(name, None)
                    return Conflict(f"pod {namespace}/{name} belongs to somebody else: another name is needed")
        except ServerError as error:
            if error.status_reason == UNSENT:
                expected.creating.pop(name, None)
            return error  # otherwise perhaps it was made: it stays in doubt
        except ApiError as error:
            expected.creating.pop(name, None)
            self._record(current, EventType.WARNING, "FailedCreate", f"Error creating: {error}")
            return error
        if name in expected.creating:  # else the watch was faster than the reply
            expected.creating[name] = self._clock.monotonic()
        self._record(current, EventType.NORMAL, "SuccessfulCreate", f"Created pod: {name}")
        return None

    async def _delete(self, current: ReplicaSet, pod: tuple[str, str], expected: Expected) -> ApiError | None:
        uid, name = pod
        expected.deleting[uid] = (name, None)
        try:
            await self._client.delete(PODS, name, namespace=current.metadata.namespace, uid=uid)
        except (NotFound, Conflict):
            pass  # gone already, and perhaps another one by the same name
        except ServerError as error:
            return error  # perhaps it was deleted: it stays in doubt
        except ApiError as error:
            expected.deleting.pop(uid, None)
            self._record(current, EventType.WARNING, "FailedDelete", f"Error deleting: {error}")
            return error
        else:
            self._record(current, EventType.NORMAL, "SuccessfulDelete", f"Deleted pod: {name}")
        expected.deleting[uid] = (name, self._clock.monotonic())
        return None

    def _record(self, current: ReplicaSet, type_: EventType, reason: str, message: str) -> None:
        self._recorder.record(reference_to(REPLICA_SETS, current), type_=type_, reason=reason, message=message)

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


async def _in_batches(items: Sequence[T], act: Callable[[T], Awaitable[ApiError | None]]) -> ApiError | None:
    """Act on one, then two, then four at a time: a template that is refused costs one request, not hundreds."""
    position, size = 0, 1
    while position < len(items):
        async with asyncio.TaskGroup() as group:
            batch = items[position : position + size]
            tasks = [group.create_task(_as_coroutine(act, item)) for item in batch]
        failure = next((error for task in tasks if (error := task.result()) is not None), None)
        if failure is not None:
            return failure
        position, size = position + size, min(size * 2, _WIDEST)
    return None


async def _as_coroutine(act: Callable[[T], Awaitable[ApiError | None]], item: T) -> ApiError | None:
    return await act(item)


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


def _suffix() -> str:
    return safe_suffix(secrets.token_hex(16), 5)


def _selects(current: ReplicaSet, pod: Pod) -> bool:
    return current.spec.selector.matches(pod.metadata.labels)


def _pod_from(current: ReplicaSet, name: str) -> Raw:
    template = current.spec.template
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": PODS.api_version,
        "kind": PODS.kind,
        "metadata": {
            "name": name,
            "generateName": f"{current.metadata.name}-",
            **{part: metadata[part] for part in ("labels", "annotations", "finalizers") if metadata.get(part)},
            "ownerReferences": [owner_reference(REPLICA_SETS, current.metadata)],
        },
        "spec": template.get("spec") or {},
    }


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
