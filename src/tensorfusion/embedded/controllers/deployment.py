"""Deployment: one ReplicaSet for each template, the newest sized up as the older ones are sized down.

Source: apps/v1 Deployment; conditions and the revision annotation as ``kubectl rollout`` reads them.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.controllers.objects import (
    REVISION,
    TEMPLATE_HASH,
    Deployment,
    DeploymentCondition,
    ReplicaSet,
    adoption_patch,
    owner_reference,
    owner_uids,
    template_hash,
)
from tensorfusion.embedded.controllers.rollout import SetSize, bounds, recreate_step, rolling_step
from tensorfusion.errors import AlreadyExists, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import DEPLOYMENTS, REPLICA_SETS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

_WORKERS = 4
_OWNER = "owner"


class DeploymentController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def install(self, manager: Manager) -> None:
        self._deployments = manager.informer(DEPLOYMENTS, Deployment)
        self._sets = manager.informer(REPLICA_SETS, ReplicaSet)
        self._sets.add_index(_OWNER, lambda found: owner_uids(found.metadata))
        controller = Controller("deployment", self, workers=_WORKERS, clock=self._clock)
        self._queue = controller.queue
        manager.add_controller(controller)
        self._deployments.subscribe(lambda change: self._queue.add(change.key))
        self._sets.subscribe(self._on_set)

    def _on_set(self, change: Change[ReplicaSet]) -> None:
        for found in (change.old, change.new):
            owner = found.metadata.controller if found is not None else None
            if found is not None and owner is not None and owner.kind == DEPLOYMENTS.kind:
                self._queue.add(Key(found.metadata.namespace, owner.name))

    async def reconcile(self, key: Key) -> Result:
        deployment = self._deployments.cache.get(key)
        if deployment is None or deployment.metadata.deleting:
            return DONE
        sets = sorted(self._sets.cache.by_index(_OWNER, deployment.metadata.uid), key=_revision)
        new = next((found for found in reversed(sets) if _same_template(found, deployment)), None)
        old = [found for found in sets if found is not new]
        if deployment.spec.paused:
            await self._scale_paused(deployment, sets)
        elif new is None:
            return await self._create_set(deployment, sets)
        else:
            await self._keep_revision(deployment, new, old)
            await self._roll(deployment, new, old)
            await self._forget_history(deployment, old)
        return await self._write_status(deployment, new, sets)

    async def _create_set(self, deployment: Deployment, sets: Sequence[ReplicaSet]) -> Result:
        """Make the ReplicaSet of this template, empty: the next pass, on seeing it, sizes it."""
        collisions = deployment.status.collision_count or 0
        digest = template_hash(deployment.spec.template, collisions)
        body = _set_object(deployment, digest, revision=_next_revision(sets))
        try:
            await self._client.create(REPLICA_SETS, body, namespace=deployment.metadata.namespace)
        except AlreadyExists:
            found = await self._client.get(
                REPLICA_SETS, ReplicaSet, body["metadata"]["name"], namespace=deployment.metadata.namespace
            )
            owner = found.metadata.controller
            if owner is None and _same_template(found, deployment):
                patch = adoption_patch(DEPLOYMENTS, deployment.metadata, found.metadata)
                await self._patch_set(found, patch)
            elif owner is None or owner.uid != deployment.metadata.uid or not _same_template(found, deployment):
                await self._patch_status(deployment, {"collisionCount": collisions + 1})
        return DONE

    async def _keep_revision(self, deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> None:
        """The newest ReplicaSet has the highest revision, also after a rollback to an older template."""
        highest = max((_revision(found) for found in old), default=0)
        revision = _revision(new)
        if revision <= highest:
            revision = highest + 1
            await self._patch_set(new, {"metadata": {"annotations": {REVISION: str(revision)}}})
        if deployment.metadata.annotations.get(REVISION) != str(revision):
            patch: Raw = {"metadata": {"annotations": {REVISION: str(revision)}}}
            key = deployment.key
            await self._client.patch(DEPLOYMENTS, key.name, patch, namespace=key.namespace)

    async def _roll(self, deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> None:
        replicas = deployment.spec.replicas
        if deployment.spec.strategy.type == "Recreate":
            left = sum(found.status.replicas for found in old)
            changes = recreate_step(replicas, _size(new), [_size(found) for found in old], old_pods=left)
        else:
            changes = rolling_step(replicas, bounds(deployment), _size(new), [_size(found) for found in old])
        for found in (*old, new):
            if found.metadata.name in changes:
                await self._resize(found, changes[found.metadata.name])

    async def _scale_paused(self, deployment: Deployment, sets: Sequence[ReplicaSet]) -> None:
        """While paused nothing rolls; a new size goes to the newest ReplicaSet that has pods."""
        active = [found for found in sets if found.spec.replicas > 0] or list(sets[-1:])
        if active:
            others = sum(found.spec.replicas for found in active[:-1])
            await self._resize(active[-1], max(0, deployment.spec.replicas - others))

    async def _resize(self, found: ReplicaSet, replicas: int) -> None:
        if found.spec.replicas != replicas:
            await self._patch_set(found, {"spec": {"replicas": replicas}})

    async def _patch_set(self, found: ReplicaSet, patch: Raw) -> None:
        key = found.key
        metadata = {**patch.get("metadata", {}), "uid": found.metadata.uid}
        try:
            await self._client.patch(REPLICA_SETS, key.name, {**patch, "metadata": metadata}, namespace=key.namespace)
        except (NotFound, Conflict):
            return

    async def _forget_history(self, deployment: Deployment, old: Sequence[ReplicaSet]) -> None:
        empty = [found for found in old if found.spec.replicas == 0 and found.status.replicas == 0]
        for found in empty[: max(0, len(empty) - deployment.spec.revision_history_limit)]:
            try:
                await self._client.delete(
                    REPLICA_SETS, found.metadata.name, namespace=found.metadata.namespace, uid=found.metadata.uid
                )
            except (NotFound, Conflict):
                continue

    async def _write_status(self, deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet]) -> Result:
        available = sum(found.status.available_replicas for found in sets)
        status: Raw = {
            "observedGeneration": deployment.metadata.generation,
            "replicas": sum(found.status.replicas for found in sets),
            "updatedReplicas": new.status.replicas if new is not None else 0,
            "readyReplicas": sum(found.status.ready_replicas for found in sets),
            "availableReplicas": available,
            "unavailableReplicas": max(0, deployment.spec.replicas - available),
        }
        conditions = self._conditions(deployment, new, status)
        status["conditions"] = [msgspec.to_builtins(condition) for condition in conditions]
        known = msgspec.to_builtins(deployment.status)
        if any(known.get(name, 0) != value for name, value in status.items()):
            await self._patch_status(deployment, status)
        return DONE

    async def _patch_status(self, deployment: Deployment, status: Raw) -> None:
        key = deployment.key
        patch = {"metadata": {"uid": deployment.metadata.uid}, "status": status}
        try:
            await self._client.patch(DEPLOYMENTS, key.name, patch, namespace=key.namespace, subresource="status")
        except (NotFound, Conflict):
            return

    def _conditions(self, deployment: Deployment, new: ReplicaSet | None, status: Raw) -> list[DeploymentCondition]:
        """Available, and Progressing with its deadline."""
        enough = status["availableReplicas"] >= bounds(deployment).least
        available = _Verdict(
            "Available",
            "True" if enough else "False",
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        )
        before = {condition.type: condition for condition in deployment.status.conditions}
        verdicts = [available]
        if not deployment.spec.paused:
            verdicts.append(self._progress(deployment, new, status, before.get("Progressing")))
        now = timestamp(self._clock.now())
        return [
            verdict.after(before.get(verdict.type), now, progressed=_moved(deployment, status)) for verdict in verdicts
        ]

    def _progress(
        self, deployment: Deployment, new: ReplicaSet | None, status: Raw, before: DeploymentCondition | None
    ) -> "_Verdict":
        name = new.metadata.name if new is not None else ""
        wanted = deployment.spec.replicas
        if status["updatedReplicas"] == status["replicas"] == status["availableReplicas"] == wanted:
            message = f'ReplicaSet "{name}" has successfully progressed.'
            return _Verdict("Progressing", "True", "NewReplicaSetAvailable", message)
        if before is not None and before.last_update_time is not None and not _moved(deployment, status):
            idle = (self._clock.now() - datetime.fromisoformat(before.last_update_time)).total_seconds()
            if idle > deployment.spec.progress_deadline_seconds and before.reason != "NewReplicaSetAvailable":
                message = f'ReplicaSet "{name}" has timed out progressing.'
                return _Verdict("Progressing", "False", "ProgressDeadlineExceeded", message)
        return _Verdict("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')


class _Verdict(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str
    message: str

    def after(self, before: DeploymentCondition | None, now: str, *, progressed: bool) -> DeploymentCondition:
        """The condition with its times: unchanged facts keep theirs."""
        same_status = before is not None and before.status == self.status
        same = same_status and before is not None and (before.reason, before.message) == (self.reason, self.message)
        keeps_update = same and not (progressed and self.type == "Progressing")
        return DeploymentCondition(
            type=self.type,
            status=self.status,
            reason=self.reason,
            message=self.message,
            last_transition_time=before.last_transition_time if same_status and before is not None else now,
            last_update_time=before.last_update_time if keeps_update and before is not None else now,
        )


def _moved(deployment: Deployment, status: Raw) -> bool:
    """More updated, ready or available pods, or fewer old ones, than the status says."""
    known = deployment.status
    return bool(
        status["updatedReplicas"] > known.updated_replicas
        or status["readyReplicas"] > known.ready_replicas
        or status["availableReplicas"] > known.available_replicas
        or status["replicas"] - status["updatedReplicas"] < known.replicas - known.updated_replicas
    )


def _size(found: ReplicaSet) -> SetSize:
    return SetSize(found.metadata.name, found.spec.replicas, found.status.available_replicas)


def _revision(found: ReplicaSet) -> int:
    text = found.metadata.annotations.get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _next_revision(sets: Sequence[ReplicaSet]) -> int:
    return max((_revision(found) for found in sets), default=0) + 1


def _same_template(found: ReplicaSet, deployment: Deployment) -> bool:
    """Equal but for the hash label that a ReplicaSet's template carries."""
    template = found.spec.template
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != TEMPLATE_HASH}
    wanted = deployment.spec.template
    wanted_metadata = dict(wanted.get("metadata") or {})
    wanted_metadata["labels"] = wanted_metadata.get("labels") or {}
    return bool({**template, "metadata": metadata} == {**wanted, "metadata": wanted_metadata})


def _set_object(deployment: Deployment, digest: str, *, revision: int) -> Raw:
    template = deployment.spec.template
    metadata = dict(template.get("metadata") or {})
    labels = {**(metadata.get("labels") or {}), TEMPLATE_HASH: digest}
    selector = deployment.spec.selector
    expressions = [msgspec.to_builtins(expression) for expression in selector.match_expressions]
    wanted: Raw = {"matchLabels": {**selector.match_labels, TEMPLATE_HASH: digest}}
    if expressions:
        wanted["matchExpressions"] = expressions
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{deployment.metadata.name}-{digest}",
            "labels": labels,
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [owner_reference(DEPLOYMENTS, deployment.metadata)],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": wanted,
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }
