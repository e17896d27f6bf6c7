"""The strategies: one target out of those that could be asked.

Each gets a mask that is not empty and gives an index in it. Which targets are well, have room and take the request was
decided before.

Source: the platform's contract, strategy semantics.
"""

from collections.abc import Callable, Sequence
from math import inf

from tensorfusion.model.llm_route import RouteStrategy
from tensorfusion.policy.routing.asks import Ask
from tensorfusion.policy.routing.learning import Lengths
from tensorfusion.policy.routing.money import format_usd
from tensorfusion.policy.routing.rendezvous import name_hash, winner
from tensorfusion.policy.routing.rotation import Preview, Rotation, members
from tensorfusion.policy.routing.route import Route, Target
from tensorfusion.policy.routing.state import TargetState

EXPLORED = 0.01
"""Part of the requests that goes to a target nobody asked for ``IDLE`` seconds, to see how fast it is now."""
IDLE = 30.0
ALL_COMPARED = 8
"""Of more targets, two are drawn and the better one is taken."""
NEARLY_EQUAL = 20
"""Costs within one part in this many of the lowest (5 %) count as equal."""


class Strategies:
    """What every strategy works on, and the strategies themselves."""

    def __init__(self, route: Route, states: Sequence[TargetState], lengths: Lengths) -> None:
        self._strategy = route.strategy
        self.targets = route.targets
        self.states = states
        self.lengths = lengths
        self.rotation: Rotation | Preview = Rotation([target.weight for target in route.targets])
        self.equal: Rotation | Preview = Rotation([1] * len(route.targets))
        self._hashes = tuple(name_hash(target.name) for target in route.targets)
        self._levels = _levels(route.targets)
        self.pick: Callable[[int, Ask, float, float], int] = {
            RouteStrategy.WEIGHTED: self.weighted,
            RouteStrategy.ROUND_ROBIN: self.round_robin,
            RouteStrategy.PRIORITY: self.priority,
            RouteStrategy.COST_OPTIMIZED: self.cheapest,
            RouteStrategy.LATENCY_OPTIMIZED: self.fastest,
            RouteStrategy.LOADTEST: self.first,
        }[route.strategy]

    def preview(self, route: Route) -> "Strategies":
        """The same, of which nothing moves when it picks."""
        found = Strategies(route, self.states, self.lengths)
        found.rotation = Preview(self.rotation) if isinstance(self.rotation, Rotation) else self.rotation
        found.equal = Preview(self.equal) if isinstance(self.equal, Rotation) else self.equal
        return found

    def why(self, index: int, mask: int, ask: Ask) -> str:
        """Why the strategy takes this target of those in the mask, for people."""
        target, strategy = self.targets[index], self._strategy
        if strategy is RouteStrategy.PRIORITY:
            mask = self.preferred(mask)
            first = f"priority {target.priority} is the lowest"
            return f"{first}; {self._why_weighted(index, mask, ask)}" if mask & (mask - 1) else first
        if strategy is RouteStrategy.WEIGHTED:
            return self._why_weighted(index, mask, ask)
        if strategy is RouteStrategy.COST_OPTIMIZED:
            cost = self.cost(index, ask)
            if cost is None:
                return "no target states a price; the fewest requests in flight"
            return f"about ${format_usd(cost)}, the lowest or nearly; the fewest requests in flight"
        if strategy is RouteStrategy.LATENCY_OPTIMIZED:
            seconds = self.states[index].speed.predicted(self.lengths.expected(ask.max_tokens))
            if seconds is None:
                return "nothing is known yet of how fast it is"
            return f"predicted {seconds:.3f}s, {self.states[index].in_flight} requests in flight"
        return "it is its turn" if strategy is RouteStrategy.ROUND_ROBIN else "it is the first"

    def _why_weighted(self, index: int, mask: int, ask: Ask) -> str:
        total = sum(self.rotation.weights[one] for one in members(mask))
        share = f"weight {self.rotation.weights[index]} of {total}"
        return f"{share}; the session belongs to it" if ask.session else f"{share}; it is its turn"

    def weighted(self, mask: int, ask: Ask, now: float, random: float) -> int:
        """Exact shares; a session stays where it is."""
        if ask.session:
            return winner(ask.session, members(mask), self._hashes, self.rotation.weights)
        return self.rotation.turn(mask)

    def round_robin(self, mask: int, ask: Ask, now: float, random: float) -> int:
        return self.equal.turn(mask)

    def priority(self, mask: int, ask: Ask, now: float, random: float) -> int:
        """The lowest number; equal ones by weight."""
        return self.weighted(self.preferred(mask), ask, now, random)

    def preferred(self, mask: int) -> int:
        """The targets of the lowest priority number in the mask."""
        for level in self._levels:
            if found := mask & level:
                return found
        return 0

    def first(self, mask: int, ask: Ask, now: float, random: float) -> int:
        return members(mask)[0]

    def cheapest(self, mask: int, ask: Ask, now: float, random: float) -> int:
        """The lowest estimated cost; of nearly equal ones the one with the fewest requests in flight."""
        tokens, lowest, costs = self.lengths.expected(ask.max_tokens), -1, []
        for index in members(mask):
            price = self.targets[index].price
            if price is not None:
                cost = ask.prompt_tokens * price.input + tokens * price.output
                costs.append((index, cost))
                if cost < lowest or lowest < 0:
                    lowest = cost
        if not costs:  # nobody knows any price: all are equal
            costs = [(index, 0) for index in members(mask)]
        best, best_load, best_cost = -1, 0, 0
        for index, cost in costs:
            if cost * NEARLY_EQUAL <= lowest * (NEARLY_EQUAL + 1) or lowest < 0:
                load = self.states[index].in_flight
                if best < 0 or (load, cost) < (best_load, best_cost):
                    best, best_load, best_cost = index, load, cost
        return best

    def cost(self, index: int, ask: Ask) -> int | None:
        """Estimated pico-dollars of the request there; None where no price is known."""
        price = self.targets[index].price
        return None if price is None else price.cost(ask.prompt_tokens, self.lengths.expected(ask.max_tokens))

    def fastest(self, mask: int, ask: Ask, now: float, random: float) -> int:
        """The lowest predicted time, times the requests in flight there and this one."""
        places = members(mask)
        if random < EXPLORED:
            idle = [index for index in places if self._idle_since(index) < now - IDLE]
            if idle:
                return min(idle, key=lambda index: (self._idle_since(index), index))
        tokens = self.lengths.expected(ask.max_tokens)
        if len(places) > ALL_COMPARED:
            drawn = (random - EXPLORED) / (1 - EXPLORED) if random >= EXPLORED else random / EXPLORED
            places = _two_of(places, drawn)
        times = self.predictions(places, tokens)
        return min(places, key=lambda index: (times[index], self.states[index].in_flight, index))

    def predictions(self, places: Sequence[int], tokens: int) -> dict[int, float]:
        """Predicted seconds by index. One that was never asked comes first while nobody is there to see how fast it is;
        one that was asked and never answered comes last.
        """
        known = {index: self.states[index].speed.predicted(tokens) for index in places}
        best = min((seconds for seconds in known.values() if seconds is not None), default=0.0)
        times = {}
        for index, seconds in known.items():
            in_flight = self.states[index].in_flight
            if seconds is None and self.states[index].last_error:
                times[index] = inf
            elif seconds is None:
                times[index] = best * (in_flight + 1) if in_flight else 0.0
            else:
                times[index] = seconds * (in_flight + 1)
        return times

    def _idle_since(self, index: int) -> float:
        used = self.states[index].used_at
        return float("-inf") if used is None else used


def _levels(targets: Sequence[Target]) -> tuple[int, ...]:
    """The masks of targets with the same priority number, the lowest number first."""
    masks: dict[int, int] = {}
    for target in targets:
        masks[target.priority] = masks.get(target.priority, 0) | target.bit
    return tuple(masks[priority] for priority in sorted(masks))


def _two_of(places: Sequence[int], drawn: float) -> tuple[int, int]:
    """Two different places, each pair as likely as any other, by one number in [0, 1)."""
    count = len(places)
    pair = min(int(drawn * count * (count - 1)), count * (count - 1) - 1)
    first, other = divmod(pair, count - 1)
    return places[first], places[other + (other >= first)]
