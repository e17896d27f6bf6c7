"""The recent past: a window of events for watches and pinned lists.

The window is bounded by events and by the bytes that only it keeps alive (replaced and deleted versions; a current
version costs nothing extra). What falls out raises the ``compacted`` revision, and asking for anything older is Gone,
as on a real server after compaction. It lives in memory only: after a restart it starts at the last revision.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensorfusion.embedded.store_records import EventKind, ObjectKey, Record, StoreEvent
from tensorfusion.embedded.store_subscriptions import Subscribers, Subscription
from tensorfusion.errors import Gone

_EVENT_OVERHEAD = 256
"""Bytes that an event and its places in the window cost, without the versions it keeps alive."""


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much past is kept, and how far a subscriber may fall behind: events, and bytes that only they keep alive."""

    events: int = 100_000
    bytes: int = 64 << 20
    subscriber_events: int = 50_000
    subscriber_bytes: int = 64 << 20


class History:
    """The window and its subscribers. Fed once per commit, in revision order."""

    def __init__(self, limits: HistoryLimits, *, compacted: int, revision: int) -> None:
        self._limits = limits
        self._window: deque[StoreEvent] = deque()
        self._by_resource: dict[str, deque[StoreEvent]] = {}
        self._bytes = 0
        self.compacted = compacted
        self.revision = revision
        self._subscribers = Subscribers(
            events=limits.subscriber_events, bytes=limits.subscriber_bytes, revision=lambda: self.revision
        )

    def extend(self, events: Sequence[StoreEvent]) -> None:
        """Append committed events, forget what no longer fits, and tell the subscribers."""
        self.revision = events[-1].revision
        window, by_resource = self._window, self._by_resource
        weight = 0
        for event in events:
            window.append(event)
            resource = event.record.key.resource
            of_resource = by_resource.get(resource)
            if of_resource is None:
                of_resource = by_resource[resource] = deque()
            of_resource.append(event)
            weight += _cost(event)
        self._bytes += weight
        while len(window) > self._limits.events or self._bytes > self._limits.bytes:
            oldest = window.popleft()
            self._bytes -= _cost(oldest)
            self.compacted = oldest.revision
            of_resource = by_resource[oldest.record.key.resource]
            of_resource.popleft()
            if not of_resource:
                del by_resource[oldest.record.key.resource]
        self._subscribers.tell(events, weight)

    def subscribe(self, resource: str, namespace: str, since: int) -> Subscription:
        """Follow a scope from behind ``since`` on. ``resource == ""`` follows everything.

        Raises:
            Gone: ``since`` is older than the window, or was never reached.
        """
        self.check(since)
        past = [event for event in self._after(resource, since) if not namespace or _in(event, namespace)]
        past.reverse()
        return self._subscribers.follow((resource, namespace), past)

    @property
    def lag(self) -> int:
        """How many events the slowest subscriber is behind."""
        return self._subscribers.lag()

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
        self._subscribers.close()


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
