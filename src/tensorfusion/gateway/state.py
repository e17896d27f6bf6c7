"""What routes are in force, all of it made from one revision of the configuration: swapped as a whole, never changed.

A request takes the state that is there when it comes, and keeps it: nothing of a change reaches into what is under way.
What was learned about targets, and open connections, go from one state to the next.
"""

from collections.abc import Iterable, Mapping, Sequence

from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.upstreams import Addresses, Upstreams
from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.route import Target
from tensorfusion.policy.routing.routes import Routes


def no_addresses(target: Target) -> Sequence[str]:
    """Only endpoints are known."""
    return ()


class State:
    """Immutable, but for what its choosers learn."""

    __slots__ = ("choosers", "routes", "upstreams")

    def __init__(self, routes: Routes, choosers: Mapping[str, Chooser], upstreams: Upstreams) -> None:
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
    ) -> "State":
        """Routes that cannot be used are left out and named in ``routes.problems``."""
        routes = Routes.compile(written, revision)
        choosers = {}
        for key, route in routes.by_key.items():
            choosers[key] = chooser = Chooser(route)
            known = before.choosers.get(key) if before is not None else None
            if known is not None:
                chooser.adopt(known)
        upstreams = Upstreams(
            routes.by_key.values(),
            secrets,
            addresses=addresses,
            adopt=before.upstreams if before is not None else None,
        )
        return State(routes, choosers, upstreams)
