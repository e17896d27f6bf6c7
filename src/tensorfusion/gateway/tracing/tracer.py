"""Traces as the front makes them: where a request's begins, what its attempts are called, and its end."""

import os
import ssl
import time
from collections.abc import Mapping
from time import monotonic

from tensorfusion.clock import Clock
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.evidence import Record
from tensorfusion.gateway.job import Job
from tensorfusion.gateway.settings import TraceCollector
from tensorfusion.gateway.tracing.context import TRACEPARENT, TRACESTATE, trace_of
from tensorfusion.gateway.tracing.exporting import Exporter
from tensorfusion.gateway.tracing.spans import Traced, TracedTry
from tensorfusion.wire.messages import origin_of

_PATH = "/v1/traces"
_LONGEST_STATE = 512
_NS = 1_000_000_000


class Tracer:
    """Of one process."""

    def __init__(self, exporter: Exporter, *, ratio: float) -> None:
        self.exporter = exporter
        self._ratio = ratio

    def begin(self, job: Job) -> None:
        """Find the trace of a request; from now on its targets are told of it and no more what the client said."""
        job.trace = trace_of(job.request.field(TRACEPARENT), ratio=self._ratio)
        left_out = (TRACEPARENT,) if job.trace.parent else (TRACEPARENT, TRACESTATE)  # a state belongs to its trace
        kept = [pair for pair in job.fields if pair[0].lower() not in left_out]
        if len(kept) < len(job.fields):
            job.fields, job.lines = kept, None

    def wants(self, job: Job) -> bool:
        return job.trace is not None and job.trace.sampled

    def end(self, job: Job, record: Record, ended: float) -> None:
        trace = job.trace
        if trace is None:
            return
        end = time.time_ns() - int((monotonic() - ended) * _NS)
        tries = []
        for one in job.tries:
            start = end - int((ended - one.started) * _NS)
            tries.append(TracedTry(one.span_id, start, start + int(one.seconds * _NS)))
        state = (job.request.field(TRACESTATE) or b"") if trace.parent else b""
        kept = state.decode("latin-1") if len(state) <= _LONGEST_STATE else ""
        self.exporter.put(Traced(trace, record, end, tuple(tries), kept))


def tracer_of(
    settings: TraceCollector | None, *, clock: Clock, environ: Mapping[str, str] | None = None
) -> Tracer | None:
    """What the settings say; None where there is no collector.

    Raises:
        ConfigError: its URL or its secret cannot be used.
    """
    if settings is None:
        return None
    if not 0 <= settings.ratio <= 1:
        raise ConfigError(f"traces.ratio: wanted 0 to 1, found {settings.ratio}")
    try:
        tls = ssl.create_default_context() if settings.url.startswith("https:") else None
        origin = origin_of(settings.url.rstrip("/").removesuffix(_PATH), tls=tls)
    except ValueError as error:
        raise ConfigError(f"traces.url: {error}") from error
    authorization = ""
    if settings.env:
        authorization = (os.environ if environ is None else environ).get(settings.env, "").strip()
        if not authorization.isascii() or not authorization.isprintable():
            raise ConfigError(f"traces.env: environment variable {settings.env} holds what no field can hold")
        if not authorization:
            raise ConfigError(
                f"traces.env: environment variable {settings.env} is unset: wanted what Authorization is to say"
            )
    exporter = Exporter(origin, _PATH, service=settings.service, authorization=authorization, clock=clock)
    return Tracer(exporter, ratio=settings.ratio)
