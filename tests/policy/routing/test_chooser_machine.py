"""Whatever happens in whatever order: no target is asked that may not be, and every attempt is counted once."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from example_counts import part_of
from tensorfusion.model.llm_route import RouteStrategy
from tensorfusion.policy.routing.asks import Ask, Failure, Outcome
from tensorfusion.policy.routing.chooser import Chooser, Step
from tensorfusion.policy.routing.compiler import compile_route
from tensorfusion.policy.routing.state import Attempts, Ticket
from tensorfusion.testing.routing import written

units = st.floats(0, 0.9999999)
outcomes = st.one_of(
    st.just(Outcome()),
    st.builds(
        Outcome,
        failure=st.sampled_from(Failure),
        status=st.sampled_from([0, 400, 401, 404, 429, 500, 503]),
        retry_after=st.sampled_from(["", "1", "100", "x"]),
    ),
)
asks = st.builds(
    Ask,
    model=st.sampled_from(["m", "chat", "chat@v1"]),
    prompt_tokens=st.integers(0, 200),
    max_tokens=st.none() | st.integers(1, 100),
    session=st.sampled_from(["", "", "s1", "s2"]),
)


def targets(weights: list[int], names: str) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "weight": weight,
            "priority": weight % 3,
            "version": f"v{weight % 2}",
            "contextLength": 1000 * weight,
            **({"maxConcurrency": 1 + weight % 3} if weight % 2 else {}),
            **({"conditions": {"maxTokens": 100}} if weight % 5 == 0 else {}),
            **({"costPer1MInput": str(weight), "costPer1MOutput": "1"} if weight % 4 else {}),
        }
        for name, weight in zip(names, weights, strict=False)
    ]


class Requests(RuleBasedStateMachine):
    """Requests that try, fail, go on and leave, over a route that is loaded anew now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 10.0
        self.strategy = RouteStrategy.WEIGHTED
        self.chooser = self.compiled([3, 5, 8, 10])
        self.under_way: list[tuple[Chooser, Ask, Attempts, Ticket]] = []
        self.paused: list[tuple[Chooser, Ask, Attempts, Step, Outcome]] = []

    def compiled(self, weights: list[int], names: str = "abcdefgh") -> Chooser:
        return Chooser(
            compile_route(
                written(
                    strategy=str(self.strategy),
                    targets=targets(weights, names),
                    aliases=["chat"],
                    retry={"maxRetries": 2, "initialDelay": "100ms"},
                )
            )
        )

    def begin(self, chooser: Chooser, ask: Ask, attempts: Attempts, index: int) -> None:
        target = chooser.route.targets[index]
        state = chooser._states[index]
        assert not attempts.tried & target.bit
        assert target.max_concurrency is None or state.in_flight < target.max_concurrency
        assert state.breaker.allows(self.now)
        assert target.conditions is None or ask.prompt_tokens <= 100
        assert "@" not in ask.model or target.version == "v1"
        self.under_way.append((chooser, ask, attempts, chooser.started(target, self.now)))

    @rule(ask=asks, random=units)
    def request(self, ask: Ask, random: float) -> None:
        attempts = Attempts()
        target = self.chooser.next(ask, self.now, attempts, random=random)
        assert (target is None) == (self.chooser.available(ask, self.now) == 0)
        if target is not None:
            self.begin(self.chooser, ask, attempts, target.index)
        else:
            why = self.chooser.why_none(ask, self.now, attempts)
            assert {name for name, _ in why.reasons} == {one.name for one in self.chooser.route.targets}

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99), outcome=outcomes, random=units, twice=st.booleans())
    def end(self, which: int, outcome: Outcome, random: float, twice: bool) -> None:
        chooser, ask, attempts, ticket = self.under_way.pop(which % len(self.under_way))
        for _ in range(1 + twice):
            chooser.ended(ticket, self.now, outcome)
        if outcome.failure is None:
            return
        step = chooser.after(ask, self.now, attempts, target=ticket.target, outcome=outcome, wall=0.0, random=random)
        assert step.reason
        assert step.delay <= 10
        if step.target is ticket.target:
            assert outcome.status not in (400, 401, 404) or outcome.failure is not Failure.STATUS
            assert attempts.retries <= 2
        if step.delay and twice:  # others are quicker
            self.paused.append((chooser, ask, attempts, step, outcome))
        elif step.target is not None:
            self.begin(chooser, ask, attempts, step.target.index)

    @precondition(lambda self: self.paused)
    @rule(random=units)
    def resume(self, random: float) -> None:
        chooser, ask, attempts, step, outcome = self.paused.pop()
        found = chooser.resume(ask, self.now, attempts, step=step, outcome=outcome, random=random)
        if found.target is not None:
            self.begin(chooser, ask, attempts, found.target.index)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def first_token(self, which: int) -> None:
        chooser, _, _, ticket = self.under_way[which % len(self.under_way)]
        chooser.first_token(ticket, self.now)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        strategy=st.sampled_from(RouteStrategy),
        weights=st.lists(st.integers(1, 100), min_size=1, max_size=8),
        names=st.permutations("abcdefgh"),
    )
    def reload(self, strategy: RouteStrategy, weights: list[int], names: list[str]) -> None:
        self.strategy = strategy
        fresh = self.compiled(weights, "".join(names))
        fresh.adopt(self.chooser)
        self.chooser = fresh

    @invariant()
    def every_attempt_under_way_is_counted_once(self) -> None:
        for report, state in zip(self.chooser.status(self.now), self.chooser._states, strict=True):
            assert report.in_flight == sum(ticket.state is state for _, _, _, ticket in self.under_way)
            assert 0 <= report.failures <= report.attempts

    @invariant()
    def a_circuit_that_is_not_closed_lets_through_one_at_a_time(self) -> None:
        for state in self.chooser._states:
            if not state.breaker.closed and state.breaker.allows(self.now):
                assert state.breaker.allowed_at(self.now) == self.now


TestRequests = Requests.TestCase
TestRequests.settings = settings(deadline=None, max_examples=part_of(60), stateful_step_count=60)
