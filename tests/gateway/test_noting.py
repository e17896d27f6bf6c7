"""Requests that are over are noted behind their answers: soon, once, and before anybody reads what was noted."""

import asyncio

from fronts import Client, ask, chat, gateway, request, route, said, target, until

from tensorfusion.gateway.evidence import Record


async def test_whoever_reads_finds_what_was_answered_before() -> None:
    async with target(said("hi")) as one, gateway(route({"endpoint": one.url}), later=True) as found:
        for count in range(1, 4):
            assert (await ask(found.port, chat())).status == 200
            await request(found.port, "GET", "/routes")
            assert len(found.records) == count


async def test_the_last_one_is_noted_though_none_follows() -> None:
    async with target(said("hi")) as one, gateway(route({"endpoint": one.url}), later=True) as found:
        assert (await ask(found.port, chat())).status == 200
        await until(lambda: len(found.records) == 1)
        assert found.records[0].latency_ms > 0


async def test_of_many_at_once_each_is_noted_once() -> None:
    async with target(said("hi")) as one, gateway(route({"endpoint": one.url}), later=True) as found:
        answers = await asyncio.gather(*(ask(found.port, chat()) for _ in range(150)))
        await until(lambda: len(found.records) >= 150)
        told = sorted(answer.fields["x-request-id"] for answer in answers)
        assert sorted(record.request_id for record in found.records) == told


async def test_a_record_that_cannot_be_noted_costs_nobody_an_answer() -> None:
    class Broken:
        def put(self, record: Record) -> None:
            raise RuntimeError("a fault of the sink")

    async with (
        target(said("hi")) as one,
        gateway(route({"endpoint": one.url}), sinks=(Broken(),), later=True) as found,
        Client(found.port) as client,
    ):
        for _ in range(3):  # each but the last is noted while the target of the next one works
            client.send(chat())
            assert (await client.response()).status == 200
        await until(lambda: len(found.records) == 3)
