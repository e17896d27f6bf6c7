"""What a process has answered, by route: for the status of routes. Counting costs a microsecond a request."""

import time
from collections.abc import Mapping

from tensorfusion.policy.routing.latencies import class_of
from tensorfusion.policy.routing.route_stats import Totals


class RouteCounts:
    """One route's, since it was first asked in this process."""

    __slots__ = ("active", "active_at", "cost", "latencies", "requests", "seconds", "succeeded", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.succeeded = 0
        self.tokens = 0
        self.cost = 0
        """In pico-dollars."""
        self.seconds = 0.0
        """Of all requests together."""
        self.latencies: dict[int, int] = {}
        """Requests by class of ``policy.routing.latencies``."""
        self.active = ""
        """The target that answered last."""
        self.active_at = 0.0
        """When, in Unix seconds."""

    @property
    def totals(self) -> Totals:
        return Totals(
            requests=self.requests,
            succeeded=self.succeeded,
            failed=self.requests - self.succeeded,
            tokens=self.tokens,
            cost=self.cost,
        )


class Counts:
    """Of all routes, by ``namespace/name``."""

    def __init__(self) -> None:
        self._routes: dict[str, RouteCounts] = {}

    @property
    def routes(self) -> Mapping[str, RouteCounts]:
        return self._routes

    def note(self, route: str, status: int, seconds: float, *, target: str, tokens: int, cost: int) -> None:
        """A request is over. An answer is one with a status below 400 that the client got whole."""
        found = self._routes.get(route)
        if found is None:
            found = self._routes[route] = RouteCounts()
        found.requests += 1
        found.tokens += tokens
        found.cost += cost
        found.seconds += seconds
        number = class_of(seconds)
        found.latencies[number] = found.latencies.get(number, 0) + 1
        if status < 400:
            found.succeeded += 1
            found.active = target
            found.active_at = time.time()

    def forget(self, route: str) -> None:
        """The route is gone, or another one has its name: it begins at 0."""
        self._routes.pop(route, None)
