"""An API server's behaviour in a dictionary: enough of create, patch, delete, list and watch for components' tests.

Merge patches, resource versions, uids, finalizers and the status subresource behave as on a server. Every write is
noted in ``writes`` as (verb, resource id, name, subresource).
"""

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound
from tensorfusion.kube.api import Listing, WatchEvent
from tensorfusion.model.resources import Resource

Json = dict[str, Any]


def merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class MemoryApi:
    """Satisfies ``kube.api.Api`` as far as tests call it."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.writes: list[tuple[str, str, str, str]] = []
        self.reads: list[tuple[str, str, str]] = []
        self.failing: ApiError | None = None
        self._revision = itertools.count(1)
        self._latest = 0
        self._watchers: dict[str, list[asyncio.Queue[tuple[str, Json]]]] = defaultdict(list)

    # --- reading ---

    async def get(self, resource: Resource, type_: Any, name: str, *, namespace: str = "") -> Any:
        self.reads.append(("get", resource.id, name))
        self._may_fail()
        return _typed(self._found(resource, namespace, name), type_)

    async def list(
        self,
        resource: Resource,
        type_: Any,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        page_size: int = 500,
    ) -> Listing[Any]:
        self.reads.append(("list", resource.id, ""))
        self._may_fail()
        found = [
            _typed(body, type_)
            for (id_, where, name), body in sorted(self.objects.items())
            if id_ == resource.id and namespace in ("", where) and fields in ("", f"metadata.name={name}")
        ]
        return Listing(found, str(self._latest))

    async def watch_batches(
        self,
        resource: Resource,
        type_: Any,
        *,
        namespace: str = "",
        resource_version: str,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
    ) -> AsyncIterator[Sequence[WatchEvent[Any]]]:
        queue: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()
        self._watchers[resource.id].append(queue)
        while True:
            batch = [await queue.get()]
            while not queue.empty():
                batch.append(queue.get_nowait())
            events = [
                WatchEvent(kind, _typed(body, type_), body["metadata"]["resourceVersion"])
                for kind, body in batch
                if fields in ("", f"metadata.name={body['metadata']['name']}")
            ]
            if events:
                yield events

    # --- writing ---

    async def create(
        self, resource: Resource, body: Any, *, namespace: str = "", dry_run: bool = False, type_: Any = dict
    ) -> Any:
        self._may_fail()
        stored = json.loads(msgspec.json.encode(body))
        metadata = stored.setdefault("metadata", {})
        if resource.namespaced:
            metadata.setdefault("namespace", namespace or "default")
        key = (resource.id, metadata.get("namespace", ""), metadata["name"])
        if key in self.objects:
            raise AlreadyExists(f"{resource.plural} {metadata['name']!r} already exists")
        metadata.setdefault("uid", f"uid-{metadata['name']}-{next(self._revision)}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.writes.append(("create", resource.id, metadata["name"], ""))
        self._store(key, stored, "ADDED")
        return _typed(stored, type_)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        subresource: str = "",
        kind: Any = None,
        type_: Any = dict,
    ) -> Any:
        self._may_fail()
        before = self._found(resource, namespace, name)
        wanted = json.loads(msgspec.json.encode(patch))
        version = wanted.get("metadata", {}).pop("resourceVersion", None)
        if version is not None and version != before["metadata"]["resourceVersion"]:
            raise Conflict(f"{resource.plural} {name!r} was changed")
        if subresource == "status":
            wanted = {"status": wanted.get("status", {})}
        else:
            wanted.pop("status", None)
        self.writes.append(("patch", resource.id, name, subresource))
        after = merged(before, wanted)
        key = (resource.id, before["metadata"].get("namespace", ""), name)
        if after != before:
            self._store(key, after, "MODIFIED")
            self._maybe_gone(key)
        return _typed(after, type_)

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
        self._may_fail()
        before = self._found(resource, namespace, name)
        if uid is not None and uid != before["metadata"]["uid"]:
            raise Conflict(f"{resource.plural} {name!r}: uid differs")
        self.writes.append(("delete", resource.id, name, ""))
        key = (resource.id, before["metadata"].get("namespace", ""), name)
        if before["metadata"].get("finalizers"):
            self._store(key, merged(before, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "MODIFIED")
        else:
            self._remove(key)

    # --- the tests' own hand ---

    def put(self, resource: Resource, name: str, *, namespace: str = "", **parts: Any) -> Json:
        """Store an object whole, as if somebody else had written it; metadata parts are merged."""
        key = (resource.id, namespace, name)
        before = self.objects.get(key)
        metadata = {
            "name": name,
            "uid": before["metadata"]["uid"] if before else f"uid-{name}-{next(self._revision)}",
            **({"namespace": namespace} if namespace else {}),
            **parts.pop("metadata", {}),
        }
        self._store(key, {"metadata": metadata, **parts}, "MODIFIED" if before else "ADDED")
        return self.objects[key]

    def drop(self, resource: Resource, name: str, *, namespace: str = "") -> None:
        """Remove an object, as if somebody else had deleted it."""
        self._remove((resource.id, namespace, name))

    def find(self, resource: Resource, name: str, *, namespace: str = "") -> Json | None:
        return self.objects.get((resource.id, namespace, name))

    def names(self, resource: Resource) -> Sequence[str]:
        return sorted(name for id_, _, name in self.objects if id_ == resource.id)

    # --- inside ---

    def _may_fail(self) -> None:
        if self.failing is not None:
            raise self.failing

    def _found(self, resource: Resource, namespace: str, name: str) -> Json:
        found = self.objects.get((resource.id, namespace if resource.namespaced else "", name))
        if found is None:
            raise NotFound(f"{resource.plural} {name!r} not found")
        return found

    def _store(self, key: tuple[str, str, str], body: Json, event: str) -> None:
        self._latest = next(self._revision)
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._latest)}}
        self.objects[key] = body
        for queue in self._watchers[key[0]]:
            queue.put_nowait((event, body))

    def _maybe_gone(self, key: tuple[str, str, str]) -> None:
        metadata = self.objects[key]["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._remove(key)

    def _remove(self, key: tuple[str, str, str]) -> None:
        body = self.objects.pop(key)
        self._latest = next(self._revision)
        gone = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._latest)}}
        for queue in self._watchers[key[0]]:
            queue.put_nowait(("DELETED", gone))


def _typed(body: Mapping[str, Any], type_: Any) -> Any:
    return json.loads(json.dumps(body)) if type_ is dict else msgspec.convert(body, type_)
