"""LLMRoutes as they are written, and a chooser that is driven by hand: for tests of routing."""

from typing import Any

import msgspec

from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.policy.routing.asks import Ask, Failure, Outcome
from tensorfusion.policy.routing.chooser import Chooser, Step
from tensorfusion.policy.routing.compiler import compile_route
from tensorfusion.policy.routing.route import Target
from tensorfusion.policy.routing.state import Attempts, Ticket

Json = dict[str, Any]  # Any: a manifest as it is written


def written(name: str = "chat", namespace: str = "red", *, created: str | None = None, **spec: Any) -> LLMRoute:
    """An LLMRoute as a client writes it. Targets are objects; one that states no name is called by its place."""
    targets = spec.pop("targets", [{}])
    spec["targets"] = [
        {"name": chr(97 + place), "provider": "self-hosted", "model": "m", **target}
        for place, target in enumerate(targets)
    ]
    meta: Json = {"name": name, "namespace": namespace}
    if created is not None:
        meta["creationTimestamp"] = created
    return msgspec.convert({"metadata": meta, "spec": spec}, LLMRoute, strict=True)


class Driver:
    """One worker's chooser with a clock that stands still until it is moved."""

    def __init__(self, route: LLMRoute) -> None:
        self.chooser = Chooser(compile_route(route))
        self.now = 1000.0

    def pick(self, ask: Ask | None = None, *, random: float = 0.5, attempts: Attempts | None = None) -> Target | None:
        return self.chooser.next(ask or Ask("m"), self.now, attempts or Attempts(), random=random)

    def start(self, ask: Ask | None = None, *, random: float = 0.5) -> Ticket:
        target = self.pick(ask, random=random)
        if target is None:
            raise AssertionError(str(self.chooser.why_none(ask or Ask("m"), self.now, Attempts())))
        return self.chooser.started(target, self.now)

    def end(self, ticket: Ticket, failure: Failure | None = None, **parts: Any) -> Outcome:
        outcome = Outcome(failure, **parts)
        self.chooser.ended(ticket, self.now, outcome)
        return outcome

    def serve(self, name: str, failure: Failure | None = None, **parts: Any) -> None:
        """An attempt at a target by name, whatever the strategy says, ends at once."""
        target = next(target for target in self.chooser.route.targets if target.name == name)
        self.end(self.chooser.started(target, self.now), failure, **parts)

    def after(self, attempts: Attempts, target: Target, outcome: Outcome, ask: Ask | None = None, **parts: Any) -> Step:
        parts = {"random": 0.5, "wall": 0.0, **parts}
        return self.chooser.after(ask or Ask("m"), self.now, attempts, target=target, outcome=outcome, **parts)

    def resume(self, attempts: Attempts, step: Step, outcome: Outcome, ask: Ask | None = None) -> Step:
        return self.chooser.resume(ask or Ask("m"), self.now, attempts, step=step, outcome=outcome, random=0.5)

    def names(self, count: int, ask: Ask | None = None) -> str:
        """The names of the next targets of so many requests, each of which succeeds at once."""
        found = []
        for _ in range(count):
            ticket = self.start(ask)
            self.end(ticket)
            found.append(ticket.target.name)
        return "".join(found)
