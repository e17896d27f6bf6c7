"""Endpoints and EndpointSlices: who answers for a Service with a selector.

A change of a pod costs one lookup of its namespace's Services; only what an endpoint shows (labels, address, readiness,
node, whether it is going) puts a Service into the queue. Passes wait a moment, so that many pods become one write.

Source: the endpoints and endpointslice controllers of kube-controller-manager.
"""

from collections.abc import Sequence
from datetime import datetime

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.controllers.endpoint_sets import (
    ENDPOINTS_MANAGED_BY,
    ENDPOINTS_MANAGER,
    MANAGED_BY,
    SERVICE_NAME,
    SLICES_MANAGER,
    Backend,
    Endpoints,
    EndpointSlice,
    Service,
    backends,
    endpoints_of,
    slices_of,
)
from tensorfusion.embedded.controllers.objects import REFUSED_PAUSE
from tensorfusion.errors import AlreadyExists, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES, Resource
from tensorfusion.policy.ranking import pod_ready_since
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

_TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
_WORKERS = 2
_GATHER = 0.5
"""Seconds that a pass waits which a pod asked for; with many pods this bounds the writes of one Service."""
_SERVICES = "namespace"
_SLICES = "service"
_PODS = "namespace"


class EndpointsController:
    """Level-based; ``install`` registers it with a manager."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def install(self, manager: Manager) -> None:
        """Register informers' handlers and the controller."""
        self._services = manager.informer(SERVICES, Service, client=self._client)
        self._slices = manager.informer(ENDPOINT_SLICES, EndpointSlice, client=self._client)
        self._endpoints = manager.informer(ENDPOINTS, Endpoints, client=self._client)
        self._pods = manager.informer(PODS, Pod)
        self._nodes = manager.informer(NODES, Node)
        self._services.add_index(_SERVICES, _namespace_if_selecting)
        self._slices.add_index(_SLICES, _service_of)
        self._pods.add_index(_PODS, lambda pod: (pod.metadata.namespace,))
        controller = Controller("endpoints", self, workers=_WORKERS, clock=self._clock, refused_after=REFUSED_PAUSE)
        self._queue = controller.queue
        manager.add_controller(controller)
        self._services.subscribe(lambda change: self._queue.add(change.key))
        self._slices.subscribe(self._on_slice)
        self._endpoints.subscribe(lambda change: self._queue.add(change.key, after=_GATHER))
        self._pods.subscribe_batch(self._on_pods)

    def _on_slice(self, change: Change[EndpointSlice]) -> None:
        for found in (change.old, change.new):
            name = found.metadata.labels.get(SERVICE_NAME) if found is not None else None
            if name:
                self._queue.add(Key(change.key.namespace, name), after=_GATHER)

    def _on_pods(self, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            services = self._services.cache.by_index(_SERVICES, change.key.namespace)
            if not services or not _shows(change):
                continue
            for service in services:
                if any(pod is not None and service.selects(pod) for pod in (change.old, change.new)):
                    self._queue.add(service.key, after=_GATHER)

    async def reconcile(self, key: Key) -> Result:
        """One pass."""
        service = self._services.cache.get(key)
        known = self._slices.cache.by_index(_SLICES, str(key))
        if service is None:
            await self._remove(key, known)
            return DONE
        if not service.spec.selector or service.spec.type == "ExternalName" or service.metadata.deleting:
            return DONE
        found = backends(service, self._selected(service))
        nodes = {
            name: node
            for name in {each.pod.spec.node_name for each in found}
            if (node := self._nodes.cache.get(Key("", name))) is not None
        }
        wanted = slices_of(service, found, nodes, known)
        now = self._clock.now()
        held = {each.metadata.name: each for each in known}
        for body in wanted:
            await self._put(ENDPOINT_SLICES, body, held.pop(body["metadata"]["name"], None), key.namespace, found, now)
        for name, left in held.items():
            await self._delete(ENDPOINT_SLICES, name, left, key.namespace)
        body = endpoints_of(service, found)
        await self._put(ENDPOINTS, body, self._endpoints.cache.get(key), key.namespace, found, now)
        return DONE

    def _selected(self, service: Service) -> list[Pod]:
        return [pod for pod in self._pods.cache.by_index(_PODS, service.metadata.namespace) if service.selects(pod)]

    async def _put(
        self,
        resource: Resource,
        body: Raw,
        held: EndpointSlice | Endpoints | None,
        namespace: str,
        found: Sequence[Backend],
        now: datetime,
    ) -> None:
        """Create an object or replace what differs in it."""
        metadata = body["metadata"]
        metadata["annotations"] = {_TRIGGER: timestamp(now)}
        if held is None:
            try:
                await self._client.create(resource, body, namespace=namespace)
            except AlreadyExists as error:
                raise Conflict(f"{resource.plural} {namespace}/{metadata['name']} is not in the cache yet") from error
            return
        parts = ("endpoints", "ports") if isinstance(held, EndpointSlice) else ("subsets",)
        same = all(list(getattr(held, part) or ()) == (body[part] or []) for part in parts)
        labels = {name: None for name in held.metadata.labels if name not in metadata["labels"]} | metadata["labels"]
        if same and held.metadata.labels == metadata["labels"]:
            return
        guard = {"uid": held.metadata.uid, "resourceVersion": held.metadata.resource_version}
        patch = {
            "metadata": {**guard, "labels": labels, "annotations": metadata["annotations"]},
            **{part: body[part] for part in parts},
        }
        await self._client.patch(resource, metadata["name"], patch, namespace=namespace)

    async def _delete(self, resource: Resource, name: str, held: EndpointSlice | Endpoints, namespace: str) -> None:
        try:
            await self._client.delete(resource, name, namespace=namespace, uid=held.metadata.uid)
        except (NotFound, Conflict):
            return

    async def _remove(self, key: Key, known: Sequence[EndpointSlice]) -> None:
        """The Service is gone: its slices go by their owner; Endpoints have none."""
        for left in known:
            await self._delete(ENDPOINT_SLICES, left.metadata.name, left, key.namespace)
        held = self._endpoints.cache.get(key)
        if held is not None and held.metadata.labels.get(ENDPOINTS_MANAGED_BY) == ENDPOINTS_MANAGER:
            await self._delete(ENDPOINTS, key.name, held, key.namespace)


def _namespace_if_selecting(service: Service) -> Sequence[str]:
    return (service.metadata.namespace,) if service.spec.selector else ()


def _service_of(found: EndpointSlice) -> Sequence[str]:
    labels = found.metadata.labels
    if labels.get(MANAGED_BY) != SLICES_MANAGER:
        return ()
    return (f"{found.metadata.namespace}/{labels.get(SERVICE_NAME, '')}",)


def _shows(change: Change[Pod]) -> bool:
    """Whether anything changed that an endpoint shows."""
    old, new = change.old, change.new
    if old is None or new is None:
        return bool((new or old).status.pod_ip)  # type: ignore[union-attr]  # one of them is a pod
    return (
        old.status.pod_ip != new.status.pod_ip
        or (pod_ready_since(old) is None) != (pod_ready_since(new) is None)
        or old.metadata.deleting != new.metadata.deleting
        or old.finished != new.finished
        or old.metadata.labels != new.metadata.labels
    )
