"""Everything is parsed once, and what cannot be used is named; nothing else ever comes out of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.routing.compiler import InvalidRoute, compile_route, parameter
from tensorfusion.policy.routing.money import FREE, PICO, Price, format_usd, hourly_price, parse_usd
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.testing.routing import written


def test_everything_is_in_its_unit() -> None:
    route = compile_route(
        written(
            timeout="1m30s",
            firstTokenTimeout="250ms",
            retry={
                "maxRetries": 2,
                "initialDelay": "100ms",
                "maxDelay": "2s",
                "backoffMultiplier": "1.5",
                "retryOnErrors": ["429", "connect"],
            },
            caching={"ttl": "2d", "similarityThreshold": "0.9", "keyIncludes": ["model"]},
            rateLimit={"requestsPerMinute": 5, "per": "user"},
            targets=[
                {
                    "costPer1MInput": "$0.15",
                    "costPer1MOutput": "0.6",
                    "parameters": {"temperature": "0.7", "n": "2", "stop": "END", "logprobs": "true"},
                },
                {"enabled": False},
                {
                    "name": "z",
                    "contextLength": 8192,
                    "capabilities": ["prefill"],
                    "conditions": {"minTokens": 5, "minPriority": "high"},
                },
            ],
        )
    )
    first, last = route.targets
    assert (route.timers.first_byte, route.timers.first_token, route.timers.connect, route.timers.idle) == (
        90.0,
        0.25,
        2.0,
        15.0,
    )
    assert (route.retry.max_retries, route.retry.initial_delay, route.retry.max_delay, route.retry.multiplier) == (
        2,
        0.1,
        2.0,
        1.5,
    )
    assert (route.retry.statuses, route.retry.connect, route.retry.reset) == ({429}, True, False)
    assert route.caching is not None
    assert (route.caching.ttl, route.caching.threshold) == (172_800.0, 0.9)
    assert first.price == Price(150_000, 600_000)
    assert first.parameters == {"temperature": 0.7, "n": 2, "stop": "END", "logprobs": True}
    assert (last.index, last.name, last.context_length, last.prefill) == (1, "z", 8192, True)
    assert last.conditions is not None
    assert (last.conditions.min_tokens, last.conditions.min_rank) == (5, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ("[1,2]", [1, 2]),
        ('{"a":1}', {"a": 1}),
        ('"x"', '"x"'),
        ("", ""),
        ("[INST]", "[INST]"),
        ("NaN", "NaN"),
        ("1 2", "1 2"),
    ],
)
def test_parameters_are_json_or_a_string(text: str, value: Any) -> None:
    found = parameter(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"targets": []}, "spec.targets: wanted at least one target, found none"),
        ({"targets": [{"enabled": False}]}, "spec.targets: wanted at least one enabled target, found none: set enabled: true"),
        ({"targets": [{"name": "x"}, {"name": "x"}]}, "spec.targets: wanted names that differ, found 'x' twice"),
        ({"targets": [{}] * 65}, "spec.targets: wanted at most 64, found 65"),
        ({"targets": [{"weight": 0}]}, "spec.targets[0].weight: wanted 1 to 100, found 0"),
        ({"targets": [{}, {"endpoint": "a:8000"}]}, "spec.targets[1].endpoint: wanted a URL with http:// or https://, found 'a:8000'"),
        ({"targets": [{"maxConcurrency": 0}]}, "spec.targets[0].maxConcurrency: wanted at least 1, found 0"),
        ({"targets": [{"costPer1MInput": "ten"}]}, "spec.targets[0].costPer1MInput: 'ten' is no amount of money: write dollars, such as 0.05 or $2.50"),
        ({"targets": [{"conditions": {"minTokens": 9, "maxTokens": 3}}]}, "spec.targets[0].conditions.maxTokens: wanted at least minTokens (9), found 3"),
        ({"targets": [{"conditions": {"requestPattern": "["}}]}, "spec.targets[0].conditions.requestPattern: '[' is no regular expression: error parsing regexp: missing closing ]: `[`"),
        ({"timeout": "0s"}, "spec.timeout: wanted a time above 0, found '0s'"),
        ({"retry": {"backoffMultiplier": "0.5"}}, "spec.retry.backoffMultiplier: wanted at least 1, found '0.5'"),
        ({"retry": {"maxDelay": "x"}}, "spec.retry.maxDelay: 'x' is not a duration: write numbers with units, such as 90s, 5m or 1h30m"),
        ({"budget": {"dailyLimit": "-1"}}, "spec.budget.dailyLimit: '-1' is no amount of money: write dollars, such as 0.05 or $2.50"),
        ({"caching": {"similarityThreshold": "1.1"}}, "spec.caching.similarityThreshold: wanted 0 to 1, found '1.1'"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(spec: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidRoute) as caught:
        compile_route(written(**spec))
    assert str(caught.value) == f"LLMRoute red/chat: {error}"


words = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["1", "²", "٣", "0.5", "1s", "$1", "429", "9" * 30, "1.", ".5", "∞", "1e9", "(", "\ud800"]),
)
numbers = st.integers(-(1 << 70), 1 << 70)
specs = st.fixed_dictionaries(
    {
        "targets": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": words,
                    "provider": words,
                    "endpoint": words,
                    "weight": numbers,
                    "priority": numbers,
                    "costPer1MInput": words,
                    "maxConcurrency": numbers,
                    "contextLength": numbers,
                    "version": words,
                    "parameters": st.dictionaries(words, words, max_size=2),
                    "conditions": st.fixed_dictionaries({}, optional={"minTokens": numbers, "maxTokens": numbers, "requestPattern": words}),
                },
            ),
            max_size=3,
        )
    },
    optional={
        "timeout": words,
        "aliases": st.lists(words, max_size=2),
        "rollout": st.fixed_dictionaries({"target": words}, optional={"steps": st.lists(numbers, max_size=3), "interval": words, "maxErrorRate": words, "minRequests": numbers}),
        "retry": st.fixed_dictionaries({}, optional={"maxRetries": numbers, "maxDelay": words, "backoffMultiplier": words, "retryOnErrors": st.lists(words, max_size=3)}),
        "budget": st.fixed_dictionaries({}, optional={"dailyLimit": words, "maxCostPerRequest": words}),
        "caching": st.fixed_dictionaries({}, optional={"ttl": words, "similarityThreshold": words}),
        "selector": st.fixed_dictionaries({}, optional={"modelPattern": words, "users": st.lists(words, max_size=2), "namespaces": st.lists(words, max_size=2)}),
    },
)  # fmt: skip


@given(specs, st.sampled_from(["weighted", "priority", "cost-optimized"]))
def test_whatever_is_written_is_compiled_or_reported(spec: dict[str, Any], strategy: str) -> None:
    found = Routes.compile([written(strategy=strategy, **spec)])
    assert len(found.problems) + len(found.by_key) == 1


@given(st.integers(0, 10**12 - 1), st.integers(0, 10**6 - 1), st.booleans())
def test_money_is_exact_in_micro_dollars(whole: int, part: int, dollar: bool) -> None:
    assert parse_usd(f"{'$' * dollar}{whole}.{part:06}") == whole * 1_000_000 + part


@given(st.integers(0, 10**30))
def test_money_is_written_without_loss(pico: int) -> None:
    whole, _, part = format_usd(pico).partition(".")
    assert int(whole) * PICO + int(part.ljust(12, "0") or 0) == pico
    assert not part.endswith("0")


def test_prices() -> None:
    assert parse_usd("0.0000001") == 1  # nothing that costs is called free
    assert Price(2_500_000, 10_000_000).cost(1000, 100) == 3_500_000_000
    assert format_usd(Price(2_500_000, 10_000_000).cost(1000, 100)) == "0.0035"
    assert hourly_price(2_000_000, 1_000_000) == Price(2_000_000, 2_000_000)
    assert hourly_price(2_000_000, 0) == FREE


def test_a_price_table_serves_who_states_none() -> None:
    table = {"gpt-4o": Price(1, 2)}
    route = compile_route(
        written(targets=[{"provider": "openai", "model": "gpt-4o"}, {"provider": "openai", "model": "x"}]), table
    )
    assert [target.price for target in route.targets] == [Price(1, 2), None]
