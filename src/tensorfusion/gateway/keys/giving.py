"""What a key may give: never more than it has. Pure.

Whoever holds a key with scope ``admin`` makes keys, and holds them then: a key that may more than its maker would be a
way around every bound of the maker. So scopes, models, routes, limits, budget and end of what is given have to lie
within those of who gives. ``logs`` lies within ``admin``, which sees the same.

A limit counts for each key. Whoever wants to bound the sum of the keys that a key makes counts it ``per`` namespace:
keys that it makes then count together with it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from tensorfusion.clock import timestamp
from tensorfusion.gateway.keys.errors import NotPermitted
from tensorfusion.gateway.keys.record import Globs, KeyRecord
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.model.llm_route import RateLimit, RatePer
from tensorfusion.policy.routing.money import PICO_PER_MICRO, format_usd

Json = dict[str, Any]  # Any: JSON

_LIMITS: Final = (
    ("requestsPerMinute", "requests_per_minute"),
    ("tokensPerMinute", "tokens_per_minute"),
    ("maxConcurrent", "max_concurrent"),
)
_COUNTED: Final = {
    RatePer.ROUTE: frozenset(RatePer),
    RatePer.KEY: frozenset((RatePer.KEY, RatePer.USER, RatePer.NAMESPACE)),
    RatePer.USER: frozenset((RatePer.USER,)),
    RatePer.NAMESPACE: frozenset((RatePer.NAMESPACE,)),
}
"""How a given key may be counted, by how its giver is: where the giver's counter is shared, only in that one."""
_NO_LIMIT: Final = RateLimit()


class NotYoursToGive(NotPermitted):
    """A key would get more than who gives it has."""

    code = "not_yours_to_give"


def require_within(found: KeyRecord, giver: KeyRecord) -> None:
    """Return if a key may no more than the one that makes or changes it.

    Raises:
        NotYoursToGive: it may; everything that is too much is named.
    """
    excess = list(_excess(found, giver))
    if excess:
        raise NotYoursToGive(f"key {giver.id}: may not give more than it has: {'; '.join(excess)}")


def require_takeable(found: KeyRecord, taker: KeyRecord) -> None:
    """Return if a key may be ended by another one of its namespace.

    Raises:
        NotYoursToGive: it is of whoever runs the gateway.
    """
    if found.operator and not taker.operator:
        raise NotYoursToGive(
            f"key {taker.id}: may not change key {found.id}, which is of whoever runs the gateway: ask them"
        )


def filled(wish: Json, giver: KeyRecord) -> Json:
    """A wish with the giver's own bounds where it says nothing."""
    found = dict(wish)
    for field, globs in (("models", giver.models), ("routes", giver.routes)):
        if field not in found and globs.patterns:
            found[field] = list(globs.patterns)
    if giver.rate_limit is not None:
        limit = {field: value for field, value in msgspec.to_builtins(giver.rate_limit).items() if value}
        found["rateLimit"] = {**limit, **found.get("rateLimit", {})}
    budget = {"daily": giver.budget.daily, "monthly": giver.budget.monthly}
    money = {field: dollars(value) for field, value in budget.items() if value is not None}
    if money:
        found["budget"] = {**money, **found.get("budget", {})}
    if "expiresAt" not in found and giver.expires_at is not None:
        found["expiresAt"] = timestamp(giver.expires_at)
    return found


def dollars(micro: int) -> str:
    """Micro-USD as an amount in dollars."""
    return format_usd(micro * PICO_PER_MICRO)


def covers(pattern: str, other: str) -> bool:
    """Every name that ``other`` stands for, ``pattern`` stands for, too. Says no where it cannot tell.

    ``*`` in the one is matched by ``*`` in the other alone, ``?`` by both. What has classes (``[ab]``) in it is covered
    by itself and by ``*``.
    """
    if pattern in (other, "*"):
        return True
    if "[" in pattern or "[" in other:
        return False
    reached = {0}
    for letter in pattern:
        if letter == "*":
            reached = set(range(min(reached), len(other) + 1))
            continue
        reached = {at + 1 for at in reached if at < len(other) and _takes(letter, other[at])}
        if not reached:
            return False
    return len(other) in reached


def _takes(letter: str, other: str) -> bool:
    return other != "*" if letter == "?" else letter == other


def _excess(found: KeyRecord, giver: KeyRecord) -> Iterator[str]:
    if found.namespace != giver.namespace:
        yield f"namespace {found.namespace}: wanted {giver.namespace}"
    has = giver.scopes | ({KeyScope.LOGS} if KeyScope.ADMIN in giver.scopes else set())
    if found.scopes - has:
        yield f"scopes {', '.join(sorted(found.scopes - has))}: wanted some of {', '.join(sorted(has))}"
    if found.operator and not giver.operator:
        yield f"key {found.id} is of whoever runs the gateway"
    yield from _uncovered("models", found.models, giver.models)
    yield from _uncovered("routes", found.routes, giver.routes)
    yield from _excess_of_limits(found, giver)
    for what, wanted, most in (
        ("budget.daily", found.budget.daily, giver.budget.daily),
        ("budget.monthly", found.budget.monthly, giver.budget.monthly),
    ):
        if most is not None and (wanted is None or wanted > most):
            yield f"{what}: wanted at most {dollars(most)}, found {'none' if wanted is None else dollars(wanted)}"
    if giver.expires_at is not None and (found.expires_at is None or found.expires_at > giver.expires_at):
        yield f"expiresAt: wanted {timestamp(giver.expires_at)} at the latest, found {_moment(found.expires_at)}"


def _uncovered(what: str, found: Globs, most: Globs) -> Iterator[str]:
    if not most.patterns:
        return
    for pattern in found.patterns or ("*",):
        if not any(covers(one, pattern) for one in most.patterns):
            yield f"{what}: {pattern!r} is not within {_listed(most.patterns)}"


def _excess_of_limits(found: KeyRecord, giver: KeyRecord) -> Iterator[str]:
    wanted, most = found.rate_limit or _NO_LIMIT, giver.rate_limit or _NO_LIMIT
    limited = False
    for field, attribute in _LIMITS:
        ceiling, amount = getattr(most, attribute) or 0, getattr(wanted, attribute) or 0
        if not ceiling:
            continue
        limited = True
        if not amount or amount > ceiling:
            yield f"rateLimit.{field}: wanted at most {ceiling}, found {amount or 'none'}"
    if most.requests_per_minute:
        burst = most.burst or most.requests_per_minute
        found_burst = wanted.burst or wanted.requests_per_minute or 0
        if found_burst > burst:
            yield f"rateLimit.burst: wanted at most {burst}, found {found_burst}"
    if not limited:
        return
    if wanted.per not in _COUNTED[most.per]:
        yield f"rateLimit.per: wanted {' or '.join(sorted(_COUNTED[most.per]))}, found {wanted.per}"
    elif most.per is RatePer.USER and found.user != giver.user:
        yield f"user: wanted {giver.user!r}, with whom its limit is counted, found {found.user!r}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _moment(moment: datetime | None) -> str:
    return "none" if moment is None else timestamp(moment)
