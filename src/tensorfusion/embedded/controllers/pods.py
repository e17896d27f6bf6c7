"""What controllers do to the pods of one owner: claim, create and delete them, and never twice by mistake.

Every creation has a name that was fixed before, every deletion names the uid it means; ``expected`` remembers both
until the cache shows them. Errors are returned, not raised, so that a batch of requests ends as a whole.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tensorfusion.clock import Clock
from tensorfusion.embedded.controllers.objects import (
    OWNER_INDEX,
    adoption_patch,
    is_orphan,
    owner_reference,
    owner_uids,
    release_patch,
    safe_suffix,
)
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound, ServerError
from tensorfusion.kube.api import Api
from tensorfusion.kube.transport import UNSENT
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import LabelSelector, Meta, Object, Raw
from tensorfusion.model.resources import PODS, Resource
from tensorfusion.policy.expected import Expected
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Informer

T = TypeVar("T")
Owner = TypeVar("Owner", bound=Object)

ORPHAN_INDEX = "orphan"
"""Index of pods without a controller, by namespace."""
BURST = 500
"""Pods that one pass creates or deletes at most."""
_WIDEST = 32
"""Requests of one owner under way at once."""


def index_pods(pods: Informer[Pod]) -> None:
    """File pods by their owner and, where they have none, by namespace."""
    pods.add_index(OWNER_INDEX, lambda pod: owner_uids(pod.metadata))
    pods.add_index(ORPHAN_INDEX, lambda pod: (pod.metadata.namespace,) if is_orphan(pod.metadata) else ())


class OwnedPods(Generic[Owner]):
    """The pods of owners of one kind. ``finalizer`` is put on adopted pods and taken off released ones."""

    def __init__(
        self,
        client: Api,
        resource: Resource,
        type_: type[Owner],
        *,
        pods: Informer[Pod],
        clock: Clock,
        recorder: EventRecorder,
        finalizer: str = "",
    ) -> None:
        self._client = client
        self._resource = resource
        self._type = type_
        self._pods = pods
        self._clock = clock
        self._recorder = recorder
        self._finalizer = finalizer
        index_pods(pods)

    async def claim(self, owner: Owner, selector: LabelSelector) -> list[Pod]:
        """The pods an owner controls, after releasing those it no longer selects and adopting orphans.

        Raises:
            Conflict: a pod has changed meanwhile; the next pass sees how.
        """
        meta = owner.metadata
        owned = []
        for pod in self._pods.cache.by_index(OWNER_INDEX, meta.uid):
            if selector.matches(pod.metadata.labels) or pod.metadata.deleting or meta.deleting:
                owned.append(pod)
            else:
                await self._patch_owners(pod, release_patch(meta, pod.metadata), taken=False)
        if meta.deleting:
            return owned
        orphans = self._pods.cache.by_index(ORPHAN_INDEX, meta.namespace)
        wanted = [pod for pod in orphans if not pod.finished and selector.matches(pod.metadata.labels)]
        if wanted and await self._still_lives(owner):
            adopt = [(pod, adoption_patch(self._resource, meta, pod.metadata)) for pod in wanted]
            owned += [pod for pod, patch in adopt if await self._patch_owners(pod, patch, taken=True)]
        return owned

    async def _still_lives(self, owner: Owner) -> bool:
        """Asked of the server, not the cache: one that is being deleted must not take pods with it."""
        key = owner.key
        try:
            found = await self._client.get(self._resource, self._type, key.name, namespace=key.namespace)
        except NotFound:
            return False
        return found.metadata.uid == owner.metadata.uid and not found.metadata.deleting

    async def _patch_owners(self, pod: Pod, patch: Raw, *, taken: bool) -> bool:
        held = [name for name in pod.metadata.finalizers if name != self._finalizer]
        wanted = [*held, self._finalizer] if taken and self._finalizer else held
        if tuple(wanted) != pod.metadata.finalizers:
            patch["metadata"]["finalizers"] = wanted
        try:
            await self._client.patch(PODS, pod.metadata.name, patch, namespace=pod.metadata.namespace)
        except (NotFound, Invalid):  # gone, or another pod by the same name
            return False
        return True

    async def create(self, owner: Owner, body: Raw, expected: Expected) -> ApiError | None:
        """Create one pod; asking again for one whose creation is in doubt makes no second one."""
        name = body["metadata"]["name"]
        expected.creating[name] = None
        namespace = owner.metadata.namespace
        try:
            try:
                await self._client.create(PODS, body, namespace=namespace, type_=Pod)
            except AlreadyExists:
                found = await self._client.get(PODS, Pod, name, namespace=namespace)
                controller = found.metadata.controller
                if controller is None or controller.uid != owner.metadata.uid:
                    expected.forget(name)
                    return Conflict(f"pod {namespace}/{name} belongs to somebody else: another name is needed")
        except ServerError as error:
            if error.status_reason == UNSENT:
                expected.forget(name)
            return error  # otherwise perhaps it was made: it stays in doubt
        except ApiError as error:
            expected.forget(name)
            self.record(owner, EventType.WARNING, "FailedCreate", f"Error creating: {error}")
            return error
        if name in expected.creating:  # else the watch was faster than the reply
            expected.creating[name] = self._clock.monotonic()
        self.record(owner, EventType.NORMAL, "SuccessfulCreate", f"Created pod: {name}")
        return None

    async def delete(self, owner: Owner, pod: tuple[str, str], expected: Expected) -> ApiError | None:
        """Delete one pod, given by uid and name."""
        uid, name = pod
        expected.deleting[uid] = (name, None)
        try:
            await self._client.delete(PODS, name, namespace=owner.metadata.namespace, uid=uid)
        except NotFound:
            pass
        except Conflict as error:  # another one by the same name: the cache will show that this one is gone
            expected.deleting.pop(uid, None)
            return error
        except ServerError as error:
            return error  # perhaps it was deleted: it stays in doubt
        except ApiError as error:
            expected.deleting.pop(uid, None)
            self.record(owner, EventType.WARNING, "FailedDelete", f"Error deleting: {error}")
            return error
        else:
            self.record(owner, EventType.NORMAL, "SuccessfulDelete", f"Deleted pod: {name}")
        expected.deleting[uid] = (name, self._clock.monotonic())
        return None

    def record(self, owner: Owner, type_: EventType, reason: str, message: str) -> None:
        """Note an event about the owner."""
        self._recorder.record(reference_to(self._resource, owner), type_=type_, reason=reason, message=message)


async def in_batches(items: Sequence[T], act: Callable[[T], Awaitable[ApiError | None]]) -> ApiError | None:
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


def random_suffix() -> str:
    """Five characters for a new pod's name."""
    return safe_suffix(secrets.token_hex(16), 5)


def pod_from(resource: Resource, owner: Meta, template: Raw, name: str, *, prefix: str = "") -> Raw:
    """A pod of a template with a fixed name; ``prefix`` is what its generateName says, the owner's name by default."""
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": PODS.api_version,
        "kind": PODS.kind,
        "metadata": {
            "name": name,
            "generateName": prefix or f"{owner.name}-",
            **{part: metadata[part] for part in ("labels", "annotations", "finalizers") if metadata.get(part)},
            "ownerReferences": [owner_reference(resource, owner)],
        },
        "spec": template.get("spec") or {},
    }
