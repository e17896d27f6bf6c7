"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, for ``kubectl rollout history`` and undo.

A revision's name follows from its template, so neither a lost reply nor a lagging cache makes two of the same.

Source: apps/v1 ControllerRevision; the shape of ``data`` that kubectl applies as a strategic merge patch.
"""

from collections.abc import Container, Sequence

import msgspec

from tensorfusion.embedded.controllers.objects import OWNER_INDEX, owner_reference, owner_uids, template_hash
from tensorfusion.errors import AlreadyExists, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Meta, Object, Raw
from tensorfusion.model.resources import CONTROLLER_REVISIONS, Resource
from tensorfusion.runtime.manager import Manager

REVISION_HASH = "controller-revision-hash"
"""Label of pods: which revision they were made from."""


class ControllerRevision(Object, frozen=True):
    revision: int = 0
    data: Raw = msgspec.field(default_factory=dict)

    @property
    def template(self) -> Raw:
        """The pod template that the revision holds."""
        template: Raw = (self.data.get("spec") or {}).get("template") or {}
        return {name: value for name, value in template.items() if name != "$patch"}


class Revisions:
    """The revisions of owners of one kind. ``hash_label`` is where a revision carries its hash."""

    def __init__(self, client: Api, manager: Manager, resource: Resource, *, hash_label: str) -> None:
        self._client = client
        self._resource = resource
        self._hash_label = hash_label
        self.informer = manager.informer(CONTROLLER_REVISIONS, ControllerRevision, client=self._client)
        self.informer.add_index(OWNER_INDEX, lambda found: owner_uids(found.metadata))

    def history(self, owner: Meta) -> list[ControllerRevision]:
        """All revisions of an owner, oldest first."""
        found = self.informer.cache.by_index(OWNER_INDEX, owner.uid)
        return sorted(found, key=lambda each: (each.revision, each.metadata.creation_timestamp or "", each.key.name))

    async def of_template(
        self, owner: Meta, template: Raw, history: Sequence[ControllerRevision], *, collisions: int
    ) -> ControllerRevision | None:
        """The revision of a template, made or brought to the front if need be; None where its name is taken.

        Raises:
            Conflict: the cache does not show it yet.
        """
        data = {"spec": {"template": {**template, "$patch": "replace"}}}
        following = history[-1].revision + 1 if history else 1
        for found in reversed(history):
            if found.data != data:
                continue
            if found is history[-1]:
                return found
            guard = {"uid": found.metadata.uid, "resourceVersion": found.metadata.resource_version}
            return await self._client.patch(
                CONTROLLER_REVISIONS,
                found.metadata.name,
                {"metadata": guard, "revision": following},
                namespace=owner.namespace,
                type_=ControllerRevision,
            )
        return await self._create(owner, template, data, revision=following, collisions=collisions)

    async def _create(
        self, owner: Meta, template: Raw, data: Raw, *, revision: int, collisions: int
    ) -> ControllerRevision | None:
        digest = template_hash(template, collisions)
        labels = (template.get("metadata") or {}).get("labels") or {}
        name = f"{owner.name}-{digest}"
        body = {
            "apiVersion": CONTROLLER_REVISIONS.api_version,
            "kind": CONTROLLER_REVISIONS.kind,
            "metadata": {
                "name": name,
                "labels": {**labels, self._hash_label: digest},
                "annotations": dict(owner.annotations),
                "ownerReferences": [owner_reference(self._resource, owner)],
            },
            "data": data,
            "revision": revision,
        }
        try:
            return await self._client.create(
                CONTROLLER_REVISIONS, body, namespace=owner.namespace, type_=ControllerRevision
            )
        except AlreadyExists:
            found = await self._client.get(CONTROLLER_REVISIONS, ControllerRevision, name, namespace=owner.namespace)
        if found.data != data:
            return None
        holder = found.metadata.controller
        if holder is not None:
            if holder.uid != owner.uid:
                return None
            raise Conflict(f"revision {owner.namespace}/{name} is not in the cache yet")
        guard = {"uid": found.metadata.uid, "resourceVersion": found.metadata.resource_version}
        adopted = {"metadata": {**guard, "ownerReferences": [owner_reference(self._resource, owner)]}}
        return await self._client.patch(
            CONTROLLER_REVISIONS, name, adopted, namespace=owner.namespace, type_=ControllerRevision
        )

    async def forget(
        self, owner: Meta, history: Sequence[ControllerRevision], live: Container[str], *, limit: int
    ) -> None:
        """Delete the oldest revisions beyond the limit; those whose names are ``live`` are kept and do not count."""
        spare = [found for found in history if found.metadata.name not in live]
        for found in spare[: max(0, len(spare) - limit)]:
            try:
                await self._client.delete(
                    CONTROLLER_REVISIONS, found.metadata.name, namespace=owner.namespace, uid=found.metadata.uid
                )
            except (NotFound, Conflict):
                continue
