"""Watches: the events of a resource as one endless response, selected for one client.

What a selector no longer matches is DELETED for its watcher, what it comes to match is ADDED. Events that are there
together go out as one chunk, of bounded size. A client that reads too slowly makes nobody else wait: the store ends
its subscription, and what it has not taken of the watch's end after a while is cut off with its connection.

Source: Kubernetes API concepts, "Efficient detection of changes", "Streaming lists", "Watch bookmarks".
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

import msgspec

from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.meters import TERMINATED_WATCHERS
from tensorfusion.embedded.negotiation import JSON
from tensorfusion.embedded.objects import decode_object, encode
from tensorfusion.embedded.options import ListOptions, check_reached
from tensorfusion.embedded.reading import keep_of
from tensorfusion.embedded.store import EventKind, Record, Store, StoreEvent, Subscription
from tensorfusion.embedded.watch_events import Shape, failure
from tensorfusion.errors import ApiError, Gone, ServerError
from tensorfusion.telemetry.logs import get_logger

_CHUNK = 256 << 10
"""Bytes after which a chunk is sent; one event may be larger."""
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"

log = get_logger(__name__)


class Watch:
    """One client's watch, opened at a point in time; ``chunks`` goes on until the time is up or the store closes.

    ``ending`` is called when nothing new will come any more and only what is there has to be taken.
    """

    media_type = JSON

    def __init__(
        self,
        store: Store,
        shape: Shape,
        namespace: str,
        options: ListOptions,
        *,
        name: str = "",
        bookmark_every: float,
        timeout: float,
    ) -> None:
        """Raises:
        BadRequest: a selector does not parse.
        """
        self._shape = shape
        self._keep = keep_of(shape.kind, options, name=name)
        self._options = options
        self._bookmark_every = bookmark_every
        self._timeout = options.timeout or timeout
        self._untold_columns = shape.has_columns
        self._initial: list[Record] = []
        self._error: ApiError | None = None
        self._subscription: Subscription | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._with_state = False
        self._bookmark_due = False
        self._over = False
        self._closed = False
        self.ending: Callable[[], None] | None = None
        self._open(store, namespace)

    @property
    def _kind(self) -> Kind:
        return self._shape.kind

    def _open(self, store: Store, namespace: str) -> None:
        """Pin down the start: state and subscription belong to the same moment, so no await is between them."""
        options = self._options
        resource = self._kind.stored.id
        fresh = options.revision in (None, 0)
        self._with_state = options.initial_events if options.initial_events is not None else fresh
        if not fresh and options.initial_events is not None:
            try:
                check_reached(options.revision, store.revision)
            except ServerError as error:
                self._error = error
                return
        since = store.revision
        if self._timeout < 0:
            pass  # it is over before it has said anything
        elif self._with_state:
            keep = self._keep
            self._initial = [record for record in store.scan(resource, namespace) if keep is None or keep(record)]
        elif not fresh:
            since = min(options.revision or 0, store.revision)
        try:
            self._subscription = store.watch(resource, namespace=namespace, since=since)
        except Gone as error:
            self._error = error
            return
        self._shape.join()
        self._subscription.lost = self._lost
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(max(0.0, self._timeout), self._end)]
        if options.bookmarks:
            self._timers.append(loop.call_later(self._bookmark_every, self._tick))

    def __str__(self) -> str:
        return self._kind.resource.id

    def close(self) -> None:
        """End the watch from outside: ``chunks`` finishes. What refers back here is let go of, so that it is freed."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.ending = None
        if self._subscription is not None:
            self._subscription.lost = None
            self._subscription.close()
            if not self._closed:
                self._closed = True
                self._shape.leave()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body of the response, piece by piece."""
        if self._subscription is None:
            yield failure(self._error or Gone("the watch could not be opened"))
            return
        first = self._subscription.revision
        initial, self._initial = self._initial, []
        for chunk in _joined(self._first(record) for record in initial):
            yield chunk
        del initial
        if self._with_state and self._options.bookmarks:
            yield self._shape.bookmark(first, {_INITIAL_EVENTS_END: "true"})
        try:
            async for chunk in self._follow(self._subscription):
                yield chunk
        except Gone as error:
            yield failure(error)

    async def _follow(self, subscription: Subscription) -> AsyncIterator[bytes]:
        while True:
            batch = await subscription.next()
            if batch:
                for chunk in _joined(self._events(batch)):
                    yield chunk
            elif subscription.closed:
                return
            if self._bookmark_due or (self._over and self._options.bookmarks):
                self._bookmark_due = False
                yield self._shape.bookmark(subscription.revision, None)
            if self._over:
                return

    # --- time and slowness ---

    def _tick(self) -> None:
        """A bookmark is due, after what is there."""
        self._bookmark_due = True
        self._timers[1] = asyncio.get_running_loop().call_later(self._bookmark_every, self._tick)
        if self._subscription is not None:
            self._subscription.poke()

    def _end(self) -> None:
        """The time that the client asked for is up."""
        self._over = True
        if self._subscription is not None:
            self._subscription.poke()
        if self.ending is not None:
            self.ending()

    def _lost(self) -> None:
        """The client has fallen too far behind."""
        resource = self._kind.resource
        TERMINATED_WATCHERS.add((resource.group, resource.plural))
        log.info("watch ended: its client reads too slowly", resource=resource.id)
        if self.ending is not None:
            self.ending()

    # --- events ---

    def _first(self, record: Record) -> bytes:
        """The line of an object that was there at the start."""
        columns, self._untold_columns = self._untold_columns, False
        return self._shape.new_event(EventKind.ADDED, record, columns=columns)

    def _events(self, batch: Sequence[StoreEvent]) -> Iterator[bytes]:
        for event, record in self._selected(batch):
            if self._untold_columns:
                self._untold_columns = False
                yield self._shape.new_event(event, record, columns=True)
            else:
                yield self._shape.event(event, record)

    def _selected(self, batch: Sequence[StoreEvent]) -> Iterator[tuple[EventKind, Record]]:
        """What the selector makes of events."""
        keep = self._keep
        for event in batch:
            if keep is None:
                yield event.kind, event.record
                continue
            was = event.previous is not None and keep(event.previous)
            now = event.kind is not EventKind.DELETED and keep(event.record)
            if now:
                yield EventKind.MODIFIED if was else EventKind.ADDED, event.record
            elif was and event.kind is EventKind.DELETED:
                yield EventKind.DELETED, event.record
            elif was and event.previous is not None:
                yield EventKind.DELETED, _at_revision(event.previous, event.revision)


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines as chunks of bounded size."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _at_revision(record: Record, revision: int) -> Record:
    """An object as its watcher saw it last, at the revision of the event that took it out of sight."""
    obj = decode_object(record.data)
    obj["metadata"]["resourceVersion"] = str(revision)
    return msgspec.structs.replace(record, revision=revision, data=encode(obj))
