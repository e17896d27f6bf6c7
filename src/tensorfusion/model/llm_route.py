"""LLMRoute: which requests go to which models, what they may cost, and what happens when a target fails.

Source: LLMRoute of the platform's contract. Ours: ``rateLimit``, ``firstTokenTimeout``, ``midStream``, an alert instead
of a refusal beyond the budget (``onExceeded: alert``, ``alertThresholdPercent``), ``aliases``, ``rollout``, and
``status.targets``.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.llm_target import LLMTarget
from tensorfusion.model.meta import Condition, LabelSelector, Object
from tensorfusion.model.rules import (
    Cel,
    Column,
    Count,
    Decimal,
    Duration,
    Fraction,
    Money,
    Part,
    Percent,
    Regex,
    Rules,
    Time,
    UInt64,
)


class RouteStrategy(StrEnum):
    """How a target is chosen among those that can take a request."""

    COST_OPTIMIZED = "cost-optimized"
    LATENCY_OPTIMIZED = "latency-optimized"
    ROUND_ROBIN = "round-robin"
    WEIGHTED = "weighted"
    PRIORITY = "priority"
    LOADTEST = "loadtest"


class OnExceeded(StrEnum):
    """What becomes of a request beyond the budget."""

    REJECT = "reject"
    QUEUE = "queue"
    FALLBACK_CHEAPER = "fallback-cheaper"
    ALERT = "alert"


class MidStream(StrEnum):
    """What becomes of an answer whose target fails after its first word."""

    SPLICE = "splice"
    ERROR = "error"
    BUFFER = "buffer"


class RatePer(StrEnum):
    ROUTE = "route"
    KEY = "key"
    USER = "user"
    NAMESPACE = "namespace"


class RoutePhase(StrEnum):
    PENDING = "Pending"
    ACTIVE = "Active"
    ERROR = "Error"
    BUDGET_EXCEEDED = "BudgetExceeded"


class Circuit(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class RolloutPhase(StrEnum):
    PROGRESSING = "Progressing"
    COMPLETE = "Complete"
    ROLLED_BACK = "RolledBack"


_ONE_TARGET = (Cel("self.exists(t, !has(t.enabled) || t.enabled)", "at least one target must be enabled"),)


class LLMSelector(Part, frozen=True):
    """Requests that the route takes: every stated field must match, any entry of a list is enough."""

    namespaces: Annotated[tuple[str, ...], Rules("Namespaces of the callers.")] = ()
    label_selector: Annotated[LabelSelector | None, Rules("Labels of the callers' pods.")] = msgspec.field(
        default=None, name="labelSelector"
    )
    model_pattern: Annotated[Regex, Rules("Regular expression that the asked model matches.")] = msgspec.field(
        default="", name="modelPattern"
    )
    users: Annotated[tuple[str, ...], Rules("Users or tenants.")] = ()


class CostBudget(Part, frozen=True):
    """What requests may cost. Days and months are UTC."""

    max_cost_per_request: Annotated[Money, Rules("Dollars of one request at most.")] = msgspec.field(
        default="", name="maxCostPerRequest"
    )
    max_tokens_per_request: Annotated[Count | None, Rules("Tokens of one request at most.")] = msgspec.field(
        default=None, name="maxTokensPerRequest"
    )
    daily_limit: Annotated[Money, Rules("Dollars a day at most.")] = msgspec.field(default="", name="dailyLimit")
    monthly_limit: Annotated[Money, Rules("Dollars a month at most.")] = msgspec.field(default="", name="monthlyLimit")
    on_exceeded: Annotated[OnExceeded, Rules("What becomes of a request beyond the budget.")] = msgspec.field(
        default=OnExceeded.REJECT, name="onExceeded"
    )
    alert_threshold_percent: Annotated[Percent | None, Rules("Alert once this much of a limit is used.")] = (
        msgspec.field(default=None, name="alertThresholdPercent")
    )


class CachingConfig(Part, frozen=True):
    """Answering like requests from memory."""

    enabled: Annotated[bool, Rules("Answer like requests from memory.")] = True
    ttl: Annotated[Duration, Rules("How long an answer is kept.")] = "1h"
    similarity_threshold: Annotated[Fraction, Rules("How alike requests must be, 0 to 1.")] = msgspec.field(
        default="0.95", name="similarityThreshold"
    )
    key_includes: Annotated[tuple[str, ...], Rules("Parts of a request that must be equal.")] = msgspec.field(
        default=(), name="keyIncludes"
    )


ModelName = Annotated[str, Rules(pattern=r"^[^@\s]+$", min_length=1, max_length=128)]
RetryError = Annotated[str, Rules(pattern=r"^([1-5][0-9]{2}|connect|reset|timeout)$")]


class RetryConfig(Part, frozen=True):
    """Asking the same target again."""

    max_retries: Annotated[Count, Rules("Further attempts at most.")] = msgspec.field(default=3, name="maxRetries")
    initial_delay: Annotated[Duration, Rules("Pause before the first further attempt.")] = msgspec.field(
        default="1s", name="initialDelay"
    )
    max_delay: Annotated[Duration, Rules("Longest pause.")] = msgspec.field(default="10s", name="maxDelay")
    backoff_multiplier: Annotated[Decimal, Rules("Each pause is this many times the one before.")] = msgspec.field(
        default="2", name="backoffMultiplier"
    )
    retry_on_errors: Annotated[
        tuple[RetryError, ...], Rules("HTTP codes, connect, reset or timeout; unset means those that may pass.")
    ] = msgspec.field(default=(), name="retryOnErrors")


class RateLimit(Part, frozen=True):
    """How much may come in; 0 is unlimited."""

    requests_per_minute: Annotated[Count | None, Rules("Requests a minute.")] = msgspec.field(
        default=None, name="requestsPerMinute"
    )
    tokens_per_minute: Annotated[UInt64 | None, Rules("Tokens a minute.")] = msgspec.field(
        default=None, name="tokensPerMinute"
    )
    max_concurrent: Annotated[Count | None, Rules("Requests in flight.")] = msgspec.field(
        default=None, name="maxConcurrent"
    )
    per: Annotated[RatePer, Rules("What is counted apart.")] = RatePer.KEY
    burst: Annotated[Count | None, Rules("Requests at once; one minute's worth where unset.")] = None


class Rollout(Part, frozen=True):
    """Moving requests to a new target step by step, and away from it when it fails too often."""

    target: Annotated[str, Rules("Name of the new target.", min_length=1, max_length=253)]
    steps: Annotated[
        tuple[Percent, ...],
        Rules("Percent of the requests that the new target gets, step by step.", min_items=1, max_items=32),
    ] = (5, 25, 50, 100)
    interval: Annotated[Duration, Rules("How long a step lasts at least.")] = "10m"
    max_error_rate: Annotated[Fraction, Rules("Back to 0 percent above this part of failed requests.")] = msgspec.field(
        default="0.05", name="maxErrorRate"
    )
    min_requests: Annotated[Count, Rules("Requests that a step has to have seen before anything is decided.")] = (
        msgspec.field(default=20, name="minRequests")
    )


class LLMRouteSpec(Part, frozen=True):
    """Requests, targets and rules of the route."""

    cel = (
        Cel(
            "!has(self.rollout) || self.strategy == 'weighted'"
            " && self.targets.exists(target, target.name == self.rollout.target)",
            "rollout needs strategy weighted and the name of one of the targets",
        ),
    )

    portkey_config_id: Annotated[str, Rules("Id of a managed configuration; the controller writes it.")] = (
        msgspec.field(default="", name="portkeyConfigID")
    )
    strategy: Annotated[RouteStrategy, Rules("How a target is chosen.")] = RouteStrategy.COST_OPTIMIZED
    targets: Annotated[
        tuple[LLMTarget, ...],
        Rules(
            "Where requests may go; the order decides between equals.",
            required=True,
            map_key="name",
            min_items=1,
            max_items=64,
            cel=_ONE_TARGET,
        ),
    ] = ()
    selector: Annotated[LLMSelector | None, Rules("Requests that the route takes; unset takes all.")] = None
    budget: Annotated[CostBudget | None, Rules("What requests may cost.")] = None
    caching: Annotated[CachingConfig | None, Rules("Answering like requests from memory; unset is off.")] = None
    retry: Annotated[RetryConfig | None, Rules("Asking the same target again; unset is off.")] = None
    timeout: Annotated[Duration, Rules("Time to the first byte of an answer, each attempt.")] = "30s"
    first_token_timeout: Annotated[Duration, Rules("Time to the first word, while another target can answer.")] = (
        msgspec.field(default="12s", name="firstTokenTimeout")
    )
    mid_stream: Annotated[MidStream, Rules("When a target fails in the middle of an answer.")] = msgspec.field(
        default=MidStream.SPLICE, name="midStream"
    )
    enable_fallback: Annotated[bool, Rules("Ask the next target when one fails.")] = msgspec.field(
        default=True, name="enableFallback"
    )
    rate_limit: Annotated[RateLimit | None, Rules("How much may come in.")] = msgspec.field(
        default=None, name="rateLimit"
    )
    aliases: Annotated[
        tuple[ModelName, ...],
        Rules(
            "Names of models that the route answers to; NAME@VERSION asks for its targets of that version.",
            max_items=32,
        ),
    ] = ()
    rollout: Annotated[Rollout | None, Rules("Moving requests to a new target step by step.")] = None


class RouteStats(Part, frozen=True):
    """Requests since the route exists."""

    total_requests: Annotated[UInt64, Rules("All requests.")] = msgspec.field(default=0, name="totalRequests")
    successful_requests: Annotated[UInt64, Rules("Requests with an answer.")] = msgspec.field(
        default=0, name="successfulRequests"
    )
    failed_requests: Annotated[UInt64, Rules("Requests without one.")] = msgspec.field(default=0, name="failedRequests")
    cached_requests: Annotated[UInt64, Rules("Requests answered from memory.")] = msgspec.field(
        default=0, name="cachedRequests"
    )
    average_latency: Annotated[str, Rules("Mean time to the end of an answer.")] = msgspec.field(
        default="", name="averageLatency"
    )
    p95_latency: Annotated[str, Rules("95th percentile of it.")] = msgspec.field(default="", name="p95Latency")
    p99_latency: Annotated[str, Rules("99th percentile of it.")] = msgspec.field(default="", name="p99Latency")


class CostTracking(Part, frozen=True):
    """What requests cost, in dollars."""

    total_cost: Annotated[str, Rules("Since the route exists.")] = msgspec.field(default="", name="totalCost")
    cost_today: Annotated[str, Rules("Today (UTC).")] = msgspec.field(default="", name="costToday")
    cost_this_month: Annotated[str, Rules("This month (UTC).")] = msgspec.field(default="", name="costThisMonth")
    estimated_monthly_cost: Annotated[str, Rules("This month, at the present pace.")] = msgspec.field(
        default="", name="estimatedMonthlyCost"
    )
    total_tokens: Annotated[UInt64, Rules("Tokens since the route exists.")] = msgspec.field(
        default=0, name="totalTokens"
    )


class TargetStatus(Part, frozen=True):
    """How one target does."""

    name: Annotated[str, Rules("Name of the target.")]
    healthy: Annotated[bool | None, Rules("The target answers.")] = None
    circuit: Annotated[Circuit | None, Rules("Whether requests go there.")] = None
    in_flight: Annotated[Count | None, Rules("Requests under way.")] = msgspec.field(default=None, name="inFlight")
    ttft_p50: Annotated[str, Rules("Median time to the first word.")] = msgspec.field(default="", name="ttftP50")
    error_rate: Annotated[str, Rules("Part of the requests that fail.")] = msgspec.field(default="", name="errorRate")
    last_error: Annotated[str, Rules("The latest failure.")] = msgspec.field(default="", name="lastError")


class RolloutStatus(Part, frozen=True):
    """How far a rollout is."""

    id: Annotated[str, Rules("Which rollout: another target or other steps make another one.")]
    target: Annotated[str, Rules("The new target.")] = ""
    phase: Annotated[RolloutPhase, Rules("Progressing, Complete or RolledBack.")] = RolloutPhase.PROGRESSING
    step: Annotated[Count, Rules("Which of the steps, counted from 0.")] = 0
    percent: Annotated[Percent, Rules("Percent of the requests that the new target gets.")] = 0
    since: Annotated[Time | None, Rules("When the step began.")] = None
    message: Annotated[str, Rules("What it waits for, or why it went back.")] = ""


class LLMRouteStatus(Part, frozen=True):
    """How the route does."""

    phase: Annotated[RoutePhase, Rules("Active once requests are served.")] = RoutePhase.PENDING
    conditions: Annotated[
        tuple[Condition, ...], Rules("Accepted, TargetsResolved, SecretsResolved, BudgetAvailable.", map_key="type")
    ] = ()
    active_target: Annotated[str, Rules("Target of the latest request.")] = msgspec.field(
        default="", name="activeTarget"
    )
    last_updated: Annotated[Time | None, Rules("When the numbers were written.")] = msgspec.field(
        default=None, name="lastUpdated"
    )
    stats: Annotated[RouteStats | None, Rules("Requests since the route exists.")] = None
    cost_tracking: Annotated[CostTracking | None, Rules("What requests cost.")] = msgspec.field(
        default=None, name="costTracking"
    )
    targets: Annotated[tuple[TargetStatus, ...], Rules("How each target does.", map_key="name")] = ()
    rollout: Annotated[RolloutStatus | None, Rules("How far the rollout is.")] = None


class LLMRoute(Object, frozen=True):
    """Which requests go to which models, what they may cost, and what happens when one fails."""

    spec: Annotated[LLMRouteSpec, Rules("Requests, targets and rules of the route.", required=True)] = msgspec.field(
        default_factory=LLMRouteSpec
    )
    status: Annotated[LLMRouteStatus, Rules("How the route does.")] = msgspec.field(default_factory=LLMRouteStatus)


COLUMNS = (
    Column("Strategy", ".spec.strategy"),
    Column("Phase", ".status.phase"),
    Column("Active Target", ".status.activeTarget"),
    Column("Total Requests", ".status.stats.totalRequests", "integer"),
    Column("Cost Today", ".status.costTracking.costToday"),
)
