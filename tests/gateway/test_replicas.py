"""Several replicas of one target: the least busy is asked, and one that fails is no failure of the target."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import pytest
from fronts import (
    DONE,
    ROLE,
    STOP,
    Act,
    Client,
    Gateway,
    Target,
    answer,
    ask,
    chat,
    cut,
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

from tensorfusion.gateway.probing import Probes
from tensorfusion.policy.routing.asks import Failure, Outcome
from tensorfusion.policy.routing.route import Route
from tensorfusion.policy.routing.route import Target as Written
from tensorfusion.wire.messages import origin_of

POOL = {"gpuPool": "pool"}


def at(*targets: Target | str) -> Callable[[Route, Written], Sequence[str]]:
    urls = [one if isinstance(one, str) else one.url for one in targets]
    return lambda route, written: urls if written.pool else ()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [failed(500), reset_at_once])
async def test_another_replica_answers_for_one_that_fails(*, fault: bytes | Act, stream: bool) -> None:
    good = streamed(ROLE, word("a"), STOP, DONE) if stream else said("a")
    async with target(fault) as one, target(good) as two:
        async with gateway(route(POOL), addresses=at(one, two)) as found:
            for _ in range(20):
                response = await ask(found.port, chat(stream=stream))
                assert (response.status, response.fields["x-tf-target"]) == (200, "t0")
            assert len(one.requests) <= 6  # then it is left alone
            report = found.front.state.choosers["default/r"].status(0.0)[0]
            assert (report.circuit, report.failures) == ("closed", 0)


async def test_a_cut_answer_goes_on_at_another_replica() -> None:
    whole = streamed(ROLE, word("one "), word("two"), STOP, DONE)
    async with target(cut(ROLE, word("one "))) as one, target(whole) as two:
        async with gateway(route(POOL), addresses=at(one, two)) as found:
            while not one.requests:
                response = await ask(found.port, chat(stream=True))
                assert response.body.endswith(DONE)
                assert response.body.count(b"two") == 1


async def test_when_all_replicas_fail_the_next_target_is_asked() -> None:
    async with target(failed(500)) as one, target(failed(500)) as two, target(said("a")) as three:
        async with gateway(route(POOL, {"endpoint": three.url}), addresses=at(one, two)) as found:
            response = await ask(found.port, chat())
            assert (response.status, response.fields["x-tf-target"], response.fields["x-tf-attempts"]) == (
                200,
                "t1",
                "3",
            )


async def test_the_least_busy_replica_is_asked() -> None:
    async with target(stall()) as one, target(said("a")) as two:
        async with gateway(route(POOL), addresses=at(one, two)) as found:
            asking: list[asyncio.Future[object]] = []
            while not one.requests:
                asking.append(asyncio.ensure_future(ask(found.port, chat())))
                await until(lambda: one.requests or asking[-1].done())
            for _ in range(8):
                assert (await ask(found.port, chat())).status == 200
            assert len(one.requests) == 1
            for each in asking:
                each.cancel()
            await asyncio.wait(asking)
            await until(lambda: one.left)
            await until(lambda: found.front.evidence is not None and len(found.records) >= 9)


async def test_addresses_that_are_not_there_are_passed_over() -> None:
    async with target(said("a")) as one:
        async with gateway(route(POOL), addresses=at("http://127.0.0.1:1/v1", one)) as found:
            for _ in range(10):
                assert (await ask(found.port, chat())).status == 200


async def test_however_many_replicas_refuse_a_connection_the_others_answer() -> None:
    """Those that are gone have nothing to do, so they look like the best to ask."""
    async with target(said("a")) as one, target(said("b")) as two:
        gone = [f"http://127.0.0.1:{port}/v1" for port in range(1, 8)]
        async with gateway(route(POOL), addresses=at(*gone, one, two)) as found:
            for _ in range(10):
                assert (await ask(found.port, chat())).status == 200
            assert max(len(record.attempts) for record in found.records) > 3


async def test_replicas_that_take_long_to_fail_are_not_all_tried() -> None:
    async with contextlib.AsyncExitStack() as stack:
        sick = [await stack.enter_async_context(target(failed(500))) for _ in range(6)]
        async with gateway(route(POOL), addresses=at(*sick)) as found:
            assert (await ask(found.port, chat())).status == 502
            assert len(found.records[0].attempts) == 3


async def test_a_target_that_was_gone_and_is_back_is_found_without_a_request() -> None:
    async with target(said("b")) as two:
        async with gateway(route({"endpoint": "http://127.0.0.1:1/v1"}, {"endpoint": two.url})) as found:
            for _ in range(5):
                assert (await ask(found.port, chat())).fields["x-tf-target"] == "t1"
            chooser = found.front.state.choosers["default/r"]
            probes = Probes()
            await probes.look(found.front.state)
            assert chooser.status(asyncio.get_running_loop().time())[0].circuit == "open"
            async with target(answer({"data": []}), said("a")) as one:
                upstream = found.front.state.upstreams.of(chooser.route, chooser.route.targets[0])
                upstream.replicas[0].pool.origin = origin_of(one.url)
                await probes.look(found.front.state)
                assert one.requests[0].target == "/v1/models"
                assert (await ask(found.port, chat())).fields["x-tf-target"] == "t0"


def out_for_minutes(found: Gateway, outcome: Outcome) -> None:
    """The first target has failed every probe of the last five minutes."""
    chooser = found.front.state.choosers["default/r"]
    first, end = chooser.route.targets[0], asyncio.get_running_loop().time()
    now = end - 300
    while now <= end:
        for _ in range(5):
            chooser.ended(chooser.started(first, now), now, outcome)
        now += 5
    assert chooser.status(end + 9)[0].circuit == "open"


@pytest.mark.parametrize(
    "outcome", [Outcome(Failure.CONNECT), Outcome(Failure.SILENT), Outcome(Failure.STATUS, status=503)], ids=str
)
async def test_a_target_is_back_at_once_however_long_it_was_out(outcome: Outcome) -> None:
    async with target(failed(503), answer({"data": []}), said("a")) as one, target(said("b")) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            out_for_minutes(found, outcome)
            probes = Probes()
            await probes.look(found.front.state)
            assert (await ask(found.port, chat())).fields["x-tf-target"] == "t1"
            await probes.look(found.front.state)
            assert (await ask(found.port, chat())).fields["x-tf-target"] == "t0"
            assert (await ask(found.port, chat())).fields["x-tf-target"] == "t0"


async def test_a_probe_that_hangs_at_a_target_that_is_back_holds_nobody_up() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)

    async with target(once, failed(503), answer({"data": []}), said("a")) as one, target(said("b")) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            out_for_minutes(found, Outcome(Failure.SILENT))
            probes = Probes()
            chooser = found.front.state.choosers["default/r"]
            chooser.healthy(chooser.route.targets[0], asyncio.get_running_loop().time())
            async with Client(found.port) as client:
                client.send(chat())
                await until(lambda: one.requests)
                assert (await ask(found.port, chat())).fields["x-tf-target"] == "t1"
                await probes.look(found.front.state)
                await probes.look(found.front.state)
                assert (await ask(found.port, chat())).fields["x-tf-target"] == "t0"
            await until(lambda: len(found.records) == 3)


async def test_a_target_that_answers_with_errors_is_not_well_because_it_lists_its_models() -> None:
    async with target(*[failed(500)] * 5, answer({"data": []})) as one, target(said("b")) as two:
        async with gateway(route({"endpoint": one.url}, {"endpoint": two.url})) as found:
            for _ in range(6):
                await ask(found.port, chat())
            probes = Probes()
            for _ in range(2):
                await probes.look(found.front.state)
            assert [asked.target for asked in one.requests[5:]] == ["/v1/models"] * 2
            assert (await ask(found.port, chat())).fields["x-tf-target"] == "t1"
