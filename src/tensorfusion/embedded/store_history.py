"""The recent past: a window of events for watches and pinned lists, and the subscriptions that follow it.

The window is bounded by events and by the bytes that only it keeps alive (replaced and deleted versions; a current
version costs nothing extra). What falls out raises the ``compacted`` revision, and asking for anything older is Gone,
as on a real server after compaction. It lives in memory only: after a restart it starts at the last revision.

A subscriber never makes anybody wait. Its buffer is bounded, and one that does not keep up is closed with Gone, so
that it lists again; the alternative, holding back writers, would let one stopped client stop the cluster.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tensorfusion.embedded.store_records import EventKind, ObjectKey, Record, StoreEvent
from tensorfusion.errors import Gone

_EVENT_OVERHEAD = 256
"""Bytes that an event and its places in the window cost, without the versions it keeps alive."""


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much past is kept, and how far a subscriber may fall behind."""

    events: int = 100_000
    bytes: int = 64 << 20
    subscriber_events: int = 50_000


class Subscription:
    """The events of one scope, in revision order, in batches.

    ``async for batch in subscription`` ends when either side closes it and raises Gone when it fell too far behind.
    """

    def __init__(
        self, replay: Sequence[StoreEvent], *, limit: int, revision: Callable[[], int], leave: Callable[[], None]
    ) -> None:
        self._buffer = list(replay)
        self._limit = limit + len(replay)  # what is replayed was asked for; only what comes after can be too much
        self._first_limit = limit
        self._revision = revision
        self._leave = leave
        self._delivered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._overflown = False
        self._closed = False

    @property
    def revision(self) -> int:
        """Every event up to this revision has been handed out: what a bookmark may say."""
        return self._delivered if self._buffer else self._revision()

    async def next(self) -> list[StoreEvent]:
        """The next events, at least one; empty once closed. Cancelling loses nothing.

        Raises:
            Gone: the subscriber was too slow; events were dropped and it must list again.
        """
        while not self._buffer:
            if self._overflown:
                raise Gone(
                    f"watch fell more than {self._first_limit} events behind and was closed; list again and watch on"
                )
            if self._closed:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        batch, self._buffer = self._buffer, []
        self._limit = self._first_limit
        self._delivered = batch[-1].revision
        return batch

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> list[StoreEvent]:
        batch = await self.next()
        if not batch:
            raise StopAsyncIteration
        return batch

    def close(self) -> None:
        """Stop following. What is buffered is dropped; a waiting ``next`` returns empty."""
        if not self._closed:
            self._closed = True
            self._buffer = []
            self._leave()
            self._wake()

    def offer(self, events: Sequence[StoreEvent]) -> None:
        """Take what was just committed, or give up when it does not fit. For the hub only."""
        if len(self._buffer) + len(events) > self._limit:
            self._overflown = True
            self.close()
            return
        self._buffer.extend(events)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


_Scope = tuple[str, str]  # resource and namespace; "" stands for all


class History:
    """The window and its subscribers. Fed once per commit, in revision order."""

    def __init__(self, limits: HistoryLimits, *, compacted: int, revision: int) -> None:
        self._limits = limits
        self._window: deque[StoreEvent] = deque()
        self._by_resource: dict[str, deque[StoreEvent]] = {}
        self._bytes = 0
        self._subscribers: dict[_Scope, dict[Subscription, None]] = {}
        self.compacted = compacted
        self.revision = revision

    def extend(self, events: Sequence[StoreEvent]) -> None:
        """Append committed events, forget what no longer fits, and tell the subscribers."""
        self.revision = events[-1].revision
        window, by_resource = self._window, self._by_resource
        for event in events:
            window.append(event)
            resource = event.record.key.resource
            of_resource = by_resource.get(resource)
            if of_resource is None:
                of_resource = by_resource[resource] = deque()
            of_resource.append(event)
            self._bytes += _cost(event)
        while len(window) > self._limits.events or self._bytes > self._limits.bytes:
            oldest = window.popleft()
            self._bytes -= _cost(oldest)
            self.compacted = oldest.revision
            of_resource = by_resource[oldest.record.key.resource]
            of_resource.popleft()
            if not of_resource:
                del by_resource[oldest.record.key.resource]
        if self._subscribers:
            self._fan_out(events)

    def _fan_out(self, events: Sequence[StoreEvent]) -> None:
        """Sort the batch by scope once, so that each subscriber costs one list extension."""
        subscribers = self._subscribers
        batches: dict[_Scope, list[StoreEvent]] = {}
        for event in events:
            resource, namespace, _ = event.record.key
            scopes: tuple[_Scope, ...] = ((resource, ""), (resource, namespace)) if namespace else ((resource, ""),)
            for scope in (*scopes, ("", "")):
                if scope in subscribers:
                    batches.setdefault(scope, []).append(event)
        for scope, batch in batches.items():
            for subscription in tuple(subscribers[scope]):
                subscription.offer(batch)

    def subscribe(self, resource: str, namespace: str, since: int) -> Subscription:
        """Follow a scope from behind ``since`` on. ``resource == ""`` follows everything.

        Raises:
            Gone: ``since`` is older than the window, or was never reached.
        """
        self.check(since)
        past = [event for event in self._after(resource, since) if not namespace or _in(event, namespace)]
        past.reverse()
        scope = (resource, namespace)

        def leave() -> None:
            subscribers = self._subscribers.get(scope, {})
            subscribers.pop(subscription, None)
            if not subscribers:
                self._subscribers.pop(scope, None)

        subscription = Subscription(
            past, limit=self._limits.subscriber_events, revision=lambda: self.revision, leave=leave
        )
        self._subscribers.setdefault(scope, {})[subscription] = None
        return subscription

    def check(self, since: int) -> None:
        """Refuse a revision that the window no longer reaches back to, or that this store never had."""
        if since < self.compacted:
            raise Gone(f"too old resource version: {since} ({self.compacted})")
        if since > self.revision:
            raise Gone(f"too large resource version: {since}, current: {self.revision}; list again")

    def overrides(self, resource: str, revision: int) -> dict[ObjectKey, Record | None]:
        """What the resource's objects that changed after ``revision`` were at it; None where there was none."""
        return {event.record.key: event.previous for event in self._after(resource, revision)}

    def _after(self, resource: str, revision: int) -> Iterator[StoreEvent]:
        """Events behind a revision, newest first: the newest are what is asked for."""
        for event in reversed(self._by_resource.get(resource, ()) if resource else self._window):
            if event.revision <= revision:
                return
            yield event

    def close(self) -> None:
        for subscribers in tuple(self._subscribers.values()):
            for subscription in tuple(subscribers):
                subscription.close()


def _in(event: StoreEvent, namespace: str) -> bool:
    return event.record.key.namespace == namespace


def _cost(event: StoreEvent) -> int:
    """Bytes that only the window keeps alive because of this event."""
    cost = _EVENT_OVERHEAD
    if event.previous is not None:
        cost += len(event.previous.data)
    if event.kind is EventKind.DELETED:
        cost += len(event.record.data)
    return cost
