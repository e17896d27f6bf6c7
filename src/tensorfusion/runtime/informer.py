"""A local copy of one kind, kept by list and watch, with indexes and change handlers.

Handlers are synchronous and run in the order of the server's changes; a batch is everything that arrived in one go.
After a lost or expired watch the collection is listed again and compared, so deletions nobody saw are reported too.
A long list is applied in slices with the event loop's other work in between: filling the cache with 50,000 pods must
not cost the leadership. Nothing here decides anything: a handler usually puts a key into a queue.

Source: the list-watch contract of Kubernetes API concepts ("Efficient detection of changes").
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, Gone
from tensorfusion.kube.api import Api, Listing, WatchEvent
from tensorfusion.model.meta import Key, Object
from tensorfusion.model.resources import Resource
from tensorfusion.runtime.cache import Cache, IndexFunction
from tensorfusion.runtime.meters import WATCHES
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter

T = TypeVar("T", bound=Object)
C = TypeVar("C")

LISTS = counter("tensorfusion_informer_lists_total", "Whole lists fetched by informers.", ("resource",))
FAILURES = counter("tensorfusion_informer_failures_total", "Lists and watches that failed.", ("resource",))
HANDLER_ERRORS = counter("tensorfusion_informer_handler_errors_total", "Change handlers that raised.", ("resource",))

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_SHORT_WATCH = 1.0
"""Seconds: a watch that brings nothing and ends sooner counts as a failure, or the loop would spin."""
_SLICE = 500
_PAGE = 2000

log = get_logger(__name__)


class ChangeKind(StrEnum):
    """What happened to an object."""

    ADDED = "added"
    UPDATED = "updated"
    DELETED = "deleted"


class Change(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One change: ``old`` is None when added, ``new`` is None when deleted."""

    kind: ChangeKind
    key: Key
    old: T | None
    new: T | None


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
        self._version: str | None = None
        """Where the next watch starts; None when a list has to come first."""
        self._pause = _FIRST_PAUSE
        self.events = 0
        self.restarts = 0
        self._heard_at: float | None = None
        self.cache: Cache[T] = Cache()
        WATCHES.add(self)

    @property
    def resource(self) -> str:
        """What it copies."""
        return self._resource.id

    @property
    def size(self) -> int:
        """Objects in the cache."""
        return len(self.cache)

    @property
    def age(self) -> float | None:
        """Seconds since a list or watch last brought something; None before the first list."""
        return None if self._heard_at is None else self._clock.monotonic() - self._heard_at

    @property
    def listing(self) -> bool:
        """A whole list is being fetched: changes come in no particular order until it is applied."""
        return self._version is None

    @property
    def has_synced(self) -> bool:
        """The first list is in the cache and was told to all subscribers."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Return once ``has_synced``."""
        await self._synced.wait()

    def add_index(self, name: str, values: IndexFunction[T]) -> None:
        """File objects under the values that a function gives; read with ``cache.by_index``."""
        self.cache.add_index(name, values)

    def subscribe(self, handler: Handler[T]) -> None:
        """``handler`` is called for each change; first with what the cache already holds."""

        def each(changes: Sequence[Change[T]]) -> None:
            for change in changes:
                self._guard(handler, change, key=change.key)  # one object's fault must not hide the changes after it

        self.subscribe_batch(each)

    def subscribe_batch(self, handler: BatchHandler[T]) -> None:
        """``handler`` is called with all changes that arrived together; first with what the cache already holds."""
        self._handlers.append(handler)
        held = [Change(ChangeKind.ADDED, key, None, found) for key, found in self.cache.items()]
        if held:
            handler(held)

    async def run(self) -> None:
        """List and watch until cancelled. Errors of the API are waited out."""
        while True:
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watch(self._version)
            except Gone as error:
                self._version = None
                self.restarts += 1
                await self._wait_out("the watch expired, listing again", error)
            except ApiError as error:
                FAILURES.labels(self._resource.id).inc()
                self.restarts += 1
                await self._wait_out("list or watch failed", error)

    async def _wait_out(self, event: str, error: ApiError) -> None:
        log.warning(event, resource=self._resource.id, pause_seconds=round(self._pause, 2), error=error)
        await self._clock.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    async def _list(self) -> str:
        LISTS.labels(self._resource.id).inc()
        listing = await self._client.list(
            self._resource,
            self._type,
            namespace=self._namespace,
            labels=self._labels,
            fields=self._fields,
            page_size=_PAGE,
        )
        for changes in self._differences(listing):
            self._tell(changes)
            await asyncio.sleep(0)  # the loop's other work
        self._synced.set()
        self._heard_at = self._clock.monotonic()
        return listing.resource_version

    def _differences(self, listing: Listing[T]) -> Iterator[Sequence[Change[T]]]:
        """Apply a list to the cache, slice by slice; what changed in each. Deletions come first: they free names."""
        listed = {found.key: found.metadata.uid for found in listing.items}
        gone = [key for key, known in self.cache.items() if listed.get(key) != known.metadata.uid]
        for start in range(0, len(gone), _SLICE):
            keys = gone[start : start + _SLICE]
            yield [Change(ChangeKind.DELETED, key, self.cache.remove(key), None) for key in keys]
        for start in range(0, len(listing.items), _SLICE):
            changes = map(self._put, listing.items[start : start + _SLICE])
            yield [change for change in changes if change is not None]

    async def _watch(self, version: str) -> None:
        """Follow changes until the server ends the watch."""
        started = self._clock.monotonic()
        brought = False
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
            brought = True
            self.events += len(batch)
            self._heard_at = self._clock.monotonic()
            self._pause = _FIRST_PAUSE
            self._tell(changes)
        if not brought and self._clock.monotonic() - started < _SHORT_WATCH:
            raise ApiError("the server ended the watch at once", code=503, reason="WatchEnded")

    def _apply(self, event: WatchEvent[T]) -> Change[T] | None:
        if event.type == "DELETED":
            key = event.key or (event.object.key if event.object is not None else None)
            old = self.cache.remove(key) if key is not None else None
            return None if key is None or old is None else Change(ChangeKind.DELETED, key, old, None)
        return None if event.object is None else self._put(event.object)

    def _put(self, found: T) -> Change[T] | None:
        key = found.key
        old = self.cache.get(key)
        if old is not None and old.metadata.resource_version == found.metadata.resource_version:
            return None
        self.cache.put(key, found)
        return Change(ChangeKind.ADDED if old is None else ChangeKind.UPDATED, key, old, found)

    def _tell(self, changes: Sequence[Change[T]]) -> None:
        if not changes:
            return
        for handler in self._handlers:
            self._guard(handler, changes, key=changes[0].key)  # one subscriber's fault must not blind the others

    def _guard(self, handler: Callable[[C], None], argument: C, *, key: Key) -> None:
        try:
            handler(argument)
        except Exception:  # the edge of the watch loop
            HANDLER_ERRORS.labels(self._resource.id).inc()
            log.exception("a change handler failed", resource=self._resource.id, key=key)
