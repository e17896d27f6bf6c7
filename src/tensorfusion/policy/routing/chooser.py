"""The moving part of one route in one worker: picks targets, and learns from how attempts end.

No clock and no randomness: ``now`` is in seconds of one clock that never goes back, ``random`` in [0, 1). Nothing here
waits, so no lock is needed within one event loop.

Each worker keeps exact shares for what it sees, so of N workers a target gets its share within N requests. Breakers are
a worker's own too. Of rollouts, workers tell each other that they went back (``roll_back``), and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tensorfusion.model.llm_route import RolloutPhase, RouteStrategy
from tensorfusion.policy.routing.asks import SUCCESS, Ask, Failure, Outcome, blames_target
from tensorfusion.policy.routing.conditions import allowed, of_version, unmet
from tensorfusion.policy.routing.learning import Lengths
from tensorfusion.policy.routing.retry import Next, RetryBudget, Verdict, judge
from tensorfusion.policy.routing.rollout import Progress, advance, resume, shares
from tensorfusion.policy.routing.rotation import Rotation, members
from tensorfusion.policy.routing.route import RolloutPlan, Route, Target
from tensorfusion.policy.routing.state import Attempts, TargetReport, TargetState, Ticket, Unavailable, Walk
from tensorfusion.policy.routing.strategies import Strategies


@dataclass(frozen=True, slots=True)
class Step:
    """What follows a failed attempt: ``target`` after ``delay`` seconds, or the end where it is None."""

    target: Target | None
    reason: str
    delay: float = 0.0


class Chooser:
    """Targets of one route."""

    def __init__(self, route: Route, progress: Progress | None = None) -> None:
        """``progress`` is that of a rollout as it was written down, if it was."""
        self.route = route
        self._states = [TargetState() for _ in route.targets]
        self._lengths = Lengths()
        self._budget = RetryBudget()
        self._strategies = Strategies(route, self._states, self._lengths)
        self.progress: Progress | None = None
        """How far the rollout is, where the route has one."""
        self._seen_before = (0, 0)  # requests and failures of the rollout's target when its step began
        if route.rollout is not None:
            self._go_on(route.rollout, resume(route.rollout, progress, 0.0))

    def next(
        self, ask: Ask, now: float, attempts: Attempts, *, random: float, like: Target | None = None
    ) -> Target | None:
        """The target to ask, or None: ``why_none`` says why. The first call for a request counts it.

        ``like`` prefers targets of the same model: for an answer that has to go on in the same words.
        """
        if not attempts.counted:
            attempts.counted = True
            self._budget.request(now)
        mask = self.available(ask, now) & ~attempts.tried
        if attempts.walk is not None:
            return self._walked(attempts.walk, attempts.walk.first(), mask)
        return self._pick(mask, ask, now, random=random, like=like)

    def started(self, target: Target, now: float) -> Ticket:
        """An attempt begins. Every ticket has to come back through ``ended``, whatever happens."""
        state = self._states[target.index]
        state.in_flight += 1
        state.used_at = now
        return Ticket(target, state, now, probe=state.breaker.began(now))

    def first_token(self, ticket: Ticket, now: float) -> None:
        """The answer's first word came (without streaming: its first byte)."""
        if ticket.first_token_after is None:
            ticket.first_token_after = max(0.0, now - ticket.started_at)
            ticket.state.speed.began(ticket.first_token_after, now)

    def ended(self, ticket: Ticket, now: float, outcome: Outcome = SUCCESS) -> None:
        """The attempt is over. Saying it again changes nothing."""
        if not ticket.open:
            return
        ticket.open = False
        state, seconds = ticket.state, max(0.0, now - ticket.started_at)
        state.in_flight -= 1
        if outcome.failure is None:
            if ticket.first_token_after is None:
                self.first_token(ticket, now)
            state.speed.ended(seconds, ticket.first_token_after or 0.0, outcome.completion_tokens, now)
            if outcome.completion_tokens > 0:
                self._lengths.observe(outcome.completion_tokens)
            state.requests += 1
            state.breaker.succeeded(now, began=ticket.started_at)
        elif blames_target(outcome):
            state.speed.failed(seconds, now)
            state.requests += 1
            state.failures += 1
            state.failed(str(outcome))
            state.breaker.failed(now, began=ticket.started_at, probe=ticket.probe)
        else:
            if outcome.failure is not Failure.CANCELLED:
                state.failed(str(outcome))
            state.breaker.undecided(probe=ticket.probe)

    def healthy(self, target: Target, now: float) -> None:
        """A check from outside found the target well: a probe may go at once, however long the cooldown still is.

        It closes no circuit: what answers a check may still fail requests.
        """
        self._states[target.index].breaker.due(now)

    def roll(self, wall: float) -> Progress | None:
        """Look at the rollout, if there is one, and go on if it is time (Unix seconds). Call it every few seconds."""
        plan, progress = self.route.rollout, self.progress
        if plan is None or progress is None:
            return None
        if not progress.since:  # it was never written down: it begins now
            progress = resume(plan, None, wall)
        state = self._states[plan.target]
        requests, failures = self._seen_before
        found = advance(plan, progress, wall, requests=state.requests - requests, failures=state.failures - failures)
        if (found.phase, found.step) != (progress.phase, progress.step):
            self._go_on(plan, found)
        self.progress = found
        return found

    def roll_back(self, found: Progress) -> bool:
        """Another worker went back in this very rollout: so does this one. Whether anything changed by it."""
        plan, progress = self.route.rollout, self.progress
        if plan is None or progress is None or found.id != plan.id or found.phase is not RolloutPhase.ROLLED_BACK:
            return False
        if progress.phase is RolloutPhase.ROLLED_BACK:
            return False
        self._go_on(plan, found)
        return True

    def after(
        self,
        ask: Ask,
        now: float,
        attempts: Attempts,
        *,
        target: Target,
        outcome: Outcome,
        wall: float,
        random: float,
        mid_stream: bool = False,
    ) -> Step:
        """What follows a failed attempt at ``target``, whose ticket was handed back. Counts what it grants.

        ``wall`` is in Unix seconds. ``mid_stream``: words of the answer were already sent on, so it goes on elsewhere,
        with the same model if possible.
        """
        rules = target.retry or self.route.retry
        verdict = judge(rules, outcome, retries=attempts.retries, wall=wall, random=random)
        if mid_stream and verdict.next is Next.SAME:
            verdict = Verdict(Next.OTHER, verdict.reason)
        walk = attempts.walk
        if verdict.next is Next.END and (walk is None or outcome.failure in (None, Failure.CANCELLED)):
            return Step(None, verdict.reason)
        if verdict.next is Next.SAME and self.available(ask, now) & target.bit and self._budget.take(now):
            attempts.retries += 1
            return Step(target, verdict.reason, verdict.delay)
        like = target if mid_stream else None
        step = self._move(ask, now, attempts, target, verdict=verdict, outcome=outcome, random=random, like=like)
        found = step.target
        if found is None:
            return step
        if not (attempts.moves == 0 and self._states[found.index].breaker.spotless) and not self._budget.take(now):
            return Step(None, f"{verdict.reason}; the route's budget of further attempts is used up")
        attempts.moves += 1
        return step

    def resume(self, ask: Ask, now: float, attempts: Attempts, *, step: Step, outcome: Outcome, random: float) -> Step:
        """A step whose pause is over. Others may have filled its target or opened its circuit meanwhile: then another
        target is asked in its place, and no further attempt is counted."""
        target = step.target
        if target is None or self.available(ask, now) & target.bit:
            return step
        verdict = Verdict(Next.OTHER, f"{step.reason}; it cannot be asked again now")
        found = self._move(ask, now, attempts, target, verdict=verdict, outcome=outcome, random=random, like=None)
        attempts.moves += found.target is not None
        return found

    def _move(
        self,
        ask: Ask,
        now: float,
        attempts: Attempts,
        target: Target,
        *,
        verdict: Verdict,
        outcome: Outcome,
        random: float,
        like: Target | None,
    ) -> Step:
        """On from ``target``, to which this request does not come back."""
        attempts.tried |= target.bit
        attempts.retries = 0
        walk = attempts.walk
        if walk is None and not self.route.enable_fallback:
            return Step(None, f"{verdict.reason}; enableFallback is off")
        mask = self.available(ask, now) & ~attempts.tried
        if walk is not None:
            found = self._walked(walk, walk.after(target.index, _status(outcome)), mask)
        else:
            if verdict.next is Next.LARGER:
                mask = self._larger(mask, target)
            found = self._pick(mask, ask, now, random=random, like=like)
        return Step(found, verdict.reason if found is not None else f"{verdict.reason}; no other target is left")

    def mirrors(self, ask: Ask, now: float, target: Target) -> tuple[Target, ...]:
        """With strategy loadtest, all other targets that could answer, too; what they answer is thrown away."""
        if self.route.strategy is not RouteStrategy.LOADTEST:
            return ()
        return tuple(self.route.targets[index] for index in members(self.available(ask, now) & ~target.bit))

    def others(self, ask: Ask, now: float, attempts: Attempts, target: Target) -> bool:
        """Whether another target could answer: only then is the time to the first word limited."""
        return bool(self.available(ask, now) & ~attempts.tried & ~target.bit)

    @property
    def usual_tokens(self) -> int:
        """Tokens of an answer whose request does not say how long it may be."""
        return self._lengths.expected(None)

    def estimate(self, ask: Ask, target: Target) -> int | None:
        """Pico-dollars that the request will cost there; None where no price is known."""
        return self._strategies.cost(target.index, ask)

    def cheaper(self, ask: Ask, now: float, than: Target) -> tuple[Target, ...]:
        """Targets with a lower estimated cost than one, cheapest first; none where its cost is not known."""
        limit = self.estimate(ask, than)
        if limit is None:
            return ()
        costs = ((self.estimate(ask, one), one) for one in self._targets(self.available(ask, now)))
        below = [(cost, one.index, one) for cost, one in costs if cost is not None and cost < limit]
        return tuple(one for _, _, one in sorted(below, key=lambda found: found[:2]))

    def available(self, ask: Ask, now: float) -> int:
        """The mask of targets that could be asked now: conditions met, circuit not open, room for one more."""
        mask = allowed(self.route, ask)
        for target in self.route.targets:
            state, most = self._states[target.index], target.max_concurrency
            if (most is not None and state.in_flight >= most) or not (
                state.breaker.closed or state.breaker.allows(now)
            ):
                mask &= ~target.bit
        return mask

    def order(self, ask: Ask, now: float, *, random: float = 0.5) -> tuple[tuple[Target, str], ...]:
        """The targets that would be asked one after the other if each failed, and why each. Changes nothing."""
        strategies = self._strategies.preview(self.route)
        mask, found = self.available(ask, now), []
        while mask:
            index = strategies.pick(mask, ask, now, random)
            found.append((self.route.targets[index], strategies.why(index, mask, ask)))
            mask = mask & ~(1 << index) if self.route.enable_fallback else 0
        return tuple(found)

    def why_none(self, ask: Ask, now: float, attempts: Attempts) -> Unavailable:
        """What keeps each target from being asked now."""
        if attempts.walk is not None and attempts.walk.reason:
            return Unavailable((("configuration", attempts.walk.reason),))
        reasons, waits = [], []
        versions = of_version(self.route, ask.model)
        for target, state in zip(self.route.targets, self._states, strict=True):
            condition = unmet(target.conditions, ask) if target.conditions is not None else ""
            if not versions & target.bit:
                condition = f"is of version {target.version or '(none)'}, not of {ask.model[:64]}"
            wait = state.breaker.allowed_at(now) - now
            if condition:
                reasons.append((target.name, condition))
            elif attempts.tried & target.bit:
                reasons.append((target.name, state.last_error or "it was tried"))
            elif wait > 0:
                waits.append(wait)
                reasons.append((target.name, f"its circuit is {state.breaker.circuit(now)} for another {wait:.1f}s"))
            elif target.max_concurrency is not None and state.in_flight >= target.max_concurrency:
                waits.append(1.0)
                reasons.append((target.name, f"has its maxConcurrency of {target.max_concurrency} requests in flight"))
        return Unavailable(tuple(reasons), min(waits, default=None))

    def status(self, now: float) -> tuple[TargetReport, ...]:
        """How each target does."""
        found = []
        for target, state in zip(self.route.targets, self._states, strict=True):
            attempts, failures = state.breaker.rates(now)
            found.append(
                TargetReport(
                    name=target.name,
                    circuit=state.breaker.circuit(now),
                    in_flight=state.in_flight,
                    attempts=attempts,
                    failures=failures,
                    first_token_p50=state.speed.median_first_token,
                    last_error=state.last_error,
                )
            )
        return tuple(found)

    def adopt(self, old: "Chooser") -> None:
        """Take over what the chooser of the route's former version knew.

        Targets of the same identity keep circuit, times and requests in flight (open tickets go on to count). Whose
        turn it is goes on unless the targets or their weights changed.
        """
        known = {target.identity: state for target, state in zip(old.route.targets, old._states, strict=True)}
        for target in self.route.targets:
            self._states[target.index] = known.get(target.identity, self._states[target.index])
        self._lengths, self._budget = old._lengths, old._budget
        rotations = old._strategies.rotation, old._strategies.equal
        self._strategies = Strategies(self.route, self._states, self._lengths)
        plan, progress = self.route.rollout, old.progress
        if plan is not None and progress is not None and progress.id == plan.id:
            self._go_on(plan, progress)
            self._seen_before = old._seen_before
        elif plan is not None:
            self._go_on(plan, resume(plan, self.progress, 0.0))
        if [target.name for target in self.route.targets] == [target.name for target in old.route.targets]:
            self._strategies.equal = rotations[1]
            if rotations[0].weights == self._strategies.rotation.weights:
                self._strategies.rotation = rotations[0]

    def _go_on(self, plan: RolloutPlan, progress: Progress) -> None:
        """The rollout's target gets the percent of this progress from now on."""
        self.progress = progress
        state = self._states[plan.target]
        self._seen_before = state.requests, state.failures
        weights = [target.weight for target in self.route.targets]
        self._strategies.rotation = Rotation(shares(weights, plan.target, progress.percent(plan)))

    def _pick(self, mask: int, ask: Ask, now: float, *, random: float, like: Target | None) -> Target | None:
        if like is not None:
            mask = sum(one.bit for one in self._targets(mask) if one.model == like.model) or mask
        if not mask & (mask - 1):  # one target or none: every strategy takes it
            return self.route.targets[mask.bit_length() - 1] if mask else None
        return self.route.targets[self._strategies.pick(mask, ask, now, random)]

    def _walked(self, walk: Walk, index: int | None, mask: int) -> Target | None:
        """The first target from this one on that can be asked; the others count as not answering."""
        while index is not None and not mask >> index & 1:
            index = walk.after(index, _NOT_ASKED)
        return None if index is None else self.route.targets[index]

    def _targets(self, mask: int) -> Sequence[Target]:
        return [self.route.targets[index] for index in members(mask)]

    def _larger(self, mask: int, than: Target) -> int:
        """Those whose declared context is larger than that of ``than``; nobody's is where it declares none."""
        size = than.context_length
        return sum(one.bit for one in self._targets(mask) if size and (one.context_length or 0) > size)


_NOT_ASKED = 503
_SILENCE = 408


def _status(outcome: Outcome) -> int:
    """A failure as an HTTP status, for a walk: silence is a timeout, no answer at all is 0."""
    if outcome.status:
        return outcome.status
    return _SILENCE if outcome.failure in (Failure.SILENT, Failure.FIRST_TOKEN, Failure.STALL) else 0
