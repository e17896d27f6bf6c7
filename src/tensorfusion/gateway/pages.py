"""Pages that are no model's: health, readiness, metrics, routes, models.

What a caller sees of routes is what it may use: with keys, those that are open to its namespace.

Source: the platform's contract, 3.1; OpenAI's API reference, "Models".
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from tensorfusion.gateway.faults import JSON, not_found
from tensorfusion.gateway.keys.errors import KeyRefused
from tensorfusion.gateway.openapi import document
from tensorfusion.gateway.seams import Key
from tensorfusion.gateway.state import State
from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.explain import explain
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.selector import Candidate
from tensorfusion.wire.fields import Fields

Page = tuple[int, Fields, bytes]
"""Status, fields and body."""

_encoder: Final = msgspec.json.Encoder()
_LITERAL: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@")


class Pages:
    """``now`` is the loop's time; ``ready`` says why not to send requests here, empty if there is no reason."""

    def __init__(
        self, *, now: Callable[[], float], ready: Callable[[], str], metrics: Callable[[], tuple[bytes, str]]
    ) -> None:
        self._now = now
        self._ready = ready
        self._metrics = metrics

    def open_page(self, path: bytes) -> Page | None:
        """A page for whoever asks; None where there is none of that path."""
        match path:
            case b"/health":
                return _json({"status": "ok"})
            case b"/ready":
                why = self._ready()
                return _json({"status": why or "ready"}, 503 if why else 200)
            case b"/openapi.json":
                return 200, (JSON,), document()
            case b"/metrics":
                body, kind = self._metrics()
                return 200, ((b"Content-Type", kind.encode()),), body
        return None

    def page(self, path: bytes, state: State, key: Key, caller: Caller) -> Page | None:
        """A page for a caller; None where there is none of that path.

        Raises:
            Fault: there is no such model.
        """
        if path == b"/routes":
            routes = [self._route(state, one) for one in state.routes.open_to(caller.namespace)]
            return _json({"object": "list", "revision": state.routes.revision, "data": routes})
        if path == b"/providers/status":
            return _json({"object": "list", "data": self._providers(state, caller)})
        if path == b"/v1/models":
            models = [_model(name, route) for name, route in sorted(_models(state, key, caller).items())]
            return _json({"object": "list", "data": models})
        if path.startswith(b"/v1/models/"):
            name = path.removeprefix(b"/v1/models/").decode("latin-1")
            found = state.routes.match(caller, Ask(name))
            if not isinstance(found, Route) or not _may(key, name, found):
                raise not_found(f"there is no model {name[:64]!r}")
            return _json(_model(name, found))
        return None

    def dry_run(self, state: State, caller: Caller, ask: Ask, route_name: str) -> Page:
        """Which targets would be tried for a request, in which order and why, and which would not."""
        found = explain(state.routes, caller, ask, route_name=route_name, choosers=state.choosers, now=self._now())
        route = state.routes.by_key.get(found.route)
        problems: dict[str, str] = {}
        if route is not None:
            problems = {one.name: state.upstreams.of(route, one).problem for one in route.targets}
        targets = [
            {
                "target": one.target,
                "model": one.model,
                "reason": problems.get(one.target) or one.reason,
                "tried": not (one.left_out or problems.get(one.target)),
            }
            for one in found.targets
        ]
        return _json(
            {
                "route": found.route,
                "refusal": found.refusal,
                "strategy": found.strategy,
                "targets": targets,
                "routes": [{"route": one.route, "reason": one.reason, "taken": one.taken} for one in found.considered],
            }
        )

    def _providers(self, state: State, caller: Caller) -> list[dict[str, object]]:
        """How the providers of a caller's routes do."""
        found: dict[str, dict[str, int]] = {}
        for candidate in state.routes.open_to(caller.namespace):
            route = candidate.route
            reports = state.choosers[route.key].status(self._now())
            for target, report in zip(route.targets, reports, strict=True):
                numbers = found.setdefault(
                    target.provider, {"targets": 0, "healthy": 0, "inFlight": 0, "attempts": 0, "failures": 0}
                )
                numbers["targets"] += 1
                numbers["healthy"] += report.healthy and not state.upstreams.of(route, target).problem
                numbers["inFlight"] += report.in_flight
                numbers["attempts"] += report.attempts
                numbers["failures"] += report.failures
        return [{"provider": name, **numbers} for name, numbers in sorted(found.items())]

    def _route(self, state: State, candidate: Candidate) -> dict[str, object]:
        route = candidate.route
        reports = state.choosers[route.key].status(self._now())
        targets = []
        for target, report in zip(route.targets, reports, strict=True):
            problem = state.upstreams.of(route, target).problem
            targets.append(
                {
                    "name": target.name,
                    "model": target.model,
                    "provider": target.provider,
                    "healthy": report.healthy and not problem,
                    "circuit": report.circuit,
                    "inFlight": report.in_flight,
                    "errorRate": round(report.error_rate, 4),
                    "ttftP50Ms": None if report.first_token_p50 is None else round(report.first_token_p50 * 1000, 3),
                    "lastError": problem or report.last_error,
                }
            )
        selector = candidate.selector
        return {
            "name": route.name,
            "namespace": route.namespace,
            "strategy": route.strategy,
            "modelPattern": selector.model.source if selector.model is not None else "",
            "targets": targets,
        }


def _may(key: Key, model: str, route: Route) -> bool:
    try:
        key.require_model(model)
        key.require_route(route.key)
    except KeyRefused:
        return False
    return True


def _models(state: State, key: Key, caller: Caller) -> dict[str, Route]:
    """Names that a caller may ask for, each with the route that takes it.

    A pattern takes more names than can be listed: listed are the one that it spells out, and the names of its targets'
    models where they match.
    """
    found: dict[str, Route] = {}
    for candidate in state.routes.open_to(caller.namespace):
        for name in _names(candidate):
            route = state.routes.match(caller, Ask(name))
            if name not in found and isinstance(route, Route) and _may(key, name, route):
                found[name] = route
    return found


def _names(candidate: Candidate) -> Iterator[str]:
    pattern = candidate.selector.model.source if candidate.selector.model is not None else ""
    literal = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
    if literal and set(literal) <= _LITERAL:
        yield literal
    for target in candidate.route.targets:
        if not candidate.selector.refuses_model(target.model):
            yield target.model


def _model(name: str, route: Route) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": route.namespace or "tensorfusion"}


def _json(body: object, status: int = 200) -> Page:
    return status, (JSON,), _encoder.encode(body)
