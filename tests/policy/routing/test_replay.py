"""Recorded requests under other routes."""

import msgspec

from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.replay import NOBODY, Recorded, replay
from tensorfusion.policy.routing.routes import Routes

RED = Caller("red", "u", "red/a", labels=(("app", "web"),))


def routes(*specs: dict[str, object]) -> Routes:
    written = [
        msgspec.convert({"metadata": {"name": f"r{at}", "namespace": "red"}, "spec": spec}, LLMRoute)
        for at, spec in enumerate(specs)
    ]
    found = Routes.compile(written, one_author=True)
    assert found.problems == ()
    return found


def target(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "provider": "vllm", "model": name, "endpoint": "http://a:1", **fields}


def requests(count: int, **fields: object) -> list[Recorded]:
    values: dict[str, object] = {
        "seconds": 0.5,
        "caller": RED,
        "ask": Ask("m", prompt_tokens=1000),
        "route_name": "",
        "route": "red/r0",
        "target": "a",
        "completion_tokens": 10,
        "cost": 7,
        **fields,
    }
    return [Recorded(at=float(at), **values) for at in range(count)]  # type: ignore[arg-type] # as the test says


def test_what_stays_is_counted_apart_from_what_moves() -> None:
    new = routes(
        {
            "strategy": "priority",
            "selector": {"modelPattern": "^m$"},
            "targets": [target("a"), target("b", priority=60)],
        },
        {"strategy": "priority", "selector": {"modelPattern": "^n$"}, "targets": [target("c")]},
    )
    found = replay(new, [*requests(3), *requests(2, ask=Ask("n")), *requests(1, target="b")])
    assert (found.requests, found.same) == (6, 3)
    assert found.moves == {(("red/r0", "a"), ("red/r1", "c")): 2, (("red/r0", "b"), ("red/r0", "a")): 1}
    assert found.before == {("red/r0", "a"): 5, ("red/r0", "b"): 1}
    assert found.after == {("red/r0", "a"): 4, ("red/r1", "c"): 2}


def test_shares_are_exact_and_the_same_each_time() -> None:
    new = routes({"strategy": "weighted", "targets": [target("a", weight=90), target("b", weight=10)]})
    log = requests(1000)
    first, second = replay(new, log), replay(new, reversed(log))
    assert first.after == {("red/r0", "a"): 900, ("red/r0", "b"): 100}
    assert first == second


def test_costs_are_exact() -> None:
    priced = {"costPer1MInput": "2", "costPer1MOutput": "10"}
    new = routes({"strategy": "priority", "targets": [target("a", **priced)]})
    found = replay(new, requests(3))
    assert found.cost_before == 3 * 7 * 10**6
    assert found.cost_after == 3 * (1000 * 2_000_000 + 10 * 10_000_000)
    assert found.unpriced == 0
    assert replay(routes({"targets": [target("a", provider="other")]}), requests(3)).unpriced == 3


def test_a_request_that_nobody_takes_is_told_with_the_reason() -> None:
    new = routes(
        {
            "strategy": "priority",
            "selector": {"modelPattern": "^m$"},
            "targets": [target("a", conditions={"maxTokens": 500})],
        }
    )
    found = replay(new, [*requests(2), *requests(1, ask=Ask("other"))])
    assert found.after == {("red/r0", ""): 2, NOBODY: 1}
    assert sorted(found.refusals.values()) == [1, 2]
    assert any("has no target for it" in why for why in found.refusals)


def test_callers_are_who_they_were() -> None:
    new = routes(
        {
            "strategy": "priority",
            "selector": {"labelSelector": {"matchLabels": {"app": "web"}}},
            "targets": [target("a")],
        }
    )
    assert replay(new, requests(1)).same == 1
    assert replay(new, requests(1, caller=Caller("red"))).after == {NOBODY: 1}
    assert replay(new, requests(1, caller=Caller("blue"))).after == {NOBODY: 1}


def test_what_is_under_way_at_once_counts_against_the_places_of_a_target() -> None:
    new = routes({"strategy": "priority", "targets": [target("a", maxConcurrency=1), target("b", priority=60)]})
    assert replay(new, requests(4, seconds=1.5)).after == {("red/r0", "a"): 2, ("red/r0", "b"): 2}
    assert replay(new, requests(4, seconds=0.5)).after == {("red/r0", "a"): 4}
