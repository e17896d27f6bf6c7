"""Which route takes a request, and who may use which."""

from typing import Any

from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.routes import HALF_A_MEMO, NoRoute, NotAllowed, Routes
from tensorfusion.testing.routing import written

ANN = Caller("red", user="ann", labels=(("app", "chat"),))


def match(routes: Routes, caller: Caller = ANN, model: str = "m", route_name: str = "") -> Any:
    found = routes.match(caller, Ask(model), route_name)
    assert found is routes.match(caller, Ask(model), route_name)
    return found.key if isinstance(found, Route) else found


def test_the_most_specific_route_wins() -> None:
    all_of_them = [
        written("none"),
        written("namespaces", selector={"namespaces": ["red"]}),
        written("model", selector={"modelPattern": "^m$"}),
        written("labels", selector={"labelSelector": {"matchLabels": {"app": "chat"}}}),
        written("users", selector={"users": ["ann", "bob"]}),
    ]
    for last in range(5, 0, -1):
        assert match(Routes.compile(reversed(all_of_them[:last]))) == f"red/{all_of_them[last - 1].metadata.name}"


def test_of_equals_the_oldest_wins_then_the_name() -> None:
    routes = [
        written("b", created="2026-01-01T00:00:00Z"),
        written("a", created="2026-01-01T00:00:00Z"),
        written("old", created="2025-12-31T23:59:59.5Z"),
        written("0-without-a-time"),
    ]
    assert match(Routes.compile(routes)) == "red/old"
    assert match(Routes.compile(routes[:2])) == "red/a"
    assert match(Routes.compile([routes[3], routes[0]])) == "red/b"


def test_a_route_takes_callers_of_its_own_namespace_only() -> None:
    routes = Routes.compile([written()])
    assert match(routes) == "red/chat"
    assert match(routes, Caller("blue")) == NoRoute("namespace blue has no route for model 'm'")
    assert match(routes, Caller("blue"), route_name="red/chat") == NoRoute(
        "namespace blue has no route for route 'red/chat'"
    )


def test_a_route_takes_callers_of_the_namespaces_it_lists() -> None:
    routes = Routes.compile([written(selector={"namespaces": ["blue"]})])
    assert match(routes, Caller("blue")) == "red/chat"
    assert isinstance(match(routes), NoRoute)


def test_nobody_draws_requests_away_from_the_callers_own_namespace() -> None:
    own = written("own", "blue")
    thief = written("thief", "red", selector={"namespaces": ["blue"], "users": ["ann"], "modelPattern": "^m$"})
    assert match(Routes.compile([thief, own]), Caller("blue", user="ann")) == "blue/own"


def test_a_route_is_used_by_name_whatever_the_model() -> None:
    routes = Routes.compile([written("x", selector={"modelPattern": "^n$"}), written("y")])
    assert match(routes, route_name="x") == "red/x"
    assert match(routes, route_name="red/x") == "red/x"
    assert match(routes, model="n") == "red/x"
    assert match(routes) == "red/y"


def test_who_may_not_use_a_route_of_their_own_namespace_is_told_so() -> None:
    routes = Routes.compile([written(selector={"users": ["bob"]})])
    assert match(routes) == NotAllowed("LLMRoute red/chat is for other users")
    assert match(Routes.compile([written()]), Caller("red", routes=("other",))) == NotAllowed(
        "LLMRoute red/chat is not among the routes of the key"
    )
    for allowed in ("chat", "red/chat", "ch*", "red/*", "*"):
        assert match(Routes.compile([written()]), Caller("red", routes=("x", allowed))) == "red/chat"
    for other in ("blue/chat", "red/cha", "blue/*"):
        assert isinstance(match(Routes.compile([written()]), Caller("red", routes=(other,))), NotAllowed)


def test_a_key_takes_the_first_of_its_own_routes() -> None:
    routes = Routes.compile([written("users", selector={"users": ["ann"]}), written("rest")])
    assert match(routes) == "red/users"
    assert match(routes, Caller("red", user="ann", routes=("rest",))) == "red/rest"


def test_a_broken_route_is_named_and_the_others_work() -> None:
    routes = Routes.compile(
        [written("bad", timeout="soon"), written("good"), written("re", selector={"modelPattern": "("})]
    )
    assert [str(problem) for problem in routes.problems] == [
        "LLMRoute red/bad: spec.timeout: 'soon' is not a duration: write numbers with units, such as 90s, 5m or 1h30m",
        "LLMRoute red/re: spec.selector.modelPattern: '(' is no regular expression: error parsing regexp: missing closing ): `(`",
    ]
    assert match(routes) == "red/good"


def test_the_memo_is_bounded() -> None:
    routes = Routes.compile([written()])
    for number in range(5 * HALF_A_MEMO):
        match(routes, model=f"m{number}")
    assert len(routes._young) + len(routes._old) <= 2 * HALF_A_MEMO


def test_an_alias_is_a_name_of_the_route_with_or_without_a_version() -> None:
    targets = [{"version": "v1"}, {"version": "v2"}]
    routes = Routes.compile(
        [
            written("pattern", created="2020-01-01T00:00:00Z", selector={"modelPattern": "^chat"}),
            written("alias", aliases=["chat"], targets=targets),
        ]
    )
    assert match(routes, model="chat") == "red/alias"
    assert match(routes, model="chat@v2") == "red/alias"
    assert match(routes, model="chat@v3") == "red/pattern"
    assert match(routes, model="chatty") == "red/pattern"
    assert isinstance(match(routes, model="gpt"), NoRoute)
    assert match(Routes.compile([written(aliases=["m"], selector={"modelPattern": "^x"})])) == "red/chat"
