"""The status of routes: whether each is in force, what its targets lack, and how many requests it has had.

Written by one worker of each host, the first of it. It adds what its host has counted, and says that its host has gone
back in a rollout; everything else is written by the one whose host holds the Lease. What it says of a spec is what is
in force in its own process, so it has been true of at least one worker, and is of the others within a moment. Only
differences are written, numbers at most every five seconds, and all guarded by the version that they were made from:
who was faster, wins, and the next pass starts from there.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tensorfusion.clock import Clock, micro_timestamp, timestamp
from tensorfusion.errors import ApiError, ConfigError, Conflict, NotFound
from tensorfusion.gateway.keys.objects import checked
from tensorfusion.gateway.objects.figures import with_figures, with_rollback, with_totals
from tensorfusion.gateway.objects.followed import secret
from tensorfusion.gateway.objects.ledger import Ledger
from tensorfusion.gateway.objects.reports import Reports, Sum, summed
from tensorfusion.gateway.objects.source import Source
from tensorfusion.gateway.objects.waiting import set_within
from tensorfusion.gateway.state import State
from tensorfusion.kube.api import Api
from tensorfusion.model.keys import GATEWAY_ACCOUNT
from tensorfusion.model.llm_key import LLMKey
from tensorfusion.model.llm_route import LLMRoute, LLMRouteStatus
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import LLM_KEYS, LLM_ROUTES
from tensorfusion.model.wire import status_patch
from tensorfusion.policy.routing.compiler import InvalidRoute
from tensorfusion.policy.routing.route import Route, Target
from tensorfusion.policy.routing.route_status import INVALID, Lack, accepted, judged
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change
from tensorfusion.telemetry.logs import get_logger

LOOK_SECONDS: Final = 5.0
PAUSE: Final = 0.2
"""Seconds between two passes at least."""

LAST_SECONDS: Final = 3.0
"""For the last pass, at the end."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Write:
    """One status that is to be written. ``counted`` is what it adds, by the totals of which worker."""

    route: LLMRoute
    status: LLMRouteStatus
    found: Sum | None = None


class Statuses:
    """``state`` is in force in this process, ``leads`` says whether this process holds the Lease, ``now`` is the time
    that choosers go by."""

    def __init__(
        self,
        client: Api,
        source: Source,
        recorder: EventRecorder,
        *,
        reports: Reports,
        ledger: Callable[[], Ledger],
        clock: Clock,
        state: Callable[[], State],
        leads: Callable[[], bool],
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._source = source
        self._recorder = recorder
        self._reports = reports
        self._open_ledger = ledger
        self._clock = clock
        self._state = state
        self._leads = leads
        self._now = now
        self._changed = asyncio.Event()
        self._wrong_keys: dict[Key, tuple[LLMKey, str]] = {}
        """Those of which nobody has been told yet, and why they are wrong."""
        source.listeners.append(self._changed.set)
        source.keys.subscribe(self._on_key)

    def look(self) -> None:
        """Make a pass soon."""
        self._changed.set()

    async def run(self, *, last: Callable[[], None]) -> None:
        """Write until cancelled; then ``last`` is called, and what was counted is written once more."""
        await self._source.in_force.wait()  # what nobody knows of yet must not be taken for gone
        self._ledger = self._open_ledger()
        numbers_at = 0.0
        try:
            while True:
                now = self._clock.monotonic()
                numbers = now >= numbers_at
                if numbers:
                    numbers_at = now + LOOK_SECONDS
                await self.write(numbers=numbers)
                await self._clock.sleep(PAUSE)
                await set_within(self._changed, self._clock, max(0.0, numbers_at - self._clock.monotonic()))
                self._changed.clear()
        finally:
            last()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.write(numbers=True)

    async def write(self, *, numbers: bool) -> None:
        """Bring every status up to date. What fails is done with the next pass."""
        self._tell_of_keys()
        try:
            writes = await self._numbers() if numbers else self._words()
            for write in writes:
                await self._write(write)
        except ApiError as error:
            log.warning("the status of routes could not be written", error=error)  # the others would fail, too
        except OSError as error:
            log.warning("what was counted could not be put down: it is not written", error=error)

    def _words(self) -> list[_Write]:
        """What changes when somebody changes an object."""
        if not self._leads():
            return []
        wanted = ((route, self._judged(route)) for route in list(self._source.routes.cache.all()))
        return [_Write(route, status) for route, status in wanted if status not in (None, route.status) and status]

    async def _numbers(self) -> list[_Write]:
        """Everything. Raises ApiError, OSError."""
        await self._settle()
        reports = self._reports.read()
        sums = summed(reports)
        routes = list(self._source.routes.cache.all())
        uids = {route.metadata.uid for route in routes}
        writes = [
            write for route in routes if (write := self._counted(route, sums.get(route.metadata.uid))) is not None
        ]
        left = {worker for uid in uids & sums.keys() for worker in self._ledger.unwritten(uid, sums[uid].counted)}
        workers = {report.worker for report in reports}
        self._ledger.forget(routes=uids, workers=workers)
        self._ledger.keep()
        self._reports.remove_dead(workers - left)
        return writes

    def _counted(self, route: LLMRoute, found: Sum | None) -> _Write | None:
        """The status with what was counted, and the rest where this process may write it; None: it is so already."""
        moment = self._clock.now()
        status = (self._judged(route) if self._leads() else None) or route.status
        fresh = self._ledger.fresh(route.metadata.uid, found.counted) if found is not None else None
        if fresh is not None:
            status = with_totals(status, fresh, moment)
        chooser = self._state().choosers.get(str(route.key))
        compiled = self._source.found(route)
        if chooser is not None and isinstance(compiled, Route):
            if self._leads():
                status = with_figures(status, found, chooser, self._lacks(compiled), now=self._now())
            else:
                status = with_rollback(status, chooser)
        if status == route.status:
            return None
        status = msgspec.structs.replace(status, last_updated=micro_timestamp(moment))
        if found is not None and fresh:
            self._ledger.open(route.metadata.uid, str(status.last_updated), found.counted)
            return _Write(route, status, found)
        return _Write(route, status)

    async def _settle(self) -> None:
        """Look what became of writes whose answer was lost. Raises ApiError."""
        by_uid = {route.metadata.uid: route.key for route in self._source.routes.cache.all()}
        for uid in self._ledger.open_lines:
            key = by_uid.get(uid)
            mark: str | None = None
            if key is not None:
                with contextlib.suppress(NotFound):
                    found = await self._client.get(LLM_ROUTES, LLMRoute, key.name, namespace=key.namespace)
                    mark = found.status.last_updated
            self._ledger.settle(uid, mark)

    def _judged(self, route: LLMRoute) -> LLMRouteStatus | None:
        """The status with conditions as they should be; None while this process has not put it in force as it is."""
        found = self._source.found(route)
        if found is None or route.metadata.deleting:
            return None
        now = timestamp(self._clock.now())
        if isinstance(found, InvalidRoute):
            return judged(route, found, now=now)
        return judged(route, self._lacks(found), now=now)

    def _lacks(self, route: Route) -> Sequence[Lack]:
        upstreams = self._state().upstreams
        found = [(target, upstreams.of(route, target)) for target in route.targets]
        return [
            Lack(target.name, upstream.unreachable, upstream.unauthorized and self._why(target, upstream.unauthorized))
            for target, upstream in found
        ]

    def _why(self, target: Target, said: str) -> str:
        """Why a target has no credential: one that nobody could look for is not called missing."""
        wanted = target.secret
        if wanted is None or self._source.followed.read(secret(wanted.namespace, wanted.name)):
            return said
        return (
            f"Secret {wanted.namespace}/{wanted.name} cannot be read yet: look whether the account {GATEWAY_ACCOUNT} "
            "may list and watch Secrets of this namespace"
        )

    async def _write(self, write: _Write) -> None:
        """Raises ApiError: the others would most probably fail, too."""
        route, key, uid = write.route, write.route.key, write.route.metadata.uid
        patch = status_patch(route.status, write.status)
        if patch is None:
            return
        guard = {"metadata": {"resourceVersion": route.metadata.resource_version}}
        try:
            await self._client.patch(
                LLM_ROUTES, key.name, {**guard, **patch}, namespace=key.namespace, subresource="status"
            )
        except (NotFound, Conflict):
            if write.found is not None:
                self._ledger.settle(uid, None)
            return  # the next pass sees what is there now
        if write.found is not None:
            self._ledger.settle(uid, write.status.last_updated)
        before, after = accepted(route.status), accepted(write.status)
        if after is None or after.reason != INVALID or (before is not None and before.message == after.message):
            return
        self._recorder.record(
            reference_to(LLM_ROUTES, route), type_=EventType.WARNING, reason=INVALID, message=after.message
        )

    def _on_key(self, change: Change[LLMKey]) -> None:
        """A key that lets nobody in has no condition to say so: an event does."""
        key = change.new
        self._wrong_keys.pop(change.key, None)
        if key is None or key.metadata.deleting:
            return
        if change.old is not None and change.old.spec == key.spec:
            return
        try:
            checked(key)
        except ConfigError as error:
            self._wrong_keys[change.key] = key, str(error)
            self._changed.set()

    def _tell_of_keys(self) -> None:
        while self._wrong_keys and self._leads():
            key, message = self._wrong_keys.pop(next(iter(self._wrong_keys)))
            self._recorder.record(reference_to(LLM_KEYS, key), type_=EventType.WARNING, reason=INVALID, message=message)
