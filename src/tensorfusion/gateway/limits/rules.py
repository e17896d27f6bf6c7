"""Limits in integers, and whose counter a request is counted on.

A rate is kept by GCRA: a counter is one moment, at which the bucket would be full again. Something that costs ``n``
moves it ``n`` units on, and is let in if it is then no further than the bucket's depth from now. So a counter is one
word, it refills without anybody doing it, and a full one is as good as none.

Time is counted in ticks of 1/16 ns: a unit (ticks of one request or token) is rounded up to a whole one, and at seven
billion tokens a minute that still costs less than 1 % of the rate. Rounding is never in favour of the caller.

Source: ITU-T I.371 annex A (GCRA); the platform's contract, 1.4 and 3.4.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from tensorfusion.model.llm_route import RatePer

TICKS_PER_NS: Final = 16
TICKS_PER_SECOND: Final = 1_000_000_000 * TICKS_PER_NS
_MINUTE: Final = 60 * TICKS_PER_SECOND
_DEEPEST: Final = 1 << 59
"""A year of ticks: behind it, a moment has to fit into a word."""
_MOST_CHARGES: Final = 16384
_WORD: Final = (1 << 63) - 1


class Rate(Protocol):
    """A limit as it is written; 0 and None are no limit, and as a burst the default."""

    @property
    def requests_per_minute(self) -> int | None: ...
    @property
    def tokens_per_minute(self) -> int | None: ...
    @property
    def max_concurrent(self) -> int | None: ...
    @property
    def per(self) -> RatePer: ...
    @property
    def burst(self) -> int | None: ...


class Caller(Protocol):
    """Who is counted."""

    @property
    def id(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def user(self) -> str: ...


class Limited(Protocol):
    """A route: ``key`` is ``namespace/name``."""

    @property
    def key(self) -> str: ...
    @property
    def rate(self) -> Rate | None: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit. A unit of 0, or 0 in flight, is no limit. Units and depths are in ticks."""

    name: str
    requests_per_minute: int = 0
    request_unit: int = 0
    request_depth: int = 0
    tokens_per_minute: int = 0
    token_unit: int = 0
    token_depth: int = 0
    max_concurrent: int = 0
    holds: bool = field(init=False, default=False)
    """Something has to be given back when a request ends."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", bool(self.token_unit or self.max_concurrent))


def rule_of(name: str, limit: Rate | None) -> Rule | None:
    """The rule of a limit as it is written; None where it limits nothing.

    ``burst`` is requests; of tokens, one minute's worth may come at once.
    """
    if limit is None:
        return None
    requests, tokens = limit.requests_per_minute or 0, limit.tokens_per_minute or 0
    if not (requests or tokens or limit.max_concurrent):
        return None
    request_unit, token_unit = (-(-_MINUTE // each) if each else 0 for each in (requests, tokens))
    return Rule(
        name=name,
        requests_per_minute=requests,
        request_unit=request_unit,
        request_depth=min(request_unit * (limit.burst or requests), _DEEPEST),
        tokens_per_minute=tokens,
        token_unit=token_unit,
        token_depth=token_unit * tokens,
        max_concurrent=limit.max_concurrent or 0,
    )


class Charge:
    """One rule and whom it counts: a counter. ``high`` and ``low`` name it, 126 bits of a hash; ``high`` is not 0."""

    __slots__ = ("high", "low", "place", "rule", "subject")

    def __init__(self, rule: Rule, subject: str) -> None:
        self.rule = rule
        self.subject = subject
        digest = hashlib.blake2b(f"{rule.name}\0{subject}".encode(), digest_size=16).digest()
        self.high = int.from_bytes(digest[:8], "big") & _WORD or 1
        self.low = int.from_bytes(digest[8:], "big") & _WORD
        self.place = 0
        """Where a table found it last: a hint."""

    def __repr__(self) -> str:
        return f"Charge({self.rule.name}, {self.subject})"


class Charges:
    """The counters of a request: its key's own limit and its route's, each for whom it counts.

    The same counters come back for the same key and route as long as both are the same objects, so that a request costs
    one look-up. A reload makes new ones, which name the same counters.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Caller, Limited, tuple[Charge, ...]]] = {}

    def of(self, key: Caller, route: Limited, own: Rate | None = None) -> tuple[Charge, ...]:
        """The counters of a request with the key on the route; ``own`` is the key's limit."""
        which = (id(key), id(route))
        known = self._known.get(which)
        if known is not None and known[0] is key and known[1] is route:
            return known[2]
        if len(self._known) >= _MOST_CHARGES:
            self._known.clear()  # in bulk and seldom: making them again costs microseconds
        found = (*_of_key(key, route, own), *_of_route(key, route))
        self._known[which] = (key, route, found)
        return found


def _of_key(key: Caller, route: Limited, own: Rate | None) -> Iterator[Charge]:
    if own is None:
        return
    per = own.per
    # Keys of one user, or of one namespace, that are counted together have one counter, each with its own figures.
    rule = rule_of(f"keys of {per}" if per in (RatePer.USER, RatePer.NAMESPACE) else "key", own)
    if rule is not None:
        yield Charge(rule, f"{key.id} {route.key}" if per is RatePer.ROUTE else _SUBJECTS[per](key))


def _of_route(key: Caller, route: Limited) -> Iterator[Charge]:
    rule = rule_of(f"route {route.key}", route.rate)
    if rule is not None and route.rate is not None:
        yield Charge(rule, _SUBJECTS[route.rate.per](key))


_SUBJECTS: Final[dict[RatePer, Callable[[Caller], str]]] = {
    RatePer.ROUTE: lambda key: "",
    RatePer.KEY: lambda key: key.id,
    RatePer.USER: lambda key: f"{key.namespace}/{key.user}",
    RatePer.NAMESPACE: lambda key: key.namespace,
}
"""Whom a limit counts apart. Users are those of a namespace: tenants never share a counter by a name."""
