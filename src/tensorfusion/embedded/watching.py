"""Watches: the events of a resource as one endless response, selected and shaped for one client.

An event is the stored bytes between two constant pieces; nothing is encoded again for it, and a batch that was
committed together goes out as one chunk. What a selector no longer matches is DELETED for its watcher, what it comes
to match is ADDED.

Source: Kubernetes API concepts, "Efficient detection of changes", "Streaming lists", "Watch bookmarks".
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.embedded.kinds import Kind
from tensorfusion.embedded.negotiation import JSON, Form, Representation
from tensorfusion.embedded.objects import JsonObject, decode_object, encode, prefix_of
from tensorfusion.embedded.options import ListOptions, check_reached
from tensorfusion.embedded.reading import keep_of, shown_bytes, shown_object
from tensorfusion.embedded.statuses import status_body
from tensorfusion.embedded.store import EventKind, Record, Store, StoreEvent, Subscription
from tensorfusion.embedded.tables import IncludeObject, partial, table
from tensorfusion.errors import Gone

_INITIAL_CHUNK = 256
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_HEADS = {kind: b'{"type":"%s","object":' % kind.value.encode() for kind in EventKind}


class Watch:
    """One client's watch, opened at a point in time; ``chunks`` goes on until the time is up or the store closes."""

    media_type = JSON

    def __init__(
        self,
        store: Store,
        kind: Kind,
        namespace: str,
        options: ListOptions,
        *,
        name: str = "",
        representation: Representation,
        include: IncludeObject,
        bookmark_every: float,
        timeout: float,
        clock: Clock,
    ) -> None:
        """Raises:
        BadRequest: a selector does not parse.
        """
        self._kind = kind
        self._prefix = prefix_of(kind.resource)
        self._keep = keep_of(kind, options, name=name)
        self._options = options
        self._form = representation.form
        self._managed = representation.managed
        self._include = include
        self._bookmark_every = bookmark_every
        self._deadline = asyncio.get_running_loop().time() + (options.timeout or timeout)
        self._clock = clock
        self._columns_sent = False
        self._initial: list[Record] = []
        self._error: Gone | None = None
        self._subscription: Subscription | None = None
        self._open(store, namespace)

    def _open(self, store: Store, namespace: str) -> None:
        """Pin down the start: state and subscription belong to the same moment, so no await is between them."""
        options = self._options
        resource = self._kind.stored.id
        fresh = options.revision in (None, 0)
        with_state = options.initial_events if options.initial_events is not None else fresh
        if not fresh and options.initial_events is not None:
            check_reached(options.revision, store.revision)
        since = store.revision
        if with_state:
            keep = self._keep
            self._initial = [record for record in store.scan(resource, namespace) if keep is None or keep(record)]
        elif not fresh:
            since = min(options.revision or 0, store.revision)
        try:
            self._subscription = store.watch(resource, namespace=namespace, since=since)
        except Gone as error:
            self._error = error

    def __str__(self) -> str:
        return self._kind.resource.id

    def close(self) -> None:
        """End the watch from outside: ``chunks`` finishes."""
        if self._subscription is not None:
            self._subscription.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body of the response, piece by piece."""
        if self._subscription is None:
            yield self._failure(self._error or Gone("the watch could not be opened"))
            return
        first = self._subscription.revision
        for start in range(0, len(self._initial), _INITIAL_CHUNK):
            records = self._initial[start : start + _INITIAL_CHUNK]
            yield b"".join([self._event(EventKind.ADDED, record) for record in records])
        self._initial = []
        if self._options.initial_events and self._options.bookmarks:
            yield self._bookmark(first, {_INITIAL_EVENTS_END: "true"})
        try:
            async for chunk in self._follow(self._subscription):
                yield chunk
        except Gone as error:
            yield self._failure(error)

    async def _follow(self, subscription: Subscription) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        bookmark_at = loop.time() + self._bookmark_every
        while True:
            until = min(bookmark_at, self._deadline) if self._options.bookmarks else self._deadline
            try:
                async with asyncio.timeout_at(until):
                    batch = await subscription.next()
            except TimeoutError:
                if self._options.bookmarks:
                    yield self._bookmark(subscription.revision, None)
                if loop.time() >= self._deadline:
                    return
                bookmark_at = loop.time() + self._bookmark_every
                continue
            if not batch:
                return
            chunk = self._events(batch)
            if chunk:
                yield chunk

    def _events(self, batch: Sequence[StoreEvent]) -> bytes:
        keep = self._keep
        if keep is None:
            return b"".join([self._event(event.kind, event.record) for event in batch])
        pieces = []
        for event in batch:
            was = event.previous is not None and keep(event.previous)
            now = event.kind is not EventKind.DELETED and keep(event.record)
            if now:
                pieces.append(self._event(EventKind.MODIFIED if was else EventKind.ADDED, event.record))
            elif was and event.kind is EventKind.DELETED:
                pieces.append(self._event(EventKind.DELETED, event.record))
            elif was and event.previous is not None:
                pieces.append(self._event(EventKind.DELETED, _at_revision(event.previous, event.revision)))
        return b"".join(pieces)

    def _event(self, event: EventKind, record: Record) -> bytes:
        if self._form is Form.OBJECT:
            return _HEADS[event] + shown_bytes(self._kind, record, self._prefix, managed=self._managed) + b"}\n"
        shaped = self._shaped(shown_object(self._kind, record, managed=self._managed))
        return _HEADS[event] + encode(shaped) + b"}\n"

    def _shaped(self, obj: JsonObject) -> JsonObject:
        if self._form is not Form.TABLE:
            return partial(obj)
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        shown = table(self._kind, [obj], include=self._include, now=self._clock.now(), list_meta=metadata)
        if self._columns_sent:
            shown["columnDefinitions"] = None
        self._columns_sent = True
        return shown

    def _bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes:
        metadata: JsonObject = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        resource = self._kind.resource
        obj: JsonObject = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self._form is Form.TABLE:
            obj = table(self._kind, [], include=self._include, now=self._clock.now(), list_meta=metadata)
            obj["columnDefinitions"] = None
        elif self._form is not Form.OBJECT:
            obj = partial(obj)
        return b'{"type":"BOOKMARK","object":' + encode(obj) + b"}\n"

    def _failure(self, error: Gone) -> bytes:
        return b'{"type":"ERROR","object":' + encode(status_body(error)) + b"}\n"


def _at_revision(record: Record, revision: int) -> Record:
    """An object as its watcher saw it last, at the revision of the event that took it out of sight."""
    obj = decode_object(record.data)
    obj["metadata"]["resourceVersion"] = str(revision)
    return msgspec.structs.replace(record, revision=revision, data=encode(obj))
