"""Limits as they are written become integers, and name whom they count."""

from dataclasses import dataclass

import pytest

from tensorfusion.gateway.keys.record import KeyRecord, record_of
from tensorfusion.gateway.limits.rules import TICKS_PER_SECOND, Charge, Charges, rule_of
from tensorfusion.gateway.limits.verdict import duration
from tensorfusion.model.llm_key import LLMKeySpec
from tensorfusion.model.llm_route import RateLimit, RatePer

MINUTE = 60 * TICKS_PER_SECOND


def key(name: str = "app", namespace: str = "red", user: str = "ann", limit: RateLimit | None = None) -> KeyRecord:
    return record_of(LLMKeySpec(hash="0" * 64, user=user, rate_limit=limit), name=name, namespace=namespace, at="spec")


@pytest.mark.parametrize("limit", [None, RateLimit(), RateLimit(requests_per_minute=0, max_concurrent=0, burst=5)])
def test_what_limits_nothing_is_no_rule(limit: RateLimit | None) -> None:
    assert rule_of("r", limit) is None


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1_000_000, 7_000_000_000])
def test_rounding_is_never_in_favour_of_the_caller_and_costs_next_to_nothing(per_minute: int) -> None:
    rule = rule_of("r", RateLimit(tokens_per_minute=per_minute))
    assert rule is not None
    assert rule.token_unit * per_minute >= MINUTE
    assert (rule.token_unit - 1) * per_minute < MINUTE
    assert rule.token_unit * per_minute <= MINUTE * 1.01
    assert rule.token_depth == rule.token_unit * per_minute


def test_a_burst_is_of_requests() -> None:
    rule = rule_of("r", RateLimit(requests_per_minute=60, burst=5, tokens_per_minute=100))
    assert rule is not None
    assert (rule.request_depth, rule.token_depth) == (5 * rule.request_unit, 100 * rule.token_unit)
    assert rule.holds
    only = rule_of("r", RateLimit(requests_per_minute=60, burst=0))
    assert only is not None
    assert only.request_depth == 60 * only.request_unit
    assert not only.holds


@dataclass
class Route:
    key: str
    rate: RateLimit | None = None


def of(charges: Charges, key: KeyRecord, route: str, limit: RateLimit | None = None) -> tuple[Charge, ...]:
    return charges.of(key, Route(route, limit), key.rate_limit)


def who(charges: tuple[Charge, ...]) -> list[tuple[int, int]]:
    return [(charge.high, charge.low) for charge in charges]


@pytest.mark.parametrize(
    ("per", "same", "different"),
    [
        (RatePer.KEY, [key(user="bob")], [key("other"), key(namespace="blue")]),
        (RatePer.USER, [key("other")], [key(user="bob"), key(namespace="blue")]),
        (RatePer.NAMESPACE, [key("other", user="bob")], [key(namespace="blue")]),
        (RatePer.ROUTE, [key("other", "blue", "bob")], []),
    ],
)
def test_a_routes_limit_counts_apart_whom_it_says(
    per: RatePer, same: list[KeyRecord], different: list[KeyRecord]
) -> None:
    charges, limit = Charges(), RateLimit(requests_per_minute=1, per=per)
    mine = who(of(charges, key(), "red/chat", limit))
    assert len(mine) == 1
    assert all(who(of(charges, other, "red/chat", limit)) == mine for other in same)
    assert all(who(of(charges, other, "red/chat", limit)) != mine for other in different)
    assert who(of(charges, key(), "red/other", limit)) != mine


@pytest.mark.parametrize(
    ("per", "shared", "apart"),
    [
        (RatePer.KEY, [("app", "ann", "b/chat")], [("other", "ann", "a/chat")]),
        (RatePer.USER, [("other", "ann", "b/chat")], [("app", "bob", "a/chat")]),
        (RatePer.NAMESPACE, [("other", "bob", "b/chat")], []),
        (RatePer.ROUTE, [], [("app", "ann", "b/chat"), ("other", "ann", "a/chat")]),
    ],
)
def test_a_keys_own_limit_is_its_own_or_shared_as_it_says(
    per: RatePer, shared: list[tuple[str, str, str]], apart: list[tuple[str, str, str]]
) -> None:
    limit = RateLimit(max_concurrent=1, per=per)
    charges = Charges()
    mine = who(of(charges, key(limit=limit), "a/chat", None))
    for name, user, route in shared:
        assert who(of(charges, key(name, user=user, limit=limit), route, None)) == mine
    for name, user, route in apart:
        assert who(of(charges, key(name, user=user, limit=limit), route, None)) != mine
    assert who(of(charges, key(namespace="blue", limit=limit), "a/chat", None)) != mine


def test_the_counters_of_a_key_and_a_route_are_looked_up_once() -> None:
    charges, one = Charges(), key(limit=RateLimit(requests_per_minute=1))
    limit = RateLimit(requests_per_minute=2)
    route = Route("red/chat", limit)
    first = charges.of(one, route, one.rate_limit)
    assert len(first) == 2
    assert charges.of(one, route, one.rate_limit) is first
    again = of(charges, key(limit=RateLimit(requests_per_minute=5)), "red/chat", RateLimit(requests_per_minute=2))
    assert who(again) == who(first)
    assert again[0].rule != first[0].rule


def test_many_keys_and_routes_do_not_fill_the_memory() -> None:
    charges, one, limit = Charges(), key(), RateLimit(requests_per_minute=2)
    for number in range(40_000):
        of(charges, one, f"red/{number}", limit)
    assert len(charges._known) <= 16384


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, b"0s"), (0.0001, b"1ms"), (0.25, b"250ms"), (1, b"1s"), (1.01, b"2s"), (90, b"90s")]
)
def test_a_time_that_is_left_is_rounded_up(seconds: float, text: bytes) -> None:
    assert duration(int(seconds * TICKS_PER_SECOND)) == text
