"""ReplicaSet: keep as many pods as the spec says.

A pod's name is chosen before it is created and remembered until the cache shows the pod. So a lagging cache or a lost
reply never makes a second pod: the retry uses the same name, and "already exists" is success.

Source: apps/v1 ReplicaSet; order of deletion as kube-controller-manager's active pods.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.objects import (
    ReplicaSet,
    adoption_patch,
    owner_reference,
    owner_uids,
    pod_ready_since,
    safe_suffix,
)
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound, ServerError
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import PODS, REPLICA_SETS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

_WORKERS = 4
_BURST = 500
OWNER_INDEX = "owner"
_ORPHANS = "orphans"
_NAMESPACE = "namespace"


class ReplicaSetController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._making: dict[str, set[str]] = {}
        """ReplicaSet uid -> names of pods that were asked for and are not in the cache yet."""
        self._removing: dict[str, set[str]] = {}
        """ReplicaSet uid -> uids of pods whose deletion was asked for and is not in the cache yet."""

    def install(self, manager: Manager) -> None:
        self._sets = manager.informer(REPLICA_SETS, ReplicaSet)
        self._pods = manager.informer(PODS, Pod)
        self._pods.add_index(OWNER_INDEX, lambda pod: owner_uids(pod.metadata))
        self._pods.add_index(_ORPHANS, lambda pod: (pod.metadata.namespace,) if _is_orphan(pod) else ())
        self._sets.add_index(_NAMESPACE, lambda found: (found.metadata.namespace,))
        controller = Controller("replicaset", self, workers=_WORKERS, clock=self._clock)
        self._queue = controller.queue
        manager.add_controller(controller)
        self._sets.subscribe(lambda change: self._queue.add(change.key))
        self._pods.subscribe(self._on_pod)

    def _on_pod(self, change: Change[Pod]) -> None:
        for pod in (change.old, change.new):
            if pod is None:
                continue
            owner = pod.metadata.controller
            if owner is not None and owner.kind == REPLICA_SETS.kind:
                self._queue.add(Key(pod.metadata.namespace, owner.name))
            elif pod is change.new and _is_orphan(pod):
                self._offer_orphan(pod)

    def _offer_orphan(self, pod: Pod) -> None:
        for candidate in self._sets.cache.by_index(_NAMESPACE, pod.metadata.namespace):
            if _selects(candidate, pod):
                self._queue.add(candidate.key)

    async def reconcile(self, key: Key) -> Result:
        current = self._sets.cache.get(key)
        if current is None or current.metadata.deleting:
            if current is not None:
                self._making.pop(current.metadata.uid, None)
                self._removing.pop(current.metadata.uid, None)
            return DONE
        owned = await self._claim(current)
        active = [pod for pod in owned if not pod.finished and not pod.metadata.deleting]
        await self._scale(current, owned, active)
        return await self._write_status(current, active)

    async def _claim(self, current: ReplicaSet) -> list[Pod]:
        """The pods this ReplicaSet controls, after releasing those it no longer selects and adopting orphans."""
        owned = []
        uid = current.metadata.uid
        for pod in self._pods.cache.by_index(OWNER_INDEX, uid):
            if _selects(current, pod) or pod.metadata.deleting:
                owned.append(pod)
            else:
                kept = [r for r in pod.metadata.owner_references if r.uid != uid]
                references = [{"apiVersion": r.api_version, "kind": r.kind, "name": r.name, "uid": r.uid} for r in kept]
                patch: Raw = {"metadata": {"uid": pod.metadata.uid, "ownerReferences": references}}
                await self._patch_pod(pod, patch)
        for pod in self._pods.cache.by_index(_ORPHANS, current.metadata.namespace):
            if _selects(current, pod):
                await self._patch_pod(pod, adoption_patch(REPLICA_SETS, current.metadata, pod.metadata))
        return owned

    async def _patch_pod(self, pod: Pod, patch: Raw) -> None:
        try:
            await self._client.patch(PODS, pod.metadata.name, patch, namespace=pod.metadata.namespace)
        except (NotFound, Conflict):
            return

    async def _scale(self, current: ReplicaSet, owned: Sequence[Pod], active: Sequence[Pod]) -> None:
        uid = current.metadata.uid
        known = {pod.metadata.name for pod in owned}
        making = self._making.setdefault(uid, set())
        making -= known
        removing = self._removing.setdefault(uid, set())
        removing &= {pod.metadata.uid for pod in active}
        have = len(active) - len(removing) + len(making)
        missing = current.spec.replicas - have
        for name in sorted(making):  # asked for before, and the answer was lost: ask again by the same name
            await self._create(current, name, making)
        if missing > 0:
            await self._create_many(current, min(missing, _BURST), making)
        elif missing < 0:
            candidates = [pod for pod in active if pod.metadata.uid not in removing]
            for pod in sorted(candidates, key=_deletion_order)[: min(-missing, _BURST)]:
                removing.add(pod.metadata.uid)
                await self._delete(pod, removing)

    async def _create_many(self, current: ReplicaSet, count: int, making: set[str]) -> None:
        """One after another: the first refusal ends the round, so a wrong template costs one request, not hundreds."""
        for _ in range(count):
            name = f"{current.metadata.name}-{safe_suffix(secrets.token_hex(16), 5)}"
            making.add(name)
            await self._create(current, name, making)

    async def _create(self, current: ReplicaSet, name: str, making: set[str]) -> None:
        try:
            await self._client.create(PODS, _pod_from(current, name), namespace=current.metadata.namespace)
        except AlreadyExists:
            return
        except ServerError:
            raise  # perhaps it was made: the name stays remembered
        except ApiError:
            making.discard(name)
            raise

    async def _delete(self, pod: Pod, removing: set[str]) -> None:
        try:
            await self._client.delete(PODS, pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid)
        except (NotFound, Conflict):
            return
        except ApiError:
            removing.discard(pod.metadata.uid)
            raise

    async def _write_status(self, current: ReplicaSet, active: Sequence[Pod]) -> Result:
        now = self._clock.now()
        wanted_labels = (current.spec.template.get("metadata") or {}).get("labels") or {}
        ready = [pod for pod in active if pod_ready_since(pod) is not None]
        waits = [_seconds_to_available(pod, current.spec.min_ready_seconds, now) for pod in ready]
        status = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(wanted_labels.items() <= pod.metadata.labels.items() for pod in active),
            "readyReplicas": len(ready),
            "availableReplicas": sum(wait <= 0 for wait in waits),
            "observedGeneration": current.metadata.generation,
        }
        known = current.status
        if status != {
            "replicas": known.replicas,
            "fullyLabeledReplicas": known.fully_labeled_replicas,
            "readyReplicas": known.ready_replicas,
            "availableReplicas": known.available_replicas,
            "observedGeneration": known.observed_generation,
        }:
            patch = {"metadata": {"uid": current.metadata.uid}, "status": status}
            key = current.key
            try:
                await self._client.patch(REPLICA_SETS, key.name, patch, namespace=key.namespace, subresource="status")
            except NotFound:
                return DONE
        later = [wait for wait in waits if wait > 0]
        return Result(requeue_after=min(later)) if later else DONE


def _is_orphan(pod: Pod) -> bool:
    return pod.metadata.controller is None and not pod.metadata.deleting and bool(pod.metadata.labels)


def _selects(current: ReplicaSet, pod: Pod) -> bool:
    return current.spec.selector.matches(pod.metadata.labels)


def _pod_from(current: ReplicaSet, name: str) -> Raw:
    template = current.spec.template
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "generateName": f"{current.metadata.name}-",
            "labels": metadata.get("labels") or {},
            "annotations": metadata.get("annotations") or {},
            "finalizers": metadata.get("finalizers") or [],
            "ownerReferences": [owner_reference(REPLICA_SETS, current.metadata)],
        },
        "spec": template.get("spec") or {},
    }


def _deletion_order(pod: Pod) -> tuple[bool, bool, bool, float]:
    """Least useful first: unassigned, not running, not ready, newest."""
    created = pod.metadata.creation_timestamp
    age = datetime.fromisoformat(created).timestamp() if created else 0.0
    return bool(pod.spec.node_name), pod.status.phase == "Running", pod_ready_since(pod) is not None, -age


def _seconds_to_available(pod: Pod, min_ready_seconds: int, now: datetime) -> float:
    since = pod_ready_since(pod)
    if not min_ready_seconds or since is None:
        return 0.0
    return min_ready_seconds - (now - datetime.fromisoformat(since)).total_seconds()
