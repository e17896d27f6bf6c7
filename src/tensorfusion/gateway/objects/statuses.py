"""The status of routes: whether each is in force, and what its targets lack.

Written by one worker of one gateway: the first of its host, where its host's holds the Lease. It reads what is in force
in its own process, so what a status says of a spec has been true of at least one worker, and is of the others within a
moment. Only differences are written, guarded by the version that they were made from: who was faster, wins, and the
next look starts from there.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ApiError, ConfigError, Conflict, NotFound
from tensorfusion.gateway.keys.objects import checked
from tensorfusion.gateway.objects.source import Source
from tensorfusion.gateway.objects.waiting import set_within
from tensorfusion.gateway.state import State
from tensorfusion.kube.api import Api
from tensorfusion.model.llm_key import LLMKey
from tensorfusion.model.llm_route import LLMRoute, LLMRouteStatus
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import LLM_KEYS, LLM_ROUTES
from tensorfusion.model.wire import status_patch
from tensorfusion.policy.routing.compiler import InvalidRoute
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.route_status import INVALID, Lack, accepted, judged
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change
from tensorfusion.telemetry.logs import get_logger

LOOK_SECONDS: Final = 5.0
PAUSE: Final = 0.2
"""Seconds between two passes at least."""

log = get_logger(__name__)


class Statuses:
    """``state`` is in force in this process, ``leads`` says whether this process may write."""

    def __init__(
        self,
        client: Api,
        source: Source,
        recorder: EventRecorder,
        *,
        clock: Clock,
        state: Callable[[], State],
        leads: Callable[[], bool],
    ) -> None:
        self._client = client
        self._source = source
        self._recorder = recorder
        self._clock = clock
        self._state = state
        self._leads = leads
        self._changed = asyncio.Event()
        self._wrong_keys: dict[Key, tuple[LLMKey, str]] = {}
        """Those of which nobody has been told yet, and why they are wrong."""
        source.listeners.append(self._changed.set)
        source.keys.subscribe(self._on_key)

    def look(self) -> None:
        """Make a pass soon."""
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self.write()
            await self._clock.sleep(PAUSE)
            await set_within(self._changed, self._clock, LOOK_SECONDS - PAUSE)
            self._changed.clear()

    async def write(self) -> None:
        """Bring every status up to date. What fails is done with the next pass."""
        self._tell_of_keys()
        for route in list(self._source.routes.cache.all()):
            if not self._leads():
                return
            wanted = self._wanted(route)
            if wanted is None:
                continue
            try:
                await self._write(route, wanted)
            except (NotFound, Conflict):
                continue  # the next pass sees what is there now
            except ApiError as error:
                log.warning("the status of a route could not be written", route=str(route.key), error=error)
                return  # the others would most probably fail, too

    def _wanted(self, route: LLMRoute) -> LLMRouteStatus | None:
        """The status that the route should have; None while this process has not put it in force as it is."""
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
        return [Lack(target.name, upstream.unreachable, upstream.unauthorized) for target, upstream in found]

    async def _write(self, route: LLMRoute, wanted: LLMRouteStatus) -> None:
        """Raises ApiError."""
        patch = status_patch(route.status, wanted)
        if patch is None:
            return
        guard = {"metadata": {"resourceVersion": route.metadata.resource_version}}
        key = route.key
        await self._client.patch(
            LLM_ROUTES, key.name, {**guard, **patch}, namespace=key.namespace, subresource="status"
        )
        before, after = accepted(route.status), accepted(wanted)
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
