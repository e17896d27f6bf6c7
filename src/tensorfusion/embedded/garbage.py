"""Collect what nobody owns any more: dependents of deleted owners, in the background, in the foreground, or set free.

A task follows every committed event and queues the objects that the event may concern; workers look at each of them
anew and act on what is there now. So events may be seen late, twice, or not at all after a restart, when everything
that is stored is looked over once.

What is worth knowing of the rules, all of them seen on a real cluster: an owner that never existed is as absent as a
deleted one; with one good owner left, only the bad references go; a reference to a kind that is not served blocks the
collection of its object; a foreground deletion waits only for dependents whose reference says blockOwnerDeletion, but
deletes the others too.

Collecting must not keep requests waiting: few workers, each write a turn of its own, and long lists queued in slices.

Source: kube-controller-manager 1.34's garbage collector, by behaviour.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator

from tensorfusion.embedded.calls import Call, DeleteOptions, Propagation
from tensorfusion.embedded.deletion import delete
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.ownership import (
    FOREGROUND,
    ORPHAN,
    Metadata,
    Ownership,
    Ruling,
    classify,
    may_be_deleting,
    metadata_of,
)
from tensorfusion.embedded.pace import Pace
from tensorfusion.embedded.store import EventKind, ObjectKey, Record, StoreEvent
from tensorfusion.embedded.updates import modify
from tensorfusion.errors import Conflict, Gone, NotFound, TensorFusionError
from tensorfusion.model.meta import OwnerReference
from tensorfusion.model.resources import EVENTS, Resource
from tensorfusion.runtime.queue import WorkQueue
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

_WORKERS = 4
_IGNORED = frozenset({EVENTS.id, "events.events.k8s.io"})
_FINALIZERS = (FOREGROUND.encode(), ORPHAN.encode())

_Edit = Callable[[JsonObject], None]
"""Changes an object's metadata in place."""


class _Owners:
    """Looks owners up among the committed objects of the kinds that are served."""

    def __init__(self, operations: Operations) -> None:
        self._kinds = operations.kinds
        self.get = operations.store.get

    def resource_of(self, reference: OwnerReference) -> Resource | None:
        kind = self._kinds.of_kind(reference.api_version, reference.kind)
        return None if kind is None else kind.resource


class GarbageCollector:
    """Runs beside the API in the same process. ``run`` works until cancelled or the store is closed."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._store = operations.store
        self._kinds = operations.kinds
        self._queue: WorkQueue[ObjectKey] = WorkQueue(operations.clock, name="garbage")
        self._waiting: dict[str, ObjectKey] = {}  # owners in foreground deletion, by uid
        self._blocked: set[ObjectKey] = set()  # dependents of a kind that is not served
        self._owners = _Owners(operations)
        self._pace = Pace()
        self._kinds.on_change(self._look_again)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work(), name=f"garbage-{number}") for number in range(_WORKERS)]
            await self._follow()
            for worker in workers:
                worker.cancel()

    # --- what may need work ---

    async def _follow(self) -> None:
        """Queue what events concern, until the store is closed; after falling behind, look everything over again."""
        while True:
            events = self._store.watch("", since=self._store.revision)
            try:
                await self._survey()
                async for batch in events:
                    for event in batch:
                        await self._pace.step()
                        for key in self._concerned(event):
                            self._queue.add(key)
                            await self._pace.step()
                return
            except Gone as error:
                log.warning("garbage collection fell behind and looks everything over", error=error)
            finally:
                events.close()

    async def _survey(self) -> None:
        """Queue everything stored that needs work."""
        for resource in self._store.resources():
            if resource in _IGNORED:
                continue
            for record in self._store.scan(resource):
                await self._pace.step()
                if _waits_for_dependents(record) or (record.owners and not self._ownership(record).settled):
                    self._queue.add(record.key)

    def _concerned(self, event: StoreEvent) -> Iterator[ObjectKey]:
        """The objects that need a look because of an event."""
        record, previous = event.record, event.previous
        if record.key.resource in _IGNORED:
            return
        for uid in {*record.owners, *(previous.owners if previous is not None else ())}:
            if uid in self._waiting:  # one dependent less to wait for, or one that no longer blocks
                yield self._waiting[uid]
        if event.kind is EventKind.DELETED:
            self._waiting.pop(record.uid, None)
            self._blocked.discard(record.key)
            yield from self._store.by_owner(record.uid)
        elif _waits_for_dependents(record) or (self._has_new_owners(event) and not self._ownership(record).settled):
            yield record.key

    def _has_new_owners(self, event: StoreEvent) -> bool:
        return bool(event.record.owners) and (event.previous is None or event.previous.owners != event.record.owners)

    def _look_again(self) -> None:
        """The served kinds changed: what waited for one of them may be decided now."""
        blocked, self._blocked = self._blocked, set()
        for key in blocked:
            self._queue.add(key)

    def _ownership(self, record: Record) -> Ownership:
        ownership = classify(record.key, metadata_of(record), self._owners)
        if ownership.ruling is Ruling.UNKNOWN_KIND:
            self._blocked.add(record.key)
        return ownership

    # --- the work ---

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._pace.step()
                await self.collect(key)
                self._queue.forget(key)
            except NotFound:
                self._queue.forget(key)  # somebody else was faster
            except TensorFusionError as error:
                delay = self._queue.retry(key)
                if not isinstance(error, Conflict):
                    log.warning("cannot collect an object now", object=key, retry_seconds=delay, error=error)
            except Exception:  # the edge of the loop: one object's fault must not stop the others
                log.exception("collecting failed unexpectedly", object=key, retry_seconds=self._queue.retry(key))
            finally:
                self._queue.done(key)

    async def collect(self, key: ObjectKey) -> None:
        """Do what an object needs now, which mostly is nothing.

        Raises:
            ApiError: a write was refused, or somebody changed the object meanwhile.
        """
        record = self._store.get(key)
        if record is None:
            return
        metadata = metadata_of(record)
        if metadata.orphans_dependents:
            await self._orphan(record)
        elif metadata.deletes_dependents:
            await self._delete_dependents(record)
        elif not metadata.deleting and metadata.owner_references:
            await self._collect(record, metadata)

    async def _collect(self, record: Record, metadata: Metadata) -> None:
        """Delete an object without an owner; of one that has an owner left, cut the references to the others."""
        ownership = self._ownership(record)
        if ownership.settled:
            return
        if ownership.solid:
            await self._cut(record.key, record.uid, {*ownership.dangling, *ownership.waiting})
            return
        if ownership.waiting and self._store.by_owner(record.uid):
            await self._unblock_circle(record)
            await self._delete(record.key, DeleteOptions(record.uid, propagation=Propagation.FOREGROUND))
            return
        propagation = Propagation.BACKGROUND
        if ORPHAN in metadata.finalizers:
            propagation = Propagation.ORPHAN
        elif FOREGROUND in metadata.finalizers:
            propagation = Propagation.FOREGROUND
        await self._delete(
            record.key, DeleteOptions(record.uid, resource_version=str(record.revision), propagation=propagation)
        )

    async def _unblock_circle(self, record: Record) -> None:
        """Owners that own each other would wait for each other: then this one no longer blocks its own."""
        for key in self._store.by_owner(record.uid):
            dependent = self._store.get(key)
            if dependent is not None and may_be_deleting(dependent) and metadata_of(dependent).deletes_dependents:

                def unblock(metadata: JsonObject) -> None:
                    for reference in metadata.get("ownerReferences") or ():
                        reference["blockOwnerDeletion"] = False

                await self._change(record.key, record.uid, unblock)
                return

    async def _delete_dependents(self, record: Record) -> None:
        """One pass of a foreground deletion: let the owner go when nothing blocks it, else see to its dependents."""
        dependents = self._store.by_owner(record.uid)
        if not any(self._blocks(key, record.uid) for key in dependents):
            self._waiting.pop(record.uid, None)
            await self._drop_finalizer(record, FOREGROUND)
            return
        self._waiting[record.uid] = record.key
        for key in dependents:
            self._queue.add(key)
            await self._pace.step()

    def _blocks(self, key: ObjectKey, uid: str) -> bool:
        dependent = self._store.get(key)
        return dependent is not None and any(
            reference.uid == uid and reference.block_owner_deletion
            for reference in metadata_of(dependent).owner_references
        )

    async def _orphan(self, record: Record) -> None:
        """Set the dependents free, then let the owner go."""
        for key in self._store.by_owner(record.uid):
            dependent = self._store.get(key)
            if dependent is not None:
                await self._cut(key, dependent.uid, {record.uid})
        await self._drop_finalizer(record, ORPHAN)

    # --- writes ---

    async def _cut(self, key: ObjectKey, uid: str, owners: Collection[str]) -> None:
        """Remove the references to some owners."""

        def cut(metadata: JsonObject) -> None:
            left = [owner for owner in metadata.get("ownerReferences") or () if owner["uid"] not in owners]
            _set(metadata, "ownerReferences", left)

        await self._change(key, uid, cut)

    async def _drop_finalizer(self, record: Record, finalizer: str) -> None:
        def drop(metadata: JsonObject) -> None:
            _set(metadata, "finalizers", [item for item in metadata.get("finalizers") or () if item != finalizer])

        await self._change(record.key, record.uid, drop)

    async def _change(self, key: ObjectKey, uid: str, edit: _Edit) -> None:
        """Edit the metadata of an object, unless it is another one by now or gone."""

        def change(obj: JsonObject) -> JsonObject:
            if obj["metadata"]["uid"] == uid:
                edit(obj["metadata"])
            return obj

        try:
            await modify(self._operations, self._kind(key), key.namespace, key.name, change, Call.system())
        except NotFound:
            return

    async def _delete(self, key: ObjectKey, options: DeleteOptions) -> None:
        await delete(self._operations, self._kind(key), key.namespace, key.name, options, Call.system())

    def _kind(self, key: ObjectKey) -> Kind:
        return self._kinds.by_id(key.resource)


def _waits_for_dependents(record: Record) -> bool:
    """Whether it may be held by one of the collector's own finalizers."""
    return may_be_deleting(record) and any(finalizer in record.data for finalizer in _FINALIZERS)


def _set(metadata: JsonObject, field: str, values: list[object]) -> None:
    """Empty lists are not kept, as a real server leaves them out."""
    if values:
        metadata[field] = values
    else:
        metadata.pop(field, None)
