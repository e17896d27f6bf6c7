"""Objects that something refers to: each is kept by an informer of its own, for as long as something refers to it.

A list-watch of one name (or of what one label says) instead of one of the whole kind: a gateway must not read all
Secrets of a cluster to learn the three that its routes name, and need not know all Services.

Rejected: reading a Secret when it is first needed, and again now and then. A credential that was replaced would go on
being used, and a request would have to wait for the first read.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tensorfusion.clock import Clock
from tensorfusion.gateway.objects.kinds import SERVICE_NAME, EndpointSlice, Secret, Service
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.azure_source import AzureGPUSource
from tensorfusion.model.meta import Object
from tensorfusion.model.resources import AZURE_GPU_SOURCES, ENDPOINT_SLICES, SECRETS, SERVICES, Resource
from tensorfusion.runtime.informer import Change, Informer

PATIENCE: Final = 0.15
"""Seconds that a change waits for the first read of what it newly refers to. Who may not read it waits in vain."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Objects of one kind and namespace: the one of a name, or those with a label."""

    resource: Resource
    namespace: str
    fields: str = ""
    labels: str = ""


def secret(namespace: str, name: str) -> Reference:
    return Reference(SECRETS, namespace, fields=f"metadata.name={name}")


def service(namespace: str, name: str) -> Reference:
    return Reference(SERVICES, namespace, fields=f"metadata.name={name}")


def azure_source(name: str) -> Reference:
    return Reference(AZURE_GPU_SOURCES, "", fields=f"metadata.name={name}")


def services_of_pool(namespace: str, pool: str) -> Reference:
    return Reference(SERVICES, namespace, labels=f"{keys.GPU_POOL}={pool}")


def slices_of(namespace: str, name: str) -> Reference:
    """The EndpointSlices of a Service."""
    return Reference(ENDPOINT_SLICES, namespace, labels=f"{SERVICE_NAME}={name}")


# Any: informers of four types; the resource of the reference says which
_TYPES: Final[Mapping[Resource, type[Any]]] = {
    SECRETS: Secret,
    SERVICES: Service,
    ENDPOINT_SLICES: EndpointSlice,
    AZURE_GPU_SOURCES: AzureGPUSource,
}


@dataclass(slots=True)
class _Kept:
    informer: Informer[Any]
    task: asyncio.Task[None]
    until: float
    """When nobody waits for its first list any more."""


class Followed:
    """``changed`` is called after each change of any of them, and after the first read of each. Use within ``run``."""

    def __init__(self, client: Api, *, clock: Clock, changed: Callable[[], None]) -> None:
        self._client = client
        self._clock = clock
        self._changed = changed
        self._kept: dict[Reference, _Kept] = {}
        self._group: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        """How many are wanted."""
        return len(self._kept)

    async def run(self) -> None:
        """Keep informers running until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None
                self._kept.clear()

    def want(self, wanted: Collection[Reference]) -> None:
        """From now on, these and no others."""
        for gone in [reference for reference in self._kept if reference not in wanted]:
            self._kept.pop(gone).task.cancel()
        if self._group is None:
            return
        for reference in wanted:
            if reference not in self._kept:
                self._kept[reference] = self._keep(reference, self._group)

    def read(self, reference: Reference) -> bool:
        """The API has told what there is."""
        kept = self._kept.get(reference)
        return kept is not None and kept.informer.has_synced

    def objects(self, reference: Reference) -> Sequence[Any]:  # Any: see _TYPES
        """What there is, by name."""
        kept = self._kept.get(reference)
        return sorted(kept.informer.cache.all(), key=_name) if kept is not None else ()

    def pending(self) -> float:
        """Seconds for which the first read of one of them is worth waiting for; 0 if for none."""
        now = self._clock.monotonic()
        waits = (kept.until - now for kept in self._kept.values() if not kept.informer.has_synced)
        return max(0.0, max(waits, default=0.0))

    def _keep(self, reference: Reference, group: asyncio.TaskGroup) -> _Kept:
        informer: Informer[Any] = Informer(
            self._client,
            reference.resource,
            _TYPES[reference.resource],
            clock=self._clock,
            namespace=reference.namespace,
            fields=reference.fields,
            labels=reference.labels,
        )

        def tell(changes: Sequence[Change[Any]]) -> None:
            self._changed()

        informer.subscribe_batch(tell)

        async def run() -> None:
            async with asyncio.TaskGroup() as both:
                both.create_task(informer.run())
                await informer.synced()
                self._changed()  # also where there is nothing

        task = group.create_task(run(), name=f"informer {reference.resource.id} {reference.namespace}")
        return _Kept(informer, task, self._clock.monotonic() + PATIENCE)


def _name(found: Object) -> str:
    return found.metadata.name
