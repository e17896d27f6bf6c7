"""Deployment: one ReplicaSet for each template, the newest sized up as the older ones are sized down.

Each pass writes absolute sizes that follow from the caches, so a pass that is repeated, or runs on caches that lag,
writes the same again instead of a step further. A new ReplicaSet is made empty; the pass that sees it gives it a size.

Source: apps/v1 Deployment as kube-controller-manager keeps it; annotations as ``kubectl rollout`` reads them.
"""

from collections.abc import Sequence

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.objects import (
    OWNER_INDEX,
    REFUSED_PAUSE,
    REVISION,
    TEMPLATE_HASH,
    Deployment,
    DeploymentStatus,
    ReplicaSet,
    adoption_patch,
    is_orphan,
    owner_reference,
    owner_uids,
    release_patch,
    template_hash,
    written_counts,
)
from tensorfusion.embedded.controllers.progress import seconds_to_deadline, status_of
from tensorfusion.embedded.controllers.rollout import RECREATE, SetSize, bounds, recreate_step, rolling_step
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager

_WORKERS = 4
_EVENTS_PER_SECOND, _EVENTS_BURST = 5.0, 25.0
_ORPHAN_INDEX = "orphan"
DESIRED, MOST = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = frozenset({REVISION, DESIRED, MOST, "kubectl.kubernetes.io/last-applied-configuration"})
"""Annotations of a Deployment that its ReplicaSets do not get."""


class DeploymentController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="deployment-controller", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )

    def install(self, manager: Manager) -> None:
        """Register informers' handlers, the controller and its events."""
        self._deployments = manager.informer(DEPLOYMENTS, Deployment)
        self._sets = manager.informer(REPLICA_SETS, ReplicaSet)
        self._pods = manager.informer(PODS, Pod)
        self._sets.add_index(OWNER_INDEX, lambda found: owner_uids(found.metadata))
        self._sets.add_index(_ORPHAN_INDEX, lambda found: (found.key.namespace,) if is_orphan(found.metadata) else ())
        self._pods.add_index(OWNER_INDEX, lambda pod: owner_uids(pod.metadata))
        controller = Controller("deployment", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("deployment-events", self._recorder.run)
        self._deployments.subscribe(lambda change: self._queue.add(change.key))
        self._sets.subscribe(self._on_set)
        self._pods.subscribe(self._on_pod)

    def _on_set(self, change: Change[ReplicaSet]) -> None:
        for found in (change.old, change.new):
            owner = found.metadata.controller if found is not None else None
            if found is not None and owner is not None and owner.kind == DEPLOYMENTS.kind:
                self._queue.add(Key(found.metadata.namespace, owner.name))

    def _on_pod(self, change: Change[Pod]) -> None:
        """The end of a pod is what Recreate waits for; no ReplicaSet's status shows it."""
        owner = change.old.metadata.controller if change.kind is ChangeKind.DELETED and change.old is not None else None
        if owner is None or owner.kind != REPLICA_SETS.kind:
            return
        found = self._sets.cache.get(Key(change.key.namespace, owner.name))
        deployment = found.metadata.controller if found is not None else None
        if deployment is not None:
            self._queue.add(Key(change.key.namespace, deployment.name))

    async def reconcile(self, key: Key) -> Result:
        """One pass: claim ReplicaSets, roll one step, write the status."""
        deployment = self._deployments.cache.get(key)
        if deployment is None or deployment.metadata.deleting:
            return DONE
        sets = sorted(await self._claim(deployment), key=_age)
        new = next((found for found in reversed(sets) if same_template(found, deployment)), None)
        old = [found for found in sets if found is not new]
        if deployment.spec.paused:
            await self._scale_paused(deployment, sets)
        elif new is None:
            return await self._create_set(deployment, sets)
        else:
            await self._keep_current(deployment, new, old)
            await self._roll(deployment, new, old)
            await self._forget_history(deployment, old)
        return await self._write_status(deployment, new, sets)

    async def _claim(self, deployment: Deployment) -> list[ReplicaSet]:
        """The ReplicaSets it controls, after releasing those it no longer selects and adopting orphans.

        Raises:
            Conflict: one has changed meanwhile; the next pass sees how.
        """
        owned = []
        selector = deployment.spec.selector
        for found in self._sets.cache.by_index(OWNER_INDEX, deployment.metadata.uid):
            if selector.matches(found.metadata.labels) or found.metadata.deleting:
                owned.append(found)
            else:
                await self._patch_set(found, release_patch(deployment.metadata, found.metadata))
        orphans = self._sets.cache.by_index(_ORPHAN_INDEX, deployment.metadata.namespace)
        wanted = [found for found in orphans if selector.matches(found.metadata.labels)]
        if wanted and await self._still_lives(deployment):
            for found in wanted:
                await self._patch_set(found, adoption_patch(DEPLOYMENTS, deployment.metadata, found.metadata))
            owned += wanted
        return [found for found in owned if not found.metadata.deleting]

    async def _still_lives(self, deployment: Deployment) -> bool:
        """Asked of the server, not the cache: one that is being deleted must not take ReplicaSets with it."""
        key = deployment.key
        try:
            found = await self._client.get(DEPLOYMENTS, Deployment, key.name, namespace=key.namespace)
        except NotFound:
            return False
        return found.metadata.uid == deployment.metadata.uid and not found.metadata.deleting

    async def _create_set(self, deployment: Deployment, sets: Sequence[ReplicaSet]) -> Result:
        """Make the ReplicaSet of this template, empty: the next pass, on seeing it, sizes it."""
        collisions = deployment.status.collision_count or 0
        body = _set_object(deployment, template_hash(deployment.spec.template, collisions), _next_revision(sets))
        namespace, name = deployment.metadata.namespace, body["metadata"]["name"]
        try:
            await self._client.create(REPLICA_SETS, body, namespace=namespace)
        except AlreadyExists:
            found = await self._client.get(REPLICA_SETS, ReplicaSet, name, namespace=namespace)
            owner = found.metadata.controller
            ours = owner is not None and owner.uid == deployment.metadata.uid
            if (ours or owner is None) and same_template(found, deployment):
                return DONE  # the cache will show it, as ours or as an orphan to adopt
            await self._patch_status(deployment, {"collisionCount": collisions + 1})
        except ApiError as error:
            message = f"Failed to create new replica set {name}: {error}"
            about = reference_to(DEPLOYMENTS, deployment)
            self._recorder.record(about, type_=EventType.WARNING, reason="ReplicaSetCreateError", message=message)
            raise
        return DONE

    async def _keep_current(self, deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> None:
        """The newest ReplicaSet has the highest revision, also after a rollback, and the Deployment's annotations."""
        revision = max([_revision(new), *(_revision(found) + 1 for found in old)])
        wanted = {**_copied(deployment.metadata.annotations), REVISION: str(revision)}
        if new.spec.replicas == deployment.spec.replicas:  # else they come with the size
            wanted |= _sizes(deployment)
        patch: Raw = {}
        if not wanted.items() <= new.metadata.annotations.items():
            patch["metadata"] = {"uid": new.metadata.uid, "annotations": wanted}
        if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
            patch["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
        if patch:
            await self._patch_set(new, patch)
        if deployment.metadata.annotations.get(REVISION) != str(revision):
            annotations = {"annotations": {REVISION: str(revision)}}
            # As a part of the status, so that the generation does not count it.
            await self._patch_deployment(deployment, {"metadata": annotations}, subresource="status")

    async def _roll(self, deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> None:
        replicas = deployment.spec.replicas
        sizes = [_size(found) for found in old]
        if deployment.spec.strategy.type == RECREATE:
            left = sum(self._pods_left(found) for found in old)
            changes = recreate_step(replicas, _size(new), sizes, old_pods=left)
        else:
            changes = rolling_step(replicas, bounds(deployment), _size(new), sizes)
        for found in (*old, new):
            if found.metadata.name in changes:
                await self._resize(deployment, found, changes[found.metadata.name])

    def _pods_left(self, found: ReplicaSet) -> int:
        """Pods that run or may still run, also those that are shutting down, and those the cache may not show yet."""
        cached = self._pods.cache.by_index(OWNER_INDEX, found.metadata.uid)
        return max(found.status.replicas, sum(not pod.finished for pod in cached))

    async def _scale_paused(self, deployment: Deployment, sets: Sequence[ReplicaSet]) -> None:
        """While paused nothing rolls; a new size goes to the newest ReplicaSet that has pods."""
        active = [found for found in sets if found.spec.replicas > 0] or list(sets[-1:])
        if active:
            others = sum(found.spec.replicas for found in active[:-1])
            await self._resize(deployment, active[-1], max(0, deployment.spec.replicas - others))

    async def _resize(self, deployment: Deployment, found: ReplicaSet, replicas: int) -> None:
        before = found.spec.replicas
        if before == replicas:
            return
        metadata = {"uid": found.metadata.uid, "annotations": _sizes(deployment)}
        if await self._patch_set(found, {"metadata": metadata, "spec": {"replicas": replicas}}):
            way = "up" if replicas > before else "down"
            message = f"Scaled {way} replica set {found.metadata.name} from {before} to {replicas}"
            about = reference_to(DEPLOYMENTS, deployment)
            self._recorder.record(about, type_=EventType.NORMAL, reason="ScalingReplicaSet", message=message)

    async def _forget_history(self, deployment: Deployment, old: Sequence[ReplicaSet]) -> None:
        """Delete the oldest empty ReplicaSets beyond the limit."""
        empty = [found for found in old if found.spec.replicas == 0 and self._pods_left(found) == 0]
        for found in empty[: max(0, len(empty) - deployment.spec.revision_history_limit)]:
            meta = found.metadata
            try:
                await self._client.delete(REPLICA_SETS, meta.name, namespace=meta.namespace, uid=meta.uid)
            except (NotFound, Conflict):
                continue

    async def _write_status(self, deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet]) -> Result:
        now = self._clock.now()
        status = status_of(deployment, new, sets, now=now)
        if status != deployment.status:
            await self._patch_status(deployment, _wire_status(status))
        return Result(requeue_after=seconds_to_deadline(deployment, status, now=now))

    async def _patch_status(self, deployment: Deployment, status: Raw) -> None:
        await self._patch_deployment(deployment, {"status": status}, subresource="status")

    async def _patch_deployment(self, deployment: Deployment, patch: Raw, *, subresource: str = "") -> None:
        key = deployment.key
        metadata = {**patch.get("metadata", {}), "uid": deployment.metadata.uid}
        body = {**patch, "metadata": metadata}
        try:
            await self._client.patch(DEPLOYMENTS, key.name, body, namespace=key.namespace, subresource=subresource)
        except (NotFound, Invalid):  # gone, or another one by the same name
            return

    async def _patch_set(self, found: ReplicaSet, patch: Raw) -> bool:
        key = found.key
        try:
            await self._client.patch(REPLICA_SETS, key.name, patch, namespace=key.namespace)
        except (NotFound, Invalid):  # gone, or another one by the same name
            return False
        return True


def same_template(found: ReplicaSet, deployment: Deployment) -> bool:
    """Equal but for the hash label that a ReplicaSet's template carries, and for fields that say nothing."""
    return _comparable(found.spec.template) == _comparable(deployment.spec.template)


def _comparable(template: Raw) -> Raw:
    metadata = {name: value for name, value in (template.get("metadata") or {}).items() if value}
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != TEMPLATE_HASH}
    return {"metadata": metadata, "labels": labels, "spec": template.get("spec")}


def _wire_status(status: DeploymentStatus) -> Raw:
    found: Raw = msgspec.to_builtins(status)
    return written_counts(found, always=frozenset({"observedGeneration"}))


def _size(found: ReplicaSet) -> SetSize:
    status = found.status
    return SetSize(found.metadata.name, found.spec.replicas, status.available_replicas, status.replicas)


def _age(found: ReplicaSet) -> tuple[int, str, str]:
    """Oldest revision first; the rest only makes the order the same every time."""
    return _revision(found), found.metadata.creation_timestamp or "", found.metadata.name


def _revision(found: ReplicaSet) -> int:
    text = found.metadata.annotations.get(REVISION, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _next_revision(sets: Sequence[ReplicaSet]) -> int:
    return max((_revision(found) for found in sets), default=0) + 1


def _copied(annotations: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key not in _NOT_COPIED}


def _sizes(deployment: Deployment) -> dict[str, str]:
    """What a ReplicaSet knows of its Deployment's size: that, and how many pods there may be on the way."""
    return {DESIRED: str(deployment.spec.replicas), MOST: str(bounds(deployment).most)}


def _set_object(deployment: Deployment, digest: str, revision: int) -> Raw:
    template = deployment.spec.template
    metadata = dict(template.get("metadata") or {})
    labels = {**(metadata.get("labels") or {}), TEMPLATE_HASH: digest}
    selector = deployment.spec.selector
    wanted: Raw = {"matchLabels": {**selector.match_labels, TEMPLATE_HASH: digest}}
    if selector.match_expressions:
        wanted["matchExpressions"] = msgspec.to_builtins(selector.match_expressions)
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{deployment.metadata.name}-{digest}",
            "labels": labels,
            "annotations": {
                **_copied(deployment.metadata.annotations),
                **_sizes(deployment),
                REVISION: str(revision),
            },
            "ownerReferences": [owner_reference(DEPLOYMENTS, deployment.metadata)],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": wanted,
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }
