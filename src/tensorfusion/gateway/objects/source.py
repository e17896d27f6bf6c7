"""Objects as the source of routes and keys: what is followed, and when a change of it is put in force.

A key is in force with its watch event. Everything else is put in force as a whole, a few milliseconds after the first
change of it, with everything that came in between: a burst of changes costs one new state, not one each. What a route
newly refers to is read first, for at most ``followed.PATIENCE``: else a route that gets another credential would have
none for a moment.

While the API cannot be reached, everything stays as it was.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.objects import follow
from tensorfusion.gateway.objects.followed import Followed
from tensorfusion.gateway.objects.snapshot import Compiled, Snapshots
from tensorfusion.gateway.objects.waiting import set_within
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.kube.api import Api
from tensorfusion.model.llm_key import LLMKey
from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import LLM_KEYS, LLM_ROUTES
from tensorfusion.policy.routing.compiler import InvalidRoute
from tensorfusion.policy.routing.reporting import progress_of
from tensorfusion.policy.routing.rollout import Progress
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.runtime.informer import Change, Informer
from tensorfusion.telemetry.logs import get_logger

REST: Final = 0.005
"""Seconds between two states at least, and four times what the last one took: most of the time is for requests."""
_MOST_REST: Final = 0.1

Use = Callable[[Routes, Secrets], None]
"""Puts routes and credentials in force."""

log = get_logger(__name__)


class Source:
    """The informers. ``run`` puts every change in force through ``use``; ``in_force`` is set behind the first time."""

    def __init__(self, client: Api, *, clock: Clock, book: KeyBook, use: Use) -> None:
        self._clock = clock
        self._use = use
        self._changed = asyncio.Event()
        self.followed = Followed(client, clock=clock, changed=self._changed.set)
        self._snapshots = Snapshots(self.followed)
        self.addresses = self._snapshots.addresses
        self.routes: Informer[LLMRoute] = Informer(client, LLM_ROUTES, LLMRoute, clock=clock)
        self.routes.subscribe(self._on_route)
        self.keys: Informer[LLMKey] = Informer(client, LLM_KEYS, LLMKey, clock=clock)
        follow(self.keys, book)
        self.in_force = asyncio.Event()
        self.present = Routes(())
        """In force."""
        self._compiled: Mapping[str, Compiled] = {}
        self.listeners: list[Callable[[], None]] = []
        """Called behind each change that was put in force."""

    def found(self, route: LLMRoute) -> Route | InvalidRoute | None:
        """What became of a route as it is written here; None while another version of it is in force."""
        compiled = self._compiled.get(str(route.key))
        if compiled is None or not compiled.holds_for(route):
            return None
        return compiled.found if isinstance(compiled.found, InvalidRoute) else compiled.found.route

    def progress(self, route: str) -> Progress | None:
        """How far the rollout of a route (``namespace/name``) was written down."""
        namespace, _, name = route.partition("/")
        found = self.routes.cache.get(Key(namespace, name))
        return progress_of(found.status.rollout) if found is not None else None

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for run in (self.routes.run, self.keys.run, self.followed.run):
                group.create_task(run())
            await self.routes.synced()
            await self.keys.synced()
            while True:
                routes = await self._resolved()
                started = self._clock.monotonic()
                self._apply(routes)
                took = self._clock.monotonic() - started
                await self._clock.sleep(min(max(REST, 4 * took), _MOST_REST))
                await self._changed.wait()

    def _on_route(self, change: Change[LLMRoute]) -> None:
        old, new = change.old, change.new
        if old is None or new is None or old.spec != new.spec or old.metadata.deleting != new.metadata.deleting:
            self._changed.set()

    async def _resolved(self) -> Routes:
        """The routes as they are now, once what they refer to has been read, or is not worth waiting for."""
        while True:
            self._changed.clear()
            routes = self._snapshots.routes(self.routes.cache.all())
            self.followed.want(self._snapshots.references(routes))
            patience = self.followed.pending()
            if not patience:
                return routes
            await set_within(self._changed, self._clock, patience)

    def _apply(self, routes: Routes) -> None:
        known = {problem.route: str(problem) for problem in self.present.problems}
        for problem in routes.problems:
            if known.get(problem.route) != str(problem):
                log.warning("a route is left out", route=problem.route, field=problem.field, problem=problem.problem)
        if routes.revision != self.present.revision:
            log.info("routes are in force", routes=len(routes.by_key), left_out=len(routes.problems))
        self._use(routes, self._snapshots.secrets(routes))
        self.present = routes
        self._compiled = self._snapshots.compiled
        self.in_force.set()
        for listener in self.listeners:
            listener()
