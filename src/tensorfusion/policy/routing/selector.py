"""Who may use a route, and which of several goes first.

Namespaces are borders. A route takes callers of its own namespace; with ``selector.namespaces`` it takes callers of
exactly the namespaces listed there, its own only if it is among them. There is no wildcard.

What a caller's own namespace serves goes before anything another namespace offers it, however specific that is: nobody
can draw the requests of others to themselves that those serve at home.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.model.meta import LabelSelector
from tensorfusion.policy.routing.asks import Caller
from tensorfusion.policy.routing.compiler import InvalidRoute
from tensorfusion.policy.routing.patterns import LONGEST_MODEL, BoundedPattern
from tensorfusion.policy.routing.route import Route

_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Selector:
    """The requests that one route takes. ``namespaces`` are all whose callers may come."""

    namespaces: tuple[str, ...]
    users: frozenset[str] = frozenset()
    labels: LabelSelector | None = None
    model: BoundedPattern | None = None
    aliases: frozenset[str] = frozenset()
    """Models that are taken whatever the pattern says; without a pattern the only ones."""

    def refuses_caller(self, caller: Caller) -> str:
        """Why the caller may not use the route; empty if they may."""
        if caller.namespace not in self.namespaces:
            return f"takes callers of namespace {', '.join(self.namespaces)}, not of {caller.namespace}"
        if self.users and caller.user not in self.users:
            return "is for other users"
        if self.labels is not None and not self.labels.matches(dict(caller.labels)):
            return "is for callers with other labels"
        return ""

    def refuses_model(self, model: str) -> str:
        """Why the route does not take a request for the model; empty if it does."""
        if model in self.aliases:
            return ""
        if self.model is None:
            return f"answers to {', '.join(sorted(self.aliases))}" if self.aliases else ""
        if len(model) <= LONGEST_MODEL and self.model.found_in(model):
            return ""
        return f"takes models like {self.model.source!r}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route with its selector and its place among others: of two that match, the lower ``order`` goes first."""

    route: Route
    selector: Selector
    order: tuple[bool, bool, bool, bool, bool, datetime, str, str]


def candidate_of(written: LLMRoute, route: Route) -> Candidate:
    """The compiled route, ready to be chosen.

    Raises:
        InvalidRoute: the model pattern is no regular expression.
    """
    found = written.spec.selector
    namespaces = found.namespaces if found is not None else ()
    pattern = found.model_pattern if found is not None else ""
    labels = found.label_selector if found is not None else None
    users = frozenset(found.users) if found is not None else frozenset()
    if labels is not None and not labels.match_labels and not labels.match_expressions:
        labels = None
    try:
        model = BoundedPattern(pattern, LONGEST_MODEL) if pattern else None
    except InvalidRequest as error:
        raise InvalidRoute(route.key, "spec.selector.modelPattern", str(error)) from error
    return Candidate(
        route,
        Selector(namespaces or (route.namespace,), users, labels, model, frozenset((*route.aliases, *route.versions))),
        (
            not users,
            labels is None,
            model is None and not route.aliases,
            not namespaces,
            not route.aliases,
            _created(written.metadata.creation_timestamp),
            route.name,
            route.namespace,
        ),
    )


def _created(text: str | None) -> datetime:
    """When the object was made; without a time (a file has none) it is younger than all others."""
    try:
        found = datetime.fromisoformat(text) if text else _LATEST
    except ValueError:
        return _LATEST
    return found if found.tzinfo else found.replace(tzinfo=UTC)
