"""One request against one target after another, until one has answered or nobody is left.

What an attempt does is given (``Way``): an answer in one piece, or a stream. Here is what they share: who is asked, and
what follows a failure. Three things hold whatever happens: every ticket of the chooser comes back, every replica is
released, and what was sent to a target ends with the task that asked.

Source: the platform's contract, 3.6.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final, Protocol

from tensorfusion.gateway.discretion import discreet
from tensorfusion.gateway.faults import JSON, Fault, no_healthy_target
from tensorfusion.gateway.job import Job, Try
from tensorfusion.gateway.outcomes import Broken, of_wire
from tensorfusion.gateway.speech import Speech, speech_for
from tensorfusion.gateway.tracing.context import new_span_id
from tensorfusion.gateway.upstreams import Replica, Upstream
from tensorfusion.policy.routing.asks import SUCCESS, Failure, Outcome, blames_target
from tensorfusion.policy.routing.route import Target
from tensorfusion.policy.routing.state import Ticket
from tensorfusion.wire.connection import Hear
from tensorfusion.wire.errors import BrokenOff, ClientLeft, WireError
from tensorfusion.wire.exchange import Exchange, Patience
from tensorfusion.wire.fields import Fields, field_lines

_JSON_LINE: Final = field_lines((JSON,))
_MOST_RESENT: Final = 3
MOST_ANSWER: Final = 64 << 20
"""Bytes of an answer that is kept here."""
_MOST_REPLICAS: Final = 3
"""Of one target, for one request, that fail it. Those that refuse the connection at once are not among them: they cost
nothing, and of a workload most may just have gone."""
_AT_ONCE: Final = 0.2
"""Seconds."""
_OF_ALL_REPLICAS: Final = (401, 402, 429)
_IN_ITS_WORDS: Final = (Failure.STATUS, Failure.CONTEXT_LENGTH, Failure.CONTENT_FILTER, Failure.MALFORMED)
"""Failures of which the target tells itself."""
_LEFT: Final = Outcome(failure=Failure.CANCELLED)


@dataclass(slots=True, eq=False)
class Attempt:
    """At one replica of one target."""

    job: Job
    upstream: Upstream
    replica: Replica
    ticket: Ticket
    noted: Try
    speech: Speech
    begun: bool = False
    """A word of its answer has come."""
    beginning: bytes = b""
    """Of ``job.answer_lines``, if this attempt succeeds."""

    @property
    def target(self) -> Target:
        return self.upstream.target

    def first_token(self) -> None:
        """The first word has come."""
        job, now = self.job, monotonic()
        self.begun = True
        self.noted.first_token = now - self.ticket.started_at
        job.chooser.first_token(self.ticket, now)
        if job.first_token is None:
            job.first_token = now - job.started

    def exchange(
        self, further: Mapping[str, bytes] | None = None, *, seconds: float = math.inf, hear: Hear | None = None
    ) -> Exchange:
        """The request as this target gets it, on its way to it, with so many seconds for all of the answer; ``hear`` is
        called with that where its end arrives."""
        job, upstream = self.job, self.upstream
        timers = job.route.timers
        target = upstream.target
        if upstream.overriding:
            further = {**upstream.overriding, **(further or {})}
        asked = self.speech.asked
        connect, total = timers.connect, max(job.deadline - monotonic(), 0.0)
        if seconds < math.inf:
            connect, total = min(connect, seconds), min(total, seconds)
        fields = (*self._traced(), *self._forwarded())
        return self.replica.pool.exchange(
            asked.method,
            upstream.path_of(self.speech.call),
            fields,
            self.speech.body(upstream, further) if asked.method != b"GET" else None,
            patience=Patience(
                connect,
                timers.first_byte if target.timeout is None else target.timeout,
                timers.idle,
                total,
            ),
            ready=job.lines_out() + _type_line(asked.content_type) + upstream.lines,
            sent=self._sent if hear is None else partial(self._sent, hear=hear),
        )

    def _sent(self, exchange: Exchange, hear: Hear | None = None) -> None:
        """The target works: time to spell what is known of its answer, and for what is left of the request before."""
        if hear is not None:
            exchange.when_whole(MOST_ANSWER, hear)
        self.beginning = self.job.beginning(self.target)
        self.job.meanwhile()

    def _traced(self) -> Fields:
        """What the target is told of the trace that this attempt is a span of."""
        trace = self.job.trace
        return (trace.field(self.noted.span_id),) if trace is not None and self.noted.span_id else ()

    def _forwarded(self) -> Fields:
        """What the target wants of the client's fields that would stay here."""
        wanted = self.target.forward_headers
        if not wanted:
            return ()
        kept = {b"x-request-id", *(name.lower() for name, _ in self.job.fields)}
        found = ((name, value) for name, value in self.job.request.fields if name.lower() not in kept)
        return [pair for pair in found if pair[0].lower().decode("latin-1") in wanted]


class Way(Protocol):
    """How an answer is brought to the client."""

    @property
    def told(self) -> bool:
        """The client has words of an answer."""
        ...

    @property
    def open(self) -> bool:
        """Another attempt could bring it, in view of what the client has."""
        ...

    @property
    def first(self) -> Broken | None:
        """The failure that cut the answer off, when the client had some of it."""
        ...

    async def attempt(self, attempt: Attempt) -> None:
        """Bring the whole answer.

        Raises:
            Broken, WireError: it failed, and another attempt may follow.
        """
        ...


async def answer(job: Job, way: Way, *, begins: Callable[[Job, Target], None] | None = None) -> None:
    """Bring an answer. ``begins`` hears who is asked first.

    Raises:
        Failed: nobody could.
        Fault: nobody could be asked.
        ClientLeft: nobody waits for it any more.
    """
    chooser, attempts = job.chooser, job.attempts
    attempts.tried = unusable = job.upstreams.unusable(job.route)
    target = chooser.next(job.ask, monotonic(), attempts, random=job.random())
    if target is None:
        raise _nobody(job, unusable)
    if begins is not None:
        begins(job, target)
    while True:
        broken, outcome = await _one(job, target, way)
        if broken is None:
            return
        if broken.final or not way.open:
            raise Failed(broken, target)
        step = chooser.after(
            job.ask,
            monotonic(),
            attempts,
            target=target,
            outcome=outcome,
            wall=time.time(),
            random=job.random(),
            mid_stream=way.told,
        )
        if step.target is None or monotonic() + step.delay >= job.deadline:
            raise Failed(broken, target)
        if step.delay:
            job.waited += step.delay
            await asyncio.sleep(step.delay)
            step = chooser.resume(job.ask, monotonic(), attempts, step=step, outcome=outcome, random=job.random())
        if step.target is None:
            raise Failed(broken, target)
        target = step.target


class Failed(Exception):
    """The last attempt's failure, and nothing can follow."""

    def __init__(self, broken: Broken, target: Target) -> None:
        self.broken = broken
        self.target = target
        super().__init__(str(broken))


async def _one(job: Job, target: Target, way: Way) -> tuple[Broken | None, Outcome]:
    """At one target; how it failed, or None. One of its replicas that fails is another one's turn first."""
    upstream = job.upstreams.of(job.route, target)
    job.target = target
    replica = upstream.pick(monotonic(), prompt=job.ask.prompt_tokens)
    asked = [replica]
    failed = 0
    while True:
        broken, outcome = await _at(job, upstream, replica, way, others=len(upstream.replicas) - len(asked))
        if broken is None or not way.open or not _is_the_replicas(broken):
            return broken, outcome
        failed += broken.failure is not Failure.CONNECT or outcome.seconds >= _AT_ONCE
        if failed >= _MOST_REPLICAS:
            return broken, outcome
        following = upstream.pick(monotonic(), asked, prompt=job.ask.prompt_tokens)
        if following is replica or following in asked:
            return broken, outcome
        replica = following
        asked.append(replica)


def _is_the_replicas(broken: Broken) -> bool:
    """What failed may be of this replica alone."""
    return not broken.final and blames_target(broken.outcome(0.0)) and broken.status not in _OF_ALL_REPLICAS


async def _at(
    job: Job, upstream: Upstream, replica: Replica, way: Way, *, others: int
) -> tuple[Broken | None, Outcome]:
    """One attempt; how it failed, or None. With ``others`` that may do better the target is not to blame."""
    target, started = upstream.target, monotonic()
    noted = Try(target.name, replica.url, started=started)
    if job.trace is not None:
        noted.span_id = new_span_id()
    job.tries.append(noted)
    tokens = job.ask.prompt_tokens
    replica.tokens += tokens
    replica.requests += 1
    ticket = job.chooser.started(target, started)
    broken: Broken | None = None
    outcome = _LEFT
    begun = False
    try:
        try:
            attempt = Attempt(job, upstream, replica, ticket, noted, speech_for(job.asked, job.call, upstream))
            try:
                await way.attempt(attempt)
            except BrokenOff as error:
                await _resend(attempt, way, error)
            finally:
                begun = attempt.begun
                if job.reply.ended:  # also where this task was being ended when the answer's end came
                    outcome = SUCCESS
        except ClientLeft:
            raise
        except Broken as error:
            if upstream.secret:
                error.hide(upstream.secret)
            broken = error
        except WireError as error:
            broken = of_wire(error, begun=begun or not job.ask.stream)
    finally:
        now = monotonic()
        noted.seconds = now - started
        replica.tokens -= tokens
        replica.requests -= 1
        if broken is not None:
            if broken.failure in _IN_ITS_WORDS:
                broken.detail = discreet(broken.detail, job.asked.parts)
            outcome = broken.outcome(noted.seconds)
        elif outcome is SUCCESS:
            used = job.used
            outcome = Outcome(
                seconds=noted.seconds,
                prompt_tokens=used.prompt,
                completion_tokens=0 if used.estimated else used.completion,
            )
        elif not job.used.prompt:
            job.count(None, completion=0)  # the client left: the target may have read the prompt, so it counts
        noted.outcome, noted.kind, noted.status = str(outcome), outcome.kind, outcome.status
        if broken is not None and others and way.open and _is_the_replicas(broken):
            replica.breaker.failed(now, began=started)
            job.chooser.ended(ticket, now, _LEFT)
        else:
            if outcome is not _LEFT and broken is None and len(upstream.replicas) > 1:
                replica.breaker.succeeded(now, began=started)
            job.chooser.ended(ticket, now, outcome)
    return broken, outcome


def _type_line(kind: bytes) -> bytes:
    """What a body is, as it is sent. Raises ValueError: it cannot be."""
    if kind == JSON[1]:
        return _JSON_LINE
    return field_lines(((b"Content-Type", kind),)) if kind else b""


async def _resend(attempt: Attempt, way: Way, error: BrokenOff) -> None:
    """The attempt again, where it met a connection that the target had just closed, before it saw the request."""
    for _ in range(_MOST_RESENT):
        if error.heard or not error.reused or isinstance(error, TimeoutError):
            break
        attempt.replica.pool.drop_idle()  # or the next one may be closed as well, and the one behind it
        try:
            return await way.attempt(attempt)
        except BrokenOff as another:
            error = another
    raise error


def _nobody(job: Job, unusable: int) -> Fault:
    """Why no target can be asked."""
    job.attempts.tried = 0
    none = job.chooser.why_none(job.ask, monotonic(), job.attempts)
    problems = dict(none.reasons)
    for target in job.route.targets:
        if unusable & target.bit:
            problems[target.name] = job.upstreams.of(job.route, target).problem
    why = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
    wait = none.retry_after
    return no_healthy_target(
        f"route {job.route.key} has no target to ask: {why}",
        retry_after=0 if wait is None else max(1, int(wait + 0.999)),
    )
