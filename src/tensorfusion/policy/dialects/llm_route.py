"""LLMRoute: the loose dialects and what they say in the schema, one table.

Source: the platform's contract, loose dialects of LLMRoute.
"""

import re

from tensorfusion.model import keys
from tensorfusion.policy.dialects.draft import (
    ABSENT,
    Draft,
    Json,
    Step,
    Untranslatable,
    drop,
    move,
    number,
    one_of,
    percent,
    plain_number,
    run,
    same,
    text,
)

DISPLAY_NAME = ("metadata", "annotations", f"{keys.DOMAIN}/display-name")
DESCRIPTION = ("metadata", "annotations", f"{keys.DOMAIN}/description")

_STRATEGIES = {
    "cost": "cost-optimized",
    "latency": "latency-optimized",
    "roundrobin": "round-robin",
    "fallback": "priority",
    "availability": "priority",
    "pattern-match": "priority",
    "failover": "priority",
    "cost-optimized": "cost-optimized",
    "latency-optimized": "latency-optimized",
    "round-robin": "round-robin",
    "weighted": "weighted",
    "priority": "priority",
    "loadtest": "loadtest",
}
_strategy = one_of(_STRATEGIES, "cost-optimized, latency-optimized, round-robin, weighted, priority or loadtest")
_exceeded = one_of(
    {"block": "reject", "reject": "reject", "alert": "alert", "queue": "queue", "fallback-cheaper": "fallback-cheaper"},
    "reject, queue, fallback-cheaper or alert",
)


def _shape_of_strategy(draft: Draft) -> None:
    if not isinstance(draft.get("spec.strategy"), dict):
        draft.move("spec.strategy", "spec.strategy", _strategy)
        return
    block = draft.take("spec.strategy")
    draft.say("spec.strategy.type", block.pop("type", ABSENT), "spec.strategy", _strategy)
    draft.say("spec.strategy.timeout", block.pop("timeout", ABSENT), "spec.timeout")
    draft.say("spec.strategy.retries", block.pop("retries", ABSENT), "spec.retry.maxRetries")
    for key, value in block.items():
        draft.refuse(("spec", "strategy", key), "only type, timeout and retries", value)


def _switch(path: str, new: str) -> Step:
    """``x: {enabled: true}`` or ``x: true`` as one field."""

    def step(draft: Draft) -> None:
        value = draft.get(path)
        if isinstance(value, bool):
            draft.move(path, new)
        elif isinstance(value, dict):
            draft.move(f"{path}.enabled", new)
            draft.rest(path, "only enabled")

    return step


def _cost_tracking(draft: Draft) -> None:
    if not isinstance(draft.get("spec.costTracking"), dict):
        return
    if draft.get("spec.costTracking.enabled") is False:
        draft.drop("spec.costTracking", "it is switched off")
        return
    draft.drop("spec.costTracking.enabled", "costs are always tracked")
    draft.move("spec.costTracking.budget.daily", "spec.budget.dailyLimit", text)
    draft.move("spec.costTracking.budget.monthly", "spec.budget.monthlyLimit", text)
    draft.prune("spec.costTracking.budget")
    draft.move("spec.costTracking.alertThreshold", "spec.budget.alertThresholdPercent", percent)
    draft.rest("spec.costTracking", "only enabled, budget (daily, monthly) and alertThreshold")


def _pattern(value: Json) -> str:
    if not isinstance(value, str):
        raise Untranslatable("the name of a model")
    return f"^{re.escape(value)}.*"


def _load_balancing(draft: Draft) -> None:
    draft.move("spec.loadBalancing.strategy", "spec.strategy", _strategy)
    _switch("spec.loadBalancing.failover", "spec.enableFallback")(draft)
    rotate = draft.get("spec.loadBalancing.roundRobin")
    on = rotate.get("enabled", True) if isinstance(rotate, dict) else rotate
    if rotate is not ABSENT and on is True and not draft.has("spec.strategy"):
        draft.take("spec.loadBalancing.roundRobin")
        draft.put("spec.strategy", "round-robin")
        draft.note("spec.loadBalancing.roundRobin -> spec.strategy: round-robin")
    elif rotate is not ABSENT:
        draft.drop("spec.loadBalancing.roundRobin", "targets of equal priority share requests by their weight")
    draft.rest("spec.loadBalancing", "only strategy, failover and roundRobin")


def _routes(draft: Draft) -> None:
    """``routes`` count priority the other way round: there higher is preferred."""
    routes = draft.get("spec.routes")
    if routes is ABSENT:
        return
    if not isinstance(routes, list) or not all(isinstance(route, dict) for route in routes):
        draft.refuse("spec.routes", "a list of objects", routes)
        return
    if draft.has("spec.targets"):
        draft.refuse("spec.routes", "targets or routes, not both", routes)
        return
    draft.put("spec.targets", draft.take("spec.routes"))
    draft.note(f"spec.routes -> spec.targets: a list of {len(routes)}")
    for index in range(len(routes)):
        where = ("spec", "targets", index)
        draft.move((*where, "modelName"), (*where, "model"))
        draft.move((*where, "backend"), (*where, "endpoint"), _endpoint)
        draft.move((*where, "priority"), (*where, "priority"), _turned)
        draft.drop((*where, "description"), "a target has no description")
        if not draft.has((*where, "provider")):
            draft.put((*where, "provider"), "self-hosted")
            draft.note(f"spec.targets[{index}].provider: nothing -> self-hosted")
        cost = draft.get((*where, "costPerToken"))
        if cost is not ABSENT:
            draft.move((*where, "costPerToken"), (*where, "costPer1MInput"), _per_million)
            if draft.has((*where, "costPer1MInput")):
                draft.put((*where, "costPer1MOutput"), draft.get((*where, "costPer1MInput")))
        draft.move((*where, "conditions", "pattern"), (*where, "conditions", "requestPattern"))


def _endpoint(value: Json) -> str:
    if not isinstance(value, str) or not value or " " in value:
        raise Untranslatable("a host or a URL")
    return value if "://" in value else f"http://{value}"


def _turned(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Untranslatable("a whole number")
    return max(1, 101 - value)


def _per_million(value: Json) -> str:
    return plain_number(float(number(value) * 1_000_000))


def _targets(draft: Draft) -> None:
    targets = draft.get("spec.targets")
    if not isinstance(targets, list):
        return
    for index, target in enumerate(targets):
        if not isinstance(target, dict):
            continue
        where = ("spec", "targets", index)
        for field in ("costPer1MInput", "costPer1MOutput"):
            draft.move((*where, field), (*where, field), text)
        if "name" not in target and isinstance(target.get("provider"), str) and isinstance(target.get("model"), str):
            name = f"{target['provider']}-{target['model']}-{index}"
            draft.put((*where, "name"), name)
            draft.note(f"spec.targets[{index}].name: nothing -> {name}")


def _errors(value: Json) -> Json:
    return [text(one) for one in value] if isinstance(value, list) else value


TABLE: tuple[Step, ...] = (
    lambda draft: draft.move("spec.name", DISPLAY_NAME),
    lambda draft: draft.move("spec.description", DESCRIPTION),
    _shape_of_strategy,
    _load_balancing,
    move("spec.cache", "spec.caching"),
    _switch("spec.fallback", "spec.enableFallback"),
    _cost_tracking,
    move("spec.budget.daily", "spec.budget.dailyLimit", text),
    move("spec.budget.monthly", "spec.budget.monthlyLimit", text),
    move("spec.budget.exceedStrategy", "spec.budget.onExceeded", _exceeded),
    *(same(f"spec.budget.{field}", text) for field in ("dailyLimit", "monthlyLimit", "maxCostPerRequest")),
    move("spec.selector.modelName", "spec.selector.modelPattern", _pattern),
    move("spec.selector.labels", "spec.selector.labelSelector.matchLabels"),
    same("spec.caching.similarityThreshold", text),
    same("spec.retry.backoffMultiplier", text),
    same("spec.retry.retryOnErrors", _errors),
    drop("spec.rateLimit.enabled", "a rate limit that is stated is on"),
    _routes,
    _targets,
)


def rewrite(draft: Draft) -> None:
    """Rewrite a manifest in place."""
    run(draft, TABLE)
