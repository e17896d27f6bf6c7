"""Create, replace and delete the worker pods of workloads with a fixed number of replicas.

What comes and goes is decided in ``policy.worker``. A pod's name is chosen before it is created, and remembered until
the cache shows it (``policy.expected``), so that neither a lagging cache nor a lost reply makes one worker too many.

A worker that failed stays for a moment as evidence, and nothing is created beside it: so a workload whose pods fail at
once makes a few pods a minute, not hundreds.

Workers carry the finalizer of the contract. Its purpose, that no allocation outlives its pod unnoticed, is served by a
ledger that follows the pods themselves; so it is taken off as soon as a worker is being deleted, and holds nothing up.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.clock import Clock
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, InvalidRequest, NotFound, ServerError
from tensorfusion.kube.api import Api
from tensorfusion.kube.transport import UNSENT
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import Pod
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Meta, OwnerReference, Raw
from tensorfusion.model.workload import TensorFusionWorkload
from tensorfusion.policy.canary import is_active
from tensorfusion.policy.expected import Expected
from tensorfusion.policy.names import short_id
from tensorfusion.policy.ranking import pod_ready_since
from tensorfusion.policy.worker import plan, wanted_workers, worker_prefix, worker_template
from tensorfusion.policy.workload import WorkerCounts
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

_EVIDENCE_SECONDS = 10.0
_MOST_AT_ONCE = 50
_SUFFIX = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
_LOOK_AGAIN = 30.0


@dataclass(slots=True)
class Kept:
    """What a pass found and did. ``failure`` says why it could not do all; ``again`` when to look next, in seconds."""

    counts: WorkerCounts
    template_hash: str = ""
    failure: str = ""
    again: float | None = None


@dataclass(slots=True)
class _Pass:
    """One pass over one workload."""

    workload: TensorFusionWorkload
    expected: Expected
    failure: ApiError | None = field(default=None)


class WorkerPods:
    """Keeps workers as their workloads say. ``ask`` is called with each workload whose workers changed."""

    def __init__(self, manager: Manager, *, clock: Clock) -> None:
        self._client: Api = manager.client
        self._clock = clock
        self._recorder = EventRecorder(manager.client, component="tensorfusion-operator", clock=clock)
        manager.add_task("worker-events", self._recorder.run)
        self._owned: dict[str, dict[str, Pod]] = {}
        """Workers by the uids of their workload and their own. Not an index of the cache: most pods are no workers."""
        manager.informer(r.PODS, Pod).subscribe(self._on_pod)
        self._expected: dict[str, Expected] = {}
        """By the workload's uid."""
        self._ask: Callable[[Key], None] = lambda _: None

    def asking(self, ask: Callable[[Key], None]) -> None:
        """Name the queue that hears of workloads to look at."""
        self._ask = ask

    def forget(self, workload: TensorFusionWorkload) -> None:
        """The workload is gone."""
        self._expected.pop(workload.metadata.uid, None)

    async def keep(self, workload: TensorFusionWorkload, pool: GPUPool | None) -> Kept:
        """One pass: delete what is too much or outdated, create what is missing."""
        owned = list(self._owned.get(workload.metadata.uid, {}).values())
        active = [pod for pod in owned if is_active(pod)]
        kept = Kept(_counts(owned, active))
        try:
            body, kept.template_hash = worker_template(workload, pool)
        except InvalidRequest as error:
            kept.failure = str(error)
            return kept
        state = _Pass(workload, self._expected.setdefault(workload.metadata.uid, Expected()))
        expected = state.expected
        uids = {pod.metadata.uid for pod in active}
        expected.observe(known=[pod.metadata.name for pod in owned], active=uids, now=self._clock.monotonic())
        await self._clear_failed(state, owned, kept)
        going = [pod for pod in active if pod.metadata.uid not in expected.deleting]
        step = plan(going, desired=wanted_workers(workload), hash_=kept.template_hash)
        doomed = expected.doubted_uids() + [(pod.metadata.uid, pod.metadata.name) for pod in step.delete]
        for uid, name in doomed[:_MOST_AT_ONCE]:
            await self._delete(state, uid, name)
        missing = step.create - len(expected.creating)
        names = expected.doubted_names()
        if missing > 0 and kept.again is None:
            prefix = worker_prefix(workload.metadata)
            names += [prefix + short_id(secrets.token_hex(8))[:_SUFFIX] for _ in range(min(missing, _MOST_AT_ONCE))]
        for name in names:
            if state.failure is None:
                await self._create(state, body, name)
        self._conclude(state, kept)
        return kept

    def _conclude(self, state: _Pass, kept: Kept) -> None:
        expected = state.expected
        expected.failures = expected.failures + 1 if state.failure is not None else 0
        if state.failure is not None:
            kept.failure = str(state.failure)
            kept.again = min(_LONGEST_PAUSE, _FIRST_PAUSE ** min(expected.failures, 10))
        elif expected.creating or expected.deleting:
            kept.again = min(kept.again or _LOOK_AGAIN, _LOOK_AGAIN)

    async def _clear_failed(self, state: _Pass, owned: Sequence[Pod], kept: Kept) -> None:
        """Delete workers that ended and were seen for a moment; while one is younger, nothing is created."""
        for pod in owned:
            if not pod.finished or pod.metadata.deleting:
                continue
            born = datetime.fromisoformat(pod.metadata.creation_timestamp or self._clock.now().isoformat())
            left = _EVIDENCE_SECONDS - (self._clock.now() - born).total_seconds()
            if left > 0:
                kept.again = min(kept.again or left, left)
            else:
                await self._delete(state, pod.metadata.uid, pod.metadata.name)

    async def _create(self, state: _Pass, body: Raw, name: str) -> None:
        expected, namespace = state.expected, state.workload.metadata.namespace
        expected.creating[name] = None
        named = {**body, "metadata": {**body["metadata"], "name": name}}
        try:
            with suppress(AlreadyExists):  # a doubt that is settled: names are ours alone
                await self._client.create(r.PODS, named, namespace=namespace)
        except ServerError as error:
            if error.status_reason == UNSENT:
                expected.creating.pop(name, None)
            state.failure = error  # otherwise perhaps it was made: it stays in doubt
            return
        except ApiError as error:
            expected.creating.pop(name, None)
            state.failure = error
            self._record(state.workload, EventType.WARNING, "FailedCreate", f"Error creating a worker: {error}")
            return
        if name in expected.creating:  # else the watch was faster than the reply
            expected.creating[name] = self._clock.monotonic()
        self._record(state.workload, EventType.NORMAL, "SuccessfulCreate", f"Created worker {name}")

    async def _delete(self, state: _Pass, uid: str, name: str) -> None:
        state.expected.deleting[uid] = (name, None)
        try:
            with suppress(NotFound, Conflict):  # gone, and perhaps another one by the same name
                await self._client.delete(r.PODS, name, namespace=state.workload.metadata.namespace, uid=uid)
        except ApiError as error:
            if not isinstance(error, ServerError):
                state.expected.deleting.pop(uid, None)
            state.failure = error
            return
        state.expected.deleting[uid] = (name, self._clock.monotonic())
        self._record(state.workload, EventType.NORMAL, "SuccessfulDelete", f"Deleted worker {name}")

    def _record(self, workload: TensorFusionWorkload, type_: EventType, reason: str, message: str) -> None:
        reference = reference_to(r.TENSOR_FUSION_WORKLOADS, workload)
        self._recorder.record(reference, type_=type_, reason=reason, message=message)

    def _on_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        before, after = _owner_of(old), _owner_of(new)
        if old is not None and before is not None:
            owned = self._owned.get(before.uid, {})
            owned.pop(old.metadata.uid, None)
            if not owned:
                self._owned.pop(before.uid, None)
        if new is not None and after is not None:
            self._owned.setdefault(after.uid, {})[new.metadata.uid] = new
        for owner in (before, after):
            if owner is None:
                continue
            expected = self._expected.get(owner.uid)
            if expected is not None:
                expected.seen(change.key.name)
            self._ask(Key(change.key.namespace, owner.name))


class WorkerRelease:
    """Key: a pod. Takes the finalizer off a worker that is being deleted."""

    def __init__(self, manager: Manager) -> None:
        self._client: Api = manager.client
        pods = manager.informer(r.PODS, Pod)
        self._pods = pods.cache
        pods.subscribe(self._on_pod)
        self._ask: Callable[[Key], None] = lambda _: None

    def asking(self, ask: Callable[[Key], None]) -> None:
        """Name the queue that hears of pods to release."""
        self._ask = ask

    def held(self) -> list[Key]:
        """Every worker that is being deleted and waits for its release."""
        return [key for key, pod in self._pods.items() if pod.metadata.finalizers and _is_held(pod.metadata)]

    async def reconcile(self, key: Key) -> Result:
        pod = self._pods.get(key)
        if pod is None or not _is_held(pod.metadata):
            return DONE
        rest = [name for name in pod.metadata.finalizers if name != keys.FINALIZER]
        metadata = {"finalizers": rest, "resourceVersion": pod.metadata.resource_version}
        with suppress(NotFound):
            await self._client.patch(r.PODS, key.name, {"metadata": metadata}, namespace=key.namespace)
        return DONE

    def _on_pod(self, change: Change[Pod]) -> None:
        if change.new is not None and change.new.metadata.finalizers and _is_held(change.new.metadata):
            self._ask(change.key)


def _owner_of(pod: Pod | None) -> OwnerReference | None:
    """The workload whose worker the pod is; None for most pods."""
    if pod is None or not pod.metadata.owner_references:
        return None
    owner = pod.metadata.controller
    return owner if owner is not None and owner.kind == r.TENSOR_FUSION_WORKLOADS.kind else None


def _is_held(meta: Meta) -> bool:
    return keys.FINALIZER in meta.finalizers and meta.deleting and meta.labels.get(keys.COMPONENT) == "worker"


def _counts(owned: Sequence[Pod], active: Sequence[Pod]) -> WorkerCounts:
    return WorkerCounts(
        workers=len(active),
        ready=sum(pod.status.phase == "Running" and pod_ready_since(pod) is not None for pod in active),
        failed=sum(pod.status.phase == "Failed" and not pod.metadata.deleting for pod in owned),
    )
