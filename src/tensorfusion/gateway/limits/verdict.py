"""What a caller is told of its limits: what is left, when it is all there again, and when to come again.

Source: the platform's contract, 3.4; RFC 9110 10.2.3 (Retry-After); OpenAI's ``x-ratelimit-*`` (names and durations).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

import msgspec

from tensorfusion.errors import TensorFusionError
from tensorfusion.gateway.limits.rules import TICKS_PER_NS, TICKS_PER_SECOND, Charge, Rule
from tensorfusion.wire.fields import Fields

_TICKS_PER_MS: Final = 1_000_000 * TICKS_PER_NS

_OF_REQUESTS: Final = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_OF_TOKENS: Final = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")
_LINES_OF_REQUESTS: Final = b"%b: %%d\r\n%b: %%d\r\n%b: %%b\r\n" % _OF_REQUESTS
_LINES_OF_TOKENS: Final = b"%b: %%d\r\n%b: %%d\r\n%b: %%b\r\n" % _OF_TOKENS
_LINES_OF_BOTH: Final = _LINES_OF_REQUESTS + _LINES_OF_TOKENS


class What(StrEnum):
    """What there is too much of."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"
    ROOM = "room"
    """Counters: more callers are busy than can be counted."""


@dataclass(frozen=True, slots=True)
class Left:
    """One limit and what is left of it. ``reset`` is ticks until all of it is there again."""

    limit: int
    remaining: int
    reset: int


Step = tuple[int, Rule, int, int]
"""A request on one counter: where that is, its rule, and what is owed there of requests and tokens with it, ticks."""


class Verdict(msgspec.Struct, eq=False, gc=False):
    """What is left of the tightest of the limits; None where nothing of the kind is limited.

    Worked out only when it is asked for: an answer on its way to a program that does not look has no need of it.
    """

    _steps: Sequence[Step] = ()

    @property
    def requests(self) -> Left | None:
        """Requests that are left."""
        return _tightest(
            (rule.request_unit, rule.request_depth, rule.requests_per_minute, owed) for _, rule, owed, _ in self._steps
        )

    @property
    def tokens(self) -> Left | None:
        """Tokens that are left."""
        return _tightest(
            (rule.token_unit, rule.token_depth, rule.tokens_per_minute, owed) for _, rule, _, owed in self._steps
        )

    def lines(self) -> bytes:
        """As ``fields``, as they are sent: every answer has them."""
        least = least_tokens = None
        limit = limit_tokens = reset = reset_tokens = 0
        for _, rule, requests, tokens in self._steps:
            if unit := rule.request_unit:
                remaining = (rule.request_depth - requests) // unit if requests < rule.request_depth else 0
                if least is None or remaining < least:
                    least, limit, reset = remaining, rule.requests_per_minute, requests
            if unit := rule.token_unit:
                remaining = (rule.token_depth - tokens) // unit if tokens < rule.token_depth else 0
                if least_tokens is None or remaining < least_tokens:
                    least_tokens, limit_tokens, reset_tokens = remaining, rule.tokens_per_minute, tokens
        if least is None:
            if least_tokens is None:
                return b""
            return _LINES_OF_TOKENS % (limit_tokens, least_tokens, duration(reset_tokens))
        if least_tokens is None:
            return _LINES_OF_REQUESTS % (limit, least, duration(reset))
        return _LINES_OF_BOTH % (limit, least, duration(reset), limit_tokens, least_tokens, duration(reset_tokens))

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Header fields of a refusal; an answer has them as ``lines``."""
        found: list[tuple[bytes, bytes]] = []
        for left, (limit, remaining, reset) in ((self.requests, _OF_REQUESTS), (self.tokens, _OF_TOKENS)):
            if left is not None:
                found.append((limit, b"%d" % left.limit))
                found.append((remaining, b"%d" % left.remaining))
                found.append((reset, duration(left.reset)))
        return found


def _tightest(steps: Iterable[tuple[int, int, int, int]]) -> Left | None:
    """The least that is left: of what one takes and what there is room for, the limit as told, and what is owed."""
    tightest: Left | None = None
    for unit, depth, limit, owed in steps:
        if unit:
            remaining = max(depth - owed, 0) // unit
            if tightest is None or remaining < tightest.remaining:
                tightest = Left(limit, remaining, owed)
    return tightest


class RateLimited(TensorFusionError):
    """Too much at once. ``status``, ``type`` and ``code`` are what the caller is told, beside the message."""

    status: ClassVar[int] = 429
    type: ClassVar[str] = "rate_limit_error"
    code: ClassVar[str] = "rate_limit_exceeded"

    def __init__(self, what: What, message: str, verdict: Verdict, *, wait: int | None) -> None:
        self.what = what
        self.verdict = verdict
        self.retry_after = None if wait is None else max(1, -(-wait // TICKS_PER_SECOND))
        """Whole seconds, rounded up; None where waiting does not help."""
        super().__init__(message)

    def fields(self) -> Fields:
        """Header fields of the refusal."""
        found = self.verdict.fields()
        if self.retry_after is not None:
            found.append((b"Retry-After", b"%d" % self.retry_after))
        return found


def refusal(what: What, charge: Charge, tokens: int, verdict: Verdict, *, wait: int) -> RateLimited:
    """What a caller is told who has no room on a counter; ``wait`` is ticks until there is some."""
    rule = charge.rule
    who = f" for {charge.subject}" if charge.subject else ""
    if what is What.REQUESTS:
        message = f"more than {rule.requests_per_minute} requests a minute{who}"
    elif what is What.CONCURRENT:
        message = f"more than {rule.max_concurrent} requests at once{who}"
    elif what is What.ROOM:
        message = f"more callers are busy than can be counted: {rule.name}"
    elif tokens > rule.tokens_per_minute:
        message = (
            f"the request asks for {tokens} tokens, and {rule.tokens_per_minute} a minute is the limit{who}: ask for "
            "fewer, by a shorter prompt or a lower max_tokens"
        )
        return RateLimited(what, message, verdict, wait=None)
    else:
        message = f"more than {rule.tokens_per_minute} tokens a minute{who}: the request asks for {tokens}"
    return RateLimited(what, message, verdict, wait=wait)


def duration(ticks: int) -> bytes:
    """A time that is left, rounded up: ``250ms``, ``17s``."""
    if ticks < TICKS_PER_SECOND:
        return b"%dms" % -(-ticks // _TICKS_PER_MS) if ticks > 0 else b"0s"
    return b"%ds" % -(-ticks // TICKS_PER_SECOND)
