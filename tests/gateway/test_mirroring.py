"""Mirrored requests are nobody's: counted apart, charged to none, judged as answers are, ended with the gateway."""

import asyncio

import pytest
from fronts import (
    DONE,
    LAST,
    ROLE,
    STOP,
    STREAM,
    Act,
    Client,
    answer,
    ask,
    chat,
    chunked,
    event,
    failed,
    gateway,
    reset_at_once,
    route,
    said,
    stall,
    streamed,
    target,
    until,
    word,
)
from prometheus_client import CollectorRegistry

MUCH = {"prompt_tokens": 900, "completion_tokens": 900}
WHOLE = answer({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}], "usage": MUCH})
GAVE_UP = answer({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "error"}], "usage": MUCH})
FLOW = streamed(ROLE, word("a"), STOP, event({"choices": [], "usage": MUCH}), DONE)


def counted(registry: CollectorRegistry, name: str = "mirrored") -> dict[tuple[str, ...], float]:
    full = f"tensorfusion_gateway_{name}_total"
    samples = (sample for metric in registry.collect() for sample in metric.samples if sample.name == full)
    return {tuple(sample.labels.values())[1:]: sample.value for sample in samples}


@pytest.mark.parametrize(
    ("stream", "theirs", "outcome"),
    [
        (False, WHOLE, "answered"),
        (False, GAVE_UP, "malformed"),
        (False, answer(b"<html>", kind=b"text/html"), "malformed"),
        (False, failed(500), "status"),
        (False, reset_at_once, "reset"),
        (True, FLOW, "answered"),
        (True, streamed(ROLE, word("a")), "malformed"),
        (True, streamed(event({"error": {"message": "no"}})), "malformed"),
        (True, failed(429), "status"),
        (True, WHOLE, "malformed"),
    ],
)
async def test_what_another_target_says_is_judged_and_counted_and_charged_to_nobody(
    *, stream: bool, theirs: bytes | Act, outcome: str
) -> None:
    registry = CollectorRegistry()
    ours = streamed(ROLE, word("a"), STOP, DONE) if stream else said("a", usage=(3, 2))
    async with target(ours) as one, target(theirs) as two:
        priced = {"costPer1MInput": "1000000", "costPer1MOutput": "1000000"}
        made = route({"endpoint": one.url, **priced}, {"endpoint": two.url, **priced}, strategy="loadtest")
        async with gateway(made, registry=registry) as found:
            assert (await ask(found.port, chat(stream=stream))).fields["x-tf-target"] == "t0"
            await until(lambda: counted(registry))
            assert counted(registry) == {("t1", outcome): 1}
            (record,) = found.records
            assert [one.target for one in record.attempts] == ["t0"]
            assert sum(found.limits.settled) == record.prompt_tokens + record.completion_tokens < 20
            assert {labels[0] for labels in counted(registry, "tokens")} == {"t0"}
            assert {labels[0] for labels in counted(registry, "attempts")} == {"t0"}
            assert found.front.state.choosers["default/r"].status(0.0)[1].in_flight == 0


async def test_another_target_is_heard_to_its_end_when_the_client_has_left() -> None:
    registry, go = CollectorRegistry(), asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunked(ROLE, word("a")))
        await go.wait()
        writer.write(chunked(STOP, DONE) + LAST)

    async with target(stall(ROLE, word("a"))) as one, target(slowly) as two:
        made = route({"endpoint": one.url}, {"endpoint": two.url}, strategy="loadtest")
        async with gateway(made, registry=registry) as found:
            async with Client(found.port) as client:
                client.send(chat(stream=True))
                await client.reader.readuntil(b'"a"')
                await until(lambda: two.requests)
            await until(lambda: found.records)
            assert (found.records[0].status, counted(registry)) == (499, {})
            go.set()
            await until(lambda: counted(registry))
            assert counted(registry) == {("t1", "answered"): 1}
            assert len(found.records) == len(found.limits.settled) == 1


async def test_what_is_under_way_ends_with_the_gateway() -> None:
    registry = CollectorRegistry()
    async with target(said("a")) as one, target(stall()) as two:
        made = route({"endpoint": one.url}, {"endpoint": two.url}, strategy="loadtest")
        async with gateway(made, registry=registry) as found:
            assert (await ask(found.port, chat())).status == 200
            await until(lambda: two.requests)
        assert counted(registry) == {("t1", "cancelled"): 1}
        await until(lambda: two.left)
