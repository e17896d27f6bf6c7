"""What one worker has taken in advance of one counter of a cluster, and what it uses of it.

Requests that were taken are counted already; those that are not used within ``KEEP_SECONDS`` are lost, so that none are
saved up. Tokens and places are held: as many as the cluster was told, used or not.
"""

import asyncio
from typing import Final

from tensorfusion.gateway.limits.rules import TICKS_PER_NS, TICKS_PER_SECOND, Charge
from tensorfusion.gateway.limits.verdict import Step

KEEP_SECONDS: Final = 1.0
_MOST_AHEAD: Final = 64
_TICKS_PER_US: Final = 1000 * TICKS_PER_NS


class Lease:
    """Of one counter. ``now`` is seconds of one clock."""

    def __init__(self, charge: Charge) -> None:
        self.charge = charge
        self.key = f"tf:limit:{charge.high:016x}{charge.low:016x}"
        self.lock = asyncio.Lock()
        """Held while the cluster is asked about it."""
        self.requests = 0
        self.tokens = 0
        """That this worker may hold, and ``reserved`` of them are."""
        self.reserved = 0
        self.places = 0
        """That this worker may use, and ``in_flight`` of them are."""
        self.in_flight = 0
        self.used = 0
        """Tokens that were used, and that the cluster was not told of yet."""
        self.until = 0.0
        self.lately = 0
        """Requests since the last beat."""
        self._owed_requests = self._owed_tokens = self._held = self._places_left = 0
        self._heard = 0.0

    @property
    def idle(self) -> bool:
        """The cluster need not know of it."""
        return not (self.tokens or self.places or self.used or self.in_flight or self.reserved)

    def covers(self, tokens: int, now: float) -> bool:
        """A request more, of so many tokens, needs nothing from the cluster."""
        rule = self.charge.rule
        if now >= self.until:
            self.requests = 0
        return (
            (not rule.request_unit or self.requests > 0)
            and (not rule.token_unit or self.reserved + tokens <= self.tokens)
            and (not rule.max_concurrent or self.in_flight < self.places)
        )

    def use(self, tokens: int) -> None:
        """Let a request in that is covered."""
        rule = self.charge.rule
        self.lately += 1
        self.in_flight += 1
        if rule.request_unit:
            self.requests -= 1
        if rule.token_unit:
            self.reserved += tokens

    def settle(self, reserved: int, tokens: int) -> None:
        """A request has ended."""
        self.in_flight -= 1
        if self.charge.rule.token_unit:
            self.reserved -= reserved
            self.used += tokens

    @property
    def is_tight(self) -> bool:
        """Places that it does not use may be waited for elsewhere."""
        return self.places > self.in_flight and self._places_left * 4 < self.charge.rule.max_concurrent

    def shrink(self) -> None:
        """Give back what is not used: from here on nothing is covered that the cluster is not asked for."""
        self.tokens = self.reserved
        self.places = self.in_flight if self.charge.rule.max_concurrent else 0

    def arguments(self, tokens: int | None) -> list[int]:
        """The script's numbers: for a request more of so many tokens, or for none."""
        rule = self.charge.rule
        ahead = min(max(self.lately // 2, 1), _MOST_AHEAD)
        requests = lacking = places = 0
        if tokens is not None:
            requests = 1 if rule.request_unit and self.requests < 1 else 0
            lacking = max(self.reserved + tokens - self.tokens, 0) if rule.token_unit else 0
            places = 1 if rule.max_concurrent and self.in_flight >= self.places else 0
        burst = rule.request_depth // rule.request_unit if rule.request_unit else 0
        return [
            *(rule.requests_per_minute, burst, rule.tokens_per_minute, rule.max_concurrent),
            *(requests, requests * ahead),
            *(lacking, lacking * ahead, self.tokens),
            *(places, places * ahead, self.places),
            self.used,
        ]

    def hear(self, answer: list[int], now: float, *, used: int) -> None:
        """What the cluster gave, and what is owed there; ``used`` is what it was told."""
        requests, tokens, places, self._owed_requests, self._owed_tokens, self._held, self._places_left = answer
        self.used -= used
        self.requests += requests
        self.tokens += tokens
        self.places += places
        self._heard = now
        if requests:
            self.until = now + KEEP_SECONDS

    def step(self, now: float) -> Step:
        """What is owed, in ticks, as far as it is known here."""
        rule = self.charge.rule
        passed = int((now - self._heard) * TICKS_PER_SECOND)
        requests = max(self._owed_requests * _TICKS_PER_US - passed, 0) - self.requests * rule.request_unit
        owed = max(self._owed_tokens * _TICKS_PER_US - passed, 0)
        return 0, rule, max(requests, 0), owed + (self._held - self.tokens + self.reserved) * rule.token_unit
