"""Requests are followed: targets are told of the trace, and a collector of the request and its attempts."""

import asyncio
import re

import pytest
from collectors import collector
from fronts import DONE, ROLE, STOP, ask, chat, failed, gateway, route, said, streamed, target, word

from tensorfusion.clock import SystemClock
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.settings import TraceCollector
from tensorfusion.gateway.tracing.context import trace_of
from tensorfusion.gateway.tracing.exporting import MOST_WAITING, SPANS
from tensorfusion.gateway.tracing.tracer import Tracer, tracer_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=a\r\n".encode()
SECRET = "the merger closes on Friday"


def made(url: str, **settings: object) -> Tracer:
    found = tracer_of(TraceCollector(url=url, **settings), clock=SystemClock(), environ={"T": "Bearer b"})  # type: ignore[arg-type] # as the test says
    assert found is not None
    return found


class Hasty(SystemClock):
    """Nobody waits."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_a_request_and_its_attempts_are_spans_of_the_clients_trace() -> None:
    async with collector() as seen, target(failed(500, f"no {SECRET}")) as bad, target(said("a")) as good:
        tracer = made(seen.url, env="T", service="gw")
        routed = route({"endpoint": bad.url}, {"endpoint": good.url}, retry={"maxRetries": 0})
        async with tracer.exporter.tended():
            async with gateway(routed, traces=tracer) as running:
                body = chat(messages=[{"role": "user", "content": SECRET}])
                assert (await ask(running.port, body, fields=GIVEN)).status == 200
        root, first, second = seen.spans
    assert seen.requests == [(b"/v1/traces", b"Bearer b")]
    assert {span.trace_id for span in seen.spans} == {TRACE}
    assert (root.parent_span_id, root.kind, root.trace_state, root.status.code) == (PARENT, 2, "vendor=a", 0)
    assert [(one.parent_span_id, one.kind, one.status.code) for one in (first, second)] == [
        (root.span_id, 3, 2),
        (root.span_id, 3, 0),
    ]
    assert first.of("http.response.status_code") == 500
    assert root.of("gen_ai.request.model") == "m"
    assert root.of("gen_ai.usage.input_tokens") == 3
    assert root.of("tensorfusion.target") == "t1"
    assert int(root.start_time_unix_nano) <= int(first.start_time_unix_nano) <= int(first.end_time_unix_nano)
    assert int(second.end_time_unix_nano) <= int(root.end_time_unix_nano) + 1_000_000
    told = [one.requests[0].fields["traceparent"] for one in (bad, good)]
    assert told == [f"00-{TRACE}-{span.span_id}-01" for span in (first, second)]
    assert good.requests[0].fields["tracestate"] == "vendor=a"
    assert "merger" not in str(seen.spans)


async def test_a_request_without_a_trace_begins_one() -> None:
    async with collector() as seen, target(streamed(ROLE, word("a"), STOP, DONE)) as one:
        tracer = made(seen.url)
        async with tracer.exporter.tended():
            async with gateway(route({"endpoint": one.url}), traces=tracer) as running:
                assert (await ask(running.port, chat(stream=True), fields=b"tracestate: x=y\r\n")).status == 200
        root, only = seen.spans
    assert root.parent_span_id == ""
    assert one.requests[0].fields["traceparent"] == f"00-{root.trace_id}-{only.span_id}-03"
    assert "tracestate" not in one.requests[0].fields
    assert root.of("tensorfusion.stream") is True


async def test_what_is_not_recorded_is_passed_on_all_the_same() -> None:
    async with collector() as seen, target(said("a")) as one:
        tracer = made(seen.url, ratio=0.0)
        async with tracer.exporter.tended():
            async with gateway(route({"endpoint": one.url}), traces=tracer) as running:
                await ask(running.port, chat())
                await ask(running.port, chat(), fields=GIVEN.replace(b"-01\r", b"-00\r"))
                await ask(running.port, chat(), fields=GIVEN)  # its sender records it
    assert len(seen.spans) == 2
    flags = [request.fields["traceparent"][-2:] for request in one.requests]
    assert flags == ["02", "00", "01"]


async def test_without_a_collector_a_clients_trace_goes_through_as_it_is() -> None:
    async with target(said("a")) as one, gateway(route({"endpoint": one.url})) as running:
        await ask(running.port, chat(), fields=GIVEN)
    assert one.requests[0].fields["traceparent"] == f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "given",
    [
        *(
            b"",
            b"x",
            f"00-{TRACE}-{PARENT}".encode(),
            f"00-{TRACE}-{PARENT}-0".encode(),
            f"ff-{TRACE}-{PARENT}-01".encode(),
        ),
        *(f"00-{TRACE.upper()}-{PARENT}-01".encode(), f"00-{'0' * 32}-{PARENT}-01".encode()),
        *(f"00-{TRACE}-{'0' * 16}-01".encode(), f"00-{TRACE}-{PARENT}-01-more".encode(), b"\xff" * 55),
    ],
)
def test_a_malformed_trace_is_none(given: bytes) -> None:
    found = trace_of(given, ratio=1.0)
    assert (found.parent, found.trace_id != TRACE) == ("", True)
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-03", found.field(found.span_id)[1])


def test_a_trace_of_a_later_version_is_understood() -> None:
    found = trace_of(f"cc-{TRACE}-{PARENT}-09-what-the-future-brings".encode(), ratio=0.0)
    assert (found.trace_id, found.parent, found.flags) == (TRACE, PARENT, 1)


def test_the_part_that_is_recorded_is_the_configured_one() -> None:
    recorded = sum(trace_of(None, ratio=0.25).sampled for _ in range(4000))
    assert 850 < recorded < 1150


async def test_what_a_collector_refuses_or_is_away_for_is_counted_and_nothing_waits() -> None:
    def count(result: str) -> float:
        return float(SPANS.labels(result)._value.get())

    before = {result: count(result) for result in ("sent", "lost", "refused", "dropped")}
    async with collector() as seen, target(said("a")) as one:
        tracer = tracer_of(TraceCollector(url=seen.url), clock=Hasty())
        assert tracer is not None
        seen.answers = [(400, b"{}"), (503, b""), (200, b'{"partialSuccess": {"rejectedSpans": "1"}}')]
        async with gateway(route({"endpoint": one.url}), traces=tracer) as running:
            await ask(running.port, chat())
            await tracer.exporter._send_all()
            assert count("lost") - before["lost"] == 2
            await ask(running.port, chat())
            await tracer.exporter._send_all()  # 503, and a second time
            assert len(seen.requests) == 3
            assert (count("sent") - before["sent"], count("refused") - before["refused"]) == (1, 1)
            await ask(running.port, chat())
            for _ in range(MOST_WAITING):
                tracer.exporter.put(tracer.exporter._waiting[0])
            assert count("dropped") - before["dropped"] == 2
            tracer.exporter._waiting.clear()
        await tracer.exporter._pool.close()


def test_settings_that_cannot_be_meant_are_errors() -> None:
    for settings, message in (
        (TraceCollector(url="collector:4318"), "traces.url"),
        (TraceCollector(url="http://a", ratio=2.0), "wanted 0 to 1"),
        (TraceCollector(url="http://a", env="NONE"), "NONE is unset"),
        (TraceCollector(url="http://a", env="ODD"), "holds what no field can hold"),
    ):
        with pytest.raises(ConfigError, match=message):
            tracer_of(settings, clock=SystemClock(), environ={"ODD": "Bearer a\r\nX: b"})
    assert tracer_of(None, clock=SystemClock()) is None
