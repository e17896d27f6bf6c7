"""What is known about the targets of one route in one worker, and the tickets of the attempts under way."""

from dataclasses import dataclass
from typing import Protocol

from tensorfusion.model.llm_route import Circuit
from tensorfusion.policy.routing.breaker import Breaker
from tensorfusion.policy.routing.learning import Speed
from tensorfusion.policy.routing.route import Target

_LONGEST_ERROR = 256


class TargetState:
    """The moving facts about one target. They outlive a reload that leaves the target what it is."""

    __slots__ = ("breaker", "failures", "in_flight", "last_error", "requests", "speed", "used_at")

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.speed = Speed()
        self.in_flight = 0
        self.used_at: float | None = None
        """When an attempt last began."""
        self.last_error = ""
        self.requests = 0
        """Attempts that ended and say something about the target, ever."""
        self.failures = 0

    def failed(self, text: str) -> None:
        """An attempt failed."""
        self.last_error = text[:_LONGEST_ERROR]


class Ticket:
    """One attempt under way. It ends once, however often that is said."""

    __slots__ = ("first_token_after", "open", "probe", "started_at", "state", "target")

    def __init__(self, target: Target, state: TargetState, now: float, *, probe: bool) -> None:
        self.target = target
        self.state = state
        self.started_at = now
        self.probe = probe
        self.open = True
        self.first_token_after: float | None = None


class Walk(Protocol):
    """A way through the targets that something else than the route's strategy decides."""

    @property
    def reason(self) -> str:
        """Why there is nobody to ask, where there is nobody."""

    def first(self) -> int | None:
        """The index of the first target."""

    def after(self, index: int, status: int) -> int | None:
        """The index of the target after one that failed with the status; 0 where it did not even answer."""


class Attempts:
    """What one request has tried so far. Make one for each request."""

    __slots__ = ("counted", "moves", "retries", "tried", "walk")

    def __init__(self, walk: Walk | None = None) -> None:
        self.tried = 0
        """Mask of the targets that are given up, or that whoever asks knows to be of no use."""
        self.counted = False
        """The request is among those that the budget of further attempts is a part of."""
        self.retries = 0
        """How often the present target was asked again."""
        self.moves = 0
        """How often the request went on to another target."""
        self.walk = walk


@dataclass(frozen=True, slots=True)
class TargetReport:
    """How one target does. ``error_rate`` is of the last 30 s; times in seconds, None where nothing was seen."""

    name: str
    circuit: Circuit
    in_flight: int
    attempts: int
    failures: int
    first_token_p50: float | None
    last_error: str

    @property
    def healthy(self) -> bool:
        return self.circuit is not Circuit.OPEN

    @property
    def error_rate(self) -> float:
        return self.failures / self.attempts if self.attempts else 0.0


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why no target can be chosen: one reason for each target. ``retry_after`` in seconds where waiting helps."""

    reasons: tuple[tuple[str, str], ...]
    retry_after: float | None = None

    def __str__(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.reasons) or "the route has no targets"
