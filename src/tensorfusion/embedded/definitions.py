"""CustomResourceDefinitions at work: their kinds are served from the commit that makes them, and cleaned up when they
go.

A definition that is deleted waits, by its finalizer, until the last of its objects is gone; only then does its kind
stop being served.

Source: apiextensions-apiserver's establishing and finalizing controllers, by behaviour.
"""

import asyncio
from collections.abc import Sequence

from tensorfusion.embedded.calls import Call, DeleteOptions
from tensorfusion.embedded.deletion import CRD_CLEANUP, delete_collection, terminating_status
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.store import EventKind, Record, StoreEvent
from tensorfusion.embedded.updates import modify
from tensorfusion.errors import ApiError, NotFound, TensorFusionError
from tensorfusion.model.resources import CUSTOM_RESOURCE_DEFINITIONS
from tensorfusion.telemetry.logs import get_logger

_RESOURCE = CUSTOM_RESOURCE_DEFINITIONS.id
_RETRY_SECONDS = 1.0

log = get_logger(__name__)


class Definitions:
    """Keeps the registry of kinds equal to the stored definitions. ``run`` removes those that are being deleted."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._store = operations.store
        self._kinds = operations.kinds
        self._terminating = operations.closed
        self._wake = asyncio.Event()
        operations.finish[_RESOURCE] = self._finish
        for record in self._store.scan(_RESOURCE):
            self._take(record)
        self._store.on_commit(self._committed)

    def _finish(self, kind: Kind, crd: JsonObject, old: JsonObject | None) -> None:
        """A definition says at once what a controller would say of it a moment later: whether it is served."""
        if old is None:
            crd["status"] = {}
        stores = old is None or old.get("spec") != crd.get("spec")
        crd["status"] = self._kinds.crd_status(crd, self._operations.clock.now(), stores=stores)

    def _committed(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            if event.record.key.resource == _RESOURCE:
                if event.kind is EventKind.DELETED:
                    self._terminating.discard(event.record.key.name)
                    self._kinds.remove_crd(event.record.key.name)
                else:
                    self._take(event.record)
            elif event.kind is EventKind.DELETED and event.record.key.resource in self._terminating:
                self._wake.set()

    def _take(self, record: Record) -> None:
        crd = decode_object(record.data)
        try:
            self._kinds.install_crd(crd)
        except TensorFusionError as error:
            log.warning("definition cannot be served", crd=record.key.name, error=str(error))
            return
        if crd["metadata"].get("deletionTimestamp"):
            self._terminating.add(record.key.name)
            self._wake.set()

    async def run(self) -> None:
        """Finish deletions until cancelled."""
        while True:
            self._wake.clear()
            failed = False
            for name in list(self._terminating):
                if name not in self._terminating:
                    continue  # gone meanwhile; there may be a new one of its name
                try:
                    await self._clean(name)
                except ApiError as error:
                    failed = True
                    log.warning("definition cannot be cleaned up yet", crd=name, error=str(error))
                except Exception:  # the edge of the loop: one definition's fault must not stop the others
                    failed = True
                    log.exception("cleaning up a definition failed unexpectedly", crd=name)
            if failed:
                await self._operations.clock.sleep(_RETRY_SECONDS)
            else:
                await self._wake.wait()

    async def _clean(self, name: str) -> None:
        """Delete the objects of a definition, and let it go when there are none left."""
        try:
            kind = self._kinds.by_id(name)
        except NotFound:
            kind = None
        if kind is not None:
            await delete_collection(self._operations, kind, "", DeleteOptions(), Call.system())
            if self._store.count(name):
                definition, call = self._kinds.by_id(_RESOURCE), Call.system()
                await modify(self._operations, definition, "", name, _deleting, call, subresource="status")
                return
        definition = self._kinds.by_id(_RESOURCE)
        try:
            await modify(self._operations, definition, "", name, _release, Call.system())
        except NotFound:
            self._terminating.discard(name)


def _deleting(crd: JsonObject) -> JsonObject:
    since = crd["metadata"].get("deletionTimestamp")
    if since:  # otherwise it is another one, made after the one that was to go
        crd["status"] = terminating_status(crd, since, deleting=True)
    return crd


def _release(crd: JsonObject) -> JsonObject:
    metadata = crd["metadata"]
    if not metadata.get("deletionTimestamp"):
        return crd  # as above
    metadata["finalizers"] = [item for item in metadata.get("finalizers") or () if item != CRD_CLEANUP]
    return crd
