"""Volumes of a simulated cluster: every PersistentVolumeClaim gets a PersistentVolume that holds nothing.

So that pods with claims start where no storage exists. A claim that names a volume, or says that it wants no dynamic
one (an empty storage class), is somebody else's. The volume's name follows from the claim's uid.

Source: the states that a dynamic provisioner and kube-controller-manager's binder leave behind.
"""

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.objects import REFUSED_PAUSE
from tensorfusion.embedded.controllers.statuses import write_status
from tensorfusion.errors import AlreadyExists, Conflict, Invalid, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.meta import Key, Object, Raw
from tensorfusion.model.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

PROVISIONER = f"simulated.{keys.DOMAIN}/volumes"
_PROVISIONED = "pv.kubernetes.io/provisioned-by"
_BOUND = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
_PROTECTION = "kubernetes.io/pvc-protection"
_WORKERS = 2


class VolumeClaim(Object, frozen=True):
    spec: Raw = msgspec.field(default_factory=dict)
    status: Raw = msgspec.field(default_factory=dict)


class VolumeController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def install(self, manager: Manager) -> None:
        """Register informers' handlers and the controller."""
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIMS, VolumeClaim, client=self._client)
        controller = Controller("volumes", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        self._gone: dict[Key, str] = {}
        """Claims that were deleted -> the volume to delete after them."""
        self._claims.subscribe(self._on_claim)

    def _on_claim(self, change: Change[VolumeClaim]) -> None:
        if change.old is not None and (change.new is None or change.new.metadata.uid != change.old.metadata.uid):
            self._gone[change.key] = _volume_name(change.old)
        self._queue.add(change.key)

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        left = self._gone.get(key)
        if left is not None:
            await self._delete_volume(left)
            self._gone.pop(key, None)
        claim = self._claims.cache.get(key)
        if claim is None:
            return DONE
        if claim.metadata.deleting:
            await self._let_go(claim)
        elif claim.spec.get("storageClassName") != "" and claim.spec.get("volumeName") in (None, _volume_name(claim)):
            await self._bind(claim)
        return DONE

    async def _bind(self, claim: VolumeClaim) -> None:
        if claim.status.get("phase") == "Bound":
            return
        name = _volume_name(claim)
        try:
            await self._client.create(PERSISTENT_VOLUMES, _volume(claim))
            await self._client.patch(PERSISTENT_VOLUMES, name, {"status": {"phase": "Bound"}}, subresource="status")
        except AlreadyExists:
            pass  # made by an earlier pass
        key = claim.key
        if not claim.spec.get("volumeName"):
            metadata = {"uid": claim.metadata.uid, "annotations": _BOUND}
            patch = {"metadata": metadata, "spec": {"volumeName": name}}
            try:
                await self._client.patch(PERSISTENT_VOLUME_CLAIMS, key.name, patch, namespace=key.namespace)
            except (NotFound, Invalid):  # gone, or another one by the same name
                return
        new = {
            **claim.status,
            "phase": "Bound",
            "accessModes": claim.spec.get("accessModes") or [],
            "capacity": _capacity(claim),
        }
        await write_status(self._client, PERSISTENT_VOLUME_CLAIMS, claim.metadata, old=claim.status, new=new)

    async def _let_go(self, claim: VolumeClaim) -> None:
        """Nothing is stored, so nothing has to be protected."""
        meta = claim.metadata
        if _PROTECTION not in meta.finalizers:
            return
        left = [name for name in meta.finalizers if name != _PROTECTION]
        guard = {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": left or None}
        try:
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, meta.name, {"metadata": guard}, namespace=meta.namespace)
        except (NotFound, Invalid):
            return

    async def _delete_volume(self, name: str) -> None:
        try:
            await self._client.delete(PERSISTENT_VOLUMES, name)
        except (NotFound, Conflict):
            return


def _volume_name(claim: VolumeClaim) -> str:
    return f"pvc-{claim.metadata.uid}"


def _capacity(claim: VolumeClaim) -> Raw:
    requests: Raw = (claim.spec.get("resources") or {}).get("requests") or {}
    return requests


def _volume(claim: VolumeClaim) -> Raw:
    meta = claim.metadata
    reference = {
        "apiVersion": PERSISTENT_VOLUME_CLAIMS.api_version,
        "kind": PERSISTENT_VOLUME_CLAIMS.kind,
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
    }
    spec: Raw = {
        "capacity": _capacity(claim),
        "accessModes": claim.spec.get("accessModes") or [],
        "persistentVolumeReclaimPolicy": "Delete",
        "volumeMode": claim.spec.get("volumeMode") or "Filesystem",
        "claimRef": reference,
        "csi": {"driver": PROVISIONER.replace("/", "."), "volumeHandle": _volume_name(claim)},
    }
    if claim.spec.get("storageClassName"):
        spec["storageClassName"] = claim.spec["storageClassName"]
    return {
        "apiVersion": PERSISTENT_VOLUMES.api_version,
        "kind": PERSISTENT_VOLUMES.kind,
        "metadata": {"name": _volume_name(claim), "annotations": {_PROVISIONED: PROVISIONER}},
        "spec": spec,
    }
