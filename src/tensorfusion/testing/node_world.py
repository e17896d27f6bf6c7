"""A world of simulated nodes for tests: an API in memory, a virtual clock, a manager, and what runs on it.

The API keeps only the rules that nodes, devices and pods meet: optimistic creation, merge patches with a uid
precondition, status apart from the rest, graceful deletion of bound pods, finalizers, watches. Every write is noted, so
a test can state what was written and, as important, what was not.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast

import msgspec

from tensorfusion.clock import timestamp
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound
from tensorfusion.kube.api import Api, Body, Listing, PatchKind, WatchEvent
from tensorfusion.model import keys
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import GPU_NODES, PODS, Resource
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.clock import VirtualClock

T = TypeVar("T")

_GRACE = 30
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Write:
    """One request that changed something, or tried to."""

    verb: str
    plural: str
    name: str
    subresource: str = ""


class Installable(Protocol):
    """What can be registered with a manager."""

    def install(self, manager: Manager) -> None: ...


class MemoryApi:
    """Satisfies ``kube.api.Api`` as far as nodes need it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._objects: dict[tuple[str, str, str], Raw] = {}
        self._events: list[tuple[str, str, Raw]] = []
        self._changed = asyncio.Condition()
        self.writes: list[Write] = []
        self.failure: Callable[[Write], ApiError | None] = lambda _: None
        """Asked before each write; what it returns is raised."""

    def object(self, resource: Resource, name: str, namespace: str = "") -> Raw | None:
        """The object as it is stored."""
        return self._objects.get((resource.id, namespace, name))

    def objects(self, resource: Resource) -> list[Raw]:
        """All objects of a resource, by name."""
        return [found for key, found in sorted(self._objects.items()) if key[0] == resource.id]

    async def get(self, resource: Resource, type_: type[T], name: str, *, namespace: str = "") -> T:
        return msgspec.convert(self._found(resource, name, namespace), type_)

    async def list(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        page_size: int = 500,
    ) -> Listing[T]:
        return Listing([msgspec.convert(found, type_) for found in self.objects(resource)], str(len(self._events)))

    async def create(
        self,
        resource: Resource,
        body: Body,
        *,
        namespace: str = "",
        dry_run: bool = False,
        type_: type[Any] = dict,  # Any: the protocol's overloads say what comes back
    ) -> Any:
        created: Raw = msgspec.json.decode(msgspec.json.encode(body))
        name = created["metadata"]["name"]
        self._note(Write("create", resource.plural, name))
        if (resource.id, namespace, name) in self._objects:
            raise AlreadyExists(f"{resource.plural} {name!r} already exists")
        created["metadata"] |= {"namespace": namespace} if namespace else {}
        created["metadata"].setdefault("uid", f"uid-{len(self._events)}")
        created["metadata"].setdefault("creationTimestamp", timestamp(self._clock.now()))
        await self._store(resource, created, "ADDED")
        return msgspec.convert(created, type_)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Body,
        *,
        namespace: str = "",
        subresource: str = "",
        kind: PatchKind = PatchKind.MERGE,
        type_: type[Any] = dict,  # Any: the protocol's overloads say what comes back
    ) -> Any:
        self._note(Write("patch", resource.plural, name, subresource))
        current = self._found(resource, name, namespace)
        wanted = cast("Raw", msgspec.json.decode(msgspec.json.encode(patch)))
        uid = wanted.get("metadata", {}).get("uid")
        if uid not in (None, current["metadata"]["uid"]):
            raise Conflict(f"{resource.plural} {name!r}: the uid is {current['metadata']['uid']}, not {uid}")
        if subresource:
            wanted = {subresource: wanted.get(subresource, {})}
        merged = _merged(current, wanted)
        if merged != current:
            await self._store(resource, merged, "MODIFIED")
        return msgspec.convert(merged, type_)

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        self._note(Write("delete", resource.plural, name))
        current = self._found(resource, name, namespace)
        metadata = current["metadata"]
        if uid not in (None, metadata["uid"]):
            raise Conflict(f"{resource.plural} {name!r}: the uid is {metadata['uid']}, not {uid}")
        bound = resource == PODS and current.get("spec", {}).get("nodeName")
        grace = (_GRACE if grace_seconds is None else grace_seconds) if bound else 0
        if grace or metadata.get("finalizers"):
            when = timestamp(self._clock.now() + timedelta(seconds=grace))
            marks = {"deletionTimestamp": when, "deletionGracePeriodSeconds": grace}
            if any(metadata.get(mark) != value for mark, value in marks.items()):
                await self._store(resource, _merged(current, {"metadata": marks}), "MODIFIED")
            return
        await self._drop(resource, current)

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        patch = {"metadata": {"annotations": dict(annotations)}, "spec": {"nodeName": node}}
        await self._store(PODS, _merged(self._found(PODS, name, namespace), patch), "MODIFIED")

    async def watch(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncIterator[WatchEvent[T]]:
        async for batch in self.watch_batches(resource, type_, resource_version=resource_version):
            for event in batch:
                yield event

    async def watch_batches(
        self,
        resource: Resource,
        type_: type[T],
        *,
        namespace: str = "",
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncIterator[Sequence[WatchEvent[T]]]:
        seen = int(resource_version)
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: len(self._events) > seen)  # noqa: B023 - read at each wake
            fresh, seen = self._events[seen:], len(self._events)
            batch = [
                WatchEvent(kind, msgspec.convert(found, type_), found["metadata"]["resourceVersion"])
                for where, kind, found in fresh
                if where == resource.id
            ]
            if batch:
                yield batch

    def _found(self, resource: Resource, name: str, namespace: str) -> Raw:
        found = self._objects.get((resource.id, namespace, name))
        if found is None:
            raise NotFound(f"{resource.plural} {name!r} not found")
        return found

    def _note(self, write: Write) -> None:
        self.writes.append(write)
        error = self.failure(write)
        if error is not None:
            raise error

    async def _store(self, resource: Resource, found: Raw, kind: str) -> None:
        metadata = found["metadata"]
        if metadata.get("deletionGracePeriodSeconds") == 0 and not metadata.get("finalizers"):
            await self._drop(resource, found)
            return
        told = await self._tell(resource, found, kind)
        self._objects[(resource.id, metadata.get("namespace", ""), metadata["name"])] = told

    async def _drop(self, resource: Resource, found: Raw) -> None:
        metadata = found["metadata"]
        del self._objects[(resource.id, metadata.get("namespace", ""), metadata["name"])]
        await self._tell(resource, found, "DELETED")

    async def _tell(self, resource: Resource, found: Raw, kind: str) -> Raw:
        version = str(len(self._events) + 1)
        told = {**found, "metadata": {**found["metadata"], "resourceVersion": version}}
        self._events.append((resource.id, kind, told))
        async with self._changed:
            self._changed.notify_all()
        return told


class NodeWorld:
    """``start`` what is to be tested, act through ``api``, ``settle``, and look."""

    def __init__(self, api: MemoryApi, clock: VirtualClock) -> None:
        self.clock = clock
        self.api = api
        self._running: asyncio.Task[None] | None = None
        self._manager: Manager | None = None

    @property
    def client(self) -> Api:
        """The API as components see it."""
        return cast("Api", self.api)  # its loose signatures are those of the protocol's overloads

    async def start(self, *parts: Installable) -> None:
        """Run the parts in a manager of their own, as one process would."""
        manager = Manager(self.client, clock=self.clock)
        for part in parts:
            part.install(manager)
        self._manager = manager
        self._running = asyncio.create_task(manager.run())
        await self.settle()

    async def stop(self) -> None:
        """End the process: what it knew is gone, what it wrote stays."""
        if self._manager is not None and self._running is not None:
            self._manager.stop()
            await self._running
        self._manager = self._running = None

    async def settle(self) -> None:
        """Let everything happen that can happen without time passing."""
        for _ in range(_ROUNDS):
            await self.clock.settle()

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)
        await self.settle()

    async def add_gpu_node(self, name: str, *, pool: str = "p", **spec: Any) -> None:  # Any: JSON
        """The GPUNode that the operator would make."""
        body = {"metadata": {"name": name, "labels": {keys.MANAGED_BY: pool}}, "spec": spec, "status": {}}
        await self.api.create(GPU_NODES, body)
        await self.settle()

    async def add_pod(
        self,
        name: str,
        node: str,
        *,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        status: Raw | None = None,
        finalizers: Sequence[str] = (),
    ) -> None:
        """A pod that is bound to a node."""
        body = {
            "metadata": {
                "name": name,
                "annotations": dict(annotations or {}),
                "labels": dict(labels or {}),
                "finalizers": list(finalizers),
            },
            "spec": {"nodeName": node, "containers": [{"name": "main"}], "terminationGracePeriodSeconds": _GRACE},
            "status": status or {"phase": "Pending"},
        }
        await self.api.create(PODS, body, namespace="default")
        await self.settle()

    def pod(self, name: str) -> Raw | None:
        """A pod as it is stored."""
        return self.api.object(PODS, name, "default")

    def phase(self, name: str) -> str:
        """The phase of a pod; empty when it does not exist."""
        found = self.pod(name)
        return "" if found is None else str(found["status"].get("phase", ""))


def _merged(target: Any, patch: Any) -> Any:  # Any: JSON
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
