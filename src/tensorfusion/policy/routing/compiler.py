"""LLMRoute objects to compiled routes: everything is parsed here, once, and what cannot be used is named.

A broken route is left out and reported; the others work. The API server has checked most of it before; a file has been
checked by nobody.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.llm_route import (
    CachingConfig,
    CostBudget,
    LLMRoute,
    RateLimit,
    RetryConfig,
    Rollout,
    RouteStrategy,
)
from tensorfusion.model.llm_target import LLMTarget, TargetCapability, TargetConditions
from tensorfusion.policy.routing.asks import PRIORITY_RANKS
from tensorfusion.policy.routing.money import FREE, Price, parse_usd
from tensorfusion.policy.routing.patterns import LONGEST_MESSAGE, BoundedPattern
from tensorfusion.policy.routing.route import (
    RETRIED_STATUSES,
    Budget,
    Caching,
    Conditions,
    JsonValue,
    RateRules,
    RetryRules,
    RolloutPlan,
    Route,
    Target,
    Timers,
)

MOST_TARGETS = 64
OWN_PROVIDERS = frozenset({"self-hosted", "vllm", "sglang"})
"""Providers whose tokens cost nothing more where no price is stated: their GPUs are paid for."""

_NANO = 1_000_000_000
T = TypeVar("T")


class InvalidRoute(InvalidRequest):
    """One field of one route that cannot be used. ``route`` is ``namespace/name``."""

    def __init__(self, route: str, field: str, problem: str) -> None:
        self.route = route
        self.field = field
        self.problem = problem
        super().__init__(f"LLMRoute {route}: {field}: {problem}")


@dataclass(frozen=True, slots=True)
class _Fields:
    """Where in which object something is read, for the error."""

    route: str
    path: str = "spec"

    def under(self, name: str) -> "_Fields":
        return _Fields(self.route, f"{self.path}{name}" if name.startswith("[") else f"{self.path}.{name}")

    def read(self, name: str, parse: Callable[[str], T], text: str) -> T:
        try:
            return parse(text)
        except InvalidRequest as error:
            raise InvalidRoute(self.route, self.under(name).path, str(error)) from error

    def refuse(self, name: str, problem: str) -> InvalidRoute:
        return InvalidRoute(self.route, self.under(name).path if name else self.path, problem)


def compile_route(route: LLMRoute, prices: Mapping[str, Price] | None = None, *, one_author: bool = False) -> Route:
    """The compiled form of one object. ``prices`` are by model, for targets that state none.

    A route uses credentials of its own namespace only: whoever may write routes in one namespace could otherwise have
    those of another sent to an endpoint of their choice. ``one_author`` lifts that, for routes that are all of one hand
    (a file).

    Raises:
        InvalidRoute: a field cannot be used; the error names it.
    """
    spec, at = route.spec, _Fields(str(route.key))
    if not spec.targets:
        raise at.refuse("targets", "wanted at least one target, found none")
    if len(spec.targets) > MOST_TARGETS:
        raise at.refuse("targets", f"wanted at most {MOST_TARGETS}, found {len(spec.targets)}")
    names = [target.name for target in spec.targets]
    for name in names:
        if names.count(name) > 1:
            raise at.refuse("targets", f"wanted names that differ, found {name!r} twice")
    targets: list[Target] = []
    for place, written in enumerate(spec.targets):
        where = at.under(f"targets[{place}]")
        found = _target(written, where, index=len(targets), prices=prices or {})
        if not one_author and found.secret is not None and found.secret.namespace != route.metadata.namespace:
            raise where.refuse(
                "apiKeySecret.namespace",
                f"wanted {route.metadata.namespace}, for a route uses credentials of its own namespace only, found "
                f"{found.secret.namespace}: copy the Secret there",
            )
        if written.enabled:
            targets.append(found)
    if not targets:
        raise at.refuse("targets", "wanted at least one enabled target, found none: set enabled: true")
    plan = _rollout(spec.rollout, targets, at.under("rollout"), uid=route.metadata.uid)
    if plan is not None and spec.strategy is not RouteStrategy.WEIGHTED:
        raise at.refuse("rollout", f"wanted strategy weighted, found {spec.strategy}: a rollout is a change of weights")
    return Route(
        namespace=route.metadata.namespace,
        name=route.metadata.name,
        targets=tuple(targets),
        strategy=spec.strategy,
        enable_fallback=spec.enable_fallback,
        timers=Timers(
            first_byte=at.read("timeout", positive_seconds, spec.timeout),
            first_token=at.read("firstTokenTimeout", positive_seconds, spec.first_token_timeout),
        ),
        retry=_retry(spec.retry, at.under("retry")),
        mid_stream=spec.mid_stream,
        rate=_rate(spec.rate_limit),
        budget=_budget(spec.budget, at.under("budget")),
        caching=_caching(spec.caching, at.under("caching")),
        conditional=any(target.conditions for target in targets),
        aliases=_aliases(spec.aliases, at),
        versions={
            f"{alias}@{version}": sum(target.bit for target in targets if target.version == version)
            for alias in spec.aliases
            for version in {target.version for target in targets if target.version}
        },
        rollout=plan,
    )


def seconds(text: str) -> float:
    """A duration in seconds.

    Raises:
        InvalidRequest: the text is no duration.
    """
    return parse_duration(text) / _NANO


def positive_seconds(text: str) -> float:
    """A duration in seconds that is longer than none.

    Raises:
        InvalidRequest: the text is no duration, or 0.
    """
    found = seconds(text)
    if found <= 0:
        raise InvalidRequest(f"wanted a time above 0, found {text!r}")
    return found


def parameter(text: str) -> JsonValue:
    """A request parameter as JSON: numbers, true, false, null, lists and objects as such; anything else is a string."""
    try:
        found: JsonValue = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return text if isinstance(found, str) else found


def decimal(text: str) -> float:
    """A plain decimal number that is only compared or multiplied with.

    Raises:
        InvalidRequest: the text is none.
    """
    if len(text) > 24 or not text[:1].isdigit() or not set(text) <= set("0123456789.") or text.count(".") > 1:
        raise InvalidRequest(f"{text[:32]!r} is no number: write a decimal, such as 2 or 1.5")
    return float(text)


def _target(written: LLMTarget, at: _Fields, *, index: int, prices: Mapping[str, Price]) -> Target:
    if not written.name:
        raise at.refuse("name", "wanted a name, found none")
    if not 1 <= written.weight <= 100:
        raise at.refuse("weight", f"wanted 1 to 100, found {written.weight}")
    if written.max_concurrency is not None and written.max_concurrency < 1:
        raise at.refuse("maxConcurrency", f"wanted at least 1, found {written.max_concurrency}")
    if written.endpoint and not written.endpoint.startswith(("http://", "https://")):
        raise at.refuse("endpoint", f"wanted a URL with http:// or https://, found {written.endpoint[:64]!r}")
    return Target(
        index=index,
        name=written.name,
        provider=written.provider,
        model=written.model,
        endpoint=written.endpoint,
        pool=written.gpu_pool,
        azure_source=written.azure_gpu_source,
        secret=written.api_key_secret,
        weight=written.weight,
        priority=written.priority,
        parameters={name: parameter(text) for name, text in written.parameters.items()},
        price=_price(written, at, prices),
        conditions=_conditions(written.conditions, at.under("conditions")),
        max_concurrency=written.max_concurrency,
        context_length=written.context_length,
        prefill=TargetCapability.PREFILL in written.capabilities,
        version=written.version,
    )


def _price(written: LLMTarget, at: _Fields, prices: Mapping[str, Price]) -> Price | None:
    """The stated price, else the table's, else nothing more for one's own GPUs. One half stated: the other is free."""
    put_in = at.read("costPer1MInput", parse_usd, written.cost_per_1m_input) if written.cost_per_1m_input else None
    out = at.read("costPer1MOutput", parse_usd, written.cost_per_1m_output) if written.cost_per_1m_output else None
    if put_in is not None or out is not None:
        return Price(put_in or 0, out or 0)
    return prices.get(written.model) or (FREE if written.provider in OWN_PROVIDERS else None)


def _conditions(written: TargetConditions | None, at: _Fields) -> Conditions | None:
    if written is None:
        return None
    low, high = written.min_tokens or 0, written.max_tokens
    if high is not None and high < low:
        raise at.refuse("maxTokens", f"wanted at least minTokens ({low}), found {high}")
    pattern = written.request_pattern
    return Conditions(
        min_tokens=low,
        max_tokens=high,
        min_rank=-1 if written.min_priority is None else PRIORITY_RANKS[written.min_priority],
        pattern=at.read("requestPattern", lambda text: BoundedPattern(text, LONGEST_MESSAGE), pattern)
        if pattern
        else None,
    )


def _retry(written: RetryConfig | None, at: _Fields) -> RetryRules:
    if written is None:
        return RetryRules()
    multiplier = at.read("backoffMultiplier", decimal, written.backoff_multiplier)
    if multiplier < 1:
        raise at.refuse("backoffMultiplier", f"wanted at least 1, found {written.backoff_multiplier!r}")
    words = set(written.retry_on_errors)
    statuses = (
        frozenset(int(word) for word in words if word.isascii() and word.isdigit()) if words else RETRIED_STATUSES
    )
    return RetryRules(
        max_retries=max(0, written.max_retries),
        initial_delay=at.read("initialDelay", seconds, written.initial_delay),
        max_delay=at.read("maxDelay", seconds, written.max_delay),
        multiplier=multiplier,
        statuses=statuses,
        connect=not words or "connect" in words,
        reset=not words or "reset" in words,
        timeout=not words or "timeout" in words,
    )


def _aliases(written: tuple[str, ...], at: _Fields) -> tuple[str, ...]:
    for place, alias in enumerate(written):
        if not alias or "@" in alias:
            raise at.refuse(f"aliases[{place}]", f"wanted a name without @, found {alias!r}: @ asks for a version")
    return written


def _rollout(written: Rollout | None, targets: Sequence[Target], at: _Fields, *, uid: str) -> RolloutPlan | None:
    """``uid`` is the route's: another one of its name, made later, rolls out anew."""
    if written is None:
        return None
    found = next((target for target in targets if target.name == written.target), None)
    if found is None or len(targets) < 2:
        raise at.refuse("target", f"wanted one of at least two enabled targets, found {written.target!r}")
    steps = written.steps
    if not steps or any(not 0 <= percent <= 100 for percent in steps) or list(steps) != sorted(set(steps)):
        raise at.refuse("steps", f"wanted percents that grow, such as 5, 25, 50, 100, found {list(steps)}")
    rate = at.read("maxErrorRate", decimal, written.max_error_rate)
    if rate > 1:
        raise at.refuse("maxErrorRate", f"wanted 0 to 1, found {written.max_error_rate!r}")
    text = "\n".join((*found.identity, found.version, *map(str, steps), *filter(None, (uid,))))
    return RolloutPlan(
        id=blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest(),
        target=found.index,
        steps=steps,
        interval=at.read("interval", seconds, written.interval),
        max_error_rate=round(rate * 1_000_000_000),
        min_requests=written.min_requests,
    )


def _rate(written: RateLimit | None) -> RateRules | None:
    if written is None:
        return None
    return RateRules(
        requests_per_minute=written.requests_per_minute or 0,
        tokens_per_minute=written.tokens_per_minute or 0,
        max_concurrent=written.max_concurrent or 0,
        per=written.per,
        burst=written.burst,
    )


def _budget(written: CostBudget | None, at: _Fields) -> Budget | None:
    if written is None:
        return None

    def usd(name: str, text: str) -> int | None:
        return at.read(name, parse_usd, text) if text else None

    return Budget(
        per_request=usd("maxCostPerRequest", written.max_cost_per_request),
        tokens_per_request=written.max_tokens_per_request,
        daily=usd("dailyLimit", written.daily_limit),
        monthly=usd("monthlyLimit", written.monthly_limit),
        on_exceeded=written.on_exceeded,
        alert_percent=written.alert_threshold_percent,
    )


def _caching(written: CachingConfig | None, at: _Fields) -> Caching | None:
    if written is None or not written.enabled:
        return None
    threshold = at.read("similarityThreshold", decimal, written.similarity_threshold)
    if threshold > 1:
        raise at.refuse("similarityThreshold", f"wanted 0 to 1, found {written.similarity_threshold!r}")
    return Caching(at.read("ttl", seconds, written.ttl), threshold, written.key_includes)
