"""What is learned about targets while they answer: how long they take, and how much they say.

Floats: these numbers are only compared.
"""

from collections import deque
from statistics import median

HALF_LIFE = 10.0
"""Seconds after which what was seen counts half."""
_SAMPLES = 64
_ANSWER_SHARE = 1 / 16
FIRST_GUESS = 256
"""Tokens that an answer is expected to have before any was seen."""


class PeakEwma:
    """A mean that forgets with time, and believes the worst at once: a slower sample replaces it, a faster one mixes.

    Source: peak EWMA of Finagle's load balancers.
    """

    __slots__ = ("_at", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self._at = 0.0

    def observe(self, sample: float, now: float) -> None:
        if self.value is None or sample >= self.value:
            self.value = sample
        else:
            kept = 0.5 ** (max(0.0, now - self._at) / HALF_LIFE)
            self.value = sample + (self.value - sample) * kept
        self._at = now


class Speed:
    """How fast one target answers: seconds to the first token, and for each further one."""

    __slots__ = ("_recent", "first_token", "per_token")

    def __init__(self) -> None:
        self.first_token = PeakEwma()
        self.per_token = PeakEwma()
        self._recent: deque[float] = deque(maxlen=_SAMPLES)

    def began(self, seconds: float, now: float) -> None:
        """The first token came after so many seconds."""
        self.first_token.observe(seconds, now)
        self._recent.append(seconds)

    def ended(self, seconds: float, first: float, tokens: int, now: float) -> None:
        """A whole answer of so many tokens."""
        if tokens > 1:
            self.per_token.observe(max(0.0, seconds - first) / (tokens - 1), now)

    def failed(self, seconds: float, now: float) -> None:
        """No answer within that time. A quick failure does not make a target fast; a slow one makes it slow."""
        known = self.first_token.value
        if known is not None and seconds > known:
            self.first_token.observe(seconds, now)

    def predicted(self, tokens: int) -> float | None:
        """Seconds of an answer with so many tokens; None before the first one was seen."""
        first = self.first_token.value
        return None if first is None else first + tokens * (self.per_token.value or 0.0)

    @property
    def median_first_token(self) -> float | None:
        """Of the latest answers."""
        return median(self._recent) if self._recent else None


class Lengths:
    """How many tokens answers have."""

    __slots__ = ("_mean",)

    def __init__(self) -> None:
        self._mean: float | None = None

    def observe(self, tokens: int) -> None:
        self._mean = tokens if self._mean is None else self._mean + (tokens - self._mean) * _ANSWER_SHARE

    def expected(self, max_tokens: int | None) -> int:
        """Tokens of the next answer: what was usual, never more than it may have."""
        usual = FIRST_GUESS if self._mean is None else round(self._mean)
        return usual if max_tokens is None else min(usual, max_tokens)
