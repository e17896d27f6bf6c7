"""ResourceClaims that pods ask for by a template: one claim a pod and entry, owned by the pod and named in its status.

Who allocates and reserves a claim is the scheduler's business, not ours. A claim's name follows from the pod's uid, so
neither a lost reply nor a lagging cache makes two.

Source: kube-controller-manager's resourceclaim controller.
"""

from collections.abc import Iterable, Sequence

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.objects import (
    OWNER_INDEX,
    REFUSED_PAUSE,
    owner_reference,
    owner_uids,
    safe_suffix,
)
from tensorfusion.errors import AlreadyExists, Conflict, Invalid, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod, PodResourceClaim
from tensorfusion.model.meta import Key, Object, Raw
from tensorfusion.model.resources import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change, ChangeKind
from tensorfusion.runtime.manager import Manager

_FOR = "resource.kubernetes.io/pod-claim-name"
_WORKERS = 2
_EVENTS_PER_SECOND, _EVENTS_BURST = 2.0, 10.0
_WAITING = "template"


class TemplateSpec(msgspec.Struct, frozen=True):
    metadata: Raw = msgspec.field(default_factory=dict)
    spec: Raw = msgspec.field(default_factory=dict)


class ClaimTemplate(Object, frozen=True):
    spec: TemplateSpec = msgspec.field(default_factory=TemplateSpec)


class ClaimStatus(msgspec.Struct, frozen=True):
    reserved_for: tuple[Raw, ...] = msgspec.field(default=(), name="reservedFor")


class ResourceClaim(Object, frozen=True):
    status: ClaimStatus = msgspec.field(default_factory=ClaimStatus)


class ResourceClaimController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(
            client, component="resource_claim", clock=clock, rate=_EVENTS_PER_SECOND, burst=_EVENTS_BURST
        )

    def install(self, manager: Manager) -> None:
        """Register informers' handlers, the controller and its events."""
        self._pods = manager.informer(PODS, Pod)
        self._claims = manager.informer(RESOURCE_CLAIMS, ResourceClaim, client=self._client)
        self._templates = manager.informer(RESOURCE_CLAIM_TEMPLATES, ClaimTemplate, client=self._client)
        self._claims.add_index(OWNER_INDEX, lambda claim: owner_uids(claim.metadata))
        self._pods.add_index(_WAITING, _waits_for)
        controller = Controller("resourceclaim", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("resourceclaim-events", self._recorder.run)
        self._pods.subscribe_batch(self._on_pods)
        self._claims.subscribe(self._on_claim)
        self._templates.subscribe(self._on_template)

    def _on_pods(self, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            if change.new is not None and change.new.spec.resource_claims:
                self._queue.add(change.key)

    def _on_claim(self, change: Change[ResourceClaim]) -> None:
        found = change.old or change.new
        owner = found.metadata.controller if found is not None else None
        if owner is not None and owner.kind == PODS.kind:
            self._queue.add(Key(change.key.namespace, owner.name))

    def _on_template(self, change: Change[ClaimTemplate]) -> None:
        if change.kind is ChangeKind.DELETED:
            return
        for pod in self._pods.cache.by_index(_WAITING, str(change.key)):
            self._queue.add(pod.key)

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        pod = self._pods.cache.get(key)
        if pod is None or not pod.spec.resource_claims:
            return DONE
        if pod.finished:
            await self._remove_unused(pod)
            return DONE
        if pod.metadata.deleting:
            return DONE
        known = {status.name: status.claim for status in pod.status.claim_statuses}
        named = dict(known)
        for entry in pod.spec.resource_claims:
            if entry.template and (entry.name not in known or not self._exists(pod, known[entry.name])):
                made = await self._make(pod, entry)
                if made is not None:
                    named[entry.name] = made
        if named != known:
            await self._name(pod, named)
        return DONE

    def _exists(self, pod: Pod, claim: str | None) -> bool:
        return claim is None or self._claims.cache.get(Key(pod.metadata.namespace, claim)) is not None

    async def _make(self, pod: Pod, entry: PodResourceClaim) -> str | None:
        """The name of the pod's claim for an entry, made now or before; None where it cannot be made."""
        meta = pod.metadata
        template = self._templates.cache.get(Key(meta.namespace, entry.template))
        if template is None:
            message = f'PodResourceClaim {entry.name}: resource claim template "{entry.template}" not found'
            self._warn(pod, message)
            return None
        stem = f"{meta.name}-{entry.name}-"
        name = f"{stem[:58]}{safe_suffix(f'{meta.uid}/{entry.name}', 5)}"
        inner = template.spec.metadata
        body = {
            "apiVersion": RESOURCE_CLAIMS.api_version,
            "kind": RESOURCE_CLAIMS.kind,
            "metadata": {
                "name": name,
                "generateName": stem,
                "labels": inner.get("labels") or {},
                "annotations": {**(inner.get("annotations") or {}), _FOR: entry.name},
                "ownerReferences": [owner_reference(PODS, meta)],
            },
            "spec": template.spec.spec,
        }
        try:
            await self._client.create(RESOURCE_CLAIMS, body, namespace=meta.namespace)
        except AlreadyExists:
            found = await self._client.get(RESOURCE_CLAIMS, ResourceClaim, name, namespace=meta.namespace)
            if found.metadata.controller is None or found.metadata.controller.uid != meta.uid:
                self._warn(pod, f"PodResourceClaim {entry.name}: resource claim {name} belongs to somebody else")
                return None
        return name

    async def _name(self, pod: Pod, named: dict[str, str | None]) -> None:
        """Say in the pod's status which claims are its own."""
        statuses = [
            {"name": name} if claim is None else {"name": name, "resourceClaimName": claim}
            for name, claim in named.items()
        ]
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"resourceClaimStatuses": statuses}}
        key = pod.key
        try:
            await self._client.patch(PODS, key.name, patch, namespace=key.namespace, subresource="status")
        except (NotFound, Invalid):  # gone, or another pod by the same name
            return

    async def _remove_unused(self, pod: Pod) -> None:
        """The claims of a pod that has ended go as soon as nobody has reserved them."""
        for claim in self._claims.cache.by_index(OWNER_INDEX, pod.metadata.uid):
            if claim.status.reserved_for or claim.metadata.deleting:
                continue
            meta = claim.metadata
            try:
                await self._client.delete(RESOURCE_CLAIMS, meta.name, namespace=meta.namespace, uid=meta.uid)
            except (NotFound, Conflict):
                continue

    def _warn(self, pod: Pod, message: str) -> None:
        self._recorder.record(
            reference_to(PODS, pod), type_=EventType.WARNING, reason="FailedResourceClaimCreation", message=message
        )


def _waits_for(pod: Pod) -> Iterable[str]:
    """The templates that a pod names, for an index; nearly no pod names one."""
    claims = pod.spec.resource_claims
    return [f"{pod.metadata.namespace}/{claim.template}" for claim in claims if claim.template] if claims else ()
