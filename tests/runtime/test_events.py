"""Events: told in few writes, warnings first, bounded, and going on after a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tensorfusion.errors import Forbidden
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Meta
from tensorfusion.model.resources import EVENTS, NODES, PODS
from tensorfusion.runtime.events import EventRecorder, EventType, ObjectReference, reference_to
from tensorfusion.telemetry.metrics import EVENTS_DROPPED
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


def reference(name: str = "a", namespace: str = "n") -> ObjectReference:
    return ObjectReference("v1", "Pod", namespace, name, f"uid-of-{name}")


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.recorder = self.fresh()

    def fresh(self) -> EventRecorder:
        return EventRecorder(self.api, component="scheduler", clock=self.clock)

    def note(self, name: str = "a", reason: str = "Placed", message: str = "m", *, warn: bool = False) -> None:
        kind = EventType.WARNING if warn else EventType.NORMAL
        self.recorder.record(reference(name), type_=kind, reason=reason, message=message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.recorder.run())
            yield
            task.cancel()


@pytest.fixture
def world() -> World:
    return World()


async def test_an_event_names_its_object_and_its_source(world: World) -> None:
    async with world.running():
        world.note(message="two\n lines")
        await world.clock.advance(1)
    (event,) = world.api.objects(EVENTS)
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "n",
        "name": "a",
        "uid": "uid-of-a",
    }
    assert (event["type"], event["reason"], event["message"], event["count"]) == ("Normal", "Placed", "two lines", 1)
    assert event["source"] == {"component": "scheduler"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"


async def test_the_same_reason_again_raises_the_count_and_keeps_the_newest_message(world: World) -> None:
    async with world.running():
        for number in range(3):
            world.note(message=f"try {number}")
            await world.clock.advance(1)
        world.note(reason="Other")
        await world.clock.advance(1)
    first, second = sorted(world.api.objects(EVENTS), key=lambda event: event["count"], reverse=True)
    assert (first["count"], first["message"]) == (3, "try 2")
    assert (first["firstTimestamp"], first["lastTimestamp"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z")
    assert (second["reason"], second["count"]) == ("Other", 1)


async def test_what_waits_together_is_one_write(world: World) -> None:
    for number in range(50):
        world.note(message=f"m{number}")
    async with world.running():
        await world.clock.advance(1)
    assert (world.api.count("create"), world.api.count("patch")) == (1, 0)
    assert world.api.objects(EVENTS)[0]["count"] == 50


async def test_writes_stay_within_the_budget(world: World) -> None:
    for number in range(1000):
        world.note(f"pod-{number}")
    async with world.running():
        await world.clock.advance(1)
        assert world.api.count("create") <= 100 + 20 + 1
        await world.clock.advance(10)
        assert 300 <= world.api.count("create") <= 100 + 11 * 20 + 1


async def test_warnings_go_first(world: World) -> None:
    world.note("a")
    world.note("b", warn=True)
    async with world.running():
        await world.clock.advance(1)
    assert [call.body["type"] for call in world.api.calls] == ["Warning", "Normal"]


async def test_a_full_queue_drops_ordinary_events_before_warnings(world: World) -> None:
    before = EVENTS_DROPPED.labels("queue-full")._value.get()
    world.note("important", warn=True)
    for number in range(3000):
        world.note(f"pod-{number}")
    assert len(world.recorder) == 2048
    assert EVENTS_DROPPED.labels("queue-full")._value.get() == before + 953
    async with world.running():
        await world.clock.advance(0)
    assert world.api.calls[0].body["involvedObject"]["name"] == "important"


async def test_an_event_that_has_expired_is_made_again(world: World) -> None:
    async with world.running():
        world.note()
        await world.clock.advance(1)
        world.api.remove(EVENTS, world.api.objects(EVENTS)[0]["metadata"]["name"], namespace="n")
        world.note()
        await world.clock.advance(1)
    assert [event["count"] for event in world.api.objects(EVENTS)] == [1]


async def test_a_restarted_process_goes_on_counting(world: World) -> None:
    async with world.running():
        for _ in range(3):
            world.note()
        await world.clock.advance(1)
    world.recorder = world.fresh()
    async with world.running():
        world.note()
        await world.clock.advance(1)
    assert [event["count"] for event in world.api.objects(EVENTS)] == [4]


async def test_a_refused_event_is_counted_and_the_next_one_written(world: World) -> None:
    before = EVENTS_DROPPED.labels("refused")._value.get()
    world.api.fail("create", error=Forbidden("namespace n is being terminated"))
    async with world.running():
        world.note("a")
        world.note("b")
        await world.clock.advance(1)
    assert len(world.api.objects(EVENTS)) == 1
    assert EVENTS_DROPPED.labels("refused")._value.get() == before + 1


async def test_events_of_cluster_scoped_objects_live_in_default(world: World) -> None:
    about = ObjectReference("v1", "Node", "", "node-1", "u")
    world.recorder.record(about, type_=EventType.NORMAL, reason="r", message="m")
    async with world.running():
        await world.clock.advance(1)
    assert world.api.objects(EVENTS)[0]["metadata"]["namespace"] == "default"


def test_a_reference_is_made_from_an_object() -> None:
    pod = Pod(metadata=Meta(name="a", namespace="n", uid="u"))
    assert reference_to(PODS, pod) == ObjectReference("v1", "Pod", "n", "a", "u")
    assert reference_to(NODES, pod).kind == "Node"


async def test_normal_events_give_way_while_more_important_writes_wait(world: World) -> None:
    world.recorder.busy = lambda: True
    async with world.running():
        for number in range(50):
            world.note(name=f"p{number}")
        await world.clock.advance(2.1)
        slow = len(world.api.objects(EVENTS))
        world.note(name="warned", warn=True)
        await world.clock.advance(0.3)
        written = {event["involvedObject"]["name"] for event in world.api.objects(EVENTS)}
        world.recorder.busy = lambda: False
        await world.clock.advance(0.3)
    assert 4 <= slow <= 12
    assert "warned" in written
    assert len(world.api.objects(EVENTS)) == 51
