"""StatefulSet: pods with names and volumes that stay, made and replaced in order.

A pod's name is its identity, so asking twice for the same one makes no second one, and every deletion names the uid
that it means. ``statefulset_plan`` decides; here is what stands around it.

Source: apps/v1 StatefulSet as kube-controller-manager keeps it, with its events.
"""

from collections.abc import Mapping, Sequence

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.objects import REFUSED_PAUSE
from tensorfusion.embedded.controllers.pods import OwnedPods
from tensorfusion.embedded.controllers.revisions import ControllerRevision, Revisions
from tensorfusion.embedded.controllers.routing import PodRoutes
from tensorfusion.embedded.controllers.statefulset_objects import (
    Claim,
    StatefulSet,
    claim_name,
    claim_of,
    claim_owners,
    ordinal_of,
    pod_of_set,
    revision_of,
)
from tensorfusion.embedded.controllers.statefulset_plan import (
    of_current_revision,
    ordinals,
    plan,
    seconds_to_available,
    status_of,
)
from tensorfusion.embedded.controllers.statuses import write_status
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Meta, OwnerReference
from tensorfusion.model.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType
from tensorfusion.runtime.manager import Manager

_WORKERS = 4
_EVENTS_PER_SECOND, _EVENTS_BURST = 5.0, 25.0
_NAMESPACE_INDEX = "namespace"
_HASH_LABEL = "controller.kubernetes.io/hash"


class StatefulSetController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="statefulset-controller", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )

    def install(self, manager: Manager, routes: PodRoutes) -> None:
        """Register informers' handlers, the controller and its events."""
        self._sets = manager.informer(STATEFUL_SETS, StatefulSet, client=self._client)
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIMS, Claim, client=self._client)
        self._revisions = Revisions(self._client, manager, STATEFUL_SETS, hash_label=_HASH_LABEL)
        self._owned = OwnedPods(
            self._client,
            STATEFUL_SETS,
            StatefulSet,
            pods=manager.informer(PODS, Pod),
            clock=self._clock,
            recorder=self._recorder,
        )
        self._sets.add_index(_NAMESPACE_INDEX, lambda found: (found.metadata.namespace,))
        controller = Controller("statefulset", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("statefulset-events", self._recorder.run)
        self._sets.subscribe(lambda change: self._queue.add(change.key))
        routes.owned(STATEFUL_SETS.kind, self._on_pod)
        routes.orphans(self._sets.cache, self._on_orphan)

    def _on_pod(self, owner: OwnerReference, pod: Pod) -> None:
        self._queue.add(Key(pod.metadata.namespace, owner.name))

    def _on_orphan(self, pod: Pod) -> None:
        for candidate in self._sets.cache.by_index(_NAMESPACE_INDEX, pod.metadata.namespace):
            if candidate.spec.selector.matches(pod.metadata.labels):
                self._queue.add(candidate.key)

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        current = self._sets.cache.get(key)
        if current is None or current.metadata.deleting:
            return DONE
        claimed = await self._owned.claim(current, current.spec.selector)
        pods = {at: pod for pod in claimed if (at := ordinal_of(current, pod)) is not None}
        history = self._revisions.history(current.metadata)
        status, now = current.known_status(), self._clock.now()
        collisions = status.collision_count
        update = await self._revisions.of_template(
            current.metadata, current.spec.template, history, collisions=collisions
        )
        if update is None:
            new = {**current.status, "collisionCount": collisions + 1}
            await write_status(self._client, STATEFUL_SETS, current.metadata, old=current.status, new=new)
            return DONE
        before = next((found for found in history if found.metadata.name == status.current_revision), update)
        step = plan(current, pods, update.metadata.name, now=now)
        new = status_of(
            current,
            pods,
            before=before.metadata.name,
            update=update.metadata.name,
            collisions=collisions,
            now=now,
        )
        await write_status(self._client, STATEFUL_SETS, current.metadata, old=current.status, new=new)
        await self._keep_claims(current, pods)
        for ordinal in step.create:
            await self._create(current, before if of_current_revision(current, ordinal) else update, ordinal)
        for pod in step.delete:
            await self._delete(current, pod)
        live = {before.metadata.name, update.metadata.name, *map(revision_of, pods.values())}
        await self._revisions.forget(current.metadata, history, live, limit=current.spec.history_limit)
        waits = [step.again, *(seconds_to_available(current, pod, now) for pod in pods.values())]
        return Result(requeue_after=min((wait for wait in waits if wait > 0), default=None))

    async def _create(self, current: StatefulSet, revision: ControllerRevision, ordinal: int) -> None:
        """Make the claims of a pod, then the pod.

        Raises:
            Conflict: the name is taken by a pod that is not the set's (any more).
        """
        name, namespace = f"{current.metadata.name}-{ordinal}", current.metadata.namespace
        for template in current.spec.claims:
            await self._create_claim(current, claim_name(template, name), claim_of(current, template, name), name)
        body = pod_of_set(current, revision.template, revision.metadata.name, ordinal)
        about = f"create Pod {name} in StatefulSet {current.metadata.name}"
        try:
            await self._client.create(PODS, body, namespace=namespace, type_=Pod)
        except AlreadyExists as error:
            found = await self._client.get(PODS, Pod, name, namespace=namespace)
            owner = found.metadata.controller
            if owner is None or owner.uid != current.metadata.uid:
                self._owned.record(current, EventType.WARNING, "FailedCreate", f"{about} failed error: {error}")
                raise Conflict(f"pod {namespace}/{name} belongs to somebody else") from error
        except ApiError as error:
            self._owned.record(current, EventType.WARNING, "FailedCreate", f"{about} failed error: {error}")
            raise
        else:
            self._owned.record(current, EventType.NORMAL, "SuccessfulCreate", f"{about} successful")

    async def _create_claim(self, current: StatefulSet, claim: str, body: dict[str, object], pod: str) -> None:
        namespace = current.metadata.namespace
        held = self._claims.cache.get(Key(namespace, claim))
        if held is not None and held.metadata.deleting:
            raise Conflict(f"persistentvolumeclaim {namespace}/{claim} is being deleted")
        if held is not None:
            return
        about = f"create Claim {claim} Pod {pod} in StatefulSet {current.metadata.name}"
        try:
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, body, namespace=namespace)
        except AlreadyExists:
            return
        except ApiError as error:
            self._owned.record(current, EventType.WARNING, "FailedCreate", f"{about} failed error: {error}")
            raise
        self._owned.record(current, EventType.NORMAL, "SuccessfulCreate", f"{about} success")

    async def _delete(self, current: StatefulSet, pod: Pod) -> None:
        name = pod.metadata.name
        if pod.finished:
            way = "Failed" if pod.status.phase == "Failed" else "Terminated"
            where = f"StatefulSet {current.metadata.namespace}/{current.metadata.name}"
            message = f"{where} is recreating {way.lower() if way == 'Failed' else 'terminated'} Pod {name}"
            type_ = EventType.WARNING if way == "Failed" else EventType.NORMAL
            self._owned.record(current, type_, f"Recreating{way}Pod", message)
        about = f"delete Pod {name} in StatefulSet {current.metadata.name}"
        try:
            await self._client.delete(PODS, name, namespace=current.metadata.namespace, uid=pod.metadata.uid)
        except (NotFound, Conflict):
            return  # gone already, and perhaps another one by the same name
        except ApiError as error:
            self._owned.record(current, EventType.WARNING, "FailedDelete", f"{about} failed error: {error}")
            raise
        self._owned.record(current, EventType.NORMAL, "SuccessfulDelete", f"{about} successful")

    async def _keep_claims(self, current: StatefulSet, pods: Mapping[int, Pod]) -> None:
        """Claims go with the set or with the pod that is scaled away, as the retention policy says."""
        wanted = ordinals(current)
        for ordinal, pod in pods.items():
            condemned = pod.metadata if ordinal not in wanted else None
            for template in current.spec.claims:
                key = Key(current.metadata.namespace, claim_name(template, pod.metadata.name))
                held = self._claims.cache.get(key)
                if held is not None and not held.metadata.deleting:
                    await self._keep_owners(current, held, condemned)

    async def _keep_owners(self, current: StatefulSet, held: Claim, condemned: Meta | None) -> None:
        found: Sequence[dict[str, object]] = [msgspec.to_builtins(each) for each in held.metadata.owner_references]
        owners = claim_owners(current, condemned, found)
        if owners == list(found):
            return
        guard = {"uid": held.metadata.uid, "resourceVersion": held.metadata.resource_version}
        patch = {"metadata": {**guard, "ownerReferences": owners or None}}
        try:
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, held.key.name, patch, namespace=held.key.namespace)
        except NotFound:
            return
