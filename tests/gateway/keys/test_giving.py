"""No key gives more than it has."""

import fnmatch
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.gateway.keys.giving import NotYoursToGive, covers, filled, require_takeable, require_within
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.model.llm_key import KeyBudget, KeyScope
from tensorfusion.model.llm_route import RateLimit, RatePer

Make = Callable[..., KeyRecord]
SCOPES = (KeyScope.ADMIN, KeyScope.INFER)
PATTERNS = st.text("ab*?[]!-", max_size=6)
NAMES = st.text("ab-]", max_size=6)


def giver(make: Make, **spec: Any) -> KeyRecord:
    return make("g" * 43, "giver", **{"scopes": SCOPES, **spec})


@given(PATTERNS, PATTERNS, st.lists(NAMES, min_size=20, max_size=60))
def test_what_is_covered_takes_no_name_that_its_cover_does_not(pattern: str, other: str, names: list[str]) -> None:
    if covers(pattern, other):
        for name in names:
            if re.match(fnmatch.translate(other), name):
                assert re.match(fnmatch.translate(pattern), name)


@pytest.mark.parametrize(
    ("pattern", "other", "is_covered"),
    [
        ("*", "anything-[ab]", True),
        ("qwen3-*", "qwen3-8b", True),
        ("qwen3-*", "qwen3-8*", True),
        ("qwen3-*", "qwen3-*", True),
        ("qwen3-*", "qwen*", False),
        ("qwen3-*", "*", False),
        ("a?c", "a?c", True),
        ("a?c", "a*c", False),
        ("a*c", "a?c", True),
        ("red/*", "blue/chat", False),
        ("[ab]", "a", False),
        ("a*b*c", "aXbYc", True),
        ("", "a", False),
    ],
)
def test_patterns_that_cover_others(pattern: str, other: str, is_covered: bool) -> None:
    assert covers(pattern, other) is is_covered


BOUNDED: dict[str, Any] = {
    "models": ("qwen3-*",),
    "routes": ("chat", "blue/*"),
    "rate_limit": RateLimit(requests_per_minute=60, tokens_per_minute=1000, max_concurrent=4, burst=10),
    "budget": KeyBudget("5", "100"),
    "expires_at": "2027-01-31T00:00:00Z",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scopes": (KeyScope.INFER, KeyScope.LOGS)}, ""),  # admin sees what logs does
        ({"models": ()}, "models: '*' is not within 'qwen3-*'"),
        ({"models": ("qwen3-8b", "gpt-*")}, "models: 'gpt-*' is not within 'qwen3-*'"),
        ({"routes": ("chat", "other")}, "routes: 'red/other' is not within 'red/chat', 'blue/*'"),
        ({"rate_limit": None}, "rateLimit.requestsPerMinute: wanted at most 60, found none"),
        (
            {"rate_limit": RateLimit(requests_per_minute=0, tokens_per_minute=1000, max_concurrent=4, burst=10)},
            "rateLimit.requestsPerMinute: wanted at most 60, found none",
        ),
        (
            {"rate_limit": RateLimit(requests_per_minute=60, tokens_per_minute=1001, max_concurrent=4, burst=10)},
            "rateLimit.tokensPerMinute: wanted at most 1000, found 1001",
        ),
        (
            {"rate_limit": RateLimit(requests_per_minute=60, tokens_per_minute=1000, max_concurrent=4)},
            "rateLimit.burst: wanted at most 10, found 60",
        ),
        (
            {
                "rate_limit": RateLimit(
                    requests_per_minute=6, tokens_per_minute=1, max_concurrent=1, burst=1, per=RatePer.ROUTE
                )
            },
            "rateLimit.per: wanted key or namespace or user, found route",
        ),
        ({"budget": None}, "budget.daily: wanted at most 5, found none"),
        ({"budget": KeyBudget("5", "100.000001")}, "budget.monthly: wanted at most 100, found 100.000001"),
        ({"expires_at": None}, "expiresAt: wanted 2027-01-31T00:00:00Z at the latest, found none"),
        ({"expires_at": "2027-01-31T00:00:01Z"}, "expiresAt: wanted 2027-01-31T00:00:00Z at the latest"),
    ],
)
def test_each_bound_of_the_giver_is_one_of_what_it_gives(make: Make, change: dict[str, Any], said: str) -> None:
    wanted = make("w" * 43, "new", **{**BOUNDED, **change})
    require_within(wanted, giver(make))
    if not said:
        require_within(wanted, giver(make, **BOUNDED))
        return
    with pytest.raises(NotYoursToGive) as caught:
        require_within(wanted, giver(make, **BOUNDED))
    assert said in str(caught.value)


def test_scopes_and_namespaces_are_not_given_beyond_ones_own(make: Make) -> None:
    with pytest.raises(NotYoursToGive, match="scopes infer: wanted some of admin, logs"):
        require_within(make("w" * 43), giver(make, scopes=(KeyScope.ADMIN,)))
    with pytest.raises(NotYoursToGive, match="namespace blue: wanted red"):
        require_within(make("w" * 43, namespace="blue"), giver(make))


def test_who_is_counted_with_others_gives_only_keys_that_are_counted_with_them(make: Make) -> None:
    """Else each new key would be a new counter."""
    limit = RateLimit(requests_per_minute=60, per=RatePer.NAMESPACE)
    apart = make("w" * 43, rate_limit=RateLimit(requests_per_minute=60))
    with pytest.raises(NotYoursToGive, match="per: wanted namespace, found key"):
        require_within(apart, giver(make, rate_limit=limit))
    require_within(make("w" * 43, rate_limit=limit), giver(make, rate_limit=limit))
    by_user = RateLimit(requests_per_minute=60, per=RatePer.USER)
    with pytest.raises(NotYoursToGive, match="user: wanted 'ann'"):
        require_within(make("w" * 43, user="bob", rate_limit=by_user), giver(make, user="ann", rate_limit=by_user))


def test_what_is_not_said_is_the_givers(make: Make) -> None:
    bound = giver(make, **BOUNDED)
    found = filled({"rateLimit": {"requestsPerMinute": 6}, "budget": {"daily": "1"}}, bound)
    assert found == {
        "models": ["qwen3-*"],
        "routes": ["red/chat", "blue/*"],
        "rateLimit": {"requestsPerMinute": 6, "tokensPerMinute": 1000, "maxConcurrent": 4, "burst": 10},
        "budget": {"daily": "1", "monthly": "100"},
        "expiresAt": "2027-01-31T00:00:00Z",
    }
    assert filled({}, giver(make)) == {}


def test_a_key_of_whoever_runs_the_gateway_is_not_ended_by_others(make: Make) -> None:
    record = make("o" * 43, scopes=SCOPES)
    operators = KeyRecord(
        id=record.id, name=record.name, namespace="red", digests=record.digests, scopes=record.scopes, operator=True
    )
    require_takeable(record, giver(make))
    require_takeable(operators, operators)
    with pytest.raises(NotYoursToGive, match="which is of whoever runs the gateway"):
        require_takeable(operators, giver(make))
