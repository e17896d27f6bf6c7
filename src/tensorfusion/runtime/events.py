"""Kubernetes events, aggregated: users learn what happened, and pods are not slowed down by being told.

The same event of the same object is one object whose count grows. All writes of a process share one budget; what waits
longer than the bounded queue allows is dropped and counted, warnings last.

Source: core/v1 Event.
"""

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import AlreadyExists, ApiError, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Object, Raw
from tensorfusion.model.resources import EVENTS, Resource
from tensorfusion.runtime.budget import Budget
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import EVENTS_DROPPED

NORMAL = "Normal"
WARNING = "Warning"

_QUEUE = 2048
_REMEMBERED = 4096
_RATE, _BURST = 20.0, 100.0
_LONGEST_MESSAGE = 1024

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """What an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


def reference_to(resource: Resource, found: Object) -> ObjectReference:
    """The reference to an object of a resource."""
    meta = found.metadata
    return ObjectReference(resource.api_version, resource.kind, meta.namespace, meta.name, meta.uid)


@dataclass(frozen=True, slots=True)
class _Wanted:
    reference: ObjectReference
    type: str
    reason: str
    message: str


class EventRecorder:
    """``record`` never waits; ``run`` writes within the budget."""

    def __init__(
        self, client: Api, *, component: str, clock: Clock, rate: float = _RATE, burst: float = _BURST
    ) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        self._budget = Budget(clock, rate=rate, burst=burst)
        self._pending: OrderedDict[_Wanted, int] = OrderedDict()
        self._written: OrderedDict[str, int] = OrderedDict()
        """Event name -> count so far, of events that this process wrote."""
        self._wake = asyncio.Event()

    def record(self, reference: ObjectReference, *, type_: str, reason: str, message: str) -> None:
        """Note an event; equal ones that still wait become one with a higher count."""
        wanted = _Wanted(reference, type_, reason, " ".join(message.split())[:_LONGEST_MESSAGE])
        self._pending[wanted] = self._pending.get(wanted, 0) + 1
        if len(self._pending) > _QUEUE:
            normal = next((entry for entry in self._pending if entry.type == NORMAL), None)
            self._pending.pop(normal if normal is not None else next(iter(self._pending)))
            EVENTS_DROPPED.labels("queue-full").inc()
        self._wake.set()

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            await self._budget.wait()
            if self._pending:
                wanted, count = self._next()
                try:
                    await self._write(wanted, count)
                except ApiError as error:
                    EVENTS_DROPPED.labels("refused").inc()
                    log.debug("event not written", reason=wanted.reason, error=error)

    def _next(self) -> tuple[_Wanted, int]:
        """Warnings first: they are what somebody is waiting to read."""
        for wanted in self._pending:
            if wanted.type == WARNING:
                return wanted, self._pending.pop(wanted)
        return self._pending.popitem(last=False)

    async def _write(self, wanted: _Wanted, count: int) -> None:
        reference = wanted.reference
        namespace = reference.namespace or "default"
        name = self._name(wanted)
        now = timestamp(self._clock.now())
        before = self._written.pop(name, 0)
        self._written[name] = before + count
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)
        if before:
            patch: Raw = {"count": before + count, "lastTimestamp": now, "message": wanted.message}
            try:
                await self._client.patch(EVENTS, name, patch, namespace=namespace)
            except NotFound:
                self._written[name] = count
            else:
                return
        try:
            await self._client.create(EVENTS, self._object(wanted, name, count, now), namespace=namespace)
        except AlreadyExists:  # of an earlier process of ours: go on counting there
            await self._client.patch(EVENTS, name, {"count": count + 1, "lastTimestamp": now}, namespace=namespace)

    def _name(self, wanted: _Wanted) -> str:
        """The same for the same object, reason and message, so that a restart goes on with the same event."""
        reference = wanted.reference
        seed = f"{reference.uid}/{wanted.type}/{wanted.reason}/{wanted.message}/{self._component}"
        return f"{reference.name[:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"

    def _object(self, wanted: _Wanted, name: str, count: int, now: str) -> Raw:
        reference = wanted.reference
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": reference.namespace or "default"},
            "involvedObject": {
                "apiVersion": reference.api_version,
                "kind": reference.kind,
                "namespace": reference.namespace,
                "name": reference.name,
                "uid": reference.uid,
            },
            "type": wanted.type,
            "reason": wanted.reason,
            "message": wanted.message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": count,
        }
