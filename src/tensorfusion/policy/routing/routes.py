"""All routes of a gateway, and which of them takes a request.

A match is looked up in a memo that is bounded: the same callers ask for the same models again and again. It is bounded
by two halves: when the young one is full it becomes the old one, so what is in use is never lost and what a caller
invents passes through.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.compiler import InvalidRoute, compile_route
from tensorfusion.policy.routing.money import Price
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.selector import Candidate, candidate_of

HALF_A_MEMO = 2048
_LONGEST_MODEL_KEPT = 256


@dataclass(frozen=True, slots=True)
class NoRoute:
    """No route takes the request (404 model_not_found). The message names nothing of other namespaces."""

    message: str


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """A route of the caller's own namespace would, and the caller may not use it (403)."""

    message: str


Match = Route | NoRoute | NotAllowed


class Routes:
    """An immutable set of routes. ``problems`` are those that were left out."""

    def __init__(
        self, candidates: Iterable[Candidate], problems: Sequence[InvalidRoute] = (), revision: str = ""
    ) -> None:
        self.revision = revision
        self.problems = tuple(problems)
        self.candidates = tuple(sorted(candidates, key=lambda one: one.order))
        self.by_key: Mapping[str, Route] = {one.route.key: one.route for one in self.candidates}
        self._of: dict[str, list[Candidate]] = {}
        for own in (True, False):
            for one in self.candidates:
                for namespace in dict.fromkeys(one.selector.namespaces):
                    if own == (namespace == one.route.namespace):
                        self._of.setdefault(namespace, []).append(one)
        self._young: dict[tuple[object, ...], Match] = {}
        self._old: dict[tuple[object, ...], Match] = {}

    @staticmethod
    def compile(
        written: Iterable[LLMRoute],
        revision: str = "",
        prices: Mapping[str, Price] | None = None,
        *,
        one_author: bool = False,
    ) -> "Routes":
        """Compile all objects. Those that cannot be used are in ``problems``; the others work.

        ``one_author``: all are of one hand (a file), so that routes may use credentials of any namespace.
        """
        candidates, problems = [], []
        for one in written:
            try:
                candidates.append(candidate_of(one, compile_route(one, prices, one_author=one_author)))
            except InvalidRoute as error:
                problems.append(error)
        return Routes(candidates, problems, revision)

    def match(self, caller: Caller, ask: Ask, route_name: str = "") -> Match:
        """The route that takes the request.

        ``route_name`` is what the caller asked for: ``name`` or ``namespace/name``; then the model does not decide.
        """
        key = (caller.namespace, caller.user, caller.labels, caller.routes, ask.model, route_name)
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key) or self._find(caller, ask.model, route_name)
            if len(ask.model) <= _LONGEST_MODEL_KEPT and len(route_name) <= _LONGEST_MODEL_KEPT:
                if len(self._young) >= HALF_A_MEMO:
                    self._old, self._young = self._young, {}
                self._young[key] = found
        return found

    def open_to(self, namespace: str) -> Sequence[Candidate]:
        """The routes whose callers may be of the namespace: its own first; of those the most specific first."""
        return self._of.get(namespace, ())

    def _find(self, caller: Caller, model: str, route_name: str) -> Match:
        barred = ""
        for one in self.open_to(caller.namespace):
            if route_name:
                if not is_named(one.route, route_name):
                    continue
            elif one.selector.refuses_model(model):
                continue
            reason = one.selector.refuses_caller(caller) or refuses_key(one.route, caller)
            if not reason:
                return one.route
            if one.route.namespace == caller.namespace and not barred:
                barred = f"LLMRoute {one.route.key} {reason}"
        if barred:
            return NotAllowed(barred)
        wanted = f"route {route_name[:64]!r}" if route_name else f"model {model[:64]!r}"
        return NoRoute(f"namespace {caller.namespace or '(none)'} has no route for {wanted}")


def is_named(route: Route, name: str) -> bool:
    """Whether the route is meant by ``name``, or by ``namespace/name``."""
    return name == (route.key if "/" in name else route.name)


def refuses_key(route: Route, caller: Caller) -> str:
    """Why the caller's key may not use the route; empty if it may."""
    if not caller.routes or _named_by(caller.routes, caller.namespace).match(route.key):
        return ""
    return "is not among the routes of the key"


@lru_cache(maxsize=4096)
def _named_by(patterns: tuple[str, ...], namespace: str) -> re.Pattern[str]:
    """What matches the ``namespace/name`` of the routes that a key of the namespace names, with ``*`` and ``?``."""
    whole = (one if "/" in one or not namespace else f"{namespace}/{one}" for one in patterns)
    return re.compile("|".join(f"(?:{fnmatch.translate(one)})" for one in whole))
