"""Why a request goes where it goes, and what is wrong with routes that work."""

from tensorfusion.policy.routing.asks import Ask, Caller, Failure
from tensorfusion.policy.routing.check import check
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.explain import Considered, Explanation, explain
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.testing.routing import Driver, written

ANN = Caller("red", user="ann")
HERE = {"endpoint": "http://a:8000/v1"}


def reasons(found: Explanation) -> dict[str, str]:
    return {one.route: one.reason for one in found.considered}


def test_every_route_is_told_why_it_was_not_taken() -> None:
    routes = Routes.compile(
        [
            written("bobs", selector={"users": ["bob"]}),
            written("labelled", selector={"labelSelector": {"matchLabels": {"a": "b"}}}),
            written("other-model", selector={"modelPattern": "^n$"}),
            written("taken", selector={"modelPattern": "^m$"}, created="2026-01-01T00:00:00Z"),
            written("younger", selector={"modelPattern": "^m$"}, created="2026-01-02T00:00:00Z"),
            written("rest"),
            written("offered", "blue", selector={"namespaces": ["red"], "users": ["ann"]}),
            written("foreign", "blue"),
            written("only-blue", selector={"namespaces": ["blue"]}),
        ]
    )
    found = explain(routes, ANN, Ask("m"))
    assert found.route == "red/taken"
    assert reasons(found) == {
        "red/bobs": "is for other users",
        "red/labelled": "is for callers with other labels",
        "red/other-model": "takes models like '^n$'",
        "red/taken": "takes the request",
        "red/younger": "would take it, too; red/taken goes first: it is older",
        "red/rest": "would take it, too; red/taken goes first: it names models",
        "blue/offered": "would take it, too; routes of the caller's own namespace go first, as red/taken",
        "red/only-blue": "takes callers of namespace blue, not of red",
    }
    as_operator = reasons(explain(routes, ANN, Ask("m"), operator=True))
    assert as_operator["blue/foreign"] == "takes callers of namespace blue, not of red"


def test_who_gets_no_route_is_told_what_they_would_be_told() -> None:
    found = explain(Routes.compile([written(selector={"modelPattern": "^n$"})]), ANN, Ask("m"))
    assert found == Explanation(
        "", "namespace red has no route for model 'm'", "", (Considered("red/chat", "takes models like '^n$'"),), ()
    )
    named = explain(Routes.compile([written()]), ANN, Ask("m"), route_name="x")
    assert reasons(named) == {"red/chat": "is not the route 'x' that was asked for"}


def test_targets_are_in_the_order_they_would_be_asked_and_nothing_moves() -> None:
    route = written(
        strategy="priority",
        targets=[
            {"priority": 2},
            {"priority": 1, "weight": 30},
            {"priority": 1, "weight": 10},
            {"priority": 0, "conditions": {"maxTokens": 9}},
            {"priority": 0},
        ],
    )
    routes, driver = Routes.compile([route]), Driver(route)
    for _ in range(5):
        driver.serve("e", Failure.RESET)
    found = explain(routes, ANN, Ask("m", prompt_tokens=10), choosers={"red/chat": driver.chooser}, now=driver.now)
    assert [(one.target, one.reason, one.left_out) for one in found.targets] == [
        ("b", "priority 1 is the lowest; weight 30 of 40; it is its turn", False),
        ("c", "priority 1 is the lowest", False),
        ("a", "priority 2 is the lowest", False),
        ("d", "takes prompts up to 9 tokens, this has about 10", True),
        ("e", "its circuit is open for another 5.0s", True),
    ]
    for _ in range(10):
        explain(routes, ANN, Ask("m"), choosers={"red/chat": driver.chooser}, now=driver.now)
    assert driver.names(4, Ask("m", prompt_tokens=10)) == "bbbc"


def test_every_strategy_says_why() -> None:
    for strategy, why in {
        "weighted": "weight 50 of 100; it is its turn",
        "round-robin": "it is its turn",
        "cost-optimized": "about $0.00036, the lowest or nearly; the fewest requests in flight",
        "latency-optimized": "nothing is known yet of how fast it is",
        "loadtest": "it is the first",
    }.items():
        priced = {"costPer1MInput": "1", "costPer1MOutput": "1"}
        chooser = Chooser(Routes.compile([written(strategy=strategy, targets=[priced, priced])]).by_key["red/chat"])
        assert chooser.order(Ask("m", prompt_tokens=104), 0.0)[0][1] == why
    alone = written(enableFallback=False, targets=[{}, {}])
    assert [one.left_out for one in explain(Routes.compile([alone]), ANN, Ask("m")).targets] == [False, True]


def found(*routes: object) -> list[str]:
    return [f"{one.severity}: {one}" for one in check(Routes.compile(routes))]  # type: ignore[arg-type]


TWO = [HERE, {"endpoint": "http://b:8000/v1"}]


def test_routes_without_fault_have_no_findings() -> None:
    assert found(written(targets=TWO), written("named", selector={"modelPattern": "^n$"}, targets=TWO)) == []


def test_a_route_behind_one_that_takes_all_of_its_requests_never_fires() -> None:
    never = "never fires unless it is asked for by name"
    old = written("old", targets=TWO, created="2026-01-01T00:00:00Z")
    assert found(old, written("new", targets=TWO)) == [
        f"error: LLMRoute red/new: {never}: red/old takes all of its requests before it"
    ]
    pattern = written("a", targets=TWO, selector={"modelPattern": "^m"})
    assert found(pattern, written("b", targets=TWO, selector={"modelPattern": "^m"})) == [
        f"error: LLMRoute red/b: {never}: red/a takes all of its requests before it"
    ]
    assert found(pattern, written("b", targets=TWO, selector={"modelPattern": "^n"})) == []
    alias = written("b", targets=TWO, aliases=["m"])
    assert found(pattern, alias) == []
    both = written("c", targets=TWO, aliases=["m", "mm"], created="2026-01-01T00:00:00Z")
    assert found(both, alias) == [f"error: LLMRoute red/b: {never}: red/c takes all of its requests before it"]
    own, offered = (
        written("own", targets=TWO),
        written("offered", "blue", targets=TWO, selector={"namespaces": ["red"]}),
    )
    assert found(own, offered) == [
        f"error: LLMRoute blue/offered: {never}: red/own takes all of its requests before it"
    ]
    assert found(own, written("offered", "blue", targets=TWO, selector={"namespaces": ["red", "blue"]})) == []
    ann = written("u", targets=TWO, selector={"users": ["ann", "bob"]})
    assert found(ann, written("v", targets=TWO, selector={"users": ["bob"]})) == [
        f"error: LLMRoute red/v: {never}: red/u takes all of its requests before it"
    ]
    assert found(ann, written("v", targets=TWO, selector={"users": ["eve"]})) == []


def test_targets_without_a_place_or_a_key_are_named() -> None:
    assert found(written(targets=[{"provider": "custom"}, {"provider": "openai"}, {"gpuPool": "p"}])) == [
        "error: LLMRoute red/chat: target a: has no address: set endpoint, gpuPool or azureGPUSource",
        "warning: LLMRoute red/chat: target a: is chosen only when all with a price fail: set costPer1MInput and costPer1MOutput",
        "warning: LLMRoute red/chat: target b: has no apiKeySecret, and openai asks for a key",
        "warning: LLMRoute red/chat: target b: is chosen only when all with a price fail: set costPer1MInput and costPer1MOutput",
    ]
    routes = Routes.compile([written(targets=TWO)])
    told = check(routes, problem_of=lambda _, target: "Secret red/s does not exist" if target.name == "b" else "")
    assert [str(one) for one in told] == ["LLMRoute red/chat: target b: Secret red/s does not exist"]


def test_targets_and_fallbacks_that_cannot_help_are_named() -> None:
    assert found(written(targets=[HERE])) == [
        "warning: LLMRoute red/chat: has one target: when it fails, there is nobody to go on to (enableFallback)"
    ]
    assert found(written(targets=[HERE, HERE])) == [
        "warning: LLMRoute red/chat: has one place under several names: when it fails, all targets fail"
    ]
    low, high = {**TWO[0], "conditions": {"maxTokens": 500}}, {**TWO[1], "conditions": {"minTokens": 1000}}
    assert found(written(targets=[low, high])) == [
        "warning: LLMRoute red/chat: no target takes prompts of 501 to 999 tokens",
        "warning: LLMRoute red/chat: target a: has no fallback: no other target takes prompts of its length",
        "warning: LLMRoute red/chat: target b: has no fallback: no other target takes prompts of its length",
    ]
    assert "warning: LLMRoute red/chat: no target takes prompts of 501 tokens and more" in found(
        written(targets=[low, low])
    )
    ordered = [{**TWO[0], "priority": 1}, {**TWO[1], "priority": 2}]
    assert found(written(strategy="priority", targets=ordered)) == []
    assert found(written(strategy="priority", enableFallback=False, targets=ordered)) == [
        "warning: LLMRoute red/chat: target b: is chosen only while the circuit of a is open: a always goes before it, and enableFallback is off"
    ]


def test_a_route_that_could_not_be_compiled_is_among_the_findings() -> None:
    assert found(written("bad", timeout="0", targets=TWO)) == [
        "error: LLMRoute red/bad: spec.timeout: wanted a time above 0, found '0'"
    ]


def test_credentials_of_another_namespace_are_refused() -> None:
    secret = {"name": "k", "namespace": "blue", "key": "token"}
    thief = written(targets=[{**HERE, "apiKeySecret": secret}])
    (problem,) = Routes.compile([thief]).problems
    assert problem.field == "spec.targets[0].apiKeySecret.namespace"
    assert problem.problem == (
        "wanted red, for a route uses credentials of its own namespace only, found blue: copy the Secret there"
    )
    assert Routes.compile([thief], one_author=True).problems == ()
