"""Portkey's configurations do what they say, and what they must not do is refused with its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.common import SecretReference
from tensorfusion.policy.routing.asks import Ask, Failure, Outcome
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.portkey.errors import InvalidConfig
from tensorfusion.policy.routing.portkey.queries import Facts, read_query
from tensorfusion.policy.routing.portkey.reading import (
    Config,
    VirtualKey,
    config_of,
    every_host,
    read_config,
    read_configs,
)
from tensorfusion.policy.routing.portkey.tree import leaves
from tensorfusion.policy.routing.state import Attempts

Json = dict[str, Any]
ASK = Ask("m")


def leaf(name: str, **more: Any) -> Json:
    return {"name": name, "provider": "openai", "api_key": "sk-secret", **more}


def read(config: Any, **options: Any) -> Config:
    return config_of(config, name="c", namespace="red", **options)


class Play:
    """One worker that answers requests by a configuration; ``down`` says how targets fail."""

    def __init__(self, config: Json, **options: Any) -> None:
        self.config = read(config, **options)
        self.chooser = Chooser(self.config.route)
        self.now = 0.0

    def request(self, facts: Facts | None = None, **down: int | Failure) -> list[str]:
        attempts, asked = Attempts(self.config.walk(facts or Facts())), []
        target = self.chooser.next(ASK, self.now, attempts, random=0.5)
        while target is not None:
            asked.append(target.name)
            found = down.get(target.name)
            if found is None:
                outcome = Outcome()
            elif isinstance(found, Failure):
                outcome = Outcome(found)
            else:
                outcome = Outcome(Failure.STATUS, status=found)
            self.chooser.ended(self.chooser.started(target, self.now), self.now, outcome)
            if outcome.failure is None:
                return asked
            self.step = self.chooser.after(
                ASK, self.now, attempts, target=target, outcome=outcome, wall=0.0, random=0.5
            )
            target = self.step.target
        return [*asked, "-"]


def test_single_is_one_target() -> None:
    assert Play(leaf("a")).request() == ["a"]
    assert Play({"strategy": {"mode": "single"}, "targets": [leaf("a"), leaf("b")]}).request(a=500) == ["a", "-"]


def test_fallback_goes_on_with_any_error_or_with_those_it_names() -> None:
    targets = [leaf("a"), leaf("b"), leaf("c")]
    play = Play({"strategy": {"mode": "fallback"}, "targets": targets})
    assert play.request() == ["a"]
    assert play.request(a=400, b=429) == ["a", "b", "c"]
    assert play.request(a=Failure.CONNECT, b=Failure.CONTENT_FILTER, c=500) == ["a", "b", "c", "-"]
    assert play.request(a=Failure.CANCELLED) == ["a", "-"]
    named = Play({"strategy": {"mode": "fallback", "on_status_codes": [429]}, "targets": targets})
    assert named.request(a=429) == ["a", "b"]
    assert named.request(a=500) == ["a", "-"]
    assert named.request(a=Failure.RESET) == ["a", "-"]
    server = Play({"strategy": {"mode": "fallback", "onStatusCodes": [408, 503]}, "targets": targets})
    assert server.request(a=Failure.SILENT, b=Failure.RESET) == ["a", "b", "c"]


def test_loadbalance_is_exact_and_keeps_to_its_choice() -> None:
    play = Play(
        {
            "strategy": {"mode": "loadbalance"},
            "targets": [leaf("a", weight=0.7), leaf("b", weight=0.3), leaf("c", weight=0)],
        }
    )
    names = [play.request()[0] for _ in range(100)]
    assert (names.count("a"), names.count("b")) == (70, 30)
    assert play.request(a=500, b=500)[1] == "-"
    assert Play({"strategy": {"mode": "loadbalance"}, "targets": [leaf("a"), leaf("b")]}).request() == ["a"]


def test_nested_modes() -> None:
    config = {
        "strategy": {"mode": "fallback", "on_status_codes": [500]},
        "targets": [
            {"strategy": {"mode": "loadbalance"}, "targets": [leaf("a"), leaf("b")]},
            {"strategy": {"mode": "fallback", "on_status_codes": [429, 500]}, "targets": [leaf("c"), leaf("d")]},
            leaf("e"),
        ],
    }
    play = Play(config)
    assert play.request() == ["a"]
    assert play.request(a=500, b=500) == ["b", "c"]
    assert play.request(a=500, b=500, c=429) == ["a", "c", "d"]
    assert play.request(a=500, b=500, c=429, d=500) == ["b", "c", "d", "e"]
    assert play.request(a=500, b=500, c=429, d=429) == ["a", "c", "d", "-"]
    assert play.request(a=429, b=429) == ["b", "-"]


def test_a_target_whose_circuit_is_open_counts_as_not_answering() -> None:
    play = Play({"strategy": {"mode": "fallback"}, "targets": [leaf("a"), leaf("b")]})
    for _ in range(5):
        assert play.request(a=500) == ["a", "b"]
    assert play.request() == ["b"]
    play.now += 5
    assert play.request() == ["a"]


def test_conditional_asks_the_first_that_holds() -> None:
    config = {
        "strategy": {
            "mode": "conditional",
            "conditions": [
                {"query": {"metadata.plan": {"$eq": "paid"}}, "then": "good"},
                {"query": {"params.temperature": {"$gt": 0.7}}, "then": "wild"},
            ],
            "default": "cheap",
        },
        "targets": [leaf("cheap"), leaf("good"), leaf("wild")],
    }
    play = Play(config)
    assert play.config.conditional
    assert play.request(Facts({"plan": "paid"}, {"temperature": 1})) == ["good"]
    assert play.request(Facts({}, {"temperature": 0.9})) == ["wild"]
    assert play.request(Facts({}, {"temperature": 0.7})) == ["cheap"]
    del config["strategy"]["default"]  # type: ignore[attr-defined]
    lost = Play(config)
    assert lost.request() == ["-"]
    attempts = Attempts(lost.config.walk(Facts()))
    lost.chooser.next(ASK, 0.0, attempts, random=0.5)
    assert "no condition of the configuration holds, and it has no default" in str(
        lost.chooser.why_none(ASK, 0.0, attempts)
    )


FACTS = Facts(
    {"tier": "gold", "age": "41", "on": True},
    {"model": "fast", "max_tokens": 100, "stream": True, "tags": ["a"], "meta": {"deep": {"er": 1}}},
    "/v1/chat/completions",
)


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ({"metadata.tier": "gold"}, True),
        ({"metadata.tier": {"$eq": "gold"}}, True),
        ({"metadata.tier": {"$ne": "gold"}}, False),
        ({"metadata.nothing": {"$ne": "gold"}}, True),
        ({"metadata.nothing": {"$eq": "gold"}}, False),
        ({"metadata.age": {"$gt": 40, "$lt": "42"}}, True),
        ({"metadata.age": {"$gte": 42}}, False),
        ({"metadata.tier": {"$lte": 3}}, False),
        ({"metadata.on": {"$eq": 1}}, False),
        ({"metadata.on": {"$gt": 0}}, False),
        ({"params.stream": True}, True),
        ({"params.max_tokens": {"$lte": 100}}, True),
        ({"params.max_tokens": {"$eq": 100.0}}, True),
        ({"params.meta.deep.er": 1}, True),
        ({"params.meta.deep.er.x": 1}, False),
        ({"params.model": {"$in": ["slow", "fast"]}}, True),
        ({"params.model": {"$nin": ["slow", "fast"]}}, False),
        ({"params.model": {"$regex": "^f.st$"}}, True),
        ({"params.tags": {"$regex": "a"}}, False),
        ({"url.pathname": {"$regex": "/chat/"}}, True),
        ({"$or": [{"metadata.tier": "x"}, {"metadata.tier": "gold"}]}, True),
        ({"$or": [{"metadata.tier": "gold"}], "params.model": "slow"}, False),
        ({"$and": [{"metadata.tier": "gold"}, {"$or": [{"params.model": "slow"}]}]}, False),
        ({"metadata.tier": {"$regex": "g", "$eq": "silver"}}, False),
    ],
)
def test_queries(query: Json, holds: bool) -> None:
    assert read_query(query, "q")(FACTS) is holds


def test_what_a_target_takes_over_and_what_it_states_itself() -> None:
    config = read(
        {
            "strategy": {"mode": "fallback"},
            "retry": {"attempts": 3, "on_status_codes": [429], "use_retry_after_header": True},
            "request_timeout": 1500,
            "override_params": {"temperature": 0, "model": "gpt-4o"},
            "cache": {"mode": "semantic", "max_age": 60},
            "targets": [
                leaf("a"),
                leaf(
                    "b",
                    override_params={"model": "m2"},
                    retry={"attempts": 0},
                    request_timeout=1,
                    forward_headers=["X-Team"],
                ),
                {"provider": "azure-openai", "api_key": "k", "resource_name": "acme", "deployment_id": "d"},
                {"provider": "anthropic", "virtual_key": "v"},
            ],
        },
        secret_of=lambda name: VirtualKey(SecretReference(name=name, namespace="red", key="k")),
    )
    a, b, c, d = config.route.targets
    assert (a.model, a.extra_parameters, a.timeout) == ("gpt-4o", {"temperature": 0}, 1.5)
    assert a.retry is not None
    assert (a.retry.max_retries, a.retry.statuses, a.retry.honours_retry_after, a.retry.connect) == (
        3,
        {429},
        True,
        False,
    )
    assert (b.model, b.timeout, b.forward_headers) == ("m2", 0.001, ("x-team",))
    assert b.retry is not None
    assert (b.retry.max_retries, b.retry.statuses) == (0, {429, 500, 502, 503, 504})
    assert (c.provider, c.endpoint, c.model, c.name) == ("azure", "https://acme.openai.azure.com", "d", "targets[2]")
    assert d.secret is not None
    assert (d.secret.name, d.credential) == ("v", "")
    assert config.route.caching is not None
    assert (config.route.caching.ttl, config.route.caching.threshold) == (60.0, 0.95)


def test_retries_are_those_of_the_target() -> None:
    config = {"strategy": {"mode": "fallback"}, "targets": [leaf("a", retry={"attempts": 2}), leaf("b")]}
    assert Play(config).request(a=503, b=503) == ["a", "a", "a", "b", "-"]
    assert Play(config).request(a=400) == ["a", "b"]


def test_an_address_of_the_callers_choice_is_refused_unless_the_key_allows_it() -> None:
    inside = {"provider": "openai", "api_key": "k", "custom_host": "http://169.254.169.254/latest"}
    with pytest.raises(InvalidConfig, match="custom_host: this key may not name this address"):
        read(inside)
    with pytest.raises(InvalidConfig, match=r"targets\[0\].targets\[0\].custom_host: this key may not"):
        read({"targets": [{"targets": [{**inside, "customHost": inside.pop("custom_host")}]}]})
    allowed = read({"provider": "vllm", "custom_host": "http://10.0.0.7:8000/v1/"}, custom_hosts=every_host)
    assert allowed.route.targets[0].endpoint == "http://10.0.0.7:8000/v1"
    for bad in ("file:///etc/passwd", "http://u:p@h/", "http://h/?q", "http://h/#f", "ftp://h", "//h", "http:// h"):
        with pytest.raises(InvalidConfig, match="custom_host: wanted a URL"):
            read({"provider": "vllm", "custom_host": bad}, custom_hosts=every_host)


NESTED: Any = leaf("x")
for _ in range(10):
    NESTED = {"targets": [NESTED]}


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ([], "wanted an object, found a list"),
        ({}, "provider: wanted the name of a provider, or targets, found neither"),
        ({"strategy": {"mode": "fallback"}}, "targets: wanted targets for mode 'fallback', found none"),
        ({"targets": []}, "targets: wanted a list of at least one target, found a list"),
        ({"targets": [1]}, "targets[0]: wanted an object, found a number"),
        (
            {"strategy": {"mode": "x"}, "targets": [leaf("a")]},
            "strategy.mode: wanted single, loadbalance, fallback or conditional, found 'x'",
        ),
        (
            {"provider": "groq", "api_key": "k"},
            "custom_host: wanted the address of provider 'groq', which has none of its own",
        ),
        (
            {"provider": "openai"},
            "api_key: wanted api_key or virtual_key for provider 'openai': the key of the gateway goes to no provider",
        ),
        ({"provider": "openai", "api_key": 5}, "api_key: wanted a string of 1 to 2048 characters, found a number"),
        ({"provider": "openai", "api_key": "a\r\nb"}, "api_key: wanted a key of printable ASCII characters"),
        ({"provider": "openai", "virtual_key": "v"}, "virtual_key: there is no virtual key 'v'"),
        (leaf("a", wieght=1), "wieght: there is no such field: did you mean weight?"),
        (
            leaf("a", input_guardrails=["pii"]),
            "input_guardrails: guardrails are not run here: leave them out, or run them elsewhere",
        ),
        (leaf("a", retry={"attempts": 6}), "retry.attempts: wanted a whole number from 0 to 5, found 6"),
        (leaf("a", retry={"attempts": True}), "retry.attempts: wanted a whole number from 0 to 5, found True"),
        (
            leaf("a", retry={"on_status_codes": ["x"]}),
            "retry.on_status_codes[0]: wanted a whole number from 100 to 599, found 'x'",
        ),
        (leaf("a", request_timeout=0), "request_timeout: wanted a whole number from 1 to 3600000, found 0"),
        (
            leaf("a", forward_headers=["Authorization"]),
            "forward_headers[0]: 'authorization' is never passed on to a provider",
        ),
        (
            leaf("a", forward_headers=["a\r\nb: c"]),
            "forward_headers[0]: 'a\\r\\nb: c' is never passed on to a provider",
        ),
        (leaf("a", override_params={"model": 1}), "override_params.model: wanted a string, found a number"),
        (leaf("a", cache={"mode": "x"}), "cache.mode: wanted simple or semantic, found 'x'"),
        (
            {"targets": [leaf("a", cache={"mode": "simple"})]},
            "targets[0].cache: wanted at the top only: one request has one cache",
        ),
        (
            {"strategy": {"mode": "loadbalance"}, "targets": [leaf("a", weight=-1)]},
            "targets[0].weight: wanted a number from 0 to 1000000, found -1",
        ),
        (
            {"strategy": {"mode": "loadbalance"}, "targets": [leaf("a", weight=0)]},
            "targets: wanted a weight above 0, found none: nobody could be asked",
        ),
        (leaf("a", provider="azure-openai"), "resource_name: wanted the name of the Azure resource, or custom_host"),
        (
            leaf("a", provider="azure-openai", resource_name="x.evil.com/"),
            "resource_name: wanted letters, digits and -, for it becomes part of an address",
        ),
        (NESTED, ".".join(["targets[0]"] * 9) + ": wanted targets at most 8 deep in each other"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(config: Any, error: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read(config)
    assert str(caught.value) == f"portkey config: {error}"
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({}, "query: wanted an object with 1 to 64 conditions, found an object"),
        ({"x": 1}, "query.x: wanted metadata.NAME, params.NAME or url.pathname"),
        ({"params.": 1}, "query.params.: wanted metadata.NAME, params.NAME or url.pathname"),
        ({"$not": []}, "query.$not: wanted $and, $or, or what to look at: metadata.NAME, params.NAME or url.pathname"),
        (
            {"metadata.x": {"$like": "y"}},
            "query.metadata.x.$like: wanted one of $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $regex",
        ),
        ({"metadata.x": {"$in": "y"}}, "query.metadata.x.$in: wanted a list, found a string"),
        ({"metadata.x": {"$gt": "y"}}, "query.metadata.x.$gt: wanted a number, found a string"),
        (
            {"metadata.x": {"$regex": "("}},
            "query.metadata.x.$regex: '(' is no regular expression: error parsing regexp: missing closing ): `(`",
        ),
        ({"$or": [{"$and": 1}]}, "query.$or[0].$and: wanted a list of 1 to 64 queries, found a number"),
    ],
)
def test_what_is_wrong_with_a_query_is_named_with_its_place(query: Any, error: str) -> None:
    config = {
        "strategy": {"mode": "conditional", "conditions": [{"query": query, "then": "a"}]},
        "targets": [leaf("a")],
    }
    with pytest.raises(InvalidConfig) as caught:
        read(config)
    assert str(caught.value) == f"portkey config: strategy.conditions[0].{error}"


def test_a_condition_leads_to_one_of_the_targets() -> None:
    strategy = {"mode": "conditional", "conditions": [{"query": {"metadata.x": 1}, "then": "b"}]}
    with pytest.raises(
        InvalidConfig, match=r"conditions\[0\].then: wanted the name of one of its targets \(a\), found 'b'"
    ):
        read({"strategy": strategy, "targets": [leaf("a")]})


def test_no_key_is_ever_shown() -> None:
    config = read(leaf("a"))
    assert config.route.targets[0].credential == "sk-secret"
    assert "sk-secret" not in repr(config)


def test_a_file_holds_configurations_by_id() -> None:
    one = leaf("a")
    assert read_configs(json.dumps({"pc-1": one})) == {"pc-1": one}
    assert read_configs(json.dumps([{"id": "pc-1", "config": one}])) == {"pc-1": one}
    for bad, error in (
        ("[1]", r"\[0\]: wanted an object"),
        ('{"a": 1}', "a: wanted a configuration"),
        ("{", "no JSON"),
    ):
        with pytest.raises(InvalidConfig, match=error):
            read_configs(bad)
    with pytest.raises(InvalidConfig, match="wanted at most 65536 bytes"):
        read_config(" " * 70_000, name="c")


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 700),
    st.floats(allow_nan=False),
    st.sampled_from(["a", "openai", "fallback", "single", "loadbalance", "$eq", "http://h"]),
)
keys = st.sampled_from(
    ["strategy", "mode", "targets", "provider", "api_key", "weight", "retry", "attempts", "on_status_codes", "cache", "custom_host",
     "override_params", "request_timeout", "conditions", "query", "then", "default", "name", "metadata.x", "$or", "$eq", "onStatusCodes"]
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
)


@given(anything)
def test_anything_is_read_or_refused(found: Any) -> None:
    try:
        config = read_config(json.dumps(found), name="c", custom_hosts=every_host)
    except InvalidConfig:
        return
    Play(found, custom_hosts=every_host).request()
    assert leaves(config.root) == frozenset(range(len(config.route.targets)))


trees = st.recursive(
    st.just(None),
    lambda inner: st.tuples(
        st.sampled_from(["fallback", "loadbalance"]),
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from([[], [429], [500, 503]]),
    ),
    max_leaves=10,
)


def build(tree: Any, names: list[str]) -> Json:
    if tree is None:
        names.append(f"t{len(names)}")
        return leaf(names[-1])
    mode, children, statuses = tree
    return {"strategy": {"mode": mode, "on_status_codes": statuses}, "targets": [build(one, names) for one in children]}


def expected(tree: Any, names: list[str], down: dict[str, int], asked: list[str]) -> int:
    """The status that a tree answers with, by plain recursion over what is written; loadbalance takes its first child."""
    if tree is None:
        name = names.pop(0)
        asked.append(name)
        return down.get(name, 200)
    mode, children, statuses = tree
    status = 0
    stopped = False
    for place, child in enumerate(children):
        if stopped or (mode == "loadbalance" and place > 0):
            skip(child, names)
            continue
        status = expected(child, names, down, asked)
        stopped = status == 200 or (mode == "fallback" and bool(statuses) and status not in statuses)
    return status


def skip(tree: Any, names: list[str]) -> None:
    if tree is None:
        names.pop(0)
    else:
        for child in tree[1]:
            skip(child, names)


@given(trees, st.lists(st.sampled_from([200, 429, 500]), min_size=30, max_size=30))
def test_nested_modes_ask_whom_plain_recursion_would_ask(tree: Any, statuses: list[int]) -> None:
    names: list[str] = []
    config = build(tree, names)
    down = {name: status for name, status in zip(names, statuses, strict=False) if status != 200}
    asked: list[str] = []
    status = expected(tree, list(names), down, asked)
    assert Play(config).request(**down) == (asked if status == 200 else [*asked, "-"])
