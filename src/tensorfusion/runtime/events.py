"""Kubernetes events, aggregated: users learn what happened, and pods are not slowed down by being told.

The events of one object with one reason are one Event whose count grows and whose message is the newest. All writes of
a process share one budget; what does not fit into the bounded queue is dropped and counted, warnings last. While pods
wait for their Bindings, normal events come at a few a second only.

Source: core/v1 Event.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import AlreadyExists, ApiError, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Object, Raw
from tensorfusion.model.resources import EVENTS, Resource
from tensorfusion.runtime.budget import Budget
from tensorfusion.runtime.meters import Figures
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import EVENTS_DROPPED

_QUEUE = 2048
_REMEMBERED = 4096
_RATE, _BURST = 20.0, 100.0
_GIVE_WAY = 0.25
"""Seconds before a normal event while more important writes wait."""
_LONGEST_MESSAGE = 1024
_QUEUE_FULL, _REFUSED = EVENTS_DROPPED.labels("queue-full"), EVENTS_DROPPED.labels("refused")

log = get_logger(__name__)


class EventType(StrEnum):
    """Wire values of Event.type."""

    NORMAL = "Normal"
    WARNING = "Warning"


class ObjectReference(NamedTuple):
    """What an event is about. A tuple, as every pod has some: they are made and hashed in a fraction of the time."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


def reference_to(resource: Resource, found: Object) -> ObjectReference:
    """The reference to an object of a resource."""
    meta = found.metadata
    return ObjectReference(resource.api_version, resource.kind, meta.namespace, meta.name, meta.uid)


class _Subject(NamedTuple):
    reference: ObjectReference
    reason: str

    @property
    def namespace(self) -> str:
        """Events about cluster-scoped objects live in ``default``."""
        return self.reference.namespace or "default"


class _Pending(msgspec.Struct, gc=False):
    type: EventType
    message: str
    count: int


class EventRecorder:
    """``record`` never waits; ``run`` writes within the budget."""

    def __init__(
        self, client: Api, *, component: str, clock: Clock, rate: float = _RATE, burst: float = _BURST
    ) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        self._budget = Budget(clock, rate=rate, burst=burst)
        self._warnings: OrderedDict[_Subject, _Pending] = OrderedDict()
        self._normal: OrderedDict[_Subject, _Pending] = OrderedDict()
        self._written: OrderedDict[str, int] = OrderedDict()
        """Event name -> count so far, of events that this process wrote."""
        self._wake = asyncio.Event()
        self.busy: Callable[[], bool] = lambda: False
        """Whether more important writes wait; whoever knows of them sets it. Normal events then come slowly."""
        self.figures = Figures("event-recorder", size=self.__len__)

    def __len__(self) -> int:
        """Events that wait to be written."""
        return len(self._warnings) + len(self._normal)

    def record(self, reference: ObjectReference, *, type_: EventType, reason: str, message: str) -> None:
        """Note an event; those of the same object and reason that still wait become one with a higher count."""
        subject = _Subject(reference, reason)
        waiting = self._warnings if type_ is EventType.WARNING else self._normal
        known = waiting.get(subject)
        if known is not None:
            known.message = message
            known.count += 1
            return
        if len(self._warnings) + len(self._normal) >= _QUEUE:
            (self._normal or self._warnings).popitem(last=False)
            _QUEUE_FULL.inc()
        self.figures.adds += 1
        waiting[subject] = _Pending(type_, message, 1)
        self._wake.set()

    async def run(self) -> None:
        """Write events until cancelled, warnings first: they are what somebody is waiting to read."""
        while True:
            if not len(self):
                self._wake.clear()
                await self._wake.wait()
            await self._budget.wait()
            if not self._warnings and self.busy():
                await self._clock.sleep(_GIVE_WAY)
            subject, pending = (self._warnings or self._normal).popitem(last=False)
            started = self._clock.monotonic()
            try:
                await self._write(subject, pending)
            except ApiError as error:
                _REFUSED.inc()
                log.debug("event not written", reason=subject.reason, error=error)
            finally:
                self.figures.work.observe(self._clock.monotonic() - started)

    async def _write(self, subject: _Subject, pending: _Pending) -> None:
        pending.message = " ".join(pending.message.split())[:_LONGEST_MESSAGE]
        name = self._name(subject, pending.type)
        before = self._written.pop(name, 0)
        if before:
            try:
                await self._count(name, subject, pending, before)
            except NotFound:  # events expire
                await self._create(name, subject, pending)
        else:
            await self._create(name, subject, pending)

    async def _create(self, name: str, subject: _Subject, pending: _Pending) -> None:
        body = self._object(name, subject, pending)
        try:
            await self._client.create(EVENTS, body, namespace=subject.namespace)
        except AlreadyExists:  # of an earlier process, or the reply was lost: go on counting there
            touched = await self._client.patch(EVENTS, name, {"message": pending.message}, namespace=subject.namespace)
            await self._count(name, subject, pending, int(touched.get("count") or 1))
        else:
            self._remember(name, pending.count)

    async def _count(self, name: str, subject: _Subject, pending: _Pending, before: int) -> None:
        count = before + pending.count
        now = timestamp(self._clock.now())
        patch: Raw = {"count": count, "lastTimestamp": now, "message": pending.message}
        await self._client.patch(EVENTS, name, patch, namespace=subject.namespace)
        self._remember(name, count)

    def _remember(self, name: str, count: int) -> None:
        self._written[name] = count
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _name(self, subject: _Subject, type_: EventType) -> str:
        """The same for the same object and reason, so that a restarted process goes on with the same Event."""
        reference = subject.reference
        seed = f"{reference.kind}/{reference.uid}/{reference.name}/{type_}/{subject.reason}/{self._component}"
        stem = reference.name[:200].rstrip("-.")
        return f"{stem}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}"

    def _object(self, name: str, subject: _Subject, pending: _Pending) -> Raw:
        reference = subject.reference
        now = timestamp(self._clock.now())
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": subject.namespace},
            "involvedObject": {
                "apiVersion": reference.api_version,
                "kind": reference.kind,
                "namespace": reference.namespace,
                "name": reference.name,
                "uid": reference.uid,
            },
            "type": pending.type.value,
            "reason": subject.reason,
            "message": pending.message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": pending.count,
        }
