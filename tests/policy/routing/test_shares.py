"""Shares and selection over whole routes, against what is obvious."""

from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.policy.routing.asks import Ask, Caller, Failure
from tensorfusion.policy.routing.rotation import members
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.testing.reference_chooser import ReferenceChooser
from tensorfusion.testing.routing import Driver, written

happenings = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 200)),
        st.tuples(st.just("ask"), st.just(0)),
        st.tuples(st.just("hold"), st.integers(0, 200)),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("break"), st.integers(0, 4)),
        st.tuples(st.just("wait"), st.integers(0, 20)),
    ),
    max_size=120,
)


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 2), st.sampled_from([None, 50, 150]), st.sampled_from([None, 1, 2])), min_size=1, max_size=5),
    happenings,
    st.sampled_from(["weighted", "round-robin", "priority"]),
)  # fmt: skip
def test_shares_are_exact_while_circuits_open_targets_fill_up_and_conditions_differ(
    targets: list[tuple[int, int, int | None, int | None]], events: list[tuple[str, int]], strategy: str
) -> None:
    driver = Driver(
        written(
            strategy=strategy,
            targets=[
                {
                    "weight": weight,
                    "priority": priority,
                    **({} if most is None else {"conditions": {"maxTokens": most}}),
                    **({} if cap is None else {"maxConcurrency": cap}),
                }
                for weight, priority, most, cap in targets
            ],
        )
    )
    weights, priorities = [one[0] for one in targets], [one[1] for one in targets]
    reference = ReferenceChooser(weights, priorities)
    held: list[Any] = []
    had: dict[frozenset[int], list[int]] = {}
    for what, amount in events:
        if what in ("ask", "hold"):
            ask = Ask("m", prompt_tokens=amount)
            available = frozenset(members(driver.chooser.available(ask, driver.now)))
            target = driver.pick(ask)
            if not available:
                assert target is None
                continue
            assert target is not None
            expected = getattr(reference, strategy.replace("-", "_"))(available)
            assert target.index == expected
            ticket = driver.chooser.started(target, driver.now)
            held.append(ticket) if what == "hold" else driver.end(ticket)
            if strategy == "weighted":
                counts = had.setdefault(available, [0] * len(targets))
                counts[target.index] += 1
                for index in available:
                    share = Fraction(weights[index], sum(weights[one] for one in available))
                    assert abs(counts[index] - share * sum(counts)) < 1
        elif what == "release" and held:
            driver.end(held.pop(amount % len(held)))
        elif what == "break":
            name = driver.chooser.route.targets[amount % len(targets)].name
            for _ in range(5):
                driver.serve(name, Failure.RESET)
        elif what == "wait":
            driver.now += amount


names = st.sampled_from(["red", "blue", "green"])
selectors = st.fixed_dictionaries(
    {},
    optional={
        "users": st.lists(st.sampled_from(["ann", "bob"]), min_size=1, max_size=2),
        "namespaces": st.lists(names, min_size=1, max_size=2),
        "modelPattern": st.sampled_from(["^m", "n$", "^mn$"]),
        "labelSelector": st.sampled_from([{"matchLabels": {"a": "1"}}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]),
    },
)  # fmt: skip
routes = st.lists(
    st.tuples(st.sampled_from("pqrstuvw"), names, selectors, st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])),
    unique_by=lambda one: one[:2],
    max_size=8,
)  # fmt: skip
callers = st.builds(
    Caller, namespace=names, user=st.sampled_from(["", "ann", "bob"]), labels=st.sampled_from([(), (("a", "1"),), (("a", "2"),)])
)  # fmt: skip


def obvious(found: list[Any], caller: Caller, model: str) -> str | None:
    """The route that the contract gives, looked for one rule after the other."""
    labels = dict(caller.labels)
    matching = []
    for name, namespace, selector, created in found:
        if caller.namespace not in selector.get("namespaces", [namespace]):
            continue
        if "users" in selector and caller.user not in selector["users"]:
            continue
        wanted = selector.get("labelSelector", {})
        if "matchLabels" in wanted and labels.get("a") != "1":
            continue
        if "matchExpressions" in wanted and "a" not in labels:
            continue
        pattern = selector.get("modelPattern", "")
        if not {"^m": model.startswith("m"), "n$": model.endswith("n"), "^mn$": model == "mn", "": True}[pattern]:
            continue
        said = ["users" in selector, "labelSelector" in selector, "modelPattern" in selector, "namespaces" in selector]
        matching.append((namespace != caller.namespace, [not one for one in said], created or "3000", name, namespace))
    return None if not matching else "/".join(reversed(min(matching)[3:]))


@given(routes, st.lists(st.tuples(callers, st.sampled_from(["m", "n", "mn", "x"])), min_size=1, max_size=6))
def test_the_route_is_the_one_that_the_contract_gives(found: list[Any], asked: list[tuple[Caller, str]]) -> None:
    compiled = Routes.compile(
        written(name, namespace, created=created, selector=selector) for name, namespace, selector, created in found
    )
    for caller, model in asked:
        match = compiled.match(caller, Ask(model))
        assert (match.key if isinstance(match, Route) else None) == obvious(found, caller, model)
