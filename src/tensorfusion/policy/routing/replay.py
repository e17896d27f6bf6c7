"""Recorded requests under other routes: which would go elsewhere, which would have nobody, and what they would cost.

The requests are taken in the order of their times, each routed as it would be, and held at its target for as long as it
took when it was recorded; every target is well. What a record does not tell is taken as not given: labels and limits of
callers that have no key any more, sessions, and the text that a ``requestPattern`` looks at. So routes and conditions
of length are certain, shares are those of one worker, and what a strategy learns of latencies is learned from the
recorded ones. No clock and no chance: the same records give the same answer.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tensorfusion.policy.routing.asks import Ask, Caller, Outcome
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.policy.routing.state import Attempts, Ticket

_SPREAD = 0.6180339887498949
"""Its multiples spread evenly over 0 to 1 (the golden ratio's part behind the point): in the place of chance."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it went; ``at`` in Unix seconds, ``cost`` in micro-dollars, tokens as they were used."""

    at: float
    seconds: float
    caller: Caller
    ask: Ask
    route_name: str
    """That the client asked for, if it did."""
    route: str
    target: str
    completion_tokens: int
    cost: int


Place = tuple[str, str]
"""Route and target; both empty for nobody."""
NOBODY: Place = ("", "")


@dataclass(slots=True)
class Replayed:
    """``moves`` are those whose place changed, by their places before and after. Costs in pico-dollars."""

    requests: int = 0
    same: int = 0
    before: Counter[Place] = field(default_factory=Counter)
    after: Counter[Place] = field(default_factory=Counter)
    moves: Counter[tuple[Place, Place]] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """Why requests would have nobody."""
    cost_before: int = 0
    cost_after: int = 0
    unpriced: int = 0
    """Requests that would go to a target without a price: they are not in ``cost_after``."""


def replay(routes: Routes, recorded: Iterable[Recorded]) -> Replayed:
    """Send them all."""
    found = Replayed()
    choosers: dict[str, Chooser] = {}
    under_way: list[tuple[float, int, Chooser, Ticket, Outcome]] = []
    for number, one in enumerate(sorted(recorded, key=lambda request: request.at)):
        while under_way and under_way[0][0] <= one.at:
            end, _, chooser, ticket, outcome = heapq.heappop(under_way)
            chooser.ended(ticket, end, outcome)
        place = _sent(routes, one, number, choosers, under_way, found)
        before = (one.route, one.target)
        found.requests += 1
        found.before[before] += 1
        found.after[place] += 1
        found.cost_before += one.cost * 1_000_000
        if place == before:
            found.same += 1
        else:
            found.moves[before, place] += 1
    return found


def _sent(
    routes: Routes,
    one: Recorded,
    number: int,
    choosers: dict[str, Chooser],
    under_way: list[tuple[float, int, Chooser, Ticket, Outcome]],
    found: Replayed,
) -> Place:
    match = routes.match(one.caller, one.ask, one.route_name)
    if not isinstance(match, Route):
        found.refusals[match.message] += 1
        return NOBODY
    chooser = choosers.get(match.key)
    if chooser is None:
        chooser = choosers[match.key] = Chooser(match)
    attempts = Attempts()
    target = chooser.next(one.ask, one.at, attempts, random=(number * _SPREAD) % 1.0)
    if target is None:
        why = chooser.why_none(one.ask, one.at, attempts)
        found.refusals[f"route {match.key} has no target for it: {why}"] += 1
        return match.key, ""
    outcome = Outcome(seconds=one.seconds, prompt_tokens=one.ask.prompt_tokens, completion_tokens=one.completion_tokens)
    ticket = chooser.started(target, one.at)
    heapq.heappush(under_way, (one.at + one.seconds, number, chooser, ticket, outcome))
    if target.price is None:
        found.unpriced += 1
    else:
        found.cost_after += target.price.cost(one.ask.prompt_tokens, one.completion_tokens)
    return match.key, target.name
