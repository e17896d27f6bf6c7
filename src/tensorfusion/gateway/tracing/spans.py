"""A request as spans: one of the request itself, and one of each attempt below it. No word of what was said.

Source: OTLP 1.x, trace service in JSON (ids in hexadecimal digits, 64-bit numbers as text, enumerations as numbers);
OpenTelemetry's semantic conventions for HTTP and generative AI.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tensorfusion import __version__
from tensorfusion.gateway.evidence import Record
from tensorfusion.gateway.tracing.context import Trace

_SERVER: Final = 2
_CLIENT: Final = 3
_FAILED: Final = 2
_NS_OF_MS: Final = 1_000_000
_OPERATIONS: Final = {
    "chat/completions": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
_LONGEST: Final = 256
Json = Any  # Any: what becomes JSON


@dataclass(frozen=True, slots=True)
class TracedTry:
    """One attempt; times in ns since 1970."""

    span_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Traced:
    """A request that is over. ``tries`` are in the order of the record's attempts."""

    trace: Trace
    record: Record
    end: int
    tries: tuple[TracedTry, ...]
    state: str = ""
    """``tracestate`` as it came."""


def export_of(requests: Iterable[Traced], service: str) -> Json:
    """The body of one export."""
    spans = [span for request in requests for span in spans_of(request)]
    scope = {"scope": {"name": "tensorfusion.gateway", "version": __version__}, "spans": spans}
    resource = {"attributes": _attributes({"service.name": service, "service.version": __version__})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def spans_of(request: Traced) -> list[Json]:
    """Its own span, then those of its attempts."""
    record, trace = request.record, request.trace
    operation = _OPERATIONS.get(record.api, record.api)
    root = _span(
        trace,
        trace.span_id,
        trace.parent,
        f"{operation} {record.route}",
        kind=_SERVER,
        start=request.end - int(record.latency_ms * _NS_OF_MS),
        end=request.end,
        failed=(record.error_message or record.error_type) if record.error_type else None,
        attributes={
            "http.request.method": "POST",
            "http.response.status_code": record.status,
            "url.path": f"/v1/{record.api}",
            "error.type": record.error_type,
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": record.model,
            "gen_ai.response.model": record.target_model,
            "gen_ai.provider.name": record.provider,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.completion_tokens,
            "tensorfusion.request_id": record.request_id,
            "tensorfusion.route": record.route,
            "tensorfusion.target": record.target,
            "tensorfusion.namespace": record.namespace,
            "tensorfusion.key_id": record.key_id,
            "tensorfusion.cost_microusd": record.cost_microusd,
            "tensorfusion.stream": record.stream,
            "tensorfusion.overhead_ms": record.overhead_ms,
            "tensorfusion.first_token_ms": record.ttft_ms,
        },
    )
    if request.state:
        root["traceState"] = request.state
    found = [root]
    for one, noted in zip(request.tries, record.attempts, strict=False):
        failed = not noted.outcome.startswith("answered")
        found.append(
            _span(
                trace,
                one.span_id,
                trace.span_id,
                f"attempt {noted.target}",
                kind=_CLIENT,
                start=one.start,
                end=one.end,
                failed=noted.outcome if failed else None,
                attributes={
                    "http.request.method": "POST",
                    "http.response.status_code": noted.status or None,
                    "error.type": noted.outcome.partition(":")[0].partition(" ")[0] if failed else None,
                    "tensorfusion.target": noted.target,
                    "tensorfusion.first_token_ms": noted.ttft_ms,
                },
            )
        )
    return found


def _span(
    trace: Trace,
    span_id: str,
    parent: str,
    name: str,
    *,
    kind: int,
    start: int,
    end: int,
    failed: str | None,
    attributes: Mapping[str, Json],
) -> dict[str, Json]:
    span: dict[str, Json] = {
        "traceId": trace.trace_id,
        "spanId": span_id,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(max(end, start)),
        "attributes": _attributes(attributes),
        "status": {} if failed is None else {"code": _FAILED, "message": failed[:_LONGEST]},
        "flags": trace.flags,
    }
    if parent:
        span["parentSpanId"] = parent
    return span


def _attributes(values: Mapping[str, Json]) -> list[Json]:
    """Those that have a value."""
    return [{"key": name, "value": _value(value)} for name, value in values.items() if value not in (None, "")]


def _value(value: Json) -> dict[str, Json]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)[:_LONGEST]}
