"""The window of past changes, and the watchers that follow it.

Events are shared by all watchers; a watcher has a bounded buffer of references. One that does not keep up is closed with
Gone, and nobody else waits for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tensorfusion.embedded.records import ObjectKey, Record
from tensorfusion.errors import Gone

_BUFFER = 50_000
_MOST_BYTES = 256 << 20


class StoreEvent(NamedTuple):
    """One committed change: the object now (its last state when deleted), and before (None when new)."""

    record: Record
    previous: Record | None
    deleted: bool


class Subscription:
    """The changes of one resource, in order. Iterate over ``batches``; ``close`` when done."""

    def __init__(
        self, history: "History", resource: str, namespace: str, backlog: Iterable[StoreEvent], at: int
    ) -> None:
        self._history = history
        self._resource = resource
        self._namespace = namespace
        self._buffer: list[StoreEvent] = list(backlog)
        self._wake = asyncio.Event()
        self._closed = False
        self._lost = False
        self.revision = at
        """Everything up to this revision was delivered or did not concern this watch."""
        if self._buffer:
            self._wake.set()

    def offer(self, event: StoreEvent) -> None:
        if self._namespace and event.record.key.namespace != self._namespace:
            return
        if len(self._buffer) >= _BUFFER:
            self._lost = True
            self._history.drop(self)
        else:
            self._buffer.append(event)
        self._wake.set()

    async def next_batch(self, timeout: float) -> Sequence[StoreEvent]:
        """What has arrived, after at most ``timeout`` seconds; empty when nothing did.

        Raises:
            Gone: this watcher was too slow, or the store is closing.
        """
        if not self._buffer and not self._lost and not self._closed:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                pass
        if self._lost:
            raise Gone("too slow: this watch fell behind; list again")
        if self._closed and not self._buffer:
            raise Gone("the server is stopping")
        batch, self._buffer = self._buffer, []
        self.revision = batch[-1].record.revision if batch else self._history.revision
        return batch

    def close(self) -> None:
        self._closed = True
        self._history.drop(self)
        self._wake.set()

    @property
    def resource(self) -> str:
        return self._resource


class History:
    """Past events, newest last, bounded by number and bytes."""

    def __init__(self, revision: int, *, window: int) -> None:
        self.revision = revision
        self.oldest = revision
        self.listeners: list[Callable[[list[StoreEvent]], None]] = []
        self._window = window
        self._events: deque[StoreEvent] = deque()
        self._bytes = 0
        self._subscriptions: dict[str, set[Subscription]] = {}

    def append(self, events: list[StoreEvent]) -> None:
        """Committed events, in revision order."""
        for event in events:
            self._events.append(event)
            self._bytes += len(event.record.data)
            for subscription in tuple(self._subscriptions.get(event.record.key.resource, ())):
                subscription.offer(event)
        self.revision = events[-1].record.revision
        while len(self._events) > self._window or self._bytes > _MOST_BYTES:
            dropped = self._events.popleft()
            self._bytes -= len(dropped.record.data)
            self.oldest = dropped.record.revision
        for listener in self.listeners:
            listener(events)

    def subscribe(self, resource: str, *, namespace: str, since: int | None) -> Subscription:
        backlog: list[StoreEvent] = []
        if since is not None and since < self.revision:
            backlog = [
                event
                for event in self._after(since)
                if event.record.key.resource == resource and (not namespace or event.record.key.namespace == namespace)
            ]
        subscription = Subscription(self, resource, namespace, backlog, self.revision)
        self._subscriptions.setdefault(resource, set()).add(subscription)
        return subscription

    def undo(self, resource: str, revision: int) -> dict[ObjectKey, Record | None]:
        """What each object of a resource that changed after a revision was at it (None: it did not exist)."""
        before: dict[ObjectKey, Record | None] = {}
        for event in self._after(revision):
            key = event.record.key
            if key.resource == resource and key not in before:
                before[key] = event.previous
        return before

    def drop(self, subscription: Subscription) -> None:
        self._subscriptions.get(subscription.resource, set()).discard(subscription)

    def close(self) -> None:
        for subscriptions in list(self._subscriptions.values()):
            for subscription in list(subscriptions):
                subscription.close()

    def _after(self, revision: int) -> list[StoreEvent]:
        if revision < self.oldest:
            raise Gone(f"too old resource version: {revision} ({self.oldest})")
        found: list[StoreEvent] = []
        for event in reversed(self._events):
            if event.record.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found
