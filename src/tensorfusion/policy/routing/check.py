"""What is wrong with a set of routes though each can be used: what can never fire, never be chosen, or never help.

Only what is certain from the routes alone is an error; what is merely likely to be a mistake is a warning.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tensorfusion.model.llm_route import RouteStrategy
from tensorfusion.policy.routing.route import PUBLIC_PROVIDERS, Route, Target
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.policy.routing.selector import Candidate, Selector

_ASK_A_KEY = frozenset({"openai", "azure", "anthropic"})
_NO_END = 1 << 62


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``target`` is empty where it is about the whole route."""

    severity: Severity
    route: str
    target: str
    message: str

    def __str__(self) -> str:
        where = f"LLMRoute {self.route}" + (f": target {self.target}" if self.target else "")
        return f"{where}: {self.message}"


Problem = Callable[[Route, Target], str]


def nothing(_route: Route, _target: Target) -> str:
    return ""


def check(routes: Routes, *, problem_of: Problem = nothing) -> tuple[Finding, ...]:
    """Everything found, errors first.

    ``problem_of`` says what whoever knows addresses and Secrets has against a target; empty for nothing.
    """
    found = [
        Finding(Severity.ERROR, problem.route, "", f"{problem.field}: {problem.problem}") for problem in routes.problems
    ]
    found += _shadowed(routes)
    for one in routes.candidates:
        found += _places(one.route, problem_of)
        found += _never_chosen(one.route)
        found += _no_fallback(one.route)
        found += _gaps(one.route)
    return tuple(sorted(found, key=lambda one: (one.severity is not Severity.ERROR, one.route, one.target)))


def _shadowed(routes: Routes) -> Iterator[Finding]:
    """Routes that in each of their namespaces stand behind one that takes all of their requests."""
    for one in routes.candidates:
        before = []
        for namespace in one.selector.namespaces:
            earlier = _first_covering(routes.open_to(namespace), one)
            if earlier is None:
                break
            before.append(earlier.route.key)
        else:
            names = ", ".join(dict.fromkeys(before))
            yield Finding(
                Severity.ERROR,
                one.route.key,
                "",
                f"never fires unless it is asked for by name: {names} takes all of its requests before it",
            )


def _first_covering(opened: Sequence[Candidate], one: Candidate) -> Candidate | None:
    for other in opened:
        if other is one:
            return None
        if _covers(other.selector, one.selector):
            return other
    return None


def _covers(wide: Selector, narrow: Selector) -> bool:
    """Whether all that ``narrow`` takes is surely taken by ``wide``, too. Namespaces apart."""
    if wide.users and not (narrow.users and narrow.users <= wide.users):
        return False
    if wide.labels is not None and wide.labels != narrow.labels:
        return False
    if wide.model is None and not wide.aliases:
        return True
    same_pattern = narrow.model is None or (wide.model is not None and narrow.model.source == wide.model.source)
    named = bool(narrow.aliases) or narrow.model is not None
    return named and same_pattern and all(not wide.refuses_model(alias) for alias in narrow.aliases)


def _places(route: Route, problem_of: Problem) -> Iterator[Finding]:
    """Targets that have no address, or no credential where one is always asked for."""
    for target in route.targets:
        problem = problem_of(route, target)
        anywhere = target.endpoint or target.pool or target.azure_source or target.provider in PUBLIC_PROVIDERS
        if problem:
            yield Finding(Severity.ERROR, route.key, target.name, problem)
        elif not anywhere:
            yield Finding(
                Severity.ERROR, route.key, target.name, "has no address: set endpoint, gpuPool or azureGPUSource"
            )
        elif target.secret is None and target.provider in _ASK_A_KEY:
            yield Finding(
                Severity.WARNING, route.key, target.name, f"has no apiKeySecret, and {target.provider} asks for a key"
            )


def _never_chosen(route: Route) -> Iterator[Finding]:
    if route.rollout is not None:
        for target in route.targets:
            if route.rollout.steps[-1] == 100 and target.index != route.rollout.target:
                yield Finding(
                    Severity.WARNING, route.key, target.name, "gets no requests any more once the rollout is complete"
                )
    for target in route.targets:
        better = _always_before(route, target)
        if better is None:
            continue
        if not route.enable_fallback:
            message = f"{better.name} always goes before it, and enableFallback is off"
            yield Finding(
                Severity.WARNING,
                route.key,
                target.name,
                f"is chosen only while the circuit of {better.name} is open: {message}",
            )
    costs = [target.price for target in route.targets]
    if route.strategy is RouteStrategy.COST_OPTIMIZED and None in costs and any(costs):
        for target in route.targets:
            if target.price is None:
                yield Finding(
                    Severity.WARNING,
                    route.key,
                    target.name,
                    "is chosen only when all with a price fail: set costPer1MInput and costPer1MOutput",
                )


def _always_before(route: Route, target: Target) -> Target | None:
    """A target that is preferred to this one whatever the request, as long as it is well."""
    for other in route.targets:
        if other is target or other.conditions is not None or other.max_concurrency is not None:
            continue
        if route.strategy is RouteStrategy.PRIORITY and other.priority < target.priority:
            return other
        if route.strategy is RouteStrategy.LOADTEST and other.index < target.index:
            return other
        if route.strategy is RouteStrategy.COST_OPTIMIZED and other.price is not None and target.price is not None:
            cheaper = 21 * other.price.input < 20 * target.price.input
            if cheaper and 21 * other.price.output < 20 * target.price.output:
                return other
    return None


def _no_fallback(route: Route) -> Iterator[Finding]:
    """Targets after which nobody can be asked: no other one takes any of their requests."""
    if not route.enable_fallback:
        return
    if len(route.targets) == 1:
        yield Finding(
            Severity.WARNING,
            route.key,
            "",
            "has one target: when it fails, there is nobody to go on to (enableFallback)",
        )
        return
    for target in route.targets:
        others = [other for other in route.targets if other is not target]
        low, high = _tokens(target)
        if not any(low <= _tokens(other)[1] and _tokens(other)[0] <= high for other in others):
            yield Finding(
                Severity.WARNING, route.key, target.name, "has no fallback: no other target takes prompts of its length"
            )
    places = {(target.endpoint, target.model) for target in route.targets if target.endpoint}
    if len(places) == 1 and all(target.endpoint for target in route.targets):
        yield Finding(
            Severity.WARNING, route.key, "", "has one place under several names: when it fails, all targets fail"
        )


def _gaps(route: Route) -> Iterator[Finding]:
    """Lengths of prompts that no target takes, whatever else the request is."""
    reached = 0
    for low, high in sorted(_tokens(target) for target in route.targets):
        if low > reached:
            yield _gap(route, reached, low - 1)
        reached = max(reached, high + 1)
    if reached <= _NO_END:
        yield _gap(route, reached, None)
    ranked = [target for target in route.targets if target.conditions is not None]
    if len(ranked) == len(route.targets) and all(
        target.conditions is not None and (target.conditions.pattern or target.conditions.min_rank > 0)
        for target in ranked
    ):
        yield Finding(
            Severity.WARNING,
            route.key,
            "",
            "every target has a requestPattern or a minPriority: a request that meets none of them has no target",
        )


def _gap(route: Route, low: int, high: int | None) -> Finding:
    lengths = f"of {low} tokens and more" if high is None else f"of {low} to {high} tokens"
    return Finding(Severity.WARNING, route.key, "", f"no target takes prompts {lengths}")


def _tokens(target: Target) -> tuple[int, int]:
    """The lengths of prompts that the target takes, both ends included."""
    if target.conditions is None:
        return 0, _NO_END
    most = target.conditions.max_tokens
    return target.conditions.min_tokens, _NO_END if most is None else most
