"""What is left of a request when it is over: a record, counters, and never a word of what was said.

A record is a plain value; where records go is a ``Sink``: a file of lines, a store of time series. A sink takes without
waiting and drops, and counts, what it cannot take: no request waits for its record.

Money is summed in whole pico-dollars (``policy/routing/money``) and written in micro-dollars.

Source: the platform's contract, 3.8 (names of the record's fields).
"""

import asyncio
import time
from collections import deque
from time import monotonic
from typing import Final, NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry

from tensorfusion.gateway.counting import Counts
from tensorfusion.gateway.discretion import without_keys
from tensorfusion.gateway.job import Job
from tensorfusion.gateway.refusals import Arrival, Refusals
from tensorfusion.policy.routing.money import PICO_PER_MICRO
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import REGISTRY
from tensorfusion.telemetry.tallies import Tally, TimingTally

_SPELLED: Final = {status: str(status) for status in range(200, 600)}
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SHORT_SECONDS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
CLIENT_LEFT: Final = 499
_DUE_SECONDS: Final = 0.002
_MOST_DUE: Final = 64
"""Requests that are over and not noted yet."""
MOST_REFUSED: Final = 500
"""Characters of why a request was refused."""
_LONGEST_API: Final = 128
_LONGEST_ROUTE: Final = 512
_ERROR: Final = 400

log = get_logger(__name__)


class TriedTarget(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One attempt. ``status`` 0: none came."""

    target: str
    outcome: str
    status: int = 0
    latency_ms: float = 0.0
    ttft_ms: float | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """One request. Times in milliseconds, ``timestamp`` in Unix seconds, ``cost_microusd`` in micro-dollars."""

    id: str
    request_id: str
    timestamp: float
    api: str
    status: int
    latency_ms: float
    overhead_ms: float
    queue_ms: float = 0.0
    model: str = ""
    """As the client asked for it."""
    route: str = ""
    target: str = ""
    target_model: str = ""
    provider: str = ""
    stream: bool = False
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usage_estimated: bool = False
    cost_microusd: int = 0
    finish_reason: str = ""
    cache_hit: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    events_dropped: int = 0
    key_id: str = ""
    namespace: str = ""
    user: str = ""
    error_type: str = ""
    error_message: str = ""
    attempts: tuple[TriedTarget, ...] = ()
    priority: str = ""
    max_tokens: int | None = None
    asked_route: str = ""
    """``x-tf-route``, where the client chose its route."""
    requests: int = 1
    """That it stands for: more than one where refusals came too fast to be told apart (``refusals``)."""


class Sink(Protocol):
    """Where records go."""

    def put(self, record: Record) -> None:
        """Take it, without waiting."""
        ...


class Traces(Protocol):
    """Who follows requests through services."""

    def begin(self, job: Job) -> None:
        """It has a route, and its targets are to be told."""
        ...

    def wants(self, job: Job) -> bool:
        """It is recorded."""
        ...

    def end(self, job: Job, record: Record, ended: float) -> None:
        """It was over at that time of ``time.monotonic``. Only if it is wanted; returns without waiting."""
        ...


class Meters:
    """Prometheus metrics of the gateway in this process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        prefix = "tensorfusion_gateway_"
        self.requests = Tally(
            prefix + "requests", "Requests by how they were answered.", ("route", "status"), registry=registry
        )
        self.unreadable = Tally(
            prefix + "unreadable",
            "What was no request in HTTP, or came too slowly, by the status it was answered with.",
            ("status",),
            registry=registry,
        )
        self.attempts = Tally(
            prefix + "attempts", "Attempts by how they ended.", ("route", "target", "outcome"), registry=registry
        )
        self.tokens = Tally(prefix + "tokens", "Tokens.", ("route", "target", "kind"), registry=registry)
        self.cost = Tally(prefix + "cost_microdollars", "Cost of answers.", ("route", "target"), registry=registry)
        self.mirrored = Tally(
            prefix + "mirrored",
            "Mirrored requests by how they ended.",
            ("route", "target", "outcome"),
            registry=registry,
        )
        self.dropped = Tally(
            prefix + "events_dropped", "Events of streams that were none.", ("route", "target"), registry=registry
        )
        self.records_dropped = Tally(
            prefix + "records_dropped", "Records of requests that no sink took.", ("sink",), registry=registry
        )
        self.seconds = TimingTally(
            prefix + "request_duration_seconds",
            "Time to the end of an answer.",
            ("route",),
            bounds=_SECONDS,
            registry=registry,
        )
        self.first_token = TimingTally(
            prefix + "first_token_seconds",
            "Time to the first word of an answer.",
            ("route", "target"),
            bounds=_SECONDS,
            registry=registry,
        )
        self.overhead = TimingTally(
            prefix + "overhead_seconds",
            "Time that the gateway itself took.",
            (),
            bounds=_SHORT_SECONDS,
            registry=registry,
        )
        self.queue = TimingTally(
            prefix + "queue_seconds",
            "Time that a request waited to be let in.",
            (),
            bounds=_SHORT_SECONDS,
            registry=registry,
        )


class Evidence:
    """Of one process."""

    def __init__(
        self,
        sinks: tuple[Sink, ...] = (),
        *,
        meters: Meters,
        traces: Traces | None = None,
        later: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """With ``later`` a request that is over is noted when its client's next one waits for a target, or within
        milliseconds: so that the next one is not kept waiting for what is left of the one before."""
        self._sinks = sinks
        self._traces = traces
        self._later = later
        self._due: deque[_Ended] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._refusals = Refusals(self._put)
        self.meters = meters
        self.counts: Counts | None = None
        """For the status of routes, where there is somebody to write it."""

    def begin(self, job: Job) -> None:
        """A request has a route, and is about to ask a target."""
        if self._traces is not None:
            self._traces.begin(job)

    def flush(self) -> None:
        """Tell of refusals that were only counted. To be called every few seconds, and at the end."""
        self.catch_up()
        self._refusals.flush()

    def catch_up(self) -> None:
        """Note what is still to be noted: while a target works, and before somebody reads what was."""
        due = self._due
        while due:
            ended = due.popleft()
            try:
                self._note(ended)
            except Exception:
                log.exception("a request could not be noted", request=ended.job.id.decode("latin-1"))

    def _ring(self) -> None:
        self._timer = None
        self.catch_up()

    def refuse(self, arrival: Arrival, *, status: int, error_type: str, error_message: str) -> None:
        """A request has not been let in, or its client left before it was."""
        self.meters.requests.add((arrival.route, str(status)))
        if self._sinks:
            now = monotonic()
            message = without_keys(error_message)[:MOST_REFUSED]
            self._refusals.put(_refused(arrival, now, status, error_type, message), now)

    def _put(self, record: Record) -> None:
        for sink in self._sinks:
            sink.put(record)

    def note(self, job: Job, *, status: int, error_type: str = "", error_message: str = "") -> None:
        """A request with a route is over."""
        ended = _Ended(job, monotonic(), status, error_type, error_message)
        if self._later is None or len(self._due) >= _MOST_DUE:
            self.catch_up()
            self._note(ended)
            return
        self._due.append(ended)
        if self._timer is None:
            self._timer = self._later.call_later(_DUE_SECONDS, self._ring)

    def _note(self, ended: "_Ended") -> None:
        job, status = ended.job, ended.status
        seconds = ended.at - job.started
        route, target, used, meters = job.route.key, job.spoke or job.target, job.used, self.meters
        name = target.name if target is not None else ""
        overhead = max(seconds - job.waited, 0.0)
        cost = 0
        if target is not None and target.price is not None and (status < _ERROR or status == CLIENT_LEFT):
            cost = target.price.cost(used.prompt, used.completion)
        micro = -(-cost // PICO_PER_MICRO)
        meters.requests.add((route, _SPELLED.get(status) or str(status)))
        meters.seconds.observe((route,), seconds)
        meters.overhead.observe((), overhead)
        meters.queue.observe((), job.queued)
        for one in job.tries:
            meters.attempts.add((route, one.target, one.kind))
        if job.first_token is not None:
            meters.first_token.observe((route, name), job.first_token)
        if used.prompt or used.completion:
            meters.tokens.add((route, name, "prompt"), used.prompt)
            meters.tokens.add((route, name, "completion"), used.completion)
            meters.cost.add((route, name), micro)
        if self.counts is not None:
            tokens = used.prompt + used.completion
            self.counts.note(route, status, seconds, target=name, tokens=tokens, cost=cost)
        if job.dropped:
            meters.dropped.add((route, name), job.dropped)
        traces = self._traces if self._traces is not None and self._traces.wants(job) else None
        if self._sinks or traces is not None:
            record = _record(ended, seconds, overhead, micro)
            self._put(record)
            if traces is not None:
                traces.end(job, record, ended.at)


class _Ended(NamedTuple):
    """A request that is over; ``at`` is of ``time.monotonic``."""

    job: Job
    at: float
    status: int
    error_type: str
    error_message: str


def _record(ended: _Ended, seconds: float, overhead: float, micro: int) -> Record:
    job = ended.job
    used, target = job.used, job.spoke or job.target
    first = job.first_token
    pace = None
    if first is not None and used.completion > 1:
        pace = (seconds - first) * 1000 / (used.completion - 1)
    name = job.id.decode("latin-1")
    return Record(
        id=name,
        request_id=name,
        timestamp=_thousandths(time.time() - (monotonic() - job.started)),
        api=job.call.api or job.call.path.partition("?")[0],
        status=ended.status,
        latency_ms=_ms(seconds),
        overhead_ms=_ms(overhead),
        queue_ms=_ms(job.queued),
        model=job.ask.model,
        route=job.route.key,
        target=target.name if target is not None else "",
        target_model=(target.model or job.ask.model) if target is not None else "",
        provider=target.provider if target is not None else "",
        stream=job.ask.stream,
        ttft_ms=None if first is None else _ms(first),
        tpot_ms=None if pace is None else _thousandths(pace),
        prompt_tokens=used.prompt,
        completion_tokens=used.completion,
        usage_estimated=used.estimated,
        cost_microusd=micro,
        finish_reason=job.finish_reason,
        bytes_in=job.request.received,
        bytes_out=job.bytes_out,
        events_dropped=job.dropped,
        key_id=job.caller.key_id,
        namespace=job.caller.namespace,
        user=job.caller.user,
        error_type=ended.error_type,
        error_message=ended.error_message,
        attempts=tuple(
            [
                TriedTarget(
                    target=one.target,
                    outcome=one.outcome,
                    status=one.status,
                    latency_ms=_ms(one.seconds),
                    ttft_ms=None if one.first_token is None else _ms(one.first_token),
                )
                for one in job.tries
            ]
        ),
        priority=job.ask.priority,
        max_tokens=job.ask.max_tokens,
        asked_route=job.asked_route,
    )


def _refused(arrival: Arrival, now: float, status: int, error_type: str, error_message: str) -> Record:
    """Nothing was used, and nobody was asked."""
    request, key, asked = arrival.request, arrival.key, arrival.asked
    name = arrival.id.decode("latin-1")
    seconds = now - arrival.started
    return Record(
        id=name,
        request_id=name,
        timestamp=round(time.time() - seconds, 3),
        api=arrival.api[:_LONGEST_API],
        status=status,
        latency_ms=_ms(seconds),
        overhead_ms=_ms(arrival.own_seconds(now)),
        queue_ms=_ms(now - arrival.asking) if arrival.asking else 0.0,
        model=asked.model if asked is not None else "",
        route=arrival.route,
        stream=asked.stream if asked is not None else False,
        bytes_in=request.received,
        key_id=key.id if key is not None else "",
        namespace=key.namespace if key is not None else "",
        user=key.user if key is not None else "",
        error_type=error_type,
        error_message=error_message,
        max_tokens=asked.max_tokens if asked is not None else None,
        asked_route=(request.field(b"x-tf-route") or b"")[:_LONGEST_ROUTE].decode("latin-1"),
    )


def _ms(seconds: float) -> float:
    return int(seconds * 1e6 + 0.5) / 1000


def _thousandths(value: float) -> float:
    """Rounded, of what is not below 0: ``round`` takes five times as long, and each record has ten of these."""
    return int(value * 1000 + 0.5) / 1000
