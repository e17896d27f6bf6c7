"""Whatever targets say and wherever they break off: one record, what it says is what limits were charged, and nothing
that ended in an error is billed."""

import asyncio
import contextlib

from fronts import (
    DONE,
    LAST,
    ROLE,
    STOP,
    STREAM,
    USAGE,
    Act,
    Response,
    ask,
    chat,
    chunked,
    event,
    gateway,
    reset,
    route,
    target,
    word,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tensorfusion.gateway.evidence import Record

PARTS = {
    "role": ROLE,
    "one": word("one "),
    "two": word("two"),
    "other": word("other"),
    "usage": USAGE,
    "usage so far": event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}),
    "stop": STOP,
    "done": DONE,
    "error": event({"error": {"message": "no"}}),
    "nonsense": b"data: {no\n\n",
    "length": event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}),
    "second": event({"choices": [{"index": 1, "delta": {"content": "b"}}]}),
    "pause": b"",
}
GOOD = ("role", "one", "two", "stop", "usage", "done")
streams = st.one_of(
    st.just(GOOD),
    st.integers(0, len(GOOD)).map(lambda count: GOOD[:count]),
    st.lists(st.sampled_from(sorted(PARTS)), max_size=7).map(tuple),
)
stories = st.lists(st.tuples(streams, st.sampled_from(["end", "cut", "reset"])), min_size=1, max_size=3)


def telling(parts: tuple[str, ...], end: str) -> Act:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for part in parts:
            if part == "pause":
                await writer.drain()
                await asyncio.sleep(0.002)  # what was sent is to arrive by itself
            else:
                writer.write(chunked(PARTS[part]))
        if end == "end":
            writer.write(LAST)
            await writer.drain()
            return
        await writer.drain()
        await asyncio.sleep(0.002)
        if end == "reset":
            reset(writer)
        raise ConnectionResetError

    return act


async def played(
    story: list[tuple[tuple[str, ...], str]], splice: str
) -> tuple[Response, Record, list[int], CollectorRegistry]:
    registry = CollectorRegistry()
    async with contextlib.AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(target(telling(*one))) for one in story]
        made = route(
            *({"endpoint": one.url, "costPer1MInput": "1000000", "costPer1MOutput": "1000000"} for one in targets),
            midStream=splice,
        )
        async with gateway(made, registry=registry) as running:
            found = await ask(running.port, chat(stream=True))
            (record,) = running.records
            return found, record, running.limits.settled, registry


@settings(max_examples=60, deadline=None)
@given(stories, st.sampled_from(["splice", "error", "buffer"]))
def test_a_record_and_limits_and_metrics_and_the_client_agree(
    story: list[tuple[tuple[str, ...], str]], splice: str
) -> None:
    found, record, settled, registry = asyncio.run(played(story, splice))
    whole = b"[DONE]" in found.body
    assert found.whole
    assert whole == (record.status < 400)
    assert whole != (b'"error"' in found.body)
    used = record.prompt_tokens + record.completion_tokens
    assert settled == [used]
    assert record.cost_microusd == (used * 10**6 if whole else 0)
    words = sum(found.body.count(PARTS[name]) for name in ("one", "two", "other"))
    assert not whole or record.usage_estimated or record.completion_tokens >= 1
    assert whole or record.completion_tokens >= words
    counted = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }
    assert counted["tensorfusion_gateway_requests_total", "default/r", str(record.status)] == 1
    tokens = [value for (name, *_), value in counted.items() if name == "tensorfusion_gateway_tokens_total"]
    assert sum(tokens) == used
    assert sum(value for (name, *_), value in counted.items() if name == "tensorfusion_gateway_attempts_total") == len(
        record.attempts
    )
    assert whole == any(one.outcome.startswith("answered") for one in record.attempts)
