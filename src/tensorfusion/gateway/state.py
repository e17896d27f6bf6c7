"""What routes are in force, all of it made from one revision of the configuration: swapped as a whole, never changed.

A request takes the state that is there when it comes, and keeps it: nothing of a change reaches into what is under way.
What was learned about targets, and open connections, go from one state to the next.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Final

from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.upstreams import Addresses, Upstreams
from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.rollout import Progress
from tensorfusion.policy.routing.route import Route, Target
from tensorfusion.policy.routing.routes import Routes

_numbers: Final = count(1)


def no_addresses(route: Route, target: Target) -> Sequence[str]:
    """Only endpoints are known."""
    return ()


def no_progress(route: str) -> Progress | None:
    """Nothing is written down."""
    return None


class State:
    """Immutable, but for what its choosers learn."""

    __slots__ = ("choosers", "number", "routes", "upstreams")

    def __init__(self, routes: Routes, choosers: Mapping[str, Chooser], upstreams: Upstreams) -> None:
        self.number = next(_numbers)
        """Of this one alone, for who is to know it again and not to keep it."""
        self.routes = routes
        self.choosers = choosers
        self.upstreams = upstreams

    @staticmethod
    def make(
        written: Iterable[LLMRoute],
        secrets: Secrets,
        *,
        addresses: Addresses = no_addresses,
        revision: str = "",
        before: "State | None" = None,
        one_author: bool = False,
    ) -> "State":
        """``one_author``: whoever wrote one route wrote all, so that they may use each other's credentials.

        Routes that cannot be used are left out and named in ``routes.problems``."""
        return State.of(
            Routes.compile(written, revision, one_author=one_author), secrets, addresses=addresses, before=before
        )

    @staticmethod
    def of(
        routes: Routes,
        secrets: Secrets,
        *,
        addresses: Addresses = no_addresses,
        before: "State | None" = None,
        progress: Callable[[str], Progress | None] = no_progress,
    ) -> "State":
        """Of compiled routes. ``progress`` tells of a route (``namespace/name``) how far its rollout was written down.

        The chooser of a route that is the same object as before is kept as it is."""
        choosers = {}
        for key, route in routes.by_key.items():
            known = before.choosers.get(key) if before is not None else None
            if known is not None and known.route is route:
                choosers[key] = known
                continue
            choosers[key] = chooser = Chooser(route, progress(key) if route.rollout is not None else None)
            if known is not None:
                chooser.adopt(known)
        upstreams = Upstreams(
            routes.by_key.values(),
            secrets,
            addresses=addresses,
            adopt=before.upstreams if before is not None else None,
        )
        return State(routes, choosers, upstreams)
