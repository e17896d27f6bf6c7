"""What would become of a request, and why: which routes were looked at, and which targets would be asked in which turn.

Nothing is counted and nothing moves. A caller is told of routes that are open to its namespace and of those in it; only
an operator of all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.routes import NoRoute, NotAllowed, Routes, is_named, refuses_key
from tensorfusion.policy.routing.selector import Candidate
from tensorfusion.policy.routing.state import Attempts


@dataclass(frozen=True, slots=True)
class Considered:
    """One route, ``namespace/name``, and what speaks against it; ``taken`` is the one that takes the request."""

    route: str
    reason: str
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """One target, and why it comes at this place. ``left_out`` targets are not asked at all."""

    target: str
    model: str
    reason: str
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """``route`` is empty where none takes the request; ``refusal`` then says what the caller is told."""

    route: str
    refusal: str
    strategy: str
    considered: tuple[Considered, ...]
    targets: tuple[Planned, ...]


def explain(
    routes: Routes,
    caller: Caller,
    ask: Ask,
    *,
    route_name: str = "",
    choosers: Mapping[str, Chooser] | None = None,
    now: float = 0.0,
    random: float = 0.5,
    operator: bool = False,
) -> Explanation:
    """What ``Routes.match`` and the strategy would do now. Without ``choosers`` as if nothing had happened yet."""
    match = routes.match(caller, ask, route_name)
    considered = _considered(routes, caller, ask, route_name, match, operator=operator)
    if isinstance(match, NoRoute | NotAllowed):
        return Explanation("", match.message, "", considered, ())
    chooser = (choosers or {}).get(match.key) or Chooser(match)
    order = chooser.order(ask, now, random=random)
    planned = [Planned(target.name, target.model, why) for target, why in order]
    asked = {target.name for target, _ in order}
    reasons = dict(chooser.why_none(ask, now, Attempts()).reasons)
    for target in match.targets:
        if target.name not in asked:
            reason = reasons.get(target.name) or "enableFallback is off: when the first one fails, nobody else is asked"
            planned.append(Planned(target.name, target.model, reason, left_out=True))
    return Explanation(match.key, "", str(match.strategy), considered, tuple(planned))


def _considered(
    routes: Routes, caller: Caller, ask: Ask, route_name: str, match: object, *, operator: bool
) -> tuple[Considered, ...]:
    opened = routes.open_to(caller.namespace)
    seen = {id(one) for one in opened}
    closed = [one for one in routes.candidates if id(one) not in seen]
    found = []
    taken: Candidate | None = None
    for one in opened:
        reason = _against(one, caller, ask, route_name)
        if one.route is match:
            taken = one
            found.append(Considered(one.route.key, "takes the request", taken=True))
        elif reason or taken is None:
            found.append(Considered(one.route.key, reason))
        else:
            found.append(Considered(one.route.key, f"would take it, too; {_later(one, taken)}"))
    found += [
        Considered(one.route.key, one.selector.refuses_caller(caller))
        for one in closed
        if operator or one.route.namespace == caller.namespace
    ]
    return tuple(found)


def _against(one: Candidate, caller: Caller, ask: Ask, route_name: str) -> str:
    if route_name:
        model = "" if is_named(one.route, route_name) else f"is not the route {route_name[:64]!r} that was asked for"
    else:
        model = one.selector.refuses_model(ask.model)
    return model or one.selector.refuses_caller(caller) or refuses_key(one.route, caller)


def _later(one: Candidate, taken: Candidate) -> str:
    """Why one of two that match goes after the other."""
    if one.route.namespace != taken.route.namespace and one.order < taken.order:
        return f"routes of the caller's own namespace go first, as {taken.route.key}"
    words = ("names users", "names labels", "names models", "names namespaces", "has the name as an alias")
    for place, word in enumerate(words):
        if one.order[place] != taken.order[place]:
            return f"{taken.route.key} goes first: it {word}"
    older = one.order[len(words)] != taken.order[len(words)]
    return f"{taken.route.key} goes first: it is older" if older else f"{taken.route.key} goes first: by its name"
