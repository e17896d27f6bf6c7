"""A compiled route: everything of an LLMRoute that a request needs, parsed once. Immutable; safe to share.

Sets of targets are bit masks over their indices (bit 0 is the first enabled target): a route has at most 64.

Units: times in seconds, money as in ``money``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tensorfusion.model.common import SecretReference
from tensorfusion.model.llm_route import MidStream, OnExceeded, RatePer, RouteStrategy
from tensorfusion.policy.routing.money import Price

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


PUBLIC_PROVIDERS = frozenset({"openai", "anthropic"})
"""Providers with one address for everybody; a target of theirs needs none of its own."""


class Pattern(Protocol):
    """A regular expression that cannot take long."""

    def found_in(self, text: str) -> bool:
        """Whether the text has a place that the expression matches."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request must be for a target to take it; None and -1 ask for nothing. Tokens are those of the prompt."""

    min_tokens: int = 0
    max_tokens: int | None = None
    min_rank: int = -1
    """Least rank of ``PRIORITY_RANKS``."""
    pattern: Pattern | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One place that answers. ``index`` is its bit in masks. An empty ``model`` leaves the name that was asked for.

    ``price`` is None where nobody stated one. ``context_length`` is in tokens, None where not declared.
    ``extra_parameters`` go over what the caller stated (a Portkey configuration's), ``parameters`` under it.
    """

    index: int
    name: str
    provider: str
    model: str
    endpoint: str = ""
    pool: str = ""
    azure_source: str = ""
    secret: SecretReference | None = None
    weight: int = 50
    priority: int = 50
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    extra_parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    price: Price | None = None
    conditions: Conditions | None = None
    max_concurrency: int | None = None
    context_length: int | None = None
    prefill: bool = False
    version: str = ""
    credential: str = field(default="", repr=False)
    """A key that the caller's own configuration states, instead of ``secret``."""
    retry: "RetryRules | None" = None
    """Instead of the route's."""
    timeout: float | None = None
    """Seconds to the first byte, instead of the route's."""
    forward_headers: tuple[str, ...] = ()
    """Fields of the caller's request that go on to the target, in small letters."""

    bit: int = field(init=False, compare=False)
    """Its place in masks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bit", 1 << self.index)

    @property
    def identity(self) -> tuple[str, str, str]:
        """What must be equal for what was learned about a target to hold for another one."""
        return self.name, self.endpoint or f"{self.pool}|{self.azure_source}", self.model


@dataclass(frozen=True, slots=True)
class Timers:
    """The longest times of one attempt, and of the whole request (``total``)."""

    connect: float = 2.0
    first_byte: float = 30.0
    first_token: float = 12.0
    """To the first word; only while another target can answer."""
    idle: float = 15.0
    total: float = 600.0


RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
NEVER_RETRIED = frozenset({400, 401, 402, 403, 404, 413, 422})
"""Statuses that the same target would only repeat."""


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Asking the same target again, at most ``max_retries`` times."""

    max_retries: int = 0
    initial_delay: float = 1.0
    max_delay: float = 10.0
    multiplier: float = 2.0
    statuses: frozenset[int] = RETRIED_STATUSES
    connect: bool = True
    reset: bool = True
    timeout: bool = True
    honours_retry_after: bool = True


@dataclass(frozen=True, slots=True)
class RateRules:
    """How much may come in; 0 is unlimited. ``burst`` None is one minute's worth."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    max_concurrent: int = 0
    per: RatePer = RatePer.KEY
    burst: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What requests may cost, in micro-dollars; None is unlimited. Days and months are UTC."""

    per_request: int | None = None
    tokens_per_request: int | None = None
    daily: int | None = None
    monthly: int | None = None
    on_exceeded: OnExceeded = OnExceeded.REJECT
    alert_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Caching:
    """Answering like requests from memory."""

    ttl: float = 3600.0
    threshold: float = 0.95
    key_includes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """A new target (its index) that gets more of the requests step by step. ``max_error_rate`` in billionths.

    ``id`` differs where anything of it does, so that a changed rollout begins anew.
    """

    id: str
    target: int
    steps: tuple[int, ...]
    interval: float
    max_error_rate: int
    min_requests: int


@dataclass(frozen=True, slots=True)
class Route:
    """One compiled route. ``targets`` are the enabled ones, in the order they were written."""

    namespace: str
    name: str
    targets: tuple[Target, ...]
    strategy: RouteStrategy = RouteStrategy.COST_OPTIMIZED
    enable_fallback: bool = True
    timers: Timers = Timers()
    retry: RetryRules = RetryRules()
    mid_stream: MidStream = MidStream.SPLICE
    rate: RateRules | None = None
    budget: Budget | None = None
    caching: Caching | None = None
    conditional: bool = False
    """Some target has conditions."""
    aliases: tuple[str, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)
    """Mask of the targets for each ``alias@version``."""
    rollout: RolloutPlan | None = None
    key: str = field(init=False, compare=False)
    """``namespace/name``."""
    every: int = field(init=False, compare=False)
    """The mask of all targets."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.namespace}/{self.name}" if self.namespace else self.name)
        object.__setattr__(self, "every", (1 << len(self.targets)) - 1)
