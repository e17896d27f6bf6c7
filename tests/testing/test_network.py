"""What the way to the fake API does to calls and watches."""

import asyncio
import random

import pytest

from tensorfusion.errors import Conflict, ServerError
from tensorfusion.model.core import Pod
from tensorfusion.model.resources import PODS
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.testing.network import Fate, Network


def made() -> tuple[VirtualClock, FakeApi, Network]:
    clock = VirtualClock()
    api = FakeApi(clock)
    api.seed(PODS, {"metadata": {"name": "a"}, "spec": {}}, namespace="default")
    return clock, api, Network(api, clock=clock, dice=random.Random(1))


async def bind(network: Network) -> None:
    await network.bind("default", "a", uid="uid-1", node="n0", annotations={})


def node_of(api: FakeApi) -> str:
    return str(api.object(PODS, "a", namespace="default")["spec"].get("nodeName", ""))


@pytest.mark.parametrize(("fate", "node"), [(Fate.ANSWER_LOST, "n0"), (Fate.REQUEST_LOST, ""), (Conflict("no"), "")])
async def test_a_call_that_fails_may_have_taken_effect(fate: Fate | Conflict, node: str) -> None:
    _, api, network = made()
    network.fail("bind", fate)
    with pytest.raises((ServerError, Conflict)):
        await bind(network)
    assert node_of(api) == node


async def test_a_late_request_arrives_after_its_sender_gave_up() -> None:
    clock, api, network = made()
    network.fail("bind", Fate.LATE)
    with pytest.raises(ServerError):
        await bind(network)
    assert node_of(api) == ""
    await clock.advance(60)
    assert node_of(api) == "n0"


@pytest.mark.parametrize(("arrives", "node"), [(1.0, "n0"), (0.0, "")])
async def test_what_was_sent_before_a_kill_may_arrive(arrives: float, node: str) -> None:
    clock, api, network = made()
    network.delays = (1.0, 1.0)
    task = asyncio.create_task(bind(network))
    await clock.settle()
    network.cut(arrives=arrives)
    await clock.advance(5)
    assert (node_of(api), task.done()) == (node, False)
    task.cancel()


async def test_a_watch_that_lags_brings_everything_later() -> None:
    clock, api, network = made()
    seen: list[str] = []

    async def follow() -> None:
        async for batch in network.watch_batches(PODS, Pod, resource_version="0"):
            seen.extend(event.object.metadata.name for event in batch if event.object is not None)

    task = asyncio.create_task(follow())
    await clock.settle()
    network.lag(PODS)
    for name in ("b", "c"):
        api.seed(PODS, {"metadata": {"name": name}, "spec": {}}, namespace="default")
        await clock.settle()
    assert set(seen) == {"a"}
    network.catch_up()
    await clock.settle()
    assert set(seen) == {"a", "b", "c"}
    task.cancel()


async def test_a_stopped_component_sends_when_it_goes_on() -> None:
    clock, api, network = made()
    network.stop()
    task = asyncio.create_task(bind(network))
    await clock.advance(5)
    assert node_of(api) == ""
    network.go_on()
    await clock.settle()
    assert (node_of(api), task.done()) == ("n0", True)
