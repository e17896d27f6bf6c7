"""A local copy of one kind, kept by list and watch, with indexes and change handlers.

Handlers are synchronous and run in the order of the server's changes; a batch is everything that arrived in one go.
After a lost or expired watch the collection is listed again and compared, so deletions nobody saw are reported too.
Nothing here decides anything: a handler usually puts a key into a queue.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, KeysView, Sequence, ValuesView
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, Gone
from tensorfusion.kube.api import Api, WatchEvent
from tensorfusion.model.meta import Key, Object
from tensorfusion.model.resources import Resource
from tensorfusion.telemetry.logs import get_logger

T = TypeVar("T", bound=Object)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_BATCH = 500
_PAGE = 2000

log = get_logger(__name__)


class ChangeKind(StrEnum):
    """What happened to an object."""

    ADDED = "added"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One change: ``old`` is None when added, ``new`` is None when deleted."""

    kind: ChangeKind
    key: Key
    old: T | None
    new: T | None


class Cache(Generic[T]):
    """The objects by key, and by the values of its indexes. Read-only for everybody but its informer."""

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}
        self._indexes: dict[str, tuple[Callable[[T], Iterable[str]], dict[str, dict[Key, T]]]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> T | None:
        return self._objects.get(key)

    def all(self) -> ValuesView[T]:
        """All objects, in no particular order."""
        return self._objects.values()

    def by_index(self, name: str, value: str) -> Sequence[T]:
        """The objects that an index files under a value."""
        return list(self._indexes[name][1].get(value, {}).values())

    def add_index(self, name: str, values: Callable[[T], Iterable[str]]) -> None:
        if name in self._indexes:
            return
        entries: dict[str, dict[Key, T]] = {}
        self._indexes[name] = (values, entries)
        for key, found in self._objects.items():
            for value in values(found):
                entries.setdefault(value, {})[key] = found

    def put(self, key: Key, new: T) -> T | None:
        """Store and return what was there."""
        old = self._objects.get(key)
        self._objects[key] = new
        for values, entries in self._indexes.values():
            fresh = set(values(new))
            if old is not None:
                for value in set(values(old)) - fresh:
                    _unfile(entries, value, key)
            for value in fresh:
                entries.setdefault(value, {})[key] = new
        return old

    def remove(self, key: Key) -> T | None:
        old = self._objects.pop(key, None)
        if old is not None:
            for values, entries in self._indexes.values():
                for value in values(old):
                    _unfile(entries, value, key)
        return old

    def keys(self) -> KeysView[Key]:
        return self._objects.keys()


def _unfile(entries: dict[str, dict[Key, T]], value: str, key: Key) -> None:
    filed = entries.get(value)
    if filed is not None:
        filed.pop(key, None)
        if not filed:
            del entries[value]


Handler = Callable[[Change[T]], None]
BatchHandler = Callable[[Sequence[Change[T]]], None]


class Informer(Generic[T]):
    """Keeps ``cache`` equal to the server's collection and tells subscribers about changes."""

    def __init__(
        self,
        client: Api,
        resource: Resource,
        type_: type[T],
        *,
        clock: Clock,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> None:
        self._client = client
        self._resource = resource
        self._type = type_
        self._clock = clock
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._handlers: list[BatchHandler[T]] = []
        self._synced = asyncio.Event()
        self._version = ""
        self.cache: Cache[T] = Cache()

    @property
    def has_synced(self) -> bool:
        """The first list is in the cache and was told to all subscribers."""
        return self._synced.is_set()

    async def synced(self) -> None:
        await self._synced.wait()

    def add_index(self, name: str, values: Callable[[T], Iterable[str]]) -> None:
        """File objects under the values that a function gives; read with ``cache.by_index``."""
        self.cache.add_index(name, values)

    def subscribe(self, handler: Handler[T]) -> None:
        """``handler`` is called for each change; first with what the cache already holds."""

        def each(changes: Sequence[Change[T]]) -> None:
            for change in changes:
                handler(change)

        self.subscribe_batch(each)

    def subscribe_batch(self, handler: BatchHandler[T]) -> None:
        """``handler`` is called with all changes that arrived together; first with what the cache already holds."""
        self._handlers.append(handler)
        held = [Change(ChangeKind.ADDED, found.key, None, found) for found in self.cache.all()]
        if held:
            handler(held)

    async def run(self) -> None:
        """List and watch until cancelled. Errors of the API are waited out."""
        pause = _FIRST_PAUSE
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                    pause = _FIRST_PAUSE
                version = await self._watch(version)
            except Gone:
                log.info("listing again", resource=self._resource.id)
                version = ""
            except ApiError as error:
                log.warning("list or watch failed", resource=self._resource.id, error=error)
                version = self._version if self.has_synced else ""
                await self._clock.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self) -> str:
        listing = await self._client.list(
            self._resource,
            self._type,
            namespace=self._namespace,
            labels=self._labels,
            fields=self._fields,
            page_size=_PAGE,
        )
        changes: list[Change[T]] = []
        present = set()
        for found in listing.items:
            key = found.key
            present.add(key)
            known = self.cache.get(key)
            if known is not None and known.metadata.uid != found.metadata.uid:
                self.cache.remove(key)
                changes.append(Change(ChangeKind.DELETED, key, known, None))
                known = None
            if known is None or known.metadata.resource_version != found.metadata.resource_version:
                self.cache.put(key, found)
                kind = ChangeKind.ADDED if known is None else ChangeKind.UPDATED
                changes.append(Change(kind, key, known, found))
        gone = self.cache.keys() - present
        changes += [Change(ChangeKind.DELETED, key, self.cache.remove(key), None) for key in sorted(gone)]
        for start in range(0, len(changes), _BATCH):
            self._tell(changes[start : start + _BATCH])
            await asyncio.sleep(0)  # a long list must not hold up leadership and others
        self._version = listing.resource_version
        self._synced.set()
        return listing.resource_version

    async def _watch(self, version: str) -> str:
        """Follow changes until the server ends the watch; returns the last version seen."""
        self._version = version
        batches = self._client.watch_batches(
            self._resource,
            self._type,
            namespace=self._namespace,
            resource_version=version,
            labels=self._labels,
            fields=self._fields,
        )
        async for batch in batches:
            changes = [change for event in batch if (change := self._apply(event)) is not None]
            self._version = batch[-1].resource_version or self._version
            if changes:
                self._tell(changes)
        return self._version

    def _apply(self, event: WatchEvent[T]) -> Change[T] | None:
        if event.type == "BOOKMARK":
            return None
        found = event.object
        key = found.key
        if event.type == "DELETED":
            old = self.cache.remove(key)
            return Change(ChangeKind.DELETED, key, old or found, None)
        old = self.cache.get(key)
        if old is not None and old.metadata.resource_version == found.metadata.resource_version:
            return None
        self.cache.put(key, found)
        return Change(ChangeKind.ADDED if old is None else ChangeKind.UPDATED, key, old, found)

    def _tell(self, changes: Sequence[Change[T]]) -> None:
        for handler in self._handlers:
            try:
                handler(changes)
            except Exception:  # one subscriber's fault must not blind the others
                log.exception("a change handler failed", resource=self._resource.id, first=changes[0].key)
